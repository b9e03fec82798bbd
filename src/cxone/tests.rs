use std::time::Duration;

use serde_json::json;

use super::*;
use crate::outbound::{self, HeaderMap, Tenant};

pub const USER: &str = include_str!("../../fixtures/cxone/user.json");
const ONE: &str = include_str!("../../fixtures/cxone/search-one.json");
const NONE: &str = include_str!("../../fixtures/cxone/search-none.json");
const NOT_FOUND: &str = include_str!("../../fixtures/cxone/error-not-found.json");
const UNIQUENESS: &str = include_str!("../../fixtures/cxone/error-uniqueness.json");
const SPRING: &str = include_str!("../../fixtures/cxone/error-spring.json");
const USERHUB: &str = include_str!("../../fixtures/cxone/error-userhub.json");
const HTML: &str = include_str!("../../fixtures/cxone/not-found.html");
const ID: &str = "11ee7a10-4c1d-4a50-9e0b-0242ac110003";
const ANA: &str = "ana.martin@example.com";

/// What the made-up target answers: status, headers, body.
pub struct Answer(pub u16, pub Vec<(&'static str, &'static str)>, pub String);

pub fn answer(status: u16, body: &str) -> Answer {
    Answer(status, Vec::new(), body.to_owned())
}

pub fn refusal(kind: &str) -> Answer {
    let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "400", "scimType": kind});
    answer(400, &body.to_string())
}

/// A client of a made-up target, and what it sent there; tokens are given by another host.
pub struct Target {
    pub cxone: Cxone,
    pub clock: Clock,
    sent: Arc<Mutex<Vec<Request>>>,
    n_tokens: Arc<Mutex<usize>>,
}

