use super::*;
use crate::graph::script::{Answer, Script, answer, fault};
use crate::outbound::{self, Request};

const FIRST: &str = include_str!("../../../fixtures/graph/members-first.json");
const LAST: &str = include_str!("../../../fixtures/graph/members-last.json");
const GROUP: &str = "77aa0000-1111-4222-8333-444455556666";

async fn read(
    respond: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Result<Observed<GroupMembers>, Error> {
    Script::new(respond).graph.group_members(GROUP.parse().unwrap()).await
}

fn is_second(request: &Request) -> bool {
    request.url.query().unwrap().contains("skiptoken")
}

#[tokio::test]
async fn all_pages_are_read_and_kinds_told_apart() {
    let script = Script::new(|request| answer(200, if is_second(request) { LAST } else { FIRST }));
    let Observed::Present(members) = script.graph.group_members(GROUP.parse().unwrap()).await.unwrap() else {
        panic!("absent")
    };
    let users = ["3f0c2a9e-1111-4222-8333-444455556666", "5b000000-2222-4222-8333-444455556666"];
    assert_eq!(members.users, users.into_iter().map(|id| id.parse().unwrap()).collect());
    assert_eq!(members.groups, ["77aa0000-2222-4222-8333-444455556666".parse().unwrap()].into());
    assert_eq!(
        script.asked(),
        [
            format!("GET /groups/{GROUP}/members?$select=id&$top=999"),
            format!("GET /groups/{GROUP}/members?$skiptoken=page-2")
        ]
    );
}

#[tokio::test]
async fn a_read_that_does_not_reach_the_end_is_no_read() {
    for (status, body) in [
        (500, fault("InternalServerError")),
        (404, fault("Request_ResourceNotFound")),
        (200, "<html>".to_owned()),
        (200, LAST[..LAST.len() - 4].to_owned()),
        (200, "{}".to_owned()),
        (200, r#"{"value":null}"#.to_owned()),
        (200, LAST.replace("\"@odata.type\":\"#microsoft.graph.user\",", "")),
        (200, LAST.replace("5b000000-2222-4222-8333-444455556666", "ana@example.com")),
    ] {
        let second = body.clone();
        let result =
            read(move |r| if is_second(r) { answer(status, second.clone()) } else { answer(200, FIRST) })
                .await;
        assert!(result.is_err(), "{body}: {result:?}");
    }
}

#[tokio::test]
async fn a_group_that_is_not_there_is_absent() {
    assert_eq!(read(|_| answer(404, fault("Request_ResourceNotFound"))).await.unwrap(), Observed::Absent);
    assert!(matches!(read(|_| answer(404, "<html>")).await, Err(Error::Status { .. })));
    let empty = read(|_| answer(200, r#"{"value":[]}"#)).await.unwrap();
    assert_eq!(empty, Observed::Present(GroupMembers::default()));
}

#[tokio::test]
async fn pages_that_go_round_or_away_are_refused() {
    let circle = read(|_| answer(200, FIRST)).await;
    assert!(matches!(circle, Err(Error::Malformed { .. })), "{circle:?}");
    let endless = std::sync::atomic::AtomicUsize::new(0);
    let endless = read(move |_| {
        let page = endless.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        answer(200, FIRST.replace("page-2", &format!("page-{page}")))
    })
    .await;
    assert!(matches!(endless, Err(Error::Malformed { .. })), "{endless:?}");
    let away =
        read(|_| answer(200, FIRST.replace("https://graph.example.com", "https://evil.example"))).await;
    let away = away.unwrap_err();
    assert!(matches!(away.outbound_error(), Some(outbound::Error::ForeignAddress { .. })), "{away}");
}
