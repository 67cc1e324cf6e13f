//! Delivered records move from the queue to the history, whatever they contain and whoever locks them.

use serde_json::{Value, json};

use crate::support::{Session, World};

/// This many kilobytes that do not compress, so that Postgres stores them out of line.
fn large(kilobytes: i64, world: &mut World) -> String {
    let sql = "SELECT string_agg(md5(n::text || random()::text), '') FROM generate_series(1, 32 * $1::bigint) n";
    world.one_of(sql, &[&kilobytes])
}

#[test]
fn large_records_arrive_in_the_history_as_they_were() {
    let mut world = World::new();
    let texts: Vec<String> = [1, 3, 40, 1_000, 5].iter().map(|kilobytes| large(*kilobytes, &mut world)).collect();
    let records: Vec<Value> = texts.iter().map(|text| json!({"data": {"text": text}})).collect();
    world.enqueue("create", &json!(records));
    world.settled();
    let kept = world.rows("SELECT data->>'text', record->'data'->>'text' FROM sequin.delivered ORDER BY id", &[]);
    let kept: Vec<(String, String)> = kept.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected: Vec<(String, String)> = texts.iter().map(|text| (text.clone(), text.clone())).collect();
    assert!(kept == expected, "what was kept is not what was enqueued");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.queue"), 0);
}

/// Ids that lie close together are found in one walk along the index, others by a descent each.
#[test]
fn records_with_others_between_them_are_all_found() {
    let mut world = World::with_options("atomic_batches 'true'");
    let sandbox = world.sandbox.url().to_owned();
    world.run(&format!(
        "CREATE SERVER other FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url '{sandbox}', ordered_replies 'true');
         CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS (token '{}');
         SELECT sequin_pause('sequin'), sequin_pause('other')",
        world.sandbox.token()
    ));
    // Gaps of every length around the longest that is walked over.
    world.run(
        "SELECT sequin_enqueue('create', 's', 'salesforce:contact', jsonb_build_object('data', jsonb_build_object('n', n)),
                server => CASE WHEN n IN (SELECT sum(step) OVER (ORDER BY step) FROM generate_series(1, 24) step)
                          THEN 'sequin' ELSE 'other' END)
         FROM generate_series(1, 320) n",
    );
    world.run("SELECT sequin_resume('sequin')");
    world.until("SELECT count(*) = 24 FROM sequin.delivered WHERE server = 'sequin'");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.queue"), 320 - 24);
    world.run("SELECT sequin_resume('other')");
    world.settled();
    let sql = "SELECT count(DISTINCT data->>'n') FROM sequin.delivered WHERE outcome = 'applied'";
    assert_eq!(world.one::<i64>(sql), 320);
    assert_eq!(world.contact_count(), 320);
}

/// Not allowed, but possible for a superuser.
#[test]
fn a_row_that_changes_meanwhile_is_delivered_once() {
    let mut world = World::new();
    world.hold_next();
    let ids = world.enqueue("create", &json!([{"data": {"n": 1}}]));
    world.arrived(1);
    let mut other = world.database.connect();
    let mut change = other.transaction().unwrap();
    change.execute("UPDATE sequin.queue SET timeout_ms = 7 WHERE id = $1", &[&ids[0]]).unwrap();
    world.release();
    world.until(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE pid = ANY (sequin.workers()) AND wait_event_type = 'Lock'",
    );
    change.commit().unwrap();
    world.settled();
    assert_eq!(world.endings(), ["applied"]);
    assert_eq!(world.one::<i32>("SELECT timeout_ms FROM sequin.history"), 7);
    assert_eq!(world.contact_count(), 1);
}
