//! Asked as a browser asks.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::Request as AxumRequest;
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::*;
use crate::clock::Clock;
use crate::domain::queue::{Mark, Outcome, Reason, Settlement, State as JobState};
use crate::domain::user::UserId;
use crate::random::Random;
use crate::shutdown::Shutdown;
use crate::store::{Options, Store};
use crate::telemetry::Metrics;
use crate::web::operations::Operations;
use crate::web::{Access, private_router};

mod hostile;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Browser {
    router: Router,
    store: Store,
    clock: Clock,
    shutdown: Shutdown,
    cookie: Option<String>,
    _directory: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn location(&self) -> &str {
        self.headers.get(header::LOCATION).map_or("", |target| target.to_str().unwrap())
    }
}

fn state() -> (PrivateState, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (metrics, clock) = (Metrics::new(), Clock::manual("2026-11-23T12:00:00Z".parse().unwrap()));
    let options = Options {
        ballast_bytes: 1 << 10,
        cache_bytes: 1 << 20,
        ..Options::at(directory.path().join("store.redb"))
    };
    let store = Store::open(options, clock.now(), metrics.clone()).unwrap();
    let token = crate::web::AdminToken::new(&TOKEN.to_owned().into());
    let access = Access::Token { token, hosts: Vec::new() };
    let (operations, random, shutdown) = (Operations::channel().0, Random::seeded(1), Shutdown::new());
    let budgets = tokio::sync::watch::channel(Default::default()).1;
    (PrivateState { store, operations, metrics, clock, random, shutdown, budgets, access }, directory)
}

impl Browser {
    fn new() -> Self {
        let (state, directory) = state();
        let (store, clock, shutdown) = (state.store.clone(), state.clock.clone(), state.shutdown.clone());
        let router = private_router(state);
        Self { router, store, clock, shutdown, cookie: None, _directory: directory }
    }

    /// In front of another API.
    fn before(api: Router) -> Self {
        let (state, directory) = state();
        let (store, clock, shutdown) = (state.store.clone(), state.clock.clone(), state.shutdown.clone());
        let entry = Arc::new(Entry::new(&state.access));
        let router = router(Dashboard::new(Arc::new(state), api, entry));
        Self { router, store, clock, shutdown, cookie: None, _directory: directory }
    }

    async fn signed_in(mut self) -> Self {
        self.sign_in("ana").await;
        self
    }

    async fn sign_in(&mut self, name: &str) {
        let answer = self.send("POST", "/login", &[], &format!("token={TOKEN}&name={name}")).await;
        assert_eq!((answer.status, answer.location()), (303, "/"), "{}", answer.text);
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
        self.cookie = Some(cookie.split(';').next().unwrap().to_owned());
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> AxumRequest {
        let mut request = axum::http::Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1:8081");
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(body.to_owned())).unwrap()
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let request = self.request(method, path, headers, body);
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes: Bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// What the forms of this session carry.
    async fn form_token(&self) -> String {
        let page = self.get("/").await.text;
        let after = page.split("name=\"form_token\" value=\"").nth(1).expect("a form");
        after.split('"').next().unwrap().to_owned()
    }

    async fn act(&self, action: &str, fields: &str) -> Answer {
        let token = self.form_token().await;
        self.send("POST", &format!("/do/{action}"), &[], &format!("form_token={token}&{fields}")).await
    }

    /// A job of this user that ended so.
    async fn job(&self, user: UserId, settlement: Settlement) {
        let now = self.clock.now();
        let mark = Mark { user, reason: Reason::Delta, news_at: now, urgent: false, removed: None };
        self.store.mark(vec![mark], now).await.unwrap();
        let claim = self.store.claim(1, now).await.unwrap().pop().unwrap();
        self.store.settle(claim, Outcome::of(settlement), now).await.unwrap();
    }

    async fn parked(&self, user: UserId) {
        let error = "invalidValue: no such team".to_owned();
        self.job(user, Settlement::Park { code: "rejected", error }).await;
    }
}

const ANA: &str = "3f0c2a9e-1111-4222-8333-444455556666";

fn ana() -> UserId {
    ANA.parse().unwrap()
}

const PAGES: [&str; 8] = [
    "/",
    "/queue",
    "/queue?state=parked",
    "/held",
    "/drift",
    "/history",
    "/subscriptions",
    "/users/3f0c2a9e-1111-4222-8333-444455556666",
];

#[tokio::test]
async fn nobody_sees_anything_before_signing_in() {
    let mut browser = Browser::new();
    browser.parked(ana()).await;
    for path in PAGES.iter().chain(&["/users?user=ana"]) {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.location().starts_with("/login?next=%2F"), "{path}: {}", answer.location());
        assert!(answer.text.is_empty(), "{path}");
    }
    assert_eq!(browser.get("/live").await.status, 401);
    for action in ["retry", "approve", "sync", "renew"] {
        let answer = browser.send("POST", &format!("/do/{action}"), &[], &format!("user={ANA}")).await;
        assert_eq!((answer.status, answer.location()), (303, "/login?next=%2F"), "{action}");
    }
    assert_eq!(browser.store.job(ana()).await.unwrap().unwrap().state, JobState::Parked);
    // The token of the API opens no page, and the cookie of the pages no API.
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(browser.send("GET", "/queue", &[("authorization", &bearer)], "").await.status, 303);
    browser.sign_in("ana").await;
    assert_eq!(browser.get("/api/v1/queue").await.status, 401);
    assert_eq!(browser.get("/queue").await.status, 200);
}

