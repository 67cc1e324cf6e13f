//! One table of the file, read key by key.
//!
//! serde stops at the first error. This reader goes on, so that one run of `check` names every fault of a file. Each
//! key that is asked for becomes known, and [`Section::finish`] refuses the others: no key can be read without being
//! valid, or be valid without being read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;

/// What the sections of one file have in common.
#[derive(Default)]
pub struct Findings {
    faults: RefCell<Vec<Fault>>,
    /// Every key that was asked for, with `*` for names: `sync.*.auth.kind`.
    known: RefCell<BTreeSet<String>>,
}

impl Findings {
    pub fn push(&self, span: Option<Range<usize>>, message: String) {
        self.faults.borrow_mut().push(Fault { span, message });
    }

    pub fn into_parts(self) -> (Vec<Fault>, BTreeSet<String>) {
        (self.faults.into_inner(), self.known.into_inner())
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// A key, its place, and its value.
pub type Entry<'i> = (String, Range<usize>, Spanned<DeValue<'i>>);

/// One table.
pub struct Section<'f, 'i> {
    findings: &'f Findings,
    /// `sync.crm.auth`, empty for the whole file.
    path: String,
    /// `sync.*.auth`.
    pattern: String,
    /// Where the section begins.
    span: Range<usize>,
    entries: BTreeMap<String, (Range<usize>, Spanned<DeValue<'i>>)>,
    known: Vec<&'static str>,
}

impl<'f, 'i> Section<'f, 'i> {
    pub fn root(findings: &'f Findings, table: DeTable<'i>) -> Section<'f, 'i> {
        Section::new(findings, String::new(), String::new(), 0..0, table)
    }

    fn new(
        findings: &'f Findings,
        path: String,
        pattern: String,
        span: Range<usize>,
        table: DeTable<'i>,
    ) -> Section<'f, 'i> {
        let entry = |(key, value): (Spanned<_>, _)| (String::from(key.get_ref() as &str), (key.span(), value));
        let entries = table.into_iter().map(entry).collect();
        Section { findings, path, pattern, span, entries, known: Vec::new() }
    }

    /// Notes a fault of `key` at `span`.
    pub fn fault(&self, key: &str, span: &Range<usize>, message: impl std::fmt::Display) {
        self.findings.push(Some(span.clone()), format!("{}: {message}", join(&self.path, key)));
    }

    /// The same for a path of keys below this section.
    pub fn fault_at_path(&self, path: &str, span: &Range<usize>, message: impl std::fmt::Display) {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.findings.push(Some(span.clone()), format!("{}{dot}{path}: {message}", self.path));
    }

    /// Notes that `key` is missing or wrong in a way that has no place of its own.
    pub fn fault_here(&self, key: &str, message: impl std::fmt::Display) {
        self.fault(key, &self.span, message);
    }

    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn findings(&self) -> &'f Findings {
        self.findings
    }

    /// Whether the file has this key. Does not make it valid.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Makes the key valid, and takes its value.
    pub fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.findings.known.borrow_mut().insert(join(&self.pattern, key));
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Takes a key that is not valid, for an error text of its own.
    pub fn take_invalid(&mut self, key: &str) -> Option<Range<usize>> {
        self.entries.remove(key).map(|(span, _)| span)
    }

