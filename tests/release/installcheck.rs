//! `make installcheck`, against the server of this run.

use std::env;
use std::io::{self, Write};
use std::process::Command;

use sequin_harness::{SUPERUSER, Server, paths};

use crate::docs::path;

#[test]
fn the_regression_tests_and_the_isolation_specs_pass() {
    let server = Server::shared();
    let sandbox = paths::built("SEQUIN_SANDBOX", "sequin-sandbox").expect("cargo build -p sequin-sandbox");
    let pg_config = env::var_os("PG_CONFIG").unwrap_or_else(|| "pg_config".into());
    let mut installcheck = Command::new(path("scripts/installcheck"));
    installcheck.arg(pg_config).arg(sandbox).arg(paths::target().join("installcheck"));
    installcheck.env("PGHOST", server.dir()).env("PGPORT", "5432").env("PGUSER", SUPERUSER);
    let output = installcheck.output().unwrap_or_else(|e| panic!("{installcheck:?}: {e}"));
    let [said, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{said}\n{errors}");
    // A Postgres may come without one of the programs. The script names what it left out, and no test captures this.
    io::stderr().write_all(errors.as_bytes()).unwrap();
}
