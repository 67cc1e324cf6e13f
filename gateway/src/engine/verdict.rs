//! What the outcomes of the records say about the mutation as a whole. The contract has one reply for all of them.

use std::time::Duration;

use crate::providers::{Kind, Outcome, ProviderRequest, Refusal, Written};

/// What one reply of a provider means for the mutation.
#[derive(Debug)]
pub enum Verdict {
    /// All of it, in the order of the elements.
    Applied(Vec<Written>),
    /// Nothing was applied, for these reasons.
    Rejected(Vec<Fault>),
    /// Nothing was applied. Later it may be.
    Limited { wait: Option<Duration>, faults: Vec<Fault> },
    /// Nothing was applied.
    Unauthorised,
    /// Something may have been applied. `may_repeat` is the provider's word.
    Unknown { may_repeat: Option<bool>, faults: Vec<Fault> },
}

/// What is wrong with one element of the mutation.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its index in the mutation. None: it concerns all of them.
    pub index: Option<usize>,
    pub refusal: Refusal,
    /// There is no such record.
    pub is_gone: bool,
}

impl Fault {
    /// For the whole mutation, in the gateway's words.
    pub fn whole(message: impl Into<String>) -> Fault {
        Fault { index: None, refusal: Refusal { message: message.into(), detail: None }, is_gone: false }
    }
}

/// Folds one outcome for each element of `request`.
pub fn fold(request: &ProviderRequest, outcomes: Vec<Outcome>) -> Verdict {
    if outcomes.len() != request.elements.len() {
        let faults = vec![Fault::whole("the reply does not tell the outcome of each record")];
        return Verdict::Unknown { may_repeat: None, faults };
    }
    let (mut written, mut rejected, mut limited, mut unknown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut wait, mut words, mut is_unauthorised) = (None, Vec::new(), false);
    for (outcome, index) in outcomes.into_iter().zip(&request.elements) {
        let fault = |refusal| Fault { index: Some(*index), refusal, is_gone: false };
        match outcome {
            Outcome::Applied(record) => written.push(record),
            Outcome::Gone(_) if request.kind == Kind::Delete => {
                written.push(Written { is_deleted: true, ..Written::default() });
            }
            Outcome::Gone(refusal) => rejected.push(Fault { is_gone: true, ..fault(refusal) }),
            Outcome::Rejected(refusal) => rejected.push(fault(refusal)),
            Outcome::Limited { wait: asked, refusal } => {
                wait = wait.max(asked);
                limited.push(fault(refusal));
            }
            Outcome::Unauthorised(_) => is_unauthorised = true,
            Outcome::Unknown { may_repeat, refusal } => {
                words.push(may_repeat);
                unknown.push(fault(refusal));
            }
        }
    }
    if !unknown.is_empty() {
        return Verdict::Unknown { may_repeat: agreed(&words), faults: unknown };
    }
    if written.len() == request.elements.len() {
        return Verdict::Applied(written);
    }
    if !written.is_empty() {
        // A part was applied although the request was to be atomic. No reply of the contract says that: 400 would
        // deny what was applied, 200 would claim the rest. Another attempt can help only where a limit was the reason.
        let may_repeat = (!rejected.is_empty()).then_some(false);
        rejected.append(&mut limited);
        return Verdict::Unknown { may_repeat, faults: rejected };
    }
    if is_unauthorised {
        return Verdict::Unauthorised;
    }
    match rejected.is_empty() {
        false => Verdict::Rejected(rejected),
        true => Verdict::Limited { wait, faults: limited },
    }
}

/// A single "no" forbids a repetition. A "yes" must be that of all.
fn agreed(words: &[Option<bool>]) -> Option<bool> {
    if words.contains(&Some(false)) {
        return Some(false);
    }
    words.iter().all(|word| *word == Some(true)).then_some(true)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;
    use crate::providers::Repeat;

    fn outcome(letter: char) -> Outcome {
        let refusal = Refusal::default();
        match letter {
            'a' => Outcome::Applied(Written::default()),
            'r' => Outcome::Rejected(refusal),
            'g' => Outcome::Gone(refusal),
            'l' => Outcome::Limited { wait: Some(Duration::from_secs(3)), refusal },
            'n' => Outcome::Unauthorised(refusal),
            'u' => Outcome::Unknown { may_repeat: None, refusal },
            'y' => Outcome::Unknown { may_repeat: Some(true), refusal },
            _ => Outcome::Unknown { may_repeat: Some(false), refusal },
        }
    }

    fn folded(kind: Kind, outcomes: &str) -> String {
        let request = ProviderRequest {
            method: Method::POST,
            path: "/".into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            collection: "c".into(),
            kind,
            elements: (0..3).collect(),
            upstream_ids: Vec::new(),
            repeat: Repeat::Never,
        };
        let at = |faults: Vec<Fault>| faults.iter().filter_map(|fault| Some(fault.index?.to_string())).collect();
        let (name, at): (String, String) = match fold(&request, outcomes.chars().map(outcome).collect()) {
            Verdict::Applied(records) => {
                ("applied".into(), records.iter().filter(|record| record.is_deleted).map(|_| 'd').collect())
            }
            Verdict::Rejected(faults) => ("rejected".into(), at(faults)),
            Verdict::Limited { wait, faults } => (format!("limited {wait:?}"), at(faults)),
            Verdict::Unauthorised => ("unauthorised".into(), String::new()),
            Verdict::Unknown { may_repeat, faults } => (format!("unknown {may_repeat:?}"), at(faults)),
        };
        format!("{name} {at}").trim().into()
    }

    #[test]
    fn one_reply_stands_for_all_records() {
        for (kind, outcomes, want) in [
            (Kind::Create, "aaa", "applied"),
            (Kind::Create, "rrr", "rejected 012"),
            (Kind::Create, "rlr", "rejected 02"),
            (Kind::Create, "lll", "limited Some(3s) 012"),
            (Kind::Create, "nnn", "unauthorised"),
            (Kind::Create, "uuu", "unknown None 012"),
            (Kind::Create, "yyy", "unknown Some(true) 012"),
            (Kind::Create, "yuy", "unknown None 012"),
            (Kind::Create, "yNu", "unknown Some(false) 012"),
            (Kind::Create, "aur", "unknown None 1"),
            // What an atomic request must not answer.
            (Kind::Create, "ara", "unknown Some(false) 1"),
            (Kind::Create, "ala", "unknown None 1"),
            (Kind::Create, "ann", "unknown None"),
            (Kind::Create, "aa", "unknown None"),
            (Kind::Create, "aaaa", "unknown None"),
            (Kind::Delete, "aga", "applied d"),
            (Kind::Delete, "ggg", "applied ddd"),
            (Kind::Update, "aga", "unknown Some(false) 1"),
            (Kind::Update, "ggg", "rejected 012"),
        ] {
            assert_eq!(folded(kind, outcomes), want, "{kind:?} {outcomes}");
        }
    }
}
