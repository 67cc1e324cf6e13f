//! HTTP/1.1 as the gateway's client speaks it, and no more of it.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::super::http::Answer;

/// One request.
pub struct Asked {
    pub method: String,
    pub path: String,
    /// Those that are for the product, and not for this connection.
    pub headers: Vec<(String, String)>,
    pub has_body: bool,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// The next request. None: the connection has ended between requests.
pub fn read(client: &mut TcpStream) -> io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break bytes.drain(..end + 4).collect::<Vec<u8>>();
        }
        if !more(client, &mut bytes)? {
            return if bytes.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    };
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(io::Error::other(format!("no request line: {head:?}")));
    };
    let mut asked = Asked {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        has_body: false,
        body: String::new(),
    };
    let mut length = 0;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        match name.as_str() {
            "content-length" => {
                asked.has_body = true;
                length = value.parse().map_err(io::Error::other)?;
            }
            "transfer-encoding" => return Err(io::Error::other("the gateway knows the length of its bodies")),
            "connection" | "host" => {}
            _ => asked.headers.push((name, value.to_owned())),
        }
    }
    while bytes.len() < length {
        if !more(client, &mut bytes)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    asked.body = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(Some(asked))
}

/// False: the connection has ended, or was reset, which is an end between requests too.
fn more(client: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    match client.read(&mut buffer) {
        Ok(read) => {
            bytes.extend_from_slice(&buffer[..read]);
            Ok(read > 0)
        }
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(false),
        Err(e) => Err(e),
    }
}

/// Passes on a reply.
pub fn write(client: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    client.write_all(text(answer).as_bytes())
}

/// Passes on the first half of it.
pub fn write_half(client: &mut TcpStream, answer: &Answer) {
    let text = text(answer);
    // The gateway may have given up.
    let _ = client.write_all(&text.as_bytes()[..text.len() / 2]);
}

/// A reply of the proxy itself. `headers` end their lines.
pub fn write_own(client: &mut TcpStream, status: u16, headers: &str) -> io::Result<()> {
    let body = "the proxy says so";
    let length = body.len();
    let reply =
        format!("HTTP/1.1 {status} -\r\ncontent-type: text/plain\r\n{headers}content-length: {length}\r\n\r\n{body}");
    client.write_all(reply.as_bytes())
}

/// Waits until the gateway has closed the connection.
pub fn hold(client: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = client.read(&mut buffer) {}
}

fn text(answer: &Answer) -> String {
    let mut text = format!("HTTP/1.1 {} -\r\n", answer.status);
    for (name, value) in &answer.headers {
        if !["connection", "content-length", "keep-alive", "transfer-encoding"].contains(&name.as_str()) {
            text.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
        }
    }
    if answer.status != 204 {
        text.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    text + "\r\n" + &answer.body
}
