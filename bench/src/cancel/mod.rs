//! How fast a session that waits for the network obeys pg_cancel_backend, statement_timeout and pg_terminate_backend,
//! in every phase of a request.
//!
//! Measured as a user would: from the order until the client has the error. For terminate, until the process has ended
//! as well.

mod phases;
mod victim;

use sequin_harness::{Delays, Server, look_ups};

use crate::Result;
use crate::goal::Goal;
use crate::options::Options;
use crate::table::Table;

use phases::Phase;
use victim::{Order, Scene};

const P99: Goal = Goal::AtMost(50.0, " ms");

pub fn run(options: &Options) -> Result<()> {
    let times = options.count(20, 3) * options.runs;
    let title = format!(
        "cancel: {times} of each, milliseconds until the session obeys (statement_timeout: beyond it), and how many took \
         less than so many"
    );
    let heads = Delays::heads();
    let heads = ["phase", "order"].into_iter().chain(heads.iter().map(String::as_str)).chain(["goal"]);
    let mut table = Table::new(title, &heads.collect::<Vec<_>>());
    let mut all = Delays::default();
    // A separate server, whose look-ups hang on demand.
    let server = look_ups::obeying(Server::builder()).start()?;
    let database = server.fresh_database();
    for phase in Phase::all(&server)? {
        phase.create_server(&database);
        for (name, order) in Order::ALL {
            let mut scene = Scene::new(&database, &phase)?;
            let delays =
                scene.give(order, times).map_err(|e| format!("{}, {name}: {}", phase.name, crate::in_words(&*e)))?;
            all.extend(&delays);
            table.line(line(phase.name, name, &delays));
        }
    }
    table.line(line("all", "", &all));
    table.print();
    Ok(())
}

fn line(phase: &str, order: &str, delays: &Delays) -> Vec<String> {
    let goal = format!("p99 {}", P99.judge(delays.percentile(0.99)));
    [phase.to_owned(), order.to_owned()].into_iter().chain(delays.cells()).chain([goal]).collect()
}