#[tokio::test]
async fn the_door_opens_for_the_token_only_and_leads_nowhere_else() {
    let mut browser = Browser::new();
    for wrong in ["", "token=", &format!("token={TOKEN}x"), "token=%00"] {
        let answer = browser.send("POST", "/login", &[], wrong).await;
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(
            !answer.headers.contains_key(header::SET_COOKIE) && answer.text.contains("not the admin token")
        );
    }
    for (next, to) in [
        ("/queue?state=parked", "/queue?state=parked"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
    ] {
        let next = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
        let answer = browser.send("POST", "/login", &[], &format!("token={TOKEN}&next={next}")).await;
        assert_eq!((answer.status, answer.location()), (303, to));
    }
    for _ in 0..6 {
        assert_eq!(browser.send("POST", "/login", &[], "token=x").await.status, 401);
    }
    let answer = browser.send("POST", "/login", &[], &format!("token={TOKEN}")).await;
    assert_eq!(answer.status, 429, "ten wrong ones in a minute");
    browser.clock.advance(Duration::from_secs(60));
    browser.sign_in("ana").await;
}

#[tokio::test]
async fn only_a_form_of_this_session_and_this_host_does_anything() {
    let browser = Browser::new().signed_in().await;
    let mut other = Browser { router: browser.router.clone(), ..Browser::new() };
    other.sign_in("ben").await;
    browser.parked(ana()).await;
    let (token, foreign) = (browser.form_token().await, other.form_token().await);
    assert_ne!(token, foreign);
    let good = format!("form_token={token}&user={ANA}");
    for (headers, body) in [
        (vec![], format!("user={ANA}")),
        (vec![], format!("form_token={foreign}&user={ANA}")),
        (vec![("origin", "https://evil.example")], good.clone()),
        (vec![("origin", "null")], good.clone()),
        (vec![("origin", "http://127.0.0.1:9999")], good.clone()),
        (vec![("origin", "http://127.0.0.1:8081"), ("origin", "http://127.0.0.1:8081")], good.clone()),
        (vec![("sec-fetch-site", "cross-site")], good.clone()),
        (vec![("sec-fetch-site", "same-site")], good.clone()),
        (vec![("host", "evil.example")], good.clone()),
    ] {
        let answer = browser.send("POST", "/do/retry", &headers, &body).await;
        assert!([403, 421].contains(&answer.status), "{headers:?} {body}: {}", answer.status);
    }
    assert_eq!(browser.store.job(ana()).await.unwrap().unwrap().state, JobState::Parked);
    let headers = [("origin", "http://127.0.0.1:8081"), ("sec-fetch-site", "same-origin")];
    assert_eq!(browser.send("POST", "/do/retry", &headers, &good).await.status, 303);
    assert_eq!(browser.store.job(ana()).await.unwrap().unwrap().state, JobState::Due);
}

#[tokio::test]
async fn a_parked_job_is_filtered_tried_again_and_gone() {
    let browser = Browser::new().signed_in().await;
    browser.parked(ana()).await;
    let page = browser.get("/queue?state=parked").await.text;
    assert!(
        page.contains(&format!("data-user=\"{ANA}\"")) && page.contains("invalidValue: no such team"),
        "{page}"
    );
    assert!(!browser.get("/queue?state=held").await.text.contains("data-user"));
    // What a script brings in leads back to the page, not to the script's view of it.
    let live = browser.get("/queue?state=parked&live=1").await.text;
    assert!(live.contains("value=\"/queue?state=parked\"") && !live.contains("live=1"), "{live}");
    let answer = browser.act("retry", &format!("user={ANA}&back=%2Fqueue%3Fstate%3Dparked")).await;
    assert_eq!((answer.status, answer.location()), (303, "/queue?state=parked"));
    let after = browser.get("/queue?state=parked").await.text;
    assert!(after.contains("One job is tried again now.") && !after.contains("data-user"), "{after}");
    assert!(!browser.get("/queue?state=parked").await.text.contains("role=\"status\""), "it is said once");
}

#[tokio::test]
async fn what_was_refused_is_said_on_the_page() {
    let browser = Browser::new().signed_in().await;
    for (action, fields, words) in [
        ("retry", "", "the form names no user"),
        ("sync", "user=%20", "the user is missing"),
        ("approve", "set=abc", "another set by now"),
        ("renew", "subscription=a.b", "not the id of a subscription"),
        ("nothing", "", "cannot be done here"),
    ] {
        assert_eq!(browser.act(action, fields).await.status, 303, "{action}");
        let page = browser.get("/queue").await.text;
        assert!(page.contains("class=\"notice bad\"") && page.contains(words), "{action}: {page}");
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_made_says_why() {
    let browser = Browser::new().signed_in().await;
    for (path, status, words) in [
        ("/users/not-an-id", 400, "not an object id"),
        ("/subscriptions", 503, "the service is not running"),
        ("/users?user=", 400, "the user is missing"),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text.contains(words), "{path}: {}", answer.text);
    }
    // What needs the running parts fails by itself; the rest of the page is there.
    let page = browser.get(&format!("/users/{ANA}")).await;
    assert!(page.status == 200 && page.text.contains("It could not be told"), "{}", page.text);
    assert!(!browser.get(&format!("/users/{ANA}?live=1")).await.text.contains("It could not be told"));
}

#[tokio::test]
async fn every_answer_forbids_what_no_page_of_ours_needs() {
    let browser = Browser::new();
    let signed_in = Browser { router: browser.router.clone(), ..Browser::new() }.signed_in().await;
    for (browser, path) in [
        (&browser, "/login"),
        (&browser, "/"),
        (&browser, "/live"),
        (&browser, "/assets/style.css"),
        (&browser, "/assets/live.js"),
        (&signed_in, "/"),
        (&signed_in, "/users/none"),
    ] {
        let headers = browser.get(path).await.headers;
        let is = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
        let policy = is("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{path}: {policy}");
        for part in ["form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!((is("x-frame-options"), is("cache-control")), ("DENY", "no-store"), "{path}");
        assert_eq!((is("x-content-type-options"), is("referrer-policy")), ("nosniff", "same-origin"));
    }
    // So nothing may be inline.
    for path in ["/", "/queue", "/held"] {
        let page = signed_in.get(path).await.text;
        assert!(
            !page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick"),
            "{path}"
        );
        assert!(page.matches("<script").count() == 1 && !page.contains("http://"), "{path}");
    }
}

#[tokio::test]
async fn signing_out_needs_the_form_and_ends_the_session() {
    let browser = Browser::new().signed_in().await;
    assert_eq!(browser.send("POST", "/logout", &[], "").await.status, 403);
    let token = browser.form_token().await;
    let answer = browser.send("POST", "/logout", &[], &format!("form_token={token}")).await;
    assert_eq!((answer.status, answer.location()), (303, "/login"));
    assert_eq!(browser.get("/").await.status, 303);
}

#[tokio::test(start_paused = true)]
async fn an_open_page_is_told_of_changes_and_let_go_at_the_end() {
    let browser = Browser::new().signed_in().await;
    let open = async || {
        let request = browser.request("GET", "/live", &[], "");
        let (parts, body) = browser.router.clone().oneshot(request).await.unwrap().into_parts();
        (parts.status.as_u16(), body)
    };
    let (status, mut body) = open().await;
    assert_eq!(status, 200);
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(frame, "retry: 5000\ndata: look\n\n");
    // Without a change, every few seconds; that is also how it is seen that the browser is there.
    let begun = tokio::time::Instant::now();
    assert!(body.frame().await.is_some());
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited <= Duration::from_secs(5), "{waited:?}");
    // More than there is room for are turned away, and a place is free when one goes.
    let mut others = Vec::new();
    for _ in 1..STREAMS {
        others.push(open().await);
    }
    assert!(others.iter().all(|(status, _)| *status == 200));
    assert_eq!(open().await.0, 503);
    others.pop();
    assert_eq!(open().await.0, 200);
    browser.shutdown.request();
    assert!(body.frame().await.is_none(), "the end of the service is not held up");
}
