//! What the gateway adds to a mutation, how many it carries at once, and its memory.
//!
//! The program itself runs, with its log on, in front of a provider that answers like Stripe. The control calls the same
//! provider directly, with the very request that the gateway sends, by the same client.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::api::FixedApi;
use crate::goal::Goal;
use crate::options::Options;
use crate::proc;
use crate::raw::RawClient;
use crate::stats::{Sample, Spread};
use crate::table::Table;

/// A customer as Stripe shows it, shortened.
const CUSTOMER: &str = r#"{"id":"cus_RfIicOKc1UqLHJ","object":"customer","balance":0,"created":1738006596,"email":"paul@arrakis.org","livemode":false,"metadata":{"house":"Atreides"},"name":"Paul Atreides"}"#;

const MUTATION: &str = r#"{"kind":"create","sync_id":"bench","collection_id":"stripe:customer","records":[{"data":{"email":"paul@arrakis.org","name":"Paul Atreides","metadata":{"house":"Atreides"}}}]}"#;

/// Parts of a run in turns, so that other load affects both.
const SLICES: usize = 8;
const WARM_UP: usize = 500;

const ADDED: Goal = Goal::AtMost(300.0, " us");
const P99: Goal = Goal::AtMost(5.0, "x");
const SHARE: Goal = Goal::AtLeast(0.95, "x");

const LATENCIES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];
const AT_ONCE: usize = 64;

const IDLE: usize = 1_000;
const MEMORY: Goal = Goal::AtMost(100.0, " MiB");

pub fn run(options: &Options) -> Result<()> {
    overhead(options)?;
    for latency in LATENCIES {
        at_once(latency, options)?;
    }
    memory()
}

fn overhead(options: &Options) -> Result<()> {
    let calls = options.count(8000, 2000);
    let api = FixedApi::start(CUSTOMER);
    let gateway = Gateway::start(&api)?;
    let mut through = gateway.client()?;
    through.times(WARM_UP)?;
    let mut direct = RawClient::connect(api.address(), api.first_request())?;
    direct.times(WARM_UP)?;
    let mut runs = Vec::new();
    check(&through)?;
    for _ in 0..options.runs {
        let (mut of_direct, mut of_through) = (Vec::new(), Vec::new());
        for _ in 0..SLICES {
            of_direct.extend(direct.times(calls / SLICES)?);
            of_through.extend(through.times(calls / SLICES)?);
        }
        runs.push((Sample::new(of_direct), Sample::new(of_through)));
    }
    let heads = ["", "direct", "through", "added", "through / direct", "goal"];
    let title = format!("gateway: a create of one record, {calls} a run, one client, microseconds");
    let mut table = Table::new(title, &heads);
    for (name, p) in [("p50", 0.5), ("p99", 0.99)] {
        let over = |compared: fn(f64, f64) -> f64| {
            Spread::over(runs.iter().map(|(direct, through)| compared(direct.percentile(p), through.percentile(p))))
        };
        let (added, ratio) = (over(|direct, through| through - direct), over(|direct, through| through / direct));
        let goal = if name == "p50" { ADDED.judge(added.median) } else { P99.judge(ratio.median) };
        let times = [over(|direct, _| direct).show(1), over(|_, through| through).show(1)];
        let [direct, through] = times;
        table.line([name.to_owned(), direct, through, added.show_difference(1), ratio.show(2), goal]);
    }
    table.print();
    Ok(())
}

fn at_once(latency: Duration, options: &Options) -> Result<()> {
    let api = FixedApi::slow(CUSTOMER, latency);
    let gateway = Gateway::start(&api)?;
    let each = options.count(50, 20);
    let possible = AT_ONCE as f64 / latency.as_secs_f64();
    // The first round makes the connections.
    rate(&|| gateway.client(), 2)?;
    let direct = || Ok(RawClient::connect(api.address(), api.first_request())?);
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        runs.push((rate(&direct, each)?, rate(&|| gateway.client(), each)?));
    }
    let over = |figure: fn(&(f64, f64)) -> f64| Spread::over(runs.iter().map(figure));
    let share = Spread::over(runs.iter().map(|(_, through)| through / possible));
    let milliseconds = latency.as_millis();
    let title = format!("gateway: creates, {AT_ONCE} at once, a provider that takes {milliseconds} ms");
    let mut table = Table::new(title, &["", "creates/s", "of at once / latency", "goal"]);
    let control = Spread::over(runs.iter().map(|(direct, _)| direct / possible));
    table.line(["direct".into(), over(|run| run.0).show(0), format!("{}x", control.show(3)), String::new()]);
    table.line(["through".into(), over(|run| run.1).show(0), format!("{}x", share.show(3)), SHARE.judge(share.median)]);
    table.print();
    Ok(())
}

