//! The rows that a statement has written, one after another, as far as they matter upstream.

use std::collections::HashMap;

use pgrx::pg_sys::Datum;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::jsonb::values::{ArrayOf, ObjectOf};
use crate::pg::memory_context::ChildContext;
use crate::pg::output::{DependsOn, printed_alike};
use crate::pg::relation::Column;
use crate::pg::transition::{Row, Rows};
use crate::pg::trigger::Fired;

use super::columns::{Columns, changed_key, rewritten_key};
use contract::attachment::TriggerEvent;

/// The rows of a statement.
pub struct WrittenRows<'a> {
    columns: &'a Columns<'a>,
    /// An INSERT and an UPDATE have them.
    new: Option<Rows>,
    /// An UPDATE and a DELETE have them.
    old: Option<Rows>,
    /// Of the row that was reached: the places, among the mapped columns, of those that an UPDATE has changed.
    changed: Vec<usize>,
    key_in_another_form: KeyInAnotherForm,
}

/// What is done with an UPDATE that writes a key which is equal to the old one, and is printed in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyInAnotherForm {
    Taken,
    /// The order of delivery is that of the key's text.
    Refused,
}

impl<'a> WrittenRows<'a> {
    pub fn of(
        fired: &Fired,
        operation: TriggerEvent,
        columns: &'a Columns<'a>,
        key_in_another_form: KeyInAnotherForm,
    ) -> WrittenRows<'a> {
        let new = (operation != TriggerEvent::Delete).then(|| fired.new_rows(columns.all()));
        let old = (operation != TriggerEvent::Insert).then(|| fired.old_rows(columns.all()));
        WrittenRows { columns, new, old, changed: Vec::new(), key_in_another_form }
    }

    /// Goes to the next row. Fails if the row's key was changed.
    pub fn advance(&mut self) -> Result<bool, ErrorReport> {
        self.changed.clear();
        match (&mut self.new, &mut self.old) {
            (Some(rows), None) | (None, Some(rows)) => Ok(rows.advance()),
            (Some(new), Some(old)) => {
                let (is_new, is_old) = (new.advance(), old.advance());
                if is_new && is_old {
                    self.compare()?;
                } else if is_old {
                    // It moved to another partition, where a trigger has swallowed it.
                    return Err(changed_key(self.columns.table, "nothing"));
                }
                Ok(is_new)
            }
            (None, None) => Ok(false),
        }
    }

    /// What `each` makes of the next rows, at most `most`, while values are printed that depend on so much. Rows of which it
    /// makes nothing are passed over.
    pub fn gather<T>(
        &mut self,
        most: usize,
        depends_on: DependsOn,
        mut each: impl FnMut(&WrittenRows<'a>) -> Option<T>,
    ) -> Result<Vec<T>, ErrorReport> {
        printed_alike(depends_on, || {
            let mut gathered = Vec::new();
            while gathered.len() < most && self.advance()? {
                gathered.extend(each(self));
            }
            Ok(gathered)
        })
    }

    /// Compares the row with what it was.
    fn compare(&mut self) -> Result<(), ErrorReport> {
        let (new, old) = (self.row(), self.old_row());
        for column in &self.columns.key {
            if !new.differs_in(&old, column) {
                continue;
            }
            let key = || printed_alike(self.key_depends_on(), || self.key_printer().text(&new));
            if !new.is_equal_in(&old, column) {
                return Err(changed_key(self.columns.table, &key()));
            }
            if self.key_in_another_form == KeyInAnotherForm::Refused {
                return Err(rewritten_key(self.columns.table, &key()));
            }
        }
        let mapped = self.columns.mapped.iter().enumerate();
        let changed = mapped.filter(|(_, (_, column))| new.differs_in(&old, column)).map(|(place, _)| place);
        let changed: Vec<usize> = changed.collect();
        self.changed = changed;
        Ok(())
    }

    /// The row as the statement has left it; of a DELETE, as it was.
    pub fn row(&self) -> Row<'_> {
        match (&self.new, &self.old) {
            (Some(rows), _) | (None, Some(rows)) => rows.row(),
            (None, None) => unreachable!("a statement has the one or the other"),
        }
    }

    /// The row as the statement has found it. Only of an UPDATE and a DELETE.
    pub fn old_row(&self) -> Row<'_> {
        self.old.as_ref().expect("an INSERT finds no rows").row()
    }

    /// The places, among the mapped columns, of those that an UPDATE has changed.
    pub fn changed(&self) -> &[usize] {
        &self.changed
    }

    /// Goes back to before the first row.
    pub fn rewind(&mut self) {
        [&mut self.new, &mut self.old].into_iter().flatten().for_each(Rows::rewind);
    }

    /// The upstream id of a row. Blank text is no id, as NULL is none: no record has it.
    pub fn id(&self, row: &Row<'_>) -> Option<String> {
        let id = row.text(self.columns.upstream_id)?;
        (!id.trim().is_empty()).then(|| id.into_owned())
    }

    pub fn key_depends_on(&self) -> DependsOn {
        DependsOn::of(self.columns.key.iter().copied())
    }

    pub fn key_printer(&self) -> ArrayOf<'a> {
        self.columns.key_printer()
    }

    /// Ends the reading. An error leaves it to the (sub)transaction.
    pub fn close(self) {
        [self.new, self.old].into_iter().flatten().for_each(Rows::close);
    }
}

/// How many sets of columns are kept ready to be printed. A statement that synchronises rows may change another set in
/// each row.
const MOST_SETS: usize = 64;

/// Makes JSON objects of rows: of all mapped columns, or of some.
pub struct DataPrinter<'a> {
    mapped: &'a [(&'a str, &'a Column)],
    /// By the places of their columns. Statements mostly change the same columns in all rows.
    objects: HashMap<Vec<usize>, ObjectOf<'a>>,
    /// Where the objects are.
    memory: ChildContext,
}

impl<'a> DataPrinter<'a> {
    /// It lasts as long as the current memory context.
    pub fn new(columns: &'a Columns<'a>) -> DataPrinter<'a> {
        DataPrinter { mapped: &columns.mapped, objects: HashMap::new(), memory: ChildContext::new() }
    }

    /// The places of all mapped columns.
    pub fn all(&self) -> Vec<usize> {
        (0..self.mapped.len()).collect()
    }

    pub fn depends_on(&self) -> DependsOn {
        DependsOn::of(self.mapped.iter().map(|(_, column)| *column))
    }

    /// The object of the mapped columns at these places, a jsonb.
    pub fn datum(&mut self, row: &Row<'_>, places: &[usize]) -> Datum {
        self.object(places).datum(row)
    }

    /// The same as JSON text.
    pub fn text(&mut self, row: &Row<'_>, places: &[usize]) -> String {
        self.object(places).text(row)
    }

    fn object(&mut self, places: &[usize]) -> &ObjectOf<'a> {
        if !self.objects.contains_key(places) {
            if self.objects.len() == MOST_SETS {
                self.objects.clear();
                self.memory.reset();
            }
            let fields: Vec<(&str, &Column)> = places.iter().map(|place| self.mapped[*place]).collect();
            self.objects.insert(places.to_vec(), self.memory.run(|| ObjectOf::new(&fields)));
        }
        &self.objects[places]
    }
}
