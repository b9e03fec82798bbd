use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use super::*;
use crate::domain::case::{CaseChange, HeldItem};
use crate::domain::coverage::{Bounds, Shown};
use crate::domain::guard::{Budget, Guarded, Spend};
use crate::domain::queue::{Intent, Mark, News, Operation, Outcome, Reason, Settlement};
use crate::domain::subscription::Subscription;
use crate::domain::user::UserId;
use crate::store::Options;
use crate::web::operations::Operation as Asked;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Private {
    router: Router,
    store: Store,
    clock: Clock,
    _directory: tempfile::TempDir,
}

impl Private {
    /// Answers nothing that needs the running parts.
    fn new(access: Access) -> Self {
        Self::with(access, Operations::channel().0)
    }

    fn with(access: Access, operations: Operations) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let clock = Clock::manual("2026-11-23T12:00:00Z".parse().unwrap());
        let options = Options {
            history_key: crate::store::ChainKey::new([0; 32]),
            path: directory.path().join("store.redb"),
            cache_bytes: 1 << 20,
            ballast_bytes: 1 << 10,
            retention_journal: Duration::from_secs(3600),
            retention_history: Duration::from_secs(3600),
        };
        let store = Store::open(options, clock.now(), metrics.clone()).unwrap();
        let random = Random::seeded(1);
        let deactivations = Budget { per_hour: Some(4), per_day: None, ..Budget::default() };
        let budgets = watch::channel(Budgets { deactivations, ..Budgets::default() }).1;
        let state = PrivateState {
            store: store.clone(),
            operations,
            metrics,
            clock: clock.clone(),
            random,
            shutdown: Shutdown::new(),
            budgets,
            access,
        };
        Self { router: private_router(state), store, clock, _directory: directory }
    }

    async fn send(&self, request: Request) -> (StatusCode, HeaderMap, Bytes) {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, Bytes) {
        self.send(request("GET", path, &[], "")).await
    }
}

