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

use contract::outcome::{Earlier, Scope};

use super::{tally, text};

#[repr(C)]
struct Frame {
    callback: pg_sys::ErrorContextCallback,
    text: *const c_char,
    /// What is known of the mutation under way, in words, NUL-terminated; null if nothing was said.
    known: *const c_char,
    /// See [`Tally`].
    of_request: usize,
    /// Whether the line says what was applied before. A capture says it in a line of its own.
    says_earlier: bool,
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
    run(text, write_line_with_known, false, |_| f())
}

/// The same for a mutation that no capture makes: the line also says what [`Tally`] counts.
pub fn counting<T, E>(text: &str, f: impl FnOnce(&Tally) -> Result<T, E>) -> Result<T, E> {
    tally::begin();
    run(text, write_line_with_known, true, |frame| f(&Tally(frame)))
}

/// Runs `f` with `text` as a further line of the CONTEXT, which also says what [`Tally`] counts.
pub fn during<T, E>(text: &str, f: impl FnOnce(&Tally) -> Result<T, E>) -> Result<T, E> {
    tally::begin();
    run(text, write_line_with_tally, true, |frame| f(&Tally(frame)))
}

/// What the client's statement, or its transaction, has had applied so far.
pub fn applied_so_far() -> Earlier {
    tally::begin();
    tally::before(0)
}

/// How many records the client's statement, or its transaction, has had applied before the request under way. What is of
/// that request itself is kept in the frame: when an error is reported, the Rust code that counted is gone.
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

    pub fn before(&self) -> Earlier {
        // SAFETY: as above.
        tally::before(unsafe { (*self.0).of_request })
    }
}

type WriteLine = unsafe extern "C-unwind" fn(*mut c_void);

fn run<T, E>(
    text: &str,
    write: WriteLine,
    says_earlier: bool,
    f: impl FnOnce(*mut Frame) -> Result<T, E>,
) -> Result<T, E> {
    let frame = push(text, write, says_earlier);
    let result = f(frame);
    if result.is_ok() {
        pop();
    }
    result
}

fn push(text: &str, write: WriteLine, says_earlier: bool) -> *mut Frame {
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
            says_earlier,
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
    // SAFETY: Postgres passes the `arg` of a frame that is on its stack; both texts are NUL-terminated and alive. Each
    // format takes what it is given.
    unsafe {
        let frame = &*frame.cast::<Frame>();
        let earlier = tally::before(frame.of_request);
        let known = if frame.known.is_null() { None } else { Some(CStr::from_ptr(frame.known)) };
        let known = known.map(|known| if earlier.records > 0 { beside_others(known) } else { known });
        let after = if frame.says_earlier { after(earlier) } else { None };
        set_errcontext_domain(ptr::null());
        let text = frame.text;
        match (known, after) {
            (None, None) => errcontext_msg(c"%s".as_ptr(), text),
            (Some(known), None) => errcontext_msg(c"%s: %s".as_ptr(), text, known.as_ptr()),
            (None, Some((records, words))) => {
                errcontext_msg(c"%s, after %lu %s".as_ptr(), text, records, words.as_ptr())
            }
            (Some(known), Some((records, words))) => {
                errcontext_msg(c"%s: %s, after %lu %s".as_ptr(), text, known.as_ptr(), records, words.as_ptr())
            }
        };
    }
}

/// As [`write_line_with_known`], of a capture, of which nothing is known but the number of records that were applied before.
unsafe extern "C-unwind" fn write_line_with_tally(frame: *mut c_void) {
    // SAFETY: as there.
    unsafe {
        let frame = &*frame.cast::<Frame>();
        set_errcontext_domain(ptr::null());
        match after(tally::before(frame.of_request)) {
            None => errcontext_msg(c"%s".as_ptr(), frame.text),
            Some((records, words)) => errcontext_msg(c"%s, after %lu %s".as_ptr(), frame.text, records, words.as_ptr()),
        };
    }
}

/// The number of records that were applied before, and the words behind it; None if there are none.
fn after(earlier: Earlier) -> Option<(c_ulong, &'static CStr)> {
    let words = match (earlier.records, earlier.scope) {
        (0, _) => return None,
        (1, Scope::Statement) => c"record was applied by an earlier request of the statement",
        (1, Scope::Transaction) => c"record was applied by an earlier request of the transaction",
        (_, Scope::Statement) => c"records were applied by earlier requests of the statement",
        (_, Scope::Transaction) => c"records were applied by earlier requests of the transaction",
    };
    Some((earlier.records as c_ulong, words))
}

/// What is known of one request, where others have had records applied.
fn beside_others(known: &CStr) -> &CStr {
    if known == NOTHING_APPLIED {
        c"nothing of it was applied"
    } else if known == NOT_SENT {
        c"the request was not sent, nothing of it was applied"
    } else {
        known
    }
}

/// What [`now_known`] is told of a request that has changed nothing.
pub const NOTHING_APPLIED: &CStr = c"nothing was applied";
pub const NOT_SENT: &CStr = c"the request was not sent, nothing was applied";
