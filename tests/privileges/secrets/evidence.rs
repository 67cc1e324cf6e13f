//! All output that could hold a token, kept as files, and the search through them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sequin_harness::{Server, process};

use super::marked_token::MarkedToken;
use crate::support::Session;

/// A directory of files. Where one comes from is its name.
pub struct Evidence(PathBuf);

/// A line in which a token was found.
#[derive(Debug)]
pub struct Hit {
    pub file: String,
    pub line: String,
}

impl Evidence {
    pub fn new(dir: PathBuf) -> Evidence {
        Evidence(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "_"))
    }

    /// Adds `text` to the file of this name.
    pub fn keep(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        let mut kept = fs::read(&path).unwrap_or_default();
        kept.extend_from_slice(text.as_ref());
        kept.push(b'\n');
        fs::write(&path, kept).unwrap();
    }

    pub fn keep_log(&self, server: &Server) {
        self.keep("log", server.log());
    }

    /// The parts of the server's processes that every account can see, and those that their own account can.
    pub fn keep_processes(&self, name: &str, server: &Server) {
        let postmaster = server.postmaster().unwrap();
        for pid in process::children(postmaster).into_iter().chain([postmaster]) {
            for file in ["cmdline", "environ", "comm"] {
                // A process may have ended in between.
                let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                assert!(pid != postmaster || !text.is_empty(), "{file} of the postmaster can be read");
                self.keep(name, text);
            }
        }
    }

    /// Every column of every relation that `role` may read, in files that begin with `who`. Gives the refusals.
    pub fn keep_relations(&self, who: &str, server: &Server, role: &str) -> Vec<String> {
        let all = "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'p', 'S')";
        let names = server.connect_as("stage", role).rows(all, &[]);
        assert!(names.len() > 200, "{names:?}");
        // psql, because it is quick, and unaligned, because values then stand as they are.
        let look =
            |name: String| format!("\\o {}\nSELECT * FROM {name};\n", self.path(&format!("{who}.{name}")).display());
        let script = server.dir().join("look.sql");
        fs::write(&script, names.iter().map(|row| look(row.get(0))).collect::<String>()).unwrap();
        let mut psql = server.psql_command("stage");
        let output = psql.args(["-At", "-d", &server.dsn_as("stage", role), "-f"]).arg(script).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
    }

    /// The output of a program of the installation for the database `dsn`.
    pub fn keep_dump(&self, name: &str, server: &Server, program: &str, arguments: &[&str], dsn: &str) {
        let output = server.program(program).args(arguments).args(["-d", dsn]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        self.keep_output(name, &output);
    }

    pub fn keep_output(&self, name: &str, output: &Output) {
        self.keep(name, [&output.stdout[..], &output.stderr].concat());
    }

    /// How many files say something, and their bytes together.
    pub fn size(&self) -> (usize, u64) {
        let lengths = fs::read_dir(&self.0).unwrap().flatten().map(|file| file.metadata().unwrap().len());
        lengths.filter(|length| *length > 0).fold((0, 0), |(count, bytes), length| (count + 1, bytes + length))
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }
}

/// The lines of all files below `dir` with a piece of a canary.
pub fn search(dir: &Path, canaries: &[&MarkedToken]) -> Vec<Hit> {
    let spellings: Vec<String> = canaries.iter().flat_map(|canary| canary.spellings()).collect();
    let mut grep = Command::new("grep");
    grep.args(["-raZF", "-e", &spellings.join("\n"), "."]).current_dir(dir).env("LC_ALL", "C");
    let output = grep.output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    let found = String::from_utf8_lossy(&output.stdout);
    let hit = |line: &str| {
        let (file, line) = line.split_once('\0')?;
        Some(Hit { file: file.trim_start_matches("./").to_owned(), line: line.to_owned() })
    };
    found.lines().filter_map(hit).collect()
}

/// Where the hits are.
pub fn files(hits: &[Hit]) -> BTreeSet<&str> {
    hits.iter().map(|hit| hit.file.as_str()).collect()
}

/// The first of the hits in each file, for a message.
pub fn described(hits: &[Hit]) -> String {
    let first = |file| hits.iter().find(|hit| hit.file == file).map(|hit| format!("\n{file}: {:.300}", hit.line));
    files(hits).into_iter().filter_map(first).collect()
}

/// The hits that are more than a statement as it was typed.
pub fn beside(hits: Vec<Hit>, typed: &[String], canaries: &[&MarkedToken]) -> Vec<Hit> {
    let spellings: Vec<String> = canaries.iter().flat_map(|canary| canary.spellings()).collect();
    let is_more = |hit: &Hit| {
        let mut rest = hit.line.clone();
        for statement in typed {
            if rest.contains(statement.as_str()) {
                rest = rest.replace(statement.as_str(), "");
            }
        }
        spellings.iter().any(|spelling| rest.contains(spelling.as_str()))
    };
    hits.into_iter().filter(is_more).collect()
}
