//! From JSON text to a jsonb, with Postgres' own builder.
//!
//! `jsonb_in` spends most of its time in a lexer that copies every token. Here strings without escapes are handed over
//! where they stand, and only what has to be one is made a new value. Keys are sorted, duplicates dropped (the last
//! wins) and sizes checked by Postgres, so the result is the one that `jsonb_in` gives.

use std::ffi::{c_char, c_int};
use std::ptr;

use pgrx::pg_sys::{self, Datum, JsonbIteratorToken as Token, JsonbParseState, JsonbValue, Oid, jbvType};

use crate::mutation::json::{self, Cursor};

/// `json`, a valid JSON text whose root is an array or object and whose strings Postgres can store, in UTF-8.
pub fn build(json: &str) -> Datum {
    let mut cursor = Cursor::new(json);
    let mut builder = Builder { state: ptr::null_mut() };
    let mut is_key = false;
    while let Some(token) = cursor.token() {
        let root = match token.as_bytes()[0] {
            b'{' => {
                is_key = true;
                builder.push(Token::WJB_BEGIN_OBJECT, ptr::null_mut())
            }
            b'[' => {
                is_key = false;
                builder.push(Token::WJB_BEGIN_ARRAY, ptr::null_mut())
            }
            b'}' => builder.push(Token::WJB_END_OBJECT, ptr::null_mut()),
            b']' => builder.push(Token::WJB_END_ARRAY, ptr::null_mut()),
            b',' => {
                is_key = builder.is_in_object();
                continue;
            }
            b':' => {
                is_key = false;
                continue;
            }
            _ => {
                let place = match (is_key, builder.is_in_object()) {
                    (true, _) => Token::WJB_KEY,
                    (false, true) => Token::WJB_VALUE,
                    (false, false) => Token::WJB_ELEM,
                };
                let mut value = scalar(token);
                builder.push(place, &mut value)
            }
        };
        if builder.state.is_null() {
            // SAFETY: the builder has closed the root and gave it out.
            return unsafe { Datum::from(pg_sys::JsonbValueToJsonb(root)) };
        }
    }
    unreachable!("a valid JSON text closes what it opens")
}

struct Builder {
    /// Postgres' stack of open containers; null before the root is opened and after it is closed.
    state: *mut JsonbParseState,
}

impl Builder {
    /// Adds one token. The value is copied, but not the bytes of a string.
    fn push(&mut self, token: Token::Type, value: *mut JsonbValue) -> *mut JsonbValue {
        // SAFETY: the state is Postgres' own; values come in the order of a valid text.
        unsafe { pg_sys::pushJsonbValue(&mut self.state, token, value) }
    }

    fn is_in_object(&self) -> bool {
        // SAFETY: Postgres' own state, while the root is open.
        unsafe { !self.state.is_null() && (*self.state).contVal.type_ == jbvType::jbvObject }
    }
}

/// A string, number or word as a value. What it points to lives as long as the text and the current memory context.
fn scalar(token: &str) -> JsonbValue {
    // SAFETY: plain data, for which all zeroes is a value: null.
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
    // SAFETY: as many bytes as are copied.
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
        // SAFETY: takes a number and returns a palloc'd one.
        return unsafe { pg_sys::int64_to_numeric(integer) };
    }
    // SAFETY: numeric_in takes a NUL-terminated string, an unused type and "no limit on digits".
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
