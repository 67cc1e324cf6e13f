//! Tables that write through: an application writes plain SQL to its own table, and each statement reaches the provider
//! or fails as a whole.
//!
//! - [`attachment`]: what a trigger's argument says;
//! - `attach` decides which tables get and lose `triggers`, and `columns` finds the columns that an attachment names;
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

pub mod attachment;
pub mod differences;
pub mod net;
pub mod queries;
pub mod written_names;

#[cfg(feature = "postgres")]
pub mod attach;
#[cfg(feature = "postgres")]
mod attach_checks;
#[cfg(feature = "postgres")]
pub mod capture;
#[cfg(feature = "postgres")]
mod columns;
#[cfg(feature = "postgres")]
mod inline;
#[cfg(feature = "postgres")]
pub mod late_ids;
#[cfg(feature = "postgres")]
mod moved;
#[cfg(feature = "postgres")]
pub mod moving_rows;
#[cfg(feature = "postgres")]
pub mod owner_rights;
#[cfg(feature = "postgres")]
mod pending;
#[cfg(feature = "postgres")]
mod queued;
#[cfg(feature = "postgres")]
pub mod renamed;
#[cfg(feature = "postgres")]
mod rows;
#[cfg(feature = "postgres")]
mod triggers;
#[cfg(feature = "postgres")]
mod waiting;
#[cfg(feature = "postgres")]
mod write_back;
