use super::*;
use crate::domain::mapping::Expression;
use crate::domain::roles::{RoleRow, RoleTable};
use crate::domain::rules::{MatchKey, OnDelete, Owner, Rule, Side};
use crate::domain::scope::{Scope, ScopeRule};

fn group(n: u8) -> GroupId {
    GroupId::from_bytes([n; 16])
}

fn user(n: u8) -> UserId {
    UserId::from_bytes([n; 16])
}

fn rule(from: Option<&str>, owner: Owner) -> Rule {
    let from = from.map(|from| Expression::parse(from).unwrap());
    Rule { from, owner, tie: Side::Entra, create_only: false }
}

fn rules(rows: &[(u8, &str)]) -> Rules {
    let attributes = [
        (Attribute::UserName, rule(Some("[upn]"), Owner::Entra)),
        (Attribute::DisplayName, rule(Some("CDate([hired])"), Owner::Entra)),
        (Attribute::Roles, rule(None, Owner::Entra)),
    ];
    let row =
        |(n, role): &(u8, &str)| RoleRow { group: group(*n), role: (*role).to_owned(), privileged: false };
    Rules {
        attributes: attributes.into(),
        roles: RoleTable::new(rows.iter().map(row).collect()).unwrap(),
        scope: Scope::default(),
        matching: vec![MatchKey::UserName],
        create: true,
        on_delete: OnDelete::Deactivate,
        protected: Default::default(),
    }
}

#[track_caller]
fn check(rules: &Rules, facts: &Facts, expected: &[(&str, &str)]) {
    let found = of_rules(rules, facts);
    let codes: Vec<&str> = found.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, expected.iter().map(|(code, _)| *code).collect::<Vec<_>>());
    for (finding, (_, words)) in found.iter().zip(expected) {
        assert!(finding.sentence.contains(words), "{}", finding.sentence);
        assert!(!finding.todo.is_empty());
    }
}

#[test]
fn rules_that_mean_what_they_say_have_no_findings() {
    let facts = Facts { nested: [(group(1), [group(9)].into())].into(), ..Facts::default() };
    check(&rules(&[(1, "Agent"), (2, "Supervisor")]), &facts, &[]);
    let mut without_rows = rules(&[]);
    without_rows.attributes.insert(Attribute::Roles, rule(None, Owner::Cxone));
    check(&without_rows, &Facts::default(), &[]);
}

#[test]
fn rows_that_never_apply_are_found() {
    let mut owned = rules(&[(1, "Agent"), (2, "Supervisor")]);
    owned.attributes.insert(Attribute::Roles, rule(None, Owner::Cxone));
    check(&owned, &Facts::default(), &[("role_rows_without_effect", "2 rows")]);

    let mut excluded = rules(&[(1, "Agent"), (2, "Supervisor"), (3, "Lead")]);
    excluded.scope.exclude_groups = vec![group(1), group(4)];
    let facts = Facts { nested: [(group(4), [group(3)].into())].into(), ..Facts::default() };
    check(
        &excluded,
        &facts,
        &[
            ("role_row_excluded", "role \"Agent\""),
            (
                "role_row_excluded",
                "role \"Lead\", are all out of scope (scope.exclude_groups, by its place in group 0404",
            ),
        ],
    );
}

#[test]
fn a_group_that_is_gone_is_told_wherever_it_is_named() {
    let mut named = rules(&[(1, "Agent"), (2, "Supervisor")]);
    named.scope.groups = vec![group(1), group(3)];
    named.scope.exclude_groups = vec![group(4)];
    let facts = Facts { missing: [group(1), group(4)].into(), ..Facts::default() };
    check(
        &named,
        &facts,
        &[
            ("group_missing", "for role \"Agent\""),
            ("group_missing", "scope.groups names it"),
            ("group_missing", "scope.exclude_groups names it"),
        ],
    );
    assert_eq!(named.named_groups(), [group(1), group(2), group(3), group(4)].into());
}

#[test]
fn what_is_ambiguous_read_backwards_is_found() {
    let alike = rules(&[(1, "Team Lead"), (2, "teamlead"), (3, "Agent")]);
    check(&alike, &Facts::default(), &[("roles_alike", "\"Team Lead\"")]);
    let facts = Facts { nested: [(group(3), [group(1), group(7)].into())].into(), ..Facts::default() };
    let nested = rules(&[(1, "Team Lead"), (3, "Agent")]);
    check(&nested, &facts, &[("role_groups_nested", "members get both roles")]);
}

#[test]
fn a_property_that_cannot_be_read_is_told() {
    let facts =
        Facts { unreadable: [("manager".to_owned(), "is kept elsewhere")].into(), ..Facts::default() };
    check(&rules(&[]), &facts, &[("property_unreadable", "[manager]")]);
}

fn properties(upn: &str, hired: &str) -> BTreeMap<String, Value> {
    let of = |(name, value): (&str, &str)| (!value.is_empty()).then(|| (name.to_owned(), Value::text(value)));
    [("upn", upn), ("hired", hired)].into_iter().filter_map(of).collect()
}

/// Codes, numbers and users of what is found on these users.
fn on_users(rules: &Rules, users: &[(&str, &str)]) -> Vec<(&'static str, usize, Vec<UserId>)> {
    let mut on_users = OnUsers::default();
    for (n, (upn, hired)) in users.iter().enumerate() {
        on_users.add(rules, user(u8::try_from(n).unwrap()), &properties(upn, hired), |name| name != "unread");
    }
    let shown = |finding: Finding| (finding.code, finding.n_users, finding.users);
    on_users.findings().into_iter().map(shown).collect()
}

#[test]
fn each_fault_of_an_expression_is_told_once_with_some_users() {
    let good = ("ana@example.com", "2026-01-01");
    assert_eq!(on_users(&rules(&[]), &[good, good]), []);
    let (fails, unfit, nothing) = (("a@b", "soon"), ("a\u{202e}@b", ""), ("", ""));
    assert_eq!(
        on_users(&rules(&[]), &[good, fails, unfit, nothing]),
        [
            ("value_unfit", 1, vec![user(2)]),
            ("required_empty", 1, vec![user(3)]),
            ("mapping_fails", 1, vec![user(1)]),
        ]
    );
    let many: Vec<_> = (0..7).map(|_| fails).collect();
    assert_eq!(on_users(&rules(&[]), &many), [("mapping_fails", 7, (0..5).map(user).collect())]);
}

#[test]
fn who_is_out_of_scope_and_what_was_not_read_is_left_out() {
    let mut scoped = rules(&[]);
    let text = "[hired] <> \"never\"".to_owned();
    scoped.scope.rules = vec![ScopeRule { condition: Expression::parse(&text).unwrap(), text }];
    assert_eq!(on_users(&scoped, &[("", "never")]), []);
    assert_eq!(on_users(&scoped, &[("", "2026-01-01")]), [("required_empty", 1, vec![user(0)])]);
    let mut unread = rules(&[]);
    unread.attributes.insert(Attribute::UserName, rule(Some("[unread]"), Owner::Entra));
    assert_eq!(on_users(&unread, &[("", "")]), []);
}

#[test]
fn a_rule_of_the_scope_that_fails_is_told() {
    let mut scoped = rules(&[]);
    let text = "[hired]".to_owned();
    scoped.scope.rules = vec![ScopeRule { condition: Expression::parse(&text).unwrap(), text }];
    let found = on_users(&scoped, &[("a@b", "2026-01-01")]);
    assert_eq!(found, [("scope_rule_fails", 1, vec![user(0)])]);
}
