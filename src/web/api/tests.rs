//! Asked as commands ask: through `in_process` and the client of `outbound`.

use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::clock::Clock;
use crate::domain::pulse::{Lags, Sample};
use crate::domain::queue::{Job, State as JobState};
use crate::outbound::{Api, Method, Request, Response, Transport, Url};
use crate::random::Random;
use crate::shutdown::Shutdown;
use crate::store::{Options, Store};
use crate::telemetry::Metrics;
use crate::web::operations::{Operation, OperationError, Operations};
use crate::web::{Access, PrivateState, in_process, private_router};

mod copies;
mod operators;

struct Admin {
    api: Api,
    store: Store,
    now: Timestamp,
    asked: mpsc::Receiver<Operation>,
    _directory: tempfile::TempDir,
}

impl Admin {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let (metrics, clock) = (Metrics::new(), Clock::manual(now));
        let options = Options {
            history_key: crate::store::ChainKey::new([0; 32]),
            path: directory.path().join("store.redb"),
            cache_bytes: 1 << 20,
            ballast_bytes: 1 << 10,
            retention_journal: Duration::from_secs(3600),
            retention_history: Duration::from_secs(3600),
        };
        let store = Store::open(options, now, metrics.clone()).unwrap();
        let (operations, asked) = Operations::channel();
        let (access, store_of_ours, random) = (Access::Local, store.clone(), Random::seeded(1));
        let state = PrivateState {
            store,
            operations,
            metrics: metrics.clone(),
            clock: clock.clone(),
            random,
            shutdown: Shutdown::new(),
            budgets: tokio::sync::watch::channel(Default::default()).1,
            access,
        };
        let transport = Transport::in_process(in_process(private_router(state)));
        let base = Url::parse("http://localhost/").unwrap();
        let api = Api::new("the service", base, transport, 4, clock, metrics);
        Self { api, store: store_of_ours, now, asked, _directory: directory }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = self.api.base().join(&format!("/api/v1/{path}")).unwrap();
        let mut request = Request::new(method, url);
        if let Some(body) = body {
            request = request.body("application/json", body.to_string());
        }
        let Response { status, body, .. } = self.api.send(request).await.unwrap();
        (status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Answers the next question with what `answer` makes of it.
    fn will_answer(&mut self, answer: impl FnOnce(Operation) + Send + 'static) {
        let (_, unused) = mpsc::channel(1);
        let mut asked = std::mem::replace(&mut self.asked, unused);
        tokio::spawn(async move {
            answer(asked.recv().await.unwrap());
            // Kept open, so that a second question would wait instead of failing.
            std::future::pending::<()>().await;
            drop(asked);
        });
    }

    async fn mark(&self, users: std::ops::Range<u128>) {
        let mark = |n| Mark {
            user: user(n),
            reason: Reason::Delta,
            news_at: self.now,
            urgent: false,
            removed: None,
        };
        let marks: Vec<Mark> = users.map(mark).collect();
        // More at once would wait in the journal for the worker's next claim.
        for marks in marks.chunks(100) {
            self.store.mark(marks.to_vec(), self.now).await.unwrap();
        }
    }

    async fn jobs(&self) -> Vec<Job> {
        self.store.jobs(None, 10_000, None).await.unwrap()
    }
}

fn user(n: u128) -> UserId {
    UserId::from_bytes(n.to_be_bytes())
}

fn message(answer: &(u16, Value)) -> &str {
    answer.1["error"]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn the_queue_is_shown_page_by_page() {
    let admin = Admin::new();
    admin.mark(0..5).await;
    let (status, page) = admin.get("queue?limit=2").await;
    assert_eq!(status, 200);
    let ids = |page: &Value| -> Vec<UserId> {
        let jobs = page["jobs"].as_array().unwrap();
        jobs.iter().map(|job| serde_json::from_value(job["user"].clone()).unwrap()).collect()
    };
    assert_eq!(ids(&page), [user(0), user(1)]);
    let (_, page) = admin.get(&format!("queue?limit=9&after={}&state=due", user(1))).await;
    assert_eq!(ids(&page), [user(2), user(3), user(4)]);
    assert_eq!(page["jobs"][0]["state"], "due");
    assert_eq!(ids(&admin.get("queue?state=parked&limit=&after=").await.1), []);
}

#[tokio::test]
async fn one_answer_never_holds_more_than_a_thousand() {
    let admin = Admin::new();
    admin.mark(0..1001).await;
    assert_eq!(admin.get("queue?limit=100000").await.1["jobs"].as_array().unwrap().len(), 1000);
    assert_eq!(admin.get("queue").await.1["jobs"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn the_stats_count_by_state() {
    let admin = Admin::new();
    admin.mark(0..3).await;
    let (status, stats) = admin.get("queue/stats").await;
    assert_eq!((status, &stats["due"], &stats["held"]), (200, &json!(3), &json!(0)));
    assert_eq!(stats["oldest_due_seconds"], 0.0);
    assert!(stats["chores"].is_array());
}

#[tokio::test]
async fn one_user_is_shown_with_what_is_known() {
    let admin = Admin::new();
    admin.mark(1..2).await;
    let (status, entry) = admin.get(&format!("queue/{}", user(1))).await;
    assert_eq!((status, &entry["job"]["reason"]), (200, &json!("delta")));
    let (status, entry) = admin.get(&format!("queue/{}", user(2))).await;
    assert_eq!((status, entry), (200, json!({ "job": null, "link": null, "history": [] })));
}

#[tokio::test]
async fn a_job_is_dropped_once() {
    let admin = Admin::new();
    admin.mark(1..3).await;
    let body = json!({ "users": [user(1), user(9)] });
    assert_eq!(admin.post("queue/drop", body.clone()).await, (200, json!({ "dropped": 1 })));
    assert_eq!(admin.post("queue/drop", body).await, (200, json!({ "dropped": 0 })));
    assert_eq!(admin.jobs().await.len(), 1);
}

#[tokio::test]
async fn a_replay_says_how_many_first() {
    let admin = Admin::new();
    let news = crate::domain::queue::News::User { id: user(1), deleted: false };
    admin.store.accept(vec![news], admin.now).await.unwrap();
    for claim in admin.store.claim(10, admin.now).await.unwrap() {
        let done = queue::Outcome::of(queue::Settlement::Done { recheck_at: None });
        admin.store.settle(claim, done, admin.now).await.unwrap();
    }
    assert_eq!(admin.jobs().await, []);
    let since = admin.now - Duration::from_secs(60);
    let asked = json!({ "since": since, "dry_run": true });
    assert_eq!(admin.post("queue/replay", asked).await, (200, json!({ "users": 1 })));
    assert_eq!(admin.jobs().await, []);
    assert_eq!(admin.post("queue/replay", json!({ "since": since })).await, (200, json!({ "users": 1 })));
    let jobs = admin.jobs().await;
    assert_eq!((jobs.len(), jobs[0].reason), (1, Reason::Replay));
}

#[tokio::test]
async fn a_retry_revives_what_is_stopped() {
    let admin = Admin::new();
    admin.mark(1..3).await;
    for claim in admin.store.claim(10, admin.now).await.unwrap() {
        let park = queue::Settlement::Park { code: "refused", error: "no".to_owned() };
        admin.store.settle(claim, queue::Outcome::of(park), admin.now).await.unwrap();
    }
    let (_, parked) = admin.get("queue?state=parked").await;
    assert_eq!(parked["jobs"][0]["stopped"], "refused");
    let one = json!({ "users": [user(1)] });
    assert_eq!(admin.post("queue/retry", one).await, (200, json!({ "users": 1 })));
    let all = json!({ "states": ["parked"] });
    assert_eq!(admin.post("queue/retry", all).await, (200, json!({ "users": 1 })));
    assert!(admin.jobs().await.iter().all(|job| job.state == JobState::Due && job.attempts == 0));
}

#[tokio::test]
async fn a_sync_by_id_asks_nobody() {
    let admin = Admin::new();
    let id = "3F0C2A9E-1111-4222-8333-444455556666";
    let (status, answer) = admin.post("sync", json!({ "user": id })).await;
    assert_eq!((status, answer), (200, json!({ "user": id.to_lowercase() })));
    let jobs = admin.jobs().await;
    assert_eq!((jobs.len(), jobs[0].reason), (1, Reason::Operator));
}

#[tokio::test]
async fn a_sync_by_name_resolves_it_first() {
    let mut admin = Admin::new();
    admin.will_answer(|operation| {
        let Operation::Resolve { user: name, reply } = operation else { panic!("{operation:?}") };
        assert_eq!(name, "ana@example.com");
        reply.send(Ok(json!({ "user": user(7) }))).unwrap();
    });
    let (status, answer) = admin.post("sync", json!({ "user": " ana@example.com " })).await;
    assert_eq!((status, answer), (200, json!({ "user": user(7) })));
    assert_eq!(admin.jobs().await[0].user, user(7));
}

#[tokio::test]
async fn a_name_nobody_has_marks_nobody() {
    let mut admin = Admin::new();
    admin.will_answer(|operation| {
        let Operation::Resolve { reply, .. } = operation else { panic!("{operation:?}") };
        reply.send(Err(OperationError::new(404, "unknown_user", "no such user"))).unwrap();
    });
    let answer = admin.post("sync", json!({ "user": "nobody@example.com" })).await;
    assert_eq!(answer.0, 404);
    assert_eq!(answer.1, json!({ "error": { "code": "unknown_user", "message": "no such user" } }));
    assert_eq!(admin.jobs().await, []);
}

#[tokio::test]
async fn what_needs_the_neighbours_is_asked_and_handed_on() {
    let check = async |method: Method, path: &str, body: Option<Value>, expected: &'static str| {
        let mut admin = Admin::new();
        admin.will_answer(move |operation| {
            let (asked, reply) = match operation {
                Operation::Plan { whom, reply, .. } => (format!("plan {whom:?}"), reply),
                Operation::Apply { plans, by, batch, reply } => {
                    (format!("apply {} {by} {batch:?}", json!(plans)), reply)
                }
                Operation::Preapprove { group, most, until, by, reply } => {
                    (format!("preapprove {group} {most} {until} {by}"), reply)
                }
                Operation::Adopt { dry_run, reply, .. } => (format!("adopt {dry_run}"), reply),
                Operation::Simulate { name, text, since, reply } => {
                    (format!("simulate {name} {text} {since:?}"), reply)
                }
                Operation::Explain { user, at: None, reply } => (format!("explain {user}"), reply),
                Operation::Explain { user, at: Some(at), reply } => {
                    (format!("explain {user} at {at}"), reply)
                }
                Operation::Subscriptions { reply } => ("subscriptions".to_owned(), reply),
                Operation::Subscribe { reply } => ("subscribe".to_owned(), reply),
                Operation::Renew { id, reply } => (format!("renew {id}"), reply),
                Operation::Unsubscribe { id, reply } => (format!("unsubscribe {id}"), reply),
                Operation::Lint { reply } => ("lint".to_owned(), reply),
                Operation::Doctor { reply } => ("doctor".to_owned(), reply),
                Operation::Learn { user, plan, reply } => (format!("learn {user} {plan:?}"), reply),
                Operation::Reload { reply } => ("reload".to_owned(), reply),
                Operation::TestEvents { reply } => ("test events".to_owned(), reply),
                Operation::SyncAll { reply } => ("sync all".to_owned(), reply),
                Operation::Resolve { .. } | Operation::Status { .. } => panic!("{operation:?}"),
            };
            reply.send(Ok(Value::from(asked))).unwrap();
        });
        assert_eq!(admin.send(method, path, body).await, (200, json!(expected)), "{path}");
    };
    let (get, post) = (Method::GET, Method::POST);
    let nothing = Some(Value::Null);
    check(post.clone(), "plan", Some(json!({ "users": ["a@b", "c@d"] })), r#"plan Users(["a@b", "c@d"])"#)
        .await;
    check(post.clone(), "plan", Some(json!({ "all": true, "users": [] })), "plan All").await;
    let group = "00000000-0000-0000-0000-000000000001";
    check(
        post.clone(),
        "plan",
        Some(json!({ "group": group })),
        "plan Group(00000000-0000-0000-0000-000000000001)",
    )
    .await;
    check(post.clone(), "events/test", nothing.clone(), "test events").await;
    let batch = crate::domain::case::new_batch("2026-11-23T12:00:00Z".parse().unwrap(), &[0; 10]);
    check(
        post.clone(),
        "apply",
        Some(json!({ "plans": [1], "by": "ana", "batch": batch })),
        r#"apply [1] ana (socket) Some("01a20846-fe00-7000-8000-000000000000")"#,
    )
    .await;
    check(
        post.clone(),
        "preapprovals",
        Some(json!({ "group": group, "most": 5, "until": "2026-11-24T12:00:00Z" })),
        "preapprove 00000000-0000-0000-0000-000000000001 5 2026-11-24T12:00:00Z somebody (socket)",
    )
    .await;
    let then = "explain/ana%40example.com?at=2026-11-22T00:00:00Z";
    check(get.clone(), then, None, "explain ana@example.com at 2026-11-22T00:00:00Z").await;
    check(post.clone(), "adopt", Some(json!({})), "adopt false").await;
    check(post.clone(), "adopt", Some(json!({ "dry_run": true })), "adopt true").await;
    let new = json!({ "name": "new.toml", "text": "[sync]", "since": "2026-11-01T00:00:00Z" });
    check(post.clone(), "simulate", Some(new), "simulate new.toml [sync] Some(2026-11-01T00:00:00Z)").await;
    check(post.clone(), "lint", nothing.clone(), "lint").await;
    check(post.clone(), "doctor", nothing.clone(), "doctor").await;
    let asked = json!({ "user": "ana@example.com" });
    check(post.clone(), "doctor/learn", Some(asked), "learn ana@example.com None").await;
    let agreed = json!({ "user": "ana@example.com", "plan": "5f2c" });
    check(post.clone(), "doctor/learn", Some(agreed), r#"learn ana@example.com Some("5f2c")"#).await;
    check(post.clone(), "reload", nothing.clone(), "reload").await;
    check(post.clone(), "sync", Some(json!({ "all": true })), "sync all").await;
    check(get.clone(), "explain/ana%40example.com", None, "explain ana@example.com").await;
    check(get, "subscriptions", None, "subscriptions").await;
    check(post.clone(), "subscriptions", nothing.clone(), "subscribe").await;
    check(post, "subscriptions/a-b_1/renew", nothing, "renew a-b_1").await;
    check(Method::DELETE, "subscriptions/a-b_1", None, "unsubscribe a-b_1").await;
}

#[tokio::test]
async fn what_is_wrong_is_said_clearly() {
    let admin = Admin::new();
    admin.mark(1..2).await;
    let before = admin.jobs().await;
    for (path, expected) in [
        ("queue?state=dead", "must be due, waiting, running, parked or held"),
        ("queue?limit=many", "limit is \"many\", but must be a whole number"),
        ("queue?limit=0", "at least 1"),
        ("queue?limit=-1", "must be a whole number"),
        ("queue?after=ana", "must be an object id"),
        ("queue?limits=3", "unknown parameter \"limits\"; there are: state, limit, after"),
        ("queue?limit=1&limit=2", "given twice"),
        ("queue?state=%ff", "not UTF-8"),
        ("queue/ana", "\"ana\" is not an object id"),
        ("history?since=yesterday", "must be a time such as"),
        ("history?user=ana", "must be an object id"),
        ("explain/%20", "the user is missing"),
        ("explain/ana%40example.com?at=now", "must be a time such as"),
        ("history?since=2026-11-23T12:00:00Z&before=2026-11-23T12:00:00Z", "since must be earlier"),
        ("history/verify?number=1", "belong together"),
        ("drift?attribute=shoeSize", "there are: userName, externalId"),
        ("batches/3f0c2a9e-1111-4222-8333-444455556666", "not the id of an order"),
    ] {
        let answer = admin.get(path).await;
        assert_eq!(answer.0, 400, "{path}");
        assert!(message(&answer).contains(expected), "{path}: {}", message(&answer));
    }
    let too_many: Vec<UserId> = (0..1001).map(user).collect();
    for (path, body, expected) in [
        ("queue/replay", json!({}), "say what to replay"),
        ("queue/replay", json!({ "dry_run": true }), "say what to replay"),
        ("queue/replay", json!({ "all": false, "users": [] }), "say what to replay"),
        ("queue/replay", json!({ "all": true, "dryrun": true }), "unknown field `dryrun`"),
        ("queue/replay", json!({ "since": "2h" }), "since is wrong"),
        ("simulate", json!({ "name": "new.toml" }), "missing field `text`"),
        (
            "queue/replay",
            json!({ "users": [user(1), "ana"] }),
            "users[1] is wrong: \"ana\" is not an object id",
        ),
        ("queue/replay", json!({ "users": too_many }), "at most 1000"),
        ("queue/replay", json!(17), "the body is wrong"),
        ("queue/retry", json!({}), "say what to retry"),
        ("queue/retry", json!({ "users": [] }), "say what to retry"),
        ("queue/retry", json!({ "states": ["running"] }), "needs no retry"),
        ("queue/retry", json!({ "states": ["dead"] }), "states[0] is wrong"),
        ("queue/drop", json!({}), "missing field `users`"),
        ("queue/drop", json!({ "users": too_many }), "at most 1000"),
        ("sync", json!({}), "say whom to sync"),
        ("sync", json!({ "all": false }), "say whom to sync"),
        ("sync", json!({ "user": "a@b", "all": true }), "say whom to sync"),
        ("sync", json!({ "user": "" }), "the user is missing"),
        ("sync", json!({ "user": "a\u{7}b" }), "neither an object id nor a sign-in name"),
        ("plan", json!({}), "say whom to plan for"),
        ("plan", json!({ "users": ["a"], "all": true }), "say whom to plan for"),
        ("plan", json!({ "users": ["a"], "group": user(1) }), "say whom to plan for"),
        ("apply", json!({ "plans": [] }), "1 to 1000 plans"),
        ("apply", json!({ "plans": [1], "batch": "x" }), "not the id of an order"),
        ("apply", json!({ "plans": [1], "by": "a\u{7}b" }), "by must be a name"),
        ("held/approve", json!({}), "missing field `set`"),
        ("held/approve", json!({ "set": "s", "users": [] }), "users is empty"),
        ("held/approve", json!({ "set": "s", "expires_seconds": 0 }), "within 30 days"),
        ("held/approve", json!({ "set": "s", "expires_seconds": 2_592_001 }), "within 30 days"),
        ("held/reject", json!({ "set": "s", "expires_seconds": 60 }), "does not expire"),
        (
            "preapprovals",
            json!({ "group": user(1), "most": 1, "until": "2026-11-23T12:00:00Z" }),
            "in the future",
        ),
        ("preapprovals", json!({ "group": user(1), "most": 1, "until": "2026-12-24T12:00:00Z" }), "30 days"),
        (
            "preapprovals",
            json!({ "group": user(1), "most": 0, "until": "2026-11-24T12:00:00Z" }),
            "at least 1",
        ),
        ("drift/accept", json!({ "user": user(1), "attributes": [] }), "which attributes"),
        ("drift/revert", json!({ "user": user(1), "attributes": ["shoeSize"] }), "attributes[0] is wrong"),
        ("undo", json!({}), "say what to undo"),
        ("undo", json!({ "since": "2026-11-23T12:00:00Z" }), "earlier than now"),
        ("undo", json!({ "batch": "all" }), "not the id of an order"),
        ("adopt", json!({ "dryRun": true }), "dryRun is wrong"),
        ("subscriptions/a.b/renew", Value::Null, "not the id of a subscription"),
        ("subscriptions/a%20b/renew", Value::Null, "not the id of a subscription"),
    ] {
        let answer = admin.post(path, body.clone()).await;
        assert_eq!(answer.0, 400, "{path} {body}");
        assert!(message(&answer).contains(expected), "{path} {body}: {}", message(&answer));
    }
    assert_eq!(admin.jobs().await, before);
}

#[tokio::test]
async fn a_store_that_fails_is_a_503() {
    let admin = Admin::new();
    admin.store.close().await;
    let answer = admin.post("sync", json!({ "user": user(1) })).await;
    assert_eq!((answer.0, &answer.1["error"]["code"]), (503, &json!("store_failed")));
    assert_eq!(admin.get("queue").await.0, 503);
}

#[tokio::test]
async fn a_body_is_one_object() {
    let admin = Admin::new();
    let url = admin.api.base().join("/api/v1/sync").unwrap();
    for body in ["", "{", "{\"all\":true}{}", "{\"all\":true,\"all\":true}"] {
        let request = Request::new(Method::POST, url.clone()).body("application/json", body);
        assert_eq!(admin.api.send(request).await.unwrap().status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let admin = Admin::new();
    let answer = admin.post("sync", json!({ "user": "x".repeat(2 << 20) })).await;
    assert_eq!(answer.0, 413);
}

#[tokio::test]
async fn the_pulse_shows_the_last_hours() {
    let admin = Admin::new();
    let mut lags = Lags::default();
    lags.add(Duration::from_millis(200));
    let depth = admin.store.depth(admin.now).await.unwrap();
    admin.store.add_sample(Sample { at: admin.now, depth, lags }).await.unwrap();
    let (status, pulse) = admin.get("pulse").await;
    assert_eq!((status, &pulse["stepSeconds"]), (200, &json!(900)));
    let points = pulse["points"].as_array().unwrap();
    assert_eq!((points.len(), &points[95]["n"], &points[95]["open"]), (96, &json!(1), &json!(0)));
    assert_eq!(points[94]["open"], Value::Null, "it did not run then");
    assert_eq!(admin.get("pulse?hours=48").await.1["stepSeconds"], 1800);
    assert!(message(&admin.get("pulse?hours=49").await).contains("1 to 48"));
}