fn over_tcp() -> Access {
    Access::Token {
        token: AdminToken::new(&TOKEN.to_owned().into()),
        hosts: vec!["sync.internal".to_owned()],
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &'static str) -> Request {
    let mut request = axum::http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn of_all_combinations_exactly_the_intended_ones_pass() {
    let private = Private::new(over_tcp());
    let bearer = format!("Bearer {TOKEN}");
    let longer = format!("Bearer {TOKEN}0");
    let hosts = [
        (Some("localhost"), true),
        (Some("LOCALHOST:8081"), true),
        (Some("127.0.0.1:8081"), true),
        (Some("[::1]:8081"), true),
        (Some("sync.internal:8081"), true),
        (Some("evil.example"), false),
        (Some("localhost.evil.example"), false),
        (Some("127.0.0.1.evil.example"), false),
        (Some("evil@localhost"), false),
        (Some("10.0.0.1"), false),
        (Some(""), false),
        (None, false),
    ];
    let origins = [
        (None, true),
        (Some(("origin", "http://localhost:8081")), false),
        (Some(("origin", "https://evil.example")), false),
        (Some(("origin", "null")), false),
        (Some(("sec-fetch-site", "cross-site")), false),
        (Some(("sec-fetch-site", "same-site")), false),
        (Some(("sec-fetch-site", "none")), true),
    ];
    let authorizations = [
        (Some(bearer.as_str()), true),
        (Some(longer.as_str()), false),
        (Some(&bearer[..bearer.len() - 1]), false),
        (Some("Bearer "), false),
        (Some("Bearer"), false),
        (Some(TOKEN), false),
        (Some("Basic 0123456789abcdef0123456789abcdef"), false),
        (None, false),
    ];
    let kinds = [
        (Some("application/json"), true),
        (Some("application/json; charset=utf-8"), true),
        (Some("text/plain"), false),
        (Some("application/x-www-form-urlencoded"), false),
        (Some("application/jsonx"), false),
        (None, false),
    ];
    let mut passed = 0;
    for (host, good_host) in hosts {
        for (origin, good_origin) in origins {
            for (authorization, good_authorization) in authorizations {
                for (kind, good_kind) in kinds {
                    for method in ["GET", "POST"] {
                        let headers: Vec<(&str, &str)> = [
                            host.map(|host| ("host", host)),
                            origin,
                            authorization.map(|authorization| ("authorization", authorization)),
                            kind.map(|kind| ("content-type", kind)),
                        ]
                        .into_iter()
                        .flatten()
                        .collect();
                        let path = if method == "GET" { "/api/v1/queue" } else { "/api/v1/queue/drop" };
                        let (status, ..) =
                            private.send(request(method, path, &headers, "{\"users\":[]}")).await;
                        let good =
                            good_host && good_origin && good_authorization && (good_kind || method == "GET");
                        assert_eq!(status == StatusCode::OK, good, "{method} {headers:?} {status}");
                        let expected = [
                            StatusCode::MISDIRECTED_REQUEST,
                            StatusCode::FORBIDDEN,
                            StatusCode::UNAUTHORIZED,
                            StatusCode::UNSUPPORTED_MEDIA_TYPE,
                        ];
                        assert!(good || expected.contains(&status), "{method} {headers:?} {status}");
                        passed += usize::from(good);
                    }
                }
            }
        }
    }
    assert_eq!(passed, 5 * 2 * (6 + 2));
}

#[tokio::test]
async fn two_answers_to_one_question_are_none() {
    let private = Private::new(over_tcp());
    let bearer = format!("Bearer {TOKEN}");
    let good = [("host", "localhost"), ("authorization", bearer.as_str())];
    assert_eq!(private.send(request("GET", "/api/v1/queue", &good, "")).await.0, 200);
    let hosts = [good[0], good[1], ("host", "localhost")];
    assert_eq!(private.send(request("GET", "/api/v1/queue", &hosts, "")).await.0, 421);
    let tokens = [good[0], good[1], ("authorization", "Bearer x")];
    assert_eq!(private.send(request("GET", "/api/v1/queue", &tokens, "")).await.0, 401);
    // The target wins over the header.
    let target = "http://evil.example/api/v1/queue";
    assert_eq!(private.send(request("GET", target, &good, "")).await.0, 421);
}

#[tokio::test]
async fn an_empty_token_admits_nobody() {
    let private =
        Private::new(Access::Token { token: AdminToken::new(&String::new().into()), hosts: Vec::new() });
    for given in ["Bearer ", "Bearer"] {
        let headers = [("host", "localhost"), ("authorization", given)];
        assert_eq!(private.send(request("GET", "/status", &headers, "")).await.0, 401);
    }
}

#[tokio::test]
async fn health_and_metrics_need_no_token_and_all_else_does() {
    let private = Private::new(over_tcp());
    let host = [("host", "localhost")];
    for (path, expected) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/status", 401),
        ("/api/v1/queue", 401),
        ("/api/v1/nothing", 401),
        ("/nothing", 401),
        ("/livez/", 401),
        ("/", 303),
    ] {
        let (status, headers, body) = private.send(request("GET", path, &host, "")).await;
        assert_eq!(status, expected, "{path}");
        if expected == 401 {
            assert_eq!(headers["www-authenticate"], "Bearer");
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["code"], "unauthorized");
        }
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control-")));
    }
    // A page of somebody else may not even look at these.
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(private.send(request("GET", path, &[("host", "evil.example")], "")).await.0, 421);
    }
}

#[tokio::test]
async fn whoever_reaches_a_local_router_may_use_it_but_no_page() {
    let private = Private::new(Access::Local);
    assert_eq!(private.get("/api/v1/queue").await.0, 200);
    let page = [("origin", "http://localhost")];
    assert_eq!(private.send(request("GET", "/api/v1/queue", &page, "")).await.0, 403);
    let (status, ..) = private.send(request("POST", "/api/v1/queue/drop", &[], "{\"users\":[]}")).await;
    assert_eq!(status, 415);
}

