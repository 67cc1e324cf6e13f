use std::thread;

use super::*;

const ENDED: EndedRequest = EndedRequest {
    via: Via::Call,
    records: 3,
    outcome: None,
    is_cancelled: false,
    bytes_sent: 100,
    bytes_received: 200,
    connections_opened: 1,
    wait: Duration::from_millis(2),
};

fn counter(slot: &Slot, counter: Counter) -> u64 {
    slot.counters(Via::Call)[counter as usize].load(Ordering::Relaxed)
}

#[test]
fn each_bucket_begins_where_the_one_before_ends() {
    assert_eq!((bucket(0), bucket(124), bucket(125), bucket(249), bucket(250)), (0, 0, 1, 1, 2));
    for place in 1..BUCKETS - 1 {
        let bound = FIRST_BOUND_MICROS << (place - 1);
        assert_eq!((bucket(bound - 1), bucket(bound)), (place - 1, place));
    }
    // 32.768 seconds, and the longest wait that there is.
    assert_eq!((bucket(32_767_999), bucket(32_768_000), bucket(u64::MAX)), (18, 19, 19));
}

#[test]
fn each_outcome_has_its_counter_and_they_add_up() {
    let kinds = [
        OutcomeKind::AppliedReplyLost,
        OutcomeKind::AppliedNotConfirmed,
        OutcomeKind::Rejected,
        OutcomeKind::Refused,
        OutcomeKind::RefusedForNow,
        OutcomeKind::NotSent,
        OutcomeKind::Unknown,
    ];
    let slots = Slots::<4>::new();
    let slot = slots.of(7, || 1);
    slot.note(&ENDED);
    for kind in kinds {
        slot.note(&EndedRequest { outcome: Some(kind), is_cancelled: kind == OutcomeKind::Unknown, ..ENDED });
    }
    let outcomes = Counter::Applied as usize..=Counter::Unknown as usize;
    let counted: Vec<u64> =
        slot.counters(Via::Call)[outcomes].iter().map(|counter| counter.load(Ordering::Relaxed)).collect();
    assert_eq!(counted, [1; 8]);
    assert_eq!((counter(slot, Counter::Requests), counter(slot, Counter::Records)), (8, 24));
    assert_eq!((counter(slot, Counter::Wait), counter(slot, Counter::MaxWait)), (16_000, 2_000));
    assert_eq!((counter(slot, Counter::Connections), counter(slot, Counter::Cancels)), (8, 1));
    assert!(slot.counters(Via::Outbox).iter().all(|counter| counter.load(Ordering::Relaxed) == 0));
    slot.reset(9);
    assert_eq!((counter(slot, Counter::MaxWait), slot.reset_at(), slot.key()), (0, 9, Some(7)));
}

#[test]
fn servers_without_a_slot_share_one_and_those_that_are_gone_make_room() {
    let slots = Slots::<2>::new();
    for key in 1..=4 {
        slots.of(key, || 5).note(&ENDED);
    }
    assert!(slots.is_full());
    assert_eq!((counter(slots.overflow(), Counter::Requests), slots.overflow().reset_at()), (2, 5));
    slots.of(1, || 5).delivered.add(100, 30);
    slots.free(|key| key == 1);
    assert!(!slots.is_full());
    let slot = slots.of(3, || 6);
    assert_eq!((slot.key(), slot.reset_at(), counter(slot, Counter::Requests)), (Some(3), 6, 0));
    assert!(slot.delivered.per_second(100) == 0.0 && slot.queue_from.load(Ordering::Relaxed) == i64::MIN);
    assert_eq!(slots.in_use().count(), 2);
}

#[test]
fn threads_that_claim_at_once_lose_no_count() {
    let slots = Slots::<8>::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..4_000 {
                    slots.of(1 + round % 8, || 1).note(&ENDED);
                }
            });
        }
    });
    assert_eq!(slots.in_use().count(), 8);
    assert!(slots.in_use().all(|slot| counter(slot, Counter::Requests) == 2_000));
    assert!(!slots.overflow().counts());
}

#[test]
fn a_rate_is_over_ten_seconds_and_forgets() {
    let rate = Rate::new();
    // The clock's lower half ends in the middle of it.
    let now = (7 << 32) + 3;
    for second in now - 9..=now {
        rate.add(second, 20);
    }
    assert_eq!(rate.per_second(now), 20.0);
    assert_eq!(rate.per_second(now + 5), 10.0);
    assert_eq!(rate.per_second(now + 10), 0.0);
    rate.add(now + 16, 5);
    rate.add(now + 16, 5);
    assert_eq!(rate.per_second(now + 16), 1.0);
}
