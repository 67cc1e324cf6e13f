//! The state that requests share.

use std::sync::Arc;

use mutation_api::bearer::KnownTokens;
use mutation_api::consumers::Consumers;
use mutation_api::stream::Stream;

use crate::faults::Faults;
use crate::log::Log;

pub struct App {
    pub tokens: KnownTokens<()>,
    pub stream: Arc<Stream>,
    pub consumers: Consumers,
    pub faults: Faults,
    pub log: Arc<Log>,
}

impl App {
    pub fn new(tokens: Vec<String>, log_bodies: bool) -> Arc<App> {
        Arc::new(App {
            tokens: KnownTokens::new(tokens.into_iter().map(|token| (token, ()))),
            stream: Arc::new(Stream::new()),
            consumers: Consumers::default(),
            faults: Faults::default(),
            log: Arc::new(Log::new(log_bodies)),
        })
    }
}
