//! The command line.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::value::RawValue;

pub const USAGE: &str = r#"usage: sequin-conformance URL --token-file FILE [options]
       sequin-conformance --list

Judges the server of the Mutation API at URL. It creates records there, and deletes them at the end.
Exits with 0 if nothing failed, 1 if something did, 2 if the command line is wrong.

  --token-file FILE      holds the token, which follows "Bearer"
  --sync ID              the sync to write to; default conformance
  --collection ID        the collection to write to; default salesforce:contact

the data, for a server in front of a real provider. {n} in a text becomes a text of its own for each record:
  --data JSON            a new record that the provider accepts
  --change JSON          an update that the provider accepts, with {n}; a field of --data must not be in it
  --invalid-data JSON    a new record that the provider refuses
  --numbers JSON         an update with numbers that must come back digit for digit

what the server claims:
  --atomic yes|no        no: it refuses several records in one request, with 422 and max_records; default yes
  --keys                 it knows the header Idempotency-Key
  --pull-consumer ID     it has this pull consumer, of the collection, which no other program reads

  --large BYTES          the size of the largest request that is sent; default 4194304
  --timeout SECONDS      how long a reply may take; default 30
  --only CHECK           runs this check alone, may be repeated
  --list                 prints the checks
  --help"#;

const DATA: &str = r#"{"LastName": "Conformance {n}", "Email": "conformance-{n}@example.org"}"#;
const INVALID_DATA: &str = r#"{"LastName": "Conformance {n}", "Email": "nonsense"}"#;
const CHANGE: &str = r#"{"Title": "Changed {n}"}"#;
const NUMBERS: &str = r#"{"a": 1.10, "b": 12345678901234567890.123, "c": 1e400, "d": -0.0, "e": 9007199254740993}"#;

pub enum Command {
    Run(Box<Options>),
    List,
    Help,
}

/// A JSON object with `{n}` in its texts.
pub type Template = String;

pub struct Options {
    /// Without a slash at its end.
    pub url: String,
    pub token: String,
    pub sync: String,
    pub collection: String,
    pub data: Template,
    pub change: Template,
    /// None: the checks that need it are skipped.
    pub invalid_data: Option<Template>,
    /// None: the check that needs it is skipped.
    pub numbers: Option<Template>,
    /// Whether the server takes several records in one request.
    pub atomic: bool,
    pub keys: bool,
    pub pull_consumer: Option<String>,
    /// In bytes.
    pub large: usize,
    pub timeout: Duration,
    /// Names of checks. Empty: all.
    pub only: Vec<String>,
}

pub fn parse() -> Result<Command, lexopt::Error> {
    use lexopt::prelude::*;

    let (mut url, mut token_file) = (None, None);
    let (mut data, mut change, mut invalid_data, mut numbers) = (None, None, None, None);
    let mut options = Options {
        url: String::new(),
        token: String::new(),
        sync: "conformance".into(),
        collection: "salesforce:contact".into(),
        data: DATA.into(),
        change: CHANGE.into(),
        invalid_data: Some(INVALID_DATA.into()),
        numbers: Some(NUMBERS.into()),
        atomic: true,
        keys: false,
        pull_consumer: None,
        large: 4 << 20,
        timeout: Duration::from_secs(30),
        only: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Value(value) if url.is_none() => url = Some(value.string()?),
            Long("token-file") => token_file = Some(parser.value()?),
            Long("sync") => options.sync = parser.value()?.string()?,
            Long("collection") => options.collection = parser.value()?.string()?,
            Long("data") => data = Some(parser.value()?.parse_with(template)?),
            Long("change") => change = Some(parser.value()?.parse_with(template)?),
            Long("invalid-data") => invalid_data = Some(parser.value()?.parse_with(template)?),
            Long("numbers") => numbers = Some(parser.value()?.parse_with(template)?),
            Long("atomic") => options.atomic = parser.value()?.parse_with(yes_or_no)?,
            Long("keys") => options.keys = true,
            Long("pull-consumer") => options.pull_consumer = Some(parser.value()?.string()?),
            Long("large") => options.large = parser.value()?.parse()?,
            Long("timeout") => options.timeout = Duration::from_secs(parser.value()?.parse()?),
            Long("only") => options.only.push(parser.value()?.string()?),
            Long("list") => return Ok(Command::List),
            Long("help") | Short('h') => return Ok(Command::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    let url = url.ok_or("the URL of the server is missing")?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("the URL must start with http:// or https://".into());
    }
    options.url = url.trim_end_matches('/').to_owned();
    let token_file = token_file.ok_or("--token-file is missing")?;
    let token = fs::read_to_string(&token_file).map_err(|e| format!("{}: {e}", token_file.display()))?;
    options.token = token.trim().to_owned();
    if options.token.is_empty() || !options.token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} must hold one token, of printable ASCII", token_file.display()).into());
    }
    // The other defaults fit the default data alone.
    if let Some(data) = data {
        if change.is_none() {
            return Err("--data needs --change".into());
        }
        options.data = data;
        (options.invalid_data, options.numbers) = (None, None);
    }
    if let Some(change) = change {
        options.change = change;
    }
    options.invalid_data = invalid_data.or(options.invalid_data);
    options.numbers = numbers.or(options.numbers);
    if !options.change.contains("{n}") {
        return Err("--change needs {n}, which makes each update different".into());
    }
    if steady_field(&options.data, &options.change).is_none() {
        return Err("--data needs a field that is not in --change".into());
    }
    Ok(Command::Run(Box::new(options)))
}

fn template(text: &str) -> Result<Template, String> {
    match serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
        Ok(fields) if !fields.is_empty() => Ok(text.to_owned()),
        Ok(_) => Err("it must have a field".into()),
        Err(error) => Err(format!("not a JSON object: {error}")),
    }
}

fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("yes or no"),
    }
}

/// A field of `data` that `change` leaves alone, with its value.
pub fn steady_field(data: &str, change: &str) -> Option<(String, Box<RawValue>)> {
    let data: BTreeMap<String, Box<RawValue>> = serde_json::from_str(data).ok()?;
    let change: BTreeMap<String, &RawValue> = serde_json::from_str(change).ok()?;
    data.into_iter().find(|(name, _)| !change.contains_key(name))
}
