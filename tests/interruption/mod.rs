//! Cancels, timeouts, terminations and lost clients, in every phase of a call.

mod cancels;
mod interrupts;
