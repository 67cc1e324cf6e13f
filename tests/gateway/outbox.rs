//! The outbox on a gateway, and while one gateway takes the place of another.

use super::{SYNC, Setup, gateway};
use crate::support::Session;

#[test]
fn an_attached_table_gets_its_ids_and_ends_as_its_records_do() {
    let mut setup = Setup::new();
    setup.run(&format!(
        "CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text);
         SELECT sequin_attach('people', '{SYNC}', 'salesforce:contact', 'sf_id', fields => '{{\"name\": \"LastName\"}}');
         INSERT INTO people SELECT n, 'person ' || n FROM generate_series(1, 300) n;
         UPDATE people SET name = 'changed ' || id WHERE id % 2 = 0;
         DELETE FROM people WHERE id % 3 = 0"
    ));
    setup.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox)");
    setup.until("SELECT NOT EXISTS (SELECT FROM people WHERE sf_id IS NULL)");
    let same = "SELECT count(*) FROM people p JOIN contacts c
                ON c.upstream_id = p.sf_id AND NOT c.deleted AND c.data->>'LastName' = p.name";
    setup.until(&format!("SELECT ({same}) = 200"));
    assert_eq!(setup.one::<i64>("SELECT count(*) FROM contacts WHERE NOT deleted"), 200);
}

/// What a deployment does: the old gateway gets SIGTERM while requests arrive, and a new one takes over.
#[test]
fn a_gateway_that_is_replaced_while_it_works_loses_and_repeats_nothing() {
    const RECORDS: i64 = 2_000;
    let mut setup = Setup::new();
    setup.run(&format!(
        "ALTER SERVER sequin OPTIONS (max_in_flight '16');
         SELECT sequin_enqueue('create', '{SYNC}', 'salesforce:contact', json_agg(json_build_object('data',
             json_build_object('n', n)))::jsonb) FROM generate_series(1, {RECORDS}) n"
    ));
    setup.until("SELECT count(*) > 200 FROM contacts");
    let next = gateway(&setup.database).start().unwrap();
    let status = std::mem::replace(&mut setup.gateway, next).terminate().unwrap();
    assert!(status.success(), "{status}");
    let (url, token) = (setup.gateway.url().to_owned(), setup.gateway.token().to_owned());
    setup.run(&format!(
        "ALTER SERVER sequin OPTIONS (SET url '{url}');
         ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token '{token}');
         SELECT sequin_resume('sequin')"
    ));
    setup.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state IN ('pending', 'sending'))");
    assert_eq!(setup.column("SELECT o::text FROM sequin.dead_letters o"), Vec::<String>::new());
    // The old gateway copies until its end, and what it had applied by then may have been in no table.
    let delivered = "SELECT count(DISTINCT upstream_id) FROM sequin.delivered WHERE outcome = 'applied'";
    assert_eq!(setup.one::<i64>(delivered), RECORDS);
    let twice = "SELECT count(*) FROM (SELECT FROM contacts GROUP BY data->'n' HAVING count(*) > 1) doubled";
    assert_eq!(setup.one::<i64>(twice), 0);
}
