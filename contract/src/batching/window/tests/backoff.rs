use super::*;

#[test]
fn a_server_that_is_unavailable_is_left_alone_and_then_probed() {
    let (mut window, now) = (window(64), Instant::now());
    let changes = send(&mut window, &update(1), &unavailable(None), now);
    assert_eq!(begun(&changes), [(Scope::Server, 250 * MS)]);
    assert_eq!((window.room(now), window.is_probing(now)), (0, false));
    let over = window.next_change(now).unwrap();
    assert_eq!(round(over - now), 250 * MS);
    assert_eq!((window.room(over), window.is_probing(over)), (1, true));
    let probe = window.start(&update(2), over);
    assert_eq!(window.room(over), 0);
    let changes = window.end(probe, Some(&ServerState::Answers), false, over, 0.0);
    assert_eq!(ended(&changes), [Scope::Server]);
    assert_eq!((window.room(over), window.is_probing(over)), (32, false));
}

#[test]
fn each_probe_that_fails_doubles_the_wait_up_to_its_limit() {
    let (mut window, mut now) = (window(64), Instant::now());
    let waits = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
    for (id, wait) in (0..).zip(waits) {
        let changes = send(&mut window, &update(id), &unavailable(None), now);
        assert_eq!(begun(&changes), [(Scope::Server, wait * MS)]);
        now += wait * MS;
    }
    // Probes say nothing about the load.
    assert_eq!(window.size, 32);
}

#[test]
fn retry_after_is_obeyed_up_to_an_hour() {
    for (asked, wait) in [(0, 250), (100, 250), (60_000, 60_000), (86_400_000, 3_600_000)] {
        let (mut window, now) = (window(64), Instant::now());
        let changes = send(&mut window, &update(1), &unavailable(Some(asked * MS)), now);
        assert_eq!(begun(&changes), [(Scope::Server, wait * MS)], "{asked}");
    }
}

#[test]
fn failures_of_requests_in_flight_together_are_one_and_the_longest_wait_counts() {
    let (mut window, now) = (window(3), Instant::now());
    let tickets: Vec<Ticket> = (0..3).map(|id| window.start(&update(id), now)).collect();
    let waits = [None, None, Some(7 * SECOND)];
    let changes: Vec<Change> = tickets
        .into_iter()
        .zip(waits)
        .flat_map(|(ticket, wait)| window.end(ticket, Some(&unavailable(wait)), false, now, LONGEST))
        .collect();
    assert_eq!(begun(&changes), [(Scope::Server, 250 * MS), (Scope::Server, 7_000 * MS)]);
    assert!(changes.iter().all(|change| matches!(change, Change::Begin { backoff, .. } if backoff.attempts == 1)));
}

#[test]
fn an_answer_to_a_request_from_before_does_not_end_it() {
    let (mut window, now) = (window(2), Instant::now());
    let before = window.start(&update(1), now);
    let _ = send(&mut window, &update(2), &unavailable(None), now + MS);
    let changes = window.end(before, Some(&ServerState::Answers), false, now + 2 * MS, 0.0);
    assert_eq!(changes, []);
    assert_eq!(window.room(now + 2 * MS), 0);
}

#[test]
fn one_record_that_always_fails_says_nothing_about_the_server() {
    let (mut window, mut now) = (window(8), Instant::now());
    for attempts in 0..100 {
        let changes = send(&mut window, &request(Kind::Update, 1, attempts), &fails(), now);
        assert_eq!(changes, [], "{attempts}");
        now += SECOND;
    }
    assert_eq!(window.room(now), 8);
}

