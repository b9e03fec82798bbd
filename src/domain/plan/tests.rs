mod operators;

use super::*;
use crate::domain::link::Normalised;
use crate::domain::mapping::Expression;
use crate::domain::roles::{RoleRow, RoleTable};
use crate::domain::rules::{Protected, Rule, Side};
use crate::domain::scope::{Scope, ScopeRule};
use crate::domain::user::GroupId;

mod guarded;
mod promises;
mod properties;
mod taken_back;
mod world;

fn expression(text: &str) -> Expression {
    Expression::parse(text).unwrap()
}

fn rule(from: Option<&str>, owner: Owner) -> Rule {
    Rule { from: from.map(expression), owner, tie: Side::Entra, create_only: false }
}

fn group(n: u8) -> GroupId {
    GroupId::from_bytes([n; 16])
}

fn rules() -> Rules {
    let attributes = [
        (Attribute::UserName, rule(Some("[userPrincipalName]"), Owner::Entra)),
        (Attribute::Emails, rule(Some("Coalesce([mail], [userPrincipalName])"), Owner::Entra)),
        (Attribute::GivenName, rule(Some("[givenName]"), Owner::Entra)),
        (Attribute::FamilyName, rule(Some("[surname]"), Owner::Entra)),
        (Attribute::DisplayName, rule(Some("[displayName]"), Owner::Newest)),
        (Attribute::PhoneNumbers, rule(Some("[mobilePhone]"), Owner::Hold)),
        (Attribute::ExternalId, Rule { create_only: true, ..rule(Some("[objectId]"), Owner::Entra) }),
        (Attribute::Active, rule(None, Owner::Entra)),
        (Attribute::Roles, rule(None, Owner::Entra)),
    ];
    let row = |n, role: &str| RoleRow { group: group(n), role: role.to_owned(), privileged: false };
    Rules {
        attributes: attributes.into(),
        roles: RoleTable::new(vec![row(1, "agent"), row(2, "supervisor")]).unwrap(),
        scope: Scope::default(),
        matching: vec![MatchKey::UserName],
        create: true,
        on_delete: OnDelete::Deactivate,
        protected: Protected::default(),
    }
}

fn ana() -> SourceUser {
    let properties = [
        ("userPrincipalName", "ana@example.com"),
        ("givenName", "Ana"),
        ("surname", "Martin"),
        ("displayName", "Ana Martin"),
        ("objectId", "07070707-0707-0707-0707-070707070707"),
    ];
    let properties =
        properties.into_iter().map(|(name, value)| (name.to_owned(), Value::text(value))).collect();
    SourceUser { id: UserId::from_bytes([7; 16]), enabled: true, properties }
}

fn everywhere() -> Membership {
    read_at(&[1], 300)
}

/// In these groups, all of which were read then.
fn read_at(groups: &[u8], second: i64) -> Membership {
    let groups = groups.iter().map(|n| group(*n)).collect();
    Membership { groups, complete: true, read_at: Some(at(second)), scope_read_at: Some(at(second)) }
}

/// In no group, as far as those read say.
fn unread() -> Membership {
    Membership { complete: false, scope_read_at: None, ..read_at(&[], 300) }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// Decides where no operator has a word in it; out of scope since five minutes before [`everywhere`].
fn decide(
    rules: &Rules,
    source: &Source,
    membership: &Membership,
    target: &Target,
    link: Option<&Link>,
) -> Plan {
    let revert = BTreeSet::new();
    super::decide(rules, &inputs(source, membership, target, link, &[], &revert))
}

fn inputs<'a>(
    source: &'a Source,
    membership: &'a Membership,
    target: &'a Target,
    link: Option<&'a Link>,
    restraints: &'a [Restraint],
    revert: &'a BTreeSet<Attribute>,
) -> Inputs<'a> {
    Inputs {
        user: UserId::from_bytes([7; 16]),
        source,
        membership,
        target,
        link,
        restraints,
        revert,
        out_of_scope_since: Some(at(0)),
        now: at(300),
    }
}

fn scim_id() -> ScimId {
    ScimId("cx-1".to_owned())
}

/// Ana as `rules` would have made her.
fn ana_there() -> TargetUser {
    let plan = decide(&rules(), &Source::Present(ana()), &everywhere(), &Target::Absent, None);
    apply(&plan, None, &scim_id()).expect("a joiner is created")
}

