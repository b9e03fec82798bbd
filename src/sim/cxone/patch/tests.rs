use serde_json::json;

use super::*;

const NICE: &str = "urn:ietf:params:scim:schemas:extension:nice:2.0:User";

fn user() -> Map<String, Value> {
    let user = json!({
        "userName": "ana@example.com",
        "name": {"givenName": "Ana", "familyName": "Silva", "middleName": "M"},
        "active": true,
        "displayName": "Ana",
        "emails": [
            {"type": "work", "value": "a@work.com", "primary": true},
            {"type": "home", "value": "a@home.com"},
        ],
        "roles": [{"display": "Agent"}],
        NICE: {"team": {"display": "Care", "value": "1"}},
    });
    user.as_object().unwrap().clone()
}

fn run(dialect: Dialect, indexed_paths: bool, operations: Value) -> Result<Map<String, Value>, Problem> {
    let body = json!({"schemas": [PATCH_OP], "Operations": operations});
    apply(&user(), &body, dialect, indexed_paths)
}

/// What becomes of the part of the user at `pointer`.
#[track_caller]
fn check(operation: Value, pointer: &str, expected: Value) {
    let patched = Value::Object(run(Dialect::Rfc7644, false, json!([operation])).unwrap());
    assert_eq!(patched.pointer(pointer).cloned().unwrap_or_default(), expected);
}

#[track_caller]
fn check_refused(operation: Value, scim_type: &str) {
    let problem = run(Dialect::Rfc7644, false, json!([operation])).unwrap_err();
    assert_eq!((problem.status, problem.scim_type), (400, Some(scim_type)), "{}", problem.detail);
}

fn replace(path: &str, value: Value) -> Value {
    json!({"op": "replace", "path": path, "value": value})
}