pub fn target(respond: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Target {
    target_with(DialectChoice::Auto, Learned::default(), respond)
}

pub fn target_with(
    dialect: DialectChoice,
    learned: Learned,
    respond: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
) -> Target {
    let (sent, n_tokens) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let transport = Transport::in_process({
        let (sent, n_tokens) = (sent.clone(), n_tokens.clone());
        move |request: Request| {
            let Answer(status, pairs, body) = if request.url.host_str() == Some("login.example.com") {
                let mut n = n_tokens.lock().unwrap();
                *n += 1;
                answer(200, &format!(r#"{{"access_token":"t{n}","expires_in":3600}}"#))
            } else {
                let mut sent = sent.lock().unwrap();
                sent.push(request.clone());
                respond(&request, sent.len() - 1)
            };
            let headers = pairs.into_iter().map(|(name, value)| {
                (header::HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            let status = StatusCode::from_u16(status).unwrap();
            let response = Response { status, headers: HeaderMap::from_iter(headers), body: body.into() };
            async move { Ok(response) }
        }
    });
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let settings = Settings {
        scim_url: Url::parse("https://api.example.com/scim/v2").unwrap(),
        auths: vec![Auth::AccessKeyJson {
            token_url: Url::parse("https://login.example.com/token").unwrap(),
            access_key_id: "key".into(),
            access_key_secret: "secret".into(),
        }],
        tenant: Tenant::default(),
        max_connections: 10,
        dialect,
        role_names: vec!["Agent".into()],
    };
    let cxone = Cxone::new(settings, learned, transport, clock.clone(), Metrics::new());
    Target { cxone, clock, sent, n_tokens }
}

impl Target {
    pub fn sent(&self) -> Vec<Request> {
        self.sent.lock().unwrap().clone()
    }

    /// Method and address of everything sent, without the host.
    fn lines(&self) -> Vec<String> {
        let line = |request: &Request| {
            let url = request.url.as_str().strip_prefix("https://api.example.com/scim/v2").unwrap();
            format!("{} {url}", request.method)
        };
        self.sent().iter().map(line).collect()
    }
}

fn id() -> ScimId {
    ScimId(ID.to_owned())
}

fn header_of(request: &Request, name: header::HeaderName) -> Option<String> {
    request.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

async fn got(status: u16, body: &str) -> Result<Observed<User>, Error> {
    let body = body.to_owned();
    target(move |_, _| answer(status, &body)).cxone.get(&id()).await
}

#[tokio::test]
async fn a_user_is_read_with_everything_and_its_version() {
    let with_etag = target(|_, _| Answer(200, vec![("etag", "W/\"7\"")], USER.to_owned()));
    let Observed::Present(user) = with_etag.cxone.get(&id()).await.unwrap() else { panic!("absent") };
    assert_eq!((user.view.id, user.etag.as_deref()), (id(), Some("W/\"7\"")));
    let request = &with_etag.sent()[0];
    assert_eq!(with_etag.lines(), [format!("GET /Users/{ID}")]);
    assert_eq!(header_of(request, header::ACCEPT).unwrap(), "application/scim+json, application/json");
    assert_eq!(header_of(request, header::AUTHORIZATION).unwrap(), "Bearer t1");
    let versioned = USER.replace(r#""resourceType": "User""#, r#""version": "W/\"8\"""#);
    let Ok(Observed::Present(user)) = got(200, &versioned).await else { panic!("absent") };
    assert_eq!(user.etag.as_deref(), Some("W/\"8\""));
}

#[tokio::test]
async fn absence_is_said_in_scims_own_words_or_not_at_all() {
    assert_eq!(got(404, NOT_FOUND).await.unwrap(), Observed::Absent);
    for other in [HTML, SPRING, USERHUB, "", "{}", "null", USER] {
        assert!(matches!(got(404, other).await, Err(Error::Status { status: 404, .. })), "{other}");
    }
    assert!(matches!(got(200, NOT_FOUND).await, Err(Error::Malformed { .. })));
    assert!(matches!(got(410, NOT_FOUND).await, Err(Error::Status { status: 410, .. })));
}

#[tokio::test]
async fn what_is_not_the_user_asked_for_is_no_user() {
    for end in 0..USER.trim_end().len() {
        assert!(matches!(got(200, &USER[..end]).await, Err(Error::Malformed { .. })));
    }
    assert!(matches!(got(200, HTML).await, Err(Error::Malformed { .. })));
    assert!(matches!(got(200, &USER.replace(ID, "another")).await, Err(Error::Malformed { .. })));
    assert!(matches!(got(204, "").await, Err(Error::Malformed { .. })));
    let never = target(|_, _| panic!("must not be sent"));
    for wrong in ["", "..", "a/b", "a\nb"] {
        let answer = never.cxone.get(&ScimId(wrong.to_owned())).await;
        assert!(matches!(answer, Err(Error::Malformed { .. })), "{wrong}");
    }
}

#[tokio::test]
async fn each_failure_is_told_apart() {
    assert!(matches!(got(403, SPRING).await, Err(Error::Forbidden { .. })));
    assert!(matches!(got(409, UNIQUENESS).await, Err(Error::Conflict { .. })));
    assert!(matches!(got(400, UNIQUENESS).await, Err(Error::Conflict { .. })));
    assert!(matches!(got(412, "").await, Err(Error::Precondition)));
    assert!(matches!(got(422, USERHUB).await, Err(Error::Rejected { status: 422, scim_type: None, .. })));
    assert!(matches!(got(500, HTML).await, Err(Error::Status { status: 500, .. })));
    let moved = target(|_, _| Answer(302, vec![("location", "https://evil.example/")], String::new()));
    assert!(matches!(moved.cxone.get(&id()).await, Err(Error::Outbound(outbound::Error::Redirect { .. }))));
}

#[tokio::test]
async fn a_401_costs_one_new_token_and_no_more() {
    let expired = target(|request, _| {
        let old = header_of(request, header::AUTHORIZATION).as_deref() == Some("Bearer t1");
        if old { answer(401, "") } else { answer(200, USER) }
    });
    assert!(matches!(expired.cxone.get(&id()).await, Ok(Observed::Present(_))));
    assert_eq!((expired.sent().len(), *expired.n_tokens.lock().unwrap()), (2, 2));

    let never = target(|_, _| answer(401, SPRING));
    for _ in 0..5 {
        assert!(matches!(never.cxone.get(&id()).await, Err(Error::Unauthorized)));
    }
    assert_eq!(*never.n_tokens.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_429_is_passed_on_and_nothing_is_sent_until_it_is_over() {
    let busy = target(|_, n| match n {
        0 => Answer(429, vec![("retry-after", "9")], String::new()),
        _ => answer(200, USER),
    });
    for _ in 0..3 {
        let answer = busy.cxone.get(&id()).await;
        assert!(matches!(answer, Err(Error::Outbound(outbound::Error::Throttled { .. }))));
    }
    assert_eq!((busy.sent().len(), busy.cxone.concurrency()), (1, 5));
    assert_eq!(busy.cxone.closed_until(), Some(Timestamp::UNIX_EPOCH + Duration::from_secs(9)));
    busy.clock.advance(Duration::from_secs(9));
    assert!(busy.cxone.get(&id()).await.is_ok());
    assert_eq!(busy.cxone.closed_until(), None);
}

#[tokio::test]
async fn a_hit_is_read_by_its_id_and_must_still_have_the_key() {
    let found = target(|_, n| answer(200, if n == 0 { ONE } else { USER }));
    let Search::One(user) = found.cxone.find(MatchKey::UserName, "ANA.MARTIN@example.com").await.unwrap()
    else {
        panic!("not found")
    };
    assert!(user.view.attributes.contains_key(&Attribute::PhoneNumbers), "the hit alone lacks it");
    let filter = "GET /Users?filter=userName%20eq%20%22ANA.MARTIN%40example.com%22";
    assert_eq!(found.lines(), [filter.to_owned(), format!("GET /Users/{ID}")]);

    let renamed =
        target(|_, n| answer(200, &if n == 0 { ONE.into() } else { USER.replace(ANA, "bo@example.com") }));
    assert!(matches!(renamed.cxone.find(MatchKey::UserName, ANA).await, Err(Error::Malformed { .. })));
    let gone = target(|_, n| if n == 0 { answer(200, ONE) } else { answer(404, NOT_FOUND) });
    assert!(matches!(gone.cxone.find(MatchKey::UserName, ANA).await, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn a_search_answers_only_when_it_understood() {
    #[track_caller]
    fn is_err(search: Result<Search, Error>) {
        assert!(search.is_err(), "{search:?}");
    }
    let find = async |status, body: &str| {
        let body = body.to_owned();
        target(move |_, _| answer(status, &body)).cxone.find(MatchKey::UserName, ANA).await
    };
    assert_eq!(find(200, NONE).await.unwrap(), Search::None);
    let two =
        json!({"totalResults": 2, "Resources": [{"id": "1", "userName": ANA}, {"id": "2", "userName": ANA}]});
    assert_eq!(find(200, &two.to_string()).await.unwrap(), Search::Many(2));
    is_err(find(200, HTML).await);
    is_err(find(200, "{}").await);
    is_err(find(200, USER).await);
    is_err(find(404, HTML).await);
    // "No such user" is no answer to a search: an empty list is.
    is_err(find(404, NOT_FOUND).await);
    is_err(find(204, "").await);
    is_err(find(500, "").await);
    is_err(find(200, &ONE.replace(ANA, "bo@example.com")).await);
}

#[tokio::test]
async fn the_id_is_asked_for_without_a_filter() {
    let known = target(|_, _| answer(200, USER));
    assert!(matches!(known.cxone.find(MatchKey::Id, ID).await, Ok(Search::One(_))));
    assert_eq!(known.lines(), [format!("GET /Users/{ID}")]);
    let unknown = target(|_, _| answer(404, NOT_FOUND));
    assert_eq!(unknown.cxone.find(MatchKey::Id, ID).await.unwrap(), Search::None);
}

#[tokio::test]
async fn a_refused_filter_is_remembered_and_not_asked_again() {
    for (status, kind) in [(400, "invalidFilter"), (501, "")] {
        let picky = target(move |request, _| {
            let by_name = request.url.query().is_some_and(|query| query.contains("userName"));
            if by_name { answer(200, NONE) } else { Answer(status, vec![], refusal(kind).2) }
        });
        for _ in 0..3 {
            assert_eq!(picky.cxone.find(MatchKey::ExternalId, "3f0c").await.unwrap(), Search::Refused);
        }
        assert_eq!(picky.sent().len(), 1);
        assert_eq!(picky.cxone.find(MatchKey::UserName, ANA).await.unwrap(), Search::None);
        assert_eq!(picky.cxone.learned().refused_filters, [MatchKey::ExternalId].into());
    }
    let learned = Learned { dialect: None, refused_filters: [MatchKey::ExternalId].into() };
    let told = target_with(DialectChoice::Auto, learned, |_, _| panic!("must not be sent"));
    assert_eq!(told.cxone.find(MatchKey::ExternalId, "3f0c").await.unwrap(), Search::Refused);
}

#[tokio::test]
async fn a_refusal_that_may_be_about_the_value_is_not_remembered() {
    let refuses_escapes = target(|_, _| refusal("invalidFilter"));
    assert_eq!(refuses_escapes.cxone.find(MatchKey::UserName, "o\"b").await.unwrap(), Search::Refused);
    let unclear = target(|_, _| answer(400, USERHUB));
    assert_eq!(unclear.cxone.find(MatchKey::UserName, ANA).await.unwrap(), Search::Refused);
    for target in [refuses_escapes, unclear] {
        assert_eq!(target.cxone.learned(), Learned::default());
    }
}

#[tokio::test]
async fn an_address_is_looked_for_by_either_filter() {
    let by_path = target(|request, n| match n {
        0 => refusal("invalidFilter"),
        _ if request.url.query().is_some() => answer(200, ONE),
        _ => answer(200, USER),
    });
    assert!(matches!(by_path.cxone.find(MatchKey::Email, ANA).await, Ok(Search::One(_))));
    assert!(by_path.cxone.learned().refused_filters.is_empty());
    let by_none = target(|_, _| refusal("invalidFilter"));
    assert_eq!(by_none.cxone.find(MatchKey::Email, ANA).await.unwrap(), Search::Refused);
    assert_eq!(by_none.cxone.learned().refused_filters, [MatchKey::Email].into());
}

fn ana() -> Attributes {
    Attributes::from([(Attribute::UserName, Value::text(ANA)), (Attribute::Active, Value::Flag(true))])
}

#[tokio::test]
async fn a_created_user_is_the_one_asked_for() {
    let creates = target(|_, _| answer(201, USER));
    assert_eq!(creates.cxone.create(&ana()).await.unwrap().view.id, id());
    let request = &creates.sent()[0];
    assert_eq!(creates.lines(), ["POST /Users"]);
    assert_eq!(header_of(request, header::CONTENT_TYPE).unwrap(), SCIM_JSON);
    let body: Json = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, json!({"schemas": [place::CORE], "userName": ANA, "active": true}));

    let silent = target(|request, n| match n {
        0 => answer(201, ""),
        _ if request.url.query().is_some() => answer(200, ONE),
        _ => answer(200, USER),
    });
    assert_eq!(silent.cxone.create(&ana()).await.unwrap().view.id, id());

    let vanishes = target(|_, n| if n == 0 { answer(201, "") } else { answer(200, NONE) });
    assert!(matches!(vanishes.cxone.create(&ana()).await, Err(Error::Malformed { .. })));
    let somebody = target(|_, _| answer(201, &USER.replace(ANA, "bo@example.com")));
    assert!(matches!(somebody.cxone.create(&ana()).await, Err(Error::Malformed { .. })));
    let taken = target(|_, _| answer(409, UNIQUENESS));
    assert!(
        matches!(taken.cxone.create(&ana()).await, Err(Error::Conflict { detail }) if detail == "userName is taken")
    );
    let unrouted = target(|_, _| answer(404, HTML));
    assert!(matches!(unrouted.cxone.create(&ana()).await, Err(Error::Status { status: 404, .. })));
}

#[tokio::test]
async fn a_target_that_does_not_know_scims_media_type_gets_plain_json_from_then_on() {
    let plain = target(|request, _| match header_of(request, header::CONTENT_TYPE).as_deref() {
        Some(PLAIN_JSON) => answer(201, USER),
        _ => answer(415, ""),
    });
    for _ in 0..2 {
        plain.cxone.create(&ana()).await.unwrap();
    }
    assert_eq!(plain.sent().len(), 3);
    let neither = target(|_, _| answer(415, ""));
    assert!(matches!(neither.cxone.create(&ana()).await, Err(Error::Status { status: 415, .. })));
    assert_eq!(neither.sent().len(), 2);
}

#[tokio::test]
async fn never_more_than_allowed_are_under_way() {
    let under_way = Arc::new(Mutex::new((0, 0)));
    let transport = Transport::in_process({
        let under_way = under_way.clone();
        move |_| {
            let under_way = under_way.clone();
            async move {
                {
                    let mut count = under_way.lock().unwrap();
                    count.0 += 1;
                    count.1 = count.0.max(count.1);
                }
                tokio::task::yield_now().await;
                under_way.lock().unwrap().0 -= 1;
                let (status, headers) = (StatusCode::OK, HeaderMap::new());
                Ok(Response { status, headers, body: USER.into() })
            }
        }
    });
    let settings = Settings {
        scim_url: Url::parse("https://api.example.com/scim/v2").unwrap(),
        auths: vec![Auth::Bearer { token: "t".into() }],
        tenant: Tenant::default(),
        max_connections: 3,
        dialect: DialectChoice::Auto,
        role_names: Vec::new(),
    };
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let cxone = Cxone::new(settings, Learned::default(), transport, clock, Metrics::new());
    let all = futures_util::future::join_all((0..50).map(|_| async { cxone.get(&id()).await })).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(under_way.lock().unwrap().1, 3);
}

#[test]
fn what_was_learned_is_kept_by_its_names() {
    let learned = Learned { dialect: Some(Dialect::Indexed), refused_filters: [MatchKey::ExternalId].into() };
    let kept = r#"{"dialect":"indexed","refused_filters":["externalId"]}"#;
    assert_eq!(serde_json::to_string(&learned).unwrap(), kept);
    assert_eq!(serde_json::from_str::<Learned>(kept).unwrap(), learned);
    assert_eq!(serde_json::from_str::<Learned>("{}").unwrap(), Learned::default());
}
