use proptest::prelude::*;
use serde_json::json;

use super::patcher::patched;
use super::*;
use crate::cxone::wire::User;
use crate::domain::patch::{apply, same};
use crate::domain::user::Attribute;

const USER: &str = include_str!("../../../fixtures/cxone/user.json");

fn roles() -> RoleNames {
    RoleNames::new(["Agent".to_owned(), "Admin".to_owned(), "Quality".to_owned()])
}

fn user() -> Json {
    serde_json::from_str(USER).unwrap()
}

fn change(attribute: Attribute, after: Option<Value>) -> Change {
    let before = User::of(user(), &roles()).unwrap().view.attributes.get(&attribute).cloned();
    Change { attribute, before, after }
}

fn text(attribute: Attribute, after: &str) -> Change {
    change(attribute, Some(Value::text(after)))
}

fn list(items: &[&str]) -> Option<Value> {
    Some(Value::List(items.iter().map(|item| (*item).to_owned()).collect()))
}

#[track_caller]
fn check_on(raw: &Json, change: &Change, dialect: Dialect, expected: Json) {
    let update = update(raw.as_object().unwrap(), std::slice::from_ref(change), dialect, &roles()).unwrap();
    assert_eq!(update.method, Method::PATCH);
    assert_eq!(update.body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:PatchOp"]));
    assert_eq!(update.body["Operations"], expected);
}

#[track_caller]
fn check(change: Change, dialect: Dialect, expected: Json) {
    check_on(&user(), &change, dialect, expected);
}

#[test]
fn rfc7644_says_what_the_rfc_says() {
    let rfc = |change, expected| check(change, Dialect::Rfc7644, expected);
    rfc(
        text(Attribute::Emails, "new@example.com"),
        json!([{"op": "replace", "path": "emails[type eq \"work\"].value", "value": "new@example.com"}]),
    );
    rfc(
        text(Attribute::PhoneNumbers, "+1"),
        json!([{"op": "replace", "path": "phoneNumbers[primary eq true].value", "value": "+1"}]),
    );
    rfc(change(Attribute::PhoneNumbers, None), json!([{"op": "remove", "path": "phoneNumbers"}]));
    rfc(
        text(Attribute::GivenName, "Anna"),
        json!([{"op": "replace", "path": "name.givenName", "value": "Anna"}]),
    );
    rfc(change(Attribute::MiddleName, None), json!([{"op": "remove", "path": "name.middleName"}]));
    rfc(
        change(Attribute::Active, Some(Value::Flag(false))),
        json!([{"op": "replace", "path": "active", "value": false}]),
    );
    rfc(text(Attribute::TimeZone, "UTC"), json!([{"op": "replace", "path": "timezone", "value": "UTC"}]));
    rfc(
        text(Attribute::Team, "Back office"),
        json!([{
            "op": "replace",
            "path": "urn:ietf:params:scim:schemas:extension:nice:2.0:User:team",
            "value": {"display": "Back office"}
        }]),
    );
    rfc(
        change(Attribute::Roles, list(&["Agent", "Admin"])),
        json!([
            {"op": "remove", "path": "roles[value eq \"11ee7a10-0002-4a50-9e0b-0242ac110003\"]"},
            {"op": "add", "path": "roles", "value": [{"value": "Admin"}]}
        ]),
    );
}

#[test]
fn what_is_not_there_is_added_and_what_is_gone_is_not_removed() {
    let bare = json!({"id": "1", "userName": "ana"});
    let on_bare = |attribute, after: &str, expected: Json| {
        let change = Change { attribute, before: None, after: Some(Value::text(after)) };
        check_on(&bare, &change, Dialect::Rfc7644, expected.clone());
        check_on(&bare, &change, Dialect::Indexed, expected);
    };
    on_bare(
        Attribute::Emails,
        "a@x.example",
        json!([{"op": "add", "path": "emails", "value": [{"value": "a@x.example", "type": "work", "primary": true}]}]),
    );
    on_bare(Attribute::GivenName, "Ana", json!([{"op": "add", "path": "name.givenName", "value": "Ana"}]));
    on_bare(Attribute::DisplayName, "Ana", json!([{"op": "add", "path": "displayName", "value": "Ana"}]));
    for dialect in Dialect::ALL {
        for attribute in Attribute::ALL {
            let change = Change { attribute, before: Some(Value::text("old")), after: None };
            let update = update(bare.as_object().unwrap(), &[change], dialect, &roles());
            // `userName` is there; `active` is never removed, since that would open the account.
            assert_eq!(update.is_some(), attribute == Attribute::UserName, "{attribute}");
        }
    }
}

#[test]
fn an_entry_that_no_filter_hits_alone_is_changed_in_the_whole_list() {
    let raw = json!({"id": "1", "userName": "ana", "emails": [
        {"type": "work", "value": "a@x.example", "note": 1},
        {"type": "work", "value": "b@x.example"},
    ]});
    let change =
        Change { attribute: Attribute::Emails, before: None, after: Some(Value::text("c@x.example")) };
    let whole = json!([{"op": "replace", "path": "emails", "value": [
        {"type": "work", "value": "c@x.example", "note": 1},
        {"type": "work", "value": "b@x.example"},
    ]}]);
    check_on(&raw, &change, Dialect::Rfc7644, whole);
}

#[test]
fn indexed_names_the_place_of_the_entry() {
    check(
        text(Attribute::Emails, "new@example.com"),
        Dialect::Indexed,
        json!([{"op": "replace", "path": "emails[1].value", "value": "new@example.com"}]),
    );
    check(
        text(Attribute::GivenName, "Anna"),
        Dialect::Indexed,
        json!([{"op": "replace", "path": "name.givenName", "value": "Anna"}]),
    );
}

#[test]
fn cxone_says_paths_and_strings_and_leaves_the_rest_to_put() {
    let cxone = |change, expected| check(change, Dialect::Cxone, expected);
    cxone(change(Attribute::Active, Some(Value::Flag(false))), json!([{"path": "active", "value": "false"}]));
    cxone(text(Attribute::Emails, "n@x.example"), json!([{"path": "emails", "value": "n@x.example"}]));
    cxone(text(Attribute::GivenName, "Anna"), json!([{"path": "name.givenName", "value": "Anna"}]));
    cxone(change(Attribute::Roles, list(&["Admin"])), json!([{"path": "roles", "value": "Admin"}]));
    for unsayable in
        [change(Attribute::MiddleName, None), change(Attribute::Roles, list(&["Admin", "Agent"]))]
    {
        let both = [text(Attribute::GivenName, "Anna"), unsayable];
        let update = update(user().as_object().unwrap(), &both, Dialect::Cxone, &roles()).unwrap();
        assert_eq!(update.method, Method::PUT);
        assert_eq!(update.body["name"]["givenName"], "Anna");
    }
}

#[test]
fn a_put_keeps_what_we_do_not_know() {
    let mut raw = user();
    raw["x-badge"] = json!({"colour": "blue", "since": [1, 2.5, null]});
    raw["emails"][1]["display"] = json!("kept");
    raw["active"] = json!("True");
    let changes = [text(Attribute::Emails, "new@example.com"), text(Attribute::Team, "Back office")];
    let update = update(raw.as_object().unwrap(), &changes, Dialect::Put, &roles()).unwrap();
    assert_eq!(update.method, Method::PUT);
    let mut expected = raw.clone();
    expected["emails"][1]["value"] = json!("new@example.com");
    expected["active"] = json!(true);
    expected["urn:ietf:params:scim:schemas:extension:nice:2.0:User"]["team"] =
        json!({"display": "Back office"});
    let zone = expected.as_object_mut().unwrap().shift_remove("timeZone").unwrap();
    expected["timezone"] = zone;
    assert_eq!(update.body, expected);
}

#[test]
fn a_new_user_holds_nothing_empty() {
    let attributes = [
        (Attribute::UserName, Value::text("o'brien+x@ex.com")),
        (Attribute::GivenName, Value::text("O\"Brien\\")),
        (Attribute::FamilyName, Value::text("")),
        (Attribute::Emails, Value::text("o'brien+x@ex.com")),
        (Attribute::PhoneNumbers, Value::text("")),
        (Attribute::Active, Value::Flag(true)),
        (Attribute::ExternalId, Value::text("3f0c2a9e-1111-4222-8333-444455556666")),
        (Attribute::TimeZone, Value::text("UTC")),
        (Attribute::Team, Value::text("Front desk")),
        (Attribute::Roles, list(&["Agent", "Admin"]).unwrap()),
    ];
    let expected = json!({
        "schemas": [
            "urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:nice:2.0:User"
        ],
        "userName": "o'brien+x@ex.com",
        "externalId": "3f0c2a9e-1111-4222-8333-444455556666",
        "name": {"givenName": "O\"Brien\\"},
        "emails": [{"value": "o'brien+x@ex.com", "type": "work", "primary": true}],
        "active": true,
        "timezone": "UTC",
        "urn:ietf:params:scim:schemas:extension:nice:2.0:User": {"team": {"display": "Front desk"}},
        "roles": [{"value": "Agent"}, {"value": "Admin"}]
    });
    assert_eq!(merge::created(&attributes.into()), expected);
    let no_roles = [(Attribute::Roles, Value::List(vec![]))];
    assert_eq!(merge::created(&no_roles.into()), json!({"schemas": [expected["schemas"][0]]}));
}

#[test]
fn every_dialect_is_found_by_its_name() {
    for dialect in Dialect::ALL {
        assert_eq!(Dialect::by_name(dialect.name()), Some(dialect));
        assert_eq!(serde_json::to_value(dialect).unwrap(), dialect.name());
    }
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,6}", r#"[a-z]["'\\+@ü ]{1,3}[a-z]"#]
}

/// A list of addresses or numbers, in every shape that has been seen.
fn entry_list() -> impl Strategy<Value = Json> {
    let kind = prop::sample::select(vec![None, Some("work"), Some("Work"), Some("home"), Some("mobile")]);
    let primary =
        prop::sample::select(vec![None, Some(json!(true)), Some(json!(false)), Some(json!("True"))]);
    let entry = (prop::option::weighted(0.9, word()), kind, primary, any::<bool>()).prop_map(
        |(value, kind, primary, unknown)| {
            let mut entry = Map::new();
            entry.extend(value.map(|value| ("value".to_owned(), json!(value))));
            entry.extend(kind.map(|kind| ("type".to_owned(), json!(kind))));
            entry.extend(primary.map(|primary| ("primary".to_owned(), primary)));
            entry.extend(unknown.then(|| ("x-note".to_owned(), json!([1, {"a": null}]))));
            Json::Object(entry)
        },
    );
    prop::collection::vec(entry, 0..4).prop_map(Json::from)
}

fn role_list() -> impl Strategy<Value = Json> {
    let names = vec!["Agent", "Admin", "Quality", "by hand", "x\"y\\"];
    (prop::sample::subsequence(names, 0..5), any::<u8>()).prop_map(|(names, shape)| {
        let role = |(n, name): (usize, &&str)| match (shape >> n) & 3 {
            0 => json!({"value": name}),
            1 => json!({"display": name}),
            2 => json!({"value": format!("id-{name}"), "display": name, "primary": n == 0}),
            _ => json!({"value": n, "display": name}),
        };
        names.iter().enumerate().map(role).collect::<Vec<_>>().into()
    })
}

fn reference() -> impl Strategy<Value = Json> {
    prop_oneof![
        word().prop_map(|name| json!({"display": name, "value": "id"})),
        word().prop_map(|name| json!({"display": name})),
        word().prop_map(|id| json!({"value": id})),
    ]
}

prop_compose! {
    fn any_user()(
        name in prop::option::of((prop::option::of(word()), prop::option::of(word()), prop::option::of(word()))),
        texts in prop::collection::vec((prop::sample::select(vec![
            "externalId", "displayName", "userType", "timeZone", "timezone", "TimeZone", "locale", "x-unknown",
        ]), word()), 0..6),
        emails in prop::option::of(entry_list()),
        phones in prop::option::of(entry_list()),
        role_list in prop::option::of(role_list()),
        active in prop::sample::select(vec![json!(null), json!(true), json!(false), json!("False"), json!("true")]),
        extension in prop::option::of((prop::option::of(reference()), prop::option::of(reference()))),
    ) -> Json {
        let mut raw = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "1", "userName": "ana"});
        let mut set = |key: &str, value: Json| raw[key] = value;
        if let Some((given, middle, family)) = name {
            set("name", json!({"givenName": given, "middleName": middle, "familyName": family, "x": 1}));
        }
        for (key, value) in texts { set(key, value.into()) }
        if let Some(emails) = emails { set("emails", emails) }
        if let Some(phones) = phones { set("phoneNumbers", phones) }
        if let Some(held) = role_list { set("roles", held) }
        set("active", active);
        if let Some((team, authenticator)) = extension {
            set(EXTENSION, json!({"team": team, "loginAuthenticator": authenticator, "x": [true]}));
        }
        raw
    }
}

