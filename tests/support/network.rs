//! Helpers for tests of the network: a server with controlled look-ups, an API of a few bytes, calls with a time limit,
//! and the state of processes and sockets.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use postgres::Client;
use postgres::error::{DbError, SqlState};
pub use sequin_harness::look_ups::release;
use sequin_harness::{Database, RawServer, Server, literal, raw};

use super::session::{db_error, first_column};
pub use super::waiting::{PATIENCE, eventually};

/// Where every connection is refused. Not a port that was free a moment ago: the next test may have been given it.
pub const REFUSING: &str = "127.77.0.1:1";

/// A reply's body with one record, `003`.
pub const RECORD: &str = r#"{"records":[{"upstream_id":"003","data":{"Email":"a@b.c"}}]}"#;

/// Creates or changes the server object `name` and its mapping for PUBLIC.
pub fn foreign_server(database: &Database, name: &str, url: &str, more_options: &str) {
    let url = literal(url);
    database.execute(&format!(
        "DROP SERVER IF EXISTS {name} CASCADE;
         CREATE SERVER {name} FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url {url} {more_options});
         CREATE USER MAPPING FOR PUBLIC SERVER {name} OPTIONS (token 'the-token')"
    ));
}

/// A create of one record through the server object `server`.
pub fn create(server: &str) -> String {
    create_of(server, 1)
}

/// The same, with about this many bytes.
pub fn create_of(server: &str, bytes: usize) -> String {
    format!(
        "SELECT upstream_id FROM sequin_create('sync', 'salesforce:contact', \
         jsonb_build_object('text', repeat('x', {bytes})), server => '{server}')"
    )
}

/// Takes a session's statement_timeout away, which counts for this statement too and may be a millisecond.
pub fn reset_statement_timeout(client: &mut Client) {
    while let Err(error) = client.batch_execute("RESET statement_timeout") {
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
    }
}

/// A statement in progress in a session, on its own thread.
pub struct Pending(Receiver<(Client, Result<Vec<String>, postgres::Error>)>);

impl Pending {
    pub fn start(mut client: Client, sql: &str) -> Pending {
        let (sender, receiver) = mpsc::channel();
        let sql = sql.to_owned();
        thread::spawn(move || {
            let result = client.simple_query(&sql).map(first_column);
            // The test may have given up.
            let _ = sender.send((client, result));
        });
        Pending(receiver)
    }

    /// The session, and the result. Panics if there is none.
    pub fn end(self, what: &str) -> (Client, Result<Vec<String>, postgres::Error>) {
        self.0.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: the statement did not come back"))
    }

    /// The same for a statement that must fail.
    pub fn refusal(self, what: &str) -> (Client, DbError) {
        let (client, result) = self.end(what);
        (client, db_error(result, what))
    }

    /// Whether the statement has come back already.
    pub fn has_ended(&self) -> bool {
        !matches!(self.0.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

/// Checks that the CONTEXT of an error, or a log that has it, says just this of the mutation.
pub fn assert_known(context: &str, known: &str, what: &str) {
    let line = context.lines().find(|line| line.contains(" in salesforce:contact through server ")).unwrap_or_default();
    assert!(line.ends_with(&format!("\": {known}")), "{what}: {context}");
}

/// A backend's log lines. The client does not always get the last messages of a terminated session.
pub fn logged_by(server: &Server, pid: i32) -> String {
    let log = server.log();
    let its: Vec<&str> = log.lines().filter(|line| line.contains(&format!(" [{pid}] "))).collect();
    its.join("\n")
}

/// Whether the backend waits in the extension.
pub fn waits(admin: &mut Client, pid: i32) -> bool {
    let sql = "SELECT wait_event_type IS NOT DISTINCT FROM 'Extension' FROM pg_stat_activity WHERE pid = $1";
    admin.query_opt(sql, &[&pid]).unwrap().is_some_and(|row| row.get(0))
}

/// How many threads the process has.
pub fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// How many descriptors the backend has, without those of the data directory's files, which Postgres opens and closes as
/// it likes.
pub fn descriptors(pid: i32) -> usize {
    let of_a_relation = |link: &PathBuf| link.components().any(|part| part.as_os_str() == "data");
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    links.filter_map(|link| fs::read_link(link.path()).ok()).filter(|link| !of_a_relation(link)).count()
}

/// The memory that the process has to itself. The shared buffers that it has ever touched count as resident too, and
/// other sessions decide which those are. Counted by a walk over the pages: the numbers in `status` are put together
/// from those of the processors, and may be some hundred KiB off.
pub fn private_kib(pid: i32) -> i64 {
    let pages = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let value = pages.lines().find_map(|line| line.strip_prefix("Anonymous:")?.split_whitespace().next());
    value.unwrap_or_else(|| panic!("no Anonymous in {pages}")).parse().unwrap()
}

/// A line of `/proc/PID/status` that is in KiB, for instance `VmHWM`.
pub fn status_kib(pid: i32, name: &str) -> i64 {
    value_kib(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), name)
}

/// The same of the file's content.
pub fn value_kib(status: &str, name: &str) -> i64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next());
    value.unwrap_or_else(|| panic!("no {name} in {status}")).parse().unwrap()
}

