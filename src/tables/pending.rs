//! Statements on attached tables that have begun and not ended, and what was captured within them.
//!
//! A trigger may write attached tables while it runs for a statement on one. Such a statement within a statement is
//! captured when it ends, and kept here; when the outermost statement has ended, all of it is sent, one change for each
//! row. It is kept for the session, because a trigger's call ends long before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pg::session::{self, Identity};
use crate::pg::trigger;
use crate::pg::xact_end::current_subtransaction;

use super::attachment::{Attachment, Operation};
use super::net::Change;

/// Where a captured change is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// The oid of the table that the statement named.
    pub relation: u32,
    pub attachment: Attachment,
    /// The role that the statement ran as: its rights count, and its user mapping.
    pub role: u32,
}

/// A statement that has begun.
#[derive(Debug, Clone, Copy)]
struct Begun {
    relation: u32,
    operation: Operation,
    /// How many triggers it runs within, and one more.
    depth: i32,
    subtransaction: u32,
    /// When the client's statement was sent, of which it is a part.
    sent_at: i64,
}

/// A change that waits for the end of the outermost statement.
struct Waiting {
    change: Change<Arc<Target>>,
    subtransaction: u32,
}

struct State {
    begun: Vec<Begun>,
    waiting: Vec<Waiting>,
    /// As whom the end of the outermost statement is to be seen to, once it was asked for.
    ends_as: Option<Identity>,
}

impl State {
    /// The statement of this kind that began last.
    fn place_of(&self, relation: u32, operation: Operation) -> Option<usize> {
        self.begun.iter().rposition(|begun| begun.relation == relation && begun.operation == operation)
    }
}

static STATE: Mutex<State> = Mutex::new(State { begun: Vec::new(), waiting: Vec::new(), ends_as: None });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that a statement begins.
pub fn begin(relation: u32, operation: Operation) {
    let begun = Begun {
        relation,
        operation,
        depth: trigger::depth(),
        subtransaction: current_subtransaction(),
        sent_at: session::statement_start(),
    };
    let mut state = state();
    // A program can end a statement before all of its rows are there (SPI with a limit): its end never came.
    state.begun.retain(|other| other.sent_at == begun.sent_at);
    state.begun.push(begun);
}

/// What is known of a statement when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// It ran within a trigger of another statement on an attached table.
    pub is_within: bool,
    /// It, or one that ends with it, deletes: with an insert this may be the way of a row to another place.
    pub may_move_rows: bool,
    /// Something waits for the end of the outermost statement.
    pub is_waited_for: bool,
}

/// Looks around at the end of a statement.
pub fn surroundings(relation: u32, operation: Operation) -> Surroundings {
    let depth = trigger::depth();
    let state = state();
    let own = state.place_of(relation, operation);
    let others = || state.begun.iter().enumerate().filter(|(place, _)| Some(*place) != own).map(|(_, begun)| begun);
    let is_alone = others().next().is_none();
    Surroundings {
        is_within: others().any(|begun| begun.depth < depth),
        may_move_rows: !is_alone
            && (operation == Operation::Delete || others().any(|begun| begun.operation == Operation::Delete)),
        is_waited_for: !state.waiting.is_empty(),
    }
}

/// Notes that a statement has ended. True if it was the last one.
pub fn end(relation: u32, operation: Operation) -> bool {
    let mut state = state();
    if let Some(place) = state.place_of(relation, operation) {
        state.begun.remove(place);
    }
    state.begun.is_empty()
}

/// Keeps a change until the outermost statement has ended.
pub fn keep(changes: Vec<Change<Arc<Target>>>) {
    let subtransaction = current_subtransaction();
    state().waiting.extend(changes.into_iter().map(|change| Waiting { change, subtransaction }));
}

/// Whether nothing waits.
pub fn is_empty() -> bool {
    state().waiting.is_empty()
}

/// Takes what waits, in the order in which it was captured.
pub fn take() -> Vec<Change<Arc<Target>>> {
    std::mem::take(&mut state().waiting).into_iter().map(|waiting| waiting.change).collect()
}

/// Notes that the end of the outermost statement was asked for.
pub fn ask_for_end(identity: Identity) {
    state().ends_as = Some(identity);
}

/// As whom it was asked for; None if it was not.
pub fn take_end() -> Option<Identity> {
    state().ends_as.take()
}

/// Ends all statements that have begun.
pub fn end_all() {
    state().begun.clear();
}

/// Forgets everything.
pub fn forget() {
    let mut state = state();
    *state = State { begun: Vec::new(), waiting: Vec::new(), ends_as: None };
}

/// Forgets what a subtransaction that is undone has begun and captured. Those within it have higher numbers.
pub fn forget_subtransaction(undone: u32) {
    let mut state = state();
    state.begun.retain(|begun| begun.subtransaction < undone);
    state.waiting.retain(|waiting| waiting.subtransaction < undone);
}
