//! The control: the cost of an exchange for a program that knows all bytes beforehand. One write, then reads until the
//! reply is whole, on a blocking socket that stays open.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::wire;

pub struct RawClient {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
    /// Bytes of the last reply, at the buffer's start.
    filled: usize,
}

impl RawClient {
    /// Will send `request` each time.
    pub fn connect(address: SocketAddr, request: Vec<u8>) -> io::Result<RawClient> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(RawClient { stream, request, buffer: vec![0; 64 * 1024], filled: 0 })
    }

    pub fn request_bytes(&self) -> usize {
        self.request.len()
    }

    /// Sends the request and reads the reply. Returns its length.
    pub fn exchange(&mut self) -> io::Result<usize> {
        self.stream.write_all(&self.request)?;
        let mut filled = 0;
        let mut whole = None;
        loop {
            match self.stream.read(&mut self.buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
            if whole.is_none()
                && let Some(head) = wire::head(&self.buffer[..filled])
            {
                let length = head.bytes + head.content_length;
                if self.buffer.len() < length {
                    self.buffer.resize(length, 0);
                }
                whole = Some(length);
            }
            if whole.is_some_and(|length| filled >= length) {
                self.filled = filled;
                return Ok(filled);
            }
        }
    }

    /// The bytes of the last reply.
    pub fn last_reply(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// The times of this many exchanges, in microseconds.
    pub fn times(&mut self, exchanges: usize) -> io::Result<Vec<f64>> {
        let mut times = Vec::with_capacity(exchanges);
        for _ in 0..exchanges {
            let begun = Instant::now();
            self.exchange()?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(times)
    }
}
