use super::*;
use crate::domain::user::{UserId, Value};

fn group(n: u8) -> GroupId {
    GroupId::from_bytes([n; 16])
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn ana() -> SourceUser {
    let properties = [("department".to_owned(), Value::text("Sales"))];
    SourceUser { id: UserId::from_bytes([1; 16]), enabled: true, properties: properties.into() }
}

fn rule(text: &str) -> ScopeRule {
    ScopeRule { text: text.to_owned(), condition: Expression::parse(text).unwrap() }
}

fn scope(groups: &[u8], exclude: &[u8], rules: &[&str]) -> Scope {
    let of = |groups: &[u8]| groups.iter().map(|n| group(*n)).collect();
    Scope {
        groups: of(groups),
        exclude_groups: of(exclude),
        rules: rules.iter().map(|text| rule(text)).collect(),
    }
}

fn judged(scope: &Scope, groups: &[u8], read_at: Option<i64>) -> InScope {
    let groups = groups.iter().map(|n| group(*n)).collect();
    let scope_read_at = read_at.map(at);
    scope.of(&ana(), &Membership { groups, scope_read_at, ..Membership::default() }, at(9))
}

/// In short: `yes`, `unknown`, or the rule that says no with the second of the reading it rests on.
#[track_caller]
fn check(scope: &Scope, groups: &[u8], expected: &str) {
    let got = match judged(scope, groups, Some(5)) {
        InScope::Yes => "yes".to_owned(),
        InScope::Unknown(_) => "unknown".to_owned(),
        InScope::No(sighting) => {
            format!("{} at {}", sighting.rule(), sighting.seen_at().as_second() - 1_800_000_000)
        }
    };
    assert_eq!(got, expected);
}

#[test]
fn everybody_is_in_a_scope_that_says_nothing() {
    assert_eq!(judged(&Scope::default(), &[], None), InScope::Yes);
}

#[test]
fn groups_let_in_and_excluded_groups_keep_out() {
    let no_group = "in none of scope.groups at 5";
    let excluded = format!("in scope.exclude_groups: {} at 5", group(3));
    let both = scope(&[1, 2], &[3], &[]);
    check(&both, &[2], "yes");
    check(&both, &[9], no_group);
    check(&both, &[1, 3], &excluded);
    check(&scope(&[1], &[], &[]), &[], no_group);
    check(&scope(&[], &[3], &[]), &[], "yes");
    check(&scope(&[], &[3], &[]), &[3], &excluded);
}

#[test]
fn every_rule_must_be_true_of_the_user_as_read() {
    let (sales, named) = (r#"[department] = "Sales""#, "IsPresent([employeeId])");
    check(&scope(&[], &[], &[sales]), &[], "yes");
    check(&scope(&[], &[], &[sales, named]), &[], &format!("scope.rules: {named} at 9"));
    check(&scope(&[1], &[], &[named]), &[], "in none of scope.groups at 5");
    check(&scope(&[], &[], &["CInt([department]) > 1"]), &[], "unknown");
}

#[test]
fn nothing_is_concluded_before_the_groups_have_all_been_read() {
    for scope in [scope(&[1], &[], &[]), scope(&[], &[3], &[])] {
        assert!(scope.needs_groups());
        let told = judged(&scope, &[1], None);
        assert!(matches!(&told, InScope::Unknown(why) if why.contains("groups")), "{told:?}");
    }
    let by_rule = scope(&[], &[], &["IsPresent([mail])"]);
    assert!(!by_rule.needs_groups());
    assert!(matches!(judged(&by_rule, &[], None), InScope::No(_)), "the groups do not matter here");
}

#[test]
fn every_group_it_names_is_to_be_read() {
    assert_eq!(scope(&[1, 2], &[2, 3], &[]).named_groups(), [group(1), group(2), group(3)].into());
}

#[test]
fn another_scope_has_another_name() {
    let all = [
        scope(&[], &[], &[]),
        scope(&[1], &[], &[]),
        scope(&[2], &[], &[]),
        scope(&[], &[1], &[]),
        scope(&[], &[], &["IsPresent([mail])"]),
    ];
    let names: std::collections::BTreeSet<String> = all.iter().map(Scope::digest).collect();
    assert_eq!(names.len(), all.len());
    assert_eq!(all[1].digest(), scope(&[1], &[], &[]).digest());
}
