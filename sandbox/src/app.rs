//! The state that requests share.

use std::sync::Arc;

use crate::consumers::Consumers;
use crate::faults::Faults;
use crate::log::Log;
use crate::stream::Stream;

pub struct App {
    pub tokens: Vec<String>,
    pub stream: Arc<Stream>,
    pub consumers: Consumers,
    pub faults: Faults,
    pub log: Arc<Log>,
}

impl App {
    pub fn new(tokens: Vec<String>, log_bodies: bool) -> Arc<App> {
        Arc::new(App {
            tokens,
            stream: Arc::new(Stream::new()),
            consumers: Consumers::default(),
            faults: Faults::default(),
            log: Arc::new(Log::new(log_bodies)),
        })
    }
}
