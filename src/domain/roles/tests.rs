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
    let membership = Membership { groups: [group(2), group(9)].into(), complete: true, read_at: None };
    let held = ["agent".to_owned(), "by hand".to_owned()];
    assert_eq!(table.desired(&membership, &held), ["by hand".to_owned(), "supervisor".to_owned()].into());
}

#[test]
fn the_table_reads_backwards() {
    let table = RoleTable::new(vec![row(1, "agent")]).unwrap();
    assert_eq!(table.group_of("agent"), Some(group(1)));
    assert_eq!(table.group_of("admin"), None);
}
