//! A server and a gateway that know each other. The gateway copies contacts into a table, as a consumer does.

use std::io;
use std::process::{Command, Stdio};

use sequin_harness::{Gateway, Server};

use crate::steps::Step;

const DATABASE: &str = "demo";

/// Both end with this process, in whatever way it ends.
pub struct World {
    server: Server,
    gateway: Gateway,
}

impl World {
    pub fn start() -> io::Result<World> {
        let server = Server::builder().start()?;
        server.has_extension().map_err(io::Error::other)?;
        let created = server.psql("postgres", &format!("CREATE DATABASE {DATABASE}"));
        if !created.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&created.stderr).into_owned()));
        }
        // One for the steps, and one for the statements of the README.
        let gateway = Gateway::builder().sync("demo").sync("my-sync-id");
        let gateway = gateway.copy("contacts", "salesforce:contact", &server.dsn(DATABASE)).start()?;
        Ok(World { server, gateway })
    }

    /// A user's set-up, done once: what the gateway tells its reader to paste.
    pub fn setup(&self) -> Step {
        Step {
            title: "Tell Postgres where the API is (here: a local gateway) and what token to use".into(),
            sql: self.gateway.statements().to_owned(),
            errors_expected: false,
        }
    }

    pub fn url(&self) -> &str {
        self.gateway.url()
    }

    /// psql on the demo's database.
    pub fn psql(&self) -> Command {
        self.server.psql_command(DATABASE)
    }

    /// The same, at the user's terminal.
    pub fn psql_for_the_user(&self) -> Command {
        let mut command = self.psql();
        command.stdin(Stdio::inherit());
        command
    }
}
