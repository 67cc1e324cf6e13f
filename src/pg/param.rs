//! Parameters of SQL statements: which Rust type stands for which SQL type.

use std::ffi::{c_char, c_int};

use pgrx::pg_sys::{self, Datum, Oid};

use contract::reply::Timestamp;

use super::jsonb;
use super::text::to_text_datum;

/// A Rust type that can be a parameter. A statement declares it with any lifetime and takes values of each.
pub trait Param {
    /// The type of the values, which borrow for `'a`.
    type Value<'a>;
    /// The SQL type.
    const TYPE: Oid;
    /// The value as a datum in the current memory context; None is NULL.
    fn datum(value: Self::Value<'_>) -> Option<Datum>;
}

macro_rules! by_value {
    ($($rust:ty => $oid:ident),*) => {$(
        impl Param for $rust {
            type Value<'a> = $rust;
            const TYPE: Oid = pg_sys::$oid;

            fn datum(value: $rust) -> Option<Datum> {
                Some(Datum::from(value))
            }
        }
    )*};
}
by_value!(bool => BOOLOID, i32 => INT4OID, i64 => INT8OID, Oid => OIDOID);

impl Param for Timestamp {
    type Value<'a> = Timestamp;
    const TYPE: Oid = pg_sys::TIMESTAMPTZOID;

    fn datum(Timestamp(microseconds): Timestamp) -> Option<Datum> {
        Some(Datum::from(microseconds))
    }
}

impl Param for &str {
    type Value<'a> = &'a str;
    const TYPE: Oid = pg_sys::TEXTOID;

    fn datum(text: &str) -> Option<Datum> {
        Some(to_text_datum(text))
    }
}

/// NULL, or a value.
impl<T: Param> Param for Option<T> {
    type Value<'a> = Option<T::Value<'a>>;
    const TYPE: Oid = T::TYPE;

    fn datum(value: Option<T::Value<'_>>) -> Option<Datum> {
        value.and_then(T::datum)
    }
}

/// A `bigint[]`.
impl Param for &[i64] {
    type Value<'a> = &'a [i64];
    const TYPE: Oid = pg_sys::INT8ARRAYOID;

    fn datum(numbers: &[i64]) -> Option<Datum> {
        const ELEMENT: Element =
            Element { oid: pg_sys::INT8OID, length: 8, is_by_value: true, alignment: pg_sys::TYPALIGN_DOUBLE };
        Some(array(numbers.iter().map(|number| Some(Datum::from(*number))), ELEMENT))
    }
}

/// A `text[]`; None is a NULL element.
impl Param for &[Option<&str>] {
    type Value<'a> = &'a [Option<&'a str>];
    const TYPE: Oid = pg_sys::TEXTARRAYOID;

    fn datum(texts: &[Option<&str>]) -> Option<Datum> {
        const ELEMENT: Element =
            Element { oid: pg_sys::TEXTOID, length: -1, is_by_value: false, alignment: pg_sys::TYPALIGN_INT };
        Some(array(texts.iter().map(|text| text.map(to_text_datum)), ELEMENT))
    }
}

/// A `text[]` without NULL elements.
impl Param for &[&str] {
    type Value<'a> = &'a [&'a str];
    const TYPE: Oid = pg_sys::TEXTARRAYOID;

    fn datum(texts: &[&str]) -> Option<Datum> {
        const ELEMENT: Element =
            Element { oid: pg_sys::TEXTOID, length: -1, is_by_value: false, alignment: pg_sys::TYPALIGN_INT };
        Some(array(texts.iter().map(|text| Some(to_text_datum(text))), ELEMENT))
    }
}

/// JSON texts, as a `jsonb[]`; None is a NULL element.
pub struct JsonbArray<'a>(pub &'a [Option<&'a str>]);

impl Param for JsonbArray<'_> {
    type Value<'a> = JsonbArray<'a>;
    const TYPE: Oid = pg_sys::JSONBARRAYOID;

    fn datum(JsonbArray(texts): JsonbArray<'_>) -> Option<Datum> {
        Some(array(texts.iter().map(|text| text.map(jsonb::to_datum)), JSONB))
    }
}

/// jsonb datums, as a `jsonb[]`; None is a NULL element.
pub struct JsonbDatums<'a>(pub &'a [Option<Datum>]);

impl Param for JsonbDatums<'_> {
    type Value<'a> = JsonbDatums<'a>;
    const TYPE: Oid = pg_sys::JSONBARRAYOID;

