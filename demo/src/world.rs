//! A server and a sandbox that know each other.

use std::io;
use std::process::{Command, Stdio};

use sequin_harness::{Sandbox, Server, literal};
use serde_json::json;

use crate::steps::Step;

const DATABASE: &str = "demo";

/// Both end with this process, in whatever way it ends.
pub struct World {
    server: Server,
    sandbox: Sandbox,
}

impl World {
    pub fn start() -> io::Result<World> {
        let sandbox = Sandbox::builder().start()?;
        let server = Server::builder().start()?;
        server.has_extension().map_err(io::Error::other)?;
        let created = server.psql("postgres", &format!("CREATE DATABASE {DATABASE}"));
        if !created.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&created.stderr).into_owned()));
        }
        Ok(World { server, sandbox })
    }

    /// A user's set-up, done once. It is not in a file, because the system assigns the sandbox's port.
    pub fn setup(&self) -> Step {
        let (url, token) = (literal(self.url()), literal(self.sandbox.token()));
        Step {
            title: "Tell Postgres where the API is (here: the sandbox) and what token to use".into(),
            sql: format!(
                "CREATE EXTENSION sequin_mutations;\n\
                 CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url {url}, ordered_replies 'true');\n\
                 CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token {token});\n"
            ),
            errors_expected: false,
        }
    }

    /// Makes the sandbox copy contacts into a table, as Sequin does. For one address it times out after the record was
    /// created, as providers do.
    pub fn arrange(&self) {
        self.sandbox.consumer(json!({
            "kind": "postgres",
            "id": "contacts",
            "collection_id": "salesforce:contact",
            "dsn": self.server.dsn(DATABASE),
            "table": "contacts",
        }));
        self.sandbox.fault(json!({
            "match": {"body_contains": "slow@caladan.org"},
            "times": null,
            "apply": true,
            "status": 504,
            "body": json!({"error": "Error: Salesforce API timed out", "docs": []}).to_string(),
        }));
    }

    pub fn url(&self) -> &str {
        self.sandbox.url()
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
