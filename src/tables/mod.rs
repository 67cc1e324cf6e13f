//! Tables that write through: an application writes plain SQL to its own table, and each statement reaches the provider
//! or fails as a whole.
//!
//! [`attachment`] is what a trigger's argument says, [`queries`] the SQL that reads what a statement changed, `attach`
//! decides which tables get and lose `triggers`, and `capture` is what they do when they fire: send, or, for the outbox,
//! what `queued` does. `late_ids` brings the ids of what the outbox has created, and `renamed` the new name of a server.
//! `attach_checks` and [`written_names`] look at what surrounds a table that is about to be attached.

pub mod attachment;
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
pub mod late_ids;
#[cfg(feature = "postgres")]
mod queued;
#[cfg(feature = "postgres")]
pub mod renamed;
#[cfg(feature = "postgres")]
mod triggers;
