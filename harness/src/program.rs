//! A server program of this repository that says where it listens, and ends when its standard input ends.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::process;

/// A running program. It ends when this value is dropped, or when this process ends in any way: the other end of its
/// input is here.
#[derive(Debug)]
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    /// What it wrote since it announced itself.
    output: Arc<Mutex<Vec<u8>>>,
    url: String,
}

impl Program {
    /// Starts `command`, which must have the argument for its end, and returns when it has written `listening on URL`.
    /// `read` then reads what else it announces.
    pub fn start<T>(
        mut command: Command,
        read: impl FnOnce(&mut BufReader<ChildStdout>) -> io::Result<T>,
    ) -> io::Result<(Program, T)> {
        // In its own process group: a Ctrl-C in psql must not end it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|e| io::Error::new(e.kind(), format!("{command:?}: {e}")))?;
        let input = child.stdin.take();
        let output = Arc::new(Mutex::new(Vec::new()));
        let errors = child.stderr.take().map(|pipe| collect(pipe, output.clone()));
        let mut program = Program { child, input, output, url: String::new() };
        let Some(pipe) = program.child.stdout.take() else { return Err(io::Error::other("no standard output")) };
        let mut pipe = BufReader::new(pipe);
        let mut line = String::new();
        pipe.read_line(&mut line)?;
        if let Some(url) = line.trim().strip_prefix("listening on ") {
            program.url = url.to_owned();
            let announced = read(&mut pipe)?;
            collect(pipe, program.output.clone());
            return Ok((program, announced));
        }
        // Its error output must be complete before it is reported.
        drop(program.input.take());
        program.child.wait()?;
        errors.map(JoinHandle::join);
        Err(io::Error::other(format!("{command:?} said {line:?}\n{}", program.output())))
    }

    /// The address that it announced.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM, and waits for the end.
    pub fn terminate(mut self) -> io::Result<ExitStatus> {
        process::terminate(self.pid());
        self.child.wait()
    }

    /// What it wrote since it announced itself, on both outputs.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.input.take());
        // The process ends by itself; a failed wait needs no handling.
        let _ = self.child.wait();
    }
}

/// Reads on, so that the program never blocks on a full pipe. The thread ends with the program.
fn collect(mut pipe: impl Read + Send + 'static, text: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            text.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..read]);
        }
    })
}
