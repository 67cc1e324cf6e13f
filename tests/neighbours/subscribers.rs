//! Logical replication of attached tables: each side sends its own changes, and no change that was replicated.

use postgres::Client;
use sequin_harness::literal;

use crate::elsewhere;
use crate::support::server::APP;
use crate::support::{Session, World};

/// A publisher and a subscriber, each with a table `people` and an API of its own.
struct Pair {
    // In the order in which they must go: a subscriber whose publisher is gone only tries again.
    subscriber: World,
    publisher: World,
}

/// The same on both sides.
const PEOPLE: &str = "CREATE TABLE people (id int PRIMARY KEY, name text, note text, sf_id text)";

fn attach(delivery: &str) -> String {
    format!(
        "SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', '{{\"name\": \"Name\"}}', delivery => '{delivery}')"
    )
}

impl Pair {
    /// Both attached, the publisher in its way and the subscriber in another. Nothing is replicated yet.
    fn new(published: &str, subscribed: &str) -> Pair {
        let mut pair = Pair {
            subscriber: elsewhere::cluster("wal_retrieve_retry_interval = '100ms'"),
            publisher: World::with_own_server("wal_level = logical"),
        };
        for (cluster, delivery) in [(&mut pair.publisher, published), (&mut pair.subscriber, subscribed)] {
            cluster.run(PEOPLE);
            cluster.run(&attach(delivery));
        }
        pair
    }

    /// Starts it, and waits until both sides have the initial rows.
    fn replicate(&mut self, publication: &str) {
        self.publisher.run(&format!("CREATE PUBLICATION people FOR TABLE {publication}"));
        let conninfo = literal(&self.publisher.server.dsn(APP));
        self.subscriber.run(&format!("CREATE SUBSCRIPTION people CONNECTION {conninfo} PUBLICATION people"));
        self.subscriber.until("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel");
    }

    /// Waits until the subscriber has applied all that the publisher has committed so far.
    fn caught_up(&mut self) {
        let position: String = self.publisher.one("SELECT pg_current_wal_flush_lsn()::text");
        self.publisher.until(&format!(
            "SELECT COALESCE(bool_or(replay_lsn >= '{position}'), false) FROM pg_stat_replication \
             WHERE application_name = 'people'"
        ));
    }
}

