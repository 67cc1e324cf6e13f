//! The CONTEXT line of every error: which mutation it was, and what is known of it so far.
//!
//! A cancelled statement is reported by Postgres itself, with Postgres' own code and message; this line is the only
//! place where such an error can say whether the API may have applied the mutation. pgrx reports an error again at the
//! SQL function's boundary, after every Rust frame is gone, so the callback that writes the line must still be on
//! Postgres' stack then: it is taken off after success only. Whoever catches an error puts that stack back as it was,
//! and the frame itself is palloc'd, so nothing is left behind (probes.md 9).

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::pg_sys;

use super::text;

#[repr(C)]
struct Frame {
    callback: pg_sys::ErrorContextCallback,
    text: *const c_char,
    /// See [`Earlier`].
    earlier: c_ulong,
}

/// What is known of the mutation under way, in words, NUL-terminated.
static KNOWN: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());

/// Says what an error that comes from now on may claim. Replaces what was said before.
pub fn now_known(words: &'static CStr) {
    KNOWN.store(words.as_ptr().cast_mut(), Ordering::Relaxed);
}

/// Runs `f` with `text`, and what is known of the mutation, as the CONTEXT of whatever it raises or returns as an error.
pub fn within<T, E>(text: &str, f: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    run(text, write_line_with_known, |_| f())
}

/// Runs `f` with `text` as a further line of the CONTEXT, which also says what `f` notes in [`Earlier`].
pub fn during<T, E>(text: &str, f: impl FnOnce(&Earlier) -> Result<T, E>) -> Result<T, E> {
    run(text, write_line_with_earlier, |frame| f(&Earlier(frame)))
}

/// How many records earlier requests of the same statement have applied. It is kept in the frame itself: when an error
/// is reported, the Rust code that counted is gone.
pub struct Earlier(*mut Frame);

impl Earlier {
    pub fn applied(&self, records: usize) {
        // SAFETY: the frame is on Postgres' stack for as long as `during` runs.
        unsafe { (*self.0).earlier = records as c_ulong };
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
            earlier: 0,
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
    let known = KNOWN.load(Ordering::Relaxed);
    // SAFETY: Postgres passes the `arg` of a frame that is on its stack; both texts are NUL-terminated and alive.
    unsafe {
        let frame = &*frame.cast::<Frame>();
        set_errcontext_domain(ptr::null());
        if known.is_null() {
            errcontext_msg(c"%s".as_ptr(), frame.text);
        } else {
            errcontext_msg(c"%s: %s".as_ptr(), frame.text, known);
        }
    }
}

/// As [`write_line_with_known`], with the number of records that were applied before.
unsafe extern "C-unwind" fn write_line_with_earlier(frame: *mut c_void) {
    // SAFETY: as there.
    unsafe {
        let frame = &*frame.cast::<Frame>();
        set_errcontext_domain(ptr::null());
        let format = match frame.earlier {
            0 => c"%s",
            1 => c"%s, of which %lu record was applied by an earlier request",
            _ => c"%s, of which %lu records were applied by earlier requests",
        };
        errcontext_msg(format.as_ptr(), frame.text, frame.earlier);
    }
}
