use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use futures_util::future::join_all;

use super::*;
use crate::domain::user::UserId;
use crate::graph::Graph;
use crate::graph::script::{ANA, Answer, Script, answer, fault, settings, token};
use crate::outbound::Request;

const REFUSED: &str = include_str!("../../../fixtures/graph/token-refused.json");
const USER: &str = include_str!("../../../fixtures/graph/user.json");

/// Graph is well; `respond` is the token service, told how many tokens were asked for before.
fn script(respond: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Script {
    let asked = AtomicUsize::new(0);
    Script::with(settings(), move |request: &Request| {
        if request.url.host_str() == Some("graph.example.com") {
            answer(200, USER)
        } else {
            respond(asked.fetch_add(1, Ordering::SeqCst))
        }
    })
}

async fn ask(graph: &Graph) -> Result<(), Error> {
    graph.user(ANA.parse::<UserId>().unwrap()).await.map(drop)
}

/// Lets tasks in the background run to their end.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn bearer(script: &Script) -> String {
    script.sent().last().unwrap().headers["authorization"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn many_callers_share_one_request() {
    let script = script(|n| token(&format!("token-{n}")));
    let answers = join_all((0..50).map(|_| script.graph.sign_in())).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(script.logins(), 1);
}

#[tokio::test]
async fn a_token_of_another_directory_is_not_used() {
    let of = |tenant: &str| {
        let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"tid":"{tenant}"}}"#));
        format!("e30.{claims}.c2ln")
    };
    let script = script(move |n| token(&of(["one", "two", "two", "One"][n])));
    ask(&script.graph).await.unwrap();
    assert_eq!(script.graph.tenant(), Some("one"));
    script.clock.advance(Duration::from_secs(3600));
    for _ in 0..2 {
        let error = ask(&script.graph).await.unwrap_err();
        assert!(matches!(&error, Error::ForeignTenant { found } if found == "two"), "{error:?}");
    }
    assert_eq!(script.logins(), 2, "not asked again at once");
    script.clock.advance(Duration::from_secs(31));
    ask(&script.graph).await.unwrap_err();
    script.clock.advance(Duration::from_secs(31));
    ask(&script.graph).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_on_many_threads_share_one_request() {
    let script = script(|n| token(&format!("token-{n}")));
    let calls = (0..100).map(|_| {
        let graph = script.graph.clone();
        tokio::spawn(async move { graph.sign_in().await })
    });
    assert!(join_all(calls).await.into_iter().all(|answer| answer.unwrap().is_ok()));
    assert_eq!(script.logins(), 1);
}

#[tokio::test]
async fn a_failure_is_shared_as_well() {
    let script = script(|_| answer(500, ""));
    let answers = join_all((0..50).map(|_| script.graph.sign_in())).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Status { status: 500, .. }))));
    assert_eq!(script.logins(), 1);
    // It is not held against us: who asks later, asks anew.
    script.graph.sign_in().await.unwrap_err();
    assert_eq!(script.logins(), 2);
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_end_it_for_the_others() {
    let script = script(|n| token(&format!("token-{n}")));
    let (first, second) = (script.graph.sign_in(), script.graph.sign_in());
    {
        let mut first = Box::pin(first);
        assert!(futures_util::poll!(first.as_mut()).is_pending());
    }
    second.await.unwrap();
    assert_eq!(script.logins(), 1);
}

#[tokio::test]
async fn it_is_renewed_ahead_of_time_and_in_the_background() {
    let script = script(|n| token(&format!("token-{n}")));
    ask(&script.graph).await.unwrap();
    script.clock.advance(Duration::from_secs(2500));
    ask(&script.graph).await.unwrap();
    assert_eq!((script.logins(), bearer(&script).as_str()), (1, "Bearer token-0"));
    // 80 % of 3599 s: whatever the jitter, it is time. Nobody waits for it.
    script.clock.advance(Duration::from_secs(400));
    let first = script.graph.inner.tokens.current().await.unwrap();
    assert_eq!(first.header().to_str().unwrap(), "Bearer token-0");
    settle().await;
    ask(&script.graph).await.unwrap();
    assert_eq!((script.logins(), bearer(&script).as_str()), (2, "Bearer token-1"));
}

#[tokio::test]
async fn the_old_one_stays_in_service_while_renewing_fails() {
    let status = std::sync::Arc::new(AtomicU16::new(200));
    let script = script({
        let status = status.clone();
        move |n| match status.load(Ordering::SeqCst) {
            200 => token(&format!("token-{n}")),
            400 => answer(400, REFUSED),
            other => answer(other, ""),
        }
    });
    ask(&script.graph).await.unwrap();
    for failure in [500, 400] {
        status.store(failure, Ordering::SeqCst);
        script.clock.advance(Duration::from_secs(if failure == 500 { 2900 } else { 100 }));
        let before = script.logins();
        for _ in 0..10 {
            ask(&script.graph).await.unwrap();
            settle().await;
        }
        assert_eq!(bearer(&script), "Bearer token-0");
        assert_eq!(script.logins(), before + 1, "one try, then a pause");
    }
    // Expired in the end: now there is nothing to fall back on.
    script.clock.advance(Duration::from_secs(600));
    assert!(matches!(ask(&script.graph).await, Err(Error::Refused(_))));
    status.store(200, Ordering::SeqCst);
    script.clock.advance(Duration::from_secs(31));
    ask(&script.graph).await.unwrap();
}