/// New values for some attributes; `before` is filled in from the user.
fn wishes() -> impl Strategy<Value = Vec<(Attribute, Option<Value>)>> {
    let wish = prop::sample::select(Attribute::ALL.to_vec()).prop_flat_map(|attribute| {
        let value = match attribute {
            Attribute::Active => any::<bool>().prop_map(|flag| Some(Value::Flag(flag))).boxed(),
            Attribute::UserName => word().prop_map(|name| Some(Value::Text(name))).boxed(),
            Attribute::Roles => {
                let names = ["Agent", "Admin", "Quality", "by hand", "x\"y\\"].map(str::to_owned).to_vec();
                let some = prop::sample::subsequence(names, 0..5).prop_map(Value::List);
                prop::option::weighted(0.9, some).boxed()
            }
            _ => prop::option::weighted(0.8, word().prop_map(Value::Text)).boxed(),
        };
        value.prop_map(move |value| (attribute, value))
    });
    prop::collection::vec(wish, 1..5)
}

/// What nobody asked to change: everything unknown, wherever it stands.
fn unknown(raw: &Json) -> Vec<Option<Json>> {
    let notes = |name: &str| {
        let entries = raw[name].as_array().cloned().unwrap_or_default();
        Json::from(entries.into_iter().map(|entry| entry["x-note"].clone()).collect::<Vec<_>>())
    };
    let part = |of: &str| raw.get(of).and_then(|of| of.get("x")).cloned();
    vec![raw.get("x-unknown").cloned(), Some(notes("emails")), part("name"), part(EXTENSION)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn an_update_shows_exactly_the_change(raw in any_user(), wishes in wishes(), with_put in any::<bool>()) {
        let before = User::of(raw.clone(), &roles()).unwrap();
        let mut changes: Vec<Change> = Vec::new();
        for (attribute, after) in wishes {
            let old = before.view.attributes.get(&attribute);
            let is_new = changes.iter().all(|change| change.attribute != attribute);
            if is_new && !same(attribute, old, after.as_ref()) {
                changes.push(Change { attribute, before: old.cloned(), after });
            }
        }
        let dialect = if with_put { Dialect::Put } else { Dialect::Rfc7644 };
        let update = update(raw.as_object().unwrap(), &changes, dialect, &roles());
        prop_assert_eq!(update.is_some(), !changes.is_empty());
        let Some(update) = update else { return Ok(()) };
        let after = match update.method {
            Method::PUT => update.body,
            _ => patched(&raw, &update.body),
        };
        let shown = User::of(after.clone(), &roles()).unwrap();
        let expected = apply(&before.view.attributes, &changes);
        for attribute in Attribute::ALL {
            let (shown, expected) = (shown.view.attributes.get(&attribute), expected.get(&attribute));
            prop_assert!(same(attribute, shown, expected), "{}: {:?} is not {:?} in {}", attribute, shown, expected, after);
        }
        let touches_emails = changes.iter().any(|change| change.attribute == Attribute::Emails);
        if !touches_emails {
            prop_assert_eq!(unknown(&raw), unknown(&after));
        }
    }
}
