use serde_json::json;

use super::*;
use crate::cxone::tests::{Answer, Target, answer, refusal, target};
use crate::outbound::Request;

/// Where a request says that its page begins.
fn start(request: &Request) -> usize {
    let asked = request.url.query_pairs().find(|(name, _)| name == "startIndex");
    asked.expect("every page says where it begins").1.parse().unwrap()
}

fn users(ids: impl IntoIterator<Item = usize>) -> Vec<Json> {
    ids.into_iter().map(|n| json!({"id": n.to_string(), "userName": format!("u{n}@x.example")})).collect()
}

fn page(total: usize, ids: impl IntoIterator<Item = usize>) -> Answer {
    let list = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
                      "totalResults": total, "Resources": users(ids)});
    answer(200, &list.to_string())
}

/// Shows `len` users from the one asked for on, out of `all`.
fn honest(all: usize, len: usize) -> Target {
    target(move |request, _| page(all, (1..=all).skip(start(request) - 1).take(len)))
}

/// `complete 3`, `partial 3/5` or `not offered`.
async fn listed(target: &Target) -> String {
    let ids = |accounts: &[Account]| {
        let different: HashSet<_> = accounts.iter().map(|account| &account.id).collect();
        assert_eq!(different.len(), accounts.len(), "nobody is listed twice");
        accounts.len()
    };
    match target.cxone.list().await {
        Ok(Listing::Complete(shown)) => format!("complete {}", ids(&shown)),
        Ok(Listing::Partial { shown, total }) => format!("partial {}/{total}", ids(&shown)),
        Ok(Listing::NotOffered) => "not offered".to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

#[tokio::test]
async fn pages_are_followed_to_the_first_that_shows_nobody_new() {
    for (all, len) in [(1, 100), (100, 100), (101, 100), (250, 100), (250, 30)] {
        assert_eq!(listed(&honest(all, len)).await, format!("complete {all}"));
    }
    let target = honest(250, 100);
    listed(&target).await;
    let asked: Vec<_> = target.sent().iter().map(start).collect();
    assert_eq!(asked, [1, 101, 201, 251]);
}

#[tokio::test]
async fn what_a_target_counts_does_not_end_the_pages() {
    // Each page counts only what it shows, and nobody past the end.
    let per_page = target(|request, _| {
        let ids: Vec<_> = (1..=250).skip(start(request) - 1).take(100).collect();
        page(ids.len(), ids)
    });
    assert_eq!(listed(&per_page).await, "complete 250");
    let too_many = target(|request, _| page(300, (1..=250).skip(start(request) - 1).take(100)));
    assert_eq!(listed(&too_many).await, "partial 250/300");
    let more_than_shown = target(|_, _| page(5, []));
    assert_eq!(listed(&more_than_shown).await, "not offered");
}

#[tokio::test]
async fn a_target_that_repeats_itself_is_noticed() {
    let first_only = target(|_, _| page(250, 1..=100));
    assert_eq!(listed(&first_only).await, "partial 100/250");
    let counts_its_page = target(|_, _| page(100, 1..=100));
    assert_eq!(listed(&counts_its_page).await, "partial 100/100", "there may be more behind the page");
    let all_at_once = target(|_, _| page(250, 1..=250));
    assert_eq!(listed(&all_at_once).await, "complete 250");
    // Pages that overlap, because somebody was added in between.
    let overlapping =
        target(|request, _| page(150, (1..=150).skip(start(request).saturating_sub(11)).take(100)));
    assert_eq!(listed(&overlapping).await, "complete 150");
    let twice = target(|_, _| page(2, [1, 1]));
    assert_eq!(listed(&twice).await, "partial 1/2");
}

#[tokio::test]
async fn a_target_that_requires_a_filter_is_asked_with_one() {
    let asks_for_one =
        target(|request, _| match request.url.query().unwrap().contains("filter=userName%20pr&") {
            true => page(3, (1..=3).skip(start(request) - 1)),
            false => refusal("invalidFilter"),
        });
    assert_eq!(listed(&asks_for_one).await, "complete 3");
    for refuses in
        [|| refusal("invalidFilter"), || refusal("tooMany"), || answer(400, ""), || answer(501, "")]
    {
        let target = target(move |_, _| refuses());
        assert_eq!(listed(&target).await, "not offered");
        assert_eq!(target.sent().len(), 2);
    }
    let nobody = target(|_, _| answer(200, r#"{"totalResults": 0}"#));
    assert_eq!(listed(&nobody).await, "not offered", "not even the user whose access key we use?");
}

#[tokio::test]
async fn a_page_that_fails_is_not_the_end() {
    #[track_caller]
    fn is_error(listed: String) {
        assert!(listed.starts_with("error"), "{listed}");
    }
    let whole = page(250, 101..=200).2;
    let cut = whole[..whole.len() - 1].to_owned();
    let failures = [
        (200, cut),
        (200, "<html>".to_owned()),
        (200, r#"{"Resources": []}"#.to_owned()),
        (200, r#"{"totalResults": 250, "Resources": {}}"#.to_owned()),
        (200, r#"{"totalResults": 250, "Resources": [{"userName": "u1@x.example"}]}"#.to_owned()),
        (200, r#"{"totalResults": 250, "Resources": [{"id": "a/b"}]}"#.to_owned()),
        (400, String::new()),
        (404, String::new()),
        (500, String::new()),
        (204, String::new()),
    ];
    for (status, body) in failures {
        let fails = target(move |_, n| if n == 0 { page(250, 1..=100) } else { answer(status, &body) });
        is_error(listed(&fails).await);
    }
    let endless = target(|request, _| page(9, [start(request)]));
    is_error(listed(&endless).await);
    assert_eq!(endless.sent().len(), MOST_PAGES);
    // At the door: credentials and gateways are no answer to whether it lists.
    for (status, body) in [(403, ""), (404, "<html>"), (405, "<html>"), (500, "")] {
        let refuses = target(move |_, _| answer(status, body));
        is_error(listed(&refuses).await);
        assert_eq!(refuses.sent().len(), 1);
    }
}

#[tokio::test]
async fn an_entry_shows_what_people_are_known_by() {
    let entry = json!({"ID": "1", "username": "Ana@x.example", "externalId": "E1", "active": "False",
                       "emails": [{"value": "a@x.example"}, {"type": "home"}, {"value": "b@x.example"}]});
    let list = json!({"totalResults": 2, "Resources": [entry, {"id": "2", "externalId": null}]}).to_string();
    let target = target(move |_, _| answer(200, &list));
    let text = |text: &str| Some(text.to_owned());
    let ana = Account {
        id: ScimId("1".to_owned()),
        user_name: text("Ana@x.example"),
        external_id: text("E1"),
        emails: vec!["a@x.example".to_owned(), "b@x.example".to_owned()],
        active: false,
    };
    let bare = Account {
        id: ScimId("2".to_owned()),
        user_name: None,
        external_id: None,
        emails: Vec::new(),
        active: true,
    };
    assert_eq!(target.cxone.list().await.unwrap(), Listing::Complete(vec![ana, bare]));
}
