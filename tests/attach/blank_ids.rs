//! Upstream ids that are blank: they count as none, in every statement.

use sequin_harness::Encoding;

use super::statements::summary;
use super::{BOOK, sent};
use crate::support::{Session, World};

/// Ten people upstream, and one whose upstream id is `blank`, an SQL expression, behind them. Requests hold two records.
fn eleven(encoding: Encoding, blank: &str) -> World {
    let mut world = World::in_encoding(encoding);
    world.run("ALTER SERVER sequin OPTIONS (ADD max_batch '2')");
    world.run(BOOK);
    world.run("INSERT INTO people (name) SELECT 'n' || n FROM generate_series(1, 10) n");
    world.run(&format!(
        "SET sequin.capture = off; INSERT INTO people (name, sf_id) VALUES ('blank', {blank}); SET sequin.capture = on"
    ));
    sent(&world);
    world
}

const BLANKS: [&str; 6] =
    ["NULL", "''", "' '", "E'\\t\\n\\r\\x0b\\x0c '", "U&' \\00a0\\2003'", "U&'\\0085\\1680\\2028\\3000'"];

#[test]
fn an_update_is_refused_before_anything_is_sent() {
    for blank in BLANKS {
        let mut world = eleven(Encoding::Utf8, blank);
        let error = world.error("UPDATE people SET name = name || '!'");
        assert_eq!(
            (error.code().code(), error.message()),
            ("55000", "the row [11] of public.people has no upstream id"),
            "{blank}"
        );
        assert!(error.hint().unwrap().starts_with("Its upstream id is NULL or blank"), "{error:?}");
        assert_eq!(sent(&world), [], "{blank}");
    }
}

#[test]
fn a_delete_sends_nothing_for_it() {
    for blank in BLANKS {
        let mut world = eleven(Encoding::Utf8, blank);
        world.run("DELETE FROM people WHERE id > 7");
        assert_eq!(summary(&world), "delete 2, delete 1", "{blank}");
        world.run("UPDATE people SET name = name || '!'; DELETE FROM people WHERE id <= 2");
        assert_eq!(summary(&world), "update 2, update 2, update 2, update 1, delete 2");
    }
}

#[test]
fn an_insert_creates_its_record() {
    for blank in BLANKS {
        let mut world = eleven(Encoding::Utf8, "'003'");
        world.run(&format!("INSERT INTO people (name, sf_id) VALUES ('a', {blank}), ('b', 'x'), ('c', {blank})"));
        assert_eq!(summary(&world), "create 2", "{blank}");
        let kept = "SELECT count(*) FROM people WHERE name IN ('a', 'c') AND sf_id ~ '[0-9a-zA-Z]{5}'";
        assert_eq!(world.one::<i64>(kept), 2, "{blank}");
    }
}

#[test]
fn another_encoding_knows_the_blanks_of_ascii() {
    for blank in &BLANKS[..4] {
        let mut world = eleven(Encoding::Latin1, blank);
        assert_eq!(world.error("UPDATE people SET name = name || '!'").code().code(), "55000", "{blank}");
        assert_eq!(sent(&world), [], "{blank}");
        world.run("DELETE FROM people WHERE id > 9");
        assert_eq!(summary(&world), "delete 1", "{blank}");
    }
}
