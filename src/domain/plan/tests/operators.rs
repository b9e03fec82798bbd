//! What operators have said, and what the configuration protects.

use super::*;
use crate::domain::case::RestraintReason;

fn restraint(forbids: Forbidden, evidence: Option<&str>) -> Restraint {
    Restraint {
        forbids,
        why: RestraintReason::Undone,
        evidence: evidence.map(str::to_owned),
        by: "ana".to_owned(),
        at: at(0),
    }
}

fn off() -> Forbidden {
    Forbidden::Value { attribute: Attribute::Active, value: Some(Value::Flag(false)) }
}

fn disabled() -> Source {
    Source::Present(SourceUser { enabled: false, ..ana() })
}

#[track_caller]
fn decided(source: &Source, target: &TargetUser, restraints: &[Restraint], revert: &[Attribute]) -> Plan {
    let (target, link, revert) = (Target::Found(target.clone()), linked(), revert.iter().copied().collect());
    super::super::decide(&rules(), &inputs(source, &everywhere(), &target, Some(&link), restraints, &revert))
}

#[test]
fn who_was_kept_for_one_reason_is_not_kept_for_another() {
    let plan = decided(&disabled(), &ana_there(), &[restraint(off(), Some("disabled"))], &[]);
    assert_eq!(shown(&plan), "restrained | ");
    assert!(plan.reason.sentence().contains("ana took the change back"));
    let plan = decided(&disabled(), &ana_there(), &[restraint(off(), Some("out_of_scope"))], &[]);
    assert_eq!(shown(&plan), "leaver | active: true > false");
    let plan = decided(&disabled(), &ana_there(), &[restraint(off(), None)], &[]);
    assert_eq!(shown(&plan), "restrained | ");
}

#[test]
fn who_is_disabled_goes_at_once_whatever_the_scope_says() {
    let (source, target, link) = (disabled(), Target::Found(ana_there()), linked());
    let mut rules = Rules { on_delete: OnDelete::Ignore, ..rules() };
    rules.scope.groups = vec![group(5)];
    let decided = |membership: &Membership, link, restraints: &[Restraint]| {
        let revert = BTreeSet::new();
        let inputs = inputs(&source, membership, &target, link, restraints, &revert);
        let plan = super::super::decide(&rules, &Inputs { out_of_scope_since: None, ..inputs });
        (shown(&plan), plan.evidence().map(Evidence::code))
    };
    let off = ("leaver | active: true > false".to_owned(), Some("disabled"));
    assert_eq!(decided(&everywhere(), Some(&link), &[]), off, "out of scope");
    assert_eq!(decided(&unread(), Some(&link), &[]), off, "nobody knows");
    let about_scope = [restraint(super::operators::off(), Some("out_of_scope"))];
    assert_eq!(decided(&everywhere(), Some(&link), &about_scope), off, "kept for another reason");
    assert_eq!(decided(&everywhere(), None, &[]).0, "on_delete_is_ignore | ", "never ours");
}

#[test]
fn who_is_kept_although_disabled_still_goes_when_out_of_scope() {
    let (source, target, link) = (disabled(), Target::Found(ana_there()), linked());
    let mut rules = rules();
    rules.scope.groups = vec![group(5)];
    let restraints = [restraint(off(), Some("disabled"))];
    let revert = BTreeSet::new();
    let (membership, within) = (everywhere(), read_at(&[5], 300));
    let inputs = inputs(&source, &membership, &target, Some(&link), &restraints, &revert);
    let plan = super::super::decide(&rules, &inputs);
    assert_eq!(plan.evidence().map(Evidence::code), Some("out_of_scope"));
    let plan = super::super::decide(&rules, &Inputs { membership: &within, ..inputs });
    assert_eq!(shown(&plan), "restrained | ");
}

