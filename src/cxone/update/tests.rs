use serde_json::{Value as Json, json};

use super::*;
use crate::cxone::tests::{Answer, Target, USER, answer, refusal, target, target_with};
use crate::cxone::wire::RoleNames;
use crate::cxone::{Dialect, Learned};
use crate::domain::user::Value;
use crate::outbound::{Request, header};

const NEW: &str = "new@example.com";

fn user() -> User {
    User::read(USER.as_bytes(), &RoleNames::new(["Agent".to_owned()])).unwrap()
}

fn change(attribute: Attribute, after: Value) -> Change {
    Change { attribute, before: user().view.attributes.get(&attribute).cloned(), after: Some(after) }
}

fn new_address() -> [Change; 1] {
    [change(Attribute::Emails, Value::text(NEW))]
}

fn after() -> String {
    USER.replace(r#""work", "value": "ana.martin@example.com""#, &format!(r#""work", "value": "{NEW}""#))
}

/// In which dialect a request is.
fn spoken(request: &Request) -> &'static str {
    if request.method == Method::PUT {
        return "put";
    }
    let body: Json = serde_json::from_slice(&request.body).unwrap();
    let operation = &body["Operations"][0];
    match operation["path"].as_str().unwrap() {
        _ if operation.get("op").is_none() => "cxone",
        path if path.contains(" eq ") => "rfc7644",
        path if path.contains("[1]") => "indexed",
        _ => "any",
    }
}

fn all_spoken(target: &Target) -> Vec<&'static str> {
    target.sent().iter().map(spoken).collect()
}

/// A target that understands one dialect and refuses the others so.
fn understands(dialect: Dialect, refuse: impl Fn() -> Answer + Send + Sync + 'static) -> Target {
    target(move |request, _| if spoken(request) == dialect.name() { answer(200, &after()) } else { refuse() })
}

#[tokio::test]
async fn the_dialects_are_tried_in_order_and_what_worked_is_remembered() {
    for (n, dialect) in Dialect::ALL.into_iter().enumerate() {
        for kind in ["invalidPath", "invalidSyntax", "noTarget", "INVALIDPATH"] {
            let target = understands(dialect, move || refusal(kind));
            let shown = target.cxone.update(&user(), &new_address()).await.unwrap().unwrap();
            assert_eq!(shown.view.attributes[&Attribute::Emails], Value::text(NEW));
            let expected: Vec<&str> = Dialect::ALL[..=n].iter().map(|dialect| dialect.name()).collect();
            assert_eq!(all_spoken(&target), expected);
            assert_eq!(target.cxone.learned().dialect, Some(dialect));
            target.cxone.update(&user(), &new_address()).await.unwrap();
            assert_eq!(all_spoken(&target)[n + 1..], [dialect.name()]);
        }
    }
}

#[tokio::test]
async fn a_target_without_patch_gets_put_at_once() {
    for status in [405, 501] {
        let target = understands(Dialect::Put, move || answer(status, ""));
        target.cxone.update(&user(), &new_address()).await.unwrap();
        assert_eq!(all_spoken(&target), ["rfc7644", "put"]);
        assert_eq!(target.cxone.learned().dialect, Some(Dialect::Put));
    }
}

#[tokio::test]
async fn one_odd_user_does_not_unseat_a_dialect_that_has_proven_itself() {
    let learned = || Learned { dialect: Some(Dialect::Rfc7644), ..Learned::default() };
    let odd = |refuse: fn() -> Answer| {
        target_with(DialectChoice::Auto, learned(), move |request, _| match spoken(request) {
            "indexed" => answer(200, &after()),
            _ => refuse(),
        })
    };
    let no_target = odd(|| refusal("noTarget"));
    no_target.cxone.update(&user(), &new_address()).await.unwrap();
    assert_eq!(no_target.cxone.learned(), learned());
    let untyped = odd(|| answer(400, include_str!("../../../fixtures/cxone/error-userhub.json")));
    untyped.cxone.update(&user(), &new_address()).await.unwrap();
    assert_eq!(untyped.cxone.learned(), learned());
    let changed = odd(|| refusal("invalidPath"));
    changed.cxone.update(&user(), &new_address()).await.unwrap();
    assert_eq!(changed.cxone.learned().dialect, Some(Dialect::Indexed));
}

#[tokio::test]
async fn what_is_the_same_in_two_dialects_is_sent_once_and_proves_neither() {
    let inactive = [change(Attribute::Active, Value::Flag(false))];
    let strings = target(|request, _| match spoken(request) {
        "cxone" => answer(204, ""),
        _ => refusal("invalidValue"),
    });
    assert_eq!(strings.cxone.update(&user(), &inactive).await.unwrap(), None);
    assert_eq!(all_spoken(&strings), ["any", "cxone"]);
    assert_eq!(strings.cxone.learned().dialect, Some(Dialect::Cxone));
    let plain = target(|_, _| answer(204, ""));
    plain.cxone.update(&user(), &inactive).await.unwrap();
    assert_eq!(plain.cxone.learned().dialect, None);
}

#[tokio::test]
async fn a_configured_dialect_is_the_only_one() {
    for dialect in Dialect::ALL {
        let target =
            target_with(DialectChoice::Fixed(dialect), Learned::default(), |_, _| refusal("invalidPath"));
        let refused = target.cxone.update(&user(), &new_address()).await;
        assert!(matches!(refused, Err(Error::Rejected { status: 400, .. })), "{refused:?}");
        assert_eq!(all_spoken(&target), [dialect.name()]);
        assert_eq!(target.cxone.learned(), Learned::default());
    }
}

