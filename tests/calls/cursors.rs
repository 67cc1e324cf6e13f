//! A cursor, or a driver's portal, that is closed half-way, read backwards or held: the calls are made as rows are read.

use postgres::Client;

use crate::support::{Session, World, create, create_three};

#[test]
fn a_cursor_closed_half_way_has_sent_once() {
    let mut world = World::new();
    let (from, call) = (create_three(), create_three().replace("* FROM ", ""));
    for query in [&from, &call] {
        for how in ["", "SCROLL"] {
            let declare = format!("BEGIN; DECLARE c {how} CURSOR FOR {query}");
            let back =
                if how.is_empty() { "" } else { "MOVE BACKWARD ALL IN c; FETCH ALL FROM c; FETCH FIRST FROM c;" };
            world.all_send(&[
                (1, format!("{declare}; FETCH 1 FROM c; {back} CLOSE c; COMMIT")),
                (1, format!("{declare}; FETCH 2 FROM c; {back} ROLLBACK")),
                (1, format!("{declare}; FETCH ALL FROM c; FETCH ALL FROM c; {back} COMMIT")),
            ]);
        }
        for how in ["SCROLL", "NO SCROLL"] {
            let declare = format!("BEGIN; DECLARE c {how} CURSOR WITH HOLD FOR {query}");
            world.all_send(&[
                (1, format!("{declare}; FETCH 1 FROM c; COMMIT; FETCH ALL FROM c; CLOSE c")),
                (1, format!("{declare}; COMMIT; FETCH 1 FROM c; CLOSE c")),
            ]);
        }
    }
    // A call for each row stops where the reading does.
    let rows = format!("SELECT {} FROM generate_series(1, 5)", create("'{}'"));
    world.all_send(&[
        (2, format!("BEGIN; DECLARE c CURSOR FOR {rows}; FETCH 2 FROM c; CLOSE c; COMMIT")),
        (5, format!("BEGIN; DECLARE c CURSOR WITH HOLD FOR {rows}; COMMIT; FETCH 3 FROM c; CLOSE c")),
        (5, format!("BEGIN; DECLARE c NO SCROLL CURSOR WITH HOLD FOR {rows}; FETCH 3 FROM c; COMMIT; CLOSE c")),
    ]);
}

/// The trap that the manual of DECLARE names: a row that a cursor reads again is computed again, with its calls.
/// NO SCROLL, or a verb that returns a set, is safe (see above).
#[test]
fn a_cursor_that_reads_a_row_again_calls_again() {
    let rows = format!("SELECT {} FROM generate_series(1, 5)", create("'{}'"));
    let back = "FETCH 3 FROM c; MOVE BACKWARD ALL IN c; FETCH 3 FROM c";
    World::new().all_send(&[
        (6, format!("BEGIN; DECLARE c SCROLL CURSOR FOR {rows}; {back}; COMMIT")),
        (8, format!("BEGIN; DECLARE c SCROLL CURSOR WITH HOLD FOR {rows}; FETCH 3 FROM c; COMMIT; CLOSE c")),
    ]);
}

/// As drivers read with a fetch size: a portal that is left before its end.
#[test]
fn a_portal_left_half_way_has_sent_once() {
    let mut world = World::new();
    fn read_one(client: &mut Client, sql: &str) {
        let mut transaction = client.transaction().unwrap();
        let portal = transaction.bind(sql, &[]).unwrap();
        assert_eq!(transaction.query_portal(&portal, 1).unwrap().len(), 1);
        drop(portal);
        transaction.commit().unwrap();
    }
    read_one(&mut world.client, &create_three());
    read_one(&mut world.client, &create_three().replace("* FROM ", ""));
    assert_eq!(world.sent(), 2);
    world.run(&create_three());
    assert_eq!(world.sent(), 1);
}
