//! The guard's ledger, and what operators decide about what it holds.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::log::{begin, intent, settle, work};
use super::support::*;
use crate::domain::case::{
    CaseChange, Forbidden, HeldItem, Preapproval, Restraint, RestraintReason, Task, Work,
};
use crate::domain::guard::{Budget, Budgets, DAY as GUARD_DAY, Guarded, HOUR, Spend};
use crate::domain::plan::set_hash;
use crate::domain::queue::{Change, Intent, Operation, Outcome, Reason, State, WriteResult, Wrote};
use crate::domain::user::{Attribute, Value};
use crate::store::{Begun, Ruled, Ruling, Store, Verdict};

fn spend(n: u64) -> Spend {
    let mut spend = Spend::default();
    spend.add(Guarded::Deactivations, n);
    spend
}

fn deactivation(n: u8, second: i64) -> Intent {
    Intent { spend: spend(1), ..intent(n, second, Operation::Deactivate) }
}

fn per_hour(n: u64) -> Budgets {
    Budgets { deactivations: Budget { per_hour: Some(n), ..Budget::default() }, ..Budgets::default() }
}

async fn ask(store: &Store, n: u8, second: i64, budgets: Budgets, clock: Duration) -> Begun {
    store.begin_write(deactivation(n, second), budgets, clock).await.unwrap()
}

fn passed(begun: &Begun) -> bool {
    matches!(begun, Begun::Go(_))
}

#[tokio::test]
async fn what_is_over_is_held_and_the_rest_goes_on() {
    let store = fresh();
    for n in 1..=3 {
        assert!(passed(&ask(&store, n, 1, per_hour(3), MINUTE).await));
    }
    let Begun::Over(over) = ask(&store, 4, 1, per_hour(3), MINUTE).await else { panic!("no room") };
    assert_eq!(over[0].0, Guarded::Deactivations);
    assert!(over[0].1.contains("per_hour is 3"), "{over:?}");
    assert!(passed(&store.begin_write(intent(4, 1, Operation::Patch), per_hour(3), MINUTE).await.unwrap()));
    // An hour of the guard's own time later, whatever the wall says.
    assert!(!passed(&ask(&store, 5, 1, per_hour(3), HOUR).await), "the minute counts whole");
    assert!(passed(&ask(&store, 5, 1, per_hour(3), HOUR + 2 * MINUTE).await));
}

#[tokio::test]
async fn neither_a_restart_nor_the_wall_clock_makes_room() {
    let memory = Memory::default();
    let store = open(&memory);
    assert!(passed(&ask(&store, 1, 0, per_hour(1), MINUTE).await));
    store.close().await;
    let store = open(&memory);
    let years = 10 * 365 * 86_400;
    assert!(!passed(&ask(&store, 2, years, per_hour(1), MINUTE).await), "the wall clock is years on");
    assert!(!passed(&ask(&store, 3, -years, per_hour(1), MINUTE).await), "or years back");
    assert!(
        !passed(&ask(&store, 4, 0, per_hour(1), Duration::ZERO).await),
        "the guard's clock never goes back"
    );
    assert_eq!(store.guard_clock().await.unwrap(), MINUTE);
}

#[tokio::test]
async fn what_surely_was_not_done_is_given_back() {
    let store = fresh();
    for (n, result, room) in [
        (1, WriteResult::Refused { error: "no".to_owned() }, true),
        (2, WriteResult::Unknown { error: "?".to_owned() }, false),
    ] {
        let Begun::Go(number) = ask(&store, n, 1, per_hour(1), MINUTE).await else { panic!("there is room") };
        let wrote =
            Wrote { intent: number, at: at(2), scim_id: None, result, shown: Default::default(), lag_ms: 0 };
        settle(&store, n, 2, Outcome { writes: vec![wrote], ..done() }).await;
        let usage = store.guard_usage(Guarded::Deactivations, MINUTE).await.unwrap();
        assert_eq!(usage.last_hour == 0, room, "{n}");
    }
}