/// Memory with connections that have carried a mutation and are idle.
fn memory() -> Result<()> {
    let api = FixedApi::start(CUSTOMER);
    let gateway = Gateway::start(&api)?;
    let pid = gateway.process.id().try_into()?;
    let mut clients = Vec::with_capacity(IDLE);
    let mut table = Table::new("gateway: memory of the process", &["connections", "resident", "goal"]);
    for connections in [1, IDLE] {
        while clients.len() < connections {
            let mut client = gateway.client()?;
            client.times(1)?;
            check(&client)?;
            clients.push(client);
        }
        let resident = proc::kib(pid, "VmRSS")? as f64 / 1024.0;
        table.line([connections.to_string(), format!("{resident:.1} MiB"), MEMORY.judge(resident)]);
    }
    table.print();
    Ok(())
}

/// Exchanges a second of clients at once, with this many exchanges each.
fn rate(connect: &dyn Fn() -> Result<RawClient>, each: usize) -> Result<f64> {
    let clients: Result<Vec<RawClient>> = (0..AT_ONCE).map(|_| connect()).collect();
    let begun = Instant::now();
    let exchange = move |mut client: RawClient| thread::spawn(move || client.times(each).map(|_| client));
    let threads: Vec<_> = clients?.into_iter().map(exchange).collect();
    let clients: Result<Vec<RawClient>> =
        threads.into_iter().map(|thread| Ok(thread.join().map_err(|_| "a client panicked")??)).collect();
    let rate = (AT_ONCE * each) as f64 / begun.elapsed().as_secs_f64();
    clients?.iter().try_for_each(check)?;
    Ok(rate)
}

/// A refusal would be measured as if it were a mutation.
fn check(client: &RawClient) -> Result<()> {
    match client.last_reply() {
        reply if reply.starts_with(b"HTTP/1.1 200 ") => Ok(()),
        reply => Err(format!("the answer was {}", String::from_utf8_lossy(reply)).into()),
    }
}

/// The program in front of a provider. It ends with its standard input.
struct Gateway {
    address: SocketAddr,
    process: Child,
    /// Kept: a program whose output is closed would fail when it speaks.
    _output: BufReader<ChildStdout>,
    _folder: TempDir,
}

impl Gateway {
    fn start(provider: &FixedApi) -> Result<Gateway> {
        let folder = tempfile::tempdir()?;
        for (name, text) in [("app.token", "bench-token"), ("stripe.key", "sk_test_bench")] {
            let path = folder.path().join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        }
        let file = folder.path().join("gateway.toml");
        let url = provider.url();
        fs::write(
            &file,
            format!(
                r#"listen = "127.0.0.1:0"

[token.app]
file = "app.token"
syncs = ["bench"]

[sync.bench]
provider = "stripe"
base_url = "{url}"
auth = {{ kind = "bearer", token_file = "stripe.key" }}
"#
            ),
        )?;
        let program = std::env::current_exe()?.with_file_name("sequin-gateway");
        let mut process = Command::new(&program)
            .args(["run", "--until-stdin-closes"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let mut output = BufReader::new(process.stdout.take().ok_or("the gateway has no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.trim_end().strip_prefix("listening on http://").ok_or("the gateway did not start")?;
        Ok(Gateway { address: address.parse()?, process, _output: output, _folder: folder })
    }

    /// A client that creates a customer with each exchange.
    fn client(&self) -> Result<RawClient> {
        let (address, length) = (self.address, MUTATION.len());
        let request = format!(
            "POST /v1/mutations/run HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer bench-token\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{MUTATION}"
        );
        Ok(RawClient::connect(self.address, request.into_bytes())?)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // Whether it ended well does not matter any more.
        let _ = self.process.wait();
    }
}
