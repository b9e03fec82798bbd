//! The main job from end to end: what happens in Entra arrives in CXone, and nothing else does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cxone_sync::clock::Clock;
use cxone_sync::domain::queue::{Chore, Mark, Reason, State};
use cxone_sync::sim::{CxoneOptions, DeltaExpiry, Dialect, Fault, GraphOptions, RetryAfter, What, When};
use serde_json::json;

use super::stage::{Stage, stop, until, until_async};

/// A poll so rare that only notifications can have told.
const NO_POLL: (&str, &str) = ("sync.poll_interval", "6d");

fn set(roles: &[&str]) -> BTreeSet<String> {
    roles.iter().map(|role| (*role).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_life_arrives_step_by_step() {
    let stage = Stage::new();
    let running = stage.serve(&[NO_POLL]).await;
    let ana = stage.hire("Ana");
    let everybody = [ana.clone()];
    stage.converge(&everybody).await;
    assert_eq!(stage.held_roles(&ana), set(&["Agent"]));
    stage.sent();

    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    stage.converge(&everybody).await;
    let sent = stage.sent();
    assert_eq!(sent.len(), 1, "{sent:#?}");
    let operations = sent[0].1["Operations"].as_array().unwrap();
    assert_eq!(operations.len(), 1, "only what differs: {operations:#?}");
    assert_eq!(operations[0]["path"], "name.familyName");

    stage.graph().update_user(&ana, json!({ "mail": "ana.silva@example.com" }));
    stage.converge(&everybody).await;
    stage.graph().update_user(&ana, json!({ "userPrincipalName": "silva@example.com" }));
    stage.converge(&everybody).await;
    assert_eq!(stage.cxone().users().len(), 1, "a rename makes no second account");

    stage.graph().add_member(&stage.nested, &ana);
    stage.converge(&everybody).await;
    assert_eq!(stage.held_roles(&ana), set(&["Agent", "Supervisor"]));
    stage.graph().remove_member(&stage.roles[0].0, &ana);
    stage.converge(&everybody).await;
    assert_eq!(stage.held_roles(&ana), set(&["Supervisor"]));

    stage.sent();
    stage.graph().disable(&ana);
    stage.converge(&everybody).await;
    let sent = stage.sent();
    assert_eq!(sent.len(), 1, "{sent:#?}");
    assert_eq!(sent[0].1["Operations"][0]["path"], "active");
    stage.graph().enable(&ana);
    stage.converge(&everybody).await;
    stage.graph().soft_delete(&ana);
    stage.converge(&everybody).await;
    stage.graph().restore(&ana);
    stage.converge(&everybody).await;
    stage.graph().soft_delete(&ana);
    stage.converge(&everybody).await;
    stage.graph().hard_delete(&ana);
    assert!(
        until(|| stage.graph().delivery_stats().queued == stage.graph().delivery_stats().delivered).await
    );
    stage.converge(&everybody).await;
    assert_eq!(stage.cxone().users().len(), 1);
    assert!(stage.cxone().overlaps().is_empty());
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_when_nothing_differs() {
    let stage = Stage::new();
    let running = stage.serve(&[("sync.recheck_after", "1s")]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    stage.sent();
    let before = stage.cxone().load().total_requests;
    // Entra notifies of a change that is not mapped.
    stage.graph().update_user(&ana, json!({ "jobTitle": "Lead" }));
    let looked = until(|| stage.cxone().load().total_requests > before).await;
    assert!(looked, "the notification was not looked at");
    assert!(idle(&running).await, "the queue never came to rest");
    assert_eq!(stage.sent(), vec![]);
    stop(running).await;
}

/// Nothing due, waiting or running.
async fn idle(running: &cxone_sync::app::Running) -> bool {
    until_async(|| async {
        let depth = running.store.depth(running.worker.clock.now()).await.unwrap();
        depth.due + depth.waiting + depth.running == 0
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_notification_told_is_found_by_the_poll() {
    let stage = Stage::new();
    let running = stage.serve(&[("sync.poll_interval", "1s")]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    stage.graph().lose_next(1000);
    stage.graph().update_user(&ana, json!({ "displayName": "Ana S." }));
    stage.graph().add_member(&stage.nested, &ana);
    stage.arrives(&ana).await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_delta_link_is_a_full_round_and_not_an_emergency() {
    for expiry in [DeltaExpiry::SyncStateNotFound, DeltaExpiry::Gone] {
        let stage = Stage::new();
        let running = stage.serve(&[("sync.poll_interval", "1s")]).await;
        let (ana, ben) = (stage.hire("Ana"), stage.hire("Ben"));
        stage.converge(&[ana.clone(), ben.clone()]).await;
        stage.graph().lose_next(1000);
        stage.graph().expire_delta_tokens(expiry);
        stage.graph().update_user(&ana, json!({ "displayName": "Ana S." }));
        // Deleted in the gap: only the comparison with everybody who is linked can show it.
        stage.graph().soft_delete(&ben);
        stage.converge(&[ana, ben]).await;
        stop(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dialect_of_the_target_is_found_out_and_remembered() {
    for dialect in [Dialect::Rfc7644, Dialect::IndexedOnly, Dialect::CxoneStrings, Dialect::PutOnly] {
        let stage = Stage::with(GraphOptions::default(), CxoneOptions { dialect, ..CxoneOptions::default() });
        let running = stage.serve(&[]).await;
        let ana = stage.hire("Ana");
        stage.arrives(&ana).await;
        stage.graph().update_user(
            &ana,
            json!({ "mail": "new@example.com", "surname": "Silva", "displayName": "A S" }),
        );
        stage.arrives(&ana).await;
        stop(running).await;
        // Another start goes on in the dialect that worked.
        let running = stage.serve(&[]).await;
        stage.sent();
        let refused = stage.cxone().requests().iter().filter(|request| request.status == Some(400)).count();
        stage.graph().update_user(&ana, json!({ "surname": "Rossi" }));
        stage.arrives(&ana).await;
        let again = stage.cxone().requests().iter().filter(|request| request.status == Some(400)).count();
        assert_eq!(refused, again, "{dialect:?} was tried out twice");
        stop(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_ignores_a_change_is_parked_with_the_name_of_what_it_ignores() {
    let ignore_attributes = ["displayName".to_owned()].into();
    let stage =
        Stage::with(GraphOptions::default(), CxoneOptions { ignore_attributes, ..CxoneOptions::default() });
    let running = stage.serve(&[]).await;
    let ana = stage.hire("Ana");
    let user = ana.parse().unwrap();
    let parked = until_async(|| async {
        running.store.job(user).await.unwrap().is_some_and(|job| job.state == State::Parked)
    })
    .await;
    assert!(parked);
    let job = running.store.job(user).await.unwrap().unwrap();
    assert_eq!(job.stopped.as_deref(), Some("target_ignores_change"));
    assert!(job.last_error.unwrap().contains("displayName"));
    assert!(stage.sent().len() <= 3, "no loop");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_more_connections_than_allowed_and_no_request_while_told_to_wait() {
    let latency = (Duration::from_millis(5), Duration::from_millis(20));
    let stage = Stage::with(GraphOptions::default(), CxoneOptions { latency, ..CxoneOptions::default() });
    let users: Vec<String> = (0..120).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    stage.cxone().add_fault(Fault::new(
        "*",
        "/scim/v2/*",
        When::Between(50, 52),
        What::Status(429, Some(RetryAfter::Seconds(1))),
    ));
    let running = stage.serve(&[]).await;
    stage.converge(&users).await;
    assert!(stage.cxone().load().most_requests <= 10, "{:?}", stage.cxone().load());
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_look_deactivates_nobody() {
    let stage = Stage::new();
    let running = stage.serve(&[("sync.poll_interval", "1s")]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    stage.sent();
    let before = stage.graph().faults_struck();
    for what in [What::Status(500, None), What::Html(200), What::Truncate] {
        for path in ["/v1.0/users/*", "/v1.0/directory/*"] {
            stage.graph().add_fault(Fault::new("GET", path, When::First(1), what.clone()));
        }
        stage.graph().add_fault(Fault::new("POST", "/v1.0/$batch", When::First(1), what));
    }
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    assert!(until(|| stage.graph().faults_struck() >= before + 3).await);
    stage.graph().set_faults(cxone_sync::sim::Faults::none());
    stage.arrives(&ana).await;
    let deactivations =
        stage.sent().iter().filter(|(_, body)| body.to_string().contains("\"active\"")).count();
    assert_eq!(deactivations, 0);
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_found_nowhere_is_believed_gone_after_ten_minutes_and_not_before() {
    let stage = Stage::new();
    let clock = Clock::manual(Clock::system().now());
    let running = stage.serve_by(clock.clone(), &[NO_POLL]).await;
    let ana = stage.hire("Ana");
    mark(&running, &ana).await;
    stage.arrives_by(&clock, &ana).await;
    // Nobody tells, and the poll is days away: only the looks count.
    stage.graph().soft_delete(&ana);
    stage.graph().hard_delete(&ana);
    mark(&running, &ana).await;
    let user = ana.parse().unwrap();
    let looked = until_async(|| async {
        running.store.job(user).await.unwrap().is_some_and(|job| job.absent_since.is_some())
    });
    assert!(looked.await);
    for _ in 0..9 {
        clock.advance(Duration::from_secs(60));
        let waits = until_async(|| async {
            running.store.job(user).await.unwrap().is_some_and(|job| job.state == State::Waiting)
        });
        assert!(waits.await);
        assert_eq!(stage.account(&ana).unwrap()["active"], true, "a failed look is no evidence");
    }
    let gone = until(|| {
        clock.advance(Duration::from_secs(5));
        stage.account(&ana).unwrap()["active"] == false
    });
    assert!(gone.await);
    let written = until_async(|| async {
        let history = running.store.history(Some(user), None, 1).await.unwrap();
        history[0].evidence.as_ref().is_some_and(|evidence| evidence.sentence().contains("found nowhere"))
    });
    assert!(written.await);
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_the_scope_that_fails_is_parked_and_looked_at_again_by_news() {
    let stage = Stage::new();
    let rule = "CInt([employeeId]) > 1";
    let running = stage.serve(&[("scope.rules", &format!("['{rule}']"))]).await;
    let ana = stage.hire("Ana");
    stage.graph().update_user(&ana, json!({ "employeeId": "none" }));
    let user = ana.parse().unwrap();
    let stopped = async || running.store.job(user).await.unwrap().and_then(|job| job.stopped);
    assert!(until_async(|| async { stopped().await.as_deref() == Some("scope_unknown") }).await);
    let job = running.store.job(user).await.unwrap().unwrap();
    assert!(job.last_error.unwrap().contains(rule));
    stage.graph().update_user(&ana, json!({ "employeeId": "7" }));
    stage.arrives(&ana).await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_scope_goes_after_a_second_look_and_strangers_are_left_alone() {
    let stage = Stage::new();
    let clock = Clock::manual(Clock::system().now());
    let (ana, group) = (stage.hire("Ana"), stage.roles[0].0.clone());
    // Zoe is not in scope, and has a CXone account that others made.
    let zoe = stage.graph().add_user(json!({
        "userPrincipalName": "zoe@example.com", "accountEnabled": true, "givenName": "Zoe", "surname": "Kaya",
    }));
    stage.cxone().add_user(json!({
        "userName": "zoe@example.com", "name": { "givenName": "Zoe", "familyName": "Kaya" },
        "emails": [{ "value": "zoe@example.com" }], "active": true,
    }));
    let scope = format!("[\"{group}\"]");
    let running = stage.serve_by(clock.clone(), &[NO_POLL, ("scope.groups", &scope)]).await;
    let created = until(|| {
        clock.advance(Duration::from_millis(500));
        stage.account(&ana).is_some()
    });
    assert!(created.await);
    for _ in 0..3 {
        mark(&running, &zoe).await;
        clock.advance(Duration::from_secs(400));
        let user = zoe.parse().unwrap();
        assert!(until_async(|| async { running.store.job(user).await.unwrap().is_none() }).await);
    }
    assert_eq!(stage.cxone().user_by_name("zoe@example.com").unwrap()["active"], true);

    stage.graph().remove_member(&group, &ana);
    let now = clock.now();
    running.store.schedule(Chore::Group(group.parse().unwrap()), now, now).await.unwrap();
    let user = ana.parse().unwrap();
    let seen_once = until_async(|| async {
        running.store.job(user).await.unwrap().is_some_and(|job| job.state == State::Waiting)
    });
    assert!(seen_once.await);
    assert_eq!(stage.account(&ana).unwrap()["active"], true, "one look is not enough");
    let first_look = clock.now();
    let off = until(|| {
        clock.advance(Duration::from_millis(500));
        stage.account(&ana).unwrap()["active"] == false
    });
    assert!(off.await);
    assert!(
        clock.now().duration_since(first_look).as_secs() >= 300,
        "one look and one reading are not enough"
    );
    stop(running).await;
}

/// As `sync user` does.
async fn mark(running: &cxone_sync::app::Running, user: &str) {
    let (user, now) = (user.parse().unwrap(), running.worker.clock.now());
    let mark = Mark { user, reason: Reason::Operator, news_at: now, urgent: false, removed: None };
    running.store.mark(vec![mark], now).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_takes_its_details_from_one_delta_round() {
    let stage = Stage::new();
    let users: Vec<String> = (0..80).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    let running = stage.serve_unsubscribed(&[NO_POLL]).await;
    stage.converge(&users).await;
    assert!(idle(&running).await);
    for user in &users {
        stage.graph().update_user(user, json!({ "surname": "Silva" }));
    }
    let before = stage.graph().requests().len();
    let now = running.worker.clock.now();
    let mark = |user: &String| Mark {
        user: user.parse().unwrap(),
        reason: Reason::Notification,
        news_at: now,
        urgent: false,
        removed: None,
    };
    running.store.mark(users.iter().map(mark).collect(), now).await.unwrap();
    stage.converge(&users).await;
    let requests = stage.graph().requests().split_off(before);
    let (rounds, reads): (Vec<_>, Vec<_>) = requests
        .iter()
        .filter(|one| one.path.starts_with("/v1.0/users/"))
        .partition(|one| one.path.ends_with("/delta"));
    assert!(!rounds.is_empty());
    assert_eq!(reads.len(), 0, "users in the round are not read by id");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_store_replaces_the_subscriptions_whose_secret_it_cannot_know() {
    let stage = Stage::new();
    stop(stage.serve(&[NO_POLL]).await).await;
    let lost: Vec<String> = stage.graph().subscriptions().into_iter().map(|one| one.id).collect();
    for file in ["demo.redb", "demo.redb.id", "demo.redb.ballast"] {
        std::fs::remove_file(stage.folder.path().join(file)).ok();
    }
    let running = stage.serve(&[NO_POLL]).await;
    let now: Vec<String> = stage.graph().subscriptions().into_iter().map(|one| one.id).collect();
    assert_eq!(now.len(), 2);
    assert!(now.iter().all(|id| !lost.contains(id)), "a subscription that may not verify was adopted");
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_uses_no_attempts_and_ends_by_itself() {
    let stage = Stage::new();
    let running = stage.serve(&[NO_POLL]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    // Consent withdrawn: 403 for everybody alike.
    stage.cxone().add_fault(Fault::new("*", "/scim/v2/*", When::First(2), What::Status(403, None)));
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    let user = ana.parse().unwrap();
    let most = AtomicU32::new(0);
    let arrived = until_async(|| async {
        let attempts = running.store.job(user).await.unwrap().map_or(0, |job| job.attempts);
        most.fetch_max(attempts, Ordering::Relaxed);
        stage.differences(std::slice::from_ref(&ana)).is_empty()
    });
    assert!(arrived.await, "{:?}", stage.differences(std::slice::from_ref(&ana)));
    let most = most.into_inner();
    assert!(most <= 1, "an outage used {most} attempts");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_holds_what_looks_like_an_accident_and_lets_all_else_go_on() {
    let stage = Stage::new();
    let budget = ("guard.deactivations.per_hour", "3");
    let running = stage.serve(&[budget]).await;
    let users: Vec<String> = (0..10).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    stage.converge(&users).await;
    for user in &users[..8] {
        stage.graph().disable(user);
    }
    stage.graph().update_user(&users[9], json!({ "surname": "Silva" }));
    let inactive = || stage.cxone().users().iter().filter(|user| user["active"] == json!(false)).count();
    let held =
        until_async(|| async { running.store.depth(running.worker.clock.now()).await.unwrap().held == 5 })
            .await;
    assert!(held, "{:?}", running.store.depth(running.worker.clock.now()).await);
    assert_eq!(inactive(), 3);
    let renamed = || stage.account(&users[9]).is_some_and(|account| account["name"]["familyName"] == "Silva");
    assert!(until(renamed).await, "the guard held what it must not");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lifecycle_notices_are_acted_on() {
    let stage = Stage::new();
    let running = stage.serve(&[NO_POLL]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    let users = stage.graph().subscriptions().into_iter().find(|one| one.resource.contains("users")).unwrap();

    stage.graph().lose_next(1);
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    stage.graph().send_lifecycle(&users.id, "missed");
    stage.arrives(&ana).await;

    // Removed without a word to the other: made again, and what happened meanwhile is polled.
    stage.graph().remove_subscription(&users.id);
    stage.graph().update_user(&ana, json!({ "surname": "Rossi" }));
    let groups =
        stage.graph().subscriptions().into_iter().find(|one| one.resource.contains("groups")).unwrap();
    stage.graph().send_lifecycle(&groups.id, "subscriptionRemoved");
    stage.arrives(&ana).await;
    assert!(until(|| stage.graph().subscriptions().len() == 2).await);

    // Just made, so it is left alone: never renewed and reauthorized within ten minutes.
    stage.graph().send_lifecycle(&groups.id, "reauthorizationRequired");
    stage.graph().update_user(&ana, json!({ "surname": "Keller" }));
    stage.arrives(&ana).await;
    assert_eq!(stage.graph().renewal_clashes(), 0);
    stop(running).await;
}
