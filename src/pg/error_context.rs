//! Lines of the CONTEXT of errors.
//!
//! Postgres calls a callback for each line while it reports an error. pgrx reports an error that a SQL function returns
//! after the last Rust frame of that function is gone, so the line must still be on Postgres' stack then. It is removed
//! after success only. Code that catches an error restores Postgres' stack; the line itself is palloc'd.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::marker::PhantomData;
use std::ptr;

use pgrx::pg_sys;

use super::text;

/// What a line says after its text.
pub trait Line: Copy {
    /// Called while an error is reported: it must not allocate, raise or panic.
    fn clauses(&self) -> Clauses;
}

/// The text of a line is followed by `: known` and by `, after number words`.
#[derive(Clone, Copy, Default)]
pub struct Clauses {
    pub known: Option<&'static CStr>,
    pub after: Option<(usize, &'static CStr)>,
}

#[repr(C)]
struct Frame<L> {
    callback: pg_sys::ErrorContextCallback,
    text: *const c_char,
    line: L,
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
        // SAFETY: main thread of a backend. The frame lives in the memory context of the calling function, which lasts
        // until its error was reported.
        unsafe {
            let frame = pg_sys::palloc(size_of::<Frame<L>>()).cast::<Frame<L>>();
            frame.write(Frame {
                callback: pg_sys::ErrorContextCallback {
                    previous: pg_sys::error_context_stack,
                    callback: Some(write_line::<L>),
                    arg: frame.cast(),
                },
                text: server_text(text),
                line,
            });
            pg_sys::error_context_stack = frame.cast();
            ErrorContext { frame, lines: PhantomData }
        }
    }

    /// Removes the line. It must be the last one that was added.
    pub fn leave(self) {
        // SAFETY: `enter` has put the frame on the stack, and each line that was added later is removed.
        unsafe {
            debug_assert_eq!(pg_sys::error_context_stack.cast(), self.frame);
            pg_sys::error_context_stack = (*self.frame).callback.previous;
            pg_sys::pfree((*self.frame).text.cast_mut().cast());
            pg_sys::pfree(self.frame.cast());
        }
    }

    /// Replaces the text.
    pub fn set_text(&self, text: &str) {
        // SAFETY: the frame is on the stack as long as `self` exists. Nothing else points to the old text.
        unsafe {
            pg_sys::pfree((*self.frame).text.cast_mut().cast());
            (*self.frame).text = server_text(text);
        }
    }

    pub fn line(&self) -> L {
        // SAFETY: the frame is on the stack as long as `self` exists.
        unsafe { (*self.frame).line }
    }

    pub fn set_line(&self, line: L) {
        // SAFETY: as above; no reference to the old line exists.
        unsafe { (*self.frame).line = line }
    }

    /// The line of this type that was added last, if one is on the stack.
    pub fn innermost() -> Option<ErrorContext<L>> {
        // SAFETY: the entries of Postgres' stack are alive. Those with our callback are frames of this type.
        unsafe {
            let mut entry = pg_sys::error_context_stack;
            while let Some(callback) = entry.as_ref() {
                if callback.callback.is_some_and(|write| ptr::fn_addr_eq(write, write_line::<L> as WriteLine)) {
                    return Some(ErrorContext { frame: entry.cast(), lines: PhantomData });
                }
                entry = callback.previous;
            }
            None
        }
    }
}

type WriteLine = unsafe extern "C-unwind" fn(*mut c_void);

fn server_text(text: &str) -> *const c_char {
    text::to_server_cstring(&text::for_context(text))
}

// Not in pgrx's bindings, which keep programs from writing their own error reports.
unsafe extern "C-unwind" {
    fn set_errcontext_domain(domain: *const c_char) -> c_int;
    fn errcontext_msg(format: *const c_char, ...) -> c_int;
}

/// Called by Postgres while it reports an error, possibly twice for one error.
unsafe extern "C-unwind" fn write_line<L: Line>(frame: *mut c_void) {
    // SAFETY: Postgres passes the `arg` of a frame that is on its stack; all texts are NUL-terminated and alive. Each
    // format matches its arguments.
    unsafe {
        let frame = &*frame.cast::<Frame<L>>();
        let text = frame.text;
        set_errcontext_domain(ptr::null());
        match frame.line.clauses() {
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
