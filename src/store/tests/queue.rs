//! The rules of the queue (DESIGN 5), one small case each.

use super::support::*;
use crate::domain::evidence::{FirstSight, RemovedReason};
use crate::domain::queue::{Job, Mark, News, Outcome, Reason, Settlement, State};
use crate::domain::user::UserId;
use crate::store::{Claim, Settled, Store};

/// Claims everything that is due.
async fn claim(store: &Store, second: i64) -> Vec<Claim> {
    store.claim(100, at(second)).await.unwrap()
}

/// Claims the only job that is due.
async fn claim_one(store: &Store, second: i64) -> Claim {
    let mut claims = claim(store, second).await;
    assert_eq!(claims.len(), 1);
    claims.pop().unwrap()
}

async fn mark_one(store: &Store, mark: Mark, second: i64) {
    assert_eq!(store.mark(vec![mark], at(second)).await.unwrap(), 1);
}

async fn job(store: &Store, n: u8) -> Job {
    store.job(user(n)).await.unwrap().unwrap()
}

#[tokio::test]
async fn accepted_news_becomes_a_due_job_when_claimed() {
    let store = fresh();
    store.accept(vec![news(1), News::User { id: user(2), deleted: true }], at(5)).await.unwrap();
    assert_eq!(store.next_due(at(6)).await.unwrap(), Some(at(6)));
    let claims = claim(&store, 7).await;
    let seen: Vec<_> = claims.iter().map(|claim| (claim.job.user, claim.job.first_news_at)).collect();
    assert_eq!(seen, [(user(2), at(5)), (user(1), at(5))]);
    assert_eq!(claims[0].job.reason, Reason::Notification);
}

#[tokio::test]
async fn a_user_marked_twice_is_one_job_with_the_earliest_news() {
    let store = fresh();
    mark_one(&store, mark(1, Reason::Delta, 20), 30).await;
    mark_one(&store, mark(1, Reason::Notification, 10), 31).await;
    mark_one(&store, mark(1, Reason::Group, 25), 32).await;
    let job = job(&store, 1).await;
    assert_eq!((job.first_news_at, job.latest_news_at), (at(10), at(25)));
    assert_eq!((job.reason, job.generation, job.due_at), (Reason::Delta, 3, at(30)));
    assert_eq!(store.depth(at(40)).await.unwrap().due, 1);
}

#[tokio::test]
async fn many_marks_of_one_call_count_their_users() {
    let store = fresh();
    let marks = vec![mark(1, Reason::Delta, 1), mark(2, Reason::Delta, 1), mark(1, Reason::Delta, 2)];
    assert_eq!(store.mark(marks, at(3)).await.unwrap(), 2);
}

#[tokio::test]
async fn an_operators_reason_replaces_any_other() {
    let store = fresh();
    mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
    mark_one(&store, mark(1, Reason::Operator, 2), 2).await;
    mark_one(&store, mark(1, Reason::Notification, 3), 3).await;
    assert_eq!(job(&store, 1).await.reason, Reason::Operator);
}

#[tokio::test]
async fn a_retry_waits_out_its_backoff_whatever_the_news() {
    let store = fresh();
    mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
    let running = claim_one(&store, 2).await;
    store.settle(running, again(100), at(3)).await.unwrap();
    mark_one(&store, mark(1, Reason::Notification, 50), 50).await;
    assert_eq!((job(&store, 1).await.state, job(&store, 1).await.due_at), (State::Waiting, at(100)));
    assert!(claim(&store, 99).await.is_empty());
    assert_eq!(store.next_due(at(99)).await.unwrap(), Some(at(100)));
    let retry = claim_one(&store, 100).await;
    assert_eq!((retry.job.attempts, retry.job.first_news_at), (2, at(1)));
}

