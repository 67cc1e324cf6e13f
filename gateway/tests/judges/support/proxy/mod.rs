//! A proxy between the gateway and a product, which knows where requests begin and end. It loses requests or their
//! replies, stalls, and answers by itself, and it remembers what became of each request.
//!
//! The gateway must tell its client the truth whatever happens here, and only the proxy knows the truth.

mod choice;
pub mod wire;

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sequin_harness::RawServer;

use super::http::{Answer, try_send};
pub use choice::{Choice, Fault, Rate};
use wire::Asked;

/// A reply that took longer may have come after the gateway had given up.
pub const SURE: Duration = Duration::from_millis(500);

/// What became of one request.
#[derive(Clone, Debug)]
pub struct Passage {
    pub method: String,
    pub path: String,
    /// The value of `idempotency-key`.
    pub key: Option<String>,
    pub body: String,
    pub fault: Fault,
    /// What the product answered. None: the request did not reach it, or it has not answered yet.
    pub answer: Option<Answer>,
    /// From the request's last byte to the reply's. None: there is no reply yet.
    pub took: Option<Duration>,
}

impl Passage {
    /// Whether the gateway got a whole reply that says what became of it.
    pub fn is_told(&self) -> bool {
        matches!(self.fault, Fault::None | Fault::Limited(_)) && self.took.is_some_and(|took| took < SURE)
    }

    /// Whether the product has done something.
    pub fn has_effect(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| (200..300).contains(&answer.status))
    }
}

/// Changes a reply on its way to the gateway.
type Edit = Box<dyn Fn(&mut Answer) + Send + Sync>;

struct Shared {
    product: String,
    choice: Choice,
    edit: Edit,
    passages: Mutex<Vec<Passage>>,
    /// Bytes of requests that ended too early to be counted as one.
    broken: AtomicU64,
}

/// The proxy. Dropping it closes its port and all its connections.
pub struct FaultProxy {
    shared: Arc<Shared>,
    front: RawServer,
}

impl FaultProxy {
    /// Before the product at `product`, an address without a path, with the faults that `choice` makes.
    pub fn before(product: String, choice: Choice) -> FaultProxy {
        FaultProxy::editing(product, choice, |_| {})
    }

    /// The same, and each reply is edited.
    pub fn editing(product: String, choice: Choice, edit: impl Fn(&mut Answer) + Send + Sync + 'static) -> FaultProxy {
        let passages = Mutex::new(Vec::new());
        let shared = Shared { product, choice, edit: Box::new(edit), passages, broken: AtomicU64::new(0) };
        let shared = Arc::new(shared);
        let front = RawServer::start({
            let shared = shared.clone();
            move |client| shared.serve(client)
        });
        FaultProxy { shared, front }
    }

    /// Its address, without a path.
    pub fn url(&self) -> String {
        self.front.url()
    }

    /// Does no more harm.
    pub fn relent(&self) {
        self.shared.choice.relent();
    }

    /// Does no more harm to requests with this text in their path or body.
    pub fn spare(&self, text: &str) {
        self.shared.choice.spare(text);
    }

    /// All requests so far, in the order in which they came.
    pub fn passages(&self) -> Vec<Passage> {
        assert_eq!(self.shared.broken.load(Ordering::SeqCst), 0, "the gateway cut a request of its own");
        self.shared.passages().clone()
    }

    /// Those that `is_one` recognises.
    pub fn passages_of(&self, is_one: impl Fn(&Passage) -> bool) -> Vec<Passage> {
        self.passages().into_iter().filter(is_one).collect()
    }
}

impl Shared {
    fn passages(&self) -> MutexGuard<'_, Vec<Passage>> {
        self.passages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection of the gateway.
    fn serve(&self, client: &mut TcpStream) {
        loop {
            match wire::read(client) {
                Ok(Some(asked)) => {
                    if self.pass(client, asked).is_none() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    self.broken.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        }
    }

    /// Treats one request. None: the connection is over.
    fn pass(&self, client: &mut TcpStream, asked: Asked) -> Option<()> {
        let begun = Instant::now();
        let fault = self.choice.of(&asked);
        let at = {
            let mut passages = self.passages();
            passages.push(Passage {
                method: asked.method.clone(),
                path: asked.path.clone(),
                key: asked.header("idempotency-key").map(str::to_owned),
                body: asked.body.clone(),
                fault,
                answer: None,
                took: None,
            });
            passages.len() - 1
        };
        let answer = fault.reaches().then(|| self.forward(&asked));
        let answer = match answer {
            Some(None) => return None,
            Some(answer) => answer,
            None => None,
        };
        {
            let mut passages = self.passages();
            passages[at].took = Some(begun.elapsed());
            passages[at].answer.clone_from(&answer);
        }
        match fault {
            Fault::None => wire::write(client, &answer?).ok(),
            Fault::CutBefore | Fault::CutAfter => None,
            Fault::CutInReply => {
                wire::write_half(client, &answer?);
                None
            }
            Fault::StallBefore | Fault::StallAfter => {
                wire::hold(client);
                None
            }
            Fault::Limited(seconds) => wire::write_own(client, 429, &format!("retry-after: {seconds}\r\n")).ok(),
            Fault::FailBefore(status) | Fault::FailAfter(status) => wire::write_own(client, status, "").ok(),
        }
    }

    fn forward(&self, asked: &Asked) -> Option<Answer> {
        let body = asked.has_body.then_some(asked.body.as_str());
        let mut answer =
            try_send(&asked.method, &format!("{}{}", self.product, asked.path), &asked.headers, body).ok()?;
        (self.edit)(&mut answer);
        Some(answer)
    }
}
