//! Whether all reports are true, by the APIs' logs.

use std::collections::{BTreeMap, HashMap};

use postgres::Client;
use sequin_harness::Delays;

use super::apis::Arrived;
use super::orders::Order;
use super::phases::{Phase, TRIGGER_ROWS};
use super::reported::{self, Reported};
use super::series::{Call, End};

/// The input of the judgement.
pub struct Evidence<'a> {
    pub arrived: &'a HashMap<String, Arrived>,
    /// By process id, the message with which a session ended, and its CONTEXT.
    pub last_words: &'a HashMap<i32, String>,
}

/// Delays of obeyed orders, by the call's phase according to the error.
#[derive(Default)]
pub struct Histogram(pub BTreeMap<String, Delays>);

impl Histogram {
    pub fn add(&mut self, key: impl Into<String>, call: &Call) {
        self.0.entry(key.into()).or_default().add(call.delay);
    }
}

impl Evidence<'_> {
    /// Judges one call. Returns the report of its error, if it has one.
    pub fn check(&self, call: &Call, admin: &mut Client) -> Option<Reported> {
        let what = format!("{} by {:?}", call.mark, call.order);
        let context = match &call.end {
            End::Worked => None,
            End::Obeyed(context) | End::Caught(context) => Some(context.as_str()),
            // A statement that ends at that very moment ends as any other; its session then does so without a word.
            End::Lost if call.order == Order::Disconnect && !self.last_words.contains_key(&call.pid) => Some(""),
            End::Lost => {
                let words = self.last_words.get(&call.pid).and_then(|words| words.strip_prefix(call.order.words()));
                Some(words.unwrap_or_else(|| panic!("{what}: what did {} die of?", call.pid)))
            }
        };
        let reported = context.map(Reported::of);
        match call.phase {
            Phase::Loop | Phase::Block => self.check_loop(call, reported, &what),
            Phase::Trigger => self.judge_trigger(call, context, admin, &what),
            // The worker delivers it in any case.
            Phase::Await => assert_eq!(self.of(&call.mark), Arrived { requests: 1, applied: 1 }, "{what}"),
            _ => self.check_one(&call.mark, reported, &what),
        }
        reported
    }

    /// A call that nothing was meant to end.
    pub fn check_undisturbed(&self, mark: &str) {
        self.check_one(mark, None, mark);
    }

    fn of(&self, name: &str) -> Arrived {
        self.arrived.get(name).copied().unwrap_or_default()
    }

    /// `reported` is None where the call worked.
    fn check_one(&self, name: &str, reported: Option<Reported>, what: &str) {
        let arrived = self.of(name);
        assert!(arrived.requests <= 1 && arrived.applied <= 1, "{what}: sent twice: {arrived:?}");
        assert!(
            reported.unwrap_or(Reported::Applied).allows(arrived.applied, 1),
            "{what}: {reported:?}, but {arrived:?}"
        );
        assert!(reported != Some(Reported::NotSent) || arrived.requests == 0, "{what}: it was sent");
    }

    /// Of many calls, the returned ones were applied, one may have been in progress, and the others were not made.
    fn check_loop(&self, call: &Call, reported: Option<Reported>, what: &str) {
        let name = |i: i64| format!("{}-{i}", call.mark);
        for i in 1..=call.returned {
            self.check_one(&name(i), None, what);
        }
        let next = call.returned + 1;
        if let Some(reported) = reported {
            self.check_one(&name(next), Some(reported), what);
        }
        let rest = (next + i64::from(reported.is_some())..).map(|i| self.of(&name(i)).requests).take(3).sum::<i64>();
        assert_eq!(rest, 0, "{what}: calls after the one that was interrupted");
        let again = format!("{}-again", call.mark);
        match call.end {
            End::Caught(_) => self.check_one(&again, None, what),
            _ => assert_eq!(self.of(&again), Arrived::default(), "{what}"),
        }
    }

    fn judge_trigger(&self, call: &Call, context: Option<&str>, admin: &mut Client, what: &str) {
        let arrived = (1..=TRIGGER_ROWS).map(|i| self.of(&format!("{}-{i}", call.mark)));
        let arrived: Vec<Arrived> = arrived.collect();
        assert!(arrived.iter().all(|one| one.requests <= 1 && one.applied <= 1), "{what}: sent twice: {arrived:?}");
        let applied: i64 = arrived.iter().map(|one| one.applied).sum();
        let rows = admin
            .query_one(
                "SELECT count(*), count(contact_id) FROM people WHERE name LIKE $1",
                &[&format!("{}-%", call.mark)],
            )
            .unwrap();
        let rows: (i64, i64) = (rows.get(0), rows.get(1));
        let all = (TRIGGER_ROWS, (TRIGGER_ROWS, TRIGGER_ROWS));
        let Some(context) = context else {
            assert_eq!((applied, rows), all, "{what}");
            return;
        };
        let Some(before) = reported::applied_before(context) else {
            // Before the trigger began or after it had ended, or after the end of the statement in a session that then ends.
            let is_committed = matches!(call.end, End::Lost) && (applied, rows) == all;
            let is_rolled_back = (applied == 0 || applied == TRIGGER_ROWS) && rows == (0, 0);
            assert!(is_committed || is_rolled_back, "{what}: {applied} records, {rows:?} rows: {context}");
            return;
        };
        assert_eq!(rows, (0, 0), "{what}: the statement was rolled back");
        let is_true = Reported::of(context).allows(applied - before, reported::records(context));
        assert!(is_true, "{what}: {applied} records were applied, but {context}");
    }
}

/// By process id, each FATAL of the log, and the CONTEXT in the lines after it.
pub fn last_words(log: &str) -> HashMap<i32, String> {
    let mut words: HashMap<i32, String> = HashMap::new();
    let mut of: Option<i32> = None;
    for line in log.lines() {
        if let Some(more) = line.strip_prefix('\t') {
            if let Some(text) = of.and_then(|pid| words.get_mut(&pid)) {
                text.push('\n');
                text.push_str(more);
            }
            continue;
        }
        let pid = line.split_once(" [").and_then(|(_, rest)| rest.split_once(']')?.0.parse().ok());
        of = None;
        if let Some(((_, message), pid)) = line.split_once(" FATAL:  ").zip(pid) {
            words.insert(pid, format!("{message}\n"));
        } else if let Some(((_, context), pid)) = line.split_once(" CONTEXT:  ").zip(pid)
            && let Some(text) = words.get_mut(&pid)
        {
            text.push_str(context);
            of = Some(pid);
        }
    }
    words
}

/// The rows of the histogram that one call belongs to.
pub fn note(call: &Call, reported: Option<Reported>, phases: &mut Histogram, orders: &mut Histogram) {
    let Some(reported) = reported else { return };
    let key = match (call.phase, reported) {
        (Phase::Loop | Phase::Block, Reported::Silent) => format!("{:?}, between calls", call.phase),
        (Phase::Loop | Phase::Block, _) => format!("{:?}, in a call", call.phase),
        (phase, reported) if phase.is_reached(reported) => format!("{phase:?}"),
        _ => "before or after these".to_owned(),
    };
    phases.add(key, call);
    orders.add(order_name(call.order), call);
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::Cancel => "pg_cancel_backend",
        Order::StatementTimeout => "statement_timeout (beyond it)",
        Order::Terminate => "pg_terminate_backend",
        Order::Disconnect => "client gone (to the backend's end)",
        Order::TransactionTimeout => "transaction_timeout (beyond it)",
    }
}
