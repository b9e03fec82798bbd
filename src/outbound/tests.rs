use super::*;

fn api(answer: impl Fn(Request) -> (u16, Vec<(&'static str, &'static str)>) + Send + Sync + 'static) -> Api {
    api_at(Clock::manual(Timestamp::UNIX_EPOCH), answer)
}

fn api_at(
    clock: Clock,
    answer: impl Fn(Request) -> (u16, Vec<(&'static str, &'static str)>) + Send + Sync + 'static,
) -> Api {
    let transport = Transport::in_process(move |request| {
        let (status, pairs) = answer(request);
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let response =
            Response { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::new() };
        async move { Ok(response) }
    });
    let base = Url::parse("https://graph.example.com/v1.0").unwrap();
    Api::new("graph", base, transport, 8, clock, Metrics::new())
}

#[test]
fn a_link_that_leads_elsewhere_is_refused() {
    let api = api(|_| (200, vec![]));
    for good in [
        "https://graph.example.com/v1.0/users/delta?$skiptoken=abc",
        "https://graph.example.com:443/v1.0/users",
        "https://GRAPH.example.com/v1.0",
    ] {
        assert!(api.own(good).is_ok(), "{good}");
    }
    for evil in [
        "https://evil.example/v1.0/users",
        "https://graph.example.com.evil.example/v1.0/users",
        "https://graph.example.com@evil.example/v1.0/users",
        "https://user@graph.example.com/v1.0/users",
        "http://graph.example.com/v1.0/users",
        "https://graph.example.com:8443/v1.0/users",
        "https:\\\\evil.example/v1.0",
        "//evil.example/v1.0/users",
        "/v1.0/users",
        "https://graph.example.com/v1.0.evil/users",
        "https://graph.example.com/v1.0/../beta/users",
        "https://graph.example.com/v1.0/%2e%2e/beta",
        "https://graph.example.com/v1.0%2fusers",
        "https://graph.example.com/beta/users",
        "https://graph.example.com/v1.0/users#fragment",
        "https://graph.exa\tmple.com/v1.0/users",
        "https://gr\u{430}ph.example.com/v1.0/users",
        "https://[::1]/v1.0/users",
        "ftp://graph.example.com/v1.0/users",
        "data:text/plain,hello",
        "",
    ] {
        assert!(matches!(api.own(evil), Err(Error::ForeignAddress { .. })), "{evil}");
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_foreign_host() {
    let api = api(|_| panic!("must not be sent"));
    let request = Request::new(Method::GET, Url::parse("https://evil.example/v1.0").unwrap());
    assert!(matches!(api.send(request).await, Err(Error::ForeignAddress { .. })));
}

#[tokio::test]
async fn a_redirect_is_an_error_and_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let api = api(move |_| (status, vec![("location", "https://graph.example.com/v1.0/x")]));
        let error = api.send(Request::new(Method::GET, api.url(["users"]))).await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{error}");
    }
}

#[tokio::test]
async fn while_a_retry_after_runs_nobody_sends() {
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let api = api_at(clock.clone(), {
        let sent = sent.clone();
        move |_| match sent.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => (429, vec![("retry-after", "7")]),
            _ => (200, vec![]),
        }
    });
    let ask = || api.send(Request::new(Method::GET, api.url(["users"])));
    assert!(matches!(ask().await, Err(Error::Throttled { .. })));
    clock.advance(Duration::from_secs(6));
    assert!(matches!(ask().await, Err(Error::Throttled { .. })));
    assert_eq!(sent.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(api.concurrency(), 4);
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_503_closes_the_gate_only_when_it_says_for_how_long() {
    let plain = api(|_| (503, vec![]));
    let answer = plain.send(Request::new(Method::GET, plain.url(["users"]))).await.unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(plain.closed_until(), None);
    let polite = api(|_| (503, vec![("retry-after", "3")]));
    assert!(polite.send(Request::new(Method::GET, polite.url(["users"]))).await.is_err());
    assert!(polite.closed_until().is_some());
}

#[test]
fn path_segments_are_encoded() {
    let api = api(|_| (200, vec![]));
    assert_eq!(
        api.url(["users", "a/../b?c"]).as_str(),
        "https://graph.example.com/v1.0/users/a%2F..%2Fb%3Fc"
    );
}

#[tokio::test]
async fn the_clock_of_the_last_answer_is_compared_with_ours() {
    let clock = Clock::manual("2026-11-23T10:00:00Z".parse().unwrap());
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let api = api_at(clock, move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => (200, vec![]),
        1 => (503, vec![("date", "Mon, 23 Nov 2026 10:00:40 GMT")]),
        2 => (200, vec![("date", "Mon, 23 Nov 2026 09:59:00 GMT")]),
        _ => (200, vec![("date", "yesterday")]),
    });
    let mut skews = Vec::new();
    for _ in 0..4 {
        api.send(Request::new(Method::GET, api.base().clone())).await.unwrap();
        skews.push(api.skew().map(|skew| skew.as_secs()));
    }
    assert_eq!(skews, [None, Some(40), Some(-60), Some(-60)]);
}
