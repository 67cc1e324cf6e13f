//! The file as a whole: its text becomes a [`Config`], or all its faults.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use std::{fs, str};

use secrecy::{ExposeSecret, SecretString};
use toml::de::DeTable;
use tracing_subscriber::EnvFilter;

use super::fault::{Fault, Faults};
use super::secret::{self, Form, SecretKeys};
use super::section::{At, Findings, Section};
use super::surroundings::{Machine, Surroundings};
use super::{Clients, Config, Sync, Token, sync, tls, value};

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7460);
const GRACE: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 16 << 20;
const LOG: &str = "info";
const MOST_CONNECTIONS: usize = 100_000;

/// Reads and checks the file, and every file and variable that it names.
///
/// # Errors
/// All faults that can be found in one go.
pub fn load(path: &Path) -> Result<Config, Faults> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| Faults::of_file(&name, format!("cannot be read: {error}")))?;
    match str::from_utf8(&bytes) {
        Ok(text) => parse(&name, text, &Machine::around(path)),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
            let fault = Fault { span: Some(valid.len()..valid.len()), message: "is not UTF-8".into() };
            Err(Faults::located(&name, &valid, vec![fault]))
        }
    }
}

/// The configuration in `text`. `name` is the file's name in error texts.
///
/// # Errors
/// All faults that can be found in one go. If the text is no TOML, only where it is none.
pub fn parse(name: &str, text: &str, around: &dyn Surroundings) -> Result<Config, Faults> {
    let (config, faults, _) = read(text, around);
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(Faults::located(name, text, faults)),
    }
}

fn read(text: &str, around: &dyn Surroundings) -> (Option<Config>, Vec<Fault>, BTreeSet<String>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let fault = |error: toml::de::Error| Fault { span: error.span(), message: error.message().to_owned() };
        return (None, errors.into_iter().map(fault).collect(), BTreeSet::new());
    }
    let findings = Findings::default();
    let config = config(Section::root(&findings, table.into_inner()), around);
    let (faults, known) = findings.into_parts();
    (Some(config), faults, known)
}

/// Goes on with defaults after a fault, to find the others. The result counts only if there was none.
fn config(mut root: Section<'_, '_>, around: &dyn Surroundings) -> Config {
    let listen = root.parsed("listen", value::address).map_or(LISTEN, |at| at.value);
    let tls = root.section("tls").and_then(|section| tls::read(section, around));
    let admin = root.parsed("admin", value::address);
    if let Some(admin) = admin.as_ref().filter(|admin| value::addresses_collide(admin.value, listen)) {
        root.fault("admin", &admin.span, "must not be the address of listen: clients would see it");
    }
    let max_body = root.parsed("max_body", value::size).map_or(MAX_BODY, |at| at.value);
    let grace = root.parsed("grace", value::duration).map_or(GRACE, |at| at.value);
    let clients = root.section("clients").map(clients).unwrap_or_default();
    let directive = |text: &str| EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string());
    let log = root.parsed("log", directive).map_or_else(|| LOG.to_owned(), |at| at.value);

    let syncs = syncs(&mut root, around);
    let tokens = tokens(&mut root, &syncs.names, around);
    root.finish();
    Config {
        listen,
        tls,
        admin: admin.map(|at| at.value),
        max_body,
        grace,
        clients,
        log,
        tokens,
        syncs: syncs.valid,
        consumers: Vec::new(),
    }
}

fn clients(mut section: Section<'_, '_>) -> Clients {
    let standard = Clients::default();
    let mut duration = |key, standard| section.parsed(key, value::duration).map_or(standard, |at| at.value);
    let clients = Clients {
        head_timeout: duration("head_timeout", standard.head_timeout),
        write_timeout: duration("write_timeout", standard.write_timeout),
        idle_timeout: duration("idle_timeout", standard.idle_timeout),
        max_connections: section.count("max_connections", MOST_CONNECTIONS).unwrap_or(standard.max_connections),
    };
    section.finish();
    clients
}

/// The syncs without a fault, and the names of all.
struct Syncs {
    valid: BTreeMap<String, Sync>,
    names: BTreeSet<String>,
}

fn syncs(root: &mut Section<'_, '_>, around: &dyn Surroundings) -> Syncs {
    let is_there = root.has("sync");
    let sections = root.named("sync");
    if sections.is_empty() {
        let message = if is_there { "needs a name: [sync.NAME]" } else { "missing: at least one [sync.NAME]" };
        root.fault_here("sync", message);
    }
    let mut syncs = Syncs { valid: BTreeMap::new(), names: BTreeSet::new() };
    for (name, section) in sections {
        reject_name(&section, &name);
        if let Some(sync) = sync::read(section, around) {
            syncs.valid.insert(name.clone(), sync);
        }
        syncs.names.insert(name);
    }
    syncs
}

