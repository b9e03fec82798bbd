use super::*;
use crate::graph::script::{Answer, Script, answer, fault};
use crate::outbound::Request as Sent;

const ONE: &str = include_str!("../../../fixtures/graph/subscription.json");
const FIRST: &str = include_str!("../../../fixtures/graph/subscriptions-first.json");
const LAST: &str = include_str!("../../../fixtures/graph/subscriptions-last.json");
const ID: &str = "9d000000-1111-4222-8333-444455556666";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn wanted() -> NewSubscription {
    NewSubscription {
        resource: Resource::Users,
        notification_url: "https://sync.example.com/notifications".to_owned(),
        lifecycle_url: "https://sync.example.com/lifecycle".to_owned(),
        client_state: "1.nonce.u.tag".to_owned(),
        expires_at: at("2026-12-20T09:00:00.123456789Z"),
    }
}

fn known() -> Subscription {
    Subscription {
        id: ID.to_owned(),
        resource: Resource::Users,
        notification_url: "https://sync.example.com/notifications".to_owned(),
        expires_at: at("2026-11-21T09:00:00Z"),
        renewed_at: at("2026-11-01T09:00:00Z"),
        signed_by: None,
    }
}

fn script(answered: Answer) -> Script {
    Script::new(move |_| answered.clone())
}

fn body(request: &Sent) -> serde_json::Value {
    assert_eq!(request.headers["content-type"], "application/json");
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test]
async fn a_new_one_is_asked_for_in_the_form_all_pages_agree_on() {
    let script = script(answer(201, ONE));
    let made = script.graph.create_subscription(&wanted()).await.unwrap();
    // The expiry is Graph's, not the one asked for.
    let expires_at = at("2026-12-18T09:00:00Z");
    let renewed_at = script.clock.now();
    assert_eq!(made, Created::Made(Subscription { expires_at, renewed_at, ..known() }));
    assert_eq!(script.asked(), ["POST /subscriptions"]);
    assert_eq!(
        body(script.sent().last().unwrap()),
        serde_json::json!({
            "changeType": "updated,deleted",
            "notificationUrl": "https://sync.example.com/notifications",
            "lifecycleNotificationUrl": "https://sync.example.com/lifecycle",
            "resource": "users",
            "expirationDateTime": "2026-12-20T09:00:00Z",
            "clientState": "1.nonce.u.tag",
            "latestSupportedTlsVersion": "v1_2",
        })
    );
}

#[tokio::test]
async fn creating_can_fail_in_ways_that_differ() {
    async fn create(status: u16, body: impl Into<String>) -> Result<Created, Error> {
        script(answer(status, body)).graph.create_subscription(&wanted()).await
    }
    assert_eq!(create(409, fault("ExtensionError")).await.unwrap(), Created::AlreadyThere);
    assert!(matches!(create(403, fault("ExtensionError")).await, Err(Error::Forbidden { .. })));
    let invalid = create(400, fault("ValidationError")).await;
    assert!(matches!(&invalid, Err(Error::Status { status: 400, code, .. }) if code == "ValidationError"));
    for wrong in [
        "<html>".to_owned(),
        ONE.replace("expirationDateTime", "other"),
        ONE.replace("2026-12-18T09:00:00.0000000Z", "soon"),
        ONE.replace("\"users\"", "\"groups\""),
    ] {
        assert!(matches!(create(201, wrong.clone()).await, Err(Error::Malformed { .. })), "{wrong}");
    }
}

#[tokio::test]
async fn all_pages_are_listed_and_strangers_left_out() {
    let script = Script::new(|request| answer(200, if request.url.query().is_some() { LAST } else { FIRST }));
    let found = script.graph.subscriptions().await.unwrap();
    let shown: Vec<_> = found
        .iter()
        .map(|remote| {
            (remote.subscription.resource, remote.lifecycle_url.is_some(), remote.client_state.as_deref())
        })
        .collect();
    assert_eq!(shown, [(Resource::Users, false, Some("1.a.u.b")), (Resource::Groups, true, None)]);
    assert_eq!(found[0].subscription.expires_at, at("2026-12-18T09:00:00Z"));
    assert_eq!(found[0].change_type, "updated,deleted");
    assert_eq!(script.asked().len(), 2);
}

#[tokio::test]
async fn half_a_list_is_none() {
    let failing = Script::new(|request| match request.url.query() {
        None => answer(200, FIRST),
        Some(_) => answer(500, fault("InternalServerError")),
    });
    assert!(failing.graph.subscriptions().await.is_err());
    let circle = Script::new(|_| answer(200, FIRST));
    assert!(matches!(circle.graph.subscriptions().await, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn renewing_reads_the_expiry_back() {
    let script = script(answer(200, ONE));
    let renewed = script.graph.renew_subscription(&known(), at("2026-12-20T09:00:00Z")).await.unwrap();
    let expected =
        Subscription { expires_at: at("2026-12-18T09:00:00Z"), renewed_at: script.clock.now(), ..known() };
    assert_eq!(renewed, Observed::Present(expected));
    assert_eq!(script.asked(), [format!("PATCH /subscriptions/{ID}")]);
    let sent = script.sent();
    assert_eq!(body(sent.last().unwrap()), serde_json::json!({"expirationDateTime": "2026-12-20T09:00:00Z"}));
}

#[tokio::test]
async fn one_that_is_gone_is_absent_if_graph_itself_says_so() {
    let renew = |status, body: String| async move {
        script(answer(status, body)).graph.renew_subscription(&known(), at("2026-12-20T09:00:00Z")).await
    };
    assert_eq!(renew(404, fault("ResourceNotFound")).await.unwrap(), Observed::Absent);
    assert!(matches!(renew(404, "<html>".to_owned()).await, Err(Error::Status { .. })));
    assert!(matches!(
        renew(200, ONE.replace("9d000000-1111", "9d000000-2222")).await,
        Err(Error::Malformed { .. })
    ));
    let delete = |status, body: String| async move {
        script(answer(status, body)).graph.delete_subscription(ID).await
    };
    assert_eq!(delete(204, String::new()).await.unwrap(), Observed::Present(()));
    assert_eq!(delete(404, fault("ResourceNotFound")).await.unwrap(), Observed::Absent);
    assert!(matches!(delete(404, String::new()).await, Err(Error::Status { .. })));
    assert!(matches!(delete(500, String::new()).await, Err(Error::Status { .. })));
}
