//! Sending claimed requests, many at once, with no transaction open.

mod flight;
mod judge;
mod threads;

use std::collections::HashMap;
use std::time::Duration;

use pgrx::pg_sys::Oid;

pub use self::flight::Flight;
use self::threads::{FlightId, Threads};
use crate::outbox::claim::Claimed;
use crate::outbox::disposition::Disposition;
use contract::batching::window::Ticket;

/// The requests of this worker that are on their way.
pub struct Flights {
    threads: Threads,
    flights: HashMap<FlightId, Flight>,
    last_id: FlightId,
    /// The size of the requests.
    bytes: usize,
}

impl Flights {
    pub fn new() -> Flights {
        Flights { threads: Threads::new(), flights: HashMap::new(), last_id: 0, bytes: 0 }
    }

    /// The number of requests.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// The size of the requests, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many further requests the process has resources for, at most `most`.
    pub fn room(&mut self, most: usize) -> usize {
        self.threads.room(self.flights.len(), most)
    }

    /// Sends a claimed request. Returns it if it ends without an exchange.
    pub fn send(&mut self, claimed: Claimed, extension: Oid, ticket: Ticket) -> Option<Flight> {
        self.last_id += 1;
        self.bytes += claimed.planned.bytes();
        self.go_on(self.last_id, Flight::new(claimed, extension, ticket), false)
    }

    fn go_on(&mut self, id: FlightId, mut flight: Flight, is_leaving: bool) -> Option<Flight> {
        match flight.next_exchange(is_leaving) {
            Some(exchange) => {
                self.flights.insert(id, flight);
                self.threads.submit(id, exchange);
                None
            }
            None => {
                self.bytes -= flight.claimed.planned.bytes();
                Some(flight)
            }
        }
    }

    /// The requests that have ended since the last call.
    pub fn take_ended(&mut self, is_leaving: bool) -> Vec<Flight> {
        let mut ended = Vec::new();
        for (id, answer) in self.threads.take_ended() {
            let Some(mut flight) = self.flights.remove(&id) else { continue };
            flight.judge(answer);
            ended.extend(self.go_on(id, flight, is_leaving));
        }
        ended
    }

    /// Waits for the latch or the end of a request, at most `most`.
    pub fn wait(&mut self, most: Duration) {
        self.threads.wait(most);
    }

    /// Gives up all requests. They end with what is known of them.
    pub fn stop(&mut self) -> Vec<Flight> {
        self.threads.stop();
        let mut ended = self.take_ended(true);
        for flight in &mut ended {
            // That they were given up says nothing about their servers, and nothing about their records.
            flight.state = None;
            for (_, disposition) in &mut flight.dispositions {
                if let Disposition::Again { error, .. } = disposition {
                    *disposition = Disposition::Interrupted { error: std::mem::take(error) };
                }
            }
        }
        ended
    }
}
