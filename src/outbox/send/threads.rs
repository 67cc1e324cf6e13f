//! The threads that run a worker's requests.
//!
//! The main thread alone talks to Postgres: it prepares requests and judges their replies. A thread gets an [`Exchange`] and
//! gives an [`Answer`] back. Threads are started on demand and stay.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::call::{self, Answer, Exchange};
use crate::ereport;
use crate::pg::socket::Interest;
use crate::pg::thread::{share_malloc_arena, spawn_without_signals};
use crate::pg::wait::SocketWait;
use crate::pg::wait_event::WaitEvent;
use crate::pg::{bgworker, external_fd, interrupt};

/// The number of a flight: a claimed request, which may take several exchanges.
pub type FlightId = u64;

pub struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    /// Becomes readable when an exchange has ended.
    ended: UnixStream,
    wait: SocketWait,
    reserved_descriptors: usize,
    has_logged: bool,
}

struct Shared {
    jobs: Mutex<Jobs>,
    job_added: Condvar,
    answers: Mutex<Vec<(FlightId, Answer)>>,
    ended: UnixStream,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<(FlightId, Exchange)>,
    idle_threads: usize,
    is_closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Threads {
    pub fn new() -> Threads {
        share_malloc_arena();
        call::prepare_to_stop_threads();
        // Also at an end without a destructor, and before the worker's slot is free, whose callback is older.
        bgworker::at_exit(stop_exchanges);
        let (ended, write_end) = UnixStream::pair().expect("a process that starts has room for two more descriptors");
        for end in [&ended, &write_end] {
            end.set_nonblocking(true).expect("a socket can be made non-blocking");
        }
        let wait = SocketWait::new(ended.as_fd(), Interest::Readable);
        let wait = wait.unwrap_or_else(|interrupted| {
            interrupt::resume();
            panic!("{interrupted}")
        });
        let shared =
            Shared { jobs: Mutex::default(), job_added: Condvar::new(), answers: Mutex::default(), ended: write_end };
        Threads {
            shared: Arc::new(shared),
            handles: Vec::new(),
            ended,
            wait,
            reserved_descriptors: 0,
            has_logged: false,
        }
    }

    /// How many further exchanges this process has descriptors for, beside `in_flight`. One is always possible.
    pub fn room(&mut self, in_flight: usize, most: usize) -> usize {
        // Connections that are idle now may be taken by the next exchanges, or stay open beside them.
        let wanted = in_flight.max(call::open_connections()) + most;
        while self.reserved_descriptors < wanted && external_fd::reserve() {
            self.reserved_descriptors += 1;
        }
        while self.reserved_descriptors > wanted {
            external_fd::release();
            self.reserved_descriptors -= 1;
        }
        let room = self.reserved_descriptors.saturating_sub(in_flight).min(most);
        if in_flight == 0 { room.max(1) } else { room }
    }

    /// Runs an exchange on an idle thread, or on a new one.
    pub fn submit(&mut self, flight: FlightId, exchange: Exchange) {
        let needs_thread = {
            let mut jobs = lock(&self.shared.jobs);
            jobs.waiting.push_back((flight, exchange));
            jobs.waiting.len() > jobs.idle_threads
        };
        if needs_thread {
            self.start_thread();
        }
        self.shared.job_added.notify_one();
    }

    /// Starts one more thread. If the system refuses, the others do the work.
    fn start_thread(&mut self) {
        let shared = Arc::clone(&self.shared);
        match spawn_without_signals("sequin request", move || shared.run()) {
            Ok(handle) => self.handles.push(handle),
            Err(error) if !self.has_logged => {
                let count = self.handles.len();
                ereport::log(&format!("the worker of the outbox goes on with {count} threads: {error}"));
                self.has_logged = true;
            }
            Err(_) => {}
        }
    }

    /// The answers of the exchanges that have ended since the last call.
    pub fn take_ended(&mut self) -> Vec<(FlightId, Answer)> {
        if self.handles.is_empty() && !lock(&self.shared.jobs).waiting.is_empty() {
            self.start_thread();
        }
        // Before the answers: one that is added meanwhile makes the pair readable again.
        let mut bytes = [0; 64];
        while matches!((&self.ended).read(&mut bytes), Ok(count) if count == bytes.len()) {}
        std::mem::take(&mut *lock(&self.shared.answers))
    }

    /// Waits for the latch or the end of an exchange, at most `most`.
    pub fn wait(&mut self, most: Duration) {
        if self.wait.wait_for_any(most, WaitEvent::WorkerMain).is_err() {
            interrupt::resume();
        }
    }

    /// Makes all threads give up their exchanges, and waits for their end. The answers say what was sent.
    pub fn stop(&mut self) {
        call::stop_threads();
        lock(&self.shared.jobs).is_closed = true;
        self.shared.job_added.notify_all();
        for handle in self.handles.drain(..) {
            // A thread catches the panics of its exchanges.
            let _ = handle.join();
        }
    }
}

impl Drop for Threads {
    /// After an error of the worker: no thread may send for a claim that the next worker ends.
    fn drop(&mut self) {
        self.stop();
    }
}

/// The exchanges that run now.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

struct Running(());

impl Running {
    fn begin() -> Running {
        RUNNING.fetch_add(1, Ordering::AcqRel);
        Running(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Waits until no thread sends another byte: the next worker may send newer requests for the same records.
fn stop_exchanges() {
    const MOST: Duration = Duration::from_secs(1);
    call::stop_threads();
    let begun = Instant::now();
    while RUNNING.load(Ordering::Acquire) > 0 && begun.elapsed() < MOST {
        thread::sleep(Duration::from_millis(1));
    }
}

impl Shared {
    /// Runs exchanges until the jobs are closed and done.
    fn run(&self) {
        while let Some((flight, exchange)) = self.next_job() {
            let _running = Running::begin();
            let answer = catch_unwind(AssertUnwindSafe(|| exchange.run())).unwrap_or_else(|_| Answer::panicked());
            lock(&self.answers).push((flight, answer));
            // A full pair has woken the main thread already.
            let _ = (&self.ended).write(&[0]);
        }
    }

    fn next_job(&self) -> Option<(FlightId, Exchange)> {
        let mut jobs = lock(&self.jobs);
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            if jobs.is_closed {
                return None;
            }
            jobs.idle_threads += 1;
            jobs = self.job_added.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            jobs.idle_threads -= 1;
        }
    }
}
