//! Queries from within a function or a worker, whose rows are read where they are.
//!
//! pgrx's own SPI copies each value into a context that lives as long as the connection: for a query of many rows that is
//! all of them.

use std::borrow::Cow;
use std::cell::{Ref, RefCell};
use std::ffi::CString;
use std::marker::PhantomData;

use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::{PgLogLevel, PgSqlErrorCode};

use super::column::{Columns, FromRow, Undecodable};
use super::param::{Arguments, Params};
use super::text;
use super::tuple_descriptor::attribute;

/// An open SPI connection.
pub struct Connection(());

/// Runs `f` with an SPI connection. An error inside ends the (sub)transaction, which closes it.
pub fn connected<T, E>(f: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
    // SAFETY: within a function that Postgres called, so in a transaction; connect and finish are paired on success.
    unsafe {
        check(pg_sys::SPI_connect(), "connect");
        let result = f(&Connection(()));
        if result.is_ok() {
            check(pg_sys::SPI_finish(), "finish");
        }
        result
    }
}

fn check(result: i32, what: &str) {
    if result < 0 {
        pgrx::error!("SPI could not {what} (error {result})");
    }
}

/// `query` in the database's encoding. Our queries hold no NUL.
fn server_query(query: &str) -> CString {
    let converted = text::to_server_cstring(query);
    // SAFETY: a palloc'd string that ends with a NUL.
    unsafe { CString::from(std::ffi::CStr::from_ptr(converted)) }
}

impl Connection {
    /// Runs `query`, whose parameters have the types `P`, and gives its rows. For text that is made at run time; what is
    /// known before is a [`Statement`](super::statement::Statement).
    pub fn query<P: Params>(&self, query: &str, values: P::Values<'_>) -> QueryRows<'_> {
        // SAFETY: the types of `P` and datums of these types.
        unsafe { self.run_text(query, P::TYPES, P::arguments(values)) }
    }

    /// # Safety
    /// The arguments are of the types.
    unsafe fn run_text(&self, query: &str, types: &[Oid], mut arguments: Arguments) -> QueryRows<'_> {
        let query = server_query(query);
        let mut types = types.to_vec();
        // SAFETY: a type and a value for each parameter, as the caller promises; the rows are read right after it.
        unsafe {
            check(
                pg_sys::SPI_execute_with_args(
                    query.as_ptr(),
                    types.len() as i32,
                    types.as_mut_ptr(),
                    arguments.datums.as_mut_ptr(),
                    arguments.nulls.as_ptr(),
                    false,
                    0,
                ),
                "run a query",
            );
            QueryRows::of_last()
        }
    }

    /// Runs `command`, which returns nothing.
    pub fn execute(&self, command: &str) {
        let command = server_query(command);
        // SAFETY: a NUL-terminated string.
        check(unsafe { pg_sys::SPI_execute(command.as_ptr(), false, 0) }, "execute");
    }
}

/// Some rows of a query, on the connection that it ran on.
pub struct QueryRows<'conn> {
    table: *mut pg_sys::SPITupleTable,
    rows: usize,
    changed: usize,
    row: RefCell<Row>,
    connection: PhantomData<&'conn Connection>,
}

/// The row of a batch that was read last: Postgres would search it anew for each column.
#[derive(Default)]
struct Row {
    number: Option<usize>,
    values: Vec<Datum>,
    nulls: Vec<bool>,
}