/// A TCP socket, as the kernel's table has it.
pub struct Socket {
    local: u16,
    remote: u16,
    state: String,
    /// Bytes that are not sent, or not acknowledged by the other side.
    unsent: u32,
    unread: u32,
}

impl Socket {
    /// This side has not closed it.
    pub fn is_open(&self) -> bool {
        self.state == "01" || self.is_half_closed()
    }

    /// TCP_CLOSE_WAIT: the other side has closed, and this one does not know it yet.
    pub fn is_half_closed(&self) -> bool {
        self.state == "08"
    }

    /// Nothing that has come waits to be read.
    pub fn has_read_all(&self) -> bool {
        self.unread == 0
    }

    fn parse(line: &str) -> Option<Socket> {
        let hex = |text: &str| u32::from_str_radix(text, 16).ok();
        let port = |address: &str| hex(address.split_once(':')?.1)?.try_into().ok();
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, state, queues, ..] = words[..] else { return None };
        let (unsent, unread) = queues.split_once(':')?;
        let (local, remote) = (port(local)?, port(remote)?);
        Some(Socket { local, remote, state: state.to_owned(), unsent: hex(unsent)?, unread: hex(unread)? })
    }
}

fn sockets() -> Vec<Socket> {
    fs::read_to_string("/proc/net/tcp").unwrap().lines().skip(1).filter_map(Socket::parse).collect()
}

/// All connections to `port` of 127.0.0.1, from the clients' side.
pub fn sockets_to(port: u16) -> Vec<Socket> {
    sockets().into_iter().filter(|socket| socket.remote == port).collect()
}

/// How many connections to `port` the clients hold open.
pub fn open_connections(port: u16) -> usize {
    sockets_to(port).iter().filter(|socket| socket.is_open()).count()
}

/// Whether all that the server at `port` has written so far has come to the clients, who may have read it or not.
pub fn has_all_arrived(port: u16) -> bool {
    sockets().iter().filter(|socket| socket.local == port).all(|socket| socket.unsent == 0)
}

/// Whether clients have read all that the server at `port` has written so far.
pub fn has_all_been_read(port: u16) -> bool {
    // In this order: what has left the server's side is on the clients', or read.
    has_all_arrived(port) && sockets_to(port).iter().all(Socket::has_read_all)
}

/// Answers every request of a connection with [`RECORD`], until the client closes.
pub fn serve(stream: &mut (impl Read + Write)) {
    while raw::read_request(stream).is_ok() && stream.write_all(&raw::reply(200, RECORD)).is_ok() {}
}

/// An API that answers every request with [`RECORD`], and counts them.
pub struct Api {
    pub raw: RawServer,
    requests: Arc<AtomicUsize>,
}

impl Api {
    pub fn start() -> Api {
        Api::on("127.0.0.1:0")
    }

    pub fn on(address: &str) -> Api {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let raw = RawServer::on(address, move |stream| {
            while raw::read_request(stream).is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
                if stream.write_all(&raw::reply(200, RECORD)).is_err() {
                    return;
                }
            }
        });
        Api { raw, requests }
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}
