use super::*;

const MS: Duration = Duration::from_millis(1);

/// Tables with triggers that take their time for each row, and a clock.
struct Simulation {
    visits: Visits,
    now: Instant,
    /// The time for each row of a table.
    takes: BTreeMap<u32, Duration>,
    /// The time that each table has used.
    used: BTreeMap<u32, Duration>,
}

impl Simulation {
    fn new(takes: &[(u32, Duration)]) -> Simulation {
        let takes: BTreeMap<u32, Duration> = takes.iter().copied().collect();
        Simulation { visits: Visits::new(LONGEST_LIMIT), now: Instant::now(), takes, used: BTreeMap::new() }
    }

    /// Visits what is due. Returns the visit, and what came of it.
    fn step(&mut self) -> Option<(Visit, Visited)> {
        let visit = self.visits.next(self.now)?;
        let row = self.takes[&visit.table];
        let mut visited = Visited::default();
        let needed = row * u32::try_from(visit.creates.len()).unwrap();
        visited.took = needed.min(visit.limit);
        match &visit.creates[..] {
            creates if needed <= visit.limit => visited.done = creates.to_vec(),
            [one] => visited.failed = vec![*one],
            _ => visited.exceeded_limit = true,
        }
        self.now += visited.took;
        *self.used.entry(visit.table).or_default() += visited.took;
        self.visits.note(&visit, &visited, self.now);
        Some((visit, visited))
    }

    /// Goes to the next visit.
    fn wait(&mut self) {
        self.now = self.visits.next_at(self.now).expect("a row waits").max(self.now);
    }
}

#[test]
fn a_table_with_quick_triggers_is_written_at_once_and_in_larger_and_larger_visits() {
    let mut simulation = Simulation::new(&[(1, MS / 100)]);
    (0..5_000).for_each(|create| simulation.visits.add(1, create));
    let sizes: Vec<usize> = std::iter::from_fn(|| simulation.step().map(|(visit, _)| visit.creates.len())).collect();
    assert_eq!(sizes, [100, 400, 1_000, 1_000, 1_000, 1_000, 500]);
    assert_eq!(simulation.visits.next_at(simulation.now), None);
}

#[test]
fn a_visit_has_as_many_rows_as_are_quick() {
    let mut simulation = Simulation::new(&[(1, 10 * MS), (2, 20 * MS)]);
    (0..50).for_each(|create| simulation.visits.add(1, create));
    (50..300).for_each(|create| simulation.visits.add(2, create));
    let mut sizes = BTreeMap::<u32, Vec<usize>>::new();
    while simulation.visits.next_at(simulation.now).is_some() {
        simulation.wait();
        let (visit, _) = simulation.step().unwrap();
        sizes.entry(visit.table).or_default().push(visit.creates.len());
    }
    assert_eq!(sizes[&1], [50]);
    // The first visit exceeds its limit. The rows of a quick visit follow.
    assert_eq!(sizes[&2][..4], [100, 6, 5, 5]);
}

#[test]
fn only_a_table_that_exceeds_its_limit_gets_a_longer_one() {
    let mut simulation = Simulation::new(&[(1, Duration::from_secs(30)), (2, MS)]);
    simulation.visits.add(1, 1);
    let mut limits = Vec::new();
    for create in 2..8 {
        let (visit, visited) = simulation.step().unwrap();
        assert_eq!((visit.table, visited.failed), (1, vec![1]));
        limits.push(visit.limit.as_millis());
        simulation.visits.add(2, create);
        let (visit, visited) = simulation.step().unwrap();
        assert_eq!((visit.table, visit.limit, visited.done), (2, 500 * MS, vec![create]));
        assert!(simulation.step().is_none());
        simulation.wait();
    }
    assert_eq!(limits, [500, 2_000, 8_000, 10_000, 10_000, 10_000]);
}

/// Else each visit to it would begin with the limit of an unknown table.
#[test]
fn a_slow_table_that_was_written_keeps_its_limit() {
    let mut simulation = Simulation::new(&[(1, Duration::from_secs(3))]);
    (0..4).for_each(|create| simulation.visits.add(1, create));
    let mut outcomes = Vec::new();
    while simulation.visits.next_at(simulation.now).is_some() {
        simulation.wait();
        let (visit, visited) = simulation.step().unwrap();
        outcomes.push((visit.creates.len(), visited.done.len()));
    }
    assert_eq!(outcomes, [(4, 0), (1, 0), (1, 0), (1, 1), (1, 1), (1, 1), (1, 1)]);
}

#[test]
fn slow_tables_take_a_fifth_of_the_time_and_quick_ones_wait_for_one_visit_at_most() {
    for slow in [200 * MS, Duration::from_secs(3), Duration::from_secs(30)] {
        let mut simulation = Simulation::new(&[(1, slow), (2, MS)]);
        let begun = simulation.now;
        (0..10_000).for_each(|create| simulation.visits.add(1, create));
        let mut longest_wait = Duration::ZERO;
        for create in 10_000..30_000 {
            // A row comes each 50 ms.
            let came = begun + 50 * MS * u32::try_from(create - 10_000).unwrap();
            if simulation.now < came {
                if simulation.visits.next_at(simulation.now).is_some_and(|at| at < came) {
                    simulation.wait();
                    simulation.step();
                }
                simulation.now = simulation.now.max(came);
            }
            simulation.visits.add(2, create);
            let mut is_written = false;
            while !is_written {
                let Some((visit, visited)) = simulation.step() else { break };
                assert!(visit.table == 1 || visited.failed.is_empty());
                is_written = visited.done.contains(&create);
            }
            assert!(is_written);
            longest_wait = longest_wait.max(simulation.now - came);
        }
        let share = simulation.used[&1].as_secs_f64() / (simulation.now - begun).as_secs_f64();
        assert!(share < 0.21, "{slow:?}: {share}");
        let limit = LONGEST_LIMIT.min(slow * 2);
        assert!(longest_wait <= limit + 300 * MS, "{slow:?}: {longest_wait:?}");
    }
}

