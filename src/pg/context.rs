//! The CONTEXT line of every error: which mutation it was, and what is known of it so far.
//!
//! A cancelled statement is reported by Postgres itself, with Postgres' own code and message; this line is the only
//! place where such an error can say whether the API may have applied the mutation. pgrx reports an error again at the
//! SQL function's boundary, after every Rust frame is gone, so the callback that writes the line must still be on
//! Postgres' stack then: it is taken off after success only. Whoever catches an error puts that stack back as it was,
//! and the frame itself is palloc'd, so nothing is left behind (probes.md 9).

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::ptr;

use pgrx::pg_sys;

use super::{tally, text};

#[repr(C)]
struct Frame {
    callback: pg_sys::ErrorContextCallback,
    text: *const c_char,
    /// What is known of the mutation under way, in words, NUL-terminated; null if nothing was said.
    known: *const c_char,
    /// See [`Tally`].
    of_request: usize,
}

/// Says what an error that comes from now on may claim of the mutation under way. Replaces what was said before.
///
/// That is the innermost one: while upstream ids are written into their rows, a trigger may send mutations of its own.
pub fn now_known(words: &'static CStr) {
    // SAFETY: Postgres' own stack, whose entries are alive; those with our callback are frames.
    unsafe {
        let mut entry = pg_sys::error_context_stack;
        while let Some(callback) = entry.as_ref() {
            if callback.callback.is_some_and(|write| ptr::fn_addr_eq(write, write_line_with_known as WriteLine)) {
                (*entry.cast::<Frame>()).known = words.as_ptr();
                return;
            }
            entry = callback.previous;
        }
    }
}

/// Runs `f` with `text`, and what is known of the mutation, as the CONTEXT of whatever it raises or returns as an error.
pub fn within<T, E>(text: &str, f: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    run(text, write_line_with_known, |_| f())
}

/// Runs `f` with `text` as a further line of the CONTEXT, which also says what [`Tally`] counts.
pub fn during<T, E>(text: &str, f: impl FnOnce(&Tally) -> Result<T, E>) -> Result<T, E> {
    tally::begin();
    run(text, write_line_with_tally, |frame| f(&Tally(frame)))
}

/// How many records the client's statement has had applied before the request under way. What is of that request itself
/// is kept in the frame: when an error is reported, the Rust code that counted is gone.
pub struct Tally(*mut Frame);

impl Tally {
    /// The request under way has had so many records applied.
    pub fn applied(&self, records: usize) {
        tally::add(records);
        self.speak_of(records);
    }

    /// From now on errors are about a request of which so many records are counted already: before are the others. It is 0
    /// for a request that is yet to come.
    pub fn speak_of(&self, records: usize) {
        // SAFETY: the frame is on Postgres' stack for as long as `during` runs.
        unsafe { (*self.0).of_request = records };
    }

    pub fn before(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.0).before() }
    }
}

impl Frame {
    fn before(&self) -> usize {
        tally::records().saturating_sub(self.of_request)
    }
}

type WriteLine = unsafe extern "C-unwind" fn(*mut c_void);

fn run<T, E>(text: &str, write: WriteLine, f: impl FnOnce(*mut Frame) -> Result<T, E>) -> Result<T, E> {
    let frame = push(text, write);
    let result = f(frame);
    if result.is_ok() {
        pop();
    }
    result
}

fn push(text: &str, write: WriteLine) -> *mut Frame {
    // SAFETY: main thread of a backend. The frame lives in the memory context of the calling function, which outlives
    // both the function and the report of its error.
    unsafe {
        let frame = pg_sys::palloc(size_of::<Frame>()).cast::<Frame>();
        frame.write(Frame {
            callback: pg_sys::ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(write),
                arg: frame.cast(),
            },
            text: text::to_server_cstring(&text::for_context(text)),
            known: ptr::null(),
            of_request: 0,
        });
        pg_sys::error_context_stack = frame.cast();
        frame
    }
}

fn pop() {
    // SAFETY: only called after `push` with nothing pushed since that was not popped, so the top is our frame.
    unsafe {
        let frame = pg_sys::error_context_stack.cast::<Frame>();
        pg_sys::error_context_stack = (*frame).callback.previous;
        pg_sys::pfree((*frame).text.cast_mut().cast());
        pg_sys::pfree(frame.cast());
    }
}

// Not in pgrx's bindings, which keep programs from writing their own error reports.
unsafe extern "C-unwind" {
    fn set_errcontext_domain(domain: *const c_char) -> c_int;
    fn errcontext_msg(format: *const c_char, ...) -> c_int;
}

/// Called by Postgres while it reports an error, possibly twice for one error. It allocates nothing in Rust and cannot
/// panic.
unsafe extern "C-unwind" fn write_line_with_known(frame: *mut c_void) {
    // SAFETY: Postgres passes the `arg` of a frame that is on its stack; both texts are NUL-terminated and alive.
    unsafe {
        let frame = &*frame.cast::<Frame>();
        set_errcontext_domain(ptr::null());
        if frame.known.is_null() {
            errcontext_msg(c"%s".as_ptr(), frame.text);
        } else {
            errcontext_msg(c"%s: %s".as_ptr(), frame.text, frame.known);
        }
    }
}

/// As [`write_line_with_known`], with the number of records that were applied before.
unsafe extern "C-unwind" fn write_line_with_tally(frame: *mut c_void) {
    // SAFETY: as there.
    unsafe {
        let frame = &*frame.cast::<Frame>();
        let before = frame.before();
        set_errcontext_domain(ptr::null());
        let format = match before {
            0 => c"%s",
            1 => c"%s, after %lu record was applied by an earlier request of the statement",
            _ => c"%s, after %lu records were applied by earlier requests of the statement",
        };
        errcontext_msg(format.as_ptr(), frame.text, before as c_ulong);
    }
}
