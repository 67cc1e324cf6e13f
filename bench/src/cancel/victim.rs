//! A session that stalls, and another that gives the orders.

use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;
use sequin_harness::{Database, Delays, Server, process};

use crate::Result;

use super::phases::Phase;

/// Longer than any call takes to stall.
const PATIENCE: Duration = Duration::from_secs(30);

/// The order that ends a session's call.
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

/// A phase to stall in, and a session to give orders from.
pub struct Scene<'a> {
    database: &'a Database,
    phase: &'a Phase,
    observer: Client,
}

/// A session and its backend process.
struct Victim {
    client: Client,
    pid: i32,
}

impl<'a> Scene<'a> {
    pub fn new(database: &'a Database, phase: &'a Phase) -> Result<Scene<'a>> {
        Ok(Scene { database, phase, observer: database.connect() })
    }

    /// Gives `order` this many times. Returns the delays until it took effect.
    pub fn give(&mut self, order: Order, times: usize) -> Result<Delays> {
        let mut delays = Delays::default();
        let mut session = None;
        // A call that is busy may end before its order comes, and a timeout may come before the phase is reached.
        for i in 0..50 * times {
            if delays.len() == times {
                return Ok(delays);
            }
            let victim = match session.take() {
                Some(victim) if order != Order::Terminate => victim,
                _ => self.victim()?,
            };
            let victim = session.insert(victim);
            let delay = match order {
                // From pg_cancel_backend to the client's error.
                Order::Cancel => {
                    self.interrupt(victim, "SELECT pg_cancel_backend($1)", i, &SqlState::QUERY_CANCELED)?
                }
                // From pg_terminate_backend until the client has its error and the process has ended.
                Order::Terminate => {
                    self.interrupt(victim, "SELECT pg_terminate_backend($1)", i, &SqlState::ADMIN_SHUTDOWN)?
                }
                Order::TimeOut => self.time_out(victim, i)?,
            };
            if let Some(delay) = delay {
                delays.add(delay);
            }
        }
        Err("the order comes too early or too late again and again".into())
    }

    /// The time that a call takes beyond statement_timeout.
    fn time_out(&mut self, victim: &mut Victim, i: usize) -> Result<Option<Duration>> {
        let mut timeout = self.phase.timeout;
        if self.phase.is_busy {
            timeout = timeout / 3 + timeout * (i as u32 * 7919 % 100) / 100;
        }
        let timeout = Duration::from_millis(timeout.as_millis() as u64);
        victim.client.batch_execute(&format!("SET statement_timeout = {}", timeout.as_millis()))?;
        let reached = self.phase.reached();
        let begun = Instant::now();
        let end = victim.client.batch_execute(&self.phase.sql);
        let elapsed = begun.elapsed();
        self.phase.next();
        if self.phase.is_busy && end.is_ok() {
            return Ok(None);
        }
        expect(end, &SqlState::QUERY_CANCELED, self.database.server())?;
        // On a busy machine the timeout may expire before the call reaches the phase.
        let is_early = reached.is_some() && reached == self.phase.reached();
        Ok((!is_early).then(|| elapsed.saturating_sub(timeout)))
    }

    fn victim(&self) -> Result<Victim> {
        let mut client = self.database.connect();
        let pid = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
        client.batch_execute(&format!("SET sequin.server = '{}'", self.phase.name))?;
        Ok(Victim { client, pid })
    }

    /// Makes `victim` stall, gives the order, and measures until it has taken effect. None if the call ended by itself.
    fn interrupt(
        &mut self,
        victim: &mut Victim,
        order: &str,
        i: usize,
        expected: &SqlState,
    ) -> Result<Option<Duration>> {
        let order = self.observer.prepare(order)?;
        let terminate = *expected == SqlState::ADMIN_SHUTDOWN;
        let (phase, observer, pid) = (self.phase, &mut self.observer, victim.pid);
        let server = self.database.server();
        let reached = phase.reached();
        thread::scope(|scope| {
            let stuck = scope.spawn(|| {
                let end = victim.client.batch_execute(&phase.sql);
                (end, Instant::now())
            });
            let patience = Instant::now() + PATIENCE;
            let arrived = || reached.is_none() || reached != phase.reached();
            while !(arrived() && (phase.is_busy || waits(observer, pid)?)) {
                if stuck.is_finished() || Instant::now() > patience {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
            // At a varying moment within the phase.
            let span = if phase.is_busy { phase.timeout.as_micros() as u64 / 2 } else { 5000 };
            thread::sleep(Duration::from_micros(1 + (i as u64 * 7919) % span));
            let begun = Instant::now();
            observer.execute(&order, &[&pid])?;
            while terminate && process::is_alive(pid) {
                thread::sleep(Duration::from_micros(100));
            }
            let gone = Instant::now();
            let (end, told) = stuck.join().map_err(|_| "the session's thread panicked")?;
            phase.next();
            if phase.is_busy && end.is_ok() {
                return Ok(None);
            }
            expect(end, expected, server)?;
            let obeyed = if terminate { told.max(gone) } else { told };
            Ok(Some(obeyed.saturating_duration_since(begun)))
        })
    }
}

/// Whether the session waits in the extension, under any of its wait events.
fn waits(observer: &mut Client, pid: i32) -> Result<bool> {
    let row =
        observer.query_one("SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $1", &[&pid])?;
    Ok(row.get::<_, Option<bool>>(0).unwrap_or(false))
}

/// Checks that a call ended as ordered.
fn expect(end: std::result::Result<(), postgres::Error>, expected: &SqlState, server: &Server) -> Result<()> {
    match end {
        Err(e) if e.code() == Some(expected) => Ok(()),
        // Now and then the client library sees the end of the connection before the last message on it.
        Err(e) if e.is_closed() && *expected == SqlState::ADMIN_SHUTDOWN => Ok(()),
        Err(e) => Err(format!("{}\nThe server's log ends with:\n{}", crate::in_words(&e), end_of_log(server)).into()),
        Ok(()) => Err("the call was not interrupted".into()),
    }
}

/// The server's last log lines, which give the reason for an unexpected end of a session.
fn end_of_log(server: &Server) -> String {
    let log = server.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
