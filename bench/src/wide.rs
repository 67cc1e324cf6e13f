//! The cost of capturing an UPDATE of one column, in tables with more and more columns.
//!
//! The time should grow with the columns, and no faster. The control is the same UPDATE of a table without triggers.
//! Nothing is delivered meanwhile.

use std::time::Instant;

use postgres::Client;
use sequin_harness::Database;

use crate::Result;
use crate::api::FixedApi;
use crate::goal::Goal;
use crate::options::Options;
use crate::payload;
use crate::stats::Spread;
use crate::table::Table;

const WIDTHS: [usize; 4] = [10, 100, 400, 1_000];
const ROWS: usize = 200;

/// For a column, in the widest table, against the table of 100 columns.
const GROWTH: Goal = Goal::AtMost(1.5, "x");

pub fn run(options: &Options) -> Result<()> {
    let api = FixedApi::start(&payload::small_reply());
    let database = Database::fresh();
    database.create_server(&api.url(), "bench");
    let mut client = database.connect();
    client.batch_execute("SELECT sequin_pause('sequin')")?;
    for width in WIDTHS {
        let columns: Vec<String> = (0..width).map(|i| format!("c{i} int DEFAULT {i}")).collect();
        for table in [format!("plain_{width}"), format!("attached_{width}")] {
            client.batch_execute(&format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, {}, sf_id text)",
                columns.join(", ")
            ))?;
            client.batch_execute(&format!("INSERT INTO {table} SELECT n FROM generate_series(1, {ROWS}) n"))?;
        }
        client.batch_execute(&format!(
            "SELECT sequin_attach('attached_{width}', 'bench', 'salesforce:contact', 'sf_id')"
        ))?;
    }

    // By width: of one row and of all rows, without and with triggers, in microseconds.
    let mut runs = WIDTHS.map(|_| [(); 2].map(|()| [Vec::new(), Vec::new()]));
    for run in 0..=options.runs {
        for (width, runs) in WIDTHS.iter().zip(&mut runs) {
            for (rows, runs) in [1, ROWS].into_iter().zip(runs) {
                for (name, runs) in ["plain", "attached"].into_iter().zip(runs) {
                    let time = update(&mut client, &format!("{name}_{width}"), rows, run)?;
                    // The first run warms up.
                    if run > 0 {
                        runs.push(time);
                    }
                }
            }
        }
        client.batch_execute("TRUNCATE sequin.queue")?;
    }

    let heads = ["columns", "rows", "no trigger, us", "to capture it, us", "us a row and column"];
    let mut table = Table::new("wide: UPDATE of one column".to_owned(), &heads);
    let mut of_a_column = Vec::new();
    for (width, runs) in WIDTHS.iter().zip(&runs) {
        for (rows, [plain, attached]) in [1, ROWS].iter().zip(runs) {
            let more = || plain.iter().zip(attached).map(|(plain, attached)| attached - plain);
            let each = Spread::over(more().map(|time| time / (rows * width) as f64));
            table.line([
                width.to_string(),
                rows.to_string(),
                Spread::over(plain.iter().copied()).show(0),
                Spread::over(more()).show(0),
                each.show(3),
            ]);
            of_a_column.push((*width, *rows, each.median));
        }
    }
    table.print();
    for rows in [1, ROWS] {
        let of = |wanted: usize| of_a_column.iter().find(|(width, of, _)| *width == wanted && *of == rows).map(|c| c.2);
        let growth = of(1_000).zip(of(100)).map_or(f64::NAN, |(widest, narrow)| widest / narrow);
        println!("{rows} rows: a column of 1,000 costs {growth:.2} x one of 100; {}", GROWTH.judge(growth));
    }
    Ok(())
}

/// The time of the statement, in microseconds.
fn update(client: &mut Client, table: &str, rows: usize, run: usize) -> Result<f64> {
    let sql = format!("UPDATE {table} SET c7 = {} WHERE id <= {rows}", 1_000 + run);
    let begun = Instant::now();
    client.batch_execute(&sql)?;
    Ok(begun.elapsed().as_secs_f64() * 1e6)
}