#[test]
fn different_records_that_fail_say_something_unless_one_was_answered_between() {
    // Each letter is a record that fails, or + for an answer. The number is how many of them it takes.
    for (history, taken) in [
        ("abc", Some(3)),
        ("aaabbbc", Some(7)),
        ("ab+ab+ab+", None),
        ("abab", None),
        ("ab+abc", Some(6)),
        ("a+b+c+d+", None),
    ] {
        let (mut window, now) = (window(8), Instant::now());
        let mut found = None;
        for (place, letter) in history.chars().enumerate() {
            let changes = match letter {
                '+' => send(&mut window, &update(99), &ServerState::Answers, now),
                letter => send(&mut window, &request(Kind::Update, i64::from(u32::from(letter)), 1), &fails(), now),
            };
            if !changes.is_empty() {
                assert_eq!(begun(&changes), [(Scope::Server, 250 * MS)], "{history}");
                found = found.or(Some(place + 1));
            }
        }
        assert_eq!(found, taken, "{history}");
    }
}

#[test]
fn a_batch_and_one_of_its_parts_are_not_different_but_three_parts_are() {
    let (mut window, now) = (window(8), Instant::now());
    for (ids, is_evidence) in [
        (&[1, 2, 3, 4][..], false),
        (&[1, 2], false),
        (&[1], false),
        (&[3, 4], false),
        (&[1], false),
        (&[4], false),
        (&[1, 2], false),
        (&[3], true),
    ] {
        let planned = request_of(batch_key(1, "s"), Kind::Update, ids, 1);
        assert_eq!(!send(&mut window, &planned, &fails(), now).is_empty(), is_evidence, "{ids:?}");
    }
}

#[test]
fn a_probe_with_a_record_that_failed_before_does_not_make_the_wait_longer() {
    let (mut window, mut now) = (window(8), Instant::now());
    for id in 1..=3 {
        let _ = send(&mut window, &update(id), &fails(), now);
    }
    now += SECOND;
    for attempts in 1..10 {
        assert_eq!(send(&mut window, &request(Kind::Update, 3, attempts), &fails(), now), []);
        assert_eq!(window.room(now), 1);
    }
    let changes = send(&mut window, &update(4), &fails(), now);
    assert_eq!(begun(&changes), [(Scope::Server, 500 * MS)]);
}

#[test]
fn the_limit_of_one_caller_stops_no_other() {
    let (mut window, now) = (window(8), Instant::now());
    let of = |role: u32, sync: &str, id: i64| request_of(batch_key(role, sync), Kind::Update, &[id], 0);
    let _ = send(&mut window, &of(2, "s", 1), &ServerState::Answers, now);
    let changes = send(&mut window, &of(1, "s", 2), &limits_rate(Some(9 * SECOND)), now);
    assert_eq!(begun(&changes), [(of_caller(1, "s"), 9_000 * MS)]);
    assert_eq!(window.room(now), 8);
    assert!(waits(&window, 1, "s", Kind::Update, now));
    assert!(!waits(&window, 2, "s", Kind::Update, now));
    assert!(!waits(&window, 1, "t", Kind::Update, now));
    let chosen = window.choose(vec![of(1, "s", 3), of(2, "s", 4), of(1, "t", 5)], now);
    assert_eq!(ids(&chosen), [4, 5]);

    // Afterwards it is probed by itself.
    let later = now + 9 * SECOND;
    let chosen = window.choose(vec![of(1, "s", 3), of(1, "s", 6), of(2, "s", 4)], later);
    assert_eq!(ids(&chosen), [3, 4]);
    let probe = window.start(&chosen[0], later);
    assert_eq!(ids(&window.choose(vec![of(1, "s", 6)], later)), [0; 0]);
    let changes = window.end(probe, Some(&ServerState::Answers), false, later, 0.0);
    assert_eq!(ended(&changes), [of_caller(1, "s")]);
    assert_eq!(ids(&window.choose(vec![of(1, "s", 6), of(1, "s", 7)], later)), [6, 7]);
}

