//! The rules as tables: `keys` for the changes of one ordering key, `requests` for batches. `history` checks all rules
//! together, against a model of the API.

mod history;
mod keys;
mod notation;
mod requests;

use super::*;

use notation::{LIMITS, batch_key, change, changes, check, only_operation, written};
