//! An API that costs as little as one can: every request gets the same reply, made beforehand, in one write.
//!
//! The client is measured against it. The extension and the control talk to the same one in the same run.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use sequin_harness::RawServer;

use crate::wire;

/// A constant API. Each connection has a thread.
pub struct FixedApi {
    server: RawServer,
    first: Arc<Mutex<Option<Vec<u8>>>>,
}

impl FixedApi {
    /// Answers each request with this body.
    pub fn start(body: &str) -> FixedApi {
        FixedApi::slow(body, Duration::ZERO)
    }

    /// The same after a pause, like a network's.
    pub fn slow(body: &str, pause: Duration) -> FixedApi {
        let reply = wire::reply(body);
        let first = Arc::new(Mutex::new(None));
        let kept = first.clone();
        let server = RawServer::start(move |stream| {
            // The peer has closed the connection.
            let _ = serve(stream, &reply, pause, &kept);
        });
        FixedApi { server, first }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The bytes of the first request, which the control repeats.
    pub fn first_request(&self) -> Vec<u8> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.clone().unwrap_or_else(|| panic!("no request has come yet"))
    }
}

fn serve(stream: &mut TcpStream, reply: &[u8], pause: Duration, first: &Mutex<Option<Vec<u8>>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let mut filled = 0;
        let head = loop {
            match stream.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                read => filled += read,
            }
            if let Some(head) = wire::head(&buffer[..filled]) {
                break head;
            }
        };
        let mut kept =
            first.lock().unwrap_or_else(PoisonError::into_inner).is_none().then(|| buffer[..filled].to_vec());
        let mut left = (head.bytes + head.content_length).saturating_sub(filled);
        if head.expects_continue && left > 0 {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        while left > 0 {
            let wanted = left.min(buffer.len());
            match stream.read(&mut buffer[..wanted])? {
                0 => return Ok(()),
                read => {
                    left -= read;
                    if let Some(kept) = &mut kept {
                        kept.extend_from_slice(&buffer[..read]);
                    }
                }
            }
        }
        if kept.is_some() {
            *first.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        }
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        stream.write_all(reply)?;
    }
}
