//! The product's main job, shown on a throw-away server. See the Makefile: `demo` and `demo-psql`.

mod steps;
mod world;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use world::World;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => show(),
        ["psql"] => psql(),
        _ => Err("usage: sequin-demo [psql]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("demo: {e}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<(), Box<dyn Error>> {
    println!("Starting a throw-away Postgres and a gateway with its records in memory ...");
    let world = World::start()?;
    steps::run(world.psql(), &world.setup())?;
    for step in steps::all()? {
        steps::run(world.psql(), &step)?;
    }
    println!(
        "\nThe gateway kept its records in memory; in front of a real provider the statements are the same.\nTo try it yourself:  make demo-psql"
    );
    Ok(())
}

fn psql() -> Result<(), Box<dyn Error>> {
    let world = World::start()?;
    steps::run_silently(world.psql(), &world.setup())?;
    println!(
        "This Postgres has the extension, a server object for the gateway at {}, and a consumer that\n\
         copies contacts into the table \"contacts\". It goes when you leave. For instance:\n\n  \
         SELECT * FROM sequin_create('demo', 'salesforce:contact', '{{\"Email\": \"paul@arrakis.org\"}}',\n           \
         await_consumers => '{{contacts}}');\n  \
         SELECT * FROM contacts;\n  \
         \\df+ sequin_*\n",
        world.url()
    );
    // Ctrl-C is for psql, which cancels the statement; without this it would end the demo and its server.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))?;
    world.psql_for_the_user().status()?;
    Ok(())
}
