//! Tables that write through: an application writes plain SQL to its own table, and each statement reaches the provider
//! or fails as a whole.
//!
//! - [`attachment`]: what a trigger's argument says;
//! - `attach_table` decides which tables get and lose `triggers`, and `columns` finds the columns that an attachment names;
//! - `capture` is what the triggers do when they fire. `written_rows` reads what a statement has written, `capture_inline` sends it,
//!   `capture_outbox` writes it into the queue;
//! - `open_statements` holds what waits for the end of the outermost statement, `flush` sends it, [`net`] makes one change of it
//!   for each row, `reinserted_rows` finds rows that were deleted and inserted again in one transaction, and [`differences`] compares
//!   them;
//! - `partition_moves` refuses a MERGE that would move a row to another partition;
//! - `owner_rights` refuses an INSERT whose ids would have to be written with rights that the session could abuse;
//! - `write_back_guard` keeps the UPDATE that writes upstream ids from being captured, [`queries`] is its SQL, and `write_ids`
//!   brings the ids of what the outbox has created;
//! - `attach_checks` and [`written_names`] look at what surrounds a table that is about to be attached, and `server_rename`
//!   brings the new name of a server to what is attached.

mod attach_checks;
pub mod attach_table;
pub mod capture;
mod capture_inline;
mod capture_outbox;
mod columns;
mod error;
mod flush;
mod open_statements;
pub mod owner_rights;
pub mod partition_moves;
mod partitions;
mod reinserted_rows;
pub mod server_rename;
mod triggers;
mod write_back_guard;
pub mod write_ids;
mod written_rows;
