//! What is wrong in a configuration file, and where.
//!
//! A reader corrects a file by its lines, so each fault has one. Faults never quote a secret: only keys, kinds and
//! numbers appear in their texts.

use std::fmt;
use std::ops::Range;

/// What is wrong in the file, before its name and line are known.
#[derive(Debug)]
pub struct Fault {
    /// Bytes of the file. None: the whole section.
    pub span: Option<Range<usize>>,
    /// Names the key.
    pub message: String,
}

/// The faults of one file, by line.
#[derive(Debug)]
pub struct Faults {
    file: String,
    /// Line, from 1, and message. None: the file as a whole.
    faults: Vec<(Option<usize>, String)>,
}

impl Faults {
    /// The file as a whole is at fault: it cannot be read.
    pub fn of_file(file: &str, message: impl Into<String>) -> Faults {
        Faults { file: file.to_owned(), faults: vec![(None, message.into())] }
    }

    /// `text` is the file's content.
    pub fn located(file: &str, text: &str, mut faults: Vec<Fault>) -> Faults {
        faults.sort_by_key(|fault| fault.span.as_ref().map_or(0, |span| span.start));
        let with_line = |fault: Fault| (Some(line(text, fault.span.map_or(0, |span| span.start))), fault.message);
        Faults { file: file.to_owned(), faults: faults.into_iter().map(with_line).collect() }
    }

    /// The line of each fault, from 1.
    pub fn lines(&self) -> impl Iterator<Item = Option<usize>> {
        self.faults.iter().map(|(line, _)| *line)
    }
}

/// `gateway.toml:12: sync.crm.auth.kind: unknown value "bearr", one of ...`, a line for each fault.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (line, message)) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match line {
                Some(line) => write!(f, "{}:{line}: {message}", self.file)?,
                None => write!(f, "{}: {message}", self.file)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

fn line(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_listed_by_line() {
        let text = "a = 1\nb = 2\n";
        let fault = |at: usize, message: &str| Fault { span: Some(at..at + 1), message: message.into() };
        let faults =
            Faults::located("f.toml", text, vec![fault(6, "b: wrong"), fault(0, "a: wrong"), fault(99, "end")]);
        assert_eq!(faults.to_string(), "f.toml:1: a: wrong\nf.toml:2: b: wrong\nf.toml:3: end");
        assert_eq!(Faults::of_file("f.toml", "is a directory").to_string(), "f.toml: is a directory");
    }
}