fn link_to(shown: &TargetUser, plan: &Plan, old: Option<&Link>) -> Link {
    Link {
        scim_id: shown.id.clone(),
        baseline: plan.settled_baseline(old, &shown.attributes),
        confirmed_at: jiff::Timestamp::UNIX_EPOCH,
        source_fingerprint: None,
        deactivated_by_us: false,
        source_gone: false,
        purged: false,
        returned_at: None,
        normalised: BTreeMap::new(),
    }
}

fn linked() -> Link {
    let target = ana_there();
    let plan = decide(&rules(), &Source::Present(ana()), &everywhere(), &Target::Found(target.clone()), None);
    link_to(&target, &plan, None)
}

/// Shows a plan as an operator reads it.
fn shown(plan: &Plan) -> String {
    let changes: Vec<String> = plan
        .changes()
        .iter()
        .map(|change| {
            let side = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
            format!("{}: {} > {}", change.attribute, side(&change.before), side(&change.after))
        })
        .collect();
    format!("{} | {}", plan.reason.code(), changes.join("; "))
}

#[track_caller]
fn check(name: &str, source: Source, target: Target, link: Option<&Link>, expected: &str) {
    let plan = decide(&rules(), &source, &everywhere(), &target, link);
    assert_eq!(shown(&plan), expected, "{name}");
}

#[test]
fn each_situation_has_its_plan() {
    let present = || Source::Present(ana());
    let disabled = || Source::Present(SourceUser { enabled: false, ..ana() });
    let renamed = || {
        let mut user = ana();
        user.properties.insert("surname".to_owned(), Value::text("Silva"));
        Source::Present(user)
    };
    let gone = || Source::Gone(Evidence::removed_in_delta(crate::domain::evidence::RemovedReason::Changed));
    let there = || Target::Found(ana_there());
    let inactive = || {
        let mut user = ana_there();
        user.attributes.insert(Attribute::Active, Value::Flag(false));
        Target::Found(user)
    };
    let link = linked();

    check(
        "a joiner",
        present(),
        Target::Absent,
        None,
        "joiner | userName: - > ana@example.com; externalId: - > 07070707-0707-0707-0707-070707070707; givenName: - > Ana; familyName: - > Martin; displayName: - > Ana Martin; emails: - > ana@example.com; active: - > true; roles: - > agent",
    );
    check("nothing differs", present(), there(), Some(&link), "in_sync | ");
    check("a new name", renamed(), there(), Some(&link), "differs | familyName: Martin > Silva");
    check("disabled", disabled(), there(), Some(&link), "leaver | active: true > false");
    check("disabled, found by match", disabled(), there(), None, "leaver | active: true > false");
    check("disabled, never there", disabled(), Target::Absent, None, "nothing_to_leave | ");
    check("deleted", gone(), there(), Some(&link), "leaver | active: true > false");
    check("deleted, inactive already", gone(), inactive(), Some(&link), "already_inactive | ");
    check("deleted, never ours", gone(), Target::Absent, None, "nothing_to_leave | ");
    check("back again", present(), inactive(), Some(&link), "returned | active: false > true");
    check("nobody knows", Source::Unknown, there(), Some(&link), "source_unknown | ");
    check(
        "two hits",
        present(),
        Target::Ambiguous { key: MatchKey::UserName, hits: 2 },
        None,
        "ambiguous_match | ",
    );
    let other = UserId::from_bytes([9; 16]);
    check("somebody else's", present(), Target::Taken { id: scim_id(), by: other }, None, "match_taken | ");
    check("no usable key", present(), Target::Unmatchable, None, "unmatchable | ");
}

#[test]
fn a_failed_read_of_the_groups_deactivates_nobody() {
    let mut rules = rules();
    rules.scope = Scope { groups: vec![group(5)], ..Scope::default() };
    let target = Target::Found(ana_there());
    let link = linked();
    let plan = decide(&rules, &Source::Present(ana()), &unread(), &target, Some(&link));
    assert_eq!(plan.action, Action::LookAgain);
    // A role group that cannot be read is none of the scope's.
    let of_scope = Membership { scope_read_at: Some(at(300)), ..unread() };
    let plan = decide(&rules, &Source::Present(ana()), &of_scope, &target, Some(&link));
    assert_eq!(shown(&plan), "leaver | active: true > false");
    assert!(plan.evidence().unwrap().sentence().contains("scope.groups"));
}

#[test]
fn roles_wait_until_the_groups_are_read() {
    let target = Target::Found(ana_there());
    let plan = decide(&rules(), &Source::Present(ana()), &unread(), &target, Some(&linked()));
    assert_eq!(shown(&plan), "in_sync | ");
}

