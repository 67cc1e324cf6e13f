//! What operators ask: `/live`, `/ready`, `/metrics`. On a port of its own, which clients do not reach.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// Histograms collect samples until they are folded into buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins to count, for the whole process.
///
/// # Errors
/// The process counts already.
pub fn record() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().set_buckets(&metrics::BUCKETS)?.install_recorder()?;
    metrics::describe();
    ::metrics::gauge!(metrics::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Keeps the memory of the histograms bounded. Never ends.
pub async fn keep_up(metrics: PrometheusHandle) {
    let mut ticks = interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// `draining`: no new mutation is admitted, so load balancers should look elsewhere.
pub fn router(metrics: PrometheusHandle, draining: CancellationToken) -> Router {
    let ready = async move || {
        if draining.is_cancelled() {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else {
            (StatusCode::OK, "ready\n")
        }
    };
    let text = [(CONTENT_TYPE, "text/plain; version=0.0.4")];
    Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(async move || (text, metrics.render())))
}
