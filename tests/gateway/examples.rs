//! The examples that users copy, run as they are. tests/docs has what each of them claims.

use std::fs;

use super::Setup;
use crate::docs::{path, psql};

#[test]
fn each_example_runs_to_its_end() {
    let mut ran = 0;
    for file in fs::read_dir(path("examples")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let setup = Setup::new();
        let psql_command = setup.database.server().psql_command(setup.database.name());
        let (output, ok) = psql(psql_command, &fs::read_to_string(&file).unwrap());
        assert!(ok, "{}: {output}\n{}", file.display(), setup.gateway.output());
        ran += 1;
    }
    assert!(ran >= 8, "{ran} examples");
}
