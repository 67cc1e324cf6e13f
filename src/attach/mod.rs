//! Attached tables: an application writes plain SQL to its own table, and each statement is sent to the provider or fails.
//!
//! - `attach_table` attaches and detaches a table, `attach_checks` checks its surroundings, `triggers` creates and drops its
//!   triggers, and `columns` finds the columns that an attachment names;
//! - `capture` is the body of the triggers. `written_rows` reads the rows of a statement, `capture_inline` sends them, and
//!   `capture_outbox` queues them;
//! - `open_statements` holds changes until the outermost statement has ended, and `flush` sends them;
//! - `reinserted_rows` finds rows that were deleted and inserted again in one transaction, and `partition_moves` refuses a
//!   MERGE that would move a row to another partition;
//! - `write_ids` writes upstream ids into rows after delivery, `write_back_guard` keeps that UPDATE from being captured, and
//!   `owner_rights` refuses an INSERT whose ids would be written with rights that the session could abuse;
//! - `server_rename` writes the new name of a server into attached tables.
//!
//! The rules that need no Postgres are in the contract: `attachment`, `capture_sql`, `net_change` and `field_digests`.

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
