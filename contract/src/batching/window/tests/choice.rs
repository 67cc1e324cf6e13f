use super::*;

/// A window that probes its server.
fn probing(max_in_flight: u32) -> (Window, Instant) {
    let (mut window, now) = (window(max_in_flight), Instant::now());
    let _ = send(&mut window, &update(0), &unavailable(None), now);
    (window, now + SECOND)
}

#[test]
fn a_probe_is_an_update_or_a_delete_that_has_not_failed() {
    let (window, now) = probing(8);
    let retried = |id, attempts| request(Kind::Update, id, attempts);
    let (create, retried_create) = (request(Kind::Create, 1, 0), request(Kind::Create, 2, 1));
    let delete = request(Kind::Delete, 6, 0);
    for (planned, expected) in [
        (vec![&create, &retried(3, 2), &update(4), &update(5)], Some(4)),
        (vec![&create, &retried(3, 2), &delete], Some(6)),
        (vec![&create, &retried(3, 2), &retried(7, 1)], Some(7)),
        (vec![&retried_create, &create], Some(1)),
        (vec![&long(8), &update(9)], Some(9)),
        (vec![&create, &long(8)], Some(8)),
        (vec![], None),
    ] {
        let planned = planned.into_iter().map(copy).collect();
        assert_eq!(ids(&window.choose(planned, now)).first().copied(), expected);
    }
}

fn copy(planned: &Planned) -> Planned {
    let ids: Vec<i64> = planned.ids().collect();
    request_of((*planned.batch_key).clone(), planned.kind, &ids, attempts(planned))
}

#[test]
fn a_probe_has_one_create() {
    let (window, now) = probing(8);
    let creates = request_of(batch_key(1, "s"), Kind::Create, &[1, 2, 3], 0);
    let chosen = window.choose(vec![creates], now);
    assert_eq!(chosen[0].operations.len(), 1);
    let updates = request_of(batch_key(1, "s"), Kind::Update, &[1, 2, 3], 0);
    assert_eq!(window.choose(vec![updates], now)[0].operations.len(), 3);
}

#[test]
fn without_room_nothing_is_chosen() {
    let (mut window, now) = (window(2), Instant::now());
    let _tickets = [window.start(&update(1), now), window.start(&update(2), now)];
    assert_eq!(window.choose(vec![update(3)], now), []);
}

#[test]
fn records_that_failed_take_turns_with_the_others() {
    let retry = |id| request(Kind::Update, id, 1);
    let (mut window, now) = (window(4), Instant::now());
    let planned = || vec![retry(1), retry(2), retry(3), update(4), update(5), update(6)];
    assert_eq!(ids(&window.choose(planned(), now)), [1, 4, 2, 5]);
    let _first = window.start(&retry(1), now);
    assert_eq!(ids(&window.choose(planned(), now)), [4, 1, 5]);
    let _second = window.start(&retry(2), now);
    // They have their half.
    assert_eq!(ids(&window.choose(planned(), now)), [4, 5]);
    assert_eq!(ids(&window.choose(vec![retry(3), retry(7)], now)), [3, 7]);
}

#[test]
fn with_one_slot_they_take_turns_as_well() {
    let (mut window, now) = (window(1), Instant::now());
    let mut sent = Vec::new();
    for _ in 0..6 {
        let chosen = window.choose(vec![request(Kind::Update, 1, 1), update(2)], now);
        sent.extend(ids(&chosen));
        let _ = send(&mut window, &chosen[0], &fails(), now);
    }
    assert_eq!(sent, [1, 2, 1, 2, 1, 2]);
}

#[test]
fn long_waits_have_half_of_the_window() {
    for (max_in_flight, most) in [(1, 1), (2, 1), (3, 1), (8, 4), (64, 32)] {
        let (mut window, now) = (window(max_in_flight), Instant::now());
        let planned: Vec<Planned> = (0..100).map(long).collect();
        let chosen = window.choose(planned, now);
        assert_eq!(chosen.len(), most, "{max_in_flight}");
        let _tickets: Vec<Ticket> = chosen.iter().map(|planned| window.start(planned, now)).collect();
        assert_eq!(window.choose(vec![long(200)], now), []);
        let others = window.choose((300..400).map(update).collect(), now);
        assert_eq!(others.len(), max_in_flight as usize - most, "{max_in_flight}");
    }
}

#[test]
fn long_waits_leave_a_slot_of_a_window_that_has_shrunk() {
    let (mut window, now) = (window(8), Instant::now());
    let _long = window.start(&long(1), now);
    window.size = 1;
    assert_eq!(ids(&window.choose(vec![long(2), update(3), update(4)], now)), [3]);
    let _short = window.start(&update(3), now);
    assert_eq!(window.choose(vec![update(4)], now), []);
}
