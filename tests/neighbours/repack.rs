//! pg_repack at work on the outbox's tables and on an attached one, while records are enqueued and delivered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sequin_harness::SUPERUSER;

use crate::programs::program;
use crate::support::server::{APP, must, own_installation};
use crate::support::{Session, SetAtEnd, World};

const SESSIONS: i64 = 3;

/// Makes the copy of the queue take a while. Its server is paused.
const BACKLOG: i64 = 20_000;

#[test]
fn pg_repack_under_traffic_loses_nothing_and_makes_no_create_twice() {
    // An installation of its own: the shared one may be older than the package.
    let mut world = World::set_up(own_installation("repack"));
    let pg_repack = program(&world.server.config().bindir.join("pg_repack").display().to_string());
    world.run(
        "CREATE EXTENSION pg_repack; CREATE TABLE people (id bigint PRIMARY KEY, name text, sf_id text);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', server => 'sequin');
         ALTER SERVER sequin OPTIONS (atomic_batches 'true');
         CREATE SERVER other FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'http://127.0.0.1:1');
         CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS (token 'x');
         SELECT sequin_pause('other')",
    );
    world.run(&format!(
        "SELECT count(*) FROM sequin_enqueue('update', 'sync', 'hubspot:deal', (SELECT jsonb_agg(
           jsonb_build_object('upstream_id', 'u' || n, 'data', jsonb_build_object('t', repeat(md5(n::text), 8))))
         FROM generate_series(1, {BACKLOG}) n), server => 'other')"
    ));
    let is_over = AtomicBool::new(false);
    let server = world.server.clone();
    let rows: i64 = thread::scope(|scope| {
        let sessions = (0..SESSIONS).map(|session| {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                let mut client = server.connect(APP);
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let id = count * SESSIONS + session;
                    client.run(&format!("INSERT INTO people VALUES ({id}, 'Paul')"));
                    count += 1;
                }
                count
            })
        });
        let sessions: Vec<_> = sessions.collect();
        let end = SetAtEnd(&is_over);
        let repack = |world: &World| {
            let mut command = world.server.account().command(&pg_repack);
            let command = command.arg("-h").arg(world.server.dir()).args(["-U", SUPERUSER, "-d", APP]);
            must(&command.output().unwrap());
        };
        for _ in 0..3 {
            repack(&world);
        }
        drop(end);
        sessions.into_iter().map(|session| session.join().unwrap()).sum()
    });
    world.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE relation IS NOT NULL)");
    world.until("SELECT NOT EXISTS (SELECT FROM sequin.pending_upstream_ids)");
    assert!(rows > 0);
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM people"), rows);
    assert_eq!(world.contact_count() as i64, rows);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.queue"), BACKLOG);
}