#[test]
fn a_limit_is_the_servers_if_nobody_was_answered_since_or_lately() {
    let of = |role: u32, id: i64| request_of(batch_key(role, "s"), Kind::Update, &[id], 0);
    // The role of each request, or - for a minute: + it was answered, # it met the limit. Whether the last is the server's.
    for (history, is_of_server) in [
        ("1#", true),
        ("1+1#", true),
        ("2+1#", false),
        ("2+-1#", true),
        ("2+1#2#", true),
        ("2+1#2+2#", true),
        ("2+1+3+1#2#", false),
        ("2+1+3+1#2#3#", true),
        ("2+1#2+1#", false),
    ] {
        let (mut window, mut now) = (window(64), Instant::now());
        let mut changes = Vec::new();
        let mut letters = history.chars().enumerate();
        while let Some((id, letter)) = letters.next() {
            if letter == '-' {
                now += 60 * SECOND;
                continue;
            }
            let planned = of(letter.to_digit(10).unwrap(), id as i64);
            let state = if letters.next().unwrap().1 == '+' { ServerState::Answers } else { limits_rate(None) };
            changes = send(&mut window, &planned, &state, now);
        }
        let has_server = begun(&changes).iter().any(|(scope, _)| *scope == Scope::Server);
        assert_eq!(has_server, is_of_server, "{history}");
    }
}

#[test]
fn others_do_not_wait_as_long_as_the_only_caller_is_asked_to() {
    let (mut window, now) = (window(8), Instant::now());
    let changes = send(&mut window, &update(1), &limits_rate(Some(600 * SECOND)), now);
    assert_eq!(begun(&changes), [(of_caller(1, "s"), 600_000 * MS), (Scope::Server, 250 * MS)]);
    let other = request_of(batch_key(2, "s"), Kind::Update, &[2], 0);
    assert_eq!(ids(&window.choose(vec![update(1), other], now + SECOND)), [2]);
}

#[test]
fn lost_creates_hold_up_creates_alone() {
    let (mut window, mut now) = (window(8), Instant::now());
    let create = request(Kind::Create, 1, 0);
    // The answers to updates do not end their wait.
    for wait in [1, 4, 16, 64, 256, 300, 300] {
        let ticket = window.start(&create, now);
        let changes = window.end(ticket, Some(&times_out()), true, now, 0.0);
        assert_eq!(begun(&changes), [(Scope::Creates, wait * SECOND)]);
        assert!(waits(&window, 1, "s", Kind::Create, now));
        assert!(!waits(&window, 1, "s", Kind::Update, now));
        assert_eq!(ids(&window.choose(vec![create_of(2), update(3)], now)), [3]);
        assert_eq!(send(&mut window, &update(3), &ServerState::Answers, now), []);
        now += wait * SECOND;
        assert_eq!(ids(&window.choose(vec![create_of(2), create_of(4), update(3)], now)), [2, 3]);
    }
    let changes = send(&mut window, &create_of(2), &ServerState::Answers, now);
    assert_eq!(ended(&changes), [Scope::Creates]);
    assert_eq!(ids(&window.choose(vec![create_of(4), create_of(5)], now)), [4, 5]);
}

fn create_of(id: i64) -> Planned {
    request(Kind::Create, id, 0)
}

#[test]
fn creates_that_were_lost_together_are_one_failure() {
    let (mut window, now) = (window(8), Instant::now());
    let tickets: Vec<Ticket> = (0..8).map(|id| window.start(&create_of(id), now)).collect();
    let changes: Vec<Change> = tickets
        .into_iter()
        .flat_map(|ticket| window.end(ticket, Some(&times_out()), true, now + SECOND, 0.0))
        .filter(|change| matches!(change, Change::Begin { backoff, .. } if backoff.scope == Scope::Creates))
        .collect();
    assert_eq!(begun(&changes), [(Scope::Creates, SECOND)]);
}

