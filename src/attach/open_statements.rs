//! Statements on attached tables that have begun and not ended, and what was captured within them.
//!
//! A trigger may write attached tables while it runs for a statement on one. Such a statement within a statement is
//! captured when it ends, and kept here; when the outermost statement has ended, all of it is sent, one change for each
//! row. It is kept for the session, because a trigger's call ends long before.

use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgrx::pg_sys::Oid;

use crate::pg::security_context::Identity;
use crate::pg::session;
use crate::pg::trigger;
use crate::pg::xact_callbacks::current_subtransaction;

use contract::attachment::{Attachment, TriggerEvent};
use contract::net_change::RowChange;

/// Where a captured change is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// The oid of the table that the statement named.
    pub relation: u32,
    pub attachment: Attachment,
    /// The role that the statement ran as: its rights count, and its user mapping.
    pub role: u32,
    /// The search_path that the statement ran with: the table's triggers find by it what they name without a schema.
    pub search_path: CString,
}

/// A statement that has begun.
#[derive(Debug, Clone, Copy)]
struct OpenStatement {
    relation: u32,
    operation: TriggerEvent,
    /// How many triggers it runs within, and one more. The statement of a foreign key runs within the trigger of that key,
    /// and its own triggers fire later, less deep.
    depth: i32,
    subtransaction: u32,
    /// When the client's statement was sent, of which it is a part.
    sent_at: i64,
    /// As whom its end is to be seen to, once it was asked for.
    ends_as: Option<Identity>,
}

/// A change that waits for the end of the outermost statement.
struct HeldChange {
    change: RowChange<Arc<Target>>,
    subtransaction: u32,
}

struct OpenStatements {
    begun: Vec<OpenStatement>,
    waiting: Vec<HeldChange>,
}

impl OpenStatements {
    /// The statement of this kind whose triggers fire at this depth.
    fn place_of(&self, relation: u32, operation: TriggerEvent, depth: i32) -> Option<usize> {
        let is_own =
            |begun: &OpenStatement| begun.relation == relation && begun.operation == operation && begun.depth >= depth;
        self.begun.iter().rposition(is_own)
    }
}

static STATE: Mutex<OpenStatements> = Mutex::new(OpenStatements { begun: Vec::new(), waiting: Vec::new() });

fn state() -> MutexGuard<'static, OpenStatements> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that a statement begins. If one that began in an earlier statement of the client has not ended, its table is the
/// error.
pub fn begin(relation: u32, operation: TriggerEvent) -> Result<(), Oid> {
    let begun = OpenStatement {
        relation,
        operation,
        depth: trigger::depth(),
        subtransaction: current_subtransaction(),
        sent_at: session::statement_start(),
        ends_as: None,
    };
    let mut state = state();
    if let Some(other) = state.begun.iter().find(|other| other.sent_at != begun.sent_at) {
        return Err(Oid::from(other.relation));
    }
    state.begun.push(begun);
    Ok(())
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

/// The tables that the captured statements name whose rows are being updated here: at this depth of triggers.
pub fn updated_here() -> Vec<u32> {
    let depth = trigger::depth();
    let state = state();
    let is_here = |begun: &&OpenStatement| begun.operation == TriggerEvent::Update && begun.depth == depth;
    state.begun.iter().filter(is_here).map(|begun| begun.relation).collect()
}

/// Looks around at the end of a statement.
pub fn surroundings(relation: u32, operation: TriggerEvent) -> Surroundings {
    let depth = trigger::depth();
    let state = state();
    let own = state.place_of(relation, operation, depth);
    let others = || state.begun.iter().enumerate().filter(|(place, _)| Some(*place) != own).map(|(_, begun)| begun);
    let is_alone = others().next().is_none();
    let is_around = |begun: &OpenStatement| {
        // Of two statements of one kind, the one whose triggers fire later is outside.
        begun.depth < depth || begun.relation == relation && begun.operation == operation
    };
    Surroundings {
        is_within: others().any(is_around),
        may_move_rows: !is_alone
            && (operation == TriggerEvent::Delete || others().any(|begun| begun.operation == TriggerEvent::Delete)),
        is_waited_for: !state.waiting.is_empty(),
    }
}

/// Notes that a statement has ended. True if it was the last one.
pub fn end(relation: u32, operation: TriggerEvent) -> bool {
    let depth = trigger::depth();
    let mut state = state();
    if let Some(place) = state.place_of(relation, operation, depth) {
        state.begun.remove(place);
    }
    state.begun.is_empty()
}

/// Holds changes until the outermost statement has ended.
pub fn hold(changes: Vec<RowChange<Arc<Target>>>) {
    let subtransaction = current_subtransaction();
    state().waiting.extend(changes.into_iter().map(|change| HeldChange { change, subtransaction }));
}

/// Takes what waits, in the order in which it was captured.
pub fn take() -> Vec<RowChange<Arc<Target>>> {
    std::mem::take(&mut state().waiting).into_iter().map(|waiting| waiting.change).collect()
}

/// Notes that the end of a statement was asked for. False if it is not known to have begun.
pub fn ask_for_end(relation: u32, operation: TriggerEvent, identity: Identity) -> bool {
    let depth = trigger::depth();
    let mut state = state();
    let own = state.place_of(relation, operation, depth);
    own.is_some_and(|place| state.begun[place].ends_as.replace(identity).is_none())
}

/// Ends the statements whose end was asked for and is here. Gives as whom to see to it, if these were the last ones.
pub fn take_end() -> Option<Identity> {
    let depth = trigger::depth();
    let mut state = state();
    let is_here = |begun: &OpenStatement| begun.depth >= depth && begun.ends_as.is_some();
    let identity = state.begun.iter().find(|begun| is_here(begun)).and_then(|begun| begun.ends_as);
    state.begun.retain(|begun| !is_here(begun));
    identity.filter(|_| state.begun.is_empty())
}

/// The table of a statement that has not ended, or whose changes were not sent, although the transaction ends.
pub fn unfinished() -> Option<Oid> {
    let state = state();
    let begun = state.begun.first().map(|begun| begun.relation);
    begun.or_else(|| state.waiting.first().map(|waiting| waiting.change.target.relation)).map(Oid::from)
}

/// Forgets everything.
pub fn forget() {
    let mut state = state();
    *state = OpenStatements { begun: Vec::new(), waiting: Vec::new() };
}

/// Forgets what a subtransaction that is undone has begun and captured. Those within it have higher numbers.
pub fn forget_subtransaction(undone: u32) {
    let mut state = state();
    state.begun.retain(|begun| begun.subtransaction < undone);
    state.waiting.retain(|waiting| waiting.subtransaction < undone);
}
