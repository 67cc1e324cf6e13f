//! Text between the database's encoding and UTF-8, which is what JSON and Rust speak.
//!
//! Every string that enters or leaves goes through here. In a UTF-8 database that costs a check; elsewhere Postgres
//! converts, and raises its own error (22P05, 22021) for a character that the other side does not have.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write;

use pgrx::datum::FromDatum;
use pgrx::pg_sys::{self, Datum, Oid};

const UTF8: c_int = pg_sys::pg_enc::PG_UTF8 as c_int;

/// Asked for each string, so without pgrx's guard: the function reads a variable and raises nothing.
pub fn database_is_utf8() -> bool {
    unsafe extern "C" {
        safe fn GetDatabaseEncoding() -> c_int;
    }
    GetDatabaseEncoding() == UTF8
}

/// An argument of type text, in UTF-8.
pub struct Text(pub String);

/// An argument of type name, in UTF-8.
pub struct Name(pub String);

/// An argument of type regclass.
pub struct Regclass(pub Oid);

/// An argument of type text[], flattened, in UTF-8.
pub struct TextArray(pub Vec<Option<String>>);

super::argument_from_datum!(Text, "text");
super::argument_from_datum!(Name, "name");
super::argument_from_datum!(Regclass, "regclass");
super::argument_from_datum!(TextArray, "text[]");

impl FromDatum for Text {
    unsafe fn from_polymorphic_datum(datum: Datum, is_null: bool, _: Oid) -> Option<Self> {
        // SAFETY: as the caller promises, a text. It is copied while the argument lasts.
        (!is_null).then(|| Text(unsafe { from_text_datum(datum) }.into_owned()))
    }
}

impl FromDatum for Name {
    unsafe fn from_polymorphic_datum(datum: Datum, is_null: bool, _: Oid) -> Option<Self> {
        // SAFETY: as the caller promises, a name: 64 bytes with a NUL among them. It is copied while it lasts.
        (!is_null).then(|| unsafe {
            let name = CStr::from_ptr(datum.cast_mut_ptr());
            Name(from_server(name.to_bytes()).into_owned())
        })
    }
}

impl FromDatum for Regclass {
    unsafe fn from_polymorphic_datum(datum: Datum, is_null: bool, _: Oid) -> Option<Self> {
        (!is_null).then(|| Regclass(Oid::from(datum.value() as u32)))
    }
}

impl FromDatum for TextArray {
    unsafe fn from_polymorphic_datum(datum: Datum, is_null: bool, _: Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        let mut elements = std::ptr::null_mut();
        let mut nulls = std::ptr::null_mut();
        let mut count = 0;
        // SAFETY: as the caller promises, a text[], whose elements have the length, the passing and the alignment that
        // are named. The results are arrays of `count` elements each; an element that is not NULL is a text.
        unsafe {
            pg_sys::deconstruct_array(
                pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast(),
                pg_sys::TEXTOID,
                -1,
                false,
                pg_sys::TYPALIGN_INT as c_char,
                &mut elements,
                &mut nulls,
                &mut count,
            );
            let texts =
                (0..count as usize).map(|i| (!*nulls.add(i)).then(|| from_text_datum(*elements.add(i)).into_owned()));
            Some(TextArray(texts.collect()))
        }
    }
}

/// # Safety
/// `datum` is a text that is not NULL. It and the current memory context last for `'a`.
pub(super) unsafe fn from_text_datum<'a>(datum: Datum) -> Cow<'a, str> {
    // SAFETY: as the caller promises. A text that is neither compressed nor out of line is a header, which says how many
    // bytes follow it. A detoasted copy is made in the current memory context.
    let bytes = unsafe {
        let mut text = datum.cast_mut_ptr();
        // A call into Postgres costs more than most texts.
        if pgrx::varatt_is_1b_e(text) || pgrx::varatt_is_4b_c(text) {
            text = pg_sys::pg_detoast_datum_packed(text);
        }
        std::slice::from_raw_parts(pgrx::vardata_any(text).cast::<u8>(), pgrx::varsize_any_exhdr(text))
    };
    from_server(bytes)
}