#[tokio::test]
async fn wrong_ways_are_told_in_json() {
    let private = Private::new(Access::Local);
    let json = [("content-type", "application/json")];
    for (method, path, expected, code) in [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("DELETE", "/api/v1/queue", 405, "method_not_allowed"),
        ("POST", "/livez", 405, "method_not_allowed"),
        ("OPTIONS", "/api/v1/queue", 405, "method_not_allowed"),
    ] {
        let (status, _, body) = private.send(request(method, path, &json, "{}")).await;
        assert_eq!(status, expected, "{method} {path}");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], code, "{method} {path}");
        assert!(body["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn ready_means_that_the_store_can_write() {
    let private = Private::new(Access::Local);
    assert_eq!(private.get("/readyz").await.0, 200);
    private.store.close().await;
    assert_eq!(private.get("/readyz").await.0, 503);
    assert_eq!(private.get("/livez").await.0, 200);
    // Counting goes on, and is shown.
    let (status, _, page) = private.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&page).contains("cxone_sync_build_info"));
}

async fn fill(private: &Private) {
    let now = private.clock.now();
    let mark = |n: u128| Mark {
        user: UserId::from_bytes(n.to_be_bytes()),
        reason: Reason::Delta,
        news_at: now,
        urgent: false,
        removed: None,
    };
    private.store.mark(vec![mark(1), mark(2)], now).await.unwrap();
    let subscription = Subscription {
        id: "abc".to_owned(),
        resource: Resource::Users,
        notification_url: "https://sync.example.com/notifications".to_owned(),
        expires_at: now + Duration::from_secs(3600),
        renewed_at: now,
        signed_by: None,
    };
    private.store.put_subscription(&subscription).await.unwrap();
    let end =
        store::PageNext::End("https://graph.microsoft.com/v1.0/users/delta?$deltatoken=secret".to_owned());
    let page = store::PageRecord { marks: vec![], seen: vec![], next: end, full: false, started_at: now };
    private.store.record_page(Resource::Users, page, now).await.unwrap();
}