#[test]
fn what_keeps_somebody_on_ends_when_entra_says_otherwise_wherever_they_are() {
    let (target, link) = (Target::Found(ana_there()), linked());
    let mut rules = Rules { on_delete: OnDelete::Ignore, ..rules() };
    rules.scope.groups = vec![group(5)];
    let lifted = |source: &Source, membership: &Membership| {
        let about = |code| restraint(off(), code);
        let restraints =
            [about(Some("disabled")), about(Some("absent_twice")), about(Some("out_of_scope")), about(None)];
        let revert = BTreeSet::new();
        let inputs = inputs(source, membership, &target, Some(&link), &restraints, &revert);
        let lift = super::super::decide(&rules, &inputs).lift;
        restraints.iter().map(|it| lift.contains(it)).collect::<Vec<_>>()
    };
    let (present, inside, outside) = (Source::Present(ana()), read_at(&[5], 300), read_at(&[], 300));
    assert_eq!(lifted(&present, &outside), [true, true, false, false], "enabled, out of scope");
    assert_eq!(lifted(&present, &inside), [true; 4], "enabled, in scope");
    assert_eq!(lifted(&disabled(), &inside), [false, true, true, false], "disabled, in scope");
    assert_eq!(lifted(&disabled(), &outside), [false, true, false, false], "neither");
    assert_eq!(lifted(&present, &unread()), [true, true, false, false], "the scope is not known");
}

#[test]
fn of_a_plan_only_what_was_named() {
    let by_hand = |active: bool| {
        let mut user = ana_there();
        user.attributes.insert(Attribute::FamilyName, Value::text("By hand"));
        user.attributes.insert(Attribute::Active, Value::Flag(active));
        user
    };
    let only = |plan: &Plan, named: &[Attribute]| {
        plan.only(&named.iter().copied().collect()).map(|plan| (plan.action.clone(), shown(&plan)))
    };
    let present = Source::Present(ana());
    let both = decided(&present, &by_hand(false), &[], &[]);
    assert_eq!(shown(&both), "returned | familyName: By hand > Martin; active: false > true");
    let (action, words) = only(&both, &[Attribute::FamilyName]).unwrap();
    assert!(matches!(action, Action::Patch(_)));
    assert_eq!(words, "returned | familyName: By hand > Martin");
    let (action, words) = only(&both, &[Attribute::Active]).unwrap();
    assert!(matches!(action, Action::Reactivate(_)));
    assert_eq!(words, "returned | active: false > true");
    assert_eq!(only(&both, &[Attribute::Emails]).unwrap().0, Action::Nothing);

    let off = decided(&disabled(), &by_hand(true), &[], &[]);
    assert_eq!(only(&off, &[Attribute::FamilyName]), None, "that is not what was named");
    assert_eq!(only(&off, &[Attribute::Active]).unwrap().1, "leaver | active: true > false");
    let joiner = decide(&rules(), &present, &everywhere(), &Target::Absent, None);
    assert_eq!(only(&joiner, &[Attribute::FamilyName]), None);
    let unclear = decided(&Source::Unknown, &by_hand(true), &[], &[]);
    assert_eq!(only(&unclear, &[Attribute::FamilyName]).unwrap().0, Action::LookAgain);
}

#[test]
fn what_is_forbidden_is_kept_until_entra_says_something_else() {
    let named = |name: &str| {
        let mut user = ana();
        user.properties.insert("displayName".to_owned(), Value::text(name));
        Source::Present(user)
    };
    let value = Some(Value::text("Ana S."));
    let held_back = [restraint(Forbidden::Value { attribute: Attribute::DisplayName, value }, None)];
    let plan = decided(&named("Ana S."), &ana_there(), &held_back, &[]);
    assert_eq!((shown(&plan), plan.lift.len()), ("in_sync | ".to_owned(), 0));
    let why = plan.verdicts.iter().find(|it| it.attribute == Attribute::DisplayName).unwrap().why;
    assert_eq!(why, Why::Restrained);
    let plan = decided(&named("Ana T."), &ana_there(), &held_back, &[]);
    assert_eq!(shown(&plan), "differs | displayName: Ana Martin > Ana T.");
    assert_eq!(plan.lift, held_back);
    let present = Source::Present(ana());
    assert_eq!(
        decided(&present, &ana_there(), &[restraint(off(), None)], &[]).lift.len(),
        1,
        "enabled again"
    );
}

