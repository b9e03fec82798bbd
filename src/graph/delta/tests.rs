use super::*;
use crate::domain::user::Value;
use crate::graph::script::{ANA, Answer, Script, answer, fault};
use crate::outbound;

const FIRST: &str = include_str!("../../../fixtures/graph/users-delta-first.json");
const LAST: &str = include_str!("../../../fixtures/graph/users-delta-last.json");
const GROUPS: &str = include_str!("../../../fixtures/graph/groups-delta.json");
const EXPIRED: &str = include_str!("../../../fixtures/graph/sync-state-not-found.json");
const LINK: &str = "https://graph.example.com/v1.0/users/delta?$deltatoken=round-1";

async fn page_of(answered: Answer, link: Option<&str>) -> Result<Page<UserItem>, Error> {
    Script::new(move |_| answered.clone()).graph.user_page(link).await
}

#[tokio::test]
async fn a_first_page_shows_users_whole_disabled_and_removed() {
    let script = Script::new(|_| answer(200, FIRST));
    let page = script.graph.user_page(None).await.unwrap();
    assert_eq!(
        page.next,
        PageNext::More("https://graph.example.com/v1.0/users/delta?$skiptoken=page-2".to_owned())
    );
    let shown: Vec<_> = page
        .items
        .iter()
        .map(|item| (item.details.as_ref().map(|user| user.enabled), item.removed, item.disabled))
        .collect();
    assert_eq!(
        shown,
        [
            (Some(true), None, false),
            (None, Some(RemovedReason::Changed), false),
            (None, Some(RemovedReason::Deleted), false),
            // Disabled, but not shown whole: to be read by itself.
            (None, None, true),
            // The same user again, later in the page.
            (Some(false), None, true),
        ]
    );
    let details = page.items[0].details.as_ref().unwrap();
    assert_eq!(details.id, ANA.parse().unwrap());
    assert_eq!(details.properties["mail"], Value::text("ana@example.com"));
    assert_eq!(
        script.asked(),
        [
            "GET /users/delta?$select=accountEnabled,businessPhones,displayName,id,mail,proxyAddresses,userPrincipalName"
        ]
    );
}

#[tokio::test]
async fn an_empty_page_is_an_end_only_with_a_delta_link() {
    let end = page_of(answer(200, LAST), Some(LINK)).await.unwrap();
    let link = "https://graph.example.com/v1.0/users/delta?$deltatoken=round-2";
    assert_eq!(end, Page { items: vec![], next: PageNext::End(link.to_owned()) });
    let more = page_of(answer(200, LAST.replace("deltaLink", "nextLink")), Some(LINK)).await.unwrap();
    assert_eq!(more, Page { items: vec![], next: PageNext::More(link.to_owned()) });
}

#[tokio::test]
async fn links_are_sent_back_as_they_came() {
    let script = Script::new(|_| answer(200, LAST));
    let link = "https://graph.example.com/v1.0/users/delta?$deltatoken=aB%2b_-c%3D%3d.x";
    script.graph.user_page(Some(link)).await.unwrap();
    assert_eq!(script.sent().last().unwrap().url.as_str(), link);
}

#[tokio::test]
async fn a_page_that_does_not_say_how_to_go_on_is_refused() {
    for wrong in [
        LAST.replace("@odata.deltaLink", "@odata.other"),
        LAST.replace(
            "\"value\"",
            "\"@odata.nextLink\":\"https://graph.example.com/v1.0/users/delta?a\",\"value\"",
        ),
        LAST.replace("\"value\":[]", "\"value\":null"),
        LAST.replace("\"value\":[]", "\"values\":[]"),
        LAST.replace("[]", "[{}]"),
        LAST.replace("[]", "[{\"id\":\"ana@example.com\"}]"),
        LAST.replace("[]", "[7]"),
        LAST.replace("deltaLink", "nextLink").replace("round-2", "round-1"),
        LAST[..LAST.len() - 3].to_owned(),
        "<html>".to_owned(),
    ] {
        let result = page_of(answer(200, wrong.clone()), Some(LINK)).await;
        assert!(matches!(result, Err(Error::Malformed { .. })), "{wrong}: {result:?}");
    }
    let away = LAST.replace("https://graph.example.com", "https://evil.example");
    let away = page_of(answer(200, away), Some(LINK)).await.unwrap_err();
    assert!(matches!(away.outbound_error(), Some(outbound::Error::ForeignAddress { .. })), "{away}");
}

#[tokio::test]
async fn an_expired_link_asks_for_a_full_round() {
    for (status, body) in [
        (400, EXPIRED.to_owned()),
        (400, fault("syncStateNotFound")),
        (404, fault("ResyncRequired")),
        (410, fault("resyncRequired")),
        (410, String::new()),
    ] {
        let result = page_of(answer(status, body.clone()), Some(LINK)).await;
        assert!(matches!(result, Err(Error::ResyncRequired)), "{status} {body}: {result:?}");
    }
    for (status, body) in
        [(400, fault("Request_BadRequest")), (404, String::new()), (500, EXPIRED.to_owned())]
    {
        let result = page_of(answer(status, body.clone()), Some(LINK)).await;
        assert!(matches!(result, Err(Error::Status { .. })), "{status} {body}: {result:?}");
    }
    // Nothing can expire where there was no link: or we would begin again for ever.
    assert!(matches!(page_of(answer(410, ""), None).await, Err(Error::Status { .. })));
}

#[tokio::test]
async fn groups_say_whose_members_changed() {
    let script = Script::new(|_| answer(200, GROUPS));
    let page = script.graph.group_page(None).await.unwrap();
    let shown: Vec<_> = page.items.iter().map(|item| (item.members_changed, item.removed)).collect();
    assert_eq!(shown, [(true, None), (false, None), (false, None), (false, Some(RemovedReason::Deleted))]);
    assert_eq!(page.items[0].id, "77aa0000-1111-4222-8333-444455556666".parse().unwrap());
    assert!(matches!(page.next, PageNext::End(_)));
    assert_eq!(script.asked(), ["GET /groups/delta?$select=id,members"]);
}

#[test]
fn a_removal_in_any_shape_is_one() {
    for (annotation, reason) in [
        (r#"{"reason":"deleted"}"#, Some(RemovedReason::Deleted)),
        (r#"{"reason":"changed"}"#, Some(RemovedReason::Changed)),
        (r#"{"reason":"somethingNew"}"#, Some(RemovedReason::Changed)),
        ("{}", Some(RemovedReason::Changed)),
        (r#""deleted""#, Some(RemovedReason::Changed)),
        ("null", None),
    ] {
        let annotation: Json = serde_json::from_str(annotation).unwrap();
        assert_eq!(removed(Some(&annotation)), reason, "{annotation}");
    }
    assert_eq!(removed(None), None);
}
