//! Rounds of the worker that fail, are cancelled, find a server locked or end a claim in part: what they had in memory
//! is neither lost nor acted on again and again.

use serde_json::json;

use super::injected::updates;
use crate::support::network::eventually;
use crate::support::server::PRELOADED;
use crate::support::{Session, World};

/// A trigger for which `condition` must hold. It does `first` when it fires for the first time, and nothing later. That
/// it has fired outlives a rollback.
fn at_first(table: &str, event: &str, condition: &str, first: &str) -> String {
    format!(
        "CREATE SEQUENCE fired;
         CREATE FUNCTION at_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF {condition} THEN IF nextval('public.fired') = 1 THEN {first}; END IF; END IF; RETURN NEW; END $$;
         CREATE TRIGGER at_first BEFORE {event} ON sequin.{table} FOR EACH ROW EXECUTE FUNCTION at_first()"
    )
}

/// The worker has its answer in memory alone.
#[test]
fn an_answer_is_settled_though_the_end_of_the_worker_cancels_the_settlement() {
    let mut world = World::new();
    world.run(&at_first("history", "INSERT", "true", "PERFORM pg_sleep(600)"));
    let id = world.enqueue_data(&json!({"n": 1}));
    world.until("SELECT is_called FROM fired");
    world.run("SELECT pg_terminate_backend(pid) FROM unnest(sequin.workers()) pid");
    world.settled();
    assert_eq!((world.state(id).as_str(), world.sent()), ("applied", 1));
}

/// The worker deletes old records by their time, and remembers how far it is.
#[test]
fn old_records_whose_deletion_is_rolled_back_are_deleted_later() {
    let mut world = World::with_own_server("sequin.retention = '1s'");
    let old = world.enqueue_data(&json!({"n": 1}));
    world.settled();
    // The next round deletes it, and fails to claim.
    world.run(&at_first("claims", "INSERT", "true", "RAISE 'injected into claims'"));
    world.until("SELECT clock_timestamp() > max(delivered_at) + interval '3 s' FROM sequin.delivered");
    world.enqueue_data(&json!({"n": 2}));
    world.until("SELECT is_called FROM fired");
    eventually("it is deleted", || {
        // The worker looks after the history when it is awake anyway.
        world.run("SELECT sequin_resume('sequin')");
        world.one(&format!("SELECT NOT EXISTS (SELECT FROM sequin.delivered WHERE id = {old})"))
    });
    assert!(world.server.log().contains("injected into claims"));
}

/// The claims of a worker that is gone cannot be ended before the lock is free.
#[test]
fn a_worker_does_not_turn_in_circles_while_another_session_has_the_lock_of_a_server_with_a_dead_claim() {
    let mut world = World::new();
    world.database.create_server_named("other", world.sandbox.url(), world.sandbox.token());
    world.run("SELECT sequin_pause('sequin')");
    let id = world.enqueue("update", &json!([{"upstream_id": "none", "data": {"n": 1}}]))[0];
    let mut locking = world.database.connect();
    locking.run("BEGIN; SELECT sequin_resume('sequin')");
    world.run(&format!(
        "INSERT INTO sequin.claims (id, owner, server, kind, ids, heads, keys, claimed_at)
           VALUES (nextval('sequin.outbox_id'), 1, 'sequin', 'update', '{{{id}}}', '{{}}', '{{}}', now());
         SELECT sequin_resume('other')"
    ));
    let delivered = "SELECT sequin_enqueue('create', 'sync', 'salesforce:lead', '{\"data\": {}}', server => 'other')";
    world.run(delivered);
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered)");
    // This session's own would come in between otherwise.
    world.run("SELECT pg_stat_force_next_flush()");
    let before = world.transactions();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let rounds = world.transactions() - before;
    assert!(rounds < 100, "{rounds} rounds in a second");
    locking.run("COMMIT");
    world.settled();
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.claims"), 0);
}

/// Its claim keeps the keys of what is left of it.
#[test]
fn a_dead_claim_that_is_freed_in_part_holds_up_no_key_of_the_others() {
    let mut world = World::with_own_server(PRELOADED);
    let ids = world.contacts_made(4);
    world.sandbox.fault(json!({"hold": true, "match": {"kind": "update"}}));
    let queued = updates(&mut world, &ids);
    world.arrived(1);
    world.raise_in("deferred", "BEFORE INSERT", "r.data->'bad' = 'true'");
    world.kill_worker();
    world.sandbox.clear_faults();
    world.until("SELECT count(*) = 3 FROM sequin.delivered");
    // The key of the fourth is not free.
    let behind = world.enqueue_number(&ids[2], 7);
    world.enqueue_number(&ids[3], 8);
    world.until("SELECT count(*) = 4 FROM sequin.delivered");
    assert_eq!((world.state(queued[2]).as_str(), world.state(behind).as_str()), ("sending", "pending"));
    world.run(&format!("SELECT sequin_discard({})", queued[2]));
    world.settled();
    assert_eq!(world.state(behind), "applied");
}

/// Damaged data or too little memory: the record may not be at fault, and a person must see it in the end.
#[test]
fn a_record_that_keeps_failing_before_it_is_sent_is_given_up_and_frees_those_behind_it() {
    let mut world = World::with_options("max_retry_age '1 s'");
    let contacts = world.contacts_made(2);
    world.run(
        "CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF EXISTS (SELECT FROM sequin.queue q WHERE q.id = ANY (NEW.ids) AND q.data->'bad' = 'true')
             OR EXISTS (SELECT FROM sequin.deferred q WHERE q.id = ANY (NEW.ids) AND q.data->'bad' = 'true')
           THEN RAISE 'damaged' USING ERRCODE = 'data_corrupted'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER raise BEFORE INSERT ON sequin.claims FOR EACH ROW EXECUTE FUNCTION raise()",
    );
    let enqueue =
        "SELECT sequin_enqueue('update', 'sync', 'salesforce:contact', jsonb_build_object('upstream_id', $1::text,
                   'data', jsonb_build_object('bad', $2::bool)), ordering_key => 'k')";
    let bad: i64 = world.one_of(enqueue, &[&contacts[0], &true]);
    let behind: i64 = world.one_of(enqueue, &[&contacts[1], &false]);
    world.until("SELECT count(*) = 2 FROM sequin.deferred");
    eventually("it is given up", || {
        // By itself it is tried again after a minute.
        world.run("SELECT sequin_resume('sequin')");
        world.one("SELECT EXISTS (SELECT FROM sequin.dead_letters)")
    });
    let error: String = world.one_of("SELECT error FROM sequin.dead_letters WHERE id = $1", &[&bad]);
    assert!(error.starts_with("given up because") && error.contains("could not be claimed: damaged"), "{error}");
    world.settled();
    assert_eq!(world.state(behind), "applied");
}
