//! A connection on which the tests decide about each byte.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub struct Raw<S>(pub S);

/// What the future gives. Fails after a minute, where a test would otherwise wait for ever.
pub async fn within_reason<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("it never happened")
}

impl Raw<TcpStream> {
    pub async fn connect(address: SocketAddr) -> Raw<TcpStream> {
        Raw(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// What the server sends before it closes. Fails if it never does.
    pub async fn until_closed(&mut self) -> String {
        let mut received = Vec::new();
        // A reset is an end too.
        let _ = within_reason(self.0.read_to_end(&mut received)).await;
        String::from_utf8_lossy(&received).into_owned()
    }

    /// What the server sends up to `end`.
    pub async fn until(&mut self, end: &str) -> String {
        let mut received = String::new();
        while !received.ends_with(end) {
            let byte = self.0.read_u8().await.unwrap_or_else(|error| panic!("{error} after {received:?}"));
            received.push(char::from(byte));
        }
        received
    }
}
