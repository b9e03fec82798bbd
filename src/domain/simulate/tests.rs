use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::domain::evidence::{Evidence, RemovedReason};
use crate::domain::guard::Budget;
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

fn rule(from: Option<&str>) -> Rule {
    let from = from.map(|from| Expression::parse(from).unwrap());
    Rule { from, owner: Owner::Entra, tie: Side::Entra, create_only: false }
}

fn row(n: u8, role: &str) -> RoleRow {
    RoleRow { group: group(n), role: role.to_owned(), privileged: role == "Admin" }
}

fn rules() -> Rules {
    let attributes = [
        (Attribute::UserName, rule(Some("[upn]"))),
        (Attribute::GivenName, rule(Some("[givenName]"))),
        (Attribute::FamilyName, rule(Some("[surname]"))),
        (Attribute::DisplayName, rule(Some("[displayName]"))),
        (Attribute::Emails, rule(Some("[mail]"))),
        (Attribute::Active, rule(None)),
        (Attribute::Roles, rule(None)),
    ];
    Rules {
        attributes: attributes.into(),
        roles: RoleTable::new(vec![row(1, "Agent"), row(2, "Supervisor")]).unwrap(),
        scope: Scope::default(),
        matching: vec![MatchKey::UserName],
        create: true,
        on_delete: OnDelete::Deactivate,
        protected: Default::default(),
    }
}

const PROPERTIES: [(&str, &str); 5] = [
    ("upn", "ana@example.com"),
    ("mail", "ana@example.com"),
    ("givenName", "Ana"),
    ("surname", "Martin"),
    ("displayName", "Ana Martin"),
];

/// Ana, in the first group, as the rules have settled her.
fn ana() -> SeenState {
    let text = |(name, value): (&str, &str)| (name.to_owned(), Value::text(value));
    let mut state = SeenState {
        at: Timestamp::UNIX_EPOCH,
        enabled: true,
        properties: PROPERTIES.into_iter().map(text).collect(),
        unset: ["department".to_owned()].into(),
        groups: [group(1)].into(),
        complete: true,
        scope_read: None,
        gone: None,
        target: None,
        scim_id: None,
    };
    let plan = decided(&rules(), user(7), &state, None, &[]);
    state.target = apply(&plan, None, &ScimId(String::new())).map(|target| target.attributes);
    state.scim_id = Some(ScimId("cx-1".to_owned()));
    state
}

fn told(new: &Rules, state: &SeenState) -> Vec<String> {
    let kept = [group(1), group(2), group(3)].into();
    let trial = Trial { present: &rules(), new, kept: &kept };
    let told = |difference: Difference| difference.sentence(1);
    trial.differences(user(7), state, None).into_iter().map(told).collect()
}

/// What other rules make of a state.
#[track_caller]
fn check(state: &SeenState, change: impl FnOnce(&mut Rules), expected: &[&str]) {
    let mut new = rules();
    change(&mut new);
    assert_eq!(told(&new, state), expected);
}

fn only(groups: &[u8]) -> impl FnOnce(&mut Rules) {
    let groups = groups.iter().map(|n| group(*n)).collect();
    move |rules| rules.scope.groups = groups
}

fn mapped(attribute: Attribute, from: &str) -> impl FnOnce(&mut Rules) {
    let rule = rule(Some(from));
    move |rules| drop(rules.attributes.insert(attribute, rule))
}

fn table(rows: Vec<RoleRow>) -> impl FnOnce(&mut Rules) {
    move |rules| rules.roles = RoleTable::new(rows).unwrap()
}

fn scope_rule(text: &str) -> impl FnOnce(&mut Rules) {
    let rule = ScopeRule { text: text.to_owned(), condition: Expression::parse(text).unwrap() };
    move |rules| rules.scope.rules = vec![rule]
}

#[test]
fn the_same_rules_make_no_difference() {
    let joiner = SeenState { target: None, scim_id: None, ..ana() };
    let leaver = SeenState { enabled: false, ..ana() };
    let gone = SeenState { gone: Some(Evidence::removed_in_delta(RemovedReason::Changed)), ..ana() };
    for state in [ana(), joiner, leaver, gone] {
        check(&state, |_| {}, &[]);
    }
}