/// Asks for a write of user 1 and ends it so.
async fn written(store: &Store, second: i64, active: bool, result: WriteResult) -> bool {
    let after = Some(Value::Flag(active));
    let wish = Intent {
        desired: active.to_string(),
        changes: vec![Change { attribute: Attribute::Active, before: None, after }],
        ..intent(1, second, Operation::Patch)
    };
    match store.begin_write(wish, Budgets::default(), MINUTE).await.unwrap() {
        Begun::Go(intent) => {
            let shown = Default::default();
            let wrote = Wrote { intent, at: at(second), scim_id: None, result, shown, lag_ms: 0 };
            settle(store, 1, second, Outcome { writes: vec![wrote], ..done() }).await;
            true
        }
        Begun::TooOften => false,
        over => panic!("{over:?}"),
    }
}

#[tokio::test]
async fn the_same_is_written_three_times_a_day_and_not_more() {
    let store = fresh();
    let yes = || WriteResult::Applied;
    for (second, result) in [(0, yes()), (10, WriteResult::NotApplied), (20, yes())] {
        assert!(written(&store, second, false, result).await);
    }
    assert!(!written(&store, 30, false, yes()).await);
    assert!(written(&store, 86_401, false, yes()).await, "the first is more than a day ago");
    assert!(!written(&store, 86_402, false, yes()).await);
    // Entra changed its mind in between: that is no fight.
    assert!(written(&store, 86_403, true, yes()).await);
    assert!(written(&store, 86_404, false, yes()).await);
}

#[tokio::test]
async fn a_neighbour_that_is_ill_is_tried_more_often() {
    let store = fresh();
    let error = || String::from("503");
    for second in 0..6 {
        assert!(written(&store, second, false, WriteResult::Unknown { error: error() }).await);
        assert!(written(&store, second, false, WriteResult::Refused { error: error() }).await);
    }
    assert!(written(&store, 10, false, WriteResult::Applied).await);
}

fn ended(number: u64, second: i64, result: WriteResult) -> Wrote {
    Wrote { intent: number, at: at(second), scim_id: None, result, shown: Default::default(), lag_ms: 0 }
}

#[tokio::test]
async fn the_same_once_more_takes_its_charge_along() {
    let store = fresh();
    let unknown = || WriteResult::Unknown { error: "?".to_owned() };
    let refused = || WriteResult::Refused { error: "no".to_owned() };
    let wish = |n, clock: Duration| Intent {
        desired: "off".to_owned(),
        ..deactivation(n, i64::try_from(clock.as_secs()).unwrap())
    };
    let write = async |n, clock: Duration, result| {
        let begun = store.begin_write(wish(n, clock), per_hour(1), clock).await.unwrap();
        let Begun::Go(number) = begun else { return false };
        let second = i64::try_from(clock.as_secs()).unwrap();
        settle(&store, n, second, Outcome { writes: vec![ended(number, second, result)], ..done() }).await;
        true
    };
    let used = async |clock| store.guard_usage(Guarded::Deactivations, clock).await.unwrap().last_hour;
    assert!(write(1, MINUTE, unknown()).await);
    assert!(!write(2, 2 * MINUTE, unknown()).await, "that may have been done");
    assert!(write(1, 50 * MINUTE, refused()).await, "it is the same account");
    assert_eq!(used(50 * MINUTE).await, 1, "the first may have been done although the second was not");
    assert!(!write(2, 70 * MINUTE, unknown()).await, "it is as young as the last try");
    assert!(write(1, 80 * MINUTE, WriteResult::Applied).await);
    assert!(!write(1, 90 * MINUTE, unknown()).await, "done, undone by others, and done again is twice");
    assert!(write(2, 150 * MINUTE, unknown()).await);
    assert_eq!(used(150 * MINUTE).await, 1);
}