#[test]
fn a_role_that_was_given_back_is_not_taken_again() {
    let mut shown_user = ana_there();
    let roles = ["agent", "supervisor"].map(str::to_owned).to_vec();
    shown_user.attributes.insert(Attribute::Roles, Value::List(roles));
    let present = Source::Present(ana());
    let plan = decided(&present, &shown_user, &[], &[]);
    assert_eq!(shown(&plan), "differs | roles: agent, supervisor > agent");
    let keep = [restraint(Forbidden::TakeRole { role: "supervisor".to_owned() }, None)];
    assert_eq!(shown(&decided(&present, &shown_user, &keep, &[])), "in_sync | ");

    let mut without = ana_there();
    without.attributes.insert(Attribute::Roles, Value::List(Vec::new()));
    let withhold = [restraint(Forbidden::GiveRole { role: "agent".to_owned() }, None)];
    assert_eq!(shown(&decided(&present, &without, &withhold, &[])), "in_sync | ");
    let lifted = decided(&present, &without, &[keep, withhold].concat(), &[]).lift;
    assert_eq!(lifted, [], "the groups still say what is withheld, and do not say what is kept");
}

#[test]
fn an_operator_can_have_entras_value_but_not_where_it_is_never_written() {
    let mut by_hand = ana_there();
    by_hand.attributes.insert(Attribute::DisplayName, Value::text("By hand"));
    by_hand.attributes.insert(Attribute::ExternalId, Value::text("other"));
    let present = Source::Present(ana());
    assert_eq!(shown(&decided(&present, &by_hand, &[], &[])), "in_sync | ", "newest keeps CXone's");
    let both = [Attribute::DisplayName, Attribute::ExternalId];
    let plan = decided(&present, &by_hand, &[], &both);
    assert_eq!(shown(&plan), "differs | displayName: By hand > Ana Martin");
    assert_eq!(plan.why()[&Attribute::DisplayName], Why::Reverted);
}

#[test]
fn out_of_scope_counts_from_the_look_and_not_from_an_old_reading() {
    let mut rules = rules();
    rules.scope = Scope { groups: vec![group(5)], ..Scope::default() };
    let (source, target, link) = (Source::Present(ana()), Target::Found(ana_there()), linked());
    let decided = |since: Option<i64>, read: i64, now: i64| {
        let membership = read_at(&[], read);
        let revert = BTreeSet::new();
        let inputs = Inputs {
            out_of_scope_since: since.map(at),
            now: at(now),
            ..inputs(&source, &membership, &target, Some(&link), &[], &revert)
        };
        super::super::decide(&rules, &inputs).action
    };
    let since = |second| Action::Confirm { since: at(second) };
    assert_eq!(decided(None, 0, 10_000), since(10_000), "the reading is old, the look is the first");
    assert_eq!(decided(Some(10_000), 10_001, 10_400), since(10_000), "read again, but too soon");
    assert_eq!(decided(Some(20_000), 10_001, 10_400), since(10_400), "a corrected clock begins anew");
    assert!(matches!(decided(Some(10_000), 10_300, 10_400), Action::Deactivate { .. }));
}

#[test]
fn the_protected_get_no_writes_whatever_entra_says() {
    let gone = Source::Gone(Evidence::removed_in_delta(crate::domain::evidence::RemovedReason::Deleted));
    let mut admin = ana_there();
    admin.attributes.insert(Attribute::Roles, Value::List(vec!["Administrator".to_owned()]));
    let by_user = Protected { users: [UserId::from_bytes([7; 16])].into(), ..Protected::default() };
    let by_name = Protected { user_names: ["ana@example.com".to_owned()].into(), ..Protected::default() };
    let by_role = Protected { roles: ["Administrator".to_owned()].into(), ..Protected::default() };
    for (protected, target, expected) in [
        (by_user, ana_there(), "protected_user | "),
        (by_name, ana_there(), "protected_account | "),
        (by_role.clone(), admin, "protected_account | "),
    ] {
        let rules = Rules { protected, ..rules() };
        for source in [&disabled(), &gone] {
            let plan = decide(&rules, source, &everywhere(), &Target::Found(target.clone()), Some(&linked()));
            assert_eq!(shown(&plan), expected);
        }
    }
    let rules = Rules { protected: by_role, ..rules() };
    let plan = decide(&rules, &disabled(), &everywhere(), &Target::Found(ana_there()), Some(&linked()));
    assert_eq!(shown(&plan), "leaver | active: true > false", "who does not hold the role is not protected");
}
