//! Compares the functions of the install script with those of the code: `compare-install-script GENERATED.sql`.
//!
//! The committed script is written by hand (grants, comments, qualified names). So its text differs from the script
//! that cargo-pgrx generates from the code. Their effect on a Postgres must be the same. By C symbol, the functions are
//! compared: name, schema, arguments with their names and defaults, result, volatility, strictness and parallel safety.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::{env, fs};

use sequin_harness::{Database, Server};

const FUNCTIONS: &str = "
    SELECT prosrc, format('%s.%s(%s) RETURNS %s, volatility %s, strict %s, parallel %s', pronamespace::regnamespace,
                          proname, pg_get_function_arguments(oid), pg_get_function_result(oid), provolatile,
                          proisstrict, proparallel)
    FROM pg_proc WHERE probin = '$libdir/sequin_mutations'";

fn functions(database: &Database) -> BTreeMap<String, String> {
    let rows = database.connect().query(FUNCTIONS, &[]).unwrap_or_else(|e| panic!("cannot read pg_proc: {e}"));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn main() -> ExitCode {
    let path = env::args().nth(1).unwrap_or_else(|| panic!("usage: compare-install-script GENERATED.sql"));
    let generated = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let server = Server::start();

    let committed = functions(&server.fresh_database());
    let bare = server.create_database();
    // Objects that the code refers to and does not declare.
    bare.execute("CREATE SCHEMA IF NOT EXISTS sequin; CREATE TYPE sequin_record AS (id text)");
    bare.execute(&generated.replace("'MODULE_PATHNAME'", "'$libdir/sequin_mutations'"));
    let declared = functions(&bare);

    let mut differences = 0;
    for symbol in committed.keys().chain(declared.keys().filter(|symbol| !committed.contains_key(*symbol))) {
        let (script, code) = (committed.get(symbol), declared.get(symbol));
        if script != code {
            differences += 1;
            let shown = |side: Option<&String>| side.map_or("nothing".to_owned(), String::clone);
            eprintln!("{symbol}\n  in the script: {}\n  in the code:   {}", shown(script), shown(code));
        }
    }
    if differences > 0 || committed.is_empty() {
        eprintln!("{differences} of {} functions differ.", committed.len());
        return ExitCode::FAILURE;
    }
    println!("The install script and the code declare the same {} functions.", committed.len());
    ExitCode::SUCCESS
}
