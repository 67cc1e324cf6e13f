//! What the tests share: a provider whose replies are scripted, the facts about it, and a gateway in front of it.

mod app;
mod notes;
mod scripted;

pub use app::{App, Told, config, create, http_backend, sync, told};
pub use notes::Notes;
pub use scripted::{Act, Received, Scripted};
