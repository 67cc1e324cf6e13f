//! The metrics that `/metrics` shows: their names, labels and help texts, in one table.
//!
//! Code emits them through the macros of the crate `metrics` with the constants below, so that no name is spelled
//! twice. docs/gateway.md repeats [`ALL`], and a test compares both. Label values are bounded: names from the
//! configuration and words from fixed lists, never an id, a collection or a text of a provider.

use ::metrics::{describe_counter, describe_gauge, describe_histogram};

/// Requests that were answered. Labels: `status`.
pub const REQUESTS: &str = "sequin_gateway_requests_total";
/// Requests that are being worked on.
pub const REQUESTS_IN_FLIGHT: &str = "sequin_gateway_requests_in_flight";
/// From a request's head to its reply. Labels: `status`.
pub const REQUEST_SECONDS: &str = "sequin_gateway_request_seconds";
/// Connections of clients that are open.
pub const CONNECTIONS: &str = "sequin_gateway_connections";
/// Records by what became of them. Labels: `sync`, `kind`, `outcome`.
pub const RECORDS: &str = "sequin_gateway_records_total";
/// Requests to providers. Labels: `sync`, `status`.
pub const PROVIDER_REQUESTS: &str = "sequin_gateway_provider_requests_total";
/// From sending a request to a provider to its whole reply, or its failure. Labels: `sync`.
pub const PROVIDER_SECONDS: &str = "sequin_gateway_provider_seconds";
/// How long requests waited for the limits of their account. Labels: `sync`.
pub const PACING_WAIT_SECONDS: &str = "sequin_gateway_pacing_wait_seconds";
/// Replies by which a provider asked for fewer requests. Labels: `sync`.
pub const LIMITED: &str = "sequin_gateway_provider_limited_total";
/// Tokens asked for at a token endpoint. Labels: `sync`, `result`.
pub const CREDENTIAL_FETCHES: &str = "sequin_gateway_credential_fetches_total";
/// When the credential in use was fetched. Labels: `sync`.
pub const CREDENTIAL_TIMESTAMP: &str = "sequin_gateway_credential_timestamp_seconds";
/// Idempotency keys that are remembered.
pub const KEYS: &str = "sequin_gateway_keys";
/// Attempts to read the configuration again. Labels: `result`.
pub const RELOADS: &str = "sequin_gateway_reloads_total";
/// When the configuration in use was read.
pub const CONFIG_TIMESTAMP: &str = "sequin_gateway_config_timestamp_seconds";
/// Always 1. Labels: `version`.
pub const BUILD_INFO: &str = "sequin_gateway_build_info";

/// Upper bounds of the buckets of each histogram, in seconds. A gateway adds a millisecond, a provider takes up to a
/// minute.
pub const BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// One metric, as `/metrics` and docs/gateway.md describe it.
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    /// The text after `# HELP`.
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// All metrics.
pub const ALL: [Metric; 15] = [
    counter(REQUESTS, &["status"], "Requests that were answered"),
    gauge(REQUESTS_IN_FLIGHT, &[], "Requests that are being worked on"),
    histogram(REQUEST_SECONDS, &["status"], "Seconds from a request's head to its reply"),
    gauge(CONNECTIONS, &[], "Connections of clients that are open"),
    counter(
        RECORDS,
        &["sync", "kind", "outcome"],
        "Records by outcome: applied, rejected, limited, unauthorised, not_sent or unknown",
    ),
    counter(PROVIDER_REQUESTS, &["sync", "status"], "Requests to the provider by status, or none if no reply came"),
    histogram(PROVIDER_SECONDS, &["sync"], "Seconds from a request to the provider to its whole reply"),
    histogram(PACING_WAIT_SECONDS, &["sync"], "Seconds that requests waited for the limits of their account"),
    counter(LIMITED, &["sync"], "Replies by which the provider asked for fewer requests"),
    counter(CREDENTIAL_FETCHES, &["sync", "result"], "Tokens asked for at the token endpoint: fetched or failed"),
    gauge(CREDENTIAL_TIMESTAMP, &["sync"], "Unix time at which the credential in use was fetched"),
    gauge(KEYS, &[], "Idempotency keys that are remembered"),
    counter(RELOADS, &["result"], "Attempts to read the configuration again: applied or refused"),
    gauge(CONFIG_TIMESTAMP, &[], "Unix time at which the configuration in use was read"),
    gauge(BUILD_INFO, &["version"], "Always 1"),
];

/// Tells the recorder the help texts. Call it after the recorder is installed.
pub fn describe() {
    for metric in &ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}