impl QueryRows<'_> {
    /// The rows of the statement that SPI ran last; none if it returns no rows.
    ///
    /// # Safety
    /// Right after that statement, on the connection that is open.
    pub(super) unsafe fn of_last() -> Self {
        // SAFETY: as the caller promises.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            let changed = pg_sys::SPI_processed as usize;
            let rows = if table.is_null() { 0 } else { changed };
            QueryRows { table, rows, changed, row: RefCell::default(), connection: PhantomData }
        }
    }

    /// All rows as `R`. Raises an ERROR for a row that is none.
    pub fn iter<'row, R: FromRow<'row>>(&'row self) -> impl Iterator<Item = R> {
        (0..self.rows).map(|row| self.get(row))
    }

    /// The first row as `R`, None if there is no row. Raises an ERROR if it is none.
    pub fn first<'row, R: FromRow<'row>>(&'row self) -> Option<R> {
        (self.rows > 0).then(|| self.get(0))
    }

    /// A row as `R`, counted from 0. Raises an ERROR if it is none.
    pub fn get<'row, R: FromRow<'row>>(&'row self, row: usize) -> R {
        self.decode(row).unwrap_or_else(|undecodable| {
            pgrx::ereport!(PgLogLevel::ERROR, PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, undecodable.to_string());
            unreachable!("an ERROR does not return")
        })
    }

    /// A row as `R`, counted from 0.
    pub fn decode<'row, R: FromRow<'row>>(&'row self, number: usize) -> Result<R, Undecodable> {
        let row = self.row(number);
        let types = (0..row.values.len()).map(|place| self.type_of(place));
        assert!(types.eq(R::TYPES.iter().copied()), "the columns of a query are not what is read of them");
        // SAFETY: the types were compared; the row is not freed while `self` is borrowed. What had to be detoasted is in
        // the current memory context, which no caller resets before it has dropped the value.
        R::from_row(&mut unsafe { Columns::new(&row.values, &row.nulls) })
    }

    /// Frees the rows, for those who run many statements on one connection.
    pub fn free(self) {
        if !self.table.is_null() {
            // SAFETY: not freed yet, because this takes the only value that has it.
            unsafe { pg_sys::SPI_freetuptable(self.table) };
        }
    }

    /// The bigint in a column, counted from 1; None is NULL.
    pub fn int8(&self, row: usize, column: i32) -> Option<i64> {
        self.datum(row, column, pg_sys::INT8OID).map(|datum| datum.value() as i64)
    }

    /// All columns of a row as they are.
    pub(super) fn values(&self, row: usize) -> Vec<Option<Datum>> {
        let row = self.row(row);
        row.values.iter().zip(&row.nulls).map(|(value, is_null)| (!is_null).then_some(*value)).collect()
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    /// The number of rows that the statement wrote, or returned.
    pub fn changed(&self) -> usize {
        self.changed
    }

    /// The text in a column, counted from 1; None is NULL. It is borrowed from the row where that is possible; else it lasts
    /// as long as the current memory context.
    pub fn str(&self, row: usize, column: i32) -> Option<Cow<'_, str>> {
        // SAFETY: the type is checked. The row is not freed while the batch is there.
        self.datum(row, column, pg_sys::TEXTOID).map(|datum| unsafe { text::from_text_datum(datum) })
    }

    /// The value in a column of this type.
    fn datum(&self, row: usize, column: i32, of_type: Oid) -> Option<Datum> {
        let row = self.row(row);
        let place = column as usize - 1;
        let is_null = row.nulls[place];
        assert_eq!(self.type_of(place), of_type, "the column of a query is not what is read of it");
        (!is_null).then(|| row.values[place])
    }

    /// The type of a column, counted from 0.
    fn type_of(&self, place: usize) -> Oid {
        // SAFETY: each caller has read a row, so there is a table, and the place is one of the row's columns. The descriptor
        // lasts as long as the table.
        unsafe { (*attribute((*self.table).tupdesc, place)).atttypid }
    }

    fn row(&self, number: usize) -> Ref<'_, Row> {
        assert!(number < self.rows, "a batch of {} rows has no row {number}", self.rows);
        if self.row.borrow().number != Some(number) {
            let mut row = self.row.borrow_mut();
            // SAFETY: a row of a table that is not freed yet; there is room for all of its columns.
            unsafe {
                let table = &*self.table;
                let columns = (*table.tupdesc).natts as usize;
                row.values.resize(columns, Datum::null());
                row.nulls.resize(columns, true);
                let (values, nulls) = (row.values.as_mut_ptr(), row.nulls.as_mut_ptr());
                pg_sys::heap_deform_tuple(*table.vals.add(number), table.tupdesc, values, nulls);
            }
            row.number = Some(number);
        }
        self.row.borrow()
    }
}