const TOKEN: SecretKeys = SecretKeys { name: "token", file: "file", env: "env", credential: "credential" };

fn tokens(root: &mut Section<'_, '_>, syncs: &BTreeSet<String>, around: &dyn Surroundings) -> Vec<Token> {
    let is_there = root.has("token");
    let sections = root.named("token");
    if sections.is_empty() {
        let message = if is_there { "needs a name: [token.NAME]" } else { "missing: at least one [token.NAME]" };
        root.fault_here("token", message);
    }
    let mut tokens: Vec<Token> = Vec::new();
    for (name, mut section) in sections {
        reject_name(&section, &name);
        let secret = secret::required(&mut section, &TOKEN, Form::Token, around);
        let syncs = seen_by(&mut section, syncs);
        if let Some(At { value: secret, span }) = secret {
            match tokens.iter().find(|other| same(&other.secret, &secret)) {
                Some(other) => {
                    section.fault(TOKEN.name, &span, format_args!("is the secret of token {:?}", other.name))
                }
                None => tokens.push(Token { name, secret, syncs }),
            }
        }
        section.finish();
    }
    tokens
}

/// The syncs that a token may see.
fn seen_by(section: &mut Section<'_, '_>, known: &BTreeSet<String>) -> BTreeSet<String> {
    let listed = section.required("syncs", |section| section.strings("syncs"));
    let mut seen = BTreeSet::new();
    match listed {
        Some(listed) if listed.is_empty() => section.fault_here("syncs", "is empty: this token could do nothing"),
        Some(listed) => {
            for At { value: name, span } in listed {
                if !known.contains(&name) {
                    section.fault("syncs", &span, format_args!("unknown sync {name:?}"));
                } else if !seen.insert(name.clone()) {
                    section.fault("syncs", &span, format_args!("{name:?} is there twice"));
                }
            }
        }
        None => {}
    }
    seen
}

/// Names are in requests, logs and labels of metrics.
fn reject_name(section: &Section<'_, '_>, name: &str) {
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        let message = format!("{}: a name has 1 to 100 bytes and no control character", section.path());
        section.findings().push(Some(section.span()), message);
    }
}

/// At start, and of two secrets of this configuration: their comparison needs no constant time.
fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Knows every variable and file, and each holds one word.
    struct Everything;

    impl Surroundings for Everything {
        fn secret_file(&self, _: &Path) -> Result<String, String> {
            Ok("word".into())
        }

        fn credential(&self, _: &str) -> Result<String, String> {
            Ok("word".into())
        }

        fn public_file(&self, _: &Path) -> Result<Vec<u8>, String> {
            Ok(Vec::new())
        }

        fn writable(&self, _: &Path) -> Result<(), String> {
            Ok(())
        }

        fn variable(&self, _: &str) -> Option<Result<String, String>> {
            Some(Ok("word".into()))
        }

        fn resolve(&self, path: &str) -> PathBuf {
            path.into()
        }
    }

    /// Every key that the parser knows, as the document writes it: a secret's three keys are `K_*`, and tables are left
    /// out.
    fn known() -> BTreeSet<String> {
        let kinds = ["none", "bearer", "basic", "header", "client_credentials", "jwt_bearer", "refresh_token"];
        let mut known = BTreeSet::new();
        for kind in kinds {
            let text = format!(
                "tls = {{}}\nclients = {{}}\ntoken.a = {{}}\n\
                 [sync.s]\nprovider = \"rest\"\nlimit = {{}}\nauth.kind = \"{kind}\"\n"
            );
            known.extend(read(&text, &Everything).2);
        }
        let tables: BTreeSet<String> =
            known.iter().filter_map(|key| key.rsplit_once('.')).map(|(table, _)| table.replace(".*", "")).collect();
        let folded = |key: &String| match key.rsplit_once('_') {
            Some((name, "file" | "env" | "credential"))
                if ["file", "env", "credential"].iter().all(|end| known.contains(&format!("{name}_{end}"))) =>
            {
                format!("{name}_*")
            }
            _ => key.clone(),
        };
        known.iter().filter(|key| !tables.contains(&key.replace(".*", ""))).map(folded).collect()
    }

    #[test]
    fn the_document_has_every_key_and_no_other() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gateway.md");
        let document = fs::read_to_string(path).unwrap();
        let reference =
            document.split("## Configuration reference").nth(1).unwrap().split("### Secrets").next().unwrap();
        let cells = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        let keys = cells.flat_map(|cell| cell.split(", ")).map(|key| key.trim_matches('`').replace(".NAME", ".*"));
        assert_eq!(keys.collect::<BTreeSet<_>>(), known());
    }
}
