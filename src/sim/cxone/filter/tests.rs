use serde_json::json;

use super::*;

fn user() -> Map<String, Value> {
    let user = json!({
        "id": "A1",
        "externalId": "Ext",
        "userName": "Ana@Example.com",
        "name": {"givenName": "Ana", "familyName": "O\"Brien\\"},
        "displayName": "",
        "active": true,
        "emails": [
            {"type": "work", "value": "ana@work.com", "primary": true},
            {"type": "home", "value": "ana@home.com"},
        ],
        "urn:ietf:params:scim:schemas:extension:nice:2.0:User": {"team": {"display": "Care"}},
    });
    user.as_object().unwrap().clone()
}

#[test]
fn filters_find_whom_they_describe() {
    for (filter, expected) in [
        (r#"userName eq "ana@example.COM""#, true),
        (r#"USERNAME EQ "ana@example.com""#, true),
        (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName eq "ana@example.com""#, true),
        (r#"userName eq "ana""#, false),
        (r#"userName ne "ana""#, true),
        (r#"userName co "EXAMPLE""#, true),
        (r#"userName sw "ana@""#, true),
        (r#"userName sw "na@""#, false),
        (r#"userName ew ".com""#, true),
        (r#"externalId eq "Ext""#, true),
        (r#"externalId eq "ext""#, false),
        (r#"id eq "A1""#, true),
        (r#"id eq "a1""#, false),
        (r#"name.familyName eq "o\"brien\\""#, true),
        ("active eq true", true),
        ("active eq false", false),
        (r#"active eq "true""#, false),
        ("locale pr", false),
        ("displayName pr", false),
        ("emails pr", true),
        ("externalId eq null", false),
        ("locale eq null", true),
        (r#"emails eq "ANA@home.com""#, true),
        (r#"emails.value eq "ana@home.com""#, true),
        (r#"emails.type eq "work" and emails.value eq "ana@home.com""#, true),
        (r#"emails[type eq "work" and value eq "ana@home.com"]"#, false),
        (r#"emails[type eq "home" and value eq "ana@home.com"]"#, true),
        (r#"emails[value eq "]"]"#, false),
        (r#"emails[not (type eq "work")]"#, true),
        (r#"urn:ietf:params:scim:schemas:extension:nice:2.0:User:team.display eq "care""#, true),
        // `and` binds more than `or`, and parentheses more than both.
        (r#"active eq true or active eq true and locale pr"#, true),
        (r#"(active eq true or active eq true) and locale pr"#, false),
        (r#"not (active eq false)"#, true),
        (r#"NOT (active eq true) OR userName pr"#, true),
        (r#"userName gt "a" and userName lt "b""#, true),
    ] {
        let parsed = parse(filter).unwrap_or_else(|why| panic!("{filter}: {why}"));
        assert_eq!(parsed.matches(&user()), expected, "{filter}");
    }
}

#[test]
fn what_is_no_filter_is_refused() {
    for filter in [
        "",
        "userName",
        "userName eq",
        "userName eq ana",
        "userName eq 'ana'",
        r#"userName is "ana""#,
        r#"userName eq"ana""#,
        r#"shoeSize eq "38""#,
        r#"userName eq "a" and"#,
        r#"userName eq "a" userName eq "b""#,
        r#"(userName eq "a""#,
        r#"userName eq "a")"#,
        r#"not userName eq "a""#,
        "active gt true",
        r#"emails[type eq "work"].value eq "x""#,
        r#"emails[type eq "work""#,
        r#"emails[emails[type eq "work"]]"#,
        r#"userName[type eq "work"]"#,
        r#"name.first.second eq "a""#,
        r#"urn:other:User:userName eq "a""#,
        r#"userName eq ["a"]"#,
        r#"userName eq "open"#,
        &format!("{}active eq true{}", "(".repeat(64), ")".repeat(64)),
    ] {
        assert!(parse(filter).is_err(), "{filter}");
    }
}
