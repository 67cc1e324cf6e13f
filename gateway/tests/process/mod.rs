//! The program: its commands, exit statuses, signals, logs and metrics.

mod commands;
mod end;
mod metrics;
mod output;
mod package;
mod program;
mod reload;
mod systemd;

use crate::config::Folder;

/// One token, `the-token-of-app`, and one sync in memory, `dev`. Ports are chosen by the system.
const FILE: &str = "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[token.app]\n\
                    file = \"app.token\"\nsyncs = [\"dev\"]\n\
                    [sync.dev]\nprovider = \"memory\"\n";

/// The same, whose sync is Stripe at this address.
fn stripe_at(address: std::net::SocketAddr) -> String {
    let stripe = format!(
        "provider = \"stripe\"\nbase_url = \"http://{address}\"\n\
         auth = {{ kind = \"bearer\", token_file = \"stripe.key\" }}"
    );
    FILE.replace("provider = \"memory\"", &stripe)
}

/// A create of one record.
fn create(data: &str) -> String {
    format!(r#"{{"kind":"create","sync_id":"dev","collection_id":"stripe:customer","records":[{{"data":{data}}}]}}"#)
}