#[test]
fn whoever_a_narrower_scope_leaves_out_is_deactivated() {
    check(&ana(), only(&[1]), &[]);
    check(&ana(), only(&[2]), &["1 deactivated"]);
    check(&ana(), |rules| rules.scope.exclude_groups = vec![group(1)], &["1 deactivated"]);
    check(&ana(), scope_rule("IsPresent([department])"), &["1 deactivated"]);
    let unlinked = SeenState { target: None, scim_id: None, ..ana() };
    check(&unlinked, only(&[2]), &["1 not created any more"]);
}

#[test]
fn wider_rules_bring_people_back() {
    let mut present = rules();
    present.scope.groups = vec![group(2)];
    let kept = [group(1), group(2)].into();
    let told = |state: &SeenState| {
        let trial = Trial { present: &present, new: &rules(), kept: &kept };
        let told = trial.differences(user(7), state, None);
        told.into_iter().map(|difference| difference.sentence(1)).collect::<Vec<_>>()
    };
    let mut inactive = ana();
    inactive.target.as_mut().unwrap().insert(Attribute::Active, Value::Flag(false));
    assert_eq!(told(&inactive), ["1 reactivated"]);
    assert_eq!(told(&ana()), ["1 not deactivated any more"]);
    assert_eq!(told(&SeenState { target: None, scim_id: None, ..ana() }), ["1 created"]);
}

#[test]
fn each_role_and_attribute_is_told_by_itself() {
    check(&ana(), table(vec![row(1, "Lead"), row(2, "Supervisor")]), &["+1 gain role Lead"]);
    check(&ana(), table(vec![row(2, "Agent")]), &["-1 lose role Agent"]);
    check(&ana(), table(vec![row(2, "Agent"), row(1, "Lead")]), &["-1 lose role Agent", "+1 gain role Lead"]);
    check(&ana(), mapped(Attribute::DisplayName, "[surname]"), &["1 get another displayName"]);
    // Only the case differs, and the target ignores it.
    check(&ana(), mapped(Attribute::Emails, "ToUpper([mail])"), &[]);
    check(&ana(), |rules| rules.create = false, &[]);
}

#[test]
fn what_the_present_rules_are_about_to_do_counts() {
    let moved = SeenState { groups: [group(2)].into(), ..ana() };
    check(
        &moved,
        table(vec![row(1, "Agent"), row(2, "Lead")]),
        &["+1 gain role Lead", "1 not given role Supervisor any more"],
    );
    check(&moved, table(vec![row(2, "Supervisor")]), &["1 keep role Agent"]);
}

#[test]
fn a_mapping_that_fails_parks() {
    check(&ana(), mapped(Attribute::DisplayName, "CDate([surname])"), &["1 parked (mapping_failed)"]);
    let joiner = SeenState { target: None, scim_id: None, ..ana() };
    check(&joiner, mapped(Attribute::Emails, "[department]"), &["1 parked (required_missing)"]);
}

#[test]
fn of_a_group_that_is_not_kept_only_what_is_the_same_either_way_is_told() {
    let nine = format!("1 cannot be told (group {} is not kept yet)", group(9));
    check(&ana(), only(&[9]), &[&nine]);
    check(&ana(), only(&[1, 9]), &[]);
    check(&ana(), |rules| rules.scope.exclude_groups = vec![group(9)], &[&nine]);
    let new_row = |rules: &mut Rules| {
        rules.roles = RoleTable::new(vec![row(1, "Agent"), row(9, "Lead")]).unwrap();
        mapped(Attribute::DisplayName, "[surname]")(rules);
    };
    check(&ana(), new_row, &["1 get another displayName", &nine]);
}

#[test]
fn of_a_property_that_was_not_read_nothing_is_told() {
    let city = "1 cannot be told (city was not read)";
    check(&ana(), mapped(Attribute::DisplayName, "[city]"), &[city]);
    check(&ana(), scope_rule("IsPresent([city])"), &[city]);
    check(&ana(), mapped(Attribute::Emails, "[city]"), &[city]);
    // It was read, and not set.
    check(&ana(), mapped(Attribute::DisplayName, "[department]"), &["1 get another displayName"]);
    let gone = SeenState { gone: Some(Evidence::removed_in_delta(RemovedReason::Changed)), ..ana() };
    check(&gone, mapped(Attribute::DisplayName, "[city]"), &[]);
}

#[test]
fn while_groups_were_unread_nothing_is_told_of_scope_and_roles() {
    let unread = SeenState { complete: false, ..ana() };
    let groups = "1 cannot be told (not all groups had been read)";
    check(&unread, only(&[2]), &[groups]);
    check(&unread, mapped(Attribute::DisplayName, "[surname]"), &["1 get another displayName", groups]);
}