#[test]
fn a_person_ends_a_backoff() {
    let (mut window, now) = (window(8), Instant::now());
    let _ = send(&mut window, &update(1), &unavailable(Some(60 * SECOND)), now);
    // The server is probed at once.
    window.load(&[Stored { scope: Scope::Server, attempts: 1, left: Duration::ZERO }], now);
    assert_eq!((window.room(now), window.is_probing(now)), (1, true));
    let changes = send(&mut window, &update(2), &unavailable(None), now);
    assert_eq!(begun(&changes), [(Scope::Server, 500 * MS)]);
    // It is gone, for instance with the server.
    window.load(&[], now);
    assert_eq!((window.room(now), window.is_probing(now)), (4, false));
}

#[test]
fn a_new_worker_takes_over_what_is_stored() {
    let (mut window, now) = (window(8), Instant::now());
    let stored = |scope: Scope, attempts: u32, left: Duration| Stored { scope, attempts, left };
    window.load(&[stored(Scope::Server, 3, SECOND), stored(of_caller(1, "s"), 1, 5 * SECOND)], now);
    assert_eq!((window.room(now), window.next_change(now)), (0, Some(now + SECOND)));
    assert_eq!(window.room(now + SECOND), 1);
    let other = request_of(batch_key(2, "s"), Kind::Update, &[2], 0);
    let changes = send(&mut window, &other, &unavailable(None), now + SECOND);
    assert_eq!(begun(&changes), [(Scope::Server, 2_000 * MS)]);
    assert!(waits(&window, 1, "s", Kind::Update, now + 4 * SECOND));
    assert!(!waits(&window, 1, "s", Kind::Update, now + 5 * SECOND));
}

#[test]
fn a_clock_that_was_set_back_prolongs_nothing() {
    let (mut window, now) = (window(8), Instant::now());
    let day = 86_400 * SECOND;
    for scope in [Scope::Server, Scope::Creates, of_caller(1, "s")] {
        window.load(&[Stored { scope: scope.clone(), attempts: 1, left: day }], now);
        assert!(!window.backoffs.is_waiting(&scope, now), "{scope:?}");
        window.load(&[], now);
    }
    // A backoff that this worker began does not follow the clock.
    let _ = send(&mut window, &update(1), &unavailable(Some(9 * SECOND)), now);
    for left in [2 * SECOND, 8 * SECOND, 600 * SECOND] {
        window.load(&[Stored { scope: Scope::Server, attempts: 1, left }], now);
        assert_eq!(window.next_change(now), Some(now + 9 * SECOND), "{left:?}");
    }
}

/// Its records could hide all others in a scan, for as long as the API takes to answer.
#[test]
fn a_caller_and_creates_wait_while_their_probe_is_in_flight() {
    let of = |role, id| request_of(batch_key(role, "s"), Kind::Update, &[id], 0);
    let (mut window, now) = (window(8), Instant::now());
    let _ = send(&mut window, &of(2, 1), &ServerState::Answers, now);
    let _ = send(&mut window, &of(1, 2), &limits_rate(None), now);
    let later = now + 60 * SECOND;
    assert!(waits(&window, 1, "s", Kind::Update, now) && !waits(&window, 1, "s", Kind::Update, later));
    let probe = window.start(&of(1, 3), later);
    assert!(waits(&window, 1, "s", Kind::Update, later) && !waits(&window, 2, "s", Kind::Update, later));
    let _ = window.end(probe, Some(&ServerState::Answers), false, later, LONGEST);
    assert!(!waits(&window, 1, "s", Kind::Update, later));

    let ticket = window.start(&request(Kind::Create, 4, 0), later);
    let _ = window.end(ticket, Some(&fails()), true, later, LONGEST);
    let last = later + 60 * SECOND;
    assert!(waits(&window, 1, "s", Kind::Create, later) && !waits(&window, 1, "s", Kind::Create, last));
    let _probe = window.start(&request(Kind::Create, 5, 0), last);
    assert!(waits(&window, 1, "s", Kind::Create, last) && !waits(&window, 1, "s", Kind::Update, last));
}
