//! How long a session that waits for the network takes to obey: pg_cancel_backend, statement_timeout and
//! pg_terminate_backend, in every phase of a request.
//!
//! Measured where a user would: from the order until the client has the error, and, for terminate, until the process has
//! gone as well.

mod phases;
mod victim;

use sequin_harness::{Database, Server};

use crate::Result;
use crate::goal::Goal;
use crate::options::Options;
use crate::stats::Sample;
use crate::table::Table;

use phases::Phase;
use victim::{Order, Scene};

const P99: Goal = Goal::AtMost(50.0, " ms");

pub fn run(options: &Options) -> Result<()> {
    let times = options.count(20, 3) * options.runs;
    let title = format!("cancel: {times} of each, milliseconds until the session obeys (statement_timeout: beyond it)");
    let mut table = Table::new(title, &["phase", "order", "p50", "p99", "max", "goal"]);
    let database = Database::fresh();
    for phase in Phase::all(Server::shared())? {
        phase.create_server(&database);
        for (name, order) in Order::ALL {
            let mut scene = Scene::new(&database, &phase)?;
            let latencies =
                scene.give(order, times).map_err(|e| format!("{}, {name}: {}", phase.name, crate::in_words(&*e)))?;
            let latencies = Sample::new(latencies);
            let p99 = latencies.percentile(0.99);
            table.line([
                phase.name.to_owned(),
                name.to_owned(),
                format!("{:.1}", latencies.median()),
                format!("{p99:.1}"),
                format!("{:.1}", latencies.max()),
                format!("p99 {}", P99.judge(p99)),
            ]);
        }
    }
    table.print();
    Ok(())
}
