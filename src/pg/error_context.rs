//! Lines of the CONTEXT of errors.
//!
//! Postgres calls a callback for each line while it reports an error. pgrx reports an error that a SQL function returns
//! after the last Rust frame of that function is gone, so the line must still be on Postgres' stack then. It is removed
//! after success only. PG_CATCH and pgrx's guard put Postgres' stack back; the line itself is palloc'd. A `catch_unwind` of
//! this crate does not put it back: a line that is added within one is added below a call into Postgres.

use std::any::TypeId;
use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::marker::PhantomData;
use std::ptr;

use pgrx::pg_sys;

use super::text;

/// The end of a line, after its text.
pub trait Line: Copy + 'static {
    /// Called while an error is reported: it must not allocate, raise or panic.
    fn clauses(&self) -> Clauses;
}

/// The text of a line is followed by `: known` and by `, after number words`.
#[derive(Clone, Copy, Default)]
pub struct Clauses {
    pub known: Option<&'static CStr>,
    pub after: Option<(usize, &'static CStr)>,
}

/// An entry of Postgres' stack whose callback is [`write_line`].
#[repr(C)]
struct Entry {
    callback: pg_sys::ErrorContextCallback,
    text: *const c_char,
    /// The type of the line that follows.
    kind: TypeId,
    clauses: unsafe fn(*const Entry) -> Clauses,
}

#[repr(C)]
struct Frame<L> {
    entry: Entry,
    line: L,
}

/// # Safety
/// The entry is that of a `Frame<L>`.
unsafe fn clauses<L: Line>(entry: *const Entry) -> Clauses {
    // SAFETY: as the caller promises: the entry is the frame's first field.
    unsafe { (*entry.cast::<Frame<L>>()).line.clauses() }
}

/// A line on Postgres' stack.
///
/// It has no `Drop`: after an error the line stays. A function that returns an error must not catch it, unless it
/// restores Postgres' stack.
#[must_use = "the line stays until `leave`"]
pub struct ErrorContext<L: Line> {
    frame: *mut Frame<L>,
    lines: PhantomData<L>,
}

impl<L: Line> ErrorContext<L> {
    /// Adds a line.
    pub fn enter(text: &str, line: L) -> ErrorContext<L> {
        const { assert!(align_of::<Frame<L>>() <= 8) };
        // SAFETY: palloc gives memory of this size and of any alignment up to eight, or raises. The frame lives in the
        // memory context of the calling function, which lasts until its error was reported.
        unsafe {
            let frame = pg_sys::palloc(size_of::<Frame<L>>()).cast::<Frame<L>>();
            let previous = pg_sys::error_context_stack;
            let callback = pg_sys::ErrorContextCallback { previous, callback: Some(write_line), arg: frame.cast() };
            let entry = Entry { callback, text: server_text(text), kind: TypeId::of::<L>(), clauses: clauses::<L> };
            frame.write(Frame { entry, line });
            pg_sys::error_context_stack = frame.cast();
            ErrorContext { frame, lines: PhantomData }
        }
    }

    /// Removes the line. It must be the last one that was added.
    pub fn leave(self) {
        // SAFETY: `enter` has made the frame, whose memory context is not gone yet. Lines that were added later leave the
        // stack with it.
        unsafe {
            debug_assert_eq!(pg_sys::error_context_stack.cast(), self.frame);
            pg_sys::error_context_stack = (*self.frame).entry.callback.previous;
            pg_sys::pfree((*self.frame).entry.text.cast_mut().cast());
            pg_sys::pfree(self.frame.cast());
        }
    }

    /// Replaces the text.
    pub fn set_text(&self, text: &str) {
        // The error of a conversion calls `write_line`, which reads the old text.
        let text = server_text(text);
        // SAFETY: the frame is there as long as `self`. Nothing else points to the old text.
        unsafe {
            let old = std::mem::replace(&mut (*self.frame).entry.text, text);
            pg_sys::pfree(old.cast_mut().cast());
        }
    }

    pub fn line(&self) -> L {
        // SAFETY: the frame is there as long as `self`.
        unsafe { (*self.frame).line }
    }

    pub fn set_line(&self, line: L) {
        // SAFETY: the frame is there as long as `self`; no reference to the old line exists.
        unsafe { (*self.frame).line = line }
    }

    /// Changes the line of this type that was added last, if one is on the stack.
    pub fn change_innermost(change: impl FnOnce(L) -> L) {
        // SAFETY: the entries of Postgres' stack are alive. One whose callback is `write_line`, a function of this library
        // alone, is an `Entry`; its kind says which frame it begins.
        unsafe {
            let mut entry = pg_sys::error_context_stack;
            while let Some(callback) = entry.as_ref() {
                if callback.callback.is_some_and(|write| ptr::fn_addr_eq(write, write_line as WriteLine))
                    && (*entry.cast::<Entry>()).kind == TypeId::of::<L>()
                {
                    let frame = entry.cast::<Frame<L>>();
                    (*frame).line = change((*frame).line);
                    return;
                }
                entry = callback.previous;
            }
        }
    }
}

type WriteLine = unsafe extern "C-unwind" fn(*mut c_void);

/// Each character comes from the database, but for the `…` of a name that was cut: not every encoding has it.
fn server_text(text: &str) -> *const c_char {
    let text = text::for_context(text);
    if text::database_is_utf8() || !text.contains('…') {
        return text::to_server_cstring(&text);
    }
    text::to_server_cstring(&text.replace('…', &text::escape_non_ascii("…")))
}

// Not in pgrx's bindings, which keep programs from writing their own error reports.
unsafe extern "C-unwind" {
    fn set_errcontext_domain(domain: *const c_char) -> c_int;
    fn errcontext_msg(format: *const c_char, ...) -> c_int;
}

/// Called by Postgres while it reports an error, possibly twice for one error.
unsafe extern "C-unwind" fn write_line(entry: *mut c_void) {
    // SAFETY: Postgres passes the `arg` of an entry that is on its stack: the frame itself, and `clauses` is of its type.
    // All texts are NUL-terminated and alive. Each format matches its arguments. An error inside may jump over this
    // frame, which owns nothing.
    unsafe {
        let entry = &*entry.cast::<Entry>();
        let text = entry.text;
        set_errcontext_domain(ptr::null());
        match (entry.clauses)(entry) {
            Clauses { known: None, after: None } => errcontext_msg(c"%s".as_ptr(), text),
            Clauses { known: Some(known), after: None } => errcontext_msg(c"%s: %s".as_ptr(), text, known.as_ptr()),
            Clauses { known: None, after: Some((number, words)) } => {
                errcontext_msg(c"%s, after %lu %s".as_ptr(), text, number as c_ulong, words.as_ptr())
            }
            Clauses { known: Some(known), after: Some((number, words)) } => errcontext_msg(
                c"%s: %s, after %lu %s".as_ptr(),
                text,
                known.as_ptr(),
                number as c_ulong,
                words.as_ptr(),
            ),
        };
    }
}