fn add(path: &str, value: Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

fn remove(path: &str) -> Value {
    json!({"op": "remove", "path": path})
}

#[test]
fn paths_lead_where_the_rfc_says() {
    check(replace("displayName", json!("Bo")), "/displayName", json!("Bo"));
    check(replace("DISPLAYNAME", json!("Bo")), "/displayName", json!("Bo"));
    check(
        replace("urn:ietf:params:scim:schemas:core:2.0:User:displayName", json!("Bo")),
        "/displayName",
        json!("Bo"),
    );
    check(replace("timezone", json!("UTC")), "/timeZone", json!("UTC"));
    check(replace("name.givenName", json!("Bo")), "/name/givenName", json!("Bo"));
    check(
        replace(r#"emails[type eq "work"].value"#, json!("b@work.com")),
        "/emails/0/value",
        json!("b@work.com"),
    );
    check(
        replace("emails[primary eq true].value", json!("b@work.com")),
        "/emails/0/value",
        json!("b@work.com"),
    );
    let whole = format!("{NICE}:team.display");
    check(
        replace(&whole, json!("Sales")),
        &format!("/{NICE}/team"),
        json!({"display": "Sales", "value": "1"}),
    );
    check(replace(NICE, json!({"team": {"value": "2"}})), &format!("/{NICE}/team/value"), json!("2"));
    check(remove(&format!("{NICE}:team")), &format!("/{NICE}"), Value::Null);
}

#[test]
fn what_is_no_path_is_refused() {
    for path in [
        "emails[0].value",
        "emails[0]",
        "/emails/0/value",
        "emails.0.value",
        "emails[type eq \"work\"]value",
        "emails[type eq \"work\"].size",
        "emails[type eq \"work\"",
        "emails[]",
        "displayName[value eq \"x\"]",
        "name.givenName.x",
        "shoeSize",
        "urn:other:User:displayName",
        "",
        "emails.value",
        "1name",
        "emails[shoe eq \"x\"].value",
    ] {
        check_refused(replace(path, json!("x")), "invalidPath");
    }
}

#[test]
fn a_replace_of_something_with_parts_leaves_the_others() {
    check(
        replace("name", json!({"givenName": "Bo"})),
        "/name",
        json!({"givenName": "Bo", "familyName": "Silva", "middleName": "M"}),
    );
    check(replace("emails", json!([{"value": "b@work.com"}])), "/emails", json!([{"value": "b@work.com"}]));
    check(replace("roles", json!([])), "/roles", Value::Null);
    check(replace("displayName", Value::Null), "/displayName", Value::Null);
}

#[test]
fn an_add_adds_and_repeats_nothing() {
    check(
        add("roles", json!([{"display": "Agent"}, {"display": "Admin"}])),
        "/roles",
        json!([{"display": "Agent"}, {"display": "Admin"}]),
    );
    check(add("roles", json!({"display": "Admin"})), "/roles/1/display", json!("Admin"));
    let new_primary = add("emails", json!([{"value": "c@x.com", "primary": true}]));
    check(new_primary.clone(), "/emails/0/primary", json!(false));
    check(new_primary, "/emails/2/primary", json!(true));
    check(replace(r#"emails[type eq "home"].primary"#, json!(true)), "/emails/0/primary", json!(false));
    check(add("phoneNumbers", json!([{"value": "1"}])), "/phoneNumbers/0/value", json!("1"));
}

#[test]
fn a_remove_removes_what_is_named() {
    check(
        remove(r#"emails[type eq "home"]"#),
        "/emails",
        json!([{"type": "work", "value": "a@work.com", "primary": true}]),
    );
    check(remove(r#"roles[display eq "agent"]"#), "/roles", Value::Null);
    check(remove(r#"roles[display eq "nobody"]"#), "/roles", json!([{"display": "Agent"}]));
    check(remove("name.middleName"), "/name", json!({"givenName": "Ana", "familyName": "Silva"}));
    check_refused(remove("userName"), "mutability");
    check_refused(remove("name.givenName"), "mutability");
    check_refused(remove("emails[value pr]"), "mutability");
    check_refused(json!({"op": "remove"}), "noTarget");
}

#[test]
fn a_filter_that_fits_nothing_has_no_target() {
    check_refused(replace(r#"emails[type eq "other"].value"#, json!("x")), "noTarget");
    check_refused(add(r#"emails[type eq "other"].value"#, json!("x")), "noTarget");
}

#[test]
fn without_a_path_each_member_is_an_operation() {
    let value =
        json!({"active": false, "name": {"givenName": "Bo"}, format!("{NICE}:team.display"): "Sales"});
    check(json!({"op": "replace", "value": value.clone()}), "/active", json!(false));
    check(json!({"op": "Replace", "value": value.clone()}), "/name/familyName", json!("Silva"));
    check(json!({"op": "add", "value": value}), &format!("/{NICE}/team/display"), json!("Sales"));
    check_refused(json!({"op": "replace", "value": {"name.givenName": "Bo"}}), "invalidPath");
    check_refused(json!({"op": "replace", "value": "x"}), "invalidSyntax");
}

#[test]
fn operations_and_values_are_checked() {
    check_refused(json!({"path": "active", "value": false}), "invalidSyntax");
    check_refused(json!({"op": "move", "path": "active", "value": false}), "invalidSyntax");
    check_refused(replace("id", json!("2")), "mutability");
    check_refused(replace("meta.resourceType", json!("x")), "mutability");
    check_refused(replace("active", json!(1)), "invalidValue");
    check_refused(replace("displayName", json!({"a": 1})), "invalidValue");
    check(replace("active", json!("False")), "/active", json!(false));
    let no_schema = json!({"Operations": [replace("active", json!(false))]});
    assert!(apply(&user(), &no_schema, Dialect::Rfc7644, false).is_err());
}

#[test]
fn dialects_differ() {
    let by_filter = json!([replace(r#"emails[type eq "work"].value"#, json!("x"))]);
    let by_index = json!([replace("emails[0].value", json!("x"))]);
    let text_only = json!([{"path": "active", "value": "false"}]);
    let boolean = json!([replace("active", json!(false))]);
    let list_as_text = json!([{"path": "roles", "value": r#"[{"display":"Admin"}]"#}]);
    let no_path = json!([{"op": "replace", "value": {"active": false}}]);
    use Dialect::*;
    for (dialect, indexes, expected) in [
        (Rfc7644, false, [true, false, false, true, false, true]),
        (Rfc7644, true, [true, true, false, true, false, true]),
        (IndexedOnly, false, [false, true, false, true, false, true]),
        (CxoneStrings, false, [true, false, true, false, true, false]),
    ] {
        let all = [&by_filter, &by_index, &text_only, &boolean, &list_as_text, &no_path];
        let taken = all.map(|operations| run(dialect, indexes, operations.clone()).is_ok());
        assert_eq!(taken, expected, "{dialect:?} {indexes}");
    }
    let patched = run(CxoneStrings, false, text_only).unwrap();
    assert_eq!(patched["active"], false);
}
