use super::script::{ANA, Script, answer, fault};
use super::*;
use crate::domain::user::UserId;
use crate::outbound;

fn ana() -> UserId {
    ANA.parse().unwrap()
}

#[tokio::test]
async fn every_request_has_its_own_id_and_the_token_of_the_day() {
    let script = Script::new(|_| answer(200, include_str!("../../fixtures/graph/user.json")));
    script.graph.user(ana()).await.unwrap();
    script.graph.user(ana()).await.unwrap();
    let sent: Vec<_> =
        script.sent().into_iter().filter(|r| r.url.host_str() == Some("graph.example.com")).collect();
    let ids: BTreeSet<_> = sent
        .iter()
        .map(|request| request.headers["client-request-id"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.iter().all(|id| uuid::Uuid::try_parse(id).is_ok()), "{ids:?}");
    for request in sent {
        assert_eq!(request.headers["authorization"], "Bearer token-1");
        assert!(request.headers["authorization"].is_sensitive());
    }
    assert_eq!(script.logins(), 1);
}

#[tokio::test]
async fn a_401_gets_one_fresh_token_and_one_more_try() {
    let script = Script::new(|request| match request.headers["authorization"].to_str().unwrap() {
        "Bearer token-1" => answer(401, fault("InvalidAuthenticationToken")),
        _ => answer(200, include_str!("../../fixtures/graph/user.json")),
    });
    assert!(script.graph.user(ana()).await.is_ok());
    assert_eq!((script.asked().len(), script.logins()), (2, 2));
}

#[tokio::test]
async fn a_401_with_a_fresh_token_is_an_error_and_no_storm() {
    let script = Script::new(|_| answer(401, fault("InvalidAuthenticationToken")));
    for _ in 0..5 {
        let error = script.graph.user(ana()).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    }
    // One for the start, one forced; then the pause holds.
    assert_eq!(script.logins(), 2);
    script.clock.advance(std::time::Duration::from_secs(31));
    script.graph.user(ana()).await.unwrap_err();
    assert_eq!(script.logins(), 3);
}

#[tokio::test]
async fn statuses_are_told_apart() {
    async fn ask(status: u16, code: &'static str) -> Error {
        Script::new(move |_| answer(status, fault(code))).graph.user(ana()).await.unwrap_err()
    }
    let forbidden = ask(403, "Authorization_RequestDenied").await;
    assert!(
        matches!(&forbidden, Error::Forbidden { code, .. } if code == "Authorization_RequestDenied"),
        "{forbidden}"
    );
    for status in [400, 408, 425, 500, 502, 503, 504] {
        let error = ask(status, "Whatever").await;
        assert!(matches!(&error, Error::Status { status: s, .. } if *s == status), "{error}");
        // What Graph writes in prose may hold names.
        assert!(!error.to_string().contains("Ana"), "{error}");
    }
    let throttled = ask(429, "TooManyRequests").await;
    assert!(throttled.throttled_until().is_some(), "{throttled}");
    let moved = ask(302, "Whatever").await;
    assert!(matches!(moved.outbound_error(), Some(outbound::Error::Redirect { .. })), "{moved}");
}

#[tokio::test]
async fn the_token_never_goes_to_another_host() {
    let script = Script::new(|_| answer(200, include_str!("../../fixtures/graph/user.json")));
    for evil in [
        "https://evil.example/v1.0/users/delta?$skiptoken=a",
        "https://graph.example.com@evil.example/v1.0/users/delta",
        "http://graph.example.com/v1.0/users/delta",
        "https://graph.example.com/beta/users/delta",
    ] {
        let error = script.graph.user_page(Some(evil)).await.unwrap_err();
        let source = error.outbound_error();
        assert!(matches!(source, Some(outbound::Error::ForeignAddress { .. })), "{evil}");
    }
    assert_eq!(script.sent().len(), 0);
}

#[tokio::test]
async fn without_credentials_nothing_is_asked() {
    let refused = include_str!("../../fixtures/graph/token-refused.json");
    let script = Script::with(script::settings(), move |_| answer(401, refused));
    let error = script.graph.user(ana()).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert_eq!(script.asked(), Vec::<String>::new());
}
