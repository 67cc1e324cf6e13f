use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::*;

fn image(id: Option<&str>, object: &str) -> Option<RowImage> {
    Some(RowImage { id: id.map(str::to_owned), fields: RowFields::of_object(object) })
}

fn change(key: &str, before: Option<RowImage>, after: Option<RowImage>) -> RowChange<usize> {
    RowChange { row: RowId { relation: 1, primary_key: key.to_owned() }, target: 0, before, after }
}

/// The effects, with the key of each row.
fn effects(changes: Vec<RowChange<usize>>) -> Vec<(String, Effect)> {
    net_changes(changes, |target| *target).into_iter().map(|net| (net.row.primary_key, net.effect)).collect()
}

fn of_one(changes: Vec<RowChange<usize>>) -> Vec<Effect> {
    effects(changes).into_iter().map(|(_, effect)| effect).collect()
}

fn update(id: Option<&str>, object: &str) -> Effect {
    Effect::Update { id: id.map(str::to_owned), fields: RowFields::of_object(object), changes_id: false }
}

#[test]
fn an_update_within_an_insert_is_a_part_of_the_create() {
    let inner = change("[1]", image(None, r#"{"slug":null}"#), image(None, r#"{"slug":"1-paul"}"#));
    let outer = change("[1]", None, image(None, r#"{"name":"Paul","slug":null}"#));
    let created = Effect::Create(RowFields::of_object(r#"{"name":"Paul","slug":"1-paul"}"#));
    assert_eq!(of_one(vec![inner, outer]), [created]);
}

#[test]
fn an_update_within_an_update_wins_whichever_is_captured_first() {
    let outer = change("[1]", image(Some("J1"), r#"{"status":"draft"}"#), image(Some("J1"), r#"{"status":"new"}"#));
    let inner = change("[1]", image(Some("J1"), r#"{"status":"new"}"#), image(Some("J1"), r#"{"status":"accepted"}"#));
    let expected = [update(Some("J1"), r#"{"status":"accepted"}"#)];
    assert_eq!(of_one(vec![inner.clone(), outer.clone()]), expected);
    assert_eq!(of_one(vec![outer, inner]), expected);
}

#[test]
fn a_change_that_is_taken_back_is_none() {
    let there = change("[1]", image(Some("J1"), r#"{"a":1}"#), image(Some("J1"), r#"{"a":2}"#));
    let back = change("[1]", image(Some("J1"), r#"{"a":2}"#), image(Some("J1"), r#"{"a":1}"#));
    assert_eq!(of_one(vec![back, there]), []);
    let made = change("[1]", None, image(None, r#"{"a":1}"#));
    let gone = change("[1]", image(None, r#"{"a":1}"#), None);
    assert_eq!(of_one(vec![gone, made]), []);
}

#[test]
fn a_row_that_moves_lives_on() {
    let gone = |key| change(key, image(Some("U"), r#"{"a":1,"b":1.0}"#), None);
    let arrived = |key, object| change(key, None, image(Some("U"), object));
    for key in ["[1]", "[2]"] {
        assert_eq!(of_one(vec![gone("[1]"), arrived(key, r#"{"a":1,"b":1.0}"#)]), [], "{key}");
        assert_eq!(of_one(vec![arrived(key, r#"{"a":1,"b":1.0}"#), gone("[1]")]), [], "{key}");
        let differs = effects(vec![gone("[1]"), arrived(key, r#"{"a":1,"b":1.00}"#)]);
        assert_eq!(differs, [(key.to_owned(), update(Some("U"), r#"{"b":1.00}"#))]);
    }
    // In another collection it is another record.
    let mut elsewhere = arrived("[2]", r#"{"a":1}"#);
    elsewhere.target = 7;
    assert_eq!(effects(vec![gone("[1]"), elsewhere]).len(), 2);
}

#[test]
fn another_row_under_the_same_key_is_another_record() {
    let gone = change("[1]", image(Some("U"), r#"{"a":1,"b":2}"#), None);
    let new = change("[1]", None, image(None, r#"{"a":1,"b":3}"#));
    let expected = [
        Effect::Delete(RowImage { id: Some("U".into()), fields: RowFields::of_object(r#"{"b":2}"#) }),
        Effect::Create(RowFields::of_object(r#"{"a":1,"b":3}"#)),
    ];
    assert_eq!(of_one(vec![gone, new]), expected);
}

#[test]
fn a_row_that_takes_the_id_of_a_deleted_one_keeps_its_record() {
    let gone = change("[1]", image(Some("U"), r#"{"a":1}"#), None);
    let takes = change("[2]", image(None, r#"{"a":2}"#), image(Some("U"), r#"{"a":3}"#));
    let effect = Effect::Update { id: Some("U".into()), fields: RowFields::of_object(r#"{"a":3}"#), changes_id: true };
    assert_eq!(effects(vec![gone, takes]), [("[2]".to_owned(), effect)]);
}

#[test]
fn a_row_that_takes_an_id_sends_what_the_record_lacks() {
    let gone = change("[1]", image(Some("U"), r#"{"a":1,"b":1,"c":1}"#), None);
    let takes = change("[2]", image(None, r#"{"a":1,"b":2,"c":2}"#), image(Some("U"), r#"{"a":1,"b":2,"c":1}"#));
    // A trigger of the application's has written the row as well.
    let also = change("[2]", image(Some("U"), r#"{"a":1}"#), image(Some("U"), r#"{"a":3}"#));
    let effect =
        |object| Effect::Update { id: Some("U".into()), fields: RowFields::of_object(object), changes_id: true };
    let key = || "[2]".to_owned();
    assert_eq!(effects(vec![gone.clone(), takes.clone()]), [(key(), effect(r#"{"b":2}"#))]);
    assert_eq!(effects(vec![also, takes.clone(), gone]), [(key(), effect(r#"{"a":3,"b":2}"#))]);
    // The record of another row: what it has is not known.
    assert_eq!(effects(vec![takes]), [(key(), effect(r#"{"c":1}"#))]);
}

#[test]
fn a_name_that_json_escapes_stays_as_it_is() {
    let object = r#"{"say \"a\"":1,"b\\":2}"#;
    let made = |object| RowFields::of_object(object);
    let changes = vec![
        change("[1]", image(Some("U"), r#"{"say \"a\"":0}"#), image(Some("U"), r#"{"say \"a\"":1}"#)),
        change("[1]", image(Some("U"), r#"{"b\\":0}"#), image(Some("U"), r#"{"b\\":2}"#)),
    ];
    let [Effect::Update { fields, .. }] = &of_one(changes)[..] else { panic!("no update") };
    assert_eq!(fields, &made(object));
    assert!(crate::json::select_fields(&fields.to_object(), [""]).is_ok(), "{}", fields.to_object());
    let rest = made(object).changed_since(&made(r#"{"b\\":2}"#));
    assert_eq!(rest.to_object(), r#"{"say \"a\"":1}"#);
}

#[test]
fn deletes_come_before_creates_and_creates_before_updates() {
    let update = change("[1]", image(Some("A"), r#"{"a":1}"#), image(Some("A"), r#"{"a":2}"#));
    let insert = change("[2]", None, image(None, r#"{"a":1}"#));
    let delete = change("[3]", image(Some("C"), r#"{"a":1}"#), None);
    let keys: Vec<String> = effects(vec![update, insert, delete]).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["[3]", "[2]", "[1]"]);
}

/// The net change of a random history, in any order of capture, is the difference between its first and its last state.
#[test]
fn the_order_of_capture_does_not_matter() {
    let mut random = SmallRng::seed_from_u64(7);
    for round in 0..10_000 {
        let first = random.random_bool(0.5).then(|| [random.random_range(0..3), random.random_range(0..3)]);
        let (mut state, mut changes) = (first, Vec::new());
        let whole = |values: &[u64; 2]| format!(r#"{{"a":{},"b":{}}}"#, values[0], values[1]);
        for _ in 0..=random.random_range(0..5) {
            let next = random.random_bool(0.75).then(|| [random.random_range(0..3), random.random_range(0..3)]);
            let (before, after) = match (&state, &next) {
                (None, None) => continue,
                (None, Some(new)) => (None, image(Some("U"), &whole(new))),
                (Some(old), None) => (image(Some("U"), &whole(old)), None),
                (Some(old), Some(new)) => {
                    let of = |values: &[u64; 2]| {
                        let changed = [("a", 0), ("b", 1)].into_iter().filter(|(_, i)| old[*i] != new[*i]);
                        let fields: Vec<String> =
                            changed.map(|(name, i)| format!(r#""{name}":{}"#, values[i])).collect();
                        format!("{{{}}}", fields.join(","))
                    };
                    (image(Some("U"), &of(old)), image(Some("U"), &of(new)))
                }
            };
            changes.push(change("[1]", before, after));
            state = next;
        }
        changes.shuffle(&mut random);
        let expected = match (&first, &state) {
            (None, None) => vec![],
            (None, Some(new)) => vec![Effect::Arrival { id: "U".into(), fields: RowFields::of_object(&whole(new)) }],
            (Some(old), None) => {
                vec![Effect::Delete(RowImage { id: Some("U".into()), fields: RowFields::of_object(&whole(old)) })]
            }
            (Some(old), Some(new)) => {
                let fields = RowFields::of_object(&whole(new)).changed_since(&RowFields::of_object(&whole(old)));
                if fields.is_empty() {
                    vec![]
                } else {
                    vec![Effect::Update { id: Some("U".into()), fields, changes_id: false }]
                }
            }
        };
        assert_eq!(of_one(changes.clone()), expected, "round {round}: {first:?} to {state:?} by {changes:?}");
    }
}
