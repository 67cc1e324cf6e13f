//! A provider over real sockets that does what a test says: it replies, cuts, resets, stalls or talks nonsense.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// From 0, in the order of arrival.
    pub number: usize,
    /// From 0, in the order in which the connections were made.
    pub connection: usize,
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What happens to a request.
pub enum Act {
    Reply {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Closes the connection.
    Close,
    /// Closes it with a reset.
    Reset,
    /// These bytes, and then silence.
    Stall(Vec<u8>),
    /// These bytes, and then the connection is closed.
    Raw(Vec<u8>),
    /// The first bytes, and then these forever.
    Endless(Vec<u8>, Vec<u8>),
    /// These bytes one by one, each after this many milliseconds.
    Drip(Vec<u8>, u64),
    /// A reply, and then the connection is closed although the reply does not say so. See [`Scripted::closed`].
    ReplyAndClose(String),
}

impl Act {
    pub fn json(status: u16, body: impl Into<String>) -> Act {
        Act::Reply { status, headers: vec![("content-type", "application/json".into())], body: body.into() }
    }
}

type Script = dyn Fn(Received) -> Pin<Box<dyn Future<Output = Act> + Send>> + Send + Sync;

/// A running provider. It ends with the test's runtime.
pub struct Scripted {
    pub addr: SocketAddr,
    log: Arc<Mutex<Vec<Received>>>,
    arrived: watch::Sender<usize>,
    closed: watch::Sender<usize>,
}

impl Scripted {
    pub async fn start<F, R>(script: F) -> Arc<Scripted>
    where
        F: Fn(Received) -> R + Send + Sync + 'static,
        R: Future<Output = Act> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Arc::new(Scripted {
            addr,
            log: Arc::default(),
            arrived: watch::Sender::new(0),
            closed: watch::Sender::new(0),
        });
        let script: Arc<Script> = Arc::new(move |received| Box::pin(script(received)));
        let shared = server.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, connection, shared.clone(), script.clone()));
            }
        });
        server
    }

    pub fn log(&self) -> Vec<Received> {
        self.log.lock().unwrap().clone()
    }

    /// Waits until this many requests have arrived.
    pub async fn arrived(&self, count: usize) {
        self.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
    }

    /// Waits until the client has noticed this many closes after replies.
    pub async fn closed(&self, count: usize) {
        self.closed.subscribe().wait_for(|closed| *closed >= count).await.unwrap();
    }
}

async fn serve(mut stream: TcpStream, connection: usize, server: Arc<Scripted>, script: Arc<Script>) {
    let mut buffer = Vec::new();
    while let Some(mut received) = read(&mut stream, &mut buffer).await {
        received.connection = connection;
        let number = {
            let mut log = server.log.lock().unwrap();
            received.number = log.len();
            log.push(received.clone());
            log.len()
        };
        server.arrived.send_if_modified(|arrived| {
            *arrived = number.max(*arrived);
            true
        });
        match script(received).await {
            Act::Reply { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} x\r\n");
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                if status != 204 {
                    head += &format!("content-length: {}\r\n", body.len());
                }
                let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes()).await;
            }
            Act::Close => return,
            Act::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
            Act::Stall(bytes) => {
                let _ = stream.write_all(&bytes).await;
                std::future::pending().await
            }
            Act::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Act::Endless(first, rest) => {
                let mut sent = stream.write_all(&first).await;
                while sent.is_ok() {
                    sent = stream.write_all(&rest).await;
                }
                return;
            }
            Act::Drip(bytes, millis) => {
                for byte in bytes {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
                }
                return;
            }
            Act::ReplyAndClose(body) => {
                let head = format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.shutdown().await;
                let _ = more(&mut stream, &mut buffer).await;
                server.closed.send_modify(|closed| *closed += 1);
                return;
            }
        }
    }
}

/// None: the client has closed.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    while buffer.len() < end + length {
        more(stream, buffer).await?;
    }
    let body = String::from_utf8(buffer[end..end + length].to_vec()).unwrap();
    buffer.drain(..end + length);
    Some(Received { number: 0, connection: 0, method, path, headers, body })
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buffer).await.ok()?;
    (read > 0).then_some(())
}