/// Two tables that always have something to write.
#[test]
fn tables_take_turns_by_the_time_that_they_use() {
    let mut simulation = Simulation::new(&[(1, MS / 10), (2, MS)]);
    (0..40_000).for_each(|create| simulation.visits.add(1, create));
    (40_000..80_000).for_each(|create| simulation.visits.add(2, create));
    (0..20).for_each(|_| drop(simulation.step()));
    let (one, other) = (simulation.used[&1], simulation.used[&2]);
    assert!(one.abs_diff(other) <= QUICK_VISIT, "{one:?} and {other:?}");
}

#[test]
fn a_table_that_was_idle_saves_no_time_up() {
    let mut simulation = Simulation::new(&[(1, MS), (2, MS)]);
    (0..2_000).for_each(|create| simulation.visits.add(1, create));
    (0..10).for_each(|_| drop(simulation.step()));
    (2_000..4_000).for_each(|create| simulation.visits.add(2, create));
    let turns: Vec<u32> = (0..8).map(|_| simulation.step().unwrap().0.table).collect();
    assert!(turns.iter().filter(|table| **table == 1).count() >= 3, "{turns:?}");
}

#[test]
fn a_row_that_fails_keeps_no_other_row_waiting() {
    let mut visits = Visits::new(LONGEST_LIMIT);
    let mut now = Instant::now();
    (1..=3).for_each(|create| visits.add(1, create));
    let visit = visits.next(now).unwrap();
    assert_eq!(visit.creates, [1, 2, 3]);
    // Only the first was tried.
    let visited = Visited { failed: vec![1], took: MS, ..Visited::default() };
    let backoffs = visits.note(&visit, &visited, now);
    let second = Duration::from_secs(1);
    assert_eq!(backoffs, [Backoff { create: 1, failures: 1, delay: second, is_of_table: true }]);
    assert_eq!(visits.next(now), None);
    now += second;
    let visit = visits.next(now).unwrap();
    assert_eq!((&visit.creates[..], visit.failures, visit.is_doubtful), (&[1, 2, 3][..], 2, true));
    let visited = Visited { done: vec![2, 3], failed: vec![1], took: MS, ..Visited::default() };
    let backoffs = visits.note(&visit, &visited, now);
    // The table is well, and the row waits alone.
    assert_eq!(backoffs, [Backoff { create: 1, failures: 2, delay: 2 * second, is_of_table: false }]);
    visits.add(1, 4);
    let visit = visits.next(now).unwrap();
    assert_eq!((&visit.creates[..], visit.failures, visit.is_doubtful), (&[4][..], 1, false));
    visits.note(&visit, &Visited { done: vec![4], ..Visited::default() }, now);
    assert_eq!(visits.next_at(now), Some(now + 2 * second));
}

#[test]
fn failures_of_a_table_are_repeated_after_one_second_and_at_last_after_minutes() {
    let mut visits = Visits::new(LONGEST_LIMIT);
    let mut now = Instant::now();
    visits.add(1, 1);
    let mut delays = Vec::new();
    for _ in 0..10 {
        let visit = visits.next(now).unwrap();
        let visited = Visited { failed: vec![1], took: MS, ..Visited::default() };
        let backoffs = visits.note(&visit, &visited, now);
        delays.push(backoffs[0].delay.as_secs());
        assert!(backoffs[0].is_of_table);
        now = visits.next_at(now).unwrap();
    }
    assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
}

#[test]
fn a_locked_row_is_visited_again_soon_and_is_no_failure() {
    let mut visits = Visits::new(LONGEST_LIMIT);
    let now = Instant::now();
    visits.add(1, 1);
    let visit = visits.next(now).unwrap();
    let backoffs = visits.note(&visit, &Visited { locked: vec![1], took: MS, ..Visited::default() }, now);
    assert_eq!(backoffs, []);
    assert_eq!(visits.next_at(now), Some(now + LOCKED_ROW_DELAY));
    let visit = visits.next(now + LOCKED_ROW_DELAY).unwrap();
    assert_eq!((visit.creates, visit.failures), (vec![1], 1));
}

#[test]
fn a_stored_backoff_is_kept_unless_the_clock_was_set_back() {
    let now = Instant::now();
    let stored = |delay| Backoff { create: 1, failures: 3, delay, is_of_table: true };
    let mut visits = Visits::new(LONGEST_LIMIT);
    visits.add_in_backoff(1, &stored(Duration::from_secs(40)), now);
    visits.add(1, 2);
    assert_eq!(visits.next_at(now), Some(now + Duration::from_secs(40)));
    let visit = visits.next(now + Duration::from_secs(40)).unwrap();
    assert_eq!((&visit.creates[..], visit.failures, visit.limit), (&[1, 2][..], 4, LONGEST_LIMIT));
    let mut visits = Visits::new(LONGEST_LIMIT);
    visits.add_in_backoff(1, &stored(LONGEST_BACKOFF * 2), now);
    assert_eq!(visits.next(now).unwrap().creates, [1]);
}

#[test]
fn a_visit_without_a_result_changes_nothing() {
    let mut visits = Visits::new(10 * MS);
    let now = Instant::now();
    (1..=2).for_each(|create| visits.add(1, create));
    let visit = visits.next(now).unwrap();
    assert_eq!(visit.limit, 10 * MS);
    visits.note(&visit, &Visited::default(), now);
    assert_eq!(visits.next(now), Some(visit));
}
