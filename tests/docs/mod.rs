//! Helpers for the tests of the documentation: its fenced blocks, and a psql to run them in.
//!
//! A block is three backquotes with a language, up to the next three. A ```sql block before a ```text block must print
//! its text; any other one must work.

mod attached_examples;
mod contributing;
mod demo;
pub mod dependencies;
mod examples;
mod operations;
mod outbox_examples;
mod readme;
mod reference;
mod security;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sequin_harness::paths;

/// The documents for readers.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/dependencies.md",
    "docs/design.md",
    "docs/gateway.md",
    "docs/measurements.md",
    "docs/operations.md",
    "docs/reference.md",
    "docs/security.md",
    "docs/your-own-endpoint.md",
    "sandbox/README.md",
];

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// The language after the backquotes.
    pub language: String,
    pub text: String,
    /// Of its first line.
    pub line: usize,
}

/// A file of the repository.
pub fn path(name: &str) -> PathBuf {
    paths::workspace().join(name)
}

pub fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All Rust files below a directory.
pub fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { rust_files(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The fenced blocks of a document, in order; without the indentation of those in lists.
pub fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (i, line) in document.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                let block = Block { language: language.to_owned(), text: String::new(), line: i + 2 };
                open = Some((block, indent));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
            (None, Some((block, indent))) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// The SQL blocks, each with the output that the document promises, if it does.
pub fn statements(document: &str) -> Vec<(Block, Option<String>)> {
    let blocks = blocks(document);
    let output_after = |i: usize| blocks.get(i + 1).filter(|next| next.language == "text").map(|next| &next.text);
    let sql = blocks.iter().enumerate().filter(|(_, block)| block.language == "sql");
    sql.map(|(i, block)| (block.clone(), output_after(i).cloned())).collect()
}

/// psql's output for `sql`, of both streams, and whether it completed. It stops at the first error.
pub fn psql(mut command: Command, sql: &str) -> (String, bool) {
    command.args(["-q", "-v", "ON_ERROR_STOP=1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut psql = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    if let Some(mut input) = psql.stdin.take() {
        // It may stop reading at an error, which the caller sees.
        let _ = input.write_all(sql.as_bytes());
    }
    let output = psql.wait_with_output().unwrap_or_else(|e| panic!("psql: {e}"));
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

/// `text` without the spaces at the ends of lines and the empty lines, which an editor may have changed.
pub fn tidy(text: &str) -> String {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The targets of `make` in a block of shell commands; "" where none is named.
pub fn make_targets(shell: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for command in shell.lines().flat_map(|line| line.split("&&")) {
        let words: Vec<&str> = command.split_whitespace().filter(|word| *word != "sudo").collect();
        if words.first() == Some(&"make") {
            let named = words[1..].iter().filter(|word| !word.contains('=')).map(|word| (*word).to_owned());
            let before = targets.len();
            targets.extend(named);
            if targets.len() == before {
                targets.push(String::new());
            }
        }
    }
    targets
}

/// The part of the document under a heading, up to the next of the same rank or a higher one.
pub fn section(document: &str, heading: &str) -> String {
    let rank = heading.len() - heading.trim_start_matches('#').len();
    let mut lines = document.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "there is no {heading:?}");
    let ends = |line: &&str| {
        let other = line.len() - line.trim_start_matches('#').len();
        other == 0 || other > rank
    };
    lines.take_while(ends).collect::<Vec<_>>().join("\n")
}

/// The cells of the rows of all tables in a text, without backquotes.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let is_ruler = |line: &&str| line.chars().all(|c| "|- ".contains(c));
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with('|')).filter(|line| !is_ruler(line));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    lines.map(cells).collect()
}

/// The files that a document's links lead to, seen from the document's own directory.
pub fn links(document: &str) -> Vec<&str> {
    let after_brackets = document.split("](").skip(1);
    let targets = after_brackets.filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

/// Where a heading is found by a link: as GitHub names it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The links of a document that lead to a heading: the file, empty for the document itself, and the anchor.
fn anchors(document: &str) -> Vec<(&str, &str)> {
    let after_brackets = document.split("](").skip(1);
    let targets = after_brackets.filter_map(|rest| rest.split(')').next()).filter(|target| !target.contains("://"));
    targets.filter_map(|target| target.split_once('#')).collect()
}

#[test]
fn every_anchor_leads_to_a_heading() {
    let mut seen = 0;
    for name in DOCUMENTS {
        let document = read(name);
        let directory = Path::new(name).parent().unwrap_or(Path::new("."));
        for (file, wanted) in anchors(&document) {
            let target = if file.is_empty() { document.clone() } else { read(&directory.join(file).to_string_lossy()) };
            let mut headings = target.lines().filter(|line| line.starts_with('#'));
            assert!(headings.any(|heading| anchor(heading) == wanted), "{name} links to {file}#{wanted}");
            seen += 1;
        }
    }
    assert!(seen >= 40, "only {seen} were found");
}

#[test]
fn every_link_leads_to_a_file() {
    for name in DOCUMENTS {
        let document = read(name);
        let file = path(name);
        let directory = file.parent().unwrap_or(Path::new("."));
        for link in links(&document) {
            assert!(directory.join(link).exists(), "{name} links to {link}");
        }
    }
}

/// The targets that the Makefile has.
pub fn makefile_targets() -> Vec<String> {
    let makefile = read("Makefile");
    let rules = makefile.lines().filter(|line| !line.starts_with(['\t', ' ', '#', '.']));
    let names = rules.filter_map(|line| line.split_once(':')).filter(|(_, rest)| !rest.starts_with('='));
    names.flat_map(|(names, _)| names.split_whitespace().map(str::to_owned)).collect()
}

#[test]
fn every_make_command_has_its_target() {
    let targets = makefile_targets();
    let mut seen = 0;
    for name in DOCUMENTS {
        let document = read(name);
        let mut commands: Vec<String> = Vec::new();
        for block in blocks(&document).iter().filter(|block| ["sh", "console"].contains(&block.language.as_str())) {
            commands.extend(make_targets(&block.text));
        }
        // Also those within sentences.
        let spans = document.split('`').skip(1).step_by(2).filter(|span| span.starts_with("make"));
        commands.extend(spans.flat_map(make_targets));
        for target in commands {
            assert!(target.is_empty() || targets.contains(&target), "{name}: make {target}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen} commands were found");
}