#[tokio::test]
async fn an_operator_need_not_wait_for_a_retry() {
    let store = fresh();
    mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
    let running = claim_one(&store, 2).await;
    store.settle(running, again(100), at(3)).await.unwrap();
    mark_one(&store, mark(1, Reason::Operator, 50), 50).await;
    assert_eq!(claim_one(&store, 50).await.job.reason, Reason::Operator);
}

#[tokio::test]
async fn news_during_a_run_is_not_lost_and_never_runs_beside_it() {
    let store = fresh();
    mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
    let running = claim_one(&store, 2).await;
    mark_one(&store, mark(1, Reason::Notification, 5), 5).await;
    assert!(claim(&store, 6).await.is_empty());
    let settled = store.settle(running, done(), at(7)).await.unwrap();
    assert_eq!(settled, Settled { remarked: true, state: Some(State::Due) });
    let next = claim_one(&store, 8).await;
    // The first run is over: what is measured now is the news that came during it.
    assert_eq!((next.job.first_news_at, next.job.reason), (at(5), Reason::Notification));
    assert_eq!(next.job.attempts, 1);
    let settled = store.settle(next, done(), at(9)).await.unwrap();
    assert_eq!(settled, Settled { remarked: false, state: None });
    assert_eq!(store.job(user(1)).await.unwrap(), None);
}

#[tokio::test]
async fn what_waits_for_something_else_than_a_backoff_is_decided_by_news() {
    let store = fresh();
    store.mark(vec![mark(1, Reason::Delta, 1)], at(1)).await.unwrap();
    let running = claim_one(&store, 1).await;
    let wait = Settlement::Wait { due_at: at(300), why: "out of scope once".to_owned() };
    store.settle(running, Outcome::of(wait), at(2)).await.unwrap();
    assert_eq!(job(&store, 1).await.state, State::Waiting);
    store.mark(vec![mark(1, Reason::Notification, 9)], at(9)).await.unwrap();
    let due = job(&store, 1).await;
    assert_eq!((due.state, due.due_at, due.first_news_at), (State::Due, at(9), at(1)));
    assert_eq!(due.reason, Reason::Notification, "or nobody would look once more after it");
}

#[tokio::test]
async fn news_during_a_failed_run_makes_it_due_at_once_and_keeps_its_attempts() {
    for outcome in [again(500), park(), hold()] {
        let store = fresh();
        mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
        let running = claim_one(&store, 2).await;
        mark_one(&store, mark(1, Reason::Notification, 5), 5).await;
        let settled = store.settle(running, outcome, at(7)).await.unwrap();
        assert_eq!(settled, Settled { remarked: true, state: Some(State::Due) });
        let next = claim_one(&store, 8).await;
        assert_eq!((next.job.first_news_at, next.job.attempts), (at(1), 2));
        assert_eq!(next.job.stopped, None);
    }
}

#[tokio::test]
async fn the_attempt_is_counted_on_disk_at_the_claim() {
    let memory = Memory::default();
    let store = open(&memory);
    mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
    for attempt in 1..4 {
        let store = open_again(&memory, &store).await;
        let running = claim_one(&store, 2).await;
        assert_eq!(running.job.attempts, attempt);
        // The process dies here: the store is closed under the running job.
        store.close().await;
    }
}

/// Closes the store, however many handles there are, and opens it on the same bytes.
async fn open_again(memory: &Memory, store: &Store) -> Store {
    store.close().await;
    open(memory)
}

#[tokio::test]
async fn what_was_running_at_the_end_is_due_at_the_start() {
    let memory = Memory::default();
    let store = open(&memory);
    mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
    let running = claim_one(&store, 2).await;
    mark_one(&store, Mark { urgent: true, ..mark(1, Reason::Operator, 3) }, 3).await;
    let store = open_again(&memory, &store).await;
    drop(running);
    let job = job(&store, 1).await;
    assert_eq!((job.state, job.attempts, job.urgent), (State::Due, 1, true));
    assert_eq!((job.reason, job.first_news_at), (Reason::Operator, at(1)));
}

