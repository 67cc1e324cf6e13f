//! `sequin-gateway`: its commands and exit statuses.
//!
//! 0: done. 1: it could not be done. 2: wrong arguments. 78 (EX_CONFIG): the configuration is at fault, nothing was
//! started, and starting again changes nothing.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use gateway::config::{self, Config};
use gateway::run::{End, RunError, dev, run, say};
use gateway::{Gateway, logs};
use tokio::runtime::{Builder, Runtime};

const EX_CONFIG: u8 = 78;

/// A Mutation API in front of Stripe and other REST services.
#[derive(Parser)]
#[command(name = "sequin-gateway", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads the file, names every fault with its line, and tries each sync's credential with a read.
    Check {
        /// The configuration, such as gateway.toml.
        file: PathBuf,
    },
    /// Serves the Mutation API until SIGTERM or SIGINT; reads the file again on SIGHUP.
    Run(Box<Run>),
}

#[derive(Args)]
struct Run {
    /// The configuration, such as gateway.toml.
    #[arg(required_unless_present = "dev", conflicts_with = "dev")]
    file: Option<PathBuf>,
    /// Without a file and without a provider: keeps records in memory, and prints a token and the SQL to try it.
    #[arg(long)]
    dev: bool,
    /// Where to listen; port 0 chooses one.
    #[arg(long, conflicts_with = "file", default_value_t = dev::LISTEN)]
    listen: SocketAddr,
    /// The id of a sync in memory; may be given several times.
    #[arg(long, conflicts_with = "file", value_name = "NAME", default_value = "demo")]
    sync: Vec<String>,
    /// Copies a collection into a table of --database, which is created if it does not exist. A mutation can await the
    /// consumer of that name. May be given several times.
    #[arg(long, requires = "database", value_name = "NAME=COLLECTION")]
    copy: Vec<dev::Copy>,
    /// The connection string of the database for --copy.
    #[arg(long, conflicts_with = "file", requires = "copy", value_name = "DSN")]
    database: Option<tokio_postgres::Config>,
    /// How log lines on standard error look. By default json, and text with --dev.
    #[arg(long, value_enum)]
    log_format: Option<logs::Format>,
    /// Ends when standard input ends: for tests, so that no server outlives them.
    #[arg(long)]
    until_stdin_closes: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("no runtime: {error}")),
    };
    let status = carry_out(cli.command, &runtime);
    // A look-up of a name that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    status
}

fn carry_out(command: Command, runtime: &Runtime) -> ExitCode {
    match command {
        Command::Check { file } => match config::load(&file) {
            Ok(config) => runtime.block_on(check(&config)),
            Err(faults) => at_fault(&faults),
        },
        Command::Run(arguments) if arguments.dev => {
            let token = dev::token();
            let copy_to = |database| dev::consumers(database, &arguments.copy);
            let consumers = arguments.database.as_ref().map(copy_to).unwrap_or_default();
            let config = dev::config(arguments.listen, &arguments.sync, &token, consumers);
            let sync = arguments.sync.first().cloned().unwrap_or_default();
            let announce = |url: &str| say(&dev::statements(url, &token, &sync));
            runtime.block_on(serve(config, None, &arguments, announce))
        }
        Command::Run(arguments) => {
            let file = arguments.file.clone().unwrap_or_default();
            match config::load(&file) {
                Ok(config) => runtime.block_on(serve(config, Some(file), &arguments, |_| {})),
                Err(faults) => at_fault(&faults),
            }
        }
    }
}

async fn serve(config: Config, file: Option<PathBuf>, arguments: &Run, announce: impl FnOnce(&str)) -> ExitCode {
    if arguments.until_stdin_closes {
        end_with_stdin();
    }
    let format = arguments.log_format.unwrap_or(if arguments.dev { logs::Format::Text } else { logs::Format::Json });
    let filter = match logs::init(format, &config.log) {
        Ok(filter) => filter,
        Err(error) => return failed(&format!("no log: {error}")),
    };
    match run(config, file, filter, announce).await {
        Ok(End::Orderly) => ExitCode::SUCCESS,
        Ok(End::Cut) => ExitCode::FAILURE,
        Err(error @ RunError::Build(_)) => at_fault(&error),
        Err(error) => failed(&error.to_string()),
    }
}

/// A line for each sync. Nothing is written at a provider.
async fn check(config: &Config) -> ExitCode {
    let gateway = match Gateway::build(config) {
        Ok(gateway) => gateway,
        Err(error) => return at_fault(&error),
    };
    let mut all_work = true;
    for (sync, result) in gateway.check().await {
        match result {
            Ok(()) => say(&format!("{sync}: ok")),
            Err(error) => {
                say(&format!("{sync}: {error}"));
                all_work = false;
            }
        }
    }
    if all_work { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn at_fault(faults: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{faults}");
    ExitCode::from(EX_CONFIG)
}

fn failed(message: &str) -> ExitCode {
    eprintln!("sequin-gateway: {message}");
    ExitCode::FAILURE
}

/// A dying test closes its end of the pipe, whatever the cause.
fn end_with_stdin() {
    std::thread::spawn(|| {
        // An error is an end too.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
}
