//! The journal from outside: folding, replay, retention, and the chores that news asks for.

use std::collections::BTreeSet;

use super::support::*;
use crate::domain::queue::{Chore, ChoreOutcome, LifecycleEvent, News, Reason, State};
use crate::domain::subscription::Resource;
use crate::domain::user::UserId;
use crate::store::{Replay, Store};

async fn chores(store: &Store) -> Vec<Chore> {
    store.chores().await.unwrap().into_iter().map(|entry| entry.chore).collect()
}

async fn users(store: &Store) -> Vec<UserId> {
    store.jobs(None, 99, None).await.unwrap().into_iter().map(|job| job.user).collect()
}

/// Makes marks and chores of everything accepted.
async fn fold(store: &Store) {
    assert!(store.claim(0, at(500)).await.unwrap().is_empty());
}

#[tokio::test]
async fn news_of_a_group_asks_for_a_reading_if_the_group_is_relevant() {
    let store = fresh();
    store.set_roots(&BTreeSet::from([group(1)])).await.unwrap();
    store.accept(vec![News::Group { id: group(1) }, News::Group { id: group(2) }], at(1)).await.unwrap();
    fold(&store).await;
    assert_eq!(chores(&store).await, [Chore::Group(group(1))]);
}

#[tokio::test]
async fn lifecycle_news_asks_for_upkeep_and_for_polls_where_news_was_lost() {
    let polls = Resource::ALL.map(Chore::Poll);
    for (event, mut asked) in [
        (LifecycleEvent::ReauthorizationRequired, vec![Chore::Renew("s".to_owned())]),
        (LifecycleEvent::SubscriptionRemoved, [&[Chore::Subscriptions], &polls[..]].concat()),
        (LifecycleEvent::Missed, polls.to_vec()),
    ] {
        let store = fresh();
        store.accept(vec![News::Lifecycle { subscription: "s".to_owned(), event }], at(1)).await.unwrap();
        assert_eq!(store.next_chore_due(at(2)).await.unwrap(), Some(at(2)));
        let claims = store.claim_chores(at(3)).await.unwrap();
        let mut claimed: Vec<_> = claims.iter().map(|claim| claim.entry.chore.clone()).collect();
        claimed.sort();
        asked.sort();
        assert_eq!(claimed, asked);
    }
}

#[tokio::test]
async fn a_body_of_many_items_is_folded_a_step_at_a_time() {
    let store = fresh();
    let ids = (0..2300_u16).map(|n| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        UserId::from_bytes(id)
    });
    store.accept(ids.map(|id| News::User { id, deleted: false }).collect(), at(1)).await.unwrap();
    for due in [1000, 2000, 2300] {
        fold(&store).await;
        assert_eq!(store.depth(at(2)).await.unwrap().due, due);
    }
}

#[tokio::test]
async fn folding_goes_on_where_it_stopped_after_a_restart() {
    let memory = Memory::default();
    let store = open(&memory);
    store.accept(vec![news(1)], at(1)).await.unwrap();
    fold(&store).await;
    store.drop_job(user(1), at(0)).await.unwrap();
    store.accept(vec![news(2)], at(2)).await.unwrap();
    store.close().await;
    let store = open(&memory);
    store.accept(vec![news(3)], at(3)).await.unwrap();
    fold(&store).await;
    assert_eq!(users(&store).await, [user(2), user(3)]);
}

#[tokio::test]
async fn news_is_folded_after_everything_older_was_pruned_and_the_store_reopened() {
    let memory = Memory::default();
    let store = open(&memory);
    for n in 1..=3 {
        store.accept(vec![news(n)], at(1)).await.unwrap();
    }
    fold(&store).await;
    store.prune(at(0) + 8 * DAY, 9).await.unwrap();
    store.close().await;
    let store = open(&memory);
    store.accept(vec![news(4)], at(4)).await.unwrap();
    fold(&store).await;
    assert_eq!(users(&store).await.len(), 4);
}

