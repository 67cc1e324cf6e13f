//! Changes that were merged are one row, which each of their ids leads to.

use serde_json::{Value, json};

use super::BOOK;
use crate::support::{Session, World, request};

impl World {
    fn sent_with(&mut self, id: i64) -> Option<i64> {
        self.one_of("SELECT sequin_sent_with($1)", &[&id])
    }

    /// The rows of the history, each with the ids that it stands for.
    fn kept(&mut self) -> Vec<(i64, Option<Vec<i64>>)> {
        let rows = self.rows("SELECT id, merged_ids FROM sequin.delivered ORDER BY id", &[]);
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    fn await_each(&mut self, ids: &[i64]) -> Vec<Option<bool>> {
        let mut each = |id: &i64| self.one_of("SELECT sequin_await_delivery(ARRAY[$1::bigint], 60000)", &[id]);
        ids.iter().map(&mut each).collect()
    }
}

#[test]
fn each_id_of_merged_changes_leads_to_their_row() {
    let mut world = World::new();
    let contacts = world.contacts_made(2);
    world.run("SELECT sequin_pause('sequin')");
    // The changes of the two contacts take turns.
    let ids: Vec<i64> = (0..6).map(|n| world.enqueue_number(&contacts[n % 2], n as i64)).collect();
    assert_eq!(world.sent_with(ids[0]), Some(ids[0]));
    let first = "SELECT enqueued_at::text FROM sequin.outbox WHERE id = $1";
    let first: Vec<String> = ids[..2].iter().map(|id| world.one_of(first, &[id])).collect();
    world.run("SELECT sequin_resume('sequin')");
    assert_eq!(world.await_each(&ids), [Some(true); 6]);
    assert_eq!(world.kept(), [(ids[4], Some(vec![ids[0], ids[2]])), (ids[5], Some(vec![ids[1], ids[3]]))]);
    for (place, id) in ids.iter().enumerate() {
        assert_eq!(world.sent_with(*id), Some(ids[4 + place % 2]), "change {place}");
    }
    assert_eq!((world.sent_with(0), world.sent_with(ids[5] + 1)), (None, None));
    let enqueued = world.column("SELECT enqueued_at::text FROM sequin.delivered ORDER BY id");
    assert_eq!(enqueued, first, "the time is that of the first change");
}

#[test]
fn a_change_that_failed_before_is_merged_with_one_that_did_not() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"status": 500, "body": "{\"summary\":\"no\"}"}));
    let first = world.enqueue_number(&id, 1);
    world.until("SELECT EXISTS (SELECT FROM sequin.outbox WHERE attempts > 0)");
    let enqueued: String = world.one("SELECT enqueued_at::text FROM sequin.outbox");
    let second = world.enqueue_number(&id, 2);
    world.settled();
    assert_eq!(world.kept(), [(second, Some(vec![first]))]);
    assert_eq!(world.one::<String>("SELECT enqueued_at::text FROM sequin.delivered"), enqueued);
    let left = "SELECT (SELECT count(*) FROM sequin.queue) + (SELECT count(*) FROM sequin.deferred)";
    assert_eq!(world.one::<i64>(left), 0);
}

