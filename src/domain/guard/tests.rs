use super::*;

const NONE: Budget = Budget { per_hour: None, per_day: None, percent_per_hour: None, percent_per_day: None };

fn used(last_hour: u64, last_day: u64) -> Usage {
    Usage { last_hour, last_day, linked_users: 1000 }
}

#[track_caller]
fn check(budget: Budget, usage: Usage, n: u64, expected: Option<&str>) {
    let got = over(Guarded::Deactivations, &budget, &usage, n);
    assert_eq!(got.as_deref(), expected);
}

#[test]
fn each_bound_holds_by_itself_and_to_the_last_one() {
    let per_hour = Budget { per_hour: Some(50), ..NONE };
    check(per_hour, used(49, 900), 1, None);
    check(
        per_hour,
        used(50, 50),
        1,
        Some("50 deactivations in the last hour; guard.deactivations.per_hour is 50"),
    );
    check(
        per_hour,
        used(49, 49),
        2,
        Some("49 deactivations in the last hour; guard.deactivations.per_hour is 50"),
    );
    let per_day = Budget { per_day: Some(60), ..NONE };
    check(per_day, used(0, 59), 1, None);
    check(
        per_day,
        used(0, 60),
        1,
        Some("60 deactivations in the last day; guard.deactivations.per_day is 60"),
    );
    let hourly = Budget { percent_per_hour: Some(2.0), ..NONE };
    check(hourly, used(19, 900), 1, None);
    check(
        hourly,
        used(20, 20),
        1,
        Some(
            "20 deactivations in the last hour; guard.deactivations.percent_per_hour is 2, which is 20 of 1000 users",
        ),
    );
    let daily = Budget { percent_per_day: Some(6.0), ..NONE };
    check(daily, used(0, 59), 1, None);
    check(
        daily,
        used(0, 60),
        1,
        Some(
            "60 deactivations in the last day; guard.deactivations.percent_per_day is 6, which is 60 of 1000 users",
        ),
    );
    check(NONE, used(u64::MAX, u64::MAX), 9, None);
}

#[test]
fn a_small_tenant_may_lose_one_user_a_day() {
    let budget = Budget { percent_per_day: Some(5.0), ..NONE };
    let usage = |n| Usage { last_hour: n, last_day: n, linked_users: 3 };
    check(budget, usage(0), 1, None);
    assert!(over(Guarded::Deactivations, &budget, &usage(1), 1).is_some());
    check(Budget { percent_per_day: Some(100.0), percent_per_hour: Some(100.0), ..NONE }, usage(9), 1, None);
    let none_linked = Usage { last_hour: 0, last_day: 0, linked_users: 0 };
    check(Budget { percent_per_day: Some(99.9), ..NONE }, none_linked, 1, None);
}

#[test]
fn a_day_has_24_hours() {
    assert_eq!((HOUR, DAY), (Duration::from_secs(3600), 24 * HOUR));
}

#[test]
fn a_budget_of_nothing_holds_everything() {
    check(
        Budget { per_day: Some(0), ..NONE },
        used(0, 0),
        1,
        Some("0 deactivations in the last day; guard.deactivations.per_day is 0"),
    );
}

#[test]
fn every_kind_has_its_budget_its_name_and_its_words() {
    let budget = |n| Budget { per_hour: Some(n), ..NONE };
    let budgets =
        Budgets { deactivations: budget(1), role_removals: budget(2), privileged_grants: budget(3) };
    let told = Guarded::ALL.map(|guarded| {
        let over = over(guarded, budgets.of(guarded), &used(3, 3), 1).unwrap();
        assert_eq!(guarded.to_string(), guarded.name());
        assert!(over.contains(guarded.name()), "{over}");
        over
    });
    assert_eq!(
        told,
        [
            "3 deactivations in the last hour; guard.deactivations.per_hour is 1",
            "3 roles taken in the last hour; guard.role_removals.per_hour is 2",
            "3 privileged roles given in the last hour; guard.privileged_grants.per_hour is 3",
        ]
    );
}

#[test]
fn what_a_plan_takes_is_added_up() {
    let mut spend = Spend::default();
    spend.add(Guarded::RoleRemovals, 0);
    assert!(spend.is_empty());
    spend.add(Guarded::RoleRemovals, 2);
    spend.add(Guarded::RoleRemovals, 1);
    spend.add(Guarded::Deactivations, 1);
    assert!(!spend.is_empty());
    assert_eq!(spend.of(Guarded::RoleRemovals), 3);
    assert_eq!(spend.of(Guarded::PrivilegedGrants), 0);
    assert_eq!(spend.total(), 4);
    assert_eq!(spend.iter().collect::<Vec<_>>(), [(Guarded::Deactivations, 1), (Guarded::RoleRemovals, 3)]);
}

#[test]
fn the_share_used_is_of_the_tightest_bound_of_its_window() {
    let budget =
        Budget { per_hour: Some(50), percent_per_hour: Some(2.0), per_day: Some(0), percent_per_day: None };
    // 2 % of 1000 are 20, and tighter than 50.
    assert_eq!(super::used(&budget, &used(5, 5), "hour"), Some(0.25));
    assert_eq!(super::used(&budget, &used(20, 20), "hour"), Some(1.0));
    assert_eq!(super::used(&budget, &used(0, 0), "day"), Some(1.0), "nothing may pass");
    assert_eq!(super::used(&NONE, &used(5, 5), "hour"), None);
}
