use super::*;
use crate::outbound::HeaderMap;

const URL: &str = "https://login.example.com/auth/token";
const REFUSED: &str = include_str!("../../../fixtures/cxone/token-refused.json");

/// A token endpoint: answers the n-th request (from 0) as told, and keeps what it was asked.
struct Endpoint {
    tokens: Arc<Tokens>,
    clock: Clock,
    asked: Arc<Mutex<Vec<Request>>>,
}

fn endpoint(auth: Auth, answer: impl Fn(usize) -> (u16, String) + Send + Sync + 'static) -> Endpoint {
    endpoint_of(vec![auth], answer)
}

fn endpoint_of(
    auths: Vec<Auth>,
    answer: impl Fn(usize) -> (u16, String) + Send + Sync + 'static,
) -> Endpoint {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let transport = Transport::in_process({
        let asked = asked.clone();
        move |request| {
            let n = {
                let mut asked = asked.lock().unwrap();
                asked.push(request);
                asked.len() - 1
            };
            let (status, body) = answer(n);
            let status = StatusCode::from_u16(status).unwrap();
            async move {
                // Others get to run while the answer is on its way.
                tokio::task::yield_now().await;
                Ok(Response { status, headers: HeaderMap::new(), body: body.into() })
            }
        }
    });
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let tokens = Arc::new(Tokens::new(auths, Tenant::default(), transport, clock.clone(), Metrics::new()));
    Endpoint { tokens, clock, asked }
}

impl Endpoint {
    async fn header(&self) -> Result<String, Error> {
        self.tokens.authorization().await.map(|header| header.to_str().unwrap().to_owned())
    }

