//! From a jsonb as it is stored to compact text.
//!
//! The layout is that of `utils/jsonb.h`: a container is a header, one JEntry for each child, and then the children's
//! bytes. It is what tables hold on disk, so no release of Postgres can change it. Strings are copied as they are, but
//! for what JSON escapes; numbers are printed by Postgres.

use std::ffi::CStr;
use std::slice;

use pgrx::pg_sys::{self, Datum, Oid};

const COUNT: u32 = 0x0FFF_FFFF;
const IS_SCALAR: u32 = 0x1000_0000;
const IS_OBJECT: u32 = 0x2000_0000;

const OFFSET_OR_LENGTH: u32 = 0x0FFF_FFFF;
const HAS_OFFSET: u32 = 0x8000_0000;
const TYPE: u32 = 0x7000_0000;
const STRING: u32 = 0x0000_0000;
const NUMERIC: u32 = 0x1000_0000;
const FALSE: u32 = 0x2000_0000;
const TRUE: u32 = 0x3000_0000;
const NULL: u32 = 0x4000_0000;

/// Appends the text of `jsonb`.
///
/// # Safety
/// `jsonb` is one as Postgres makes it, in a UTF-8 database, neither compressed nor out of line.
pub unsafe fn print(jsonb: *const pg_sys::Jsonb, out: &mut Vec<u8>) {
    // SAFETY: as the caller promises, the root container follows the length word.
    unsafe { container((&raw const (*jsonb).root).cast(), out) }
}

/// The children of one container, in their order.
struct Children {
    /// One for each child.
    entries: *const u32,
    /// Where the children's bytes begin.
    data: *const u8,
    next: usize,
    offset: usize,
}

impl Children {
    /// The next child: its type, its bytes and their number.
    ///
    /// # Safety
    /// There is a next child.
    unsafe fn next(&mut self) -> (u32, *const u8, usize) {
        // SAFETY: as the caller promises. Lengths and offsets are those that Postgres wrote.
        unsafe {
            let entry = *self.entries.add(self.next);
            let start = self.offset;
            let stated = (entry & OFFSET_OR_LENGTH) as usize;
            let end = if entry & HAS_OFFSET == 0 { start + stated } else { stated };
            self.next += 1;
            self.offset = end;
            (entry & TYPE, self.data.add(start), end - start)
        }
    }
}

/// # Safety
/// As of [`print`], for the container at `header`.
unsafe fn container(header: *const u32, out: &mut Vec<u8>) {
    // SAFETY: as the caller promises: `count` entries follow the header of an array, twice as many that of an object, and
    // the children's bytes follow them. Each `next` is one of `count`. check_stack_depth raises before the stack is used
    // up: a value that was stored under a larger max_stack_depth may be too deep for this session.
    unsafe {
        pg_sys::check_stack_depth();
        pgrx::check_for_interrupts!();
        let count = (*header & COUNT) as usize;
        if *header & IS_OBJECT != 0 {
            let entries = header.add(1);
            let data = entries.add(2 * count).cast::<u8>();
            // All keys come before all values.
            let mut keys = Children { entries, data, next: 0, offset: 0 };
            let mut values = Children { entries, data, next: 0, offset: 0 };
            for _ in 0..count {
                values.next();
            }
            out.push(b'{');
            for i in 0..count {
                if i > 0 {
                    out.push(b',');
                }
                let (_, key, length) = keys.next();
                string(slice::from_raw_parts(key, length), out);
                out.push(b':');
                child(&mut values, out);
            }
            out.push(b'}');
        } else {
            let entries = header.add(1);
            let data = entries.add(count).cast::<u8>();
            let mut elements = Children { entries, data, next: 0, offset: 0 };
            // A scalar is stored as an array of one.
            if *header & IS_SCALAR != 0 {
                return child(&mut elements, out);
            }
            out.push(b'[');
            for i in 0..count {
                if i > 0 {
                    out.push(b',');
                }
                child(&mut elements, out);
            }
            out.push(b']');
        }
    }
}

/// # Safety
/// As of [`print`]; there is a next child.
unsafe fn child(children: &mut Children, out: &mut Vec<u8>) {
    // SAFETY: as the caller promises.
    unsafe {
        let (kind, bytes, length) = children.next();
        match kind {
            STRING => string(slice::from_raw_parts(bytes, length), out),
            NUMERIC => number(aligned(bytes).cast(), out),
            FALSE => out.extend_from_slice(b"false"),
            TRUE => out.extend_from_slice(b"true"),
            NULL => out.extend_from_slice(b"null"),
            _ => container(aligned(bytes).cast(), out),
        }
    }
}

/// Numbers and containers begin at the next multiple of four; the bytes before it are counted as theirs.
fn aligned(bytes: *const u8) -> *const u8 {
    bytes.wrapping_add(bytes.align_offset(align_of::<u32>()))
}

/// # Safety
/// `numeric` points at a whole numeric.
unsafe fn number(numeric: *const pg_sys::varlena, out: &mut Vec<u8>) {
    unsafe extern "C-unwind" {
        fn numeric_out(call: pg_sys::FunctionCallInfo) -> Datum;
    }
    // SAFETY: as the caller promises; the result is a NUL-terminated string, copied before it is freed.
    unsafe {
        let printed = pg_sys::DirectFunctionCall1Coll(Some(numeric_out), Oid::INVALID, Datum::from(numeric));
        let printed = printed.cast_mut_ptr();
        let digits = CStr::from_ptr(printed).to_bytes();
        // A few stored bytes can be a hundred thousand digits: the only part of a jsonb that grows beyond its size.
        super::reserve(out, digits.len());
        out.extend_from_slice(digits);
        pg_sys::pfree(printed.cast());
    }
}

/// Appends a string between quotes. What needs no escape is copied as a whole.
fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        control => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(control >> 4)]);
            out.push(HEX[usize::from(control & 15)]);
        }
    }
}