fn names(cluster: &mut World) -> Vec<String> {
    cluster.settled();
    let mut names: Vec<String> =
        cluster.contacts().iter().map(|contact| contact["data"]["Name"].as_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    names
}

/// Whether the subscriber has enqueued or sent anything.
fn is_untouched(cluster: &mut World) -> bool {
    cluster.one::<bool>("SELECT NOT EXISTS (SELECT FROM sequin.outbox) AND NOT EXISTS (SELECT FROM sequin.delivered)")
        && cluster.sandbox.log().requests.is_empty()
}

fn row(cluster: &mut World, id: i32) -> (String, Option<String>) {
    let rows = cluster.rows("SELECT name, sf_id FROM people WHERE id = $1", &[&id]);
    (rows[0].get(0), rows[0].get(1))
}

#[test]
fn what_arrives_is_not_sent_again_and_what_is_written_there_is() {
    for (published, subscribed) in [("inline", "outbox"), ("outbox", "inline")] {
        let mut pair = Pair::new(published, subscribed);
        pair.publisher.run("INSERT INTO people VALUES (1, 'Paul')");
        assert_eq!(names(&mut pair.publisher), ["Paul"]);
        // The initial copy, then replicated changes: of each kind, and those of the write-back.
        pair.replicate("people");
        pair.publisher.run("INSERT INTO people VALUES (2, 'Chani'), (3, 'Feyd'), (4, 'Leto')");
        pair.publisher.settled();
        pair.publisher.until("SELECT count(sf_id) = 4 FROM people");
        pair.publisher.run("UPDATE people SET name = 'Sihaya' WHERE id = 2; DELETE FROM people WHERE id = 3");
        assert_eq!(names(&mut pair.publisher), ["Leto", "Paul", "Sihaya"]);
        pair.caught_up();

        let (name, id) = row(&mut pair.publisher, 2);
        assert_eq!(row(&mut pair.subscriber, 2), (name, id), "the upstream id has come with the row");
        assert_eq!(pair.subscriber.one::<i64>("SELECT count(*) FROM people WHERE sf_id IS NOT NULL"), 3);
        assert!(is_untouched(&mut pair.subscriber), "{published} to {subscribed}: an echo");

        // Changes at the subscriber are its own.
        pair.subscriber.run("INSERT INTO people VALUES (10, 'Jessica')");
        assert_eq!(names(&mut pair.subscriber), ["Jessica"]);
        pair.subscriber.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 10");
        let log = pair.subscriber.sandbox.log();
        assert_eq!(log.mutations().len(), 1, "and nothing of what had arrived goes along");
        // Truncating an attached table is refused where it is done, and a subscriber is not asked.
        let error = pair.publisher.client.batch_execute("TRUNCATE people").unwrap_err();
        assert_eq!(error.code().map(postgres::error::SqlState::code), Some("0A000"));
        pair.publisher.run("SET sequin.capture = off; TRUNCATE people");
        pair.subscriber.until("SELECT count(*) = 0 FROM people");
        assert_eq!(pair.subscriber.sandbox.log().mutations().len(), 1);
    }
}

/// docs/operations.md, "Logical replication": the subscriber does not know filtered rows.
#[test]
fn filters_and_column_lists_leave_out_what_the_subscriber_would_need() {
    let mut pair = Pair::new("inline", "inline");
    pair.replicate("people (id, name) WHERE (id < 100)");
    pair.publisher.run("INSERT INTO people VALUES (1, 'Paul'), (2, 'Chani'), (100, 'Leto')");
    pair.caught_up();
    assert_eq!(names(&mut pair.publisher), ["Chani", "Leto", "Paul"]);
    assert_eq!(pair.subscriber.one::<i64>("SELECT count(*) FROM people"), 2);
    assert!(is_untouched(&mut pair.subscriber));

    // Without the column of the upstream id there is no record to update: it is refused, and nothing is created twice.
    assert_eq!(row(&mut pair.subscriber, 1), ("Paul".into(), None));
    let error = pair.subscriber.client.batch_execute("UPDATE people SET name = 'Usul' WHERE id = 1").unwrap_err();
    assert_eq!(error.code().map(postgres::error::SqlState::code), Some("55000"), "{error:?}");
    pair.subscriber.run("DELETE FROM people WHERE id = 2");
    assert!(is_untouched(&mut pair.subscriber));
    // A row that leaves the filter is deleted at the subscriber, and not upstream.
    pair.publisher.run("SET sequin.capture = off; UPDATE people SET id = 101 WHERE id = 1; RESET sequin.capture");
    pair.subscriber.until("SELECT count(*) = 0 FROM people");
    assert!(is_untouched(&mut pair.subscriber));
    assert_eq!(names(&mut pair.publisher), ["Chani", "Leto", "Paul"]);
}

fn always(client: &mut Client) {
    client.run("ALTER TABLE people ENABLE ALWAYS TRIGGER sequin_insert; ALTER TABLE people ENABLE ALWAYS TRIGGER sequin_update;
             ALTER TABLE people ENABLE ALWAYS TRIGGER sequin_delete");
}

/// docs/operations.md again. Postgres fires statement triggers for the initial copy, and never for replicated changes.
#[test]
fn triggers_that_are_enabled_always_send_the_initial_copy_and_nothing_of_what_follows() {
    let mut pair = Pair::new("inline", "outbox");
    always(&mut pair.subscriber.client);
    pair.publisher.run("SET sequin.capture = off; INSERT INTO people VALUES (1, 'Paul'); RESET sequin.capture");
    pair.replicate("people");
    assert_eq!(names(&mut pair.subscriber), ["Paul"], "a second record of what is upstream may come of it");
    pair.publisher.run("INSERT INTO people VALUES (2, 'Chani'); UPDATE people SET name = 'Sihaya' WHERE id = 2");
    pair.caught_up();
    assert_eq!(row(&mut pair.subscriber, 2).0, "Sihaya");
    assert_eq!(names(&mut pair.subscriber), ["Paul"]);
    assert_eq!(pair.subscriber.sandbox.log().mutations().len(), 1);
}

/// A session that plays replica, as tools for copying do.
#[test]
fn a_session_that_plays_replica_sends_only_by_triggers_that_are_enabled_always() {
    let mut cluster = World::with_own_server("");
    cluster.run(PEOPLE);
    cluster.run(&attach("inline"));
    cluster.run("SET session_replication_role = replica; INSERT INTO people VALUES (1, 'Paul')");
    assert!(is_untouched(&mut cluster));
    always(&mut cluster.client);
    cluster.run("INSERT INTO people VALUES (2, 'Chani')");
    assert_eq!(names(&mut cluster), ["Chani"]);
    assert!(row(&mut cluster, 2).1.is_some());
}

/// docs/operations.md, "Guarantees", warns of it: the inner tables of one outbox at another.
#[test]
fn a_publication_of_all_tables_takes_the_queue_along() {
    let mut pair = Pair::new("outbox", "outbox");
    pair.publisher.set_unreachable();
    pair.publisher.run("INSERT INTO people VALUES (1, 'Paul')");
    pair.publisher.run("CREATE PUBLICATION people FOR ALL TABLES");
    let conninfo = literal(&pair.publisher.server.dsn(APP));
    pair.subscriber.run(&format!("CREATE SUBSCRIPTION people CONNECTION {conninfo} PUBLICATION people"));
    pair.subscriber.until("SELECT count(*) = 1 FROM sequin.outbox");
    pair.subscriber.until("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel");
    // The publisher retries again and again, and its claims are replicated. The subscriber's worker treats such a claim
    // as a dead worker's, and the create in it as unknown. A verb keeps the publisher's worker away, and is rolled
    // back: a pause would be replicated too.
    let mut verb = pair.publisher.server.connect(APP);
    verb.run("BEGIN; SELECT sequin_pause('sequin')");
    pair.publisher.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state = 'sending')");
    pair.caught_up();
    // The first number that the subscriber gives is taken.
    let mine = "SELECT * FROM sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\": {}}')";
    let error = pair.subscriber.client.query(mine, &[]).unwrap_err();
    assert_eq!(error.code().map(postgres::error::SqlState::code), Some("23505"), "{error:?}");
    pair.subscriber.enqueue_create("own");
    pair.subscriber.until("SELECT paused AND last_error LIKE 'this database is a copy%' FROM sequin.status");
    assert!(pair.subscriber.sandbox.log().requests.is_empty());

    // After a resume everything is sent twice, and the subscription stops at the first record that both have done.
    pair.subscriber.run("SELECT sequin_resume('sequin')");
    assert_eq!(names(&mut pair.subscriber), ["Paul", "own"]);
    pair.publisher.set_reachable();
    verb.run("ROLLBACK");
    assert_eq!(names(&mut pair.publisher), ["Paul"]);
    pair.subscriber.until("SELECT apply_error_count > 0 FROM pg_stat_subscription_stats");
}
