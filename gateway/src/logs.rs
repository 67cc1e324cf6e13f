//! Logs: one JSON object a line on standard error, and one line a request.
//!
//! A log reaches more people than the secrets that pass through here. So the lines of requests hold names and numbers
//! only, and dependencies, which could log headers, are heard from the level WARN upward whatever the filter says.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For machines.
    Json,
    /// For people.
    Text,
}

/// The filter in use.
pub struct Filter(reload::Handle<EnvFilter, Registry>);

/// Begins to log. `directives` come from a checked configuration; a wrong one is left out.
///
/// # Errors
/// The process logs already.
pub fn init(format: Format, directives: &str) -> Result<Filter, TryInitError> {
    let (filter, handle) = reload::Layer::new(EnvFilter::new(directives));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        Format::Text => lines.boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines.with_filter(filter_fn(is_heard))).try_init()?;
    Ok(Filter(handle))
}

impl Filter {
    /// Takes other directives from now on.
    pub fn set(&self, directives: &str) {
        if let Err(error) = self.0.reload(EnvFilter::new(directives)) {
            tracing::error!(%error, "the log keeps its filter");
        }
    }
}

fn is_heard(metadata: &Metadata<'_>) -> bool {
    let ours = ["gateway", "sequin_gateway", "mutation_api"];
    let of = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::WARN || ours.contains(&of)
}
