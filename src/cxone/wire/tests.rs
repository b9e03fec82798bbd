use serde_json::json;

use super::*;

const USER: &str = include_str!("../../../fixtures/cxone/user.json");

fn roles() -> RoleNames {
    RoleNames::new(["Agent".to_owned(), "11ee7a10-0002-4a50-9e0b-0242ac110003".to_owned()])
}

fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|item| (*item).to_owned()).collect())
}

#[test]
fn every_attribute_is_read() {
    let user = User::read(USER.as_bytes(), &roles()).unwrap();
    assert_eq!(user.view.id.0, "11ee7a10-4c1d-4a50-9e0b-0242ac110003");
    let expected = Attributes::from([
        (Attribute::UserName, Value::text("ana.martin@example.com")),
        (Attribute::ExternalId, Value::text("3f0c2a9e-1111-4222-8333-444455556666")),
        (Attribute::GivenName, Value::text("Ana")),
        (Attribute::MiddleName, Value::text("Maria")),
        (Attribute::FamilyName, Value::text("Martin")),
        (Attribute::DisplayName, Value::text("Ana Martin")),
        (Attribute::Emails, Value::text("ana.martin@example.com")),
        (Attribute::PhoneNumbers, Value::text("+1 555 0100")),
        (Attribute::Active, Value::Flag(true)),
        (Attribute::UserType, Value::text("Agent")),
        (Attribute::TimeZone, Value::text("America/New_York")),
        (Attribute::Locale, Value::text("en-US")),
        (Attribute::Team, Value::text("Front desk")),
        (Attribute::LoginAuthenticator, Value::text("Entra")),
        (Attribute::Roles, list(&["11ee7a10-0002-4a50-9e0b-0242ac110003", "Agent"])),
    ]);
    assert_eq!(user.view.attributes, expected);
    assert_eq!(user.raw, serde_json::from_str::<Json>(USER).unwrap());
}

#[test]
fn a_broken_off_user_is_never_a_user() {
    for end in 0..USER.trim_end().len() {
        assert!(User::read(&USER.as_bytes()[..end], &roles()).is_err(), "{}", &USER[..end]);
    }
}

/// What `extra`, laid over the smallest user, shows of `attribute`; `None` if it is refused.
#[track_caller]
fn check(extra: Json, attribute: Attribute, expected: Option<Option<Value>>) {
    let mut raw = json!({"id": "1", "userName": "ana"});
    for (key, value) in extra.as_object().unwrap() {
        raw[key] = value.clone();
    }
    let shown = User::of(raw, &roles()).ok().map(|user| user.view.attributes.get(&attribute).cloned());
    assert_eq!(shown, expected, "{extra}");
}

fn shows(text: &str) -> Option<Option<Value>> {
    Some(Some(Value::text(text)))
}

#[test]
fn names_of_attributes_do_not_depend_on_case() {
    check(json!({"timeZone": "UTC"}), Attribute::TimeZone, shows("UTC"));
    check(json!({"timezone": "UTC"}), Attribute::TimeZone, shows("UTC"));
    check(json!({"NAME": {"GivenName": "Ana"}}), Attribute::GivenName, shows("Ana"));
    let extension =
        json!({"URN:ietf:params:scim:schemas:extension:nice:2.0:user": {"Team": {"Display": "A"}}});
    check(extension, Attribute::Team, shows("A"));
    check(json!({"displayname": "b", "displayName": "a"}), Attribute::DisplayName, shows("a"));
}

#[test]
fn who_may_log_in_is_not_guessed() {
    for (shown, expected) in [
        (json!(true), Some(Some(Value::Flag(true)))),
        (json!(false), Some(Some(Value::Flag(false)))),
        (json!("True"), Some(Some(Value::Flag(true)))),
        (json!("False"), Some(Some(Value::Flag(false)))),
        (json!(null), Some(None)),
        (json!(0), None),
        (json!("no"), None),
        (json!(""), None),
        (json!([false]), None),
    ] {
        check(json!({ "active": shown }), Attribute::Active, expected);
    }
}

#[test]
fn absent_null_and_empty_are_the_same() {
    for (name, attribute) in [("displayName", Attribute::DisplayName), ("locale", Attribute::Locale)] {
        check(json!({}), attribute, Some(None));
        check(json!({ name: null }), attribute, Some(None));
        check(json!({ name: "" }), attribute, Some(None));
        check(json!({ name: 5 }), attribute, None);
    }
    check(json!({"emails": []}), Attribute::Emails, Some(None));
    check(json!({"emails": [{"type": "work"}]}), Attribute::Emails, Some(None));
    check(json!({"emails": {"value": "a"}}), Attribute::Emails, None);
    check(json!({"emails": ["a"]}), Attribute::Emails, None);
    check(json!({"roles": []}), Attribute::Roles, Some(None));
    check(json!({"name": "Ana"}), Attribute::GivenName, None);
}

#[test]
fn roles_and_teams_are_known_by_what_people_configure() {
    let role = |entry: Json, expected| check(json!({"roles": [entry]}), Attribute::Roles, expected);
    role(json!({"value": "7", "display": "Agent"}), Some(Some(list(&["Agent"]))));
    role(json!({"value": "Agent", "display": "7"}), Some(Some(list(&["Agent"]))));
    role(json!({"value": "7", "display": "Other"}), Some(Some(list(&["7"]))));
    role(json!({"value": 7}), Some(Some(list(&["7"]))));
    role(json!({"display": "Other"}), Some(Some(list(&["Other"]))));
    role(json!({"primary": true}), Some(None));
    let team = |team: Json, expected| check(json!({ EXTENSION: {"team": team} }), Attribute::Team, expected);
    team(json!({"display": "A", "value": "1"}), shows("A"));
    team(json!({"value": "1"}), shows("1"));
    team(json!("A"), shows("A"));
    team(json!({}), Some(None));
}

#[test]
fn what_is_no_user_is_refused() {
    for wrong in [
        "null",
        "[]",
        "{}",
        r#""<html>""#,
        r#"{"userName":"ana"}"#,
        r#"{"id":"1"}"#,
        r#"{"id":"","userName":"ana"}"#,
        r#"{"id":1,"userName":"ana"}"#,
        r#"{"id":"..","userName":"ana"}"#,
        r#"{"id":"a/b","userName":"ana"}"#,
        r#"{"id":"a b","userName":"ana"}"#,
        r#"{"id":"a\u0000b","userName":"ana"}"#,
        r#"{"id":"1","userName":""}"#,
        r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"id":"1","userName":"ana"}"#,
        include_str!("../../../fixtures/cxone/error-not-found.json"),
        include_str!("../../../fixtures/cxone/search-one.json"),
    ] {
        assert!(User::read(wrong.as_bytes(), &roles()).is_err(), "{wrong}");
    }
    assert!(User::of(json!({"id": "x".repeat(257), "userName": "ana"}), &roles()).is_err());
}