/// A store that heard of users 1 and 2 at 10, of 2 and 3 at 20, and is done with all of them.
async fn with_a_past() -> Store {
    let store = fresh();
    store.accept(vec![news(1), news(2)], at(10)).await.unwrap();
    store.accept(vec![news(2), News::User { id: user(3), deleted: true }], at(20)).await.unwrap();
    for running in store.claim(9, at(21)).await.unwrap() {
        store.settle(running, done(), at(22)).await.unwrap();
    }
    store
}

#[tokio::test]
async fn replay_marks_again_what_the_journal_names() {
    for (replay, expected) in [
        (Replay { since: Some(at(15)), ..Replay::default() }, vec![2, 3]),
        (Replay { all: true, ..Replay::default() }, vec![1, 2, 3]),
        (Replay { users: vec![user(9)], ..Replay::default() }, vec![9]),
        (Replay { users: vec![user(1), user(2)], since: Some(at(15)), ..Replay::default() }, vec![2]),
        (Replay { parked: true, ..Replay::default() }, vec![]),
        (Replay { since: Some(at(99)), ..Replay::default() }, vec![]),
        (Replay::default(), vec![]),
    ] {
        let store = with_a_past().await;
        let dry_run = Replay { dry_run: true, ..replay.clone() };
        assert_eq!(store.replay(dry_run, at(30)).await.unwrap(), expected.len(), "{replay:?}");
        assert_eq!(users(&store).await, []);
        assert_eq!(store.replay(replay.clone(), at(30)).await.unwrap(), expected.len());
        let marked: Vec<_> = expected.iter().map(|n| user(*n)).collect();
        assert_eq!(users(&store).await, marked, "{replay:?}");
        for job in store.jobs(None, 9, None).await.unwrap() {
            assert_eq!((job.state, job.reason, job.first_news_at), (State::Due, Reason::Replay, at(30)));
            assert_eq!(job.urgent, job.user == user(3));
        }
    }
}

#[tokio::test]
async fn replay_of_the_parked_revives_them() {
    let store = fresh();
    store.mark(vec![mark(1, Reason::Delta, 1), mark(2, Reason::Delta, 1)], at(1)).await.unwrap();
    let mut claims = store.claim(9, at(2)).await.unwrap();
    store.settle(claims.pop().unwrap(), park(), at(3)).await.unwrap();
    store.settle(claims.pop().unwrap(), hold(), at(3)).await.unwrap();
    assert_eq!(store.replay(Replay { parked: true, ..Replay::default() }, at(4)).await.unwrap(), 1);
    let depth = store.depth(at(4)).await.unwrap();
    assert_eq!((depth.due, depth.parked, depth.held), (1, 0, 1));
}

#[tokio::test]
async fn replay_reads_a_long_journal_to_its_end() {
    let store = fresh();
    for n in 0..200 {
        store.accept(vec![news(n)], at(1)).await.unwrap();
    }
    let replay = Replay { all: true, dry_run: true, ..Replay::default() };
    assert_eq!(store.replay(replay, at(2)).await.unwrap(), 200);
}

#[tokio::test]
async fn the_journal_is_kept_for_its_time_in_small_steps() {
    let store = fresh();
    let all = || Replay { all: true, dry_run: true, ..Replay::default() };
    for n in 0..=250 {
        store.accept(vec![news(n); 3], at(1)).await.unwrap();
        store.accept(vec![news(n)], at(2)).await.unwrap();
        store.accept(vec![news(n)], at(3)).await.unwrap();
    }
    let week = 7 * DAY;
    // What was never folded is kept whatever its age.
    assert!(!store.prune(at(100) + week, 9).await.unwrap());
    assert_eq!(store.replay(all(), at(5)).await.unwrap(), 251);
    for _ in 0..3 {
        fold(&store).await;
    }
    assert!(!store.prune(at(1) + week, 9).await.unwrap(), "at its time exactly it is still kept");
    assert_eq!(n_records(&store).await, 753);
    assert!(store.prune(at(4) + week, 1).await.unwrap(), "one step is not enough");
    assert_eq!(n_records(&store).await, 253);
    assert!(!store.prune(at(4) + week, 5).await.unwrap());
    assert_eq!(n_records(&store).await, 0);
    store.accept(vec![news(1)], at(9) + week).await.unwrap();
    fold(&store).await;
    assert!(!store.prune(at(10) + week, 5).await.unwrap());
    assert_eq!(n_records(&store).await, 1);
}

