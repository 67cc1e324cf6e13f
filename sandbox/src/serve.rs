//! Sockets: listening, TLS, and one task for each connection.

pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::body::{Body, respond};
use crate::control;
use crate::gate;
use crate::wire::{Conn, Hangup, Wire};

pub async fn bind(address: &str) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| format!("cannot listen on {address}: {error}"))
}

pub async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, app: Arc<App>) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => drop(tokio::spawn(connection(tcp, tls.clone(), app.clone()))),
            // Out of descriptors: connections that end will free some.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>, app: Arc<App>) {
    // A socket that cannot be configured has lost its client.
    let Ok(conn) = Conn::new(&tcp, app.log.clone()) else {
        return;
    };
    match tls {
        None => serve(tcp, Arc::new(conn), app).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(tcp).await {
                serve(stream, Arc::new(conn), app).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, conn: Arc<Conn>, app: Arc<App>) {
    let io = TokioIo::new(Wire::new(stream, conn.clone()));
    let service = service_fn(move |request| {
        let (conn, app) = (conn.clone(), app.clone());
        async move { answer(&app, &conn, request).await }
    });
    // An error here is the end that the client, or a rule, wanted.
    let _ = http1::Builder::new().half_close(true).serve_connection(io, service).await;
}

async fn answer(app: &Arc<App>, conn: &Conn, request: Request<Incoming>) -> Result<Response<Body>, Hangup> {
    conn.forget_plan();
    if !control::is(request.uri()) {
        return gate::pass(app, conn, request).await;
    }
    conn.ticket.control();
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Hangup)?.to_bytes();
    Ok(respond(control::answer(app, head.method.as_str(), &head.uri, &body).await))
}
