//! The gateway itself: the program, with a file.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use sequin_harness::paths;
use serde_json::Value;

use super::http::{Answer, send};
use super::product::{Product, directory};

/// The only token, which sees every sync.
pub const TOKEN: &str = "judges-token";

/// One sync of the gateway's file.
pub struct Section {
    pub name: &'static str,
    /// Its tables, the first of which is `[sync.NAME]`.
    pub text: String,
    /// The names and contents of the files that the text names.
    pub secrets: Vec<(&'static str, String)>,
}

impl Section {
    /// With a text of its own: what follows `[sync.NAME]`.
    pub fn new(name: &'static str, text: &str, secrets: Vec<(&'static str, String)>) -> Section {
        Section { name, text: format!("[sync.{name}]\n{text}"), secrets }
    }

    /// As `examples/gateway/` has it for users, but at another address. `address` has no path.
    pub fn example(name: &'static str, address: &str, secrets: Vec<(&'static str, String)>) -> Section {
        let file = paths::workspace().join(format!("examples/gateway/{name}.toml"));
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let host = format!("https://{name}.example.com");
        assert!(text.contains(&host), "{} has no address: {text}", file.display());
        Section { name, text: text.replace(&host, address), secrets }
    }

    /// With more keys in `[sync.NAME]`.
    pub fn with(mut self, keys: &str) -> Section {
        let header = format!("[sync.{}]\n", self.name);
        self.text = self.text.replacen(&header, &format!("{header}{keys}\n"), 1);
        self
    }
}

/// A running gateway.
pub struct Gateway {
    process: Product,
}

impl Gateway {
    pub fn start(syncs: &[Section]) -> Gateway {
        let dir = directory();
        let names: Vec<&str> = syncs.iter().map(|sync| sync.name).collect();
        let head = "listen = \"127.0.0.1:0\"\nlog = \"warn\"\n[token.judges]\nenv = \"JUDGES_TOKEN\"";
        let texts: Vec<&str> = syncs.iter().map(|sync| sync.text.as_str()).collect();
        let text = format!("{head}\nsyncs = {names:?}\n{}", texts.join("\n"));
        fs::write(dir.path().join("gateway.toml"), text).expect("a file");
        for (name, secret) in syncs.iter().flat_map(|sync| &sync.secrets) {
            let file = File::options().write(true).create_new(true).mode(0o600).open(dir.path().join(name));
            file.and_then(|mut file| file.write_all(secret.as_bytes())).expect("a file");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_sequin-gateway"));
        command.args(["run", "gateway.toml"]).env("JUDGES_TOKEN", TOKEN);
        Gateway { process: Product::start("sequin-gateway", &command, dir) }
    }

    pub fn url(&self) -> String {
        self.process.url()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Runs a mutation, under a key if there is one.
    #[track_caller]
    pub fn mutate(&self, mutation: &Value, key: Option<&str>) -> Answer {
        let authorization = format!("Bearer {TOKEN}");
        let mut headers = vec![("authorization", authorization.as_str()), ("content-type", "application/json")];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        send("POST", &format!("{}/v1/mutations/run", self.url()), &headers, Some(&mutation.to_string()))
    }
}
