//! The same posts by pg_net, where it is installed. It keeps 200 requests in flight by default, and neither repeats a
//! request nor keeps an order.

use std::time::{Duration, Instant};

use crate::echo::EchoApi;
use crate::in_flight::LATENCIES;
use crate::options::Options;
use crate::stats::Spread;
use crate::table::Table;
use crate::{Result, outbox};

/// Its default of the setting pg_net.batch_size.
const IN_FLIGHT: usize = 200;

pub fn run(options: &Options) -> Result<()> {
    let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_net'";
    if outbox::count(&mut sequin_harness::Server::shared().connect("postgres"), available)? == 0 {
        println!("\nin-flight: pg_net is not measured, because it is not installed in this Postgres.");
        return Ok(());
    }
    let server = outbox::durable("shared_preload_libraries = 'pg_net'")?;
    // The database in which its worker looks for requests.
    let mut client = server.connect("postgres");
    client.batch_execute("CREATE EXTENSION pg_net")?;
    outbox::make_contacts(&mut client)?;
    let mut table = Table::new(
        "in-flight: pg_net, one post for each record",
        &["latency", "in flight", "posts/s", "of in flight / latency", ""],
    );
    for latency in LATENCIES {
        let api = EchoApi::slow(latency);
        let rounds = (options.count(4, 2) as f64 / latency.as_secs_f64()).ceil() as usize;
        let posts = IN_FLIGHT * rounds;
        let rates: Result<Vec<f64>> = (0..=options.runs)
            .map(|_| {
                client.batch_execute("TRUNCATE net._http_response")?;
                let begun = Instant::now();
                client.batch_execute(&format!(
                    "SELECT count(net.http_post('{url}/v1/mutations/run', jsonb_build_object('kind', 'create', 'sync_id',
                         'bench', 'collection_id', 'salesforce:contact', 'records',
                         jsonb_build_array(jsonb_build_object('data', data))), timeout_milliseconds => 30000))
                     FROM generate_series(0, {last}) AS n JOIN contacts ON i = n % 10000",
                    url = api.url(),
                    last = posts - 1,
                ))?;
                let all = format!("SELECT count(*) >= {posts} FROM net._http_response");
                outbox::wait_until(&mut client, &all, Duration::from_millis(20), Duration::from_secs(300))?;
                let seconds = begun.elapsed().as_secs_f64();
                let failed = "SELECT count(*) FROM net._http_response WHERE status_code IS DISTINCT FROM 200";
                match outbox::count(&mut client, failed)? {
                    0 => Ok(posts as f64 / seconds),
                    failed => Err(format!("{failed} posts of pg_net failed").into()),
                }
            })
            .collect();
        let rates = rates?;
        let possible = IN_FLIGHT as f64 / latency.as_secs_f64();
        table.line([
            format!("{} ms", latency.as_millis()),
            IN_FLIGHT.to_string(),
            Spread::over(rates[1..].iter().copied()).show(0),
            format!("{}x", Spread::over(rates[1..].iter().map(|rate| rate / possible)).show(2)),
        ]);
    }
    table.print();
    Ok(())
}
