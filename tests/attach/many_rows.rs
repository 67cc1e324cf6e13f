//! Statements of many rows: a cancel ends them between two rows, and their memory is bounded.

use std::io::Write;

use crate::support::network::{status_kib, value_kib};
use crate::support::{Session, World, context_of};

/// A trigger that fires before those of `sequin_attach`. It leaves a pending cancel behind, which nothing has taken up
/// when the next trigger begins.
const CANCEL: &str = "
    CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RETURN CASE current_setting('test.cancel', true) WHEN 'on'
            THEN nullif(pg_cancel_backend(pg_backend_pid()), true) END;
    END $$;
    CREATE TRIGGER a_cancel AFTER INSERT OR UPDATE OR DELETE ON people FOR EACH STATEMENT EXECUTE FUNCTION cancel();";

/// A trigger that fires after those of `sequin_attach`: the changes wait for it.
const LATER: &str = "
    CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER z_later AFTER UPDATE ON people FOR EACH STATEMENT EXECUTE FUNCTION later();";

#[test]
fn a_cancel_is_seen_while_rows_are_passed_over() {
    for (delivery, later) in [("inline", ""), ("outbox", ""), ("inline", LATER), ("outbox", LATER)] {
        let mut world = World::new();
        world.run(&format!(
            "CREATE TABLE people (id int PRIMARY KEY, name text, note text, sf_id text); {CANCEL} {later}
             SELECT sequin_attach('people', 's', 'salesforce:contact', 'sf_id', '{{\"name\": \"Name\"}}', delivery => '{delivery}')"
        ));
        // Rows without a change for the API: nothing is printed, and nothing is sent.
        for (sql, operation) in [
            ("INSERT INTO people VALUES (1, 'a', '', '001'), (2, 'b', '', '002')", "INSERT"),
            ("UPDATE people SET note = note || 'x'", "UPDATE"),
        ] {
            // The session has finished its catalog look-ups when the cancel comes.
            world.run(sql);
            world.run("SET test.cancel = on");
            let error = world.error(&sql.replace("(1", "(3").replace("(2", "(4"));
            assert_eq!(error.code().code(), "57014", "{sql}, {delivery} {later}: {error:?}");
            let expected = format!("{operation} on public.people");
            assert_eq!(context_of(&error), expected, "{sql}, {delivery} {later}");
            world.run("SET test.cancel = off");
        }
        assert_eq!(world.sent(), 0);
    }
}

#[test]
fn rows_that_change_different_columns_need_no_more_memory() {
    const COLUMNS: usize = 14;
    let mut world = World::new();
    let each = |column: &dyn Fn(usize) -> String| (0..COLUMNS).map(column).collect::<Vec<_>>().join(", ");
    world.run(&format!(
        "CREATE TABLE wide (id int PRIMARY KEY, sf_id text, {});
         SELECT sequin_attach('wide', 's', 'salesforce:contact', 'sf_id', operations => '{{update}}');
         INSERT INTO wide SELECT i, i::text FROM generate_series(0, (1 << {COLUMNS}) - 1) i",
        each(&|i| format!("c{i} int DEFAULT 0"))
    ));
    let pid = world.client.pid();
    world.run(&format!("UPDATE wide SET {}", each(&|i| format!("c{i} = 1"))));
    let before = status_kib(pid, "VmHWM");
    // Each row changes another set of columns.
    world.run(&format!("UPDATE wide SET {}", each(&|i| format!("c{i} = c{i} + ((id >> {i}) & 1)"))));
    let grown = status_kib(pid, "VmHWM") - before;
    assert!(grown < 24 * 1024, "the backend has grown by {grown} KiB");
}

#[test]
fn rows_that_wait_for_a_later_trigger_are_kept_as_text() {
    const ROWS: i64 = 50_000;
    let mut world = World::new();
    world.run(
        "CREATE TABLE wide (id int PRIMARY KEY, sf_id text, name text, email text, phone text, city text, street text);
         SELECT sequin_attach('wide', 's', 'salesforce:contact', 'sf_id');
         CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM set_config('test.status', pg_read_file('/proc/self/status'), false);
             RETURN NULL;
         END $$;
         CREATE TRIGGER z_later AFTER INSERT ON wide FOR EACH STATEMENT EXECUTE FUNCTION later()",
    );
    let pid = world.client.pid();
    let before = status_kib(pid, "VmHWM");
    let mut copy = world.client.copy_in("COPY wide (id, name, email, phone, city, street) FROM STDIN").unwrap();
    for i in 0..ROWS {
        writeln!(copy, "{i}\tname {i}\tmail{i}@a.org\t+49 30 {i}\tArrakeen\tStreet {i}").unwrap();
    }
    copy.finish().unwrap();
    let status: String = world.one("SELECT current_setting('test.status')");
    let kept = value_kib(&status, "VmHWM") - before;
    assert!(kept < 48 * 1024, "the backend keeps {ROWS} rows in {kept} KiB");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.queue"), ROWS);
}