#[tokio::test]
async fn an_attempt_can_be_given_back() {
    let store = fresh();
    mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
    let running = claim_one(&store, 2).await;
    let outage = Settlement::Again { due_at: at(10), counts: false, error: "no route".to_owned() };
    store.settle(running, Outcome::of(outage), at(3)).await.unwrap();
    assert_eq!(claim_one(&store, 10).await.job.attempts, 1);
}

#[tokio::test]
async fn a_retry_whose_attempt_was_given_back_waits_as_well() {
    let store = fresh();
    mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
    let running = claim_one(&store, 2).await;
    let outage = Settlement::Again { due_at: at(100), counts: false, error: "429".to_owned() };
    store.settle(running, Outcome::of(outage), at(3)).await.unwrap();
    mark_one(&store, mark(1, Reason::Notification, 50), 50).await;
    assert_eq!(store.next_due(at(51)).await.unwrap(), Some(at(100)));
}

#[tokio::test]
async fn the_oldest_news_goes_first_but_the_urgent_before_all() {
    let store = fresh();
    let urgent = |n, second| Mark { urgent: true, ..mark(n, Reason::Delta, second) };
    let marks = vec![mark(1, Reason::Delta, 30), mark(2, Reason::Delta, 10), urgent(3, 40), urgent(4, 35)];
    store.mark(marks, at(50)).await.unwrap();
    let order = |claims: &[Claim]| claims.iter().map(|claim| claim.job.user).collect::<Vec<_>>();
    let first = store.claim(3, at(51)).await.unwrap();
    assert_eq!(order(&first), [user(4), user(3), user(2)]);
    assert_eq!(order(&claim(&store, 52).await), [user(1)]);
}

#[tokio::test]
async fn urgency_and_removal_stay_until_the_user_is_right() {
    let store = fresh();
    let removed = Mark { removed: Some(RemovedReason::Deleted), ..mark(1, Reason::Delta, 1) };
    mark_one(&store, Mark { urgent: true, ..removed.clone() }, 1).await;
    mark_one(&store, Mark { removed: Some(RemovedReason::Changed), ..removed }, 2).await;
    let running = claim_one(&store, 2).await;
    store.settle(running, again(10), at(3)).await.unwrap();
    let running = claim_one(&store, 10).await;
    assert_eq!((running.job.urgent, running.job.removed), (true, Some(RemovedReason::Deleted)));
    store.settle(running, recheck(70), at(11)).await.unwrap();
    let job = job(&store, 1).await;
    assert_eq!((job.urgent, job.removed), (false, None));
}

#[tokio::test]
async fn a_recheck_waits_its_time_unless_there_is_news() {
    let store = fresh();
    for n in [1, 2] {
        mark_one(&store, mark(n, Reason::Notification, 1), 1).await;
    }
    for running in claim(&store, 2).await {
        let settled = store.settle(running, recheck(63), at(3)).await.unwrap();
        assert_eq!(settled, Settled { remarked: false, state: Some(State::Waiting) });
    }
    let waiting = job(&store, 1).await;
    assert_eq!((waiting.reason, waiting.attempts, waiting.due_at), (Reason::Recheck, 0, at(63)));
    mark_one(&store, mark(2, Reason::Notification, 20), 20).await;
    let early = claim_one(&store, 21).await;
    // Not a recheck any more: a look that finds nothing to do is to be looked at once more itself.
    assert_eq!((early.job.user, early.job.reason), (user(2), Reason::Notification));
    assert_eq!(claim_one(&store, 63).await.job.reason, Reason::Recheck);
}