fn held_item(n: u8, plan: &str) -> HeldItem {
    HeldItem {
        since: at(i64::from(n)),
        plan: plan.to_owned(),
        operation: Operation::Deactivate,
        scim_id: None,
        changes: vec![Change {
            attribute: Attribute::Active,
            before: Some(Value::Flag(true)),
            after: Some(Value::Flag(false)),
        }],
        evidence: None,
        spend: spend(1),
        words: "over".to_owned(),
    }
}

/// Users 1 to 3 are held by the guard.
async fn with_held(store: &Store) -> String {
    for n in 1..=3 {
        let case =
            CaseChange { held: Some(Some(held_item(n, &format!("plan {n}")))), ..CaseChange::default() };
        settle(store, n, 10, Outcome { case, ..hold() }).await;
    }
    let held = store.held().await.unwrap();
    set_hash(held.iter().map(|(user, item)| (*user, item.plan.as_str())))
}

fn ruling(users: &[u8], set: &str, verdict: Verdict) -> Ruling {
    let users = users.iter().map(|n| user(*n)).collect();
    Ruling { users, set: set.to_owned(), by: "ana".to_owned(), verdict }
}

/// All that is held is approved until then.
async fn with_approved(store: &Store, until: i64) {
    let set = with_held(store).await;
    let approve = Verdict::Approve { expires_at: at(until) };
    store.rule(ruling(&[], &set, approve), at(20)).await.unwrap();
}

fn named(n: u8, plan: &str, second: i64) -> Intent {
    Intent { plan: plan.to_owned(), ..deactivation(n, second) }
}

#[tokio::test]
async fn an_approval_is_for_exactly_the_set_that_was_shown_and_ends() {
    let store = fresh();
    let set = with_held(&store).await;
    let approve = Verdict::Approve { expires_at: at(1000) };
    let other = store.rule(ruling(&[1], &set, approve), at(20)).await.unwrap();
    assert!(matches!(other, Ruled::OtherSet { users: 1, .. }), "{other:?}");
    assert_eq!(store.case(user(1)).await.unwrap().unwrap().approval, None);
    assert_eq!(store.rule(ruling(&[], &set, approve), at(20)).await.unwrap(), Ruled::Done { users: 3 });
    assert_eq!(store.job(user(1)).await.unwrap().unwrap().state, State::Due);

    let nothing = per_hour(0);
    let ask = async |intent: Intent| store.begin_write(intent, nothing, MINUTE).await.unwrap();
    assert!(!passed(&ask(named(1, "another plan", 30)).await));
    assert!(passed(&ask(named(1, "plan 1", 30)).await));
    let approved = store.history(Some(user(1)), None, 1).await.unwrap();
    assert_eq!(approved[0].approved_by.as_deref(), Some("ana"));
    assert!(!passed(&ask(named(2, "plan 2", 1000)).await), "it has expired");
    assert!(passed(&ask(named(3, "plan 3", 999)).await));
    let usage = store.guard_usage(Guarded::Deactivations, MINUTE).await.unwrap();
    assert_eq!(usage.last_day, 0, "what was approved leaves the budget to the others");
    let remarks = store.remarks(Some(user(2)), 9).await.unwrap();
    assert_eq!((remarks[0].code.as_str(), remarks[0].by.as_deref()), ("approved", Some("ana")));
}

