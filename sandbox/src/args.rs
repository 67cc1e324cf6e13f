//! The command line.

use std::path::PathBuf;

pub const USAGE: &str = "\
usage: sequin-sandbox [options]
  --listen ADDR:PORT          default 127.0.0.1:0, which takes a free port; the first line printed names it
  --token TOKEN               a bearer token to accept, may be repeated; default sandbox-token
  --tls-cert FILE             PEM certificate chain, with --tls-key: serve https
  --tls-key FILE              PEM private key
  --until-stdin-closes        exit as soon as standard input ends
  --no-log-bodies             the request log keeps the length of bodies, not the bodies
  --help";

pub struct Args {
    pub listen: String,
    pub tokens: Vec<String>,
    pub tls: Option<(PathBuf, PathBuf)>,
    pub until_stdin_closes: bool,
    pub log_bodies: bool,
}

/// None: the help was requested and printed.
pub fn parse() -> Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut args = Args {
        listen: "127.0.0.1:0".into(),
        tokens: Vec::new(),
        tls: None,
        until_stdin_closes: false,
        log_bodies: true,
    };
    let (mut cert, mut key) = (None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("listen") => args.listen = parser.value()?.string()?,
            Long("token") => args.tokens.push(parser.value()?.string()?),
            Long("tls-cert") => cert = Some(PathBuf::from(parser.value()?)),
            Long("tls-key") => key = Some(PathBuf::from(parser.value()?)),
            Long("until-stdin-closes") => args.until_stdin_closes = true,
            Long("no-log-bodies") => args.log_bodies = false,
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(None);
            }
            _ => return Err(arg.unexpected()),
        }
    }
    args.tls = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err("--tls-cert and --tls-key go together".into()),
    };
    if args.tokens.is_empty() {
        args.tokens.push("sandbox-token".into());
    }
    Ok(Some(args))
}
