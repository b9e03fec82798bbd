//! What was seen of users: kept where it is news, found by time, dropped when nobody needs it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::support::*;
use crate::domain::link::Link;
use crate::domain::queue::{LinkChange, Outcome, Reason};
use crate::domain::seen::SeenState;
use crate::domain::user::{ScimId, UserId};
use crate::store::Store;

/// Runs a job of this user at this second that sees this, and links or unlinks them.
async fn see(store: &Store, n: u8, second: i64, mail: Option<&str>, link: LinkChange) {
    store.mark(vec![mark(n, Reason::Operator, second)], at(second)).await.unwrap();
    let running = store.claim(1, at(second)).await.unwrap().pop().unwrap();
    assert_eq!(running.job.user, user(n));
    let seen = mail.map(|mail| Box::new(seen(second, mail)));
    store.settle(running, Outcome { seen, link, ..done() }, at(second)).await.unwrap();
}

fn linked(n: u8) -> LinkChange {
    LinkChange::Put(Box::new(Link {
        scim_id: ScimId(n.to_string()),
        baseline: BTreeMap::new(),
        confirmed_at: at(0),
        source_fingerprint: None,
        deactivated_by_us: false,
        source_gone: false,
        purged: false,
        returned_at: None,
        normalised: Default::default(),
    }))
}

/// Second and mail of each state since then, by user.
async fn since(store: &Store, since: Timestamp) -> Vec<(u8, Vec<(i64, String)>)> {
    let plain = |state: SeenState| {
        let mail = state.properties["mail"].as_text().unwrap().to_owned();
        (state.at.as_second() - at(0).as_second(), mail)
    };
    let page = store.states_since(since, None, 99).await.unwrap();
    let of = |(user, states): (UserId, Vec<SeenState>)| {
        (user.as_bytes()[0], states.into_iter().map(plain).collect())
    };
    page.into_iter().map(of).collect()
}

fn states(list: &[(i64, &str)]) -> Vec<(i64, String)> {
    list.iter().map(|(second, mail)| (*second, (*mail).to_owned())).collect()
}

#[tokio::test]
async fn only_what_differs_is_kept() {
    let store = fresh();
    for (second, mail) in [(10, "a"), (20, "a"), (30, "b"), (40, "b"), (50, "a")] {
        see(&store, 1, second, Some(mail), linked(1)).await;
    }
    see(&store, 1, 60, None, LinkChange::Keep).await;
    assert_eq!(since(&store, at(0)).await, [(1, states(&[(10, "a"), (30, "b"), (50, "a")]))]);
    assert_eq!(store.state_at(user(1), Timestamp::MAX).await.unwrap(), Some(seen(50, "a")));
    assert_eq!(store.state_at(user(2), Timestamp::MAX).await.unwrap(), None);
}

#[tokio::test]
async fn the_state_in_force_is_the_last_one_before() {
    let store = fresh();
    see(&store, 1, 10, Some("a"), linked(1)).await;
    see(&store, 1, 30, Some("b"), linked(1)).await;
    see(&store, 2, 40, Some("c"), linked(2)).await;
    let state_at = async |second| store.state_at(user(1), at(second)).await.unwrap();
    assert_eq!(state_at(9).await, None);
    assert_eq!(state_at(10).await, Some(seen(10, "a")));
    assert_eq!(state_at(29).await, Some(seen(10, "a")));
    assert_eq!(state_at(99).await, Some(seen(30, "b")));
    let later = [(1, states(&[(10, "a"), (30, "b")])), (2, states(&[(40, "c")]))];
    assert_eq!(since(&store, at(20)).await, later);
    assert_eq!(since(&store, at(30)).await, [(1, states(&[(30, "b")])), (2, states(&[(40, "c")]))]);
    assert_eq!(since(&store, Timestamp::MAX).await, [(1, states(&[(30, "b")])), (2, states(&[(40, "c")]))]);
}

#[tokio::test]
async fn states_are_listed_by_user_a_page_at_a_time() {
    let store = fresh();
    for n in [3, 1, 255, 0] {
        see(&store, n, 10, Some("a"), linked(n)).await;
        see(&store, n, 20, Some("b"), linked(n)).await;
    }
    let page = async |after: Option<u8>| {
        let page = store.states_since(Timestamp::MAX, after.map(user), 2).await.unwrap();
        page.into_iter().map(|(user, _)| user.as_bytes()[0]).collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, [0, 1]);
    assert_eq!(page(Some(1)).await, [3, 255]);
    assert_eq!(page(Some(255)).await, NOBODY);
}

#[tokio::test]
async fn a_clock_that_was_set_back_puts_no_state_before_another() {
    let store = fresh();
    see(&store, 1, 50, Some("a"), linked(1)).await;
    see(&store, 1, 20, Some("b"), linked(1)).await;
    assert_eq!(since(&store, at(0)).await, [(1, states(&[(50, "b")]))]);
}

