//! Statements of many rows: a cancel ends them between two rows.

use crate::support::{World, context_of};

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
            // What the session looks up in the catalogs, it has looked up when the cancel comes.
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
