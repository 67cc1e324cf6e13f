//! The extension, seen from a client. Each folder is a part of the product; `support` has the common helpers.

mod attach;
mod calls;
mod docs;
mod gateway;
mod interruption;
mod outbox;
mod privileges;
mod release;
mod support;
mod upgrade;
