//! What is lost on its way is noticed, and the poll steps in for as long as it is.

use std::time::Duration;

use cxone_sync::app::Running;
use cxone_sync::cli::demo::subscribe;
use cxone_sync::clock::{Clock, until as between};
use cxone_sync::domain::coverage::Coverage;
use cxone_sync::domain::queue::Chore;
use cxone_sync::domain::subscription::Resource;
use cxone_sync::store::COVERAGE_MEMO;
use serde_json::json;

use super::stage::{Stage, stop, until, until_async};

const MINUTE: Duration = Duration::from_secs(60);
const KEYS: [(&str, &str); 2] = [("sync.poll_interval", "15m"), ("sync.poll_interval_min", "2m")];

async fn coverage(running: &Running) -> Coverage {
    let memo = running.store.memo(COVERAGE_MEMO).await.unwrap();
    memo.map(|memo| serde_json::from_str(&memo).unwrap()).unwrap_or_default()
}

/// In how many minutes the next poll of each kind is due, when none runs.
async fn next_polls(running: &Running) -> Option<[u64; 2]> {
    let chores = running.store.chores().await.unwrap();
    let now = running.worker.clock.now();
    let wait = |resource| {
        let poll = chores.iter().find(|entry| entry.chore == Chore::Poll(resource))?;
        (!poll.running).then(|| between(now, poll.due_at).as_secs().div_ceil(60))
    };
    Some([wait(Resource::Users)?, wait(Resource::Groups)?])
}

/// Lets the jobs end that there are, and those that look again a little later: of who has one, a poll says
/// nothing.
async fn rest(running: &Running) {
    let ended = until_async(|| async {
        let depth = running.store.depth(running.worker.clock.now()).await.unwrap();
        let is_idle = depth.due + depth.waiting + depth.running == 0;
        if !is_idle {
            running.worker.clock.advance(Duration::from_millis(500));
        }
        is_idle
    });
    assert!(ended.await, "{:?}", running.store.depth(running.worker.clock.now()).await);
}

/// Lets time pass, and waits until the polls that were due have run and so much is known and missed.
async fn pass(running: &Running, minutes: u32, counts: (u64, u64)) -> [u64; 2] {
    rest(running).await;
    running.worker.clock.advance(MINUTE * minutes);
    let settled = until_async(|| async {
        let due = |wait: u64| wait == 0;
        let polls = next_polls(running).await;
        polls.is_some_and(|polls| !polls.into_iter().any(due)) && coverage(running).await.counts() == counts
    });
    if !settled.await {
        let (coverage, chores) = (coverage(running).await, running.store.chores().await.unwrap());
        let round = running.store.round(Resource::Users).await.unwrap();
        let news_at = running.store.last_notification_at().await.unwrap();
        panic!("expected {counts:?}: {coverage:?} {chores:#?} {round:?} {news_at:?}");
    }
    rest(running).await;
    next_polls(running).await.unwrap()
}

/// Ana has joined, was announced, and the poll has seen her.
async fn announced() -> (Stage, Clock, Running, String) {
    let stage = Stage::new();
    let clock = Clock::manual("2026-11-23T12:00:00Z".parse().unwrap());
    let running = stage.serve_by(clock.clone(), &KEYS).await;
    subscribe(stage.folder.path()).await.unwrap();
    // Whoever comes before the first, full round is on none of the others.
    pass(&running, 0, (0, 0)).await;
    let ana = stage.hire("Ana");
    stage.arrives_by(&clock, &ana).await;
    stage.graph().deliveries_settled().await;
    // Whoever was announced is known, though the job is long done when the poll shows them.
    pass(&running, 15, (1, 0)).await;
    (stage, clock, running, ana)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_poll_steps_in_when_notifications_get_lost_and_withdraws_when_they_arrive_again() {
    let (stage, clock, running, ana) = announced().await;
    stage.graph().lose_next(1);
    stage.graph().update_user(&ana, json!({ "displayName": "Ana S." }));
    let [users, groups] = pass(&running, 15, (1, 0)).await;
    stage.arrives_by(&clock, &ana).await;
    assert!(
        users <= 5 && groups > 5,
        "a change in doubt brings the next poll of users forward: {users} {groups}"
    );
    let [users, groups] = pass(&running, 5, (1, 1)).await;
    assert!(users <= 2 && groups <= 2, "both polls come forward: {users} {groups}");
    let page = running.worker.metrics.encode();
    for line in [
        "cxone_sync_notifications_missed_total 1",
        "cxone_sync_webhook_coverage_ratio 0.5",
        "cxone_sync_poll_interval_seconds 120.0",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }

    // A restart forgets neither.
    stop(running).await;
    let running = stage.serve_by(clock.clone(), &KEYS).await;
    let ratio = || running.worker.metrics.encode().contains("cxone_sync_webhook_coverage_ratio 0.5");
    assert!(until(ratio).await, "{}", running.worker.metrics.encode());
    let [users, _] = pass(&running, 0, (1, 1)).await;
    assert!(users <= 2, "{users}");
    stage.graph().update_user(&ana, json!({ "displayName": "Ana Silva" }));
    stage.arrives_by(&clock, &ana).await;
    pass(&running, 2, (2, 1)).await;
    let interval_s = running.worker.metrics.poll_interval.get();
    assert_eq!(interval_s, 240.0, "it goes back step by step");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_that_comes_after_the_poll_was_not_lost() {
    let (stage, clock, running, ana) = announced().await;
    stage.graph().lose_next(1);
    stage.graph().update_user(&ana, json!({ "displayName": "Ana S." }));
    pass(&running, 15, (1, 0)).await;
    stage.arrives_by(&clock, &ana).await;
    // The same news, a little later: what is announced is the user, not the change.
    stage.graph().update_user(&ana, json!({ "jobTitle": "Lead" }));
    stage.graph().deliveries_settled().await;
    pass(&running, 5, (2, 0)).await;
    assert_eq!(running.worker.metrics.notifications_missed.get(), 0);
    stop(running).await;
}
