//! The sandbox over real sockets. The clients here are written by hand: a library's would retry, pool and tidy up, and what
//! it hides is what is looked at.

mod consumers;
mod faults;
mod log;
mod mutations;
mod process;
mod support;
mod tls;
