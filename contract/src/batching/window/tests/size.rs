use super::*;

#[test]
fn the_room_is_what_is_not_in_flight() {
    let (mut window, now) = (window(3), Instant::now());
    let mut tickets: Vec<Ticket> = (0..3).map(|id| window.start(&update(id), now)).collect();
    assert_eq!((window.room(now), window.in_flight()), (0, 3));
    let _ = window.end(tickets.pop().unwrap(), None, false, now, 0.0);
    assert_eq!((window.room(now), window.in_flight()), (1, 2));
}

#[test]
fn requests_that_were_in_flight_together_halve_it_once() {
    let (mut window, now) = (window(64), Instant::now());
    let tickets: Vec<Ticket> = (0..64).map(|id| window.start(&update(id), now)).collect();
    for ticket in tickets {
        let _ = window.end(ticket, Some(&times_out()), false, now + SECOND, 0.0);
    }
    assert_eq!(window.size, 32);
}

#[test]
fn each_state_that_shows_overload_halves_it() {
    for (state, size) in [
        (ServerState::Answers, 16),
        (fails(), 16),
        (ServerState::Refuses { error: "401".into() }, 16),
        (times_out(), 8),
        (unavailable(None), 8),
        (limits_rate(None), 8),
    ] {
        let mut window = window(16);
        let _ = send(&mut window, &update(1), &state, Instant::now());
        assert_eq!(window.size, size, "{state:?}");
    }
}

#[test]
fn it_is_never_smaller_than_one() {
    let (mut window, mut now) = (window(5), Instant::now());
    for id in 0..10 {
        let _ = send(&mut window, &update(id), &ServerState::Answers, now);
        let _ = send(&mut window, &update(id), &times_out(), now);
        now += SECOND;
    }
    assert_eq!((window.size, window.room(now)), (1, 1));
}

#[test]
fn a_record_that_times_out_again_does_not_shrink_it() {
    let (mut window, now) = (window(16), Instant::now());
    let _ = send(&mut window, &request(Kind::Update, 1, 3), &times_out(), now);
    assert_eq!(window.size, 16);
}

#[test]
fn it_grows_by_one_for_each_window_of_answers() {
    let (mut window, now) = (window(16), Instant::now());
    let _ = send(&mut window, &update(0), &times_out(), now);
    assert_eq!(window.size, 8);
    for (answers, size) in [(7, 8), (1, 9), (8, 9), (1, 10), (1_000, 16)] {
        for id in 0..answers {
            let _ = send(&mut window, &update(id), &ServerState::Answers, now + SECOND);
        }
        assert_eq!(window.size, size, "{answers}");
    }
}

#[test]
fn answers_of_requests_from_before_it_shrank_do_not_grow_it() {
    let (mut window, now) = (window(16), Instant::now());
    let before: Vec<Ticket> = (0..15).map(|id| window.start(&update(id), now)).collect();
    let _ = send(&mut window, &update(99), &times_out(), now + MS);
    for ticket in before {
        let _ = window.end(ticket, Some(&ServerState::Answers), false, now + SECOND, 0.0);
    }
    assert_eq!((window.size, window.answers), (8, 0));
}

#[test]
fn options_that_change_are_obeyed() {
    let (mut window, now) = (window(8), Instant::now());
    window.set_limits(limits(100));
    assert_eq!(window.room(now), 100);
    let _ = send(&mut window, &update(0), &times_out(), now);
    window.set_limits(limits(200));
    assert_eq!(window.room(now), 50);
    window.set_limits(limits(10));
    assert_eq!(window.room(now), 10);
    window.set_limits(WindowLimits { max_requests_per_second: Some(1), ..limits(10) });
    assert_eq!(window.room(now), 1);
}

#[test]
fn a_rate_limits_the_room_and_says_when_it_grows() {
    let (mut window, now) = (window(8), Instant::now());
    window.set_limits(WindowLimits { max_requests_per_second: Some(2), ..limits(8) });
    for id in 0..2 {
        assert!(window.room(now) > 0);
        let _ = send(&mut window, &update(id), &ServerState::Answers, now);
    }
    assert_eq!(window.room(now), 0);
    let next = window.next_change(now).unwrap();
    assert!(next <= now + SECOND && window.room(next) > 0);
}
