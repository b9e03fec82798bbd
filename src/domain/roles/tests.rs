use super::*;

fn group(n: u128) -> GroupId {
    GroupId::from_bytes(n.to_be_bytes())
}

fn row(n: u128, role: &str) -> RoleRow {
    RoleRow { group: group(n), role: role.to_owned(), privileged: false }
}

#[test]
fn a_table_that_is_not_one_to_one_is_refused() {
    let twice = RoleTable::new(vec![row(1, "agent"), row(1, "admin")]);
    assert!(matches!(twice, Err(RoleTableError::GroupTwice { .. })), "{twice:?}");
    let twice = RoleTable::new(vec![row(1, "agent"), row(2, "agent")]);
    assert!(matches!(twice, Err(RoleTableError::RoleTwice { .. })), "{twice:?}");
}

#[test]
fn roles_outside_the_table_are_never_touched() {
    let table = RoleTable::new(vec![row(1, "agent"), row(2, "supervisor")]).unwrap();
    let membership =
        Membership { groups: [group(2), group(9)].into(), complete: true, ..Membership::default() };
    let held = ["agent".to_owned(), "by hand".to_owned()];
    assert_eq!(table.desired(&membership, &held), ["by hand".to_owned(), "supervisor".to_owned()].into());
}

#[test]
fn the_table_reads_backwards() {
    let table = RoleTable::new(vec![row(1, "agent")]).unwrap();
    assert_eq!(table.group_of("agent"), Some(group(1)));
    assert_eq!(table.group_of("admin"), None);
}

#[test]
fn every_row_is_judged_by_membership_and_by_what_is_held() {
    let row = row(1, "agent");
    let judge = |member: bool, complete, held: &[&str]| {
        let groups = if member { [group(1)].into() } else { [group(2)].into() };
        let held: Vec<String> = held.iter().map(|role| (*role).to_owned()).collect();
        row.judge(&Membership { groups, complete, ..Membership::default() }, &held)
    };
    for complete in [true, false] {
        assert_eq!(judge(true, complete, &["agent"]), RowCode::Given);
        assert_eq!(judge(true, complete, &["by hand"]), RowCode::ToBeGiven);
    }
    assert_eq!(judge(false, true, &["agent", "by hand"]), RowCode::ToBeTaken);
    assert_eq!(judge(false, true, &["by hand"]), RowCode::NotAMember);
    for held in [&["agent"] as &[&str], &[]] {
        assert_eq!(judge(false, false, held), RowCode::GroupsUnread, "absence means nothing yet");
    }
}

#[test]
fn every_judgement_has_a_code_of_its_own() {
    for code in RowCode::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.code());
    }
}

#[test]
fn only_a_role_that_is_marked_is_privileged() {
    let rows = vec![RoleRow { privileged: true, ..row(1, "admin") }, row(2, "agent")];
    let table = RoleTable::new(rows.clone()).unwrap();
    assert_eq!(table.rows(), rows);
    let privileged = ["admin", "agent", "by hand"].map(|role| table.is_privileged(role));
    assert_eq!(privileged, [true, false, false]);
}

#[test]
fn an_earlier_word_is_read_with_the_roles_that_are_held_now() {
    let table = RoleTable::new(vec![row(1, "agent"), row(2, "supervisor")]).unwrap();
    let list = |roles: &[&str]| Value::List(roles.iter().map(|role| (*role).to_owned()).collect());
    let rebased = table.rebased(Some(&list(&["agent", "old"])), Some(&list(&["new", "supervisor"])));
    assert_eq!(rebased, list(&["agent", "new"]));
}
