//! A server with one fault: it passes requests on to a sandbox, and does one thing wrong.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sequin_harness::Sandbox;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use ureq::Agent;

/// A request as it came.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// How long its body took.
    pub took: Duration,
}

#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// The server behind the proxy.
pub struct Upstream {
    agent: Agent,
    pub url: String,
    pub token: String,
}

type Handler = Box<dyn Fn(Request, &Upstream) -> Reply + Send + Sync>;

pub struct Fault(Handler);

impl Request {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }

    /// The body as JSON, or null. Tests may round numbers.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn kind(&self) -> String {
        self.json()["kind"].as_str().unwrap_or_default().to_owned()
    }

    /// The elements of a mutation.
    pub fn elements(&self) -> Vec<Value> {
        let body = self.json();
        let list = [&body["records"], &body["upstream_ids"]].into_iter().find_map(Value::as_array);
        list.cloned().unwrap_or_default()
    }

    /// The same request with other elements.
    pub fn with_elements(&self, elements: Vec<Value>) -> Request {
        let mut body = self.json();
        let list = if self.kind() == "delete" { "upstream_ids" } else { "records" };
        body[list] = elements.into();
        self.with_body(body.to_string())
    }

    pub fn with_body(&self, body: impl Into<Vec<u8>>) -> Request {
        Request { body: body.into(), ..self.clone() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn with_header(&self, name: &'static str, value: &str) -> Request {
        let mut changed = self.clone();
        changed.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        changed
    }
}

impl Reply {
    pub fn error(status: u16, text: &str) -> Reply {
        let body = serde_json::json!({"error": format!("Error: {text}"), "docs": []}).to_string();
        Reply { status, headers: Vec::new(), body: body.into() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn with_status(self, status: u16) -> Reply {
        Reply { status, ..self }
    }

    /// The same reply with its JSON changed. Numbers beyond a float cannot be read here: such a reply stays as it is.
    pub fn with_json(self, change: impl FnOnce(&mut Value)) -> Reply {
        match serde_json::from_slice(&self.body) {
            Ok(mut body) => {
                change(&mut body);
                Reply { body: body.to_string().into(), ..self }
            }
            Err(_) => self,
        }
    }

    /// The same reply with each of its records changed.
    pub fn with_records(self, change: impl Fn(&mut Value)) -> Reply {
        self.with_json(|body| {
            if let Some(records) = body.get_mut("records").and_then(Value::as_array_mut) {
                records.iter_mut().for_each(change);
            }
        })
    }
}

impl Upstream {
    pub fn pass(&self, request: &Request) -> Reply {
        let mut passed =
            ureq::http::Request::builder().method(request.method.as_str()).uri(format!("{}{}", self.url, request.path));
        for name in ["authorization", "content-type"] {
            if let Some(value) = request.headers.get(name) {
                passed = passed.header(name, value);
            }
        }
        let response = match request.body.is_empty() {
            true => self.agent.run(passed.body(()).unwrap()),
            false => {
                let passed = passed.body(request.body.as_slice()).unwrap();
                self.agent.run(self.agent.configure_request(passed).allow_non_standard_methods(true).build())
            }
        };
        let mut response = response.unwrap();
        let mut body = Vec::new();
        response.body_mut().as_reader().read_to_end(&mut body).unwrap();
        Reply { status: response.status().as_u16(), headers: Vec::new(), body }
    }
}

impl Fault {
    pub fn new(handler: impl Fn(Request, &Upstream) -> Reply + Send + Sync + 'static) -> Fault {
        Fault(Box::new(handler))
    }

    /// None from `handler`: the request is passed on.
    pub fn some(handler: impl Fn(&Request, &Upstream) -> Option<Reply> + Send + Sync + 'static) -> Fault {
        Fault::new(move |request, upstream| handler(&request, upstream).unwrap_or_else(|| upstream.pass(&request)))
    }

    /// Changes requests to the endpoint of mutations.
    pub fn request(change: impl Fn(&Request) -> Request + Send + Sync + 'static) -> Fault {
        Fault::some(move |request, upstream| {
            (request.path == "/v1/mutations/run").then(|| upstream.pass(&change(request)))
        })
    }

    /// The same behind a change of each request.
    pub fn and(self, change: impl Fn(Request) -> Request + Send + Sync + 'static) -> Fault {
        Fault::new(move |request, upstream| (self.0)(change(request), upstream))
    }

    /// Changes replies to mutations.
    pub fn reply(change: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Fault {
        Fault::some(move |request, upstream| {
            (request.path == "/v1/mutations/run").then(|| change(request, upstream.pass(request)))
        })
    }

    /// A server that takes at most so many records, and says so in `docs`.
    pub fn at_most(max: usize, docs: &str) -> Fault {
        let docs: Value = serde_json::from_str(docs).unwrap();
        Fault::some(move |request, _| {
            let is_too_much = request.elements().len() > max;
            is_too_much.then(|| Reply::error(422, "Too many records").with_json(|body| body["docs"] = docs.clone()))
        })
    }

    /// A server that knows the header Idempotency-Key, with a fault: `instead` may replace the right reply to a request
    /// with a key, from the first request and reply under it.
    pub fn keys(
        instead: impl Fn(&Request, Option<&(Request, Reply)>) -> Option<Reply> + Send + Sync + 'static,
    ) -> Fault {
        #[derive(Default)]
        struct Known {
            stored: HashMap<String, (Request, Reply)>,
            under_way: BTreeSet<String>,
        }
        let (known, changed) = (Mutex::new(Known::default()), Condvar::new());
        Fault::some(move |request, upstream| {
            let key = request.header("idempotency-key")?.to_owned();
            let mut state = changed.wait_while(known.lock().unwrap(), |known| known.under_way.contains(&key)).unwrap();
            let first = state.stored.get(&key);
            if let Some(reply) = instead(request, first) {
                return Some(reply);
            }
            match first {
                Some((first, reply)) if first.body == request.body => return Some(reply.clone()),
                Some(_) => return Some(Reply::error(422, "The key stands for another request")),
                None => drop(state.under_way.insert(key.clone())),
            }
            drop(state);
            let reply = upstream.pass(request);
            let mut state = known.lock().unwrap();
            state.under_way.remove(&key);
            state.stored.insert(key, (request.clone(), reply.clone()));
            changed.notify_all();
            Some(reply)
        })
    }
}

/// A running proxy. It ends with this value.
pub struct Proxy {
    url: String,
    _runtime: Runtime,
}

impl Proxy {
    pub fn start(sandbox: &Sandbox, fault: Fault) -> Proxy {
        let agent = Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let upstream = Upstream { agent, url: sandbox.url().to_owned(), token: sandbox.token().to_owned() };
        let shared = Arc::new((fault, upstream));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = shared.clone();
                let service = service_fn(move |request| answer(request, shared.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Proxy { url, _runtime: runtime }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    shared: Arc<(Fault, Upstream)>,
) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let start = Instant::now();
    let (head, body) = request.into_parts();
    let request = Request {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or("", |path| path.as_str()).to_owned(),
        headers: head.headers,
        body: body.collect().await?.to_bytes().into(),
        took: start.elapsed(),
    };
    let handled = tokio::task::spawn_blocking(move || (shared.0.0)(request, &shared.1)).await;
    let reply = handled.unwrap_or_else(|panic| Reply::error(500, &format!("the fault has panicked: {panic}")));
    let mut response = hyper::Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = hyper::StatusCode::from_u16(reply.status).unwrap();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, HeaderValue::from_str(&value).unwrap());
    }
    Ok(response)
}
