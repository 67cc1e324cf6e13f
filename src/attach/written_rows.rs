//! The rows that a statement has written, one after the other, with the columns that an attachment names.

use std::collections::HashMap;

use pgrx::pg_sys::Datum;

use crate::ereport::Error;
use crate::pg::jsonb::values::{ArrayOf, ObjectOf};
use crate::pg::memory_context::ChildContext;
use crate::pg::output::{DependsOn, printed_alike};
use crate::pg::relation::Column;
use crate::pg::transition::{RowValues, TransitionRows};
use crate::pg::trigger::Fired;

use super::columns::Columns;
use super::error::{changed_key, rewritten_key};
use contract::attachment::TriggerEvent;

/// The rows of a statement.
pub struct WrittenRows<'a> {
    columns: &'a Columns<'a>,
    /// For an INSERT and an UPDATE.
    new: Option<TransitionRows>,
    /// For an UPDATE and a DELETE.
    old: Option<TransitionRows>,
    /// Which columns of the current row an UPDATE has changed, as indexes into the mapped columns.
    changed: Vec<usize>,
    key_in_another_form: KeyInAnotherForm,
}

/// The treatment of an UPDATE that writes an equal primary key with another text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyInAnotherForm {
    Accepted,
    /// Changes are delivered in the order of the key's text.
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

    /// Advances to the next row. Fails if its primary key was changed.
    pub fn advance(&mut self) -> Result<bool, Error> {
        self.changed.clear();
        match (&mut self.new, &mut self.old) {
            (Some(rows), None) | (None, Some(rows)) => Ok(rows.advance()),
            (Some(new), Some(old)) => {
                let (is_new, is_old) = (new.advance(), old.advance());
                if is_new && is_old {
                    self.compare()?;
                } else if is_old {
                    // A trigger of the target partition suppressed the moved row.
                    return Err(changed_key(self.columns.table, "nothing"));
                }
                Ok(is_new)
            }
            (None, None) => Ok(false),
        }
    }

    /// Whether a row meets `condition`. Starts over at the first row afterwards.
    pub fn any(&mut self, mut condition: impl FnMut(&WrittenRows<'a>) -> bool) -> Result<bool, Error> {
        let mut is_met = false;
        while !is_met && self.advance()? {
            is_met = condition(self);
        }
        self.rewind();
        Ok(is_met)
    }

    /// Collects up to `max` results of `each`, and skips the rows for which it returns None. `each` prints values whose
    /// text depends on `depends_on`.
    pub fn gather<T>(
        &mut self,
        max: usize,
        depends_on: DependsOn,
        mut each: impl FnMut(&WrittenRows<'a>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        printed_alike(depends_on, || {
            let mut gathered = Vec::new();
            while gathered.len() < max && self.advance()? {
                gathered.extend(each(self));
            }
            Ok(gathered)
        })
    }

    /// Compares the new row with the old one.
    fn compare(&mut self) -> Result<(), Error> {
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
        self.changed = mapped.filter(|(_, (_, column))| new.differs_in(&old, column)).map(|(place, _)| place).collect();
        Ok(())
    }

    /// The new row; for a DELETE, the old one.
    pub fn row(&self) -> RowValues<'_> {
        match (&self.new, &self.old) {
            (Some(rows), _) | (None, Some(rows)) => rows.row(),
            (None, None) => unreachable!("a statement has new rows or old ones"),
        }
    }

    /// The old row of an UPDATE or a DELETE.
    pub fn old_row(&self) -> RowValues<'_> {
        self.old.as_ref().expect("an INSERT has no old rows").row()
    }

    /// Which columns an UPDATE has changed, as indexes into the mapped columns.
    pub fn changed(&self) -> &[usize] {
        &self.changed
    }

    /// Starts over at the first row.
    pub fn rewind(&mut self) {
        [&mut self.new, &mut self.old].into_iter().flatten().for_each(TransitionRows::rewind);
    }

    /// The upstream id of a row; None if it is NULL or blank.
    pub fn id(&self, row: &RowValues<'_>) -> Option<String> {
        let id = row.text(self.columns.upstream_id)?;
        (!id.trim().is_empty()).then(|| id.into_owned())
    }

    pub fn key_depends_on(&self) -> DependsOn {
        DependsOn::of(self.columns.key.iter().copied())
    }

    pub fn key_printer(&self) -> ArrayOf<'a> {
        self.columns.key_printer()
    }

    /// Frees the readers. After an error, the end of the (sub)transaction does.
    pub fn close(self) {
        [self.new, self.old].into_iter().flatten().for_each(TransitionRows::close);
    }
}

/// How many sets of columns have a prepared printer. A statement may change another set of columns in each row.
const MAX_SETS: usize = 64;

/// Prints the mapped columns of rows, all or some of them, as JSON objects.
pub struct DataPrinter<'a> {
    mapped: &'a [(&'a str, &'a Column)],
    /// By the indexes of their columns. Statements mostly change the same columns in all rows.
    objects: HashMap<Vec<usize>, ObjectOf<'a>>,
    /// The memory of `objects`.
    memory: ChildContext,
}

impl<'a> DataPrinter<'a> {
    /// It lasts as long as the current memory context.
    pub fn new(columns: &'a Columns<'a>) -> DataPrinter<'a> {
        DataPrinter { mapped: &columns.mapped, objects: HashMap::new(), memory: ChildContext::new() }
    }

    /// The indexes of all mapped columns.
    pub fn all(&self) -> Vec<usize> {
        (0..self.mapped.len()).collect()
    }

    pub fn depends_on(&self) -> DependsOn {
        DependsOn::of(self.mapped.iter().map(|(_, column)| *column))
    }

    /// The object of the mapped columns at these indexes, a jsonb.
    pub fn datum(&mut self, row: &RowValues<'_>, places: &[usize]) -> Datum {
        self.object(places).datum(row)
    }

    /// The same as JSON text.
    pub fn text(&mut self, row: &RowValues<'_>, places: &[usize]) -> String {
        self.object(places).text(row)
    }

    fn object(&mut self, places: &[usize]) -> &ObjectOf<'a> {
        if !self.objects.contains_key(places) {
            if self.objects.len() == MAX_SETS {
                self.objects.clear();
                self.memory.reset();
            }
            let fields: Vec<(&str, &Column)> = places.iter().map(|place| self.mapped[*place]).collect();
            self.objects.insert(places.to_vec(), self.memory.run(|| ObjectOf::new(&fields)));
        }
        &self.objects[places]
    }
}
