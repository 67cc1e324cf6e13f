//! One connection: TLS, HTTP/1 or HTTP/2, and the times that a client may take.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;

use super::Settings;
use crate::config::Clients;
use crate::metrics;

/// How long HTTP/2 may take to say goodbye to a client that was idle.
const PARTING: Duration = Duration::from_secs(1);
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 200;

/// Serves the connection to its end.
pub async fn serve(stream: TcpStream, settings: Settings, router: Router, closing: CancellationToken) {
    let _open = Open::new();
    let begun = Instant::now();
    let clients = settings.clients;
    // A reply is one small packet: it must not wait for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(clients.write_timeout));
    let stream = Box::pin(stream);
    let ended = match settings.tls {
        None => http(stream, clients, begun, router, closing).await,
        Some(tls) => match handshake(stream, tls, clients.head_timeout).await {
            Ok(stream) => http(stream, clients, begun, router, closing).await,
            Err(error) => Err(error.into()),
        },
    };
    if let Err(error) = ended {
        debug!(error, "a connection broke");
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tls: Arc<rustls::ServerConfig>,
    limit: Duration,
) -> io::Result<tokio_rustls::server::TlsStream<S>> {
    timeout(limit, TlsAcceptor::from(tls).accept(stream)).await?
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    clients: Clients,
    begun: Instant,
    router: Router,
    closing: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (busy, requests) = watch::channel(Requests::default());
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = router.clone().oneshot(request.map(Body::new));
        let busy = Busy::new(busy.clone());
        async move {
            let response = answer.await;
            drop(busy);
            response
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(clients.idle_timeout);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut idle = pin!(idle(requests, clients, begun));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
        () = idle.as_mut() => {
            connection.as_mut().graceful_shutdown();
            return timeout(PARTING, connection).await.unwrap_or(Ok(()));
        }
    }
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = idle => Ok(()),
    }
}

/// The requests of one connection.
#[derive(Clone, Copy, Default)]
struct Requests {
    in_progress: usize,
    /// The first one has come. It may be answered before anything else looks at the connection.
    any: bool,
}

/// Ends when no request has been in progress for the time that clients are allowed. hyper's own timeout covers only
/// HTTP/1, and only once it knows that it is HTTP/1.
async fn idle(mut requests: watch::Receiver<Requests>, clients: Clients, begun: Instant) {
    loop {
        let Ok(so_far) = requests.wait_for(|requests| requests.in_progress == 0).await.map(|so_far| *so_far) else {
            return pending().await;
        };
        let allowed = match so_far.any {
            true => clients.idle_timeout,
            false => clients.head_timeout.saturating_sub(begun.elapsed()),
        };
        match timeout(allowed, requests.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return pending().await,
            Err(_) => return,
        }
    }
}

/// A request in progress on its connection.
struct Busy(watch::Sender<Requests>);

impl Busy {
    fn new(requests: watch::Sender<Requests>) -> Busy {
        requests.send_modify(|requests| *requests = Requests { in_progress: requests.in_progress + 1, any: true });
        Busy(requests)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|requests| requests.in_progress -= 1);
    }
}

/// An open connection, counted.
struct Open;

impl Open {
    fn new() -> Open {
        ::metrics::gauge!(metrics::CONNECTIONS).increment(1.0);
        Open
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        ::metrics::gauge!(metrics::CONNECTIONS).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_first_request_counts_even_if_it_is_answered_before_the_first_look() {
        let clients = Clients {
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            ..Clients::default()
        };
        for (requests, lives) in [(0, 10), (1, 75)] {
            let (busy, seen) = watch::channel(Requests::default());
            (0..requests).for_each(|_| drop(Busy::new(busy.clone())));
            let begun = tokio::time::Instant::now();
            idle(seen, clients, Instant::now()).await;
            assert_eq!((begun.elapsed().as_secs_f64()).round(), f64::from(lives), "after {requests} requests");
        }
    }
}