#[test]
fn a_role_outside_the_table_is_no_word_of_entras() {
    let mut rules = rules();
    rules.attributes.insert(Attribute::Roles, rule(None, Owner::Newest));
    let mut target = ana_there();
    let roles = ["agent", "by hand", "supervisor"].map(str::to_owned);
    target.attributes.insert(Attribute::Roles, Value::List(roles.into()));
    let found = Target::Found(target);
    let plan = decide(&rules, &Source::Present(ana()), &everywhere(), &found, Some(&linked()));
    assert_eq!(shown(&plan), "in_sync | ", "only CXone has moved");
    let both = Membership { groups: [group(1), group(2)].into(), ..everywhere() };
    let source = Source::Present(ana());
    let plan = decide(&rules, &source, &both, &Target::Found(ana_there()), Some(&linked()));
    assert_eq!(plan.reason, Reason::Differs, "Entra has");
}

#[test]
fn scope_rules_and_switches_are_obeyed() {
    let mut rules = rules();
    rules.scope.rules = vec![ScopeRule {
        text: "[department] = \"Sales\"".to_owned(),
        condition: expression("[department] = \"Sales\""),
    }];
    let source = Source::Present(ana());
    let plan = decide(&rules, &source, &everywhere(), &Target::Absent, None);
    assert_eq!(shown(&plan), "nothing_to_leave | ");
    rules.scope.rules.clear();
    rules.create = false;
    assert_eq!(decide(&rules, &source, &everywhere(), &Target::Absent, None).reason, Reason::CreateIsOff);
    rules.on_delete = OnDelete::Ignore;
    let gone = Source::Gone(Evidence::removed_in_delta(crate::domain::evidence::RemovedReason::Deleted));
    let plan = decide(&rules, &gone, &everywhere(), &Target::Found(ana_there()), Some(&linked()));
    assert_eq!(plan.reason, Reason::OnDeleteIsIgnore);
}

#[test]
fn out_of_scope_counts_from_the_look_and_not_from_a_reading_before_it() {
    let mut rules = rules();
    rules.scope.groups = vec![group(9)];
    let (source, target, link) = (Source::Present(ana()), Target::Found(ana_there()), linked());
    let (membership, revert) = (everywhere(), BTreeSet::new());
    let seen = |out_of_scope_since, now| {
        let inputs = inputs(&source, &membership, &target, Some(&link), &[], &revert);
        super::decide(&rules, &Inputs { out_of_scope_since, now, ..inputs }).action
    };
    assert_eq!(seen(None, at(9000)), Action::Confirm { since: at(9000) });
    assert_eq!(seen(Some(at(9000)), at(9300)), Action::Confirm { since: at(9000) }, "read before it");
    assert_eq!(seen(Some(at(9000)), at(400)), Action::Confirm { since: at(400) }, "the clock was set back");
    assert!(matches!(seen(Some(at(0)), at(300)), Action::Deactivate { .. }));
}

#[test]
fn a_joiner_without_a_family_name_is_parked_with_the_name_of_what_is_missing() {
    let mut user = ana();
    user.properties.remove("surname");
    let plan = decide(&rules(), &Source::Present(user), &everywhere(), &Target::Absent, None);
    assert_eq!(plan.reason, Reason::RequiredMissing(vec!["familyName"]));
    assert!(plan.reason.sentence().contains("familyName"));
}

#[test]
fn roles_that_the_guard_holds_are_still_wanted_when_the_rest_is_done() {
    let mut rules = rules();
    rules.attributes.get_mut(&Attribute::Roles).unwrap().owner = Owner::Newest;
    let mut user = ana();
    user.properties.insert("surname".to_owned(), Value::text("Silva"));
    let source = Source::Present(user);
    let nowhere = Membership { groups: [].into(), ..everywhere() };
    let (link, target) = (linked(), ana_there());
    let plan = decide(&rules, &source, &nowhere, &Target::Found(target.clone()), Some(&link));
    assert_eq!(shown(&plan), "differs | familyName: Martin > Silva; roles: agent > ");
    let reduced = plan.without(&[Guarded::RoleRemovals].into(), &rules.roles).unwrap();
    assert_eq!(shown(&reduced), "differs | familyName: Martin > Silva");
    let after = apply(&reduced, Some(&target), &scim_id()).unwrap();
    let link = link_to(&after, &reduced, Some(&link));
    let again = decide(&rules, &source, &nowhere, &Target::Found(after), Some(&link));
    assert_eq!(shown(&again), "differs | roles: agent > ");
}

