//! Messages to the client and to the server's log, and the errors that a binding raises itself.

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use pgrx::PgLogLevel;
use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::panic::ErrorReport;

/// A level below ERROR.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    /// For the server's log alone.
    Log,
    Notice,
    Warning,
}

/// The parts of a message, in an encoding that the client can show.
#[derive(Default)]
pub struct Message<'a> {
    /// None is the level's own code.
    pub code: Option<Code>,
    pub text: &'a str,
    pub detail: Option<&'a str>,
    pub hint: Option<&'a str>,
}

// Not in pgrx's bindings.
unsafe extern "C-unwind" {
    fn errstart(level: c_int, domain: *const c_char) -> bool;
    fn errcode(code: c_int) -> c_int;
    fn errmsg(format: *const c_char, ...) -> c_int;
    fn errdetail(format: *const c_char, ...) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

/// Sends a message below ERROR.
///
/// errfinish() handles a pending cancel after it has sent the message. Here that waits for the caller's next check, so a
/// message ends no statement that its caller wants to go on. An error inside, as of a function that writes a CONTEXT
/// line, is raised as by every function of Postgres.
pub fn emit(level: Level, message: &Message<'_>) {
    let level = match level {
        Level::Log => pg_sys::LOG,
        Level::Notice => pg_sys::NOTICE,
        Level::Warning => pg_sys::WARNING,
    } as c_int;
    let (text, detail, hint) = (c_string(message.text), message.detail.map(c_string), message.hint.map(c_string));
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    let (text, detail, hint) = (text.as_ptr(), pointer(&detail), pointer(&hint));
    let code = message.code.map(|code| code as c_int);
    // SAFETY: the calls that ereport() makes, on the backend's main thread, which the guard checks. Each format takes one
    // string, which the variables above own until the guard has ended. The closure owns nothing, so the guard may end it
    // by a jump. An error inside sets the count to 0, as every error does, and skips the line that counts down.
    unsafe {
        pg_sys::InterruptHoldoffCount += 1;
        pg_guard_ffi_boundary(|| {
            if !errstart(level, ptr::null()) {
                return;
            }
            if let Some(code) = code {
                errcode(code);
            }
            errmsg(c"%s".as_ptr(), text);
            if !detail.is_null() {
                errdetail(c"%s".as_ptr(), detail);
            }
            if !hint.is_null() {
                errhint(c"%s".as_ptr(), hint);
            }
            errfinish(ptr::null(), 0, ptr::null());
        });
        pg_sys::InterruptHoldoffCount -= 1;
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("no NUL is left")
}

/// Raises an error: a panic, which pgrx turns into Postgres' own where Postgres called this library.
pub fn raise(report: ErrorReport) -> ! {
    report.report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// Raises an error that no user causes: Postgres failed, or an object of this extension was altered.
#[track_caller]
pub fn internal_error(message: String) -> ! {
    raise(ErrorReport::new(Code::ERRCODE_INTERNAL_ERROR, message, "sequin_mutations"))
}
