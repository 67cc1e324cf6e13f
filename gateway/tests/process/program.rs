//! A running `sequin-gateway`, with what it prints.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Folder;

/// Ends with the test, whatever happens: its standard input closes.
pub struct Program {
    child: Child,
    _stdin: ChildStdin,
    pub stdout: Lines,
    pub stderr: Lines,
    /// Where the Mutation API is, such as `http://127.0.0.1:34567`.
    pub url: String,
}

impl Program {
    /// `run` with this file, once it accepts connections.
    pub async fn start(folder: &Folder, text: &str) -> Program {
        Program::start_with(folder, text, |_| {}).await
    }

    /// The same with changes to the command.
    pub async fn start_with(folder: &Folder, text: &str, adjust: impl FnOnce(&mut Command)) -> Program {
        std::fs::write(folder.path("gateway.toml"), text).unwrap();
        let mut command = command();
        command.arg("run").arg(folder.path("gateway.toml")).arg("--until-stdin-closes");
        adjust(&mut command);
        Program::running(command).await
    }

    pub async fn running(mut command: Command) -> Program {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        let url = stdout.line_with("listening on ").await.replace("listening on ", "");
        Program { child, _stdin: stdin, stdout, stderr, url }
    }

    /// Where operators look.
    pub async fn admin(&self, path: &str) -> String {
        self.stdout.line_with("admin on ").await.replace("admin on ", "") + path
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Its end, and all lines of its standard error.
    pub async fn end(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.child.wait().await.unwrap();
        (status, self.stderr.all().await)
    }

    /// Posts a mutation with a token.
    pub async fn post(&self, token: &str, body: String) -> reqwest::Response {
        let request = client().post(format!("{}/v1/mutations/run", self.url)).bearer_auth(token);
        request.header("content-type", "application/json").body(body).send().await.unwrap()
    }
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sequin-gateway"));
    command.env_clear();
    command
}

/// Exit status, standard output and standard error of a command that ends by itself.
pub async fn output(arguments: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let output = command().args(arguments).current_dir(folder).stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

pub fn client() -> reqwest::Client {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Status and body of a GET.
pub async fn get(url: &str) -> (u16, String) {
    let reply = client().get(url).send().await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

/// The lines of a pipe as they come.
pub struct Lines {
    seen: watch::Receiver<Arc<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Lines {
    fn of(pipe: impl AsyncRead + Unpin + Send + 'static) -> Lines {
        let (sender, seen) = watch::channel(Arc::default());
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(pipe).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                sender.send_modify(|all: &mut Arc<Vec<String>>| Arc::make_mut(all).push(line));
            }
        });
        Lines { seen, reader }
    }

    /// The first line with this text. Fails if the pipe closes without one.
    pub async fn line_with(&self, text: &str) -> String {
        let mut seen = self.seen.clone();
        let found = seen.wait_for(|lines| lines.iter().any(|line| line.contains(text))).await;
        let lines = found.map(|lines| Arc::clone(&lines)).unwrap_or_else(|_| {
            panic!("no line with {text:?} in {:#?}", self.seen.borrow());
        });
        lines.iter().find(|line| line.contains(text)).unwrap().clone()
    }

    /// All lines. Waits until the pipe closes.
    pub async fn all(self) -> Vec<String> {
        self.reader.await.unwrap();
        self.seen.borrow().to_vec()
    }
}