#[test]
fn what_was_taken_back_is_not_given_to_a_new_account_either() {
    let source = Source::Present(ana());
    let (membership, nothing) = (everywhere(), BTreeSet::new());
    let created_without = |attribute, value: &str| {
        let forbids = Forbidden::Value { attribute, value: Some(Value::text(value)) };
        let restraints = [world::restraint(forbids)];
        let inputs = inputs(&source, &membership, &Target::Absent, None, &restraints, &nothing);
        super::decide(&rules(), &inputs)
    };
    let plan = created_without(Attribute::DisplayName, "Ana Martin");
    assert_eq!(plan.reason, Reason::Joiner);
    assert!(plan.changes().iter().all(|change| change.attribute != Attribute::DisplayName));
    let plan = created_without(Attribute::FamilyName, "Martin");
    assert_eq!((&plan.action, plan.reason.code()), (&Action::Park, "restrained"));
    assert!(plan.reason.sentence().contains("ana took the change back"), "{:?}", plan.reason);
    assert_eq!(created_without(Attribute::FamilyName, "Silva").reason, Reason::Joiner, "another value");
}

/// The order of `docs/conflicts.md`: each reason applies, and is told when none before it does.
#[test]
fn of_several_reasons_the_first_is_told() {
    let name = Attribute::DisplayName;
    let (source, membership) = (Source::Present(ana()), everywhere());
    let mut shown = ana_there();
    shown.attributes.insert(name, Value::text("by hand"));
    let (target, mut link) = (Target::Found(shown), linked());
    let pair = (Some(Value::text("Ana Martin")), Some(Value::text("by hand")));
    let learned = Normalised { wrote: pair.0.clone(), shows: pair.1, times: 2 };
    link.normalised.insert(name, learned);
    let forbids = Forbidden::Value { attribute: name, value: pair.0 };
    let mut restraints = vec![world::restraint(forbids)];
    let (mut rules, mut revert) = (rules(), BTreeSet::from([name]));
    let owned = |rules: &mut Rules, owner, create_only| {
        rules.attributes.insert(name, Rule { create_only, ..rule(Some("[displayName]"), owner) });
    };
    let why = |rules: &Rules, link: &Link, restraints: &[Restraint], revert: &BTreeSet<Attribute>| {
        let inputs = inputs(&source, &membership, &target, Some(link), restraints, revert);
        let plan = super::decide(rules, &inputs);
        let verdict = plan.verdicts.iter().find(|verdict| verdict.attribute == name).unwrap();
        (verdict.decision, verdict.why)
    };
    owned(&mut rules, Owner::Newest, true);
    assert_eq!(why(&rules, &link, &restraints, &revert), (Decision::Keep, Why::TargetNormalises));
    link.normalised.clear();
    assert_eq!(why(&rules, &link, &restraints, &revert), (Decision::Keep, Why::Restrained));
    restraints.clear();
    assert_eq!(why(&rules, &link, &restraints, &revert), (Decision::Keep, Why::CreateOnly));
    owned(&mut rules, Owner::Cxone, false);
    assert_eq!(why(&rules, &link, &restraints, &revert), (Decision::Keep, Why::OwnedByCxone));
    owned(&mut rules, Owner::Newest, false);
    assert_eq!(why(&rules, &link, &restraints, &revert), (Decision::Write, Why::Reverted));
    revert.clear();
    assert_eq!(why(&rules, &link, &restraints, &revert), (Decision::Keep, Why::TargetChanged));
}

#[test]
fn a_held_conflict_stays_a_conflict() {
    let link = linked();
    let mut user = ana();
    user.properties.insert("mobilePhone".to_owned(), Value::text("+1"));
    let mut target = ana_there();
    target.attributes.insert(Attribute::PhoneNumbers, Value::text("+2"));
    for _ in 0..2 {
        let plan = decide(
            &rules(),
            &Source::Present(user.clone()),
            &everywhere(),
            &Target::Found(target.clone()),
            Some(&link),
        );
        assert_eq!(plan.reason, Reason::ConflictHeld(vec!["phoneNumbers"]));
        let next = link_to(&target, &plan, Some(&link));
        assert_eq!(next.baseline.get(&Attribute::PhoneNumbers), link.baseline.get(&Attribute::PhoneNumbers));
    }
}
