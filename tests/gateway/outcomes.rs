//! Each kind of reply of the gateway, as the extension tells it.

use super::{SYNC, Setup};
use crate::support::{Session, detail_of};

#[test]
fn each_outcome_has_its_sqlstate_and_says_what_was_applied() {
    let mut setup = Setup::new();
    let create = |email: &str, more: &str| {
        format!("SELECT sequin_create('{SYNC}', 'salesforce:contact', '{{\"Email\": \"{email}\"}}'{more})")
    };
    for (sql, sqlstate, outcome, applied) in [
        (create("none", ""), "HV024", "rejected", "none"),
        (create("a@limit.example", ""), "53400", "refused_for_now", "none"),
        (create("a@timeout.example", ""), "HV00K", "unknown", "unknown"),
        (create("a@arrakis.org", ", await_consumers => '{nothing}'"), "HV024", "rejected", "none"),
    ] {
        let error = setup.error(&sql);
        let detail = detail_of(&error);
        assert_eq!(
            (error.code().code(), detail["outcome"].as_str(), detail["applied"].as_str()),
            (sqlstate, Some(outcome), Some(applied)),
            "{sql}: {error:?}"
        );
    }
    setup.run("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token 'another')");
    let error = setup.error(&create("a@arrakis.org", ""));
    assert!(error.message().contains("token"), "{error:?}");
    assert_eq!(detail_of(&error)["applied"], "none");
}

#[test]
fn what_was_awaited_is_in_the_table_of_the_consumer() {
    let mut setup = Setup::new();
    for n in 0..200 {
        setup.run(&format!(
            "SELECT sequin_create('{SYNC}', 'salesforce:contact', '{{\"n\": {n}}}', await_consumers => '{{contacts}}')"
        ));
        assert_eq!(setup.one::<i64>("SELECT count(*) FROM contacts"), n + 1);
    }
}
