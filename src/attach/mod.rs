//! Tables that write through: an application writes plain SQL to its own table, and each statement reaches the provider
//! or fails as a whole.
//!
//! - [`attachment`]: what a trigger's argument says;
//! - `attach_table` decides which tables get and lose `triggers`, and `columns` finds the columns that an attachment names;
//! - `capture` is what the triggers do when they fire. `rows` reads what a statement has written, `inline` sends it,
//!   `queued` writes it into the queue;
//! - `pending` holds what waits for the end of the outermost statement, `waiting` sends it, [`net`] makes one change of it
//!   for each row, `moved` finds rows that were deleted and inserted again in one transaction, and [`differences`] compares
//!   them;
//! - `moving_rows` refuses a MERGE that would move a row to another partition;
//! - `owner_rights` refuses an INSERT whose ids would have to be written with rights that the session could abuse;
//! - `write_back` keeps the UPDATE that writes upstream ids from being captured, [`queries`] is its SQL, and `late_ids`
//!   brings the ids of what the outbox has created;
//! - `attach_checks` and [`written_names`] look at what surrounds a table that is about to be attached, and `renamed`
//!   brings the new name of a server to what is attached.

mod attach_checks;
pub mod attach_table;
pub mod capture;
mod columns;
mod inline;
pub mod late_ids;
mod moved;
pub mod moving_rows;
pub mod owner_rights;
mod pending;
mod queued;
pub mod renamed;
mod rows;
mod triggers;
mod waiting;
mod write_back;