async fn n_records(store: &Store) -> u64 {
    use crate::store::tables::JOURNAL;
    use redb::ReadableTableMetadata as _;
    store.read("counting", |tx| Ok(tx.open_table(JOURNAL)?.len()?)).await.unwrap()
}

#[tokio::test]
async fn a_chore_keeps_the_earliest_time_it_was_asked_for() {
    let store = fresh();
    for second in [50, 20, 80] {
        store.schedule(Chore::FullCompare, at(second), at(1)).await.unwrap();
    }
    assert_eq!(store.next_chore_due(at(2)).await.unwrap(), Some(at(20)));
    assert!(store.claim_chores(at(19)).await.unwrap().is_empty());
    let claims = store.claim_chores(at(20)).await.unwrap();
    assert_eq!(claims[0].entry.attempts, 1);
    assert!(store.claim_chores(at(21)).await.unwrap().is_empty(), "it runs already");
}

#[tokio::test]
async fn news_does_not_defeat_the_backoff_of_a_chore() {
    let store = fresh();
    store.schedule(Chore::Prune, at(1), at(1)).await.unwrap();
    let running = store.claim_chores(at(2)).await.unwrap().pop().unwrap();
    let again = ChoreOutcome::Again { due_at: at(300), error: "503".to_owned() };
    store.settle_chore(running, again, at(3)).await.unwrap();
    store.schedule(Chore::Prune, at(4), at(4)).await.unwrap();
    assert_eq!(store.next_chore_due(at(4)).await.unwrap(), Some(at(300)));
}

#[tokio::test]
async fn a_chore_asked_for_while_it_runs_is_run_again() {
    let done = |next_at: Option<i64>| ChoreOutcome::Done { next_at: next_at.map(at) };
    let again = ChoreOutcome::Again { due_at: at(300), error: "503".to_owned() };
    for (asked, outcome, due_at) in [
        (None, done(None), None),
        (None, done(Some(900)), Some(900)),
        (Some(40), done(None), Some(40)),
        (Some(40), done(Some(900)), Some(40)),
        (Some(999), done(Some(900)), Some(900)),
        (None, again.clone(), Some(300)),
        (Some(40), again.clone(), Some(300)),
    ] {
        let store = fresh();
        store.schedule(Chore::Prune, at(1), at(1)).await.unwrap();
        let running = store.claim_chores(at(2)).await.unwrap().pop().unwrap();
        if let Some(second) = asked {
            store.schedule(Chore::Prune, at(second), at(3)).await.unwrap();
        }
        store.settle_chore(running, outcome.clone(), at(4)).await.unwrap();
        let found = store.chores().await.unwrap().pop();
        assert_eq!(found.as_ref().map(|entry| entry.due_at), due_at.map(at), "{asked:?} {outcome:?}");
        if let Some(entry) = found {
            let failed = matches!(outcome, ChoreOutcome::Again { .. });
            assert_eq!((entry.running, entry.attempts), (false, u32::from(failed)));
            assert_eq!(entry.last_error.is_some(), failed);
        }
    }
}

#[tokio::test]
async fn chores_that_ran_at_the_end_or_were_dropped_are_due() {
    let memory = Memory::default();
    let store = open(&memory);
    store.schedule(Chore::Prune, at(1), at(1)).await.unwrap();
    drop(store.claim_chores(at(2)).await.unwrap());
    let running = store.claim_chores(at(3)).await.unwrap();
    assert_eq!(running[0].entry.attempts, 2);
    store.close().await;
    let store = open(&memory);
    assert_eq!(store.claim_chores(at(4)).await.unwrap()[0].entry.attempts, 3);
}
