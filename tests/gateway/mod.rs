//! The extension on `sequin-gateway run --dev`: what users try first, with the program that they will run.

mod examples;
mod outbox;
mod outcomes;

use postgres::Client;
use sequin_harness::{Database, Gateway, GatewayBuilder};

use crate::support::{Session, server};

/// The sync of the examples.
const SYNC: &str = "my-sync-id";

/// A database whose server object `sequin` leads to a gateway. The gateway copies contacts into the table `contacts`.
struct Setup {
    // In the order in which they must go.
    client: Client,
    gateway: Gateway,
    database: Database,
}

impl Session for Setup {
    fn session(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Setup {
    fn new() -> Setup {
        let database = server::shared().fresh_database();
        let gateway = gateway(&database).start().unwrap();
        database.create_server(gateway.url(), gateway.token());
        Setup { client: database.connect(), gateway, database }
    }
}

fn gateway(database: &Database) -> GatewayBuilder {
    Gateway::builder().sync(SYNC).copy("contacts", "salesforce:contact", &database.dsn())
}
