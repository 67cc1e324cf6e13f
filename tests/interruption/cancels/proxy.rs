//! A connection to a server that can be cut in the middle of a statement, as when the client's machine crashes.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use postgres::{Client, NoTls};
use sequin_harness::{Database, SUPERUSER};

/// Both halves are passed on by threads, which end with the connection.
pub struct ClientProxy {
    to_server: UnixStream,
}

const SOCKET: &str = ".s.PGSQL.5432";

impl ClientProxy {
    /// A superuser's session in `database` through a socket in `dir`, which is free again when this returns.
    pub fn connect(database: &Database, dir: &Path) -> (Client, ClientProxy) {
        let socket = dir.join(SOCKET);
        let listener = UnixListener::bind(&socket).unwrap_or_else(|e| panic!("{socket:?}: {e}"));
        let to_server = UnixStream::connect(database.server().dir().join(SOCKET)).unwrap();
        let server = to_server.try_clone().unwrap();
        let acceptor = thread::spawn(move || pass_on(&listener.accept().unwrap().0, &server));
        let mut config = postgres::Config::new();
        config.host_path(dir).port(5432).user(SUPERUSER).dbname(database.name());
        let client = config.connect(NoTls).unwrap();
        acceptor.join().unwrap();
        fs::remove_file(socket).unwrap();
        (client, ClientProxy { to_server })
    }

    /// The server sees the end of the connection, and so does the client.
    pub fn cut(&self) {
        // Either side may have ended it already.
        let _ = self.to_server.shutdown(Shutdown::Both);
    }
}

fn pass_on(client: &UnixStream, server: &UnixStream) {
    for (from, to) in [(client, server), (server, client)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            // However it ends, it ends for both sides.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
}