#[test]
fn a_role_group_that_was_unread_says_nothing_against_the_scope() {
    let mut present = rules();
    only(&[1, 2])(&mut present);
    let told = |new: &Rules, state: &SeenState| {
        let kept = [group(1), group(2), group(3)].into();
        let trial = Trial { present: &present, new, kept: &kept };
        trial.differences(user(7), state, None).iter().map(|it| it.sentence(1)).collect::<Vec<_>>()
    };
    let narrowed = |groups: &[u8]| {
        let mut new = rules();
        only(groups)(&mut new);
        new
    };
    let groups = "1 cannot be told (not all groups had been read)";
    let state = SeenState { complete: false, scope_read: Some(present.scope.digest()), ..ana() };
    assert_eq!(told(&narrowed(&[2]), &state), ["1 deactivated", groups], "of the scope in force it is known");
    assert_eq!(told(&narrowed(&[3]), &state), [groups], "of another group it is not");
    let unread = SeenState { scope_read: Some(rules().scope.digest()), ..state };
    assert_eq!(told(&narrowed(&[2]), &unread), [groups]);
}

#[test]
fn a_user_counts_once_for_each_difference_in_however_many_states() {
    let mut new = rules();
    only(&[2])(&mut new);
    new.roles = RoleTable::new(vec![row(1, "Agent"), row(2, "Admin")]).unwrap();
    let kept = [group(1), group(2)].into();
    let trial = Trial { present: &rules(), new: &new, kept: &kept };
    let later = |seconds| SeenState { at: Timestamp::from_second(seconds).unwrap(), ..ana() };
    let moved = SeenState { groups: [group(1), group(2)].into(), ..later(2000) };
    let mut effect = Effect::default();
    effect.add(&trial, user(1), &[ana(), later(1000), moved], None);
    effect.add(&trial, user(2), &[ana()], None);
    assert_eq!(effect.summary(), "2 deactivated, +1 gain role Admin, 1 not given role Supervisor any more");
    assert_eq!((effect.n_users, effect.n_states), (2, 4));
    let at_once = effect.at_once(&new);
    let counted = Guarded::ALL.map(|guarded| at_once.of(guarded));
    assert_eq!(counted, [2, 0, 1]);
    assert_eq!(Effect::default().summary(), "nothing differs");
}

#[test]
fn what_was_so_for_a_moment_turns_nobody_off() {
    let mut new = rules();
    only(&[2])(&mut new);
    let kept = [group(1), group(2)].into();
    let trial = Trial { present: &rules(), new: &new, kept: &kept };
    let back_after = |seconds| {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let mut effect = Effect::default();
        let inside = SeenState { at, groups: [group(2)].into(), ..ana() };
        let unread = SeenState { complete: false, ..ana() };
        effect.add(&trial, user(1), &[ana(), inside.clone()], None);
        effect.add(&trial, user(2), &[unread, inside], None);
        effect.summary()
    };
    assert_eq!(back_after(299), "nothing differs");
    assert_eq!(back_after(300), "1 deactivated, 1 cannot be told (not all groups had been read)");
}

#[test]
fn all_of_it_at_once_meets_the_budget_of_its_kind() {
    let over = |guarded, n, budget: Budget| {
        let mut at_once = Spend::default();
        at_once.add(guarded, n);
        let mut budgets = Budgets::default();
        match guarded {
            Guarded::Deactivations => budgets.deactivations = budget,
            Guarded::RoleRemovals => budgets.role_removals = budget,
            Guarded::PrivilegedGrants => budgets.privileged_grants = budget,
        }
        exceeded(&budgets, &at_once, 100)
    };
    for guarded in Guarded::ALL {
        let hourly = || Budget { per_hour: Some(3), ..Budget::default() };
        assert_eq!(over(guarded, 3, hourly()), [""; 0]);
        let expected = format!("4 {guarded} at once are more than guard.{guarded} lets through");
        assert_eq!(over(guarded, 4, hourly()), [expected]);
        let nothing_at_all = || Budget { per_day: Some(0), ..Budget::default() };
        assert_eq!(over(guarded, 0, nothing_at_all()), [""; 0]);
        assert_eq!(over(guarded, 1, nothing_at_all()).len(), 1);
        let percent = || Budget { percent_per_day: Some(5.0), ..Budget::default() };
        assert_eq!(over(guarded, 5, percent()), [""; 0]);
        assert_eq!(over(guarded, 6, percent()).len(), 1);
    }
}
