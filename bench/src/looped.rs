//! A statement in a PL/pgSQL loop that notes the start and end of each turn, and the control that alternates with it.
//!
//! The turns are slices of a run, so that other load on the machine affects both.

use postgres::Client;

use crate::Result;
use crate::options::Options;
use crate::payload;
use crate::raw::RawClient;
use crate::stats::Sample;

/// Turns that the loop and the control take in one run.
const SLICES: usize = 8;

/// Turns before anything is measured: connections are made, plans cached, pages touched.
const WARM_UP: usize = 200;

/// A PL/pgSQL function with the loop in it, and the session that it runs in.
pub struct Loop {
    client: Client,
}

impl Loop {
    /// `statement` may use the variable `d`, the jsonb of one small record, and what `variables` declares.
    pub fn new(mut client: Client, variables: &str, statement: &str) -> Result<Loop> {
        // The clock has microseconds: exact enough for a mean, and the one that users have.
        client.batch_execute(&format!(
            "CREATE FUNCTION bench_loop(calls integer) RETURNS float8[] LANGUAGE plpgsql AS $function$
             DECLARE
                 d jsonb := $json${data}$json$;
                 {variables}
                 t timestamptz;
                 begun timestamptz[] := array_fill(now(), ARRAY[calls]);
                 ended timestamptz[] := begun;
             BEGIN
                 FOR i IN 1..calls LOOP
                     t := clock_timestamp();
                     {statement};
                     ended[i] := clock_timestamp();
                     begun[i] := t;
                 END LOOP;
                 RETURN ARRAY(SELECT (extract(epoch FROM e - b) * 1e6)::float8 FROM unnest(begun, ended) AS c(b, e));
             END
             $function$",
            data = payload::SMALL,
        ))?;
        Ok(Loop { client })
    }

    /// The times of this many turns, in microseconds.
    pub fn times(&mut self, calls: usize) -> Result<Vec<f64>> {
        Ok(self.client.query_one("SELECT bench_loop($1)", &[&i32::try_from(calls)?])?.get(0))
    }
}

/// One run of both.
pub struct Run {
    pub raw: Sample,
    pub sql: Sample,
}

/// Alternates between the two. `raw` is created after the loop's first turns, because it repeats their request.
pub fn beside_raw(
    sql: &mut Loop,
    raw: impl FnOnce() -> std::io::Result<RawClient>,
    options: &Options,
    calls: usize,
) -> Result<Vec<Run>> {
    sql.times(WARM_UP)?;
    let mut raw = raw()?;
    raw.times(WARM_UP)?;
    let slice = calls.div_ceil(SLICES);
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        let (mut of_raw, mut of_sql) = (Vec::new(), Vec::new());
        for _ in 0..SLICES {
            of_raw.extend(raw.times(slice)?);
            of_sql.extend(sql.times(slice)?);
        }
        runs.push(Run { raw: Sample::new(of_raw), sql: Sample::new(of_sql) });
    }
    Ok(runs)
}
