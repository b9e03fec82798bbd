//! What is measured of the store.

use std::collections::BTreeMap;
use std::time::Duration;

use super::support::*;
use crate::domain::queue::{Outcome, Reason, Settlement};
use crate::store::Store;
use crate::telemetry::Metrics;

#[tokio::test]
async fn jobs_that_run_are_measured_from_their_claim() {
    let store = fresh();
    store.mark(vec![mark(1, Reason::Delta, 1), mark(2, Reason::Delta, 1)], at(1)).await.unwrap();
    let _first = store.claim(1, at(10)).await.unwrap();
    let _second = store.claim(1, at(40)).await.unwrap();
    let survey = store.survey(MINUTE, at(100)).await.unwrap();
    assert_eq!(survey.unfinished, Duration::from_secs(90 + 60));
    assert_eq!(survey.longest_running, Duration::from_secs(90));
    assert_eq!(survey.depth.running, 2);
}

#[tokio::test]
async fn what_is_held_is_counted_by_its_code() {
    let store = fresh();
    store.mark((1..=3).map(|n| mark(n, Reason::Delta, 1)).collect(), at(1)).await.unwrap();
    for (n, claim) in store.claim(3, at(2)).await.unwrap().into_iter().enumerate() {
        let outcome = match n {
            0 => Outcome::of(Settlement::Hold { code: "guard", error: "over".to_owned() }),
            _ => hold(),
        };
        store.settle(claim, outcome, at(3)).await.unwrap();
    }
    let held = store.survey(MINUTE, at(4)).await.unwrap().held;
    assert_eq!(held, BTreeMap::from([("guard".to_owned(), 1), ("conflict_held".to_owned(), 2)]));
}

#[tokio::test]
async fn the_last_notification_is_known_before_and_after_it_is_folded_and_after_a_restart() {
    let memory = Memory::default();
    let store = open(&memory);
    let last = async |store: &Store| store.last_notification_at().await.unwrap();
    assert_eq!(last(&store).await, None);
    store.accept(vec![news(1)], at(5)).await.unwrap();
    assert_eq!(last(&store).await, Some(at(5)));
    store.claim(0, at(6)).await.unwrap();
    assert_eq!(last(&store).await, Some(at(5)));
    // What is marked otherwise is no notification, also where it goes by way of the journal.
    store
        .mark((0..=255).cycle().take(1500).map(|n| mark(n, Reason::Delta, 9)).collect(), at(9))
        .await
        .unwrap();
    store.claim(0, at(9)).await.unwrap();
    assert_eq!(last(&store).await, Some(at(5)));
    drop(store);
    assert_eq!(last(&open(&memory)).await, Some(at(5)));
}

#[tokio::test]
async fn each_time_a_job_becomes_due_is_an_add_and_only_a_wish_to_repeat_is_a_retry() {
    let metrics = Metrics::new();
    let store = Store::open_on(Memory::default(), at(0), metrics.clone()).unwrap();
    let counted = || (metrics.workqueue_adds.get(), metrics.workqueue_retries.get());
    store.mark(vec![mark(1, Reason::Delta, 1)], at(1)).await.unwrap();
    store.mark(vec![mark(1, Reason::Delta, 2)], at(2)).await.unwrap();
    assert_eq!(counted(), (1, 0), "the same job was due already");
    let run = async |now, outcome| {
        let claim = store.claim(1, at(now)).await.unwrap().remove(0);
        store.settle(claim, outcome, at(now)).await.unwrap();
    };
    run(3, again(10)).await;
    assert_eq!(counted(), (1, 1));
    run(10, recheck(20)).await;
    assert_eq!(counted(), (2, 1), "a second look at what went well is no retry");
    let claim = store.claim(1, at(20)).await.unwrap().remove(0);
    store.mark(vec![mark(1, Reason::Delta, 21)], at(21)).await.unwrap();
    store.settle(claim, done(), at(22)).await.unwrap();
    assert_eq!(counted(), (4, 1), "news during a run is one more run");
    let claim = store.claim(1, at(23)).await.unwrap().remove(0);
    assert_eq!(claim.job.reason, Reason::Delta);
    store.settle(claim, done(), at(23)).await.unwrap();
    assert_eq!(counted(), (4, 1));
}

#[tokio::test]
async fn whom_notifications_have_announced_since_a_time_is_told_before_and_after_folding() {
    let store = fresh();
    store.accept(vec![news(1), news(2)], at(10)).await.unwrap();
    store.claim(0, at(10)).await.unwrap();
    store
        .mark((0..=255).cycle().take(1500).map(|n| mark(n, Reason::Group, 15)).collect(), at(15))
        .await
        .unwrap();
    store.accept(vec![news(2), news(3)], at(20)).await.unwrap();
    let since = async |second| {
        let asked = [1, 2, 4].map(user).into();
        store.announced_since(at(second), asked).await.unwrap().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(since(10).await, [user(1), user(2)]);
    assert_eq!(since(11).await, [user(2)], "marks of other reasons announce nothing");
    assert_eq!(since(21).await, []);
}
