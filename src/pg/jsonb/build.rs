//! From JSON text to a jsonb, with Postgres' own builder.
//!
//! `jsonb_in` spends most of its time in a lexer that copies every token. Here strings without escapes are handed over
//! where they stand, and only what has to be one is made a new value. Keys are sorted, duplicates dropped (the last
//! wins) and sizes checked by Postgres, so the result is the one that `jsonb_in` gives.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::{self, Datum, JsonbIteratorToken as Token, JsonbValue, Oid, jbvType};

use contract::json::{self, Cursor};

/// `json`, a valid JSON text whose root is an array or object and whose strings Postgres can store, in UTF-8.
pub fn build(json: &str) -> Datum {
    let mut cursor = Cursor::new(json);
    let mut builder = Builder::new();
    // The open containers: whether each is an object.
    let mut open = Vec::new();
    let mut is_key = false;
    while let Some(token) = cursor.token() {
        match token.as_bytes()[0] {
            first @ (b'{' | b'[') => {
                is_key = first == b'{';
                open.push(is_key);
                builder.push(if is_key { Token::WJB_BEGIN_OBJECT } else { Token::WJB_BEGIN_ARRAY }, None);
            }
            first @ (b'}' | b']') => {
                builder.push(if first == b'}' { Token::WJB_END_OBJECT } else { Token::WJB_END_ARRAY }, None);
                open.pop();
                if open.is_empty() {
                    return builder.finish();
                }
            }
            b',' => is_key = open.last() == Some(&true),
            b':' => is_key = false,
            _ => {
                let place = match (is_key, open.last()) {
                    (true, _) => Token::WJB_KEY,
                    (false, Some(true)) => Token::WJB_VALUE,
                    (false, _) => Token::WJB_ELEM,
                };
                builder.push(place, Some(scalar(token)));
            }
        }
    }
    unreachable!("a valid JSON text closes what it opens")
}

/// How many tokens go to Postgres at once. Each way there is guarded against an error, which costs as much as the token.
const AT_ONCE: usize = 32;

/// Postgres' stack of open containers; zeroes before the root is opened.
#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
type State = *mut pg_sys::JsonbParseState;
#[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
type State = pg_sys::JsonbInState;

struct Builder {
    state: State,
    waiting: [(Token::Type, MaybeUninit<JsonbValue>); AT_ONCE],
    count: usize,
}

impl Builder {
    fn new() -> Builder {
        let none = (Token::WJB_DONE, MaybeUninit::uninit());
        // SAFETY: a null pointer, or from 19 on a C struct of pointers and numbers that Postgres wants as zeroes.
        let state = unsafe { std::mem::zeroed() };
        Builder { state, waiting: [none; AT_ONCE], count: 0 }
    }

    /// Adds one token. A string's bytes are not copied before [`finish`](Self::finish).
    fn push(&mut self, token: Token::Type, value: Option<JsonbValue>) {
        if self.count == AT_ONCE {
            self.flush();
        }
        self.waiting[self.count] = (token, value.map_or(MaybeUninit::uninit(), MaybeUninit::new));
        self.count += 1;
    }

    /// Passes on what waits, and gives what the last token made.
    fn flush(&mut self) -> *mut JsonbValue {
        let (state, waiting) = (&raw mut self.state, &mut self.waiting[..self.count]);
        self.count = 0;
        // SAFETY: only Postgres writes the state. The tokens come in the order of a valid text. Those with a value are the
        // three that `push` is given one for. Postgres copies the value, and up to the end only the addresses of its
        // bytes, which last as long as the text and the memory context. The closure owns nothing and cannot panic, so the
        // guard may end it by a jump.
        unsafe {
            pg_guard_ffi_boundary(|| {
                let mut made = ptr::null_mut();
                for (token, value) in waiting {
                    let has_value = matches!(*token, Token::WJB_KEY | Token::WJB_VALUE | Token::WJB_ELEM);
                    made = push_token(state, *token, if has_value { value.as_mut_ptr() } else { ptr::null_mut() });
                }
                made
            })
        }
    }

