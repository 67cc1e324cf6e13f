//! Sockets: listening, TLS, and one task for each connection.

pub mod conn;
pub mod plan;
pub mod tls;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use crate::app::App;
use crate::control;
use crate::gate;
use conn::Conn;
use wire::Wire;

pub async fn bind(address: &str) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| format!("cannot listen on {address}: {error}"))
}

pub async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, app: Arc<App>) {
    let control = control::router(app.clone());
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let (tls, app, control) = (tls.clone(), app.clone(), control.clone());
                tokio::spawn(connection(tcp, tls, app, control));
            }
            // Out of descriptors: the connections that end give some back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>, app: Arc<App>, control: Router) {
    // A socket that cannot be set up is one whose client has gone.
    let Ok(conn) = Conn::new(&tcp, app.log.clone()) else {
        return;
    };
    let conn = Arc::new(conn);
    match tls {
        None => serve(tcp, conn, app, control).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(tcp).await {
                serve(stream, conn, app, control).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, conn: Arc<Conn>, app: Arc<App>, control: Router) {
    let io = TokioIo::new(Wire::new(stream, conn.clone()));
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (conn, app, mut control) = (conn.clone(), app.clone(), control::is(&request).then(|| control.clone()));
        async move {
            match &mut control {
                None => gate::pass(&app, &conn, request).await,
                Some(control) => {
                    conn.ticket.control();
                    conn.forget_plan();
                    match control.call(request.map(Body::new)).await {
                        Ok(response) => Ok(response),
                        Err(never) => match never {},
                    }
                }
            }
        }
    });
    // A connection that ends in an error ended as its client, or a rule, wanted.
    let _ = http1::Builder::new().half_close(true).serve_connection(io, service).await;
}
