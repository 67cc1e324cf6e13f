//! Write-back: bringing the upstream ids of delivered creates into the rows of attached tables.
//!
//! - [`Handover`] is the delivery worker's side: it notes the ids in the transaction that settles their creates;
//! - [`process`] writes them, in a process of its own, so that slow triggers do not hold up delivery;
//! - `slot` is how the two find each other, `writer` stores what failed;
//! - `visit` writes rows of one table. Which table is next, and for how long, decides `contract::batching::visits`;
//! - `propagate_ids` stores the ids in changes that were queued before their row had one.
//!
//! # Two processes
//!
//! Delivery and write-back share `sequin.queue`, `sequin.deferred` and `sequin.pending_upstream_ids`. All transactions are
//! READ COMMITTED: each statement sees what was committed before it began. Names: the create C of a row, its pending id P,
//! a later change U or delete D of the row that was queued without an upstream id.
//!
//! **Delivery never waits for a trigger.** A visit takes its locks on the three tables after the triggers have run, and
//! commits at once. It locks P, then the queue, then the deferred records, and never waits for one of them: if another
//! session has locked one, the visit is undone and repeated. So there is no deadlock with a settlement either, which locks
//! in its own order.
//!
//! **U gets its id.** The delivery worker does not claim U before it has settled C, in an earlier transaction or the same
//! one. So it sees P, until the write-back deletes it. It reads U, then P.
//! - Both are read before the write-back commits: P is there, and gives the id.
//! - U is read before that commit and P after it: P is gone. But the write-back has stored the id in U in the transaction
//!   that deleted P. So the delivery worker reads U once more (`claim::upstream_ids`).
//! - U is committed after the write-back has looked for changes: impossible. The statement that queued U has locked the
//!   row until its commit. The write-back skips a locked row, and looks for changes by a statement that begins after it has
//!   locked the row.
//! - The delivery worker settles or defers U meanwhile: the write-back finds U locked, is undone, and finds U in its new
//!   place when it is repeated. If the write-back has locked U first, the delivery worker waits for its commit. Its DELETE
//!   then finds the new version of U, with the id.
//!
//! **The id of a deleted row does not get into a later row with the same key.** D is committed before the later row is, so a
//! write-back that sees the later row sees D after it, by a later statement, unless D is settled. A settled D has deleted P.
//! - D is not settled: the write-back finds D, and is undone. Repeated, it drops P.
//! - D is settled before the write-back locks P: it finds no P, and is undone.
//! - D is settled later: its settlement waits for the commit of the write-back, which has seen no D before. So the row that
//!   it wrote was that of C.
//!
//! **Nothing is lost.** P is deleted by the transaction that writes the row. If the process ends, the delivery worker finds P
//! and starts another one.

mod handover;
pub mod process;
mod propagate_ids;
mod slot;
mod visit;
mod writer;

pub use super::store::upstream_ids::PendingId;
pub use handover::{Handover, forget_deleted};
pub use slot::{memory, try_prepare};
pub use visit::{AttachedTable, OpenAttached};
