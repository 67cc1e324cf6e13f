//! A gate from TCP to a Unix socket, for clients that need TCP: the harness' servers listen on no port.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

/// A free port of 127.0.0.1 that leads to a socket for as long as this process lives.
pub struct Gate {
    pub port: u16,
}

impl Gate {
    /// To the socket that a Postgres or a pooler with this port number has in `directory`.
    pub fn to(directory: &Path, port: u16) -> Gate {
        let socket = directory.join(format!(".s.PGSQL.{port}"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let socket: PathBuf = socket.clone();
                thread::spawn(move || carry(stream, &socket));
            }
        });
        Gate { port }
    }
}

/// Runs until both sides have closed. The client sees an error on the way as a broken connection.
fn carry(client: TcpStream, socket: &Path) -> Option<()> {
    let server = UnixStream::connect(socket).ok()?;
    let (mut from_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let _ = io::copy(&mut from_server, &mut to_client);
    to_client.shutdown(Shutdown::Both).ok()
}