#[tokio::test]
async fn after_a_refusal_nobody_asks_for_half_a_minute() {
    for (status, body) in [(400, REFUSED), (401, REFUSED), (401, "")] {
        let script = script(move |_| answer(status, body));
        for _ in 0..5 {
            let error = ask(&script.graph).await.unwrap_err();
            assert!(matches!(&error, Error::Refused(refusal) if refusal.status == status), "{error}");
            script.clock.advance(Duration::from_secs(5));
        }
        assert_eq!(script.logins(), 1);
        script.clock.advance(Duration::from_secs(5));
        ask(&script.graph).await.unwrap_err();
        assert_eq!(script.logins(), 2);
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do_and_nothing_in_prose() {
    let script = script(|_| answer(401, REFUSED));
    let error = script.graph.sign_in().await.unwrap_err().to_string();
    assert!(error.contains("invalid_client AADSTS7000215"), "{error}");
    assert!(error.contains("use its value, not its id"), "{error}");
    assert!(!error.contains("Invalid client secret provided"), "{error}");
}

#[tokio::test]
async fn a_passing_fault_is_no_refusal() {
    for (status, body) in
        [(400, r#"{"error":"temporarily_unavailable"}"#), (500, ""), (404, ""), (410, ""), (503, "")]
    {
        let script = script(move |_| answer(status, body));
        let error = script.graph.sign_in().await.unwrap_err();
        assert!(matches!(error, Error::Status { .. }), "{status}: {error}");
    }
    let script = script(|_| answer(429, "").header("retry-after", "11"));
    assert!(script.graph.sign_in().await.unwrap_err().throttled_until().is_some());
}

#[tokio::test]
async fn an_answer_without_a_token_is_malformed() {
    for body in
        ["", "<html>", "{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#, r#"{"access_token":"a\nb"}"#]
    {
        let script = script(move |_| answer(200, body));
        let error = script.graph.sign_in().await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_token_replaced_meanwhile_is_not_replaced_again() {
    let script = script(|n| token(&format!("token-{n}")));
    let tokens = &script.graph.inner.tokens;
    let first = tokens.current().await.unwrap();
    let replaced = join_all((0..10).map(|_| tokens.replace(&first))).await;
    assert!(replaced.iter().all(|bearer| bearer.as_ref().unwrap().header() == "Bearer token-1"));
    assert_eq!(tokens.replace(&first).await.unwrap().header(), "Bearer token-1");
    assert_eq!(script.logins(), 2);
}

#[tokio::test]
async fn a_rejected_token_waits_out_a_refusal_too() {
    let script = Script::with(settings(), {
        let asked = AtomicUsize::new(0);
        move |request: &Request| match request.url.host_str() {
            Some("graph.example.com") => answer(401, fault("InvalidAuthenticationToken")),
            _ if asked.fetch_add(1, Ordering::SeqCst) == 0 => token("token-0"),
            _ => answer(400, REFUSED),
        }
    });
    for _ in 0..3 {
        assert!(matches!(ask(&script.graph).await, Err(Error::Refused(_))));
    }
    assert_eq!(script.logins(), 2);
}

#[test]
fn lifetimes_come_as_numbers_strings_or_dates() {
    let now = Timestamp::from_second(1_795_168_800).unwrap();
    let check = |json: &str, seconds: u64| {
        let token: wire::Token = serde_json::from_str(json).unwrap();
        assert_eq!(life(&token, now), Duration::from_secs(seconds), "{json}");
    };
    check(r#"{"access_token":"a","expires_in":3599}"#, 3599);
    check(r#"{"access_token":"a","expires_in":"3599"}"#, 3599);
    check(r#"{"access_token":"a","expires_on":"1795172400"}"#, 3600);
    check(r#"{"access_token":"a","expires_on":1795172400}"#, 3600);
    check(r#"{"access_token":"a","expires_in":"soon","expires_on":"1795172400"}"#, 3600);
    check(r#"{"access_token":"a"}"#, 300);
    check(r#"{"access_token":"a","expires_in":-5}"#, 1);
    check(r#"{"access_token":"a","expires_in":9223372036854775807}"#, 86_400);
    check(r#"{"access_token":"a","expires_on":"-9223372036854775808"}"#, 1);
}

#[tokio::test]
async fn a_token_in_service_outlives_the_exchange_of_the_credential() {
    let script = script(|n| if n == 1 { answer(401, REFUSED) } else { token(&format!("token-{n}")) });
    ask(&script.graph).await.unwrap();
    let secret = |secret: &str| Credential::Secret {
        client_id: "the-client".to_owned(),
        secret: secret.to_owned().into(),
    };
    assert!(script.graph.exchange_credential(secret("wrong")));
    ask(&script.graph).await.unwrap();
    settle().await;
    assert_eq!(script.logins(), 2, "tried in the background, and refused");
    ask(&script.graph).await.unwrap();
    assert_eq!(bearer(&script), "Bearer token-0");
    assert!(script.graph.exchange_credential(secret("right")));
    ask(&script.graph).await.unwrap();
    settle().await;
    ask(&script.graph).await.unwrap();
    assert_eq!(bearer(&script), "Bearer token-2");
    let login = script.sent().into_iter().filter(|it| it.url.host_str() != Some("graph.example.com")).last();
    assert!(String::from_utf8_lossy(&login.unwrap().body).contains("client_secret=right"));
    let managed = Credential::ManagedIdentity {
        client_id: None,
        endpoint: None,
        imds_url: Url::parse("http://169.254.169.254").unwrap(),
    };
    assert!(!script.graph.exchange_credential(managed), "asked for elsewhere");
}

#[tokio::test]
async fn a_refusal_ends_with_the_credential_that_was_refused() {
    let script = script(|n| if n == 0 { answer(401, REFUSED) } else { token("token") });
    assert!(ask(&script.graph).await.is_err());
    script.graph.exchange_credential(settings().credential);
    ask(&script.graph).await.unwrap();
    assert_eq!(script.logins(), 2, "nobody has to wait");
}
