//! A session that gets stuck, and another that gives the orders.

use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;
use sequin_harness::{Database, Server, process};

use crate::Result;

use super::phases::Phase;

/// Longer than any call takes to get stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// What ends a session's call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Cancel,
    TimeOut,
    Terminate,
}

impl Order {
    pub const ALL: [(&'static str, Order); 3] = [
        ("pg_cancel_backend", Order::Cancel),
        ("statement_timeout", Order::TimeOut),
        ("pg_terminate_backend", Order::Terminate),
    ];
}

/// A phase to get stuck in, and a session to give orders from.
pub struct Scene<'a> {
    database: &'a Database<'a>,
    phase: &'a Phase,
    observer: Client,
}

/// A session, and the process behind it.
struct Victim {
    client: Client,
    pid: i32,
}

impl<'a> Scene<'a> {
    pub fn new(database: &'a Database<'a>, phase: &'a Phase) -> Result<Scene<'a>> {
        Ok(Scene { database, phase, observer: database.connect() })
    }

    /// Gives `order` so many times. Its latencies in milliseconds.
    pub fn give(&mut self, order: Order, times: usize) -> Result<Vec<f64>> {
        match order {
            Order::Cancel => self.cancel(times),
            Order::TimeOut => self.time_out(times),
            Order::Terminate => self.terminate(times),
        }
    }

    /// From pg_cancel_backend to the client's error.
    fn cancel(&mut self, times: usize) -> Result<Vec<f64>> {
        let mut victim = self.victim()?;
        (0..times)
            .map(|i| self.interrupt(&mut victim, "SELECT pg_cancel_backend($1)", i, &SqlState::QUERY_CANCELED))
            .collect()
    }

    /// From pg_terminate_backend until the client has its error and the process has gone. Each takes a
    /// session of its own.
    fn terminate(&mut self, times: usize) -> Result<Vec<f64>> {
        let mut latencies = Vec::new();
        for i in 0..times {
            let mut victim = self.victim()?;
            let order = "SELECT pg_terminate_backend($1)";
            latencies.push(self.interrupt(&mut victim, order, i, &SqlState::ADMIN_SHUTDOWN)?);
        }
        Ok(latencies)
    }

    /// By how much a call lasts longer than statement_timeout.
    fn time_out(&mut self, times: usize) -> Result<Vec<f64>> {
        let mut victim = self.victim()?;
        let timeout = self.phase.timeout;
        victim.client.batch_execute(&format!("SET statement_timeout = {}", timeout.as_millis()))?;
        let mut latencies = Vec::new();
        let mut early = 0;
        while latencies.len() < times {
            let reached = self.phase.reached();
            let begun = Instant::now();
            let end = victim.client.batch_execute(&self.phase.sql);
            let elapsed = begun.elapsed();
            self.phase.next();
            expect(end, &SqlState::QUERY_CANCELED)?;
            if reached.is_some() && reached == self.phase.reached() {
                // On a busy machine the time may be up before the phase is reached: that is another phase.
                early += 1;
                if early > times {
                    return Err("the statement timeout comes before the phase is reached".into());
                }
                continue;
            }
            latencies.push(elapsed.saturating_sub(timeout).as_secs_f64() * 1e3);
        }
        Ok(latencies)
    }

    fn victim(&self) -> Result<Victim> {
        let mut client = self.database.connect();
        let pid = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
        client.batch_execute(&format!("SET sequin.server = '{}'", self.phase.name))?;
        Ok(Victim { client, pid })
    }

    /// Gets `victim` stuck, gives the order, and measures until it has obeyed.
    fn interrupt(&mut self, victim: &mut Victim, order: &str, i: usize, expected: &SqlState) -> Result<f64> {
        let order = self.observer.prepare(order)?;
        let terminate = *expected == SqlState::ADMIN_SHUTDOWN;
        let (phase, observer, pid) = (self.phase, &mut self.observer, victim.pid);
        let reached = phase.reached();
        thread::scope(|scope| {
            let stuck = scope.spawn(|| {
                let end = victim.client.batch_execute(&phase.sql);
                (end, Instant::now())
            });
            let patience = Instant::now() + PATIENCE;
            let arrived = || reached.is_none() || reached != phase.reached();
            while !(arrived() && waits(observer, pid)?) {
                if stuck.is_finished() || Instant::now() > patience {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
            // Not always at the same moment of whatever goes on there.
            thread::sleep(Duration::from_micros(1 + (i as u64 * 7919) % 5000));
            let begun = Instant::now();
            observer.execute(&order, &[&pid])?;
            while terminate && process::is_alive(pid) {
                thread::sleep(Duration::from_micros(100));
            }
            let gone = Instant::now();
            let (end, told) = stuck.join().map_err(|_| "the session's thread panicked")?;
            phase.next();
            expect(end, expected)?;
            let obeyed = if terminate { told.max(gone) } else { told };
            Ok(obeyed.saturating_duration_since(begun).as_secs_f64() * 1e3)
        })
    }
}

/// Whether the session waits in the extension, whatever the extension calls it.
fn waits(observer: &mut Client, pid: i32) -> Result<bool> {
    let row =
        observer.query_one("SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $1", &[&pid])?;
    Ok(row.get::<_, Option<bool>>(0).unwrap_or(false))
}

/// That a call ended as it was told to.
fn expect(end: std::result::Result<(), postgres::Error>, expected: &SqlState) -> Result<()> {
    match end {
        Err(e) if e.code() == Some(expected) => Ok(()),
        // Now and then the client library sees the end of the connection before the last message on it.
        Err(e) if e.is_closed() && *expected == SqlState::ADMIN_SHUTDOWN => Ok(()),
        Err(e) => Err(format!("{}\nThe server's log ends with:\n{}", crate::in_words(&e), end_of_log()).into()),
        Ok(()) => Err("the call was not interrupted".into()),
    }
}

/// What the server said last: where a session ended in another way than it was told to, that is the way to the reason.
fn end_of_log() -> String {
    let log = Server::shared().log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