#[tokio::test]
async fn the_metrics_show_what_the_store_knows() {
    let private = Private::new(Access::Local);
    fill(&private).await;
    private.clock.advance(Duration::from_secs(90));
    let (_, headers, page) = private.get("/metrics").await;
    assert_eq!(headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let page = String::from_utf8(page.to_vec()).unwrap();
    let expires = private.clock.now().as_second() - 90 + 3600;
    for line in [
        r#"cxone_sync_queue_depth{state="due"} 2"#,
        r#"cxone_sync_queue_depth{state="held"} 0"#,
        "cxone_sync_queue_oldest_due_seconds 90.0",
        &format!(r#"cxone_sync_subscription_expiry_timestamp_seconds{{resource="users"}} {expires}.0"#),
        r#"cxone_sync_delta_link_age_seconds{resource="users"} 90.0"#,
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
    // What is gone is not shown any more.
    private.store.remove_subscription("abc").await.unwrap();
    let page = private.get("/metrics").await.2;
    assert!(!String::from_utf8_lossy(&page).contains("subscription_expiry_timestamp_seconds{"));
}

#[tokio::test]
async fn the_metrics_show_how_much_of_the_guard_is_used_and_when_things_last_happened() {
    let private = Private::new(Access::Local);
    fill(&private).await;
    let now = private.clock.now();
    let mut spend = Spend::default();
    spend.add(Guarded::Deactivations, 1);
    let user = UserId::from_bytes([1; 16]);
    let intent = Intent {
        at: now,
        user,
        scim_id: None,
        operation: Operation::Deactivate,
        changes: Vec::new(),
        why: Default::default(),
        reason: Reason::Delta,
        evidence: None,
        plan: String::new(),
        desired: String::new(),
        batch: None,
        approved_by: None,
        spend,
    };
    private.store.begin_write(intent, Budgets::default(), Duration::from_secs(60)).await.unwrap();
    private.store.accept(vec![News::User { id: user, deleted: false }], now).await.unwrap();
    private.store.set_memo(FULL_COMPARE_MEMO, "2026-11-23T11:00:00Z").await.unwrap();
    let _claimed = private.store.claim(1, now).await.unwrap();
    private.clock.advance(Duration::from_secs(30));
    let page = String::from_utf8(private.get("/metrics").await.2.to_vec()).unwrap();
    for line in [
        r#"cxone_sync_guard_used_ratio{budget="deactivations",window="hour"} 0.25"#,
        &format!("cxone_sync_last_notification_timestamp_seconds {}.0", now.as_second()),
        &format!("cxone_sync_last_full_compare_timestamp_seconds {}.0", now.as_second() - 3600),
        "cxone_sync_workqueue_depth 2",
        "cxone_sync_workqueue_longest_running_processor_seconds 30.0",
        "cxone_sync_workqueue_unfinished_work_seconds 30.0",
        "cxone_sync_workqueue_adds_total 3",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
    assert!(!page.contains("window=\"day\""), "there is no bound of a day");
}

#[tokio::test]
async fn the_metrics_tell_of_leavers_who_wait_for_an_operator() {
    let private = Private::new(Access::Local);
    fill(&private).await;
    let mut claims = private.store.claim(2, private.clock.now()).await.unwrap();
    for guarded in [Guarded::Deactivations, Guarded::RoleRemovals] {
        let mut spend = Spend::default();
        spend.add(guarded, 1);
        let held = HeldItem {
            since: private.clock.now(),
            plan: "plan".to_owned(),
            operation: Operation::Deactivate,
            scim_id: None,
            changes: Vec::new(),
            evidence: None,
            spend,
            words: "over".to_owned(),
        };
        let case = CaseChange { held: Some(Some(held)), ..CaseChange::default() };
        let hold = Settlement::Hold { code: "guard", error: "over".to_owned() };
        let outcome = Outcome { case, ..Outcome::of(hold) };
        private.store.settle(claims.remove(0), outcome, private.clock.now()).await.unwrap();
    }
    for (minutes, overdue) in [(15, 0), (1, 1)] {
        private.clock.advance(Duration::from_secs(60 * minutes));
        let page = String::from_utf8(private.get("/metrics").await.2.to_vec()).unwrap();
        assert!(page.contains(&format!("cxone_sync_held_leavers_overdue {overdue}\n")), "{page}");
        assert!(page.contains("cxone_sync_held{reason=\"guard\"} 2"), "{page}");
    }
}

#[tokio::test]
async fn the_status_adds_what_the_running_parts_say() {
    let (operations, mut asked) = Operations::channel();
    let private = Private::with(Access::Local, operations);
    fill(&private).await;
    private.clock.advance(Duration::from_secs(100));
    tokio::spawn(async move {
        while let Some(operation) = asked.recv().await {
            let Asked::Status { reply } = operation else { panic!("{operation:?}") };
            reply.send(Ok(json!({ "dialect": "cxone", "version": "not theirs to say" }))).unwrap();
        }
    });
    let now = private.clock.now();
    let mut coverage = Coverage::default();
    let bounds = Bounds { least: Duration::from_secs(120), most: Duration::from_secs(900) };
    let user = UserId::from_bytes([1; 16]);
    let shown = Shown { news: [user].into(), others: Default::default() };
    coverage.learn(&shown, &Default::default(), bounds, now - Duration::from_secs(600));
    coverage.learn(&Shown::default(), &Default::default(), bounds, now);
    private.store.set_memo(COVERAGE_MEMO, &serde_json::to_string(&coverage).unwrap()).await.unwrap();
    private.store.accept(vec![News::User { id: user, deleted: false }], now).await.unwrap();
    private.store.set_memo(FULL_COMPARE_MEMO, "2026-11-23T11:00:00Z").await.unwrap();
    let (status, _, body) = private.get("/status").await;
    assert_eq!(status, 200);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        body["coverage"],
        json!({ "ratio": 0.0, "known": 0, "missed": 1, "pollIntervalSeconds": 120 })
    );
    assert_eq!(body["lastNotificationAt"], json!(now));
    assert_eq!(body["lastFullCompareAt"], "2026-11-23T11:00:00Z");
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(body["queue"]["due"], 2);
    assert_eq!(body["queue"]["oldest_due_seconds"], 100.0);
    assert_eq!(body["subscriptions"][0]["seconds_left"], 3500);
    assert_eq!(body["subscriptions"][0]["id"], "abc");
    assert_eq!(body["delta"]["users"]["age_seconds"], 100);
    assert_eq!(body["dialect"], "cxone");
    assert!(!body.to_string().contains("deltatoken"), "{body}");
}

#[tokio::test]
async fn the_status_does_without_them() {
    let private = Private::new(Access::Local);
    let (status, _, body) = private.get("/status").await;
    assert_eq!(status, 200);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["parts"], "the service is not running");
}
