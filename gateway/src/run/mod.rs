//! `run`: from a configuration to a server, and its end.
//!
//! - `dev`     a configuration for a first look
//! - `reload`  the file read again on SIGHUP
//!
//! The end has an order. New requests are refused, those in progress are answered, and only then are connections
//! closed: a client that got no reply does not know whether its mutation was applied.

pub mod dev;
mod reload;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::Config;
use crate::serve::{Connections, Listener, Settings};
use crate::{Gateway, admin, api, logs, metrics};

use reload::Reloader;

/// For clients that are about to send, and learn from the reply that the gateway stops.
const LINGER: Duration = Duration::from_secs(1);
/// Connections to the port of operators.
const ADMIN_CONNECTIONS: usize = 64;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
    #[error("cannot count: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("{0}")]
    Build(String),
    #[error("consumer {id}: {error}")]
    Consumer { id: String, error: String },
}

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every admitted request was answered.
    Orderly,
    /// The grace ran out, or a second signal came: some clients do not know what became of their mutations.
    Cut,
}

/// Serves until SIGTERM or SIGINT. `file` is read again on SIGHUP; None: there is none. `announce` learns the address
/// once connections are accepted.
///
/// # Errors
/// The server did not start.
pub async fn run(
    config: Config,
    file: Option<PathBuf>,
    filter: logs::Filter,
    announce: impl FnOnce(&str),
) -> Result<End, RunError> {
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    allow_open_files();
    let counted = admin::record()?;
    ::metrics::gauge!(metrics::CONFIG_TIMESTAMP).set(now());
    let gateway = Gateway::build(&config).map_err(|error| RunError::Build(error.to_string()))?;
    for consumer in &config.consumers {
        let id = consumer.id.clone();
        gateway.consume(consumer).await.map_err(|error| RunError::Consumer { id, error })?;
    }
    let public = bind(config.listen).await?;
    let private = match config.admin {
        Some(address) => Some(bind(address).await?),
        None => None,
    };

    let draining = CancellationToken::new();
    let (settings, seen_settings) = watch::channel(Settings { tls: config.tls.clone(), clients: config.clients });
    let (clients, operators) = (Connections::new(), Connections::new());
    let most = config.clients.max_connections;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    if config.tls.is_none() && !config.listen.ip().is_loopback() {
        warn!(listen = %config.listen, "tokens arrive unencrypted unless something in front of this port ends TLS");
    }

    let url = format!("{scheme}://{}", public.address);
    let router = api::router(gateway.clone());
    tokio::spawn(clients.clone().accept(public.listener, router, seen_settings.clone(), most));
    tokio::spawn(admin::keep_up(counted.clone()));
    let admin_address = private.as_ref().map(|private| private.address);
    if let Some(private) = private {
        // Operators get no TLS: the port is for the same host or pod.
        let (_, plain) = watch::channel(Settings { tls: None, clients: config.clients });
        let router = admin::router(counted, draining.clone());
        tokio::spawn(operators.clone().accept(private.listener, router, plain, ADMIN_CONNECTIONS));
    }
    say(&format!("listening on {url}"));
    if let Some(address) = admin_address {
        say(&format!("admin on http://{address}"));
    }
    announce(&url);
    info!(%url, version = env!("CARGO_PKG_VERSION"), syncs = config.syncs.len(), "started");
    notify(&[NotifyState::Ready]);

    let mut reloader = Reloader::new(file, config, filter, settings);
    while let Asked::Reload = signals.next().await {
        begin_reload();
        reloader.reload(&gateway).await;
        notify(&[NotifyState::Ready]);
    }

    notify(&[NotifyState::Stopping]);
    draining.cancel();
    info!(grace = ?reloader.grace(), "draining");
    let finish = async {
        // Until it has ended, the port stays open, and new requests get a 429.
        gateway.drain().await;
        clients.linger(LINGER).await;
        clients.close().await;
    };
    Ok(ended(finish, reloader.grace(), &mut signals).await)
}

async fn ended(finish: impl Future<Output = ()>, grace: Duration, signals: &mut Signals) -> End {
    let second = async { while !matches!(signals.next().await, Asked::End) {} };
    tokio::select! {
        finished = timeout(grace, finish) => match finished {
            Ok(()) => {
                info!("ended");
                End::Orderly
            }
            Err(_) => {
                error!("the grace ran out");
                End::Cut
            }
        },
        () = second => {
            error!("a second signal: ended at once");
            End::Cut
        }
    }
}

struct Bound {
    listener: Listener,
    address: SocketAddr,
}

async fn bind(address: SocketAddr) -> Result<Bound, RunError> {
    let failed = |error| RunError::Listen { address, error };
    let listener = Listener::bind(address).await.map_err(failed)?;
    let address = listener.address().map_err(failed)?;
    Ok(Bound { listener, address })
}

enum Asked {
    Reload,
    End,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

/// A line on standard output, at once: the process that started this one waits for it, and may then stop reading.
pub fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        debug!(%error, "standard output is closed");
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot notify systemd");
    }
}

fn begin_reload() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "cannot read the clock"),
    }
}

/// Many systems allow 1,024 open files unless a process asks for more. A connection is one, and so is its provider's.
fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

/// Unix time, in seconds.
fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}
