//! `run --dev`: a configuration for a first look, without a file and without a provider.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use uuid::Uuid;

use crate::config::{Backend, Clients, Config, Consumer, Limit, Sync, Token};

/// This machine only: the token is printed.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7460);

/// `NAME=COLLECTION` of `--copy`.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The table, and the id of its consumer.
    name: String,
    collection: String,
}

impl FromStr for Copy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Copy, Self::Err> {
        match text.split_once('=') {
            Some((name, collection)) if !name.is_empty() && !collection.is_empty() => {
                Ok(Copy { name: name.to_owned(), collection: collection.to_owned() })
            }
            _ => Err("must be NAME=COLLECTION, such as contacts=salesforce:contact"),
        }
    }
}

/// Consumers that copy collections into tables of a database.
pub fn consumers(database: &tokio_postgres::Config, copies: &[Copy]) -> Vec<Consumer> {
    let consumer = |copy: &Copy| Consumer {
        id: copy.name.clone(),
        collection: copy.collection.clone(),
        database: database.clone(),
        table: copy.name.clone(),
    };
    copies.iter().map(consumer).collect()
}

/// A configuration with one token and, for each name, a sync whose records are in memory.
pub fn config(listen: SocketAddr, syncs: &[String], token: &str, consumers: Vec<Consumer>) -> Config {
    let syncs: BTreeSet<String> = syncs.iter().cloned().collect();
    let memory = |name: &String| {
        (name.clone(), Sync { backend: Backend::Memory, limit: Limit::default(), timeout: Duration::from_secs(50) })
    };
    Config {
        listen,
        tls: None,
        admin: None,
        max_body: 16 << 20,
        grace: Duration::from_secs(30),
        clients: Clients::default(),
        log: "info".into(),
        syncs: syncs.iter().map(memory).collect::<BTreeMap<_, _>>(),
        consumers,
        tokens: vec![Token { name: "dev".into(), secret: SecretString::from(token), syncs }],
    }
}

/// A new one for each start: another program of this machine cannot guess it.
pub fn token() -> String {
    Uuid::new_v4().simple().to_string()
}

/// What to paste into psql. `url` and `token` hold no quotes.
pub fn statements(url: &str, token: &str, sync: &str) -> String {
    let sync = sync.replace('\'', "''");
    format!(
        "\nRecords are kept in memory and are gone with this process. In psql:\n\n\
         CREATE EXTENSION IF NOT EXISTS sequin_mutations;\n\
         CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url '{url}', ordered_replies 'true');\n\
         CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token '{token}');\n\
         SELECT upstream_id\n\
         FROM sequin_create('{sync}', 'salesforce:contact', '{{\"Email\": \"paul@arrakis.org\"}}');\n"
    )
}
