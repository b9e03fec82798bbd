use super::*;

fn object() -> Object {
    serde_json::from_str(include_str!("../../../fixtures/graph/user.json")).unwrap()
}

fn selection(name: &str) -> Selection {
    Selection::new(&BTreeSet::from([name.to_owned()]))
}

#[track_caller]
fn check(name: &str, query: &str, value: Option<Value>) {
    let selection = selection(name);
    assert_eq!(selection.query(), format!("$select={query}"), "{name}");
    let user = selection.read("read a user", &object(), None).unwrap();
    assert_eq!(user.properties.get(name), value.as_ref(), "{name}");
    assert_eq!(user.properties.len(), usize::from(value.is_some()), "{name}");
}

#[test]
fn names_of_the_portal_and_of_graph_are_both_understood() {
    let text = |text: &str| Some(Value::text(text));
    check("mail", "accountEnabled,id,mail", text("ana@example.com"));
    check("MAIL", "accountEnabled,id,mail", text("ana@example.com"));
    check("objectId", "accountEnabled,id", text("3F0C2A9E-1111-4222-8333-444455556666"));
    check("mobile", "accountEnabled,id,mobilePhone", None);
    check("telephoneNumber", "accountEnabled,businessPhones,id", text("+351 210 000 001"));
    check("physicalDeliveryOfficeName", "accountEnabled,id,officeLocation", text("Lisboa 3"));
    check("officeLocation", "accountEnabled,id,officeLocation", text("Lisboa 3"));
    check("extensionAttribute1", "accountEnabled,id,onPremisesExtensionAttributes", text("agent"));
    check("extensionAttribute2", "accountEnabled,id,onPremisesExtensionAttributes", None);
    check(
        "onPremisesExtensionAttributes.extensionAttribute1",
        "accountEnabled,id,onPremisesExtensionAttributes",
        text("agent"),
    );
    check("employeeOrgData.CostCenter", "accountEnabled,employeeOrgData,id", text("4711"));
    check(
        "extension_0123456789abcdef0123456789abcdef_team",
        "accountEnabled,extension_0123456789abcdef0123456789abcdef_team,id",
        text("Blue"),
    );
    check("employeeHireDate", "accountEnabled,employeeHireDate,id", text("2024-03-01T00:00:00Z"));
    check("mailNickname", "accountEnabled,id,mailNickname", text("ana"));
    check("accountEnabled", "accountEnabled,id", Some(Value::Flag(true)));
    check("IsSoftDeleted", "accountEnabled,id", text("False"));
    check("isSoftDeleted", "accountEnabled,id", text("False"));
}

#[test]
fn null_empty_and_missing_are_not_there() {
    check("jobTitle", "accountEnabled,id,jobTitle", None);
    check("mobilePhone", "accountEnabled,id,mobilePhone", None);
    check("otherMails", "accountEnabled,id,otherMails", None);
    check("department", "accountEnabled,department,id", None);
    check("employeeOrgData", "accountEnabled,employeeOrgData,id", None);
}

#[test]
fn a_disabled_account_is_soft_deleted_to_a_mapping() {
    let mut object = object();
    object.insert("accountEnabled".to_owned(), Json::Bool(false));
    let user = selection("IsSoftDeleted").read("read a user", &object, None).unwrap();
    assert!(!user.enabled);
    assert_eq!(user.properties["IsSoftDeleted"], Value::text("True"));
}

#[test]
fn names_that_would_spoil_every_read_are_left_out() {
    for name in [
        "signInActivity",
        "SignInActivity.lastSignInDateTime",
        "manager",
        "skills",
        "a,b",
        "a&b",
        "",
        "a..b",
        "$count",
    ] {
        assert!(cannot_be_read(name).is_some(), "{name}");
        assert_eq!(selection(name).query(), "$select=accountEnabled,id", "{name}");
    }
    for name in ["mail", "extensionAttribute15", "extension_00_x", "employeeOrgData.division"] {
        assert_eq!(cannot_be_read(name), None, "{name}");
    }
}

#[test]
fn the_known_names_are_sorted_and_each_there_once() {
    for table in [KNOWN.as_slice(), ELSEWHERE.as_slice()] {
        assert!(table.is_sorted_by(|a, b| a < b), "{table:?}");
    }
    for (_, property) in ALIASES.iter().chain(&FIRST) {
        assert!(KNOWN.contains(property), "{property}");
    }
}