#[tokio::test]
async fn parked_and_held_jobs_keep_their_story_and_are_revived_by_news() {
    for (outcome, state, code) in [(park(), State::Parked, "refused"), (hold(), State::Held, "conflict_held")]
    {
        let store = fresh();
        mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
        let running = claim_one(&store, 2).await;
        let outcome = Outcome { not_applied: 2, absent_since: Some(at(2)), ..outcome };
        store.settle(running, outcome, at(3)).await.unwrap();
        let stopped = job(&store, 1).await;
        assert_eq!((stopped.state, stopped.attempts, stopped.stopped.as_deref()), (state, 1, Some(code)));
        assert!(stopped.last_error.is_some());
        assert_eq!(store.next_due(at(9999)).await.unwrap(), None);

        mark_one(&store, mark(1, Reason::Notification, 50), 50).await;
        let revived = job(&store, 1).await;
        assert_eq!((revived.state, revived.attempts, revived.stopped.as_deref()), (State::Due, 0, None));
        assert_eq!((revived.reason, revived.first_news_at), (Reason::Notification, at(50)));
        assert_eq!((revived.not_applied, revived.absent_since), (0, Some(at(2))));
        assert!(revived.last_error.is_some(), "an operator may still ask what it was");
    }
}

#[tokio::test]
async fn what_a_run_learned_is_there_for_the_next() {
    let store = fresh();
    mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
    let running = claim_one(&store, 2).await;
    store
        .settle(
            running,
            Outcome {
                absent_since: Some(at(2)),
                out_of_scope: Some(FirstSight { at: at(1), scope: "s".to_owned() }),
                not_applied: 1,
                ..again(10)
            },
            at(3),
        )
        .await
        .unwrap();
    let job = claim_one(&store, 10).await.job.clone();
    assert_eq!(job.out_of_scope.map(|first| first.at), Some(at(1)));
    assert_eq!((job.absent_since, job.not_applied, job.last_error.as_deref()), (Some(at(2)), 1, Some("503")));
}

#[tokio::test]
async fn a_dropped_claim_puts_its_job_back() {
    let store = fresh();
    mark_one(&store, mark(1, Reason::Delta, 1), 1).await;
    drop(claim_one(&store, 2).await);
    assert_eq!(claim_one(&store, 3).await.job.attempts, 2);
}

#[tokio::test]
async fn many_marks_go_by_way_of_the_journal_and_arrive() {
    let store = fresh();
    let many = (0..2500_u16).map(|n| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        Mark { user: UserId::from_bytes(id), ..mark(0, Reason::Operator, 1) }
    });
    assert_eq!(store.mark(many.collect(), at(1)).await.unwrap(), 2500);
    let mut n_claims = 0;
    while store.next_due(at(2)).await.unwrap().is_some() {
        let claims = store.claim(1000, at(2)).await.unwrap();
        assert!(!claims.is_empty() && claims.iter().all(|claim| claim.job.reason == Reason::Operator));
        n_claims += claims.len();
        for running in claims {
            store.settle(running, done(), at(3)).await.unwrap();
        }
        if n_claims > 2500 {
            break;
        }
    }
    assert_eq!(n_claims, 2500);
}

#[tokio::test]
async fn sleepers_are_woken_by_what_makes_work() {
    use std::pin::pin;
    let store = fresh();
    // The ticket is taken before the change, as a worker takes it before looking.
    macro_rules! wakes {
        ($change:expr) => {{
            let mut ticket = pin!(store.changed());
            ticket.as_mut().enable();
            let result = $change;
            ticket.await;
            result
        }};
    }
    wakes!(store.accept(vec![news(1)], at(1)).await.unwrap());
    wakes!(store.mark(vec![mark(2, Reason::Delta, 1)], at(1)).await.unwrap());
    let chore = crate::domain::queue::Chore::Prune;
    wakes!(store.schedule(chore, at(1), at(1)).await.unwrap());
    let mut claims = wakes!(claim(&store, 2).await);
    wakes!(store.settle(claims.pop().unwrap(), again(9), at(2)).await.unwrap());
    store.settle(claims.pop().unwrap(), park(), at(2)).await.unwrap();
    wakes!(store.retry(None, &[State::Parked], at(3)).await.unwrap());
}

