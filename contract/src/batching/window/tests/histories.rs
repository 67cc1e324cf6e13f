//! Whole histories: a worker with a queue, and an API that follows a rule.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::batching::backoff::retry_delay;

/// A record of the queue.
struct Queued {
    id: i64,
    role: u32,
    kind: Kind,
    enqueued: Duration,
    attempts: u32,
    due: Duration,
}

/// A worker that sends one record a request, and an API that answers after a time.
struct Model {
    window: Window,
    random: SmallRng,
    queue: Vec<Queued>,
    latency: Duration,
    api: fn(&Queued, Duration) -> ServerState,
    /// The waits of the records that were delivered, by id.
    delivered: Vec<(i64, Duration)>,
    lost: usize,
    requests: usize,
}

impl Model {
    fn new(max_in_flight: u32, seed: u64, api: fn(&Queued, Duration) -> ServerState) -> Model {
        Model {
            window: window(max_in_flight),
            random: SmallRng::seed_from_u64(seed),
            queue: Vec::new(),
            latency: 20 * MS,
            api,
            delivered: Vec::new(),
            lost: 0,
            requests: 0,
        }
    }

    fn enqueue(&mut self, ids: std::ops::Range<i64>, role: u32, kind: Kind, enqueued: Duration) {
        self.queue.extend(ids.map(|id| Queued { id, role, kind, enqueued, attempts: 0, due: enqueued }));
        self.queue.sort_by_key(|queued| queued.id);
    }

    /// Runs until `end`, in steps of the clock.
    fn run(&mut self, end: Duration) {
        let begin = Instant::now();
        let mut in_flight: Vec<(Duration, Ticket, Queued)> = Vec::new();
        let mut clock = Duration::ZERO;
        while clock < end {
            let now = begin + clock;
            let (ended, still): (Vec<_>, Vec<_>) = in_flight.into_iter().partition(|(until, ..)| *until <= clock);
            in_flight = still;
            for (_, ticket, queued) in ended {
                self.settle(ticket, queued, clock, now);
            }
            let has_room = self.window.room(now) > 0;
            let due = self.queue.iter().filter(|queued| has_room && queued.due <= clock);
            let keys = [1, 2].map(|role| batch_key(role, "s"));
            let mut stepping = Stepping::default();
            let _ = stepping.begin(self.window.waiting(now));
            let planned: Vec<Planned> = due
                .filter(|one| !stepping.waits(one.role, "s", one.kind == Kind::Create))
                .take(400)
                .map(|one| request_of(keys[one.role as usize - 1].clone(), one.kind, &[one.id], one.attempts))
                .collect();
            for chosen in self.window.choose(planned, now) {
                let place = self.queue.iter().position(|queued| queued.id == chosen.operations[0].id).unwrap();
                let ticket = self.window.start(&chosen, now);
                in_flight.push((clock + self.latency, ticket, self.queue.remove(place)));
                self.requests += 1;
            }
            assert!(in_flight.len() <= self.window.limits.max_in_flight as usize);
            clock += if in_flight.is_empty() { 50 * MS } else { 10 * MS };
        }
        for (_, ticket, _) in in_flight {
            let _ = self.window.end(ticket, None, false, begin + clock, 0.0);
        }
    }

    fn settle(&mut self, ticket: Ticket, mut queued: Queued, clock: Duration, now: Instant) {
        let state = (self.api)(&queued, clock);
        let is_failure = matches!(state, ServerState::Fails { .. } | ServerState::Unavailable { .. });
        let is_lost = is_failure && queued.kind == Kind::Create;
        let _ = self.window.end(ticket, Some(&state), is_lost, now, self.random.random());
        match state {
            ServerState::Answers => self.delivered.push((queued.id, clock - queued.enqueued)),
            _ if is_lost => self.lost += 1,
            _ if is_failure => {
                queued.attempts += 1;
                queued.due = clock + retry_delay(queued.attempts, self.random.random());
                self.queue.push(queued);
            }
            _ => self.queue.push(queued),
        }
        self.queue.sort_by_key(|queued| queued.id);
    }

    fn longest_wait(&self, from_id: i64) -> Duration {
        self.delivered.iter().filter(|(id, _)| *id >= from_id).map(|(_, wait)| *wait).max().unwrap_or_default()
    }
}

#[test]
fn poisoned_records_delay_the_good_ones_by_seconds_at_most() {
    let api = |queued: &Queued, _| if queued.id < 100 { fails() } else { ServerState::Answers };
    for seed in 0..3 {
        for (poisoned, max_in_flight) in [(3, 1), (3, 8), (30, 8), (100, 8)] {
            let mut model = Model::new(max_in_flight, seed, api);
            model.enqueue(0..poisoned, 1, Kind::Update, Duration::ZERO);
            for good in 0..200 {
                model.enqueue(100 + good..101 + good, 1, Kind::Update, SECOND * good as u32);
            }
            model.run(220 * SECOND);
            assert_eq!(model.delivered.len(), 200, "{poisoned} poisoned");
            let longest = model.longest_wait(100);
            let limit = if poisoned == 3 { 2 } else { 5 };
            assert!(longest < limit * SECOND, "{poisoned} poisoned, seed {seed}: {longest:?}");
        }
    }
}