    pub fn string(&mut self, key: &'static str) -> Option<At<String>> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::String(text) => Some(At { value: text.into_owned(), span }),
            other => self.wrong_type(key, &span, "a string", &other),
        }
    }

    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Boolean(value) => Some(value),
            other => self.wrong_type(key, &span, "true or false", &other),
        }
    }

    /// An integer from 1 to `most`.
    pub fn count(&mut self, key: &'static str, most: usize) -> Option<usize> {
        let value = self.take(key)?;
        let span = value.span();
        let DeValue::Integer(digits) = value.get_ref() else {
            return self.wrong_type(key, &span, "an integer", value.get_ref());
        };
        match usize::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) if (1..=most).contains(&number) => Some(number),
            _ => {
                self.fault(key, &span, format_args!("must be from 1 to {most}"));
                None
            }
        }
    }

    /// A number above 0 and up to `most`, with or without a fraction.
    pub fn rate(&mut self, key: &'static str, most: f64) -> Option<f64> {
        let value = self.take(key)?;
        let span = value.span();
        let number: Option<f64> = match value.get_ref() {
            DeValue::Float(digits) => digits.as_str().parse().ok(),
            DeValue::Integer(digits) if digits.radix() == 10 => digits.as_str().parse().ok(),
            other => return self.wrong_type(key, &span, "a number", other),
        };
        match number {
            Some(number) if number > 0.0 && number <= most => Some(number),
            _ => {
                self.fault(key, &span, format_args!("must be above 0 and at most {most}"));
                None
            }
        }
    }

    /// A string that `read` turns into a value, or into what is wrong with it.
    pub fn parsed<T>(&mut self, key: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<At<T>> {
        let At { value: text, span } = self.string(key)?;
        match read(&text) {
            Ok(value) => Some(At { value, span }),
            Err(message) => {
                self.fault(key, &span, message);
                None
            }
        }
    }

    /// What `read` makes of `key`; a missing key is a fault.
    pub fn required<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let is_there = self.has(key);
        let value = read(self);
        if !is_there {
            self.fault_here(key, "missing");
        }
        value
    }

    /// One of some words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let read = |text: &str| {
            let found = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
            found.ok_or_else(|| {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                format!("unknown value {text:?}, one of {}", words.join(", "))
            })
        };
        self.parsed(key, read).map(|at| at.value)
    }

    /// Strings, each with its place.
    pub fn strings(&mut self, key: &'static str) -> Option<Vec<At<String>>> {
        let value = self.take(key)?;
        let span = value.span();
        let DeValue::Array(elements) = value.into_inner() else {
            self.fault(key, &span, "must be an array of strings");
            return None;
        };
        let mut strings = Some(Vec::new());
        for element in elements {
            let span = element.span();
            let string = match element.into_inner() {
                DeValue::String(text) => Some(At { value: text.into_owned(), span }),
                other => self.wrong_type(key, &span, "a string", &other),
            };
            strings = strings.zip(string).map(|(mut strings, string): (Vec<_>, _)| {
                strings.push(string);
                strings
            });
        }
        strings
    }

    /// A table with fixed keys.
    pub fn section(&mut self, key: &'static str) -> Option<Section<'f, 'i>> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => {
                let (path, pattern) = (join(&self.path, key), join(&self.pattern, key));
                Some(Section::new(self.findings, path, pattern, span, table))
            }
            other => self.wrong_type(key, &span, "a table", &other),
        }
    }

    /// A table of tables with names of the user's choice.
    pub fn named(&mut self, key: &'static str) -> Vec<(String, Section<'f, 'i>)> {
        let Some(parent) = self.section(key) else { return Vec::new() };
        let mut sections = Vec::new();
        for (name, (key_span, value)) in parent.entries {
            let (path, pattern) = (join(&parent.path, &name), join(&parent.pattern, "*"));
            match value.into_inner() {
                DeValue::Table(table) => {
                    sections.push((name, Section::new(self.findings, path, pattern, key_span, table)));
                }
                other => {
                    self.findings.push(Some(key_span), format!("{path}: must be a table, not {}", other.type_str()))
                }
            }
        }
        sections
    }

    /// A table of strings with names of the user's choice.
    pub fn map(&mut self, key: &'static str) -> Vec<(At<String>, At<String>)> {
        let Some(section) = self.section(key) else { return Vec::new() };
        let mut pairs = Vec::new();
        for (name, (name_span, value)) in section.entries {
            let span = value.span();
            match value.into_inner() {
                DeValue::String(text) => {
                    pairs.push((At { value: name, span: name_span }, At { value: text.into_owned(), span }));
                }
                other => {
                    let path = join(&section.path, &name);
                    self.findings.push(Some(span), format!("{path}: must be a string, not {}", other.type_str()));
                }
            }
        }
        pairs
    }

    /// The entries of a table that another reader understands.
    pub fn raw(&mut self, key: &'static str) -> Option<Vec<Entry<'i>>> {
        let section = self.section(key)?;
        Some(section.entries.into_iter().map(|(name, (span, value))| (name, span, value)).collect())
    }

    fn wrong_type<T>(&self, key: &str, span: &Range<usize>, expected: &str, found: &DeValue<'_>) -> Option<T> {
        self.fault(key, span, format_args!("must be {expected}, not {}", found.type_str()));
        None
    }

    /// Refuses every key that was not asked for.
    pub fn finish(self) {
        for (key, (span, _)) in &self.entries {
            let valid = self.known.join(", ");
            self.fault(key, span, format_args!("unknown key, one of {valid}"));
        }
    }
}

/// `a.b`, with quotes around a key that TOML needs them for.
pub fn join(path: &str, key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let dot = if path.is_empty() { "" } else { "." };
    if (!key.is_empty() && key.bytes().all(is_bare)) || key == "*" {
        format!("{path}{dot}{key}")
    } else {
        format!("{path}{dot}{key:?}")
    }
}