    /// The whole value, when its root is closed.
    fn finish(mut self) -> Datum {
        let root = self.flush();
        // SAFETY: the value that the builder has made for the token that closed the root.
        unsafe { Datum::from(pg_sys::JsonbValueToJsonb(root)) }
    }
}

/// Adds one token, and gives what it completed.
///
/// # Safety
/// `state` is a builder's. `token` continues a valid text, with a value if it is a key, an element or a member's value. The
/// frames between this and a guard own nothing: an error jumps over them.
unsafe fn push_token(state: *mut State, token: Token::Type, value: *mut JsonbValue) -> *mut JsonbValue {
    unsafe extern "C-unwind" {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
        fn pushJsonbValue(state: *mut State, token: Token::Type, value: *mut JsonbValue) -> *mut JsonbValue;
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
        fn pushJsonbValue(state: *mut State, token: Token::Type, value: *mut JsonbValue);
    }
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
        return pushJsonbValue(state, token, value);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
        {
            pushJsonbValue(state, token, value);
            (*state).result
        }
    }
}

/// A string, number or word as a value. What it points to lives as long as the text and the current memory context.
fn scalar(token: &str) -> JsonbValue {
    // SAFETY: a C struct of integers, pointers and a union of such, for which all zeroes is a value: jbvNull.
    let mut value: JsonbValue = unsafe { std::mem::zeroed() };
    match token.as_bytes()[0] {
        b'"' => {
            let (bytes, length) = string(token);
            value.type_ = jbvType::jbvString;
            value.val.string.val = bytes;
            value.val.string.len = length;
        }
        b't' | b'f' => {
            value.type_ = jbvType::jbvBool;
            value.val.boolean = token.starts_with('t');
        }
        b'n' => {}
        _ => {
            value.type_ = jbvType::jbvNumeric;
            value.val.numeric = number(token);
        }
    }
    value
}

/// The content of a string and its length, in place if it has no escapes. Postgres only reads it.
fn string(token: &str) -> (*mut c_char, c_int) {
    let inner = &token[1..token.len() - 1];
    if !inner.as_bytes().contains(&b'\\') {
        return (inner.as_ptr().cast_mut().cast(), inner.len() as c_int);
    }
    let plain = json::unquote(token).expect("the reply's strings were found storable");
    // SAFETY: the new memory has as many bytes as are copied, and overlaps nothing.
    unsafe {
        let copy = pg_sys::palloc(plain.len().max(1)).cast::<c_char>();
        ptr::copy_nonoverlapping(plain.as_ptr().cast(), copy, plain.len());
        (copy, plain.len() as c_int)
    }
}

fn number(token: &str) -> pg_sys::Numeric {
    unsafe extern "C-unwind" {
        fn numeric_in(call: pg_sys::FunctionCallInfo) -> Datum;
    }
    // A zero may be negative in text, and has its digits counted behind a point; both are numeric_in's business.
    let is_plain = token.len() < 19 && token.bytes().all(|byte| byte.is_ascii_digit());
    if let (true, Ok(integer)) = (is_plain, token.parse()) {
        // SAFETY: takes a number by value.
        return unsafe { pg_sys::int64_to_numeric(integer) };
    }
    // SAFETY: numeric_in takes a NUL-terminated string, a type that it does not read, and -1 for no limit of digits. It
    // gives a numeric.
    unsafe {
        let text = pg_sys::pnstrdup(token.as_ptr().cast(), token.len());
        let numeric = pg_sys::DirectFunctionCall3Coll(
            Some(numeric_in),
            Oid::INVALID,
            Datum::from(text),
            Datum::from(Oid::INVALID),
            Datum::from(-1_i32),
        );
        numeric.cast_mut_ptr()
    }
}