#[tokio::test]
async fn a_refusal_of_the_value_ends_it() {
    let picky = target(|_, _| refusal("invalidValue"));
    let refused = picky.cxone.update(&user(), &new_address()).await;
    assert!(matches!(refused, Err(Error::Rejected { scim_type: Some(kind), .. }) if kind == "invalidValue"));
    assert_eq!(picky.sent().len(), 1);
    // Of several refusals, the one about the value is told.
    let second = target(|_, n| refusal(["invalidPath", "mutability"][n]));
    let refused = second.cxone.update(&user(), &new_address()).await;
    assert!(matches!(refused, Err(Error::Rejected { scim_type: Some(kind), .. }) if kind == "mutability"));
    let nothing_helps =
        target(|_, n| refusal(["invalidPath", "noTarget", "invalidSyntax", "invalidPath"][n]));
    let refused = nothing_helps.cxone.update(&user(), &new_address()).await;
    assert!(matches!(refused, Err(Error::Rejected { scim_type: Some(kind), .. }) if kind == "invalidPath"));
    assert_eq!(nothing_helps.sent().len(), 4);
    assert_eq!(nothing_helps.cxone.learned().dialect, None);
}

#[tokio::test]
async fn conflicts_and_failures_are_passed_on_at_once() {
    for (status, check) in [
        (409, (|error| matches!(error, Error::Conflict { .. })) as fn(&Error) -> bool),
        (412, |error| matches!(error, Error::Precondition)),
        (404, |error| matches!(error, Error::Status { status: 404, .. })),
        (500, |error| matches!(error, Error::Status { status: 500, .. })),
        (429, |error| matches!(error, Error::Outbound(_))),
    ] {
        let target = target(move |_, _| answer(status, ""));
        let error = target.cxone.update(&user(), &new_address()).await.unwrap_err();
        assert!(check(&error), "{error:?}");
        assert_eq!(target.sent().len(), 1);
        assert_eq!(target.cxone.learned().dialect, None);
    }
}

#[tokio::test]
async fn an_answer_may_be_empty_but_not_another_user() {
    for status in [200, 202, 204] {
        let silent = target(move |_, _| answer(status, ""));
        assert_eq!(silent.cxone.update(&user(), &new_address()).await.unwrap(), None);
    }
    let id = user().view.id.0;
    for wrong in
        ["{}".to_owned(), USER.replace(&id, "another"), after()[..900].to_owned(), "<html>".to_owned()]
    {
        let target = target(move |_, _| answer(200, &wrong));
        let answer = target.cxone.update(&user(), &new_address()).await;
        assert!(matches!(answer, Err(Error::Malformed { .. })), "{answer:?}");
        assert_eq!(target.cxone.learned().dialect, None);
    }
}

#[tokio::test]
async fn a_path_that_is_ignored_is_found_out_before_it_is_learned() {
    let lax = target(|request, _| match spoken(request) {
        "cxone" => answer(200, &after()),
        _ => answer(200, USER),
    });
    let shown = lax.cxone.update(&user(), &new_address()).await.unwrap().unwrap();
    assert_eq!(shown.view.attributes[&Attribute::Emails], Value::text(NEW));
    assert_eq!(lax.cxone.learned().dialect, Some(Dialect::Cxone));
    // A target that will not change it at all is believed, and nothing is learned.
    let stubborn = target(|_, _| answer(200, USER));
    assert_eq!(stubborn.cxone.update(&user(), &new_address()).await.unwrap().unwrap().raw, user().raw);
    assert_eq!((stubborn.sent().len(), stubborn.cxone.learned().dialect), (4, None));
    let ignores_names = target(|_, _| answer(200, USER));
    let renamed = [change(Attribute::DisplayName, Value::text("Ana M."))];
    assert!(ignores_names.cxone.update(&user(), &renamed).await.unwrap().is_some());
    assert_eq!(ignores_names.sent().len(), 1);
}

#[tokio::test]
async fn the_version_goes_with_the_change() {
    let versioned = User { etag: Some("W/\"7\"".into()), ..user() };
    for dialect in [Dialect::Rfc7644, Dialect::Put] {
        let target =
            target_with(DialectChoice::Fixed(dialect), Learned::default(), |_, _| answer(200, &after()));
        target.cxone.update(&versioned, &new_address()).await.unwrap();
        target.cxone.update(&user(), &new_address()).await.unwrap();
        let sent = target.sent();
        assert_eq!(sent[0].headers[header::IF_MATCH], "W/\"7\"");
        assert!(!sent[1].headers.contains_key(header::IF_MATCH));
    }
}

#[tokio::test]
async fn nothing_is_sent_when_nothing_differs() {
    let target = target(|_, _| panic!("must not be sent"));
    assert_eq!(target.cxone.update(&user(), &[]).await.unwrap(), Some(user()));
}

#[tokio::test]
async fn all_changes_travel_in_one_request() {
    let target = target(|_, _| answer(204, ""));
    let changes = [
        change(Attribute::Emails, Value::text("o'brien+x@ex.com")),
        change(Attribute::FamilyName, Value::text("O\"Brien\\")),
        change(Attribute::Active, Value::Flag(false)),
    ];
    target.cxone.update(&user(), &changes).await.unwrap();
    let sent = target.sent();
    assert_eq!((sent.len(), sent[0].method.clone()), (1, Method::PATCH));
    let body: Json = serde_json::from_slice(&sent[0].body).unwrap();
    let expected = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [
            {"op": "replace", "path": "emails[type eq \"work\"].value", "value": "o'brien+x@ex.com"},
            {"op": "replace", "path": "name.familyName", "value": "O\"Brien\\"},
            {"op": "replace", "path": "active", "value": false}
        ]
    });
    assert_eq!(body, expected);
}