#[tokio::test]
async fn what_was_held_stays_held_when_room_frees_and_until_it_is_tried_again() {
    let store = fresh();
    with_held(&store).await;
    let plenty = per_hour(100);
    assert!(!passed(&ask(&store, 1, 30, plenty, MINUTE).await));
    assert!(passed(&ask(&store, 4, 30, plenty, MINUTE).await), "others have the room");
    store.retry(Some(vec![user(1)]), &[State::Held], at(40)).await.unwrap();
    assert!(passed(&ask(&store, 1, 40, plenty, MINUTE).await), "an operator asked anew");
    store.drop_job(user(2), at(0)).await.unwrap();
    assert_eq!(store.held().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_rejected_is_forbidden_until_it_is_lifted() {
    let store = fresh();
    let set = with_held(&store).await;
    assert_eq!(
        store.rule(ruling(&[], &set, Verdict::Reject), at(20)).await.unwrap(),
        Ruled::Done { users: 3 }
    );
    assert_eq!(store.held().await.unwrap(), []);
    let case = store.case(user(1)).await.unwrap().unwrap();
    let forbids = Forbidden::Value { attribute: Attribute::Active, value: Some(Value::Flag(false)) };
    let by = "ana".to_owned();
    assert_eq!(
        case.restraints,
        [Restraint { forbids, why: RestraintReason::Rejected, evidence: None, by, at: at(20) }]
    );
    assert_eq!(store.lift(user(1), "ben".to_owned(), at(30)).await.unwrap(), 1);
    assert_eq!(store.case(user(1)).await.unwrap(), None, "an empty case is not kept");
    assert_eq!(store.lift(user(1), "ben".to_owned(), at(30)).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_rejected_after_the_look_is_not_written_although_there_is_room() {
    let store = fresh();
    let set = with_held(&store).await;
    store.rule(ruling(&[], &set, Verdict::Reject), at(20)).await.unwrap();
    let off = || Intent { changes: held_item(1, "plan 1").changes, ..named(1, "plan 1", 21) };
    let ask = async |intent| store.begin_write(intent, Budgets::default(), MINUTE).await.unwrap();
    assert_eq!(ask(off()).await, Begun::Overruled);
    assert_eq!(store.history(Some(user(1)), None, 9).await.unwrap(), [], "no intent is left of it");
    assert!(passed(&ask(Intent { changes: Vec::new(), ..off() }).await), "what is not forbidden is");
    store.lift(user(1), "ben".to_owned(), at(30)).await.unwrap();
    assert!(passed(&ask(off()).await));
    assert_eq!(ask(Intent { batch: Some("gone".to_owned()), ..off() }).await, Begun::Overruled);
}

#[tokio::test]
async fn a_retry_does_not_end_an_approval() {
    let store = fresh();
    with_approved(&store, 1000).await;
    // The write failed: it waits, and an operator hurries it.
    let claims = store.claim(9, at(20)).await.unwrap();
    for claim in claims {
        store.settle(claim, again(500), at(21)).await.unwrap();
    }
    let retry = async |second| store.retry(None, &[State::Waiting], at(second)).await.unwrap();
    assert_eq!(retry(30).await, 3);
    let case = store.case(user(1)).await.unwrap().unwrap();
    assert!(case.approval.is_some() && case.held.is_some());
    for claim in store.claim(9, at(30)).await.unwrap() {
        store.settle(claim, again(2000), at(31)).await.unwrap();
    }
    retry(1000).await;
    assert_eq!(store.case(user(1)).await.unwrap(), None, "one that has expired is no reason to hold it");
}

#[tokio::test]
async fn an_approval_that_was_not_used_ends_when_the_job_is_dropped() {
    let store = fresh();
    with_approved(&store, 1000).await;
    store.drop_job(user(1), at(21)).await.unwrap();
    assert_eq!(store.case(user(1)).await.unwrap(), None);
    settle(&store, 2, 22, Outcome { case: CaseChange { held: Some(None), ..Default::default() }, ..done() })
        .await;
    assert_eq!(store.case(user(2)).await.unwrap(), None, "it has come to nothing");
    assert!(!passed(&store.begin_write(named(2, "plan 2", 30), per_hour(0), MINUTE).await.unwrap()));
}

#[tokio::test]
async fn a_held_item_keeps_the_time_of_its_beginning() {
    let store = fresh();
    with_held(&store).await;
    let later = HeldItem { since: at(500), ..held_item(1, "plan 1b") };
    let case = CaseChange { held: Some(Some(later)), ..CaseChange::default() };
    settle(&store, 1, 500, Outcome { case, ..hold() }).await;
    let held = store.case(user(1)).await.unwrap().unwrap().held.unwrap();
    assert_eq!((held.since, held.plan.as_str()), (at(1), "plan 1b"));
}

#[tokio::test]
async fn an_announced_change_has_its_own_room_for_its_own_people() {
    let store = fresh();
    let preapproval = Preapproval {
        id: uuid::Uuid::from_bytes([1; 16]),
        group: group(1),
        users: 3,
        most: 2,
        used: 0,
        by: "ana".to_owned(),
        at: at(0),
        until: at(1000),
    };
    let people: BTreeSet<_> = [1, 2, 3, 4].map(user).into();
    store.preapprove(preapproval.clone(), people).await.unwrap();
    let nothing = per_hour(0);
    assert!(!passed(&ask(&store, 9, 10, nothing, MINUTE).await), "not one of them");
    assert!(passed(&ask(&store, 1, 10, nothing, MINUTE).await));
    let Begun::Go(number) = ask(&store, 2, 10, nothing, MINUTE).await else { panic!("announced") };
    assert!(!passed(&ask(&store, 3, 10, nothing, MINUTE).await), "two were announced");
    let result = WriteResult::Refused { error: "no".to_owned() };
    let wrote =
        Wrote { intent: number, at: at(11), scim_id: None, result, shown: Default::default(), lag_ms: 0 };
    settle(&store, 2, 11, Outcome { writes: vec![wrote], ..done() }).await;
    assert_eq!(store.preapprovals().await.unwrap(), [Preapproval { used: 1, ..preapproval.clone() }]);
    assert!(!passed(&ask(&store, 3, 1000, nothing, MINUTE).await), "its time is over");
    assert!(passed(&ask(&store, 3, 999, nothing, MINUTE).await));
    store.prune(at(1000), 1).await.unwrap();
    assert_eq!(store.preapprovals().await.unwrap(), []);
    store.preapprove(preapproval.clone(), [user(1)].into()).await.unwrap();
    let end = async || store.end_preapproval(preapproval.id, "ben".to_owned(), at(15)).await.unwrap();
    assert!(end().await);
    assert!(!end().await);
    assert!(!passed(&ask(&store, 1, 20, nothing, MINUTE).await));
    let remark = store.remarks(None, 1).await.unwrap().remove(0);
    assert_eq!((remark.code.as_str(), remark.by.as_deref()), ("preapproval_ended", Some("ben")));
}

#[tokio::test]
async fn an_order_is_kept_with_its_user_until_it_is_done() {
    let store = fresh();
    store.order(vec![(user(1), work("a")), (user(2), work("a"))], at(1)).await.unwrap();
    assert_eq!(store.working_on("a").await.unwrap(), [user(1), user(2)]);
    assert_eq!(store.job(user(1)).await.unwrap().unwrap().reason, Reason::Operator);
    let over = |batch: &str| CaseChange { work_done: Some(batch.to_owned()), ..CaseChange::default() };
    settle(&store, 1, 2, Outcome { case: over("b"), ..done() }).await;
    assert_eq!(store.working_on("a").await.unwrap().len(), 2, "another order is not this one");
    settle(&store, 1, 3, Outcome { case: over("a"), ..done() }).await;
    assert_eq!(store.working_on("a").await.unwrap(), [user(2)]);
}

/// What the history says of an order, oldest first.
async fn told(store: &Store, batch: &str) -> Vec<String> {
    let remarks = store.remarks(None, 99).await.unwrap().into_iter().rev();
    let of_batch = remarks.filter(|remark| remark.batch.as_deref() == Some(batch));
    of_batch.map(|remark| remark.words).collect()
}

#[tokio::test]
async fn an_order_that_is_replaced_rejected_or_dropped_says_so() {
    let store = fresh();
    let work = |batch: &str, task| Work {
        batch: batch.to_owned(),
        by: "ana".to_owned(),
        at: at(0),
        expires_at: at(99),
        task,
    };
    let apply = || Task::Apply { plan: "p".to_owned() };
    store.order(vec![(user(1), work("a", apply()))], at(1)).await.unwrap();
    let undo = Task::Undo { changes: held_item(1, "plan 1").changes, evidence: None };
    store.order(vec![(user(1), work("b", undo))], at(2)).await.unwrap();
    assert_eq!(told(&store, "a").await, ["ordered", "apply: replaced by b"]);

    let set = with_held(&store).await;
    store.rule(ruling(&[], &set, Verdict::Reject), at(20)).await.unwrap();
    assert_eq!(told(&store, "b").await, ["ordered", "undo: rejected"]);
    assert_eq!(store.working_on("b").await.unwrap(), []);
    assert_eq!(store.case(user(1)).await.unwrap(), None, "what an undo wanted nobody else does");
    assert!(store.case(user(2)).await.unwrap().is_some());

    store.order(vec![(user(4), work("c", apply()))], at(30)).await.unwrap();
    store.drop_job(user(4), at(31)).await.unwrap();
    assert_eq!(told(&store, "c").await, ["ordered", "apply: dropped"]);
    assert_eq!(store.case(user(4)).await.unwrap(), None);
}

#[derive(Clone, Debug)]
enum Step {
    Ask { user: u8, n: u64 },
    Refuse,
    Pass { seconds: u64 },
    Jump { wall: i64 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u8..40, 1u64..4).prop_map(|(user, n)| Step::Ask { user, n }),
        1 => Just(Step::Refuse),
        3 => (0u64..5000).prop_map(|seconds| Step::Pass { seconds }),
        1 => (-100_000i64..100_000).prop_map(|wall| Step::Jump { wall }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked in whatever order, across restarts, refusals and clocks that are corrected:
    /// in no hour and in no day of the guard's time is more let through than the budget says.
    #[test]
    fn no_window_ever_holds_more_than_its_budget(steps in steps(), hour in 1u64..6, day in 4u64..12) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let budget = Budget { per_hour: Some(hour), per_day: Some(day), ..Budget::default() };
            let budgets = Budgets { deactivations: budget, ..Budgets::default() };
            let memory = Memory::default();
            let mut store = open(&memory);
            let (mut clock, mut wall, mut serial) = (0u64, 0i64, 0i64);
            // What may have been done: when, how much, and its intent.
            let mut let_through: Vec<(u64, u64, u64, u8)> = Vec::new();
            for step in steps {
                serial += 1;
                match step {
                    Step::Ask { user, n } => {
                        let mut intent = Intent { spend: spend(n), ..intent(user, wall, Operation::Deactivate) };
                        intent.desired = serial.to_string();
                        let begun = store.begin_write(intent, budgets, Duration::from_secs(clock)).await.unwrap();
                        if let Begun::Go(number) = begun {
                            let_through.push((clock, n, number, user));
                        }
                    }
                    Step::Refuse => {
                        if let Some((_, _, number, n)) = let_through.pop() {
                            let result = WriteResult::Refused { error: String::new() };
                            let wrote = Wrote { intent: number, at: at(wall), scim_id: None, result, shown: Default::default(), lag_ms: 0 };
                            settle(&store, n, wall, Outcome { writes: vec![wrote], ..done() }).await;
                        }
                    }
                    Step::Pass { seconds } => {
                        clock += seconds;
                        wall += i64::try_from(seconds).unwrap();
                    }
                    Step::Jump { wall: by } => wall += by,
                    Step::Restart => {
                        store.close().await;
                        store = open(&memory);
                    }
                }
                for (window, bound) in [(HOUR, hour), (GUARD_DAY, day)] {
                    let within = let_through.iter().filter(|(at, ..)| clock - at < window.as_secs());
                    let n: u64 = within.map(|(_, n, ..)| n).sum();
                    assert!(n <= bound, "{n} in {window:?} at {clock}: {let_through:?}");
                }
            }
        });
    }
}

#[tokio::test]
async fn begun_writes_are_numbered_in_their_order() {
    let store = fresh();
    assert_eq!(begin(&store, intent(1, 1, Operation::Patch)).await, 1);
    assert_eq!(begin(&store, intent(2, 2, Operation::Patch)).await, 2);
}