#[test]
fn poisoned_records_cost_a_stream_of_good_ones_little() {
    let api = |queued: &Queued, _| if queued.id % 100 < 5 { fails() } else { ServerState::Answers };
    let mut model = Model::new(8, 1, api);
    model.enqueue(0..6_000, 1, Kind::Update, Duration::ZERO);
    model.run(20 * SECOND);
    // 8 in flight at 20 to 30 ms: 266 a second, with the retries.
    assert!(model.delivered.len() > 3_000, "{}", model.delivered.len());
}

#[test]
fn creates_that_time_out_do_not_keep_an_update_waiting() {
    let api = |queued: &Queued, _| if queued.kind == Kind::Create { times_out() } else { ServerState::Answers };
    for seed in 0..3 {
        let mut model = Model::new(8, seed, api);
        model.enqueue(0..100, 1, Kind::Create, Duration::ZERO);
        model.enqueue(100..101, 1, Kind::Update, Duration::ZERO);
        model.run(600 * SECOND);
        assert!(model.longest_wait(100) < SECOND, "{:?}", model.delivered);
        // Those that were in flight at first, four in the first minute, and one in five minutes.
        assert!(model.lost <= 8 + 4 + 3, "{}", model.lost);
    }
}

#[test]
fn an_outage_with_updates_in_the_queue_loses_hardly_a_create() {
    let api = |_: &Queued, clock: Duration| {
        if clock > SECOND / 2 && clock < 301 * SECOND { unavailable(Some(SECOND)) } else { ServerState::Answers }
    };
    for seed in 0..3 {
        let mut model = Model::new(8, seed, api);
        model.enqueue(0..300, 1, Kind::Create, Duration::ZERO);
        model.enqueue(300..600, 1, Kind::Update, Duration::ZERO);
        model.run(400 * SECOND);
        // Those that were in flight when it began.
        assert!(model.lost <= 8, "{}", model.lost);
        assert_eq!(model.delivered.len(), 600 - model.lost);
        assert!(model.requests < 700, "{}", model.requests);
    }
}

#[test]
fn a_role_that_always_meets_its_limit_slows_no_other() {
    let api = |queued: &Queued, _| if queued.role == 1 { limits_rate(Some(SECOND)) } else { ServerState::Answers };
    let mut model = Model::new(8, 1, api);
    model.enqueue(0..300, 1, Kind::Update, Duration::ZERO);
    model.enqueue(300..3_300, 2, Kind::Update, Duration::ZERO);
    model.run(20 * SECOND);
    assert_eq!(model.delivered.len(), 3_000);
    assert!(model.requests - model.delivered.len() < 30, "{}", model.requests - model.delivered.len());
}

#[test]
fn whatever_happens_the_window_stays_within_its_limits_and_recovers() {
    for seed in 0..200 {
        let mut random = SmallRng::seed_from_u64(seed);
        let most = random.random_range(1..20);
        let (mut window, mut now) = (window(most), Instant::now());
        let mut tickets = Vec::new();
        for id in 0..500 {
            now += random.random_range(0..1_000) * MS;
            let states = [
                ServerState::Answers,
                fails(),
                times_out(),
                unavailable(Some(random.random_range(0..100) * SECOND)),
                limits_rate(None),
                ServerState::Refuses { error: "401".into() },
            ];
            if !tickets.is_empty() && random.random() {
                let ticket = tickets.swap_remove(random.random_range(0..tickets.len()));
                let state = &states[random.random_range(0..states.len())];
                let _ = window.end(ticket, Some(state), random.random(), now, random.random());
            }
            let role = random.random_range(1..4);
            let kind = Kind::ALL[random.random_range(0..3)];
            let planned = request_of(batch_key(role, "s"), kind, &[id], random.random_range(0..3));
            let room = window.room(now);
            let chosen = window.choose(vec![planned], now);
            assert!(chosen.len() <= room);
            tickets.extend(chosen.iter().map(|planned| window.start(planned, now)));
            assert!((1..=most).contains(&window.size) && tickets.len() <= most as usize, "{seed}");
            if room == 0 && tickets.is_empty() {
                let mut next = now;
                while window.room(next) == 0 {
                    next = window.next_change(next).expect("nothing in flight, and no room: a backoff ends some time");
                }
                assert!(next - now <= MAX_RETRY_AFTER, "{seed}");
            }
        }
        for ticket in tickets {
            let _ = window.end(ticket, Some(&ServerState::Answers), false, now, 0.0);
        }
        for id in 0..2_000 {
            now += 2 * MAX_RETRY_AFTER / 2_000;
            let planned = request_of(batch_key(1 + id as u32 % 3, "s"), Kind::ALL[id as usize % 3], &[id], 0);
            for chosen in window.choose(vec![planned], now) {
                let _ = send(&mut window, &chosen, &ServerState::Answers, now);
            }
        }
        assert!(window.waiting(now).is_empty() && window.room(now) == most as usize, "{seed}");
    }
}
