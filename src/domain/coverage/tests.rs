use super::*;

const BOUNDS: Bounds = Bounds { least: minutes(2), most: minutes(15) };

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
}

fn users(numbers: impl IntoIterator<Item = u16>) -> BTreeSet<UserId> {
    numbers.into_iter().map(|n| UserId::from_bytes(u128::from(n).to_be_bytes())).collect()
}

fn news(numbers: impl IntoIterator<Item = u16>) -> Shown {
    Shown { news: users(numbers), others: BTreeSet::new() }
}

/// A round in which so many announced changes were shown.
fn announced(coverage: &mut Coverage, n: u16, minute: i64) {
    let others = users(1000..1000 + n);
    let shown = Shown { news: BTreeSet::new(), others: others.clone() };
    assert_eq!(coverage.learn(&shown, &others, BOUNDS, at(minute)), 0);
}

fn interval(coverage: &Coverage) -> u64 {
    coverage.poll_interval(BOUNDS).as_secs() / 60
}

#[test]
fn a_notification_that_is_still_on_its_way_makes_no_lost_change() {
    let mut coverage = Coverage::default();
    assert_eq!(coverage.learn(&news([1, 2]), &users([]), BOUNDS, at(0)), 0);
    assert_eq!((coverage.ratio(), interval(&coverage)), (None, 15), "nothing is decided yet");
    assert_eq!(coverage.verdict_at(), Some(at(5)));
    assert_eq!(coverage.in_doubt(), (users([1, 2]), Some(at(0))));
    // One of the two came a moment later.
    assert_eq!(coverage.learn(&news([]), &users([1]), BOUNDS, at(4)), 0);
    assert_eq!(coverage.counts(), (1, 0));
    assert_eq!(coverage.learn(&news([]), &users([]), BOUNDS, at(5)), 1);
    assert_eq!((coverage.counts(), coverage.verdict_at()), ((1, 1), None));
}

#[test]
fn a_change_is_counted_once_however_often_a_round_shows_it() {
    let mut coverage = Coverage::default();
    for minute in 0..5 {
        coverage.learn(&news([1]), &users([]), BOUNDS, at(minute));
    }
    assert_eq!(coverage.learn(&news([]), &users([]), BOUNDS, at(5)), 1);
    assert_eq!(coverage.counts(), (0, 1));
    // Late, and on the pages of the same round.
    let mut coverage = Coverage::default();
    coverage.learn(&news([1]), &users([]), BOUNDS, at(0));
    coverage.learn(&news([1]), &users([1]), BOUNDS, at(1));
    assert_eq!(coverage.counts(), (1, 0));
}

#[test]
fn whoever_nobody_announced_and_nothing_is_new_about_says_nothing() {
    let mut coverage = Coverage::default();
    let shown = Shown { news: BTreeSet::new(), others: users([1, 2, 3]) };
    coverage.learn(&shown, &users([2]), BOUNDS, at(0));
    assert_eq!((coverage.counts(), coverage.verdict_at()), ((1, 0), None));
}

#[test]
fn the_poll_steps_in_when_changes_are_missed_and_withdraws_step_by_step() {
    let mut coverage = Coverage::default();
    announced(&mut coverage, 10, 0);
    coverage.learn(&news([1]), &users([]), BOUNDS, at(15));
    assert_eq!(interval(&coverage), 15, "a doubt is no loss");
    coverage.learn(&news([]), &users([]), BOUNDS, at(20));
    assert_eq!((coverage.ratio(), interval(&coverage)), (Some(10.0 / 11.0), 2));
    // Nothing has shown yet that it is well again.
    coverage.learn(&news([]), &users([]), BOUNDS, at(22));
    assert_eq!(interval(&coverage), 2);
    for (minute, expected) in [(24, 4), (28, 8), (36, 15), (51, 15)] {
        announced(&mut coverage, 1, minute);
        assert_eq!(interval(&coverage), expected);
    }
}

#[test]
fn one_lost_among_many_is_no_reason_to_poll_more() {
    let mut coverage = Coverage::default();
    announced(&mut coverage, 99, 0);
    coverage.learn(&news([1]), &users([]), BOUNDS, at(15));
    assert_eq!(coverage.learn(&news([]), &users([]), BOUNDS, at(20)), 1);
    assert_eq!((coverage.ratio(), interval(&coverage)), (Some(0.99), 15));
}

#[test]
fn what_is_long_ago_is_forgotten_and_the_poll_goes_back_to_normal() {
    let mut coverage = Coverage::default();
    coverage.learn(&news([1]), &users([]), BOUNDS, at(0));
    coverage.learn(&news([]), &users([]), BOUNDS, at(5));
    assert_eq!((coverage.ratio(), interval(&coverage)), (Some(0.0), 2));
    coverage.learn(&news([]), &users([]), BOUNDS, at(5 + 24 * 60));
    assert_eq!(interval(&coverage), 2);
    for expected in [4, 8, 15] {
        coverage.learn(&news([]), &users([]), BOUNDS, at(6 + 24 * 60));
        assert_eq!((coverage.ratio(), interval(&coverage)), (None, expected));
    }
    // So are those beyond a thousand.
    coverage.learn(&news([1]), &users([]), BOUNDS, at(3000));
    coverage.learn(&news([]), &users([]), BOUNDS, at(3005));
    for minute in 0..10 {
        announced(&mut coverage, 100, 3010 + minute);
    }
    assert_eq!(coverage.counts(), (1000, 0));
}

#[test]
fn it_survives_being_written_down_and_other_bounds() {
    let mut coverage = Coverage::default();
    coverage.learn(&news([1, 2]), &users([]), BOUNDS, at(0));
    coverage.learn(&news([3]), &users([]), BOUNDS, at(5));
    let kept: Coverage = serde_json::from_str(&serde_json::to_string(&coverage).unwrap()).unwrap();
    assert_eq!(kept, coverage);
    assert_eq!(interval(&kept), 2);
    let other = |least, most| kept.poll_interval(Bounds { least: minutes(least), most: minutes(most) });
    assert_eq!(other(5, 15), minutes(5));
    assert_eq!(other(1, 1), minutes(1));
    assert_eq!(serde_json::from_str::<Coverage>("{}").unwrap(), Coverage::default());
}