/// The row of an unknown create stands for the changes that were sent with it.
#[test]
fn a_change_that_was_sent_with_an_unknown_create_needs_a_person_too() {
    for verb in ["sequin_discard(id)", "sequin_resolve(id, 'x')", "sequin_retry(id)"] {
        let mut world = World::new();
        world.run(BOOK);
        world.run("SELECT sequin_pause('sequin'); INSERT INTO people VALUES (1, 'Paul')");
        world.run("UPDATE people SET name = 'Usul'; UPDATE people SET email = 'u@a.org'");
        let ids = world.rows("SELECT id FROM sequin.outbox ORDER BY id", &[]);
        let ids: Vec<i64> = ids.iter().map(|row| row.get(0)).collect();
        world.sandbox.fault(json!({"cut_after": 0}));
        world.run("SELECT sequin_resume('sequin')");
        assert_eq!(world.await_each(&ids), [Some(false); 3]);
        for view in ["outbox", "dead_letters"] {
            let merged: Vec<i64> = world.one(&format!("SELECT merged_ids FROM sequin.{view}"));
            assert_eq!(merged, ids[1..], "{view}");
        }
        assert_eq!(ids.iter().map(|id| world.sent_with(*id)).collect::<Vec<_>>(), [Some(ids[0]); 3]);
        world.requests();
        world.run(&format!("SELECT {verb} FROM sequin.dead_letters"));
        assert_eq!(world.await_each(&ids[1..]), [Some(true); 2], "{verb}");
        world.settled();
        assert_eq!(world.kept(), [(ids[0], Some(ids[1..].to_vec()))], "{verb}");
        assert_eq!(ids.iter().map(|id| world.sent_with(*id)).collect::<Vec<_>>(), [Some(ids[0]); 3]);
        let data: String = world.one("SELECT data::text FROM sequin.delivered");
        assert_eq!(serde_json::from_str::<Value>(&data).unwrap(), json!({"Name": "Usul", "Email": "u@a.org"}));
        let again = request("create", json!([{"data": {"Name": "Usul", "Email": "u@a.org"}}]));
        assert_eq!(world.requests(), if verb.contains("retry") { vec![again] } else { vec![] });
    }
}

#[test]
fn a_role_finds_the_rows_that_it_sees() {
    let mut world = World::new();
    let contact = world.contacts_made(1).remove(0);
    world.run("SELECT sequin_pause('sequin')");
    let ids: Vec<i64> = (0..2).map(|n| world.enqueue_number(&contact, n)).collect();
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    let role = format!("stranger_{}", world.database.name());
    world.run(&format!("CREATE ROLE {role}; SET ROLE {role}"));
    assert_eq!((world.sent_with(ids[0]), world.sent_with(ids[1])), (None, None));
    world.run(&format!("RESET ROLE; GRANT postgres TO {role}; SET ROLE {role}"));
    assert_eq!((world.sent_with(ids[0]), world.sent_with(ids[1])), (Some(ids[1]), Some(ids[1])));
    world.run(&format!("RESET ROLE; DROP ROLE {role}"));
}

#[test]
fn a_merged_change_is_found_in_a_large_history_without_reading_it() {
    const ROWS: i64 = 50_000;
    let mut world = World::new();
    // Nine changes before each head, which take turns with those of the next heads.
    world.run(&format!(
        "INSERT INTO sequin.history (server, id, key, role, kind, sync_id, collection_id, data, enqueued_at, delivered_at,
           outcome, merged_ids)
         SELECT 'sequin', 10 * n, gen_random_uuid(), 'postgres'::regrole, 'update', 's', 'c',
           jsonb_build_object('t', repeat(md5(n::text), 8)), now(), now(), 'applied',
           ARRAY(SELECT 10 * n - 100 * i - 5 FROM generate_series(9, 1, -1) i)
         FROM generate_series(1, {ROWS}) n"
    ));
    // Not in a transaction block.
    world.run("VACUUM ANALYZE sequin.history");
    let pages: i64 = world.one("SELECT pg_relation_size('sequin.history') / current_setting('block_size')::bigint");
    let middle = 5 * ROWS;
    for (id, expected) in [(middle, Some(middle)), (middle - 105, None), (middle + 1, None), (1, None)] {
        let plan = world.column(&format!("EXPLAIN (ANALYZE, BUFFERS) SELECT sequin_sent_with({id})")).join("\n");
        let buffers = plan.lines().find(|line| line.contains("Buffers:")).unwrap_or_default();
        let read: i64 = buffers.split(['=', ' ']).filter_map(|word| word.parse::<i64>().ok()).sum();
        assert!(0 < read && read < pages / 4, "{read} of {pages} pages for {id}:\n{plan}");
        match expected {
            Some(_) => assert_eq!(world.sent_with(id), expected),
            // Another head may have it.
            None => {
                let sql = "SELECT min(id) FROM sequin.history WHERE $1 = ANY (merged_ids)";
                let found: Option<i64> = world.one_of(sql, &[&id]);
                assert_eq!(world.sent_with(id), found, "{id}");
            }
        }
    }
}