    fn n_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn url() -> Url {
    Url::parse(URL).unwrap()
}

fn key_json() -> Auth {
    Auth::AccessKeyJson { token_url: url(), access_key_id: "KEY==".into(), access_key_secret: "s+e=".into() }
}

fn token(n: usize, life: u64) -> (u16, String) {
    (200, format!(r#"{{"access_token":"t{n}","token_type":"Bearer","expires_in":{life}}}"#))
}

/// The same, with an id token of this tenant.
fn token_of(tenant: &str, n: usize) -> (u16, String) {
    let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(json!({ "tenantId": tenant }).to_string());
    (200, format!(r#"{{"access_token":"t{n}","id_token":"e30.{claims}.c2ln","expires_in":3600}}"#))
}

#[tokio::test]
async fn a_token_of_another_tenant_is_not_used() {
    let endpoint = endpoint(key_json(), |n| match n {
        0 => token_of("one", n),
        1 => token(n, 3600),
        2 => token_of("two", n),
        _ => token_of("One", n),
    });
    for expected in ["Bearer t0", "Bearer t1"] {
        assert_eq!(endpoint.header().await.unwrap(), expected, "where it is not shown, it is taken as it is");
        endpoint.pass(3600);
    }
    let error = endpoint.header().await.unwrap_err();
    assert!(matches!(&error, Error::ForeignTenant { found } if found == "two"), "{error:?}");
    assert!(endpoint.header().await.is_err());
    assert_eq!(endpoint.n_asked(), 3, "not asked again at once");
    endpoint.pass(31);
    assert_eq!(endpoint.header().await.unwrap(), "Bearer t3");
}

async fn asked_with(auth: Auth) -> (Option<String>, String, String) {
    let endpoint = endpoint(auth, |n| token(n, 3600));
    assert_eq!(endpoint.header().await.unwrap(), "Bearer t0");
    let asked = endpoint.asked.lock().unwrap();
    let header =
        |name| asked[0].headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
    assert_eq!((asked[0].method.as_str(), asked[0].url.as_str()), ("POST", URL));
    let body = String::from_utf8(asked[0].body.to_vec()).unwrap();
    (header(header::AUTHORIZATION), header(header::CONTENT_TYPE).unwrap(), body)
}

#[tokio::test]
async fn each_grant_asks_in_its_own_way() {
    let form = "application/x-www-form-urlencoded".to_owned();
    let mut auth = Auth::ClientCredentials {
        token_url: url(),
        client_id: "app".into(),
        client_secret: "a=b&c d+".into(),
        scope: Some("x y".into()),
    };
    let expected = "grant_type=client_credentials&client_id=app&client_secret=a%3Db%26c%20d%2B";
    assert_eq!(asked_with(auth.clone()).await, (None, form.clone(), format!("{expected}&scope=x%20y")));
    if let Auth::ClientCredentials { scope, .. } = &mut auth {
        *scope = None;
    }
    assert_eq!(asked_with(auth).await.2, expected);

    let auth = Auth::AccessKey {
        token_url: url(),
        client_id: "app@1".into(),
        client_secret: "p:w=".into(),
        access_key_id: "KEY==".into(),
        access_key_secret: "s=".into(),
    };
    let basic = format!("Basic {}", BASE64.encode("app%401:p%3Aw%3D"));
    let expected = "grant_type=password&username=KEY%3D%3D&password=s%3D";
    assert_eq!(asked_with(auth).await, (Some(basic), form, expected.to_owned()));

    let expected = r#"{"accessKeyId":"KEY==","accessKeySecret":"s+e="}"#;
    assert_eq!(asked_with(key_json()).await, (None, "application/json".to_owned(), expected.to_owned()));
}

#[tokio::test]
async fn bearer_and_basic_ask_nobody() {
    let none = |auth| endpoint(auth, |_| panic!("must not be asked"));
    assert_eq!(none(Auth::Bearer { token: "abc\n".into() }).header().await.unwrap(), "Bearer abc");
    let broken = none(Auth::Bearer { token: "a\r\nX: y".into() }).header().await;
    assert!(matches!(broken, Err(Error::Refused { .. })));
    let basic = none(Auth::Basic { user: "ana".into(), password: "p:w".into() });
    assert_eq!(basic.header().await.unwrap(), format!("Basic {}", BASE64.encode("ana:p:w")));
    let header = basic.tokens.authorization().await.unwrap();
    assert!(basic.tokens.instead_of(&header).await.unwrap().is_none());
}

#[tokio::test]
async fn one_request_serves_all_who_wait() {
    let endpoint = endpoint(key_json(), |n| token(n, 3600));
    let all = futures_util::future::join_all((0..50).map(|_| endpoint.header())).await;
    assert!(all.iter().all(|header| header.as_deref().ok() == Some("Bearer t0")));
    assert_eq!(endpoint.n_asked(), 1);
}

#[tokio::test]
async fn a_token_is_refreshed_before_it_ends() {
    for (life, early) in [(3600, 300), (600, 60), (100_000, 300)] {
        let endpoint = endpoint(key_json(), move |n| token(n, life));
        endpoint.header().await.unwrap();
        let life = life.min(86_400);
        endpoint.pass(life - early - 1);
        assert_eq!(endpoint.header().await.unwrap(), "Bearer t0", "{life}");
        endpoint.pass(1);
        // The others go on with the old one and do not ask too.
        let all = futures_util::future::join_all((0..9).map(|_| endpoint.header())).await;
        let old = all.iter().filter(|header| header.as_deref().ok() == Some("Bearer t0")).count();
        assert_eq!((old, endpoint.n_asked()), (8, 2));
        assert_eq!(endpoint.header().await.unwrap(), "Bearer t1");
    }
}

#[tokio::test]
async fn the_old_token_is_kept_while_it_is_valid() {
    let endpoint = endpoint(key_json(), |n| if n == 0 { token(0, 3600) } else { (500, "oops".into()) });
    endpoint.header().await.unwrap();
    endpoint.pass(3400);
    for _ in 0..5 {
        assert_eq!(endpoint.header().await.unwrap(), "Bearer t0");
    }
    assert_eq!(endpoint.n_asked(), 2);
    endpoint.pass(200);
    assert!(matches!(endpoint.header().await, Err(Error::Status { status: 500, .. })));
}

#[tokio::test]
async fn refused_credentials_are_not_tried_again_for_half_a_minute() {
    for status in [400, 401, 403] {
        let endpoint = endpoint(key_json(), move |_| (status, REFUSED.to_owned()));
        let all = futures_util::future::join_all((0..50).map(|_| endpoint.header())).await;
        for refusal in all {
            let Err(Error::Refused { detail }) = refusal else { panic!("{refusal:?}") };
            assert_eq!(detail, format!("{status} invalid_grant: Invalid access key"));
        }
        endpoint.pass(29);
        assert!(endpoint.header().await.is_err());
        assert_eq!(endpoint.n_asked(), 1);
        endpoint.pass(1);
        assert!(endpoint.header().await.is_err());
        assert_eq!(endpoint.n_asked(), 2);
    }
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_waited_and_forgotten_soon() {
    let endpoint = endpoint(key_json(), |n| if n == 0 { (502, "<html>".into()) } else { token(n, 3600) });
    let all = futures_util::future::join_all((0..50).map(|_| endpoint.header())).await;
    assert!(all.iter().all(|answer| matches!(answer, Err(Error::Status { status: 502, .. }))));
    assert_eq!(endpoint.n_asked(), 1);
    endpoint.pass(2);
    assert_eq!(endpoint.header().await.unwrap(), "Bearer t1");
}

#[tokio::test]
async fn one_new_token_is_tried_after_a_401_and_then_none_for_a_while() {
    let endpoint = endpoint(key_json(), |n| token(n, 3600));
    let first = endpoint.tokens.authorization().await.unwrap();
    // All who got 401 with the same token share the new one.
    let others = futures_util::future::join_all((0..9).map(|_| endpoint.tokens.instead_of(&first))).await;
    let second = others[0].as_ref().unwrap().clone().unwrap();
    assert!(others.iter().all(|other| other.as_ref().unwrap().as_ref() == Some(&second)));
    assert_eq!(endpoint.n_asked(), 2);
    assert!(endpoint.tokens.instead_of(&second).await.unwrap().is_none());
    assert_eq!(endpoint.n_asked(), 2);
    endpoint.pass(30);
    assert!(endpoint.tokens.instead_of(&second).await.unwrap().is_some());
    assert_eq!(endpoint.n_asked(), 3);
}

#[tokio::test]
async fn a_revoked_key_is_refused_credentials_not_a_loop() {
    let endpoint = endpoint(key_json(), |n| if n == 0 { token(0, 3600) } else { (400, REFUSED.into()) });
    let first = endpoint.tokens.authorization().await.unwrap();
    for _ in 0..9 {
        assert!(matches!(endpoint.tokens.instead_of(&first).await, Err(Error::Refused { .. })));
        assert!(matches!(endpoint.header().await, Err(Error::Refused { .. })));
    }
    assert_eq!(endpoint.n_asked(), 2);
}

#[tokio::test]
async fn what_is_no_token_is_not_sent() {
    let whole = include_str!("../../../fixtures/cxone/token.json").trim_end();
    let broken_off = (0..whole.len()).map(|end| whole[..end].to_owned());
    let wrong =
        ["{}", "null", "<html>", r#"{"access_token":""}"#, r#"{"access_token":"a b"}"#].map(str::to_owned);
    let other_kind = whole.replace("Bearer", "mac");
    for body in broken_off.chain(wrong).chain([other_kind]) {
        let endpoint = endpoint(key_json(), move |_| (200, body.clone()));
        assert!(matches!(endpoint.header().await, Err(Error::Malformed { .. })));
    }
    let endpoint = endpoint(key_json(), move |_| (200, whole.to_owned()));
    assert_eq!(endpoint.header().await.unwrap(), "Bearer made-up-token-1");
}

#[tokio::test]
async fn a_waiter_takes_over_when_the_one_in_front_is_gone() {
    let endpoint = endpoint(key_json(), |n| token(n, 3600));
    {
        let mut given_up = std::pin::pin!(endpoint.tokens.authorization());
        assert!(futures_util::poll!(given_up.as_mut()).is_pending());
    }
    assert!(endpoint.header().await.is_ok());
    assert_eq!(endpoint.n_asked(), 2);
}

#[test]
fn lives_are_read_as_numbers_or_text_and_bounded() {
    let life = |expires_in: &str| {
        let body = format!(r#"{{"access_token":"t"{expires_in}}}"#);
        let response = Response { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() };
        read(&response).unwrap().life.as_secs()
    };
    assert_eq!(life(r#","expires_in":"1800""#), 1800);
    assert_eq!(life(r#","expires_in":1800.5"#), 1800);
    assert_eq!(life(""), 600);
    assert_eq!(life(r#","expires_in":0"#), 30);
    assert_eq!(life(r#","expires_in":-5"#), 30);
    assert_eq!(life(r#","expires_in":1e300"#), 600);
    assert_eq!(life(r#","expires_in":99999999"#), 86_400);
}

#[test]
fn secrets_are_not_shown() {
    let endpoint = endpoint(key_json(), |n| token(n, 3600));
    assert!(!format!("{:?} {:?}", endpoint.tokens, key_json()).contains("s+e="));
}

fn client(secret: &str) -> Auth {
    let client_secret = secret.to_owned().into();
    Auth::ClientCredentials { token_url: url(), client_id: "c".into(), client_secret, scope: None }
}

/// The secrets that were sent, in their order.
fn sent(endpoint: &Endpoint) -> Vec<String> {
    let asked = endpoint.asked.lock().unwrap();
    let body = |request: &Request| String::from_utf8_lossy(&request.body).into_owned();
    asked.iter().map(|request| body(request).split("client_secret=").nth(1).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_next_credentials_are_tried_when_the_first_are_refused_and_remembered() {
    let endpoint = endpoint_of(vec![client("old"), client("new")], |n| match n {
        0 | 4 => (401, REFUSED.into()),
        n => token(n, 3600),
    });
    assert_eq!(endpoint.header().await.unwrap(), "Bearer t1");
    endpoint.pass(3600);
    assert_eq!(endpoint.header().await.unwrap(), "Bearer t2");
    endpoint.pass(3600);
    assert_eq!(endpoint.header().await.unwrap(), "Bearer t3");
    endpoint.pass(3600);
    assert_eq!(endpoint.header().await.unwrap(), "Bearer t5", "and back, if it comes to that");
    assert_eq!(sent(&endpoint), ["old", "new", "new", "new", "new", "old"]);
}

#[tokio::test]
async fn what_is_not_a_refusal_is_no_reason_to_try_others_and_two_refusals_are_one() {
    let endpoint = endpoint_of(vec![client("old"), client("new")], |n| match n {
        0 => (503, "{}".into()),
        _ => (400, REFUSED.into()),
    });
    assert!(matches!(endpoint.header().await, Err(Error::Status { status: 503, .. })));
    endpoint.pass(2);
    assert!(matches!(endpoint.header().await, Err(Error::Refused { .. })));
    endpoint.pass(29);
    assert!(matches!(endpoint.header().await, Err(Error::Refused { .. })));
    assert_eq!(sent(&endpoint), ["old", "old", "new"], "then nobody asks for a while");
}

#[tokio::test]
async fn a_token_in_service_outlives_the_exchange_of_credentials() {
    let endpoint = endpoint(client("old"), |n| match n {
        1 => (401, REFUSED.into()),
        n => token(n, 3600),
    });
    endpoint.header().await.unwrap();
    assert!(endpoint.tokens.exchange(vec![client("wrong")]));
    assert_eq!(endpoint.header().await.unwrap(), "Bearer t0", "the new ones are refused, the token is good");
    assert!(endpoint.tokens.exchange(vec![client("new")]));
    assert_eq!(endpoint.header().await.unwrap(), "Bearer t2");
    assert_eq!(sent(&endpoint), ["old", "wrong", "new"]);
    assert!(!endpoint.tokens.exchange(vec![Auth::Bearer { token: "t".into() }]), "another kind");
    assert!(!endpoint.tokens.exchange(Vec::new()));
}

#[tokio::test]
async fn a_refusal_ends_with_the_credentials_that_were_refused() {
    let endpoint = endpoint(client("wrong"), |n| if n == 0 { (401, REFUSED.into()) } else { token(n, 3600) });
    assert!(endpoint.header().await.is_err());
    endpoint.tokens.exchange(vec![client("right")]);
    assert_eq!(endpoint.header().await.unwrap(), "Bearer t1", "nobody has to wait");
}

#[tokio::test]
async fn of_two_tokens_made_elsewhere_the_one_that_is_accepted_is_used() {
    let bearer = |token: &str| Auth::Bearer { token: token.to_owned().into() };
    let endpoint = endpoint_of(vec![bearer("old"), bearer("new")], |_| unreachable!());
    let old = endpoint.tokens.authorization().await.unwrap();
    let new = endpoint.tokens.instead_of(&old).await.unwrap().unwrap();
    assert_eq!(
        (new.to_str().unwrap(), endpoint.header().await.unwrap().as_str()),
        ("Bearer new", "Bearer new")
    );
    assert_eq!(endpoint.tokens.instead_of(&old).await.unwrap(), Some(new), "somebody else was first");
    assert!(endpoint.tokens.exchange(vec![bearer("newest")]));
    assert_eq!(endpoint.header().await.unwrap(), "Bearer newest");
    let newest = endpoint.tokens.authorization().await.unwrap();
    assert_eq!(endpoint.tokens.instead_of(&newest).await.unwrap(), None);
}
