//! The sandbox over real sockets. The clients here are written by hand: a library's client would retry, pool and clean
//! up, and so hide the behaviour under test.

mod consumers;
mod faults;
mod log;
mod mutations;
mod process;
mod support;
mod tls;
