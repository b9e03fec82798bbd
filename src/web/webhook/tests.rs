use std::collections::BTreeSet;

use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::domain::subscription::Resource;
use crate::domain::user::UserId;
use crate::store::Options;

const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const MAX_BODY: usize = 1 << 20;

struct Hook {
    router: Router,
    store: Store,
    metrics: Arc<Metrics>,
    verifier: Arc<Verifier>,
    clock: Clock,
    _directory: tempfile::TempDir,
}

impl Hook {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (clock, metrics) = (Clock::system(), Metrics::new());
        let options = Options {
            history_key: crate::store::ChainKey::new([0; 32]),
            path: directory.path().join("store.redb"),
            cache_bytes: 1 << 20,
            ballast_bytes: 1 << 10,
            retention_journal: Duration::from_secs(3600),
            retention_history: Duration::from_secs(3600),
        };
        let store = Store::open(options, clock.now(), metrics.clone()).unwrap();
        let verifier = Arc::new(Verifier::new(vec!["secret".to_owned().into()], TENANT));
        let state = PublicState {
            store: store.clone(),
            verifier: verifier.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            max_body_bytes: MAX_BODY,
        };
        Self { router: public_router(state), store, metrics, verifier, clock, _directory: directory }
    }

    async fn send(&self, request: Request) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(request("POST", path, body)).await
    }

    fn item(&self, user: UserId) -> Value {
        let (state, _) = self.verifier.sign(Resource::Users, [7; 16]);
        json!({
            "subscriptionId": "76222963-cc7b-42d2-882d-8aaa69cb2ba3",
            "subscriptionExpirationDateTime": "2026-12-01T00:00:00Z",
            "tenantId": TENANT,
            "clientState": state,
            "changeType": "updated",
            "resource": format!("Users/{user}"),
            "resourceData": {
                "@odata.type": "#Microsoft.Graph.User", "@odata.id": format!("Users/{user}"), "id": user,
                "organizationId": TENANT, "sequenceNumber": 637_628_640_120_385_565_u64,
            },
        })
    }

    /// Everybody the queue would run now.
    async fn marked(&self) -> BTreeSet<UserId> {
        let claims = self.store.claim(10_000, self.clock.now()).await.unwrap();
        claims.iter().map(|claim| claim.job.user).collect()
    }

    fn counted(&self, result: &str) -> u64 {
        self.metrics.notifications.get_or_create(&ResultLabel::of(result)).get()
    }

    fn commits(&self) -> u64 {
        let page = self.metrics.encode();
        let count = page.lines().find_map(|line| line.strip_prefix("cxone_sync_store_commit_seconds_count "));
        count.unwrap().parse().unwrap()
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

fn request(method: &str, path: &str, body: impl Into<Body>) -> Request {
    Request::builder().method(method).uri(path).body(body.into()).unwrap()
}

fn user(n: u128) -> UserId {
    UserId::from_bytes(n.to_be_bytes())
}

fn collection(items: &[Value]) -> String {
    json!({ "value": items }).to_string()
}

#[tokio::test]
async fn the_handshake_is_answered_to_the_byte_on_both_paths() {
    let hook = Hook::new();
    for path in ["/notifications", "/lifecycle"] {
        let asked = format!(
            "{path}?validationToken=Validation%3a+Testing+client+application+reachability+for+subscription+Request-Id%3a+25460109-0e8b-4521-8090-dd691b407ed8"
        );
        let answer = hook.post(&asked, "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.body,
            "Validation: Testing client application reachability for subscription Request-Id: 25460109-0e8b-4521-8090-dd691b407ed8"
        );
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
    assert_eq!(hook.counted("handshake"), 2);
    let before = hook.commits();
    hook.post("/notifications?validationToken=x", "").await;
    assert_eq!(hook.commits(), before, "a handshake writes nothing");
}

#[tokio::test]
async fn a_genuine_notification_is_on_disk_when_it_is_accepted() {
    let hook = Hook::new();
    let answer = hook.post("/notifications", collection(&[hook.item(user(1))])).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    assert_eq!(hook.marked().await, [user(1)].into());
    assert_eq!(hook.counted("accepted"), 1);
}

#[tokio::test]
async fn one_bad_item_spoils_no_other_and_cannot_be_told_from_a_good_one() {
    let hook = Hook::new();
    let (mut guessed, mut foreign, mut vague) = (hook.item(user(2)), hook.item(user(3)), hook.item(user(4)));
    guessed["clientState"] = json!("guessed");
    foreign["tenantId"] = json!("99999999-2222-4333-8444-555555555555");
    vague["resourceData"] = json!(17);
    let items = [guessed.clone(), foreign, hook.item(user(1)), vague, json!("?")];
    let mixed = hook.post("/notifications", collection(&items)).await;
    let genuine = hook.post("/lifecycle", collection(&[hook.item(user(5))])).await;
    let before = hook.commits();
    let forged = hook.post("/notifications", collection(&[guessed])).await;
    assert_eq!(hook.commits(), before, "what is forged causes no commit");
    for answer in [&mixed, &forged] {
        assert_eq!((answer.status, &answer.headers, &answer.body), (202, &genuine.headers, &genuine.body));
    }
    assert_eq!(hook.marked().await, [user(1), user(5)].into());
    assert_eq!((hook.counted("bad_client_state"), hook.counted("unknown_tenant")), (2, 1));
    assert_eq!((hook.counted("accepted"), hook.counted("malformed_item")), (2, 2));
}

#[tokio::test]
async fn nothing_to_tell_is_accepted_without_a_commit() {
    let hook = Hook::new();
    let before = hook.commits();
    assert_eq!(hook.post("/notifications", collection(&[])).await.status, 202);
    assert_eq!(hook.commits(), before);
}

#[tokio::test]
async fn a_thousand_items_are_one_commit() {
    let hook = Hook::new();
    let items: Vec<Value> = (0..1000).map(|n| hook.item(user(n))).collect();
    let body = collection(&items);
    assert!(body.len() > LARGE_BODY_BYTES, "the other way is taken");
    let before = hook.commits();
    assert_eq!(hook.post("/notifications", body).await.status, 202);
    assert_eq!(hook.commits(), before + 1);
    assert_eq!(hook.marked().await.len(), 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_that_come_together_share_commits() {
    let hook = Arc::new(Hook::new());
    let before = hook.commits();
    let posts = (0..64).map(|n| {
        let hook = hook.clone();
        tokio::spawn(
            async move { hook.post("/notifications", collection(&[hook.item(user(n))])).await.status },
        )
    });
    for post in posts.collect::<Vec<_>>() {
        assert_eq!(post.await.unwrap(), 202);
    }
    let commits = hook.commits() - before;
    assert!((1..64).contains(&commits), "{commits} commits for 64 bodies");
    assert_eq!(hook.marked().await.len(), 64);
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_accepted() {
    let hook = Hook::new();
    hook.store.close().await;
    let answer = hook.post("/notifications", collection(&[hook.item(user(1))])).await;
    assert_eq!(answer.status, 503);
    assert_eq!((hook.counted("accepted"), hook.counted("not_stored")), (0, 1));
    // What is not ours needs no store.
    assert_eq!(hook.post("/notifications", collection(&[])).await.status, 202);
    assert_eq!(hook.post("/notifications?validationToken=x", "").await.status, 200);
}

#[tokio::test]
async fn everything_else_gets_one_of_a_few_answers_with_the_same_headers() {
    let hook = Hook::new();
    let large = "x".repeat(MAX_BODY + 1);
    let deep = "[".repeat(MAX_BODY);
    for (method, path, body, expected) in [
        ("POST", "/notifications", "", 400),
        ("POST", "/notifications", "no JSON", 400),
        ("POST", "/notifications", "{}", 400),
        ("POST", "/notifications", "[]", 400),
        ("POST", "/notifications", "\u{feff}{\"value\":[]}", 400),
        ("POST", "/notifications", "{\"value\":[]} {}", 400),
        ("POST", "/notifications", "{\"value\":[],\"value\":[]}", 400),
        ("POST", "/notifications", &deep, 400),
        ("POST", "/notifications", &large, 413),
        ("POST", "/lifecycle", &large, 413),
        ("POST", "/notifications?validationToken=%3Cscript%3E", "", 400),
        ("POST", "/notifications?validationToken=a%0d%0aSet-Cookie:a=b", "", 400),
        ("POST", "/notifications?validationToken=a&validationToken=b", "", 400),
        ("POST", "/notifications?validationToken=", "", 400),
        ("GET", "/notifications", "", 405),
        ("GET", "/notifications?validationToken=x", "", 405),
        ("HEAD", "/lifecycle", "", 405),
        ("PUT", "/notifications", "", 405),
        ("DELETE", "/lifecycle", "", 405),
        ("OPTIONS", "/notifications", "", 405),
        ("POST", "/", "", 404),
        ("POST", "/notifications/", "", 404),
        ("POST", "//notifications", "", 404),
        ("POST", "/Notifications", "", 404),
        ("POST", "/notifications/x?validationToken=x", "", 404),
        ("GET", "/livez", "", 404),
        ("GET", "/readyz", "", 404),
        ("GET", "/metrics", "", 404),
        ("GET", "/status", "", 404),
        ("GET", "/api/v1/queue", "", 404),
        ("POST", "/api/v1/sync", "{}", 404),
    ] {
        let answer = hook.send(request(method, path, body.to_owned())).await;
        let shown = format!("{method} {path} {:?}", &body[..body.len().min(20)]);
        assert_eq!(answer.status, expected, "{shown}");
        assert!(answer.body.is_empty(), "{shown}");
        let mut names: BTreeSet<&str> = answer.headers.keys().map(|name| name.as_str()).collect();
        match expected {
            405 => assert!(names.remove("allow"), "{shown}"),
            413 => assert!(names.remove("connection"), "{shown}"),
            _ => {}
        }
        names.remove("content-length");
        let constant = ["cache-control", "content-security-policy", "content-type", "x-content-type-options"];
        assert_eq!(names, constant.into(), "{shown}");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["content-security-policy"], "default-src 'none'");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    assert_eq!(hook.marked().await, BTreeSet::new());
    assert_eq!(hook.counted("too_large"), 2);
}

#[tokio::test]
async fn only_plain_bodies_are_read() {
    let hook = Hook::new();
    for (encoding, expected) in [("gzip", 415), ("identity, gzip", 415), ("", 415), ("Identity", 202)] {
        let mut request = request("POST", "/notifications", collection(&[]));
        request.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        assert_eq!(hook.send(request).await.status, expected, "{encoding}");
    }
}

/// A body of unknown length in pieces.
fn streamed(chunk: Bytes, n: usize) -> Body {
    let frames = (0..n).map(move |_| Ok::<_, std::convert::Infallible>(Frame::data(chunk.clone())));
    Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
}

#[tokio::test]
async fn a_body_of_unknown_length_is_measured_as_it_comes() {
    let hook = Hook::new();
    let chunk = Bytes::from(vec![b' '; 1 << 10]);
    // Blanks are no JSON, but they are read to their end first.
    assert_eq!(hook.post("/notifications", streamed(chunk.clone(), 1 << 10)).await.status, 400);
    assert_eq!(hook.post("/notifications", streamed(chunk.clone(), (1 << 10) + 1)).await.status, 413);
    // Without an end, all the same.
    assert_eq!(hook.post("/notifications", streamed(chunk, usize::MAX)).await.status, 413);
}

#[tokio::test]
async fn all_bodies_together_have_a_limit_too() {
    let budget = Budget::of_bytes(1000);
    let chunk = Bytes::from_static(&[b' '; 100]);
    let held = body::read(streamed(chunk.clone(), 6), 1000, &budget).await.unwrap();
    assert_eq!(body::read(streamed(chunk.clone(), 6), 1000, &budget).await.unwrap_err(), BodyError::Busy);
    drop(held);
    assert_eq!(body::read(streamed(chunk, 6), 1000, &budget).await.unwrap().bytes.len(), 600);
}

#[tokio::test]
async fn a_store_that_hangs_is_not_waited_for() {
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    assert_eq!(in_time(&clock, std::future::ready(1)).await, Some(1));
    let waiting = tokio::spawn({
        let clock = clock.clone();
        async move { in_time(&clock, std::future::pending::<()>()).await }
    });
    tokio::task::yield_now().await;
    clock.advance(ANSWER_WITHIN - Duration::from_millis(1));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    clock.advance(Duration::from_millis(1));
    assert_eq!(waiting.await.unwrap(), None);
}

/// What was logged, down to the last detail.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_tokens_nor_bodies_are_logged() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let hook = Hook::new();
    let mut forged = hook.item(user(1));
    forged["clientState"] = json!("CANARY-state");
    forged["resourceData"]["id"] = json!("CANARY-id");
    hook.post("/notifications", collection(&[forged, json!("CANARY-item")])).await;
    hook.post("/notifications", "CANARY-body").await;
    hook.post("/notifications?validationToken=CANARY-token", "").await;
    hook.post("/notifications?validationToken=CANARY%00", "").await;
    hook.post("/CANARY-path?CANARY=1", "").await;
    let genuine = hook.item(user(2));
    let state = genuine["clientState"].as_str().unwrap().to_owned();
    hook.post("/notifications", collection(std::slice::from_ref(&genuine))).await;
    hook.store.close().await;
    hook.post("/notifications", collection(&[genuine])).await;
    let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("dropped notification items") && text.contains("cannot store"), "{text}");
    assert!(!text.contains("CANARY") && !text.contains(&state) && !text.contains("secret"), "{text}");
}
