//! The cost of counting a call for `sequin.stat_servers`, in a loop of the code that a call runs.
//!
//! The control is the same loop with the two looks at the clock alone, which a call needs for its wait.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use contract::statistics::{EndedRequest, Slots, Via};

use crate::Result;
use crate::goal::Goal;
use crate::options::Options;
use crate::stats::Spread;
use crate::table::Table;

/// As in the extension.
const SLOTS: usize = 32;

const GOAL: Goal = Goal::AtMost(300.0, " ns");

/// Notes a call of the server `key`.
fn note(slots: &Slots<SLOTS>, key: u64) {
    let begun = Instant::now();
    let ended = EndedRequest {
        via: Via::Call,
        records: 1,
        outcome: None,
        is_cancelled: false,
        bytes_sent: 400,
        bytes_received: 500,
        connections_opened: 1,
        wait: begun.elapsed(),
    };
    slots.of(black_box(key), || 1).note(black_box(&ended));
}

/// Nanoseconds for each call of `f`.
fn nanoseconds(calls: usize, mut f: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..calls).for_each(|_| f());
    begun.elapsed().as_secs_f64() * 1e9 / calls as f64
}

pub fn run(options: &Options) -> Result<()> {
    let calls = options.count(2_000_000, 200_000);
    let (few, full): (Slots<SLOTS>, Slots<SLOTS>) = (Slots::new(), Slots::new());
    let key = |server: u64| 16_384 << 32 | server;
    (1..=SLOTS as u64).for_each(|server| note(&full, key(server)));
    let clock = || {
        black_box(Instant::now().elapsed());
    };
    let alone = || nanoseconds(calls, || note(&few, key(1)));
    let cases: [(&str, &dyn Fn() -> f64); 4] = [
        ("a server that has a slot", &alone),
        ("the last of a full table", &|| nanoseconds(calls, || note(&full, key(SLOTS as u64)))),
        ("a server without a slot", &|| nanoseconds(calls, || note(&full, key(1_000)))),
        ("two processes, one server", &|| {
            thread::scope(|scope| {
                let other = scope.spawn(alone);
                let own = alone();
                other.join().map_or(own, |other| own.max(other))
            })
        }),
    ];
    let mut runs: Vec<(Vec<f64>, Vec<f64>)> = cases.iter().map(|_| (Vec::new(), Vec::new())).collect();
    for run in 0..=options.runs {
        for ((_, case), runs) in cases.iter().zip(&mut runs) {
            let (control, counted) = (nanoseconds(calls, clock), case());
            // The first run warms up.
            if run > 0 {
                runs.0.push(control);
                runs.1.push(counted - control);
            }
        }
    }
    let heads = ["", "two looks at the clock", "counting", "goal"];
    let mut table = Table::new(format!("counters: {calls} calls a run, nanoseconds for each"), &heads);
    for ((name, _), (control, counting)) in cases.iter().zip(runs) {
        let counting = Spread::over(counting);
        table.line([(*name).to_owned(), Spread::over(control).show(0), counting.show(0), GOAL.judge(counting.median)]);
    }
    table.print();
    Ok(())
}
