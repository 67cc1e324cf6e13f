//! Secrets come from files, the environment or systemd, and never from the file itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gateway::config::{Surroundings, parse};
use secrecy::ExposeSecret;

use super::{Folder, SMALLEST};

fn with_token(keys: &str) -> String {
    SMALLEST.replace("file = \"app.token\"", keys)
}

#[test]
fn a_secret_file_is_for_its_owner_alone() {
    let folder = Folder::new();
    for mode in [0o604, 0o644, 0o666, 0o620, 0o602, 0o777] {
        folder.file("t", "secret-token", mode);
        let faults = folder.faults(&with_token("file = \"t\""));
        let expected = format!(
            "gateway.toml:2: token.app.file: t has mode {mode:04o}, so that other users may read or change it: set "
        );
        assert!(faults.starts_with(&expected), "{faults}");
    }
    for mode in [0o600, 0o400] {
        folder.file("t", "secret-token", mode);
        assert_eq!(folder.faults(&with_token("file = \"t\"")), "");
    }
}

#[test]
fn a_token_is_one_visible_word() {
    let folder = Folder::new();
    for (content, expected) in [
        ("", "is empty"),
        ("\n", "is empty"),
        ("  \r\n", "is empty"),
        ("one\ntwo\n", "has more than one line"),
        ("one two", "must hold visible ASCII characters and no spaces"),
        ("tökén", "must hold visible ASCII characters and no spaces"),
    ] {
        folder.secret("t", content);
        let faults = folder.faults(&with_token("file = \"t\""));
        assert_eq!(faults, format!("gateway.toml:2: token.app.file: t {expected}"), "{content:?}");
    }
    folder.secret("t", "secret-token\r\n");
    let config = folder.load(&with_token("file = \"t\"")).unwrap();
    assert_eq!(config.tokens[0].secret.expose_secret(), "secret-token");
}

#[test]
fn a_secret_must_not_be_in_the_file() {
    let folder = Folder::new();
    let faults = folder.faults(&with_token("token = \"canary\""));
    assert_eq!(
        faults,
        "gateway.toml:2: token.app.token: a secret must not be in this file: use file, env or credential"
    );
    let text =
        format!("{SMALLEST}[sync.s]\nprovider = \"stripe\"\nauth = {{ kind = \"bearer\", token = \"canary\" }}\n");
    let expected = "gateway.toml:8: sync.s.auth.token: a secret must not be in this file: \
                    use token_file, token_env or token_credential";
    assert_eq!(folder.faults(&text), expected);
}

#[test]
fn what_is_no_regular_file_is_refused_and_not_opened() {
    let folder = Folder::new();
    fs::create_dir(folder.path("d")).unwrap();
    assert_eq!(folder.faults(&with_token("file = \"d\"")), "gateway.toml:2: token.app.file: d is not a regular file");
    // Opening a pipe would wait for a writer.
    assert!(std::process::Command::new("mkfifo").arg(folder.path("p")).status().unwrap().success());
    assert_eq!(folder.faults(&with_token("file = \"p\"")), "gateway.toml:2: token.app.file: p is not a regular file");
}

/// Files, variables and credentials from maps.
#[derive(Default)]
struct Maps {
    files: BTreeMap<&'static str, &'static str>,
    variables: BTreeMap<&'static str, &'static str>,
    credentials: BTreeMap<&'static str, &'static str>,
}

impl Surroundings for Maps {
    fn secret_file(&self, path: &Path) -> Result<String, String> {
        let content = path.to_str().and_then(|path| self.files.get(path));
        content.map(|text| (*text).to_owned()).ok_or("is not there".into())
    }

    fn credential(&self, name: &str) -> Result<String, String> {
        self.credentials.get(name).map(|text| (*text).to_owned()).ok_or("is not there".into())
    }

    fn public_file(&self, _: &Path) -> Result<Vec<u8>, String> {
        Err("is not there".into())
    }

    fn writable(&self, _: &Path) -> Result<(), String> {
        Err("is not writable".into())
    }

    fn variable(&self, name: &str) -> Option<Result<String, String>> {
        self.variables.get(name).map(|text| Ok((*text).to_owned()))
    }

    fn resolve(&self, path: &str) -> PathBuf {
        path.into()
    }
}

#[test]
fn a_secret_has_one_source() {
    let around = Maps {
        files: [("f", "from-file")].into(),
        variables: [("V", "from-variable"), ("EMPTY", "")].into(),
        credentials: [("c", "from-credential")].into(),
    };
    let token = |keys: &str| {
        let config = parse("g", &with_token(keys), &around).map_err(|faults| faults.to_string())?;
        Ok(config.tokens[0].secret.expose_secret().to_owned())
    };
    for (keys, expected) in [
        ("file = \"f\"", Ok("from-file")),
        ("env = \"V\"", Ok("from-variable")),
        ("credential = \"c\"", Ok("from-credential")),
        ("env = \"NONE\"", Err("g:2: token.app.env: environment variable NONE is not set")),
        ("env = \"EMPTY\"", Err("g:2: token.app.env: environment variable EMPTY is empty")),
        ("credential = \"n\"", Err("g:2: token.app.credential: credential \"n\" is not there")),
        ("file = \"f\"\nenv = \"V\"", Err("g:3: token.app.env: file names this secret already: keep one of them")),
        ("", Err("g:1: token.app.token: missing: one of file, env and credential")),
    ] {
        assert_eq!(token(keys), expected.map(str::to_owned).map_err(str::to_owned), "{keys}");
    }
}