/// What the history is kept for, from this second on.
fn long_after(second: i64) -> Timestamp {
    at(second) + 90 * DAY
}

#[tokio::test]
async fn what_was_replaced_long_ago_goes_and_what_was_in_force_stays() {
    let store = fresh();
    for (second, mail) in [(10, "a"), (20, "b"), (30, "c")] {
        see(&store, 1, second, Some(mail), linked(1)).await;
    }
    assert!(!store.prune(long_after(25), 9).await.unwrap());
    assert_eq!(since(&store, at(0)).await, [(1, states(&[(20, "b"), (30, "c")]))], "b was in force at 25");
    store.prune(long_after(999), 9).await.unwrap();
    assert_eq!(since(&store, at(0)).await, [(1, states(&[(30, "c")]))], "the newest of who is linked stays");
    see(&store, 1, 1000, None, LinkChange::Remove).await;
    store.prune(long_after(999), 9).await.unwrap();
    assert_eq!(since(&store, at(0)).await.len(), 1, "a while it could still be asked for");
    store.prune(long_after(1001), 9).await.unwrap();
    assert_eq!(since(&store, at(0)).await, []);
}

#[tokio::test]
async fn who_is_never_linked_is_forgotten_in_time() {
    let store = fresh();
    see(&store, 1, 10, Some("a"), LinkChange::Keep).await;
    store.prune(long_after(9), 9).await.unwrap();
    assert_eq!(since(&store, at(0)).await.len(), 1);
    store.prune(long_after(11), 9).await.unwrap();
    assert_eq!(since(&store, at(0)).await, []);

    // Linked meanwhile, they are kept.
    see(&store, 2, 20, Some("a"), LinkChange::Keep).await;
    see(&store, 2, 30, Some("a"), linked(2)).await;
    store.prune(long_after(999), 9).await.unwrap();
    assert_eq!(since(&store, at(0)).await, [(2, states(&[(20, "a")]))]);
}

#[tokio::test]
async fn pruning_goes_in_small_steps() {
    let store = fresh();
    for second in 0..600 {
        see(&store, 1, second, Some(&second.to_string()), linked(1)).await;
    }
    assert!(store.prune(long_after(700), 1).await.unwrap(), "one step is not enough");
    assert_eq!(since(&store, at(0)).await[0].1.len(), 100);
    assert!(!store.prune(long_after(700), 9).await.unwrap());
    assert_eq!(since(&store, at(0)).await, [(1, states(&[(599, "599")]))]);
}

/// What happens to one user.
#[derive(Clone, Copy, Debug)]
enum Event {
    See(u8),
    Link,
    Unlink,
    Prune,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..3_u8).prop_map(Event::See),
        1 => Just(Event::Link),
        1 => Just(Event::Unlink),
        2 => Just(Event::Prune),
    ];
    prop::collection::vec(event, 1..30)
}

/// All states seen, by a list: at any time since the horizon the store must know the one in force, and
/// it keeps no more than that takes.
async fn follow(events: Vec<Event>) {
    const DAYS: i64 = 86_400;
    let store = fresh();
    let (mut all, mut is_linked, mut second) = (Vec::<(i64, u8)>::new(), false, 0_i64);
    for event in events {
        second += 20 * DAYS;
        let horizon = second - 90 * DAYS;
        match event {
            Event::See(mail) => {
                see(&store, 1, second, Some(&mail.to_string()), LinkChange::Keep).await;
                if all.last().is_none_or(|(_, last)| *last != mail) {
                    all.push((second, mail));
                }
            }
            Event::Link => {
                see(&store, 1, second, None, linked(1)).await;
                is_linked = true;
            }
            Event::Unlink => {
                see(&store, 1, second, None, LinkChange::Remove).await;
                is_linked = false;
            }
            Event::Prune => {
                store.prune(at(second), 9).await.unwrap();
                let is_old = all.last().is_some_and(|(seen, _)| *seen < horizon);
                // Who is linked to nobody and was seen that long ago may be forgotten.
                if !is_linked && is_old && store.state_at(user(1), Timestamp::MAX).await.unwrap().is_none() {
                    all.clear();
                }
                let kept = store.states_since(at(0), None, 9).await.unwrap();
                let kept: usize = kept.iter().map(|(_, states)| states.len()).sum();
                let needed = all.iter().filter(|(seen, _)| *seen >= horizon).count() + 1;
                assert!(kept <= needed, "{kept} kept, {needed} needed: {all:?}");
            }
        }
        for second in (horizon.max(0)..=second).step_by(10 * 86_400) {
            let expected = all.iter().rev().find(|(seen, _)| *seen <= second).map(|(_, mail)| *mail);
            let found = store.state_at(user(1), at(second)).await.unwrap();
            let found = found.map(|state| state.properties["mail"].as_text().unwrap().parse().unwrap());
            assert_eq!(found, expected, "at {second}: {all:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_state_in_force_is_known_and_no_more_kept(events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(follow(events));
    }
}