#[tokio::test]
async fn jobs_are_listed_by_user_a_page_at_a_time() {
    let store = fresh();
    let order = [3, 1, 5, 2, 4];
    store.mark(order.map(|n| mark(n, Reason::Delta, i64::from(n))).into(), at(9)).await.unwrap();
    for (n, running) in claim(&store, 10).await.into_iter().enumerate() {
        if n % 2 == 0 {
            store.settle(running, park(), at(11)).await.unwrap();
        } else {
            store.settle(running, again(99), at(11)).await.unwrap();
        }
    }
    let list = async |state, limit, after| {
        let jobs = store.jobs(state, limit, after).await.unwrap();
        jobs.into_iter().map(|job| job.user).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 2, None).await, [user(1), user(2)]);
    assert_eq!(list(None, 9, Some(user(2))).await, [user(3), user(4), user(5)]);
    assert_eq!(list(Some(State::Parked), 2, None).await, [user(1), user(3)]);
    assert_eq!(list(Some(State::Parked), 2, Some(user(3))).await, [user(5)]);
    assert_eq!(list(Some(State::Due), 2, None).await, []);
}

#[tokio::test]
async fn the_depth_counts_states_and_the_longest_wait() {
    let store = fresh();
    store.mark((1..=5).map(|n| mark(n, Reason::Delta, 1)).collect(), at(100)).await.unwrap();
    let mut claims = store.claim(3, at(101)).await.unwrap();
    store.settle(claims.pop().unwrap(), park(), at(102)).await.unwrap();
    store.settle(claims.pop().unwrap(), hold(), at(102)).await.unwrap();
    let depth = store.depth(at(160)).await.unwrap();
    assert_eq!((depth.due, depth.running, depth.parked, depth.held, depth.waiting), (2, 1, 1, 1, 0));
    // Since it was due, not since the news.
    assert_eq!(depth.oldest_due.as_secs(), 60);
}

#[tokio::test]
async fn an_operators_retry_begins_from_the_beginning() {
    let store = fresh();
    store.mark((1..=4).map(|n| mark(n, Reason::Delta, 1)).collect(), at(1)).await.unwrap();
    let mut claims = claim(&store, 2).await;
    let running = claims.pop().unwrap();
    for (running, outcome) in claims.into_iter().zip([again(500), park(), hold()]) {
        store.settle(running, outcome, at(3)).await.unwrap();
    }
    let states = [State::Waiting, State::Parked, State::Held, State::Running, State::Due];
    assert_eq!(store.retry(Some(vec![user(2), user(9)]), &[State::Held], at(10)).await.unwrap(), 0);
    assert_eq!(store.retry(Some(vec![user(2), user(4)]), &states, at(10)).await.unwrap(), 1);
    assert_eq!(store.retry(None, &states, at(11)).await.unwrap(), 2);
    // Only what was held is approved by retrying it.
    for (n, reason) in [(1, Reason::Replay), (2, Reason::Replay), (3, Reason::Replay)] {
        let job = job(&store, n).await;
        assert_eq!((job.state, job.attempts, job.reason), (State::Due, 0, reason));
        assert_eq!(job.stopped, None);
    }
    assert_eq!(job(&store, 4).await.state, State::Running);
    drop(running);
}

#[tokio::test]
async fn a_job_can_be_dropped_unless_it_runs() {
    let store = fresh();
    store.mark(vec![mark(1, Reason::Delta, 1), mark(2, Reason::Delta, 2)], at(3)).await.unwrap();
    let running = store.claim(1, at(4)).await.unwrap();
    assert_eq!(running[0].job.user, user(1));
    assert!(!store.drop_job(user(1), at(0)).await.unwrap());
    assert!(store.drop_job(user(2), at(0)).await.unwrap());
    assert!(!store.drop_job(user(2), at(0)).await.unwrap());
    assert_eq!(store.jobs(None, 9, None).await.unwrap().len(), 1);
}
