//! Links, delta rounds, subscriptions and memos.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::support::*;
use crate::domain::link::{Baseline, Link};
use crate::domain::pulse::{Lags, Sample};
use crate::domain::queue::{Depth, LinkChange, Outcome, Reason};
use crate::domain::subscription::{Resource, Subscription};
use crate::domain::user::{Attribute, ScimId, Value};
use crate::store::{Adoption, PageNext, PageOutcome, PageRecord, Round, Store};

fn scim(text: &str) -> ScimId {
    ScimId(text.to_owned())
}

fn link(scim_id: &str) -> Link {
    let baseline = Baseline { source: Some(Value::text("a")), target: Some(Value::Flag(true)) };
    Link {
        scim_id: scim(scim_id),
        baseline: BTreeMap::from([(Attribute::Emails, baseline)]),
        confirmed_at: at(1),
        source_fingerprint: Some("f".to_owned()),
        deactivated_by_us: false,
        source_gone: false,
        purged: false,
        returned_at: None,
        normalised: BTreeMap::new(),
    }
}

/// Runs a job of this user that ends so.
async fn settle(store: &Store, n: u8, outcome: Outcome) {
    store.mark(vec![mark(n, Reason::Operator, 1)], at(1)).await.unwrap();
    let running = store.claim(1, at(1)).await.unwrap().pop().unwrap();
    assert_eq!(running.job.user, user(n));
    store.settle(running, outcome, at(1)).await.unwrap();
}

async fn put(store: &Store, n: u8, scim_id: &str) {
    settle(store, n, Outcome { link: LinkChange::Put(Box::new(link(scim_id))), ..done() }).await;
}

