//! One client: it makes mutations of its own records, and believes the replies.

use std::collections::BTreeMap;
use std::thread;

use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{RngExt, SeedableRng};

use super::super::gateway::Gateway;
use super::super::http::Answer;
use super::super::marker;
use super::super::proxy::FaultProxy;
use super::mutation::{Kind, Mutation};
use super::{Data, Judge, truth};

/// How often an unknown mutation is repeated among the faults, before they end for it.
const PATIENCE: usize = 3;

pub struct Worker<'a> {
    number: u64,
    rng: SmallRng,
    judge: &'a dyn Judge,
    gateway: &'a Gateway,
    proxy: &'a FaultProxy,
    made: u64,
    /// What must be there, by id.
    pub live: BTreeMap<String, Data>,
    deleted: Vec<String>,
    /// The marks of creates that may be there.
    pub unknown: Vec<String>,
    settled: Vec<Mutation>,
}

impl<'a> Worker<'a> {
    pub fn new(
        number: u64,
        seed: u64,
        judge: &'a dyn Judge,
        gateway: &'a Gateway,
        proxy: &'a FaultProxy,
    ) -> Worker<'a> {
        let rng = SmallRng::seed_from_u64(seed ^ number);
        let (live, deleted, unknown, settled) = Default::default();
        Worker { number, rng, judge, gateway, proxy, made: 0, live, deleted, unknown, settled }
    }

    /// One random act.
    pub fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..30 => self.create(false),
            30..36 => self.create(true),
            36..60 => self.update(),
            60..65 => self.update_unknown(),
            65..76 if self.judge.deletes() => self.delete(),
            76..80 if self.judge.deletes() && self.judge.deletes_again() => self.delete_again(),
            80..88 => self.repeat(),
            88..92 => self.reuse_key(),
            _ => self.create_twice_at_once(),
        }
    }

    fn mutation(&mut self, kind: Kind, upstream_id: &str) -> Mutation {
        self.made += 1;
        let mark = marker::mark(self.number, self.made);
        let key = self.rng.random_bool(0.7).then(|| format!("key-{}-{}", self.number, self.made));
        let mut data = Data::new();
        if kind != Kind::Delete {
            data = self.judge.fields(&mut self.rng);
            data.insert(self.judge.mark_field().to_owned(), mark.clone().into());
        }
        // A create without a key of the client has one of the gateway's.
        let repeats = kind != Kind::Create || self.judge.repeats_creates();
        let is_keyed = self.judge.knows_keys();
        let from = self.proxy.passages().len();
        let upstream_id = upstream_id.to_owned();
        Mutation {
            kind,
            mark,
            key,
            upstream_id,
            data,
            is_refused: false,
            repeats,
            is_keyed,
            is_twin: false,
            from,
            answers: Vec::new(),
        }
    }

    fn create(&mut self, is_refused: bool) {
        let mut create = self.mutation(Kind::Create, "");
        if is_refused {
            create.data.extend(self.judge.refused());
            create.is_refused = true;
        }
        self.settle(create);
    }

    fn update(&mut self) {
        let Some(id) = self.live.keys().choose(&mut self.rng).cloned() else { return self.create(false) };
        let update = self.mutation(Kind::Update, &id);
        self.settle(update);
    }

    fn update_unknown(&mut self) {
        let id = self.deleted.iter().choose(&mut self.rng).cloned();
        let id = id.unwrap_or_else(|| self.judge.unknown_id().to_owned());
        let mut update = self.mutation(Kind::Update, &id);
        update.is_refused = true;
        self.settle(update);
    }

    fn delete(&mut self) {
        let Some(id) = self.live.keys().choose(&mut self.rng).cloned() else { return self.create(false) };
        let delete = self.mutation(Kind::Delete, &id);
        self.settle(delete);
    }

    fn delete_again(&mut self) {
        let Some(id) = self.deleted.iter().choose(&mut self.rng).cloned() else { return self.delete() };
        let delete = self.mutation(Kind::Delete, &id);
        self.settle(delete);
    }

    /// A key and a request that are settled: the reply is the same, and nothing is sent.
    fn repeat(&mut self) {
        let Some(mutation) = self.settled.iter().choose(&mut self.rng).cloned() else { return self.create(false) };
        let before = self.passages(&mutation).len();
        let answer = self.send(&mutation);
        let first = mutation.answers.last().map(|answer| (answer.status, answer.body.clone()));
        let is_same = Some((answer.status, answer.body.clone())) == first;
        if !is_same || self.passages(&mutation).len() != before {
            self.fail(&mutation, &answer, "a repeated key has its stored reply, and sends nothing");
        }
    }

    /// Another request under a key that is settled: it is refused, and nothing is sent.
    fn reuse_key(&mut self) {
        let Some(key) = self.settled.iter().choose(&mut self.rng).map(|mutation| mutation.key.clone()) else {
            return self.create(false);
        };
        let mut create = self.mutation(Kind::Create, "");
        create.key = key;
        let answer = self.send(&create);
        if answer.status != 422 || !self.passages(&create).is_empty() {
            self.fail(&create, &answer, "a key is for one request");
        }
    }

    /// Two clients send the same create under the same key at once.
    fn create_twice_at_once(&mut self) {
        let mut create = self.mutation(Kind::Create, "");
        create.key = Some(format!("twins-{}-{}", self.number, self.made));
        create.is_twin = true;
        let answers = thread::scope(|scope| {
            let twins = [scope.spawn(|| self.send(&create)), scope.spawn(|| self.send(&create))];
            twins.map(|twin| twin.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        for answer in &answers {
            self.check(&create, answer);
        }
        let ids = answers.each_ref().map(id_of);
        if ids.iter().all(Option::is_some) && ids[0] != ids[1] {
            self.fail(&create, &answers[1], &format!("its twin got {:?}", ids[0]));
        }
        // A settled one goes last, because the last one counts.
        let [one, other] = answers;
        let order = if matches!(one.status, 200 | 400) { [other, one] } else { [one, other] };
        create.answers.extend(order);
        self.pursue(create);
    }

    fn settle(&mut self, mut mutation: Mutation) {
        let answer = self.send(&mutation);
        self.check(&mutation, &answer);
        mutation.answers.push(answer);
        self.pursue(mutation);
    }

    /// Repeats a mutation until its outcome is known, where that can be.
    fn pursue(&mut self, mut mutation: Mutation) {
        let can_be_known = match mutation.kind {
            Kind::Create => mutation.repeats && mutation.key.is_some(),
            Kind::Update | Kind::Delete => true,
        };
        // See `Judge::knows_keys`.
        let can_be_known = can_be_known && (mutation.is_keyed || !mutation.is_refused);
        for attempt in 0.. {
            if mutation.status() != 504 || !can_be_known {
                break;
            }
            if attempt == PATIENCE {
                let subject = if mutation.kind == Kind::Delete { &mutation.upstream_id } else { &mutation.mark };
                self.proxy.spare(subject);
            } else if attempt > PATIENCE {
                let answer = mutation.answers.last().cloned();
                self.fail(&mutation, &answer.expect("it has one"), "the product can be reached, and is not asked");
            }
            let answer = self.send(&mutation);
            self.check(&mutation, &answer);
            mutation.answers.push(answer);
        }
        self.believe(mutation);
    }

    /// Notes in the model what the gateway says.
    fn believe(&mut self, mutation: Mutation) {
        match (mutation.status(), mutation.kind) {
            (200, Kind::Create) => {
                let id = mutation.answers.last().and_then(id_of).expect("checked");
                if self.live.insert(id, mutation.data.clone()).is_some() {
                    let answer = mutation.answers.last().cloned().expect("it has one");
                    self.fail(&mutation, &answer, "another record has this id");
                }
            }
            (200, Kind::Update) => {
                let record = self.live.entry(mutation.upstream_id.clone()).or_default();
                record.extend(mutation.data.clone());
            }
            (200, Kind::Delete) if self.live.remove(&mutation.upstream_id).is_some() => {
                self.deleted.push(mutation.upstream_id.clone());
            }
            (504, Kind::Create) => self.unknown.push(mutation.mark.clone()),
            _ => {}
        }
        if mutation.is_settled() && mutation.key.is_some() {
            self.settled.push(mutation);
        }
    }

    fn send(&self, mutation: &Mutation) -> Answer {
        self.gateway.mutate(&mutation.body(self.judge.address()), mutation.key.as_deref())
    }

    fn passages(&self, mutation: &Mutation) -> Vec<super::super::proxy::Passage> {
        self.proxy.passages().into_iter().skip(mutation.from).filter(|passage| mutation.owns(passage)).collect()
    }

    fn check(&self, mutation: &Mutation, answer: &Answer) {
        if let Some(objection) = truth::objection(mutation, answer, &self.passages(mutation)) {
            self.fail(mutation, answer, &objection);
        }
    }

    #[track_caller]
    fn fail(&self, mutation: &Mutation, answer: &Answer, objection: &str) -> ! {
        let (passages, log) = (self.passages(mutation), self.gateway.log());
        panic!("{objection}: {} {}\n{mutation:#?}\n{passages:#?}\n{log}", answer.status, answer.body);
    }
}

fn id_of(answer: &Answer) -> Option<String> {
    (answer.status == 200).then(|| answer.at("/records/0/upstream_id").as_str().map(str::to_owned)).flatten()
}
