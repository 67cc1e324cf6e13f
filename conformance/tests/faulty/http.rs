//! Faults in tokens, paths, methods and headers.

use serde_json::json;

use super::{each_is_found, is_of_kind};
use crate::proxy::{Fault, Reply, Request, Upstream};

#[test]
fn of_tokens_paths_methods_and_headers_are_found() {
    let is_untrusted = |request: &Request, upstream: &Upstream| {
        request.header("authorization") != Some(&format!("Bearer {}", upstream.token))
    };
    let trusted = |request: &Request, upstream: &Upstream| {
        request.with_header("authorization", &format!("Bearer {}", upstream.token))
    };
    each_is_found(
        vec![
            (
                "a token is not looked at",
                Fault::new(move |request, upstream| upstream.pass(&trusted(&request, upstream))),
                &["keep-alive", "pull-refusals", "token"],
            ),
            (
                "a longer token passes",
                Fault::some(move |request, upstream| {
                    let is_longer = request.header("authorization")?.starts_with(&format!("Bearer {}", upstream.token));
                    is_longer.then(|| upstream.pass(&trusted(request, upstream)))
                }),
                &["token"],
            ),
            (
                "a wrong token is a 403",
                Fault::new(|request, upstream| match upstream.pass(&request) {
                    reply if reply.status == 401 => reply.with_status(403),
                    reply => reply,
                }),
                &["keep-alive", "pull-refusals", "token"],
            ),
            (
                "a request without a token is applied, and then refused",
                Fault::some(move |request, upstream| {
                    (is_untrusted(request, upstream) && is_of_kind(request, "update")).then(|| {
                        upstream.pass(&trusted(request, upstream));
                        upstream.pass(request)
                    })
                }),
                &["token"],
            ),
            (
                "another path is the same",
                Fault::request(Request::clone).and(|request| match request.path.as_str() {
                    "/v1/mutations" => Request { path: "/v1/mutations/run".into(), ..request },
                    _ => request,
                }),
                &["path"],
            ),
            (
                "an unknown path is a 400",
                Fault::new(|request, upstream| match upstream.pass(&request) {
                    reply if reply.status == 404 && request.path.contains("mutation") => reply.with_status(400),
                    reply => reply,
                }),
                &["keep-alive", "path"],
            ),
            (
                "PUT is POST",
                Fault::request(Request::clone).and(|request| match request.method.as_str() {
                    "PUT" if request.path == "/v1/mutations/run" => Request { method: "POST".into(), ..request },
                    _ => request,
                }),
                &["method"],
            ),
            (
                "GET is answered with a page",
                Fault::some(|request, _| {
                    (request.path == "/v1/mutations/run" && request.method == "GET").then(|| Reply::error(200, "hello"))
                }),
                &["method"],
            ),
            (
                "a header that it does not know is refused",
                Fault::some(|request, _| request.header("traceparent").map(|_| Reply::error(400, "unknown header"))),
                &["headers"],
            ),
            (
                "per-record is confirmed and not done",
                Fault::reply(|request, mut reply| {
                    if request.header("prefer").is_some() {
                        reply.headers.push(("preference-applied", "per-record".into()));
                    }
                    reply
                }),
                &["prefer"],
            ),
            (
                "per-record is done and not confirmed",
                Fault::reply(|request, reply| match request.header("prefer").is_some() && reply.status == 200 {
                    true => reply.with_json(|body| body["outcomes"] = json!([{"index": 0, "outcome": "applied"}])),
                    false => reply,
                }),
                &["prefer"],
            ),
        ],
        &[],
    );
}
