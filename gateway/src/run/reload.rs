//! The file read again on SIGHUP.
//!
//! A configuration is taken as a whole or not at all. What a running process cannot change is refused in words, because
//! a change that is silently ignored comes to light at the next restart, when its author has forgotten it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::now;
use crate::config::{self, Config};
use crate::serve::Settings;
use crate::{Gateway, logs, metrics};

pub struct Reloader {
    file: Option<PathBuf>,
    fixed: Fixed,
    grace: Duration,
    filter: logs::Filter,
    settings: watch::Sender<Settings>,
}

/// What takes a restart.
#[derive(PartialEq, Eq)]
struct Fixed {
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    has_tls: bool,
    max_connections: usize,
}

impl Fixed {
    fn of(config: &Config) -> Fixed {
        Fixed {
            listen: config.listen,
            admin: config.admin,
            has_tls: config.tls.is_some(),
            max_connections: config.clients.max_connections,
        }
    }

    fn differences(&self, new: &Fixed) -> Vec<&'static str> {
        let differences = [
            ("listen", self.listen != new.listen),
            ("admin", self.admin != new.admin),
            ("tls (its presence)", self.has_tls != new.has_tls),
            ("clients.max_connections", self.max_connections != new.max_connections),
        ];
        differences.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

impl Reloader {
    pub fn new(
        file: Option<PathBuf>,
        config: Config,
        filter: logs::Filter,
        settings: watch::Sender<Settings>,
    ) -> Reloader {
        Reloader { file, fixed: Fixed::of(&config), grace: config.grace, filter, settings }
    }

    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Takes the file's new content, or says in the log why not.
    pub async fn reload(&mut self, gateway: &Arc<Gateway>) {
        let Some(file) = self.file.clone() else {
            warn!("there is no file to read again");
            return;
        };
        let result = match tokio::task::spawn_blocking(move || config::load(&file)).await {
            Ok(Ok(config)) => self.apply(config, gateway),
            Ok(Err(faults)) => Err(faults.to_string().lines().map(str::to_owned).collect()),
            Err(error) => Err(vec![error.to_string()]),
        };
        let word = match result {
            Ok(()) => {
                ::metrics::gauge!(metrics::CONFIG_TIMESTAMP).set(now());
                info!("the configuration was read again and applies");
                "applied"
            }
            Err(reasons) => {
                for reason in reasons {
                    error!(reason, "the new configuration was refused; nothing changed");
                }
                "refused"
            }
        };
        ::metrics::counter!(metrics::RELOADS, "result" => word).increment(1);
    }

    fn apply(&mut self, config: Config, gateway: &Arc<Gateway>) -> Result<(), Vec<String>> {
        let differences = self.fixed.differences(&Fixed::of(&config));
        if !differences.is_empty() {
            return Err(differences.iter().map(|key| format!("{key} cannot change without a restart")).collect());
        }
        let settings = Settings { tls: config.tls.clone(), clients: config.clients };
        gateway.reload(&config).map_err(|error| vec![error.to_string()])?;
        self.grace = config.grace;
        self.filter.set(&config.log);
        self.settings.send_replace(settings);
        Ok(())
    }
}
