//! One process of the local Mutation API, and a client of its controls.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Method;
use ureq::tls::TlsConfig;

use crate::paths;
use crate::program::Program;

/// The default token of a sandbox.
pub const TOKEN: &str = "sandbox-token";

/// A running sandbox. It ends when this value is dropped, or when the process ends in any way.
#[derive(Debug)]
pub struct Sandbox {
    program: Program,
    token: String,
    controls: Agent,
}

/// The received requests, in order.
#[derive(Clone, Debug, Deserialize)]
pub struct Log {
    /// Accepted connections.
    pub connections: u64,
    /// Connections that are open now.
    #[serde(default)]
    pub open: u64,
    /// Requests, including incomplete ones.
    pub requests: Vec<Request>,
}

/// A request as the sandbox received it.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// The number of its connection.
    pub connection: u64,
    /// `POST`
    pub method: String,
    /// `/v1/mutations/run`
    pub path: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The received part; empty if the sandbox keeps no bodies.
    #[serde(default)]
    pub body: String,
    /// The length of the received body.
    pub body_bytes: u64,
    /// Whether the whole body arrived.
    pub complete: bool,
    /// When it arrived, in microseconds of the sandbox's clock.
    pub at_us: u64,
    /// The reply, if there was one.
    pub status: Option<u16>,
    /// When it was sent, on the same clock.
    #[serde(default)]
    pub answered_us: Option<u64>,
}

impl Request {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("not JSON, {e}: {}", self.body))
    }
}

impl Log {
    /// The largest number of mutations that waited for their answers at the same moment.
    pub fn most_at_once(&self) -> usize {
        most_at_once(&self.mutations())
    }

    /// The mutations alone.
    pub fn mutations(&self) -> Vec<&Request> {
        self.requests.iter().filter(|request| request.path == "/v1/mutations/run").collect()
    }
}

/// The largest number of these requests that waited for their answers at the same moment.
pub fn most_at_once(requests: &[&Request]) -> usize {
    // Where an answer and the next request have the same microsecond, `false` sorts first.
    let begins = requests.iter().map(|request| (request.at_us, true));
    let ends = requests.iter().filter_map(|request| Some((request.answered_us?.max(request.at_us + 1), false)));
    let mut events: Vec<(u64, bool)> = begins.chain(ends).collect();
    events.sort_unstable();
    let (mut open, mut most) = (0_usize, 0);
    for (_, is_begin) in events {
        open = if is_begin { open + 1 } else { open - 1 };
        most = most.max(open);
    }
    most
}

/// Chooses how a sandbox starts.
#[derive(Debug)]
pub struct SandboxBuilder {
    command: Option<Command>,
    token: String,
}

impl SandboxBuilder {
    /// The only token that it accepts.
    pub fn token(mut self, token: &str) -> SandboxBuilder {
        self.token = token.to_owned();
        self
    }

    /// Serves https.
    pub fn tls(self, certificate: &Path, key: &Path) -> SandboxBuilder {
        self.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key)
    }

    /// The address; by default `127.0.0.1:0`, a free port.
    pub fn listen(self, address: &str) -> SandboxBuilder {
        self.arg("--listen").arg(address)
    }

    /// Any other argument of the program.
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> SandboxBuilder {
        if let Some(command) = &mut self.command {
            command.arg(argument);
        }
        self
    }

    /// Starts the sandbox, and returns when it listens.
    pub fn start(self) -> io::Result<Sandbox> {
        let missing = "there is no sequin-sandbox: cargo build -p sequin-sandbox, or set SEQUIN_SANDBOX";
        let mut command = self.command.ok_or_else(|| io::Error::other(missing))?;
        command.args(["--token", &self.token, "--until-stdin-closes"]);
        let (program, ()) = Program::start(command, |_| Ok(()))?;
        // Verification is off for the controls: tests choose the certificate.
        let tls = TlsConfig::builder()
            .disable_verification(true)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let controls = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)))
            .tls_config(tls.build())
            .build()
            .into();
        Ok(Sandbox { program, token: self.token, controls })
    }
}

impl Sandbox {
    /// A sandbox on a free port of 127.0.0.1. Panics if it cannot start.
    pub fn start() -> Sandbox {
        Sandbox::builder().start().unwrap_or_else(|e| panic!("no sandbox: {e}"))
    }

    /// A builder for a sandbox with its own arguments.
    pub fn builder() -> SandboxBuilder {
        let command = paths::built("SEQUIN_SANDBOX", "sequin-sandbox").map(Command::new);
        SandboxBuilder { command, token: TOKEN.to_owned() }
    }

    /// The value of a server object's option `url`.
    pub fn url(&self) -> &str {
        self.program.url()
    }

    /// The accepted token, which follows `Bearer`.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The process, for tests that kill it.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// The text on its error output.
    pub fn stderr(&self) -> String {
        self.program.output()
    }

    /// The log since the start or the last `clear_log`.
    pub fn log(&self) -> Log {
        let log = self.control(Method::GET, "/sandbox/log", None);
        serde_json::from_value(log).unwrap_or_else(|e| panic!("the sandbox's log: {e}"))
    }

    /// Empties the log.
    pub fn clear_log(&self) {
        self.control(Method::DELETE, "/sandbox/log", None);
    }

    /// Adds a fault rule; the sandbox's README describes the rules.
    pub fn fault(&self, fault: Value) {
        self.control(Method::POST, "/sandbox/faults", Some(fault));
    }

    /// Removes all fault rules.
    pub fn clear_faults(&self) {
        self.control(Method::DELETE, "/sandbox/faults", None);
    }

    /// Registers a consumer, for instance `{"kind": "postgres", "id", "dsn", "table", "collection_id"}`. It exists when
    /// this returns.
    pub fn consumer(&self, consumer: Value) -> Value {
        self.control(Method::POST, "/sandbox/consumers", Some(consumer))
    }

    /// The records of one collection.
    pub fn records(&self, collection: &str) -> Vec<Value> {
        let path = format!("/sandbox/records?collection_id={}", percent_encoded(collection));
        match self.control(Method::GET, &path, None) {
            Value::Object(mut object) => match object.remove("records") {
                Some(Value::Array(records)) => records,
                other => panic!("the sandbox's records: {other:?}"),
            },
            other => panic!("the sandbox's records: {other}"),
        }
    }

    /// Forgets all records. Consumers stay.
    pub fn clear_records(&self) {
        self.control(Method::DELETE, "/sandbox/records", None);
    }

    /// Calls any endpoint. Panics unless the status is 2xx.
    pub fn control(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let what = format!("{method} {path}");
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url()));
        let reply = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body.to_string())
                .map_err(ureq::Error::from)
                .and_then(|request| self.controls.run(request)),
            None => request.body(()).map_err(ureq::Error::from).and_then(|request| self.controls.run(request)),
        };
        let mut reply = reply.unwrap_or_else(|e| panic!("{what}: {e}\n{}", self.stderr()));
        // A log of many large requests is larger than ureq's own limit.
        let text = reply.body_mut().with_config().limit(u64::MAX).read_to_string();
        let text = text.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(reply.status().is_success(), "{what}: {} {text}", reply.status());
        if text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what}: {e}: {text}"))
    }
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
