//! Open statements on attached tables, and the changes that are held until the outermost one has ended.
//!
//! A trigger of an attached table may write attached tables itself. The changes of such a nested statement are held when it
//! ends, and sent when the outermost statement has ended: one change for each row. They are kept for the session, because
//! a call of a trigger ends long before.

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
    /// The role that the statement ran as. Its rights and its user mapping are used.
    pub role: u32,
    /// The search_path that the statement ran with. The table's triggers resolve unqualified names by it.
    pub search_path: CString,
}

#[derive(Debug, Clone, Copy)]
struct OpenStatement {
    relation: u32,
    operation: TriggerEvent,
    /// The depth at which its triggers fire: one more than the number of triggers that it runs within. The statement of a
    /// foreign key runs within the trigger of that key, and its own triggers fire later, at a lower depth.
    depth: i32,
    subtransaction: u32,
    /// When the client sent the statement that contains this one.
    sent_at: i64,
    /// Set once its end was deferred: the role and search_path to handle it with.
    ends_as: Option<Identity>,
}

struct HeldChange {
    change: RowChange<Arc<Target>>,
    subtransaction: u32,
}

struct OpenStatements {
    open: Vec<OpenStatement>,
    held: Vec<HeldChange>,
}

impl OpenStatements {
    /// The statement of this kind whose triggers fire at this depth.
    fn place_of(&self, relation: u32, operation: TriggerEvent, depth: i32) -> Option<usize> {
        let is_own =
            |begun: &OpenStatement| begun.relation == relation && begun.operation == operation && begun.depth >= depth;
        self.open.iter().rposition(is_own)
    }
}

static STATE: Mutex<OpenStatements> = Mutex::new(OpenStatements { open: Vec::new(), held: Vec::new() });

fn state() -> MutexGuard<'static, OpenStatements> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that a statement begins. Fails with the table of a statement that is still open from an earlier statement of the
/// client.
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
    if let Some(other) = state.open.iter().find(|other| other.sent_at != begun.sent_at) {
        return Err(Oid::from(other.relation));
    }
    state.open.push(begun);
    Ok(())
}

/// The other statements and changes at the end of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// The statement ran within a trigger of another statement on an attached table.
    pub is_within: bool,
    /// This or another open statement deletes: together with an insert this may move a row.
    pub may_move_rows: bool,
    /// Changes are held.
    pub has_held_changes: bool,
}

/// The tables of the captured UPDATEs at the current depth of triggers.
pub fn updated_here() -> Vec<u32> {
    let depth = trigger::depth();
    let state = state();
    let is_here = |begun: &&OpenStatement| begun.operation == TriggerEvent::Update && begun.depth == depth;
    state.open.iter().filter(is_here).map(|begun| begun.relation).collect()
}

/// The surroundings of a statement that ends.
pub fn surroundings(relation: u32, operation: TriggerEvent) -> Surroundings {
    let depth = trigger::depth();
    let state = state();
    let own = state.place_of(relation, operation, depth);
    let others = || state.open.iter().enumerate().filter(|(place, _)| Some(*place) != own).map(|(_, begun)| begun);
    let is_alone = others().next().is_none();
    let is_around = |begun: &OpenStatement| {
        // Of two statements of the same kind, the one whose triggers fire later is the outer one.
        begun.depth < depth || begun.relation == relation && begun.operation == operation
    };
    Surroundings {
        is_within: others().any(is_around),
        may_move_rows: !is_alone
            && (operation == TriggerEvent::Delete || others().any(|begun| begun.operation == TriggerEvent::Delete)),
        has_held_changes: !state.held.is_empty(),
    }
}

/// Notes that a statement has ended. Returns whether it was the last open one.
pub fn end(relation: u32, operation: TriggerEvent) -> bool {
    let depth = trigger::depth();
    let mut state = state();
    if let Some(place) = state.place_of(relation, operation, depth) {
        state.open.remove(place);
    }
    state.open.is_empty()
}

/// Holds changes until the outermost statement has ended.
pub fn hold(changes: Vec<RowChange<Arc<Target>>>) {
    let subtransaction = current_subtransaction();
    state().held.extend(changes.into_iter().map(|change| HeldChange { change, subtransaction }));
}

/// Takes the held changes, in the order in which they were captured.
pub fn take() -> Vec<RowChange<Arc<Target>>> {
    std::mem::take(&mut state().held).into_iter().map(|held| held.change).collect()
}

/// Notes that the end of a statement is deferred. Returns false if the statement is not open.
pub fn defer_end(relation: u32, operation: TriggerEvent, identity: Identity) -> bool {
    let depth = trigger::depth();
    let mut state = state();
    let own = state.place_of(relation, operation, depth);
    own.is_some_and(|place| state.open[place].ends_as.replace(identity).is_none())
}

/// Ends the statements whose deferred end is here. If these were the last open ones, returns the identity to go on with.
pub fn take_deferred_end() -> Option<Identity> {
    let depth = trigger::depth();
    let mut state = state();
    let is_here = |begun: &OpenStatement| begun.depth >= depth && begun.ends_as.is_some();
    let identity = state.open.iter().find(|begun| is_here(begun)).and_then(|begun| begun.ends_as);
    state.open.retain(|begun| !is_here(begun));
    identity.filter(|_| state.open.is_empty())
}

/// The table of a statement that is still open, or whose changes are still held.
pub fn unfinished() -> Option<Oid> {
    let state = state();
    let begun = state.open.first().map(|begun| begun.relation);
    begun.or_else(|| state.held.first().map(|held| held.change.target.relation)).map(Oid::from)
}

/// Drops everything, at the end of the transaction.
pub fn forget() {
    *state() = OpenStatements { open: Vec::new(), held: Vec::new() };
}

/// Drops the statements and changes of a subtransaction that was rolled back. Its own subtransactions have higher numbers.
pub fn forget_subtransaction(undone: u32) {
    let mut state = state();
    state.open.retain(|begun| begun.subtransaction < undone);
    state.held.retain(|held| held.subtransaction < undone);
}
