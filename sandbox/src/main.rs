//! A local server of the Mutation API, to try and to test the extension without an account.
//!
//! It shares no code with the extension, so that a mistake in one becomes visible in the other. Where the contract is
//! silent, the sandbox is strict: it refuses input beyond the contract instead of ignoring it. The provider, the stream and
//! the consumers in memory come from the crate `mutation_api`, in `api/`.
//!
//! The map:
//! - `serve`      sockets and TLS
//! - `wire`       the stream on which replies are cut, dripped and replaced
//! - `gate`       the path of every request outside `/sandbox`: the log, the body, the faults
//! - `perform`    the effect of a fault
//! - `api`        the contract: mutations and pull consumers
//! - `body`       the body of a reply, which may stop in silence
//! - `control`    `/sandbox`: log, faults, consumers, records

mod api;
mod app;
mod args;
mod body;
mod control;
mod faults;
mod gate;
mod log;
mod perform;
mod serve;
mod wire;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::parse() {
        Ok(Some(args)) => args,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sequin-sandbox: {error}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    if args.until_stdin_closes {
        end_with_stdin();
    }
    // One thread: on two cores shared with the client, waking a worker costs a fifth of a small request. A large
    // request delays the others by at most some 20 ms.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(format!("no runtime: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sequin-sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: args::Args) -> Result<(), String> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;

    let tls = match &args.tls {
        Some((cert, key)) => Some(serve::tls::acceptor(cert, key)?),
        None => None,
    };
    let listener = serve::bind(&args.listen).await?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    // The parent process waits for the line: it must not stay in a buffer.
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {scheme}://{address}")
        .and_then(|()| stdout.flush())
        .map_err(|e| format!("standard output: {e}"))?;

    let app = app::App::new(args.tokens, args.log_bodies);
    tokio::select! {
        () = serve::accept(listener, tls, app) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Stalled connections would delay an orderly end for ever, and no state outlives the process.
    std::process::exit(0);
}

/// A dying test closes its end of the pipe, whatever the cause: no sandbox stays behind.
fn end_with_stdin() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}
