//! Rows of SQL statements as Rust values: a column that does not hold what the program expects is an error.

use std::borrow::Cow;
use std::marker::PhantomData;

use pgrx::datum::FromDatum;
use pgrx::pg_sys::{self, Datum, Oid};

use contract::reply::Timestamp;

use super::jsonb::Json;
use super::text;

/// A Rust type that the column of a row can be read as. Text is borrowed from the row where that is possible.
pub trait Column<'row>: Sized {
    /// The SQL type of the column.
    const TYPE: Oid;

    /// The value, or why it is none.
    ///
    /// # Safety
    /// `datum` is of the SQL type and lasts for `'row`; None is NULL.
    unsafe fn from_column(datum: Option<Datum>) -> Result<Self, Cow<'static, str>>;
}

const IS_NULL: Cow<'static, str> = Cow::Borrowed("is NULL");

macro_rules! by_pgrx {
    ($($rust:ty => $oid:ident),*) => {$(
        impl<'row> Column<'row> for $rust {
            const TYPE: Oid = pg_sys::$oid;

            unsafe fn from_column(datum: Option<Datum>) -> Result<Self, Cow<'static, str>> {
                let datum = datum.ok_or(IS_NULL)?;
                // SAFETY: as the caller promises, a datum of the type that pgrx reads as this one.
                unsafe { <$rust>::from_polymorphic_datum(datum, false, Oid::INVALID) }.ok_or(IS_NULL)
            }
        }
    )*};
}
by_pgrx!(bool => BOOLOID, i32 => INT4OID, i64 => INT8OID, Oid => OIDOID, Vec<i64> => INT8ARRAYOID);

/// An `integer` that counts.
impl Column<'_> for u32 {
    const TYPE: Oid = pg_sys::INT4OID;

    unsafe fn from_column(datum: Option<Datum>) -> Result<Self, Cow<'static, str>> {
        // SAFETY: as the caller promises, an int4.
        let number = unsafe { i32::from_column(datum) }?;
        u32::try_from(number).map_err(|_| format!("holds {number}, which is no count").into())
    }
}

impl Column<'_> for Timestamp {
    const TYPE: Oid = pg_sys::TIMESTAMPTZOID;

    unsafe fn from_column(datum: Option<Datum>) -> Result<Self, Cow<'static, str>> {
        datum.map(|datum| Timestamp(datum.value() as i64)).ok_or(IS_NULL)
    }
}

impl<'row> Column<'row> for Cow<'row, str> {
    const TYPE: Oid = pg_sys::TEXTOID;

    unsafe fn from_column(datum: Option<Datum>) -> Result<Self, Cow<'static, str>> {
        // SAFETY: as the caller promises, a text that lasts for `'row`.
        datum.map(|datum| unsafe { text::from_text_datum(datum) }).ok_or(IS_NULL)
    }
}

impl Column<'_> for String {
    const TYPE: Oid = pg_sys::TEXTOID;

    unsafe fn from_column(datum: Option<Datum>) -> Result<Self, Cow<'static, str>> {
        // SAFETY: as the caller promises, a text; it is copied.
        datum.map(|datum| unsafe { text::from_text_datum(datum) }.into_owned()).ok_or(IS_NULL)
    }
}

/// A `text[]` without NULL elements, flattened.
impl Column<'_> for Vec<String> {
    const TYPE: Oid = pg_sys::TEXTARRAYOID;

    unsafe fn from_column(datum: Option<Datum>) -> Result<Self, Cow<'static, str>> {
        let datum = datum.ok_or(IS_NULL)?;
        // SAFETY: as the caller promises, a text[].
        let array = unsafe { text::TextArray::from_polymorphic_datum(datum, false, Oid::INVALID) };
        array.and_then(|array| array.0.into_iter().collect()).ok_or(Cow::Borrowed("holds a NULL"))
    }
}

/// A `jsonb` that stays in its row until it is printed.
impl Column<'_> for Json {
    const TYPE: Oid = pg_sys::JSONBOID;

    unsafe fn from_column(datum: Option<Datum>) -> Result<Self, Cow<'static, str>> {
        let datum = datum.ok_or(IS_NULL)?;
        // SAFETY: as the caller promises, a jsonb.
        unsafe { Json::from_polymorphic_datum(datum, false, Oid::INVALID) }.ok_or(IS_NULL)
    }
}

