//! A server in this process, whose handlers the tests hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use gateway::config::Clients;
use gateway::serve::{Connections, Listener, Settings};
use tokio::sync::{Notify, mpsc, watch};

/// Longer than any test: what must not end a connection.
const NEVER: Duration = Duration::from_secs(3600);

/// Times that no test reaches.
pub const PATIENT: Clients =
    Clients { head_timeout: NEVER, write_timeout: NEVER, idle_timeout: NEVER, max_connections: 100 };

pub struct Server {
    pub address: SocketAddr,
    pub connections: Connections,
    pub settings: watch::Sender<Settings>,
    /// One message for each `GET /hold` that began.
    pub held: mpsc::UnboundedReceiver<()>,
    /// Lets one `GET /hold` go.
    pub release: Arc<Notify>,
}

impl Server {
    /// `GET /` answers at once, `GET /hold` when it is let go, `GET /large` more than a connection buffers, `POST /`
    /// after the whole body.
    pub async fn start(settings: Settings) -> Server {
        let (begun, held) = mpsc::unbounded_channel();
        let release = Arc::new(Notify::new());
        let releasing = Arc::clone(&release);
        let hold = async move || {
            begun.send(()).unwrap();
            releasing.notified().await;
            "let go"
        };
        let large = Bytes::from(vec![b'x'; 64 << 20]);
        let router = Router::new()
            .route("/large", get(async move || large))
            .route("/", get(async || "hello").post(async |body: Bytes| body.len().to_string()))
            .route("/hold", get(hold));

        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap();
        let connections = Connections::new();
        let most = settings.clients.max_connections;
        let (settings, seen) = watch::channel(settings);
        tokio::spawn(connections.clone().accept(listener, router, seen, most));
        Server { address, connections, settings, held, release }
    }

    pub async fn plain(clients: Clients) -> Server {
        Server::start(Settings { tls: None, clients }).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A client that knows no proxy. `adjust` has the last word on it.
pub fn client(adjust: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> reqwest::Client {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    adjust(reqwest::Client::builder().no_proxy()).build().unwrap()
}