/// `bytes` of the database's encoding as UTF-8; borrowed unless a conversion was needed.
pub fn from_server(bytes: &[u8]) -> Cow<'_, str> {
    if database_is_utf8() {
        // Postgres has checked what it stores; a program that reads catalogs still must not rely on it.
        return String::from_utf8_lossy(bytes);
    }
    let length = bytes.len() as c_int;
    // SAFETY: the source has `length` bytes. The result is the source itself, or a NUL-terminated copy that is freed here.
    unsafe {
        let source = bytes.as_ptr().cast::<c_char>();
        let converted = pg_sys::pg_server_to_any(source, length, UTF8);
        if std::ptr::eq(converted, source) {
            String::from_utf8_lossy(bytes)
        } else {
            let owned = CStr::from_ptr(converted).to_string_lossy().into_owned();
            pg_sys::pfree(converted.cast());
            Cow::Owned(owned)
        }
    }
}

/// `text` as a palloc'd and NUL-terminated string of the database's encoding. It ends at the first NUL.
pub fn to_server_cstring(text: &str) -> *mut c_char {
    // SAFETY: pnstrdup copies at most `len` bytes, up to a NUL, and adds one. The conversion gives that copy, or another
    // NUL-terminated string.
    unsafe {
        let copy = pg_sys::pnstrdup(text.as_ptr().cast(), text.len());
        if database_is_utf8() {
            return copy;
        }
        let length = CStr::from_ptr(copy).count_bytes();
        let converted = pg_sys::pg_any_to_server(copy, length as c_int, UTF8);
        if !std::ptr::eq(converted, copy) {
            pg_sys::pfree(copy.cast());
        }
        converted
    }
}

/// `text` as a datum of type text.
pub fn to_text_datum(text: &str) -> Datum {
    // SAFETY: the source has `len` bytes; the converted string is NUL-terminated and freed after it was copied.
    unsafe {
        if database_is_utf8() {
            pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as c_int).into()
        } else {
            let converted = to_server_cstring(text);
            let datum = pg_sys::cstring_to_text(converted).into();
            pg_sys::pfree(converted.cast());
            datum
        }
    }
}

/// `text` as it can stand in a message, whatever the encodings: pgrx hands messages to Postgres as they are, that is in
/// UTF-8. See [`for_context`].
pub fn for_message(text: String) -> String {
    if text.is_ascii() || database_is_utf8() && client_shows_all() { text } else { escape_non_ascii(&text) }
}

/// `text` as it can stand in a CONTEXT. A character that the client's encoding does not have would replace the whole
/// error by one about encodings, so then what is not ASCII is written as `\u00e9`.
pub fn for_context(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || client_shows_all() { text.into() } else { escape_non_ascii(text).into() }
}

/// Whether the client has every character that the database has.
fn client_shows_all() -> bool {
    // SAFETY: both copy a variable of the backend.
    let (client, database) = unsafe { (pg_sys::pg_get_client_encoding(), pg_sys::GetDatabaseEncoding()) };
    client == UTF8 || client == database
}

/// `text`, which may be of any origin, as this database can store it.
pub fn storable(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || database_is_utf8() { text.into() } else { escape_non_ascii(text).into() }
}

/// `text` in ASCII, with the rest as `\u00e9`.
pub fn escape_non_ascii(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

/// `name` as an identifier in SQL, quoted if it has to be.
pub fn quoted(name: &str) -> String {
    let name = to_server_cstring(name);
    // SAFETY: takes a NUL-terminated string and gives it back, or another one. It is copied before the memory context ends.
    let quoted = unsafe { CStr::from_ptr(pg_sys::quote_identifier(name)) };
    from_server(quoted.to_bytes()).into_owned()
}
