//! `/metrics`: every name is described, and the document has the same table.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gateway::metrics::{ALL, Kind};

use super::program::{Program, get};
use super::{Folder, create, stripe_at};
use crate::kit::{Act, Scripted};

#[tokio::test]
async fn every_metric_has_its_help_and_its_kind() {
    let folder = Folder::new();
    folder.secret("stripe.key", "sk_test_x");
    let provider = Scripted::start(async |received| match received.number {
        0 => Act::Reply { status: 429, headers: vec![("retry-after", "0".into())], body: "{}".into() },
        _ => Act::json(200, r#"{"id":"cus_1","object":"customer"}"#),
    })
    .await;
    let program = Program::start(&folder, &stripe_at(provider.addr)).await;
    assert_eq!(program.post("the-token-of-app", create("{}")).await.status(), 200);
    assert_eq!(program.post("wrong", create("{}")).await.status(), 401);
    let shown = get(&program.admin("/metrics").await).await.1;

    for line in [
        "sequin_gateway_requests_total{status=\"200\"} 1",
        "sequin_gateway_requests_total{status=\"401\"} 1",
        "sequin_gateway_requests_in_flight 0",
        "sequin_gateway_records_total{sync=\"dev\",kind=\"create\",outcome=\"applied\"} 1",
        "sequin_gateway_provider_requests_total{sync=\"dev\",status=\"200\"} 1",
        "sequin_gateway_provider_requests_total{sync=\"dev\",status=\"429\"} 1",
        "sequin_gateway_provider_limited_total{sync=\"dev\"} 1",
        "sequin_gateway_provider_seconds_count{sync=\"dev\"} 2",
        "sequin_gateway_request_seconds_count{status=\"200\"} 1",
        "sequin_gateway_build_info{version=\"1.0.0\"} 1",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    let known: BTreeSet<String> = ALL.iter().map(|metric| metric.name.to_owned()).collect();
    for line in shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let metric = ALL.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name} is not in ALL"));
        assert_eq!(kind, word(metric.kind), "{name}");
        assert!(shown.contains(&format!("# HELP {name} {}\n", metric.help)), "{name}");
    }
    assert!(known.len() == ALL.len());
}

#[test]
fn the_document_has_the_same_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gateway.md");
    let document = fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `sequin_gateway_")).collect();
    let expected: Vec<String> = ALL
        .iter()
        .map(|metric| {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {} | {} | {} |", metric.name, word(metric.kind), labels.join(", "), metric.help)
        })
        .collect();
    assert_eq!(rows, expected);
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}
