//! Servers with an identity of their own.
//!
//! The harness copies every data directory from one template. So its servers share one system identifier, by which the
//! outbox tells a copy from the original. For two unrelated servers, one is made by initdb.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use sequin_harness::Server;
use sequin_harness::template::INITDB;

use crate::support::World;
use crate::support::server::{must, shared};

/// A server that is a stranger to all others, with these lines in its postgresql.conf.
pub fn stranger(conf: &str) -> Server {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let scratch = shared().scratch(&format!("initdb-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    shared().account().give(&scratch).unwrap();
    let data = scratch.join("data");
    initdb(shared().program("initdb")).arg("-D").arg(&data).output().map(|output| must(&output)).unwrap();
    let server = Server::builder().conf(conf).copy_of(&data).start().unwrap_or_else(|error| panic!("{error}"));
    fs::remove_dir_all(scratch).unwrap();
    server
}

/// The command with the arguments that every data directory here is made with.
pub fn initdb(mut initdb: Command) -> Command {
    initdb.args(INITDB);
    initdb
}

/// A stranger with a database, a sandbox and a server object.
pub fn cluster(conf: &str) -> World {
    World::set_up(stranger(conf))
}
