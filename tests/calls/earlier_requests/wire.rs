//! A client that sends several statements before one Sync, as drivers do for a batch. The driver of these tests cannot.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sequin_harness::{Database, SUPERUSER};

pub struct Wire {
    stream: UnixStream,
}

/// An error's fields by their letters in the protocol: C code, M message, D detail, H hint, W context.
pub type Fields = BTreeMap<char, String>;

impl Wire {
    pub fn connect(database: &Database) -> Wire {
        let stream = UnixStream::connect(database.server().dir().join(".s.PGSQL.5432")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut wire = Wire { stream };
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for text in ["user", SUPERUSER, "database", database.name(), ""] {
            body.extend([text.as_bytes(), b"\0"].concat());
        }
        wire.stream.write_all(&[&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()).unwrap();
        wire.read_until_ready().unwrap_or_else(|error| panic!("{error:?}"));
        wire
    }

    /// Sends the statements, each with Parse, Bind and Execute, and one Sync. The error of the one that failed.
    pub fn pipeline(&mut self, statements: &[&str]) -> Result<(), Fields> {
        let mut bytes = Vec::new();
        for statement in statements {
            message(&mut bytes, b'P', &[b"\0", statement.as_bytes(), b"\0\0\0"].concat());
            execute(&mut bytes, b"\0", None);
        }
        self.synced(bytes)
    }

    /// The same for one statement that is prepared once, with a text parameter.
    pub fn batch(&mut self, statement: &str, parameters: &[&str]) -> Result<(), Fields> {
        let mut bytes = Vec::new();
        message(&mut bytes, b'C', b"Ss\0");
        message(&mut bytes, b'P', &[b"s\0", statement.as_bytes(), b"\0\0\0"].concat());
        for parameter in parameters {
            execute(&mut bytes, b"s\0", Some(parameter));
        }
        self.synced(bytes)
    }

    /// Runs one statement, whose rows are fetched two by two.
    pub fn fetch_by_twos(&mut self, statement: &str) -> Result<(), Fields> {
        let mut bytes = Vec::new();
        message(&mut bytes, b'P', &[b"\0", statement.as_bytes(), b"\0\0\0"].concat());
        message(&mut bytes, b'B', b"\0\0\0\0\0\0\0\0");
        for _ in 0..3 {
            message(&mut bytes, b'E', b"\0\0\0\0\x02");
        }
        self.synced(bytes)
    }

    fn synced(&mut self, mut bytes: Vec<u8>) -> Result<(), Fields> {
        message(&mut bytes, b'S', b"");
        self.stream.write_all(&bytes).unwrap();
        self.read_until_ready()
    }

    /// One message of the simple protocol.
    pub fn simple(&mut self, sql: &str) -> Result<(), Fields> {
        let mut bytes = Vec::new();
        message(&mut bytes, b'Q', &[sql.as_bytes(), b"\0"].concat());
        self.stream.write_all(&bytes).unwrap();
        self.read_until_ready()
    }

    fn read_until_ready(&mut self) -> Result<(), Fields> {
        let mut result = Ok(());
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4;
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).unwrap();
            match head[0] {
                b'E' => result = Err(fields(&body)),
                b'Z' => return result,
                _ => {}
            }
        }
    }
}

/// Bind and Execute of the unnamed portal.
fn execute(bytes: &mut Vec<u8>, statement: &[u8], parameter: Option<&str>) {
    let mut bind = [b"\0", statement, &[0, 0]].concat();
    match parameter {
        None => bind.extend([0, 0]),
        Some(text) => {
            bind.extend([0, 1]);
            bind.extend((text.len() as u32).to_be_bytes());
            bind.extend(text.as_bytes());
        }
    }
    bind.extend([0, 0]);
    message(bytes, b'B', &bind);
    message(bytes, b'E', b"\0\0\0\0\0");
}

fn message(bytes: &mut Vec<u8>, kind: u8, body: &[u8]) {
    bytes.push(kind);
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
}

fn fields(body: &[u8]) -> Fields {
    let texts = body.split(|&byte| byte == 0).filter(|text| !text.is_empty());
    texts.map(|text| (text[0] as char, String::from_utf8_lossy(&text[1..]).into_owned())).collect()
}
