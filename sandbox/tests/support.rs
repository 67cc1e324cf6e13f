//! A sandbox that ends with its test, and a client without automatic behaviour.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub const CONTACT: &str = "salesforce:contact";

pub struct Sandbox {
    pub address: String,
    pub child: Child,
    pub stdin: Option<ChildStdin>,
}

pub fn start() -> Sandbox {
    start_with(&[])
}

pub fn start_with(args: &[&str]) -> Sandbox {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sequin-sandbox"))
        .arg("--until-stdin-closes")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit("://").next().unwrap().to_owned();
    assert!(line.starts_with("listening on http"), "{line:?}");
    Sandbox { address, stdin: child.stdin.take(), child }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

impl Sandbox {
    pub fn connect(&self) -> Client {
        Client(TcpStream::connect(&self.address).unwrap())
    }

    /// On a connection of its own.
    pub fn control(&self, method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.connect().call(method, &format!("/sandbox/{path}"), &body)
    }

    pub fn fault(&self, rule: Value) {
        let reply = self.control("POST", "faults", rule.clone());
        assert_eq!(reply.status, 201, "{rule}: {}", reply.body);
    }

    pub fn log(&self) -> Value {
        self.control("GET", "log", Value::Null).json()
    }

    pub fn records(&self) -> Vec<Value> {
        let reply = self.control("GET", "records", Value::Null).json();
        reply["records"].as_array().unwrap().clone()
    }

    pub fn create(&self, n: usize) -> Reply {
        self.connect().mutate(&create(n))
    }

    /// Ids of `n` fresh contacts.
    pub fn contacts(&self, n: usize) -> Vec<String> {
        let reply = self.create(n);
        assert_eq!(reply.status, 200, "{}", reply.body);
        let records = reply.json()["records"].as_array().unwrap().clone();
        records.iter().map(|record| record["upstream_id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits for an effect that the other side of a socket sees a moment later.
    pub fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if holds(&self.log()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("not within 20 s: {what}: {}", self.log());
    }
}

pub fn create(n: usize) -> Value {
    let records: Vec<_> = (0..n).map(|i| json!({"data": {"LastName": format!("Contact {i}")}})).collect();
    json!({"kind": "create", "sync_id": "s", "collection_id": CONTACT, "records": records})
}

pub struct Client(pub TcpStream);

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

pub fn head(method: &str, path: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: sandbox\r\nauthorization: Bearer sandbox-token\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

impl Client {
    pub fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    pub fn start(&mut self, mutation: &Value) {
        let body = mutation.to_string();
        self.send(&(head("POST", "/v1/mutations/run", body.len()) + &body));
    }

    pub fn mutate(&mut self, mutation: &Value) -> Reply {
        self.start(mutation);
        self.reply()
    }

    pub fn call(&mut self, method: &str, path: &str, body: &str) -> Reply {
        self.send(&(head(method, path, body.len()) + body));
        self.reply()
    }

    /// A whole reply, with a content-length.
    pub fn reply(&mut self) -> Reply {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            assert_eq!(self.0.read(&mut byte).unwrap(), 1, "cut: {}", String::from_utf8_lossy(&bytes));
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap();
        let status = head[9..12].parse().unwrap();
        let length = head.split("content-length: ").nth(1).map_or(0, |rest| {
            let digits = rest.split("\r\n").next().unwrap();
            digits.parse().unwrap()
        });
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        Reply { status, head, body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// All bytes until the connection ends, and the kind of end: None is a FIN.
    pub fn rest(&mut self) -> (Vec<u8>, Option<std::io::ErrorKind>) {
        let mut bytes = Vec::new();
        let end = self.0.read_to_end(&mut bytes).err().map(|error| error.kind());
        (bytes, end)
    }

    /// The bytes until they are `enough`, from a connection that then stays open and silent for a while.
    pub fn so_far(&mut self, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut piece = [0; 4_096];
        while !enough(&bytes) {
            let n = self.0.read(&mut piece).unwrap();
            assert!(n > 0, "cut: {}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&piece[..n]);
        }
        self.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let end = self.0.read(&mut piece).map_err(|error| error.kind());
        assert_eq!(end, Err(std::io::ErrorKind::WouldBlock));
        self.0.set_read_timeout(None).unwrap();
        bytes
    }
}