#[tokio::test]
async fn a_link_is_found_from_both_sides() {
    let store = fresh();
    put(&store, 1, "a").await;
    put(&store, 2, "b").await;
    assert_eq!(store.link(user(1)).await.unwrap(), Some(link("a")));
    assert_eq!(store.linked_to(&scim("b")).await.unwrap(), Some(user(2)));
    assert_eq!(store.links_count().await.unwrap(), 2);
    settle(&store, 1, done()).await;
    assert_eq!(store.link(user(1)).await.unwrap(), Some(link("a")), "an outcome without a change keeps it");
    put(&store, 1, "c").await;
    assert_eq!(store.linked_to(&scim("a")).await.unwrap(), None, "nobody is linked to the old id any more");
    assert_eq!(store.linked_to(&scim("c")).await.unwrap(), Some(user(1)));
    settle(&store, 1, Outcome { link: LinkChange::Remove, ..done() }).await;
    assert_eq!(store.link(user(1)).await.unwrap(), None);
    assert_eq!(store.linked_to(&scim("c")).await.unwrap(), None);
    assert_eq!(store.links_count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_link_that_was_taken_over_keeps_its_new_owner() {
    let store = fresh();
    put(&store, 1, "a").await;
    put(&store, 2, "a").await;
    settle(&store, 1, Outcome { link: LinkChange::Remove, ..done() }).await;
    assert_eq!(store.linked_to(&scim("a")).await.unwrap(), Some(user(2)));
}

#[tokio::test]
async fn who_had_an_account_before_does_not_take_it_back_by_a_note_in_their_link() {
    let store = fresh();
    put(&store, 1, "a").await;
    put(&store, 2, "a").await;
    put(&store, 1, "a").await;
    assert_eq!(store.linked_to(&scim("a")).await.unwrap(), Some(user(2)));
    assert_eq!(store.link(user(1)).await.unwrap(), Some(link("a")), "what is known of them is kept");
    put(&store, 2, "b").await;
    assert_eq!(store.linked_to(&scim("a")).await.unwrap(), None);
    put(&store, 1, "a").await;
    assert_eq!(store.linked_to(&scim("a")).await.unwrap(), Some(user(1)), "nobody has it any more");
}

#[tokio::test]
async fn an_account_is_adopted_only_when_neither_side_is_linked() {
    let memory = Memory::default();
    let store = open(&memory);
    put(&store, 1, "a").await;
    let pairs = [(1, "b"), (2, "a"), (3, "c"), (3, "d"), (4, "c"), (5, "e")];
    let adopted = store.adopt(pairs.map(|(n, scim_id)| (user(n), link(scim_id))).into()).await.unwrap();
    let expected = [
        Adoption::UserIsLinked(scim("a")),
        Adoption::TargetIsLinked(user(1)),
        Adoption::Linked,
        Adoption::UserIsLinked(scim("c")),
        Adoption::TargetIsLinked(user(3)),
        Adoption::Linked,
    ];
    assert_eq!(adopted, expected);
    store.close().await;
    drop(store);
    let store = open(&memory);
    assert_eq!(store.link(user(3)).await.unwrap(), Some(link("c")));
    assert_eq!(store.linked_to(&scim("e")).await.unwrap(), Some(user(5)));
    assert_eq!(
        (store.link(user(2)).await.unwrap(), store.linked_to(&scim("d")).await.unwrap()),
        (None, None)
    );
    assert_eq!(store.links_count().await.unwrap(), 3);
}

#[tokio::test]
async fn links_are_listed_by_user_a_page_at_a_time() {
    let store = fresh();
    for n in [3, 1, 2] {
        put(&store, n, &n.to_string()).await;
    }
    let list = async |after, limit| {
        let links = store.links(after, limit).await.unwrap();
        links.into_iter().map(|(user, _)| user).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 2).await, [user(1), user(2)]);
    assert_eq!(list(Some(user(2)), 2).await, [user(3)]);
}

fn page(marked: &[u8], seen: &[u8], next: PageNext, full: bool, begun: i64) -> PageRecord {
    PageRecord {
        marks: marked.iter().map(|n| mark(*n, Reason::Delta, begun)).collect(),
        seen: seen.iter().map(|n| user(*n)).collect(),
        next,
        full,
        started_at: at(begun),
    }
}

fn more(link: &str) -> PageNext {
    PageNext::More(link.to_owned())
}

fn end(link: &str) -> PageNext {
    PageNext::End(link.to_owned())
}

#[tokio::test]
async fn a_page_and_its_marks_are_one_and_the_round_goes_on_after_a_restart() {
    let memory = Memory::default();
    let store = open(&memory);
    assert_eq!(store.round(Resource::Users).await.unwrap(), None);
    let outcome = store.record_page(Resource::Users, page(&[1, 2, 1], &[], more("p2"), false, 10), at(11));
    assert_eq!(outcome.await.unwrap(), PageOutcome { marked: 2, vanished: 0 });
    store.close().await;

    let store = open(&memory);
    let expected = Round {
        next: "p2".to_owned(),
        in_progress: true,
        full: false,
        started_at: at(10),
        completed_at: None,
    };
    assert_eq!(store.round(Resource::Users).await.unwrap(), Some(expected.clone()));
    assert_eq!(store.depth(at(12)).await.unwrap().due, 2);
    store.record_page(Resource::Users, page(&[], &[], end("d1"), false, 10), at(13)).await.unwrap();
    let over =
        Round { next: "d1".to_owned(), in_progress: false, completed_at: Some(at(13)), ..expected.clone() };
    assert_eq!(store.round(Resource::Users).await.unwrap(), Some(over));
    assert_eq!(store.round(Resource::Groups).await.unwrap(), None);

    store.record_page(Resource::Users, page(&[], &[], more("p2"), false, 20), at(21)).await.unwrap();
    let next = Round { started_at: at(20), completed_at: Some(at(13)), ..expected };
    assert_eq!(store.round(Resource::Users).await.unwrap(), Some(next));
    store.forget_round(Resource::Users).await.unwrap();
    assert_eq!(store.round(Resource::Users).await.unwrap(), None);
}

/// A store in which users 1 to 4 are linked, and nothing is to do.
async fn linked(memory: &Memory) -> Store {
    let store = open(memory);
    for n in 1..=4 {
        put(&store, n, &n.to_string()).await;
    }
    store
}

async fn marked(store: &Store) -> Vec<u8> {
    let jobs = store.jobs(None, 99, None).await.unwrap();
    assert!(jobs.iter().all(|job| job.reason == Reason::Delta));
    jobs.into_iter().map(|job| job.user.as_bytes()[0]).collect()
}

#[tokio::test]
async fn a_full_round_marks_linked_users_that_it_did_not_show() {
    let memory = Memory::default();
    let store = linked(&memory).await;
    store.record_page(Resource::Users, page(&[9], &[1, 9], more("p2"), true, 10), at(11)).await.unwrap();
    store.close().await;
    let store = open(&memory);
    store.record_page(Resource::Users, page(&[], &[3], more("p3"), true, 10), at(12)).await.unwrap();
    let outcome = store.record_page(Resource::Users, page(&[], &[7], end("d"), true, 10), at(13)).await;
    assert_eq!(outcome.unwrap(), PageOutcome { marked: 0, vanished: 2 });
    assert_eq!(marked(&store).await, [2, 4, 9]);
}

#[tokio::test]
async fn who_was_seen_in_an_abandoned_round_counts_for_nothing() {
    for forget in [false, true] {
        let store = linked(&Memory::default()).await;
        store.record_page(Resource::Users, page(&[], &[1, 2], more("p2"), true, 10), at(11)).await.unwrap();
        if forget {
            store.forget_round(Resource::Users).await.unwrap();
        }
        let outcome =
            store.record_page(Resource::Users, page(&[], &[1, 3, 4], end("d"), true, 50), at(51)).await;
        assert_eq!(outcome.unwrap().vanished, 1);
        assert_eq!(marked(&store).await, [2]);
    }
}

#[tokio::test]
async fn only_a_full_round_of_users_tells_who_vanished() {
    let store = linked(&Memory::default()).await;
    store.record_page(Resource::Users, page(&[], &[1], end("d"), false, 10), at(11)).await.unwrap();
    store.record_page(Resource::Groups, page(&[], &[], end("d"), true, 10), at(11)).await.unwrap();
    assert_eq!(marked(&store).await, NOBODY);
}

#[tokio::test]
async fn a_directory_that_vanished_is_marked_whole() {
    let store = fresh();
    for n in 0..=255 {
        put(&store, n, &n.to_string()).await;
    }
    let page = page(&[], &[], end("d"), true, 10);
    assert_eq!(store.record_page(Resource::Users, page, at(11)).await.unwrap().vanished, 256);
    assert_eq!(marked(&store).await.len(), 99);
}

#[tokio::test]
async fn subscriptions_and_memos_are_kept() {
    let memory = Memory::default();
    let store = open(&memory);
    let subscription = Subscription {
        id: "s1".to_owned(),
        resource: Resource::Users,
        notification_url: "https://sync.example.com/notifications".to_owned(),
        expires_at: at(1000),
        renewed_at: at(0),
        signed_by: None,
    };
    store.put_subscription(&subscription).await.unwrap();
    let renewed = Subscription { expires_at: at(2000), ..subscription.clone() };
    store.put_subscription(&renewed).await.unwrap();
    store.put_subscription(&Subscription { id: "s2".to_owned(), ..subscription.clone() }).await.unwrap();
    store.set_memo("dialect", "put").await.unwrap();
    store.set_memo("dialect", "cxone").await.unwrap();
    store.remove_subscription("s2").await.unwrap();
    store.ready(at(1)).await.unwrap();
    store.close().await;
    let store = open(&memory);
    assert_eq!(store.subscriptions().await.unwrap(), [renewed]);
    assert_eq!(store.memo("dialect").await.unwrap().as_deref(), Some("cxone"));
    assert_eq!(store.memo("other").await.unwrap(), None);
}

fn sample(second: i64) -> Sample {
    Sample { at: at(second), depth: Depth { due: 3, ..Depth::default() }, lags: Lags::default() }
}

#[tokio::test]
async fn two_days_of_samples_are_kept() {
    const DAY: i64 = 86_400;
    let store = fresh();
    for second in [0, 60, 2 * DAY + 30] {
        store.add_sample(sample(second)).await.unwrap();
    }
    assert_eq!(store.samples(Timestamp::MIN).await.unwrap(), [sample(60), sample(2 * DAY + 30)]);
    assert_eq!(store.samples(at(61)).await.unwrap(), [sample(2 * DAY + 30)]);
    // The clock was set back: what seems to come from the future goes.
    store.add_sample(sample(120)).await.unwrap();
    assert_eq!(store.samples(Timestamp::MIN).await.unwrap(), [sample(60), sample(120)]);
}