    fn datum(JsonbDatums(datums): JsonbDatums<'_>) -> Option<Datum> {
        Some(array(datums.iter().copied(), JSONB))
    }
}

/// JSON texts, as a `json[]`; None is a NULL element. Postgres stores a json as its text, and does not check these.
pub struct JsonArray<'a>(pub &'a [Option<&'a str>]);

impl Param for JsonArray<'_> {
    type Value<'a> = JsonArray<'a>;
    const TYPE: Oid = pg_sys::JSONARRAYOID;

    fn datum(JsonArray(texts): JsonArray<'_>) -> Option<Datum> {
        const ELEMENT: Element =
            Element { oid: pg_sys::JSONOID, length: -1, is_by_value: false, alignment: pg_sys::TYPALIGN_INT };
        Some(array(texts.iter().map(|text| text.map(to_text_datum)), ELEMENT))
    }
}

/// How Postgres stores the elements of an array (pg_type: typlen, typbyval, typalign).
struct Element {
    oid: Oid,
    length: c_int,
    is_by_value: bool,
    alignment: u8,
}

const JSONB: Element =
    Element { oid: pg_sys::JSONBOID, length: -1, is_by_value: false, alignment: pg_sys::TYPALIGN_INT };

fn array(elements: impl Iterator<Item = Option<Datum>>, element: Element) -> Datum {
    let (mut values, mut nulls): (Vec<Datum>, Vec<bool>) =
        elements.map(|datum| (datum.unwrap_or(Datum::null()), datum.is_none())).unzip();
    let (mut lengths, mut lower_bounds) = ([values.len() as c_int], [1 as c_int]);
    let dimensions = c_int::from(!values.is_empty());
    // SAFETY: `values` and `nulls` have as many elements as `lengths` says, each a datum of the type `element`.
    unsafe {
        Datum::from(pg_sys::construct_md_array(
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
            dimensions,
            lengths.as_mut_ptr(),
            lower_bounds.as_mut_ptr(),
            element.oid,
            element.length,
            element.is_by_value,
            element.alignment as c_char,
        ))
    }
}

/// The values of a statement's parameters, as SPI takes them.
#[derive(Default)]
pub struct Arguments {
    pub(super) datums: Vec<Datum>,
    /// `n` for NULL, a space otherwise.
    pub(super) nulls: Vec<c_char>,
}

impl FromIterator<Option<Datum>> for Arguments {
    fn from_iter<T: IntoIterator<Item = Option<Datum>>>(datums: T) -> Arguments {
        let mut arguments = Arguments::default();
        datums.into_iter().for_each(|datum| arguments.push(datum));
        arguments
    }
}

impl Arguments {
    fn push(&mut self, datum: Option<Datum>) {
        self.datums.push(datum.unwrap_or(Datum::null()));
        self.nulls.push(if datum.is_none() { b'n' } else { b' ' } as c_char);
    }
}

/// A tuple of parameters: what a statement declares.
pub trait Params {
    /// The tuple of their values.
    type Values<'a>;
    /// The SQL types, in order.
    const TYPES: &'static [Oid];
    /// The values as datums in the current memory context.
    fn arguments(values: Self::Values<'_>) -> Arguments;
}

macro_rules! tuple {
    ($($param:ident)*) => {
        impl<$($param: Param),*> Params for ($($param,)*) {
            type Values<'a> = ($($param::Value<'a>,)*);
            const TYPES: &'static [Oid] = &[$($param::TYPE),*];

            #[allow(non_snake_case, unused_mut, clippy::unused_unit, reason = "one macro for tuples of each length")]
            fn arguments(($($param,)*): Self::Values<'_>) -> Arguments {
                let mut arguments = Arguments::default();
                $(arguments.push($param::datum($param));)*
                arguments
            }
        }
    };
}
tuple!();
tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
tuple!(A B C D E F G);
tuple!(A B C D E F G H);
tuple!(A B C D E F G H I);
tuple!(A B C D E F G H I J);
tuple!(A B C D E F G H I J K);
tuple!(A B C D E F G H I J K L);
tuple!(A B C D E F G H I J K L M);
