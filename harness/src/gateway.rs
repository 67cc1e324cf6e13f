//! One process of the gateway, with records in memory.

use std::io::{self, BufRead};
use std::process::{Command, ExitStatus};

use crate::paths;
use crate::program::Program;

/// A running `sequin-gateway run --dev`.
#[derive(Debug)]
pub struct Gateway {
    program: Program,
    statements: String,
}

/// Chooses how a gateway starts.
#[derive(Debug)]
pub struct GatewayBuilder {
    command: Option<Command>,
}

impl GatewayBuilder {
    /// The id of a sync.
    pub fn sync(self, id: &str) -> GatewayBuilder {
        self.arguments(&["--sync", id])
    }

    /// Copies a collection into the table `name` of a database. A mutation can await the consumer of that name.
    pub fn copy(self, name: &str, collection: &str, dsn: &str) -> GatewayBuilder {
        self.arguments(&["--database", dsn, "--copy", &format!("{name}={collection}")])
    }

    fn arguments(mut self, arguments: &[&str]) -> GatewayBuilder {
        if let Some(command) = &mut self.command {
            command.args(arguments);
        }
        self
    }

    /// Starts the gateway, and returns when it listens.
    pub fn start(self) -> io::Result<Gateway> {
        let missing = "there is no sequin-gateway: cargo build -p sequin-gateway, or set SEQUIN_GATEWAY";
        let mut command = self.command.ok_or_else(|| io::Error::other(missing))?;
        command.args(["--listen", "127.0.0.1:0", "--until-stdin-closes"]);
        let (program, statements) = Program::start(command, |output| {
            let mut statements = String::new();
            for line in output.lines() {
                let line = line?;
                // The last one: an example.
                if line.starts_with("SELECT ") {
                    return Ok(statements);
                }
                if line.starts_with("CREATE ") {
                    statements += &line;
                    statements.push('\n');
                }
            }
            Err(io::Error::other("the gateway printed no statements"))
        })?;
        Ok(Gateway { program, statements })
    }
}

impl Gateway {
    /// A builder for a gateway.
    pub fn builder() -> GatewayBuilder {
        let mut command = paths::built("SEQUIN_GATEWAY", "sequin-gateway").map(Command::new);
        if let Some(command) = &mut command {
            command.args(["run", "--dev"]);
        }
        GatewayBuilder { command }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        self.program.url()
    }

    /// The statements that it prints for a reader to paste: the extension, a server object and a user mapping.
    pub fn statements(&self) -> &str {
        &self.statements
    }

    /// The token in them.
    pub fn token(&self) -> &str {
        let token = self.statements.split_once("(token '").and_then(|(_, rest)| rest.split_once('\''));
        token.map_or("", |(token, _)| token)
    }

    /// Sends SIGTERM, and waits for the end.
    pub fn terminate(self) -> io::Result<ExitStatus> {
        self.program.terminate()
    }

    /// Its log.
    pub fn output(&self) -> String {
        self.program.output()
    }
}
