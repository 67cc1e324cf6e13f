//! The rules as tables: what becomes of the changes of a key, and which of them travel together. In [`history`] all of them
//! together, against a remote API that is a map.

mod history;
mod keys;
mod notation;
mod requests;

use super::*;

use notation::{LIMITS, batch_key, change, changes, check, only_operation, written};