/// NULL, or a value.
impl<'row, T: Column<'row>> Column<'row> for Option<T> {
    const TYPE: Oid = T::TYPE;

    unsafe fn from_column(datum: Option<Datum>) -> Result<Self, Cow<'static, str>> {
        // SAFETY: as the caller promises.
        datum.map(|datum| unsafe { T::from_column(Some(datum)) }).transpose()
    }
}

/// A Rust type that a column of type text spells.
pub trait FromText: Sized {
    /// What it is called in an error: `kind`.
    const NOUN: &'static str;
    /// None if the text spells no such value.
    fn from_text(text: &str) -> Option<Self>;
}

impl<T: FromText> Column<'_> for T {
    const TYPE: Oid = pg_sys::TEXTOID;

    unsafe fn from_column(datum: Option<Datum>) -> Result<Self, Cow<'static, str>> {
        // SAFETY: as the caller promises, a text; it is not kept.
        let text = unsafe { Cow::<str>::from_column(datum) }?;
        T::from_text(&text).ok_or_else(|| format!("holds \"{}\", which is no {}", text.escape_debug(), T::NOUN).into())
    }
}

/// A column that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("column {number} of a row {reason}")]
pub struct Undecodable {
    /// Counted from 1.
    number: usize,
    reason: Cow<'static, str>,
}

/// The columns of one row, read from left to right.
pub struct Columns<'a, 'row> {
    values: &'a [Datum],
    nulls: &'a [bool],
    read: usize,
    row: PhantomData<&'row ()>,
}

impl<'a, 'row> Columns<'a, 'row> {
    /// # Safety
    /// What the values point to lasts for `'row`, and their SQL types are the [`FromRow::TYPES`] of the type to be read.
    pub(super) unsafe fn new(values: &'a [Datum], nulls: &'a [bool]) -> Columns<'a, 'row> {
        Columns { values, nulls, read: 0, row: PhantomData }
    }

    /// The next column.
    pub fn next<T: Column<'row>>(&mut self) -> Result<T, Undecodable> {
        let place = self.read;
        self.read += 1;
        let datum = (!self.nulls[place]).then(|| self.values[place]);
        // SAFETY: `new` was promised the type and the lifetime of each value.
        unsafe { T::from_column(datum) }.map_err(|reason| Undecodable { number: place + 1, reason })
    }
}

/// A Rust type that a row can be read as: a tuple, or a struct that [`row!`] declares.
pub trait FromRow<'row>: Sized {
    /// The SQL types of the columns, in order.
    const TYPES: &'static [Oid];

    /// Reads all columns.
    fn from_row(columns: &mut Columns<'_, 'row>) -> Result<Self, Undecodable>;
}

/// Declares a struct whose fields are the columns of a row, in order.
macro_rules! row {
    ($(#[$meta:meta])* $vis:vis struct $name:ident<$row:lifetime> $fields:tt) => {
        $crate::pg::column::row!(@ [$(#[$meta])* $vis struct] $name [<$row>] $row $fields);
    };
    ($(#[$meta:meta])* $vis:vis struct $name:ident $fields:tt) => {
        $crate::pg::column::row!(@ [$(#[$meta])* $vis struct] $name [] 'row $fields);
    };
    (@ [$($head:tt)*] $name:ident [$($generics:tt)*] $row:lifetime {
        $($(#[$about:meta])* $vis:vis $field:ident: $type:ty),* $(,)?
    }) => {
        $($head)* $name $($generics)* { $($(#[$about])* $vis $field: $type),* }

        impl<$row> $crate::pg::column::FromRow<$row> for $name $($generics)* {
            const TYPES: &'static [pgrx::pg_sys::Oid] =
                &[$(<$type as $crate::pg::column::Column<$row>>::TYPE),*];

            fn from_row(
                columns: &mut $crate::pg::column::Columns<'_, $row>,
            ) -> Result<Self, $crate::pg::column::Undecodable> {
                Ok($name { $($field: columns.next()?),* })
            }
        }
    };
}
pub(crate) use row;

macro_rules! tuple {
    ($($column:ident)+) => {
        impl<'row, $($column: Column<'row>),+> FromRow<'row> for ($($column,)+) {
            const TYPES: &'static [Oid] = &[$($column::TYPE),+];

            fn from_row(columns: &mut Columns<'_, 'row>) -> Result<Self, Undecodable> {
                Ok(($(columns.next::<$column>()?,)+))
            }
        }
    };
}
tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
