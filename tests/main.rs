//! The extension, seen from a client. Each folder is a part of the product; `support` is what the tests share.

mod attach;
mod calls;
mod docs;
mod interruption;
mod outbox;
mod privileges;
mod release;
mod support;
mod upgrade;
