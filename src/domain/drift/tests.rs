use super::*;
use crate::domain::plan::{Action, Reason};
use crate::domain::roles::RoleRow;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn text(value: &str) -> Option<Value> {
    Some(Value::text(value))
}

fn roles(items: &[&str]) -> Option<Value> {
    Some(Value::List(items.iter().map(|item| (*item).to_owned()).collect()))
}

fn table() -> RoleTable {
    let group = GroupId::from_bytes([1; 16]);
    RoleTable::new(vec![RoleRow { group, role: "agent".to_owned(), privileged: false }]).unwrap()
}

fn verdict(
    attribute: Attribute,
    source: Option<Value>,
    target: Option<Value>,
    baseline: Option<(Option<Value>, Option<Value>)>,
) -> Verdict {
    let baseline = baseline.map(|(source, target)| Baseline { source, target });
    let (owner, decision, why) = (Owner::Newest, Decision::Keep, Why::TargetChanged);
    Verdict { attribute, source, target, baseline, owner, decision, why }
}

fn seen(verdicts: Vec<Verdict>, old: &[Drift], second: i64) -> Vec<Drift> {
    let plan = Plan { action: Action::Nothing, reason: Reason::InSync, verdicts, lift: Vec::new() };
    drift(&plan, &table(), old, at(second))
}

const NAME: Attribute = Attribute::DisplayName;

#[test]
fn a_target_that_moved_from_the_baseline_has_drifted() {
    let both = Some((text("a"), text("a")));
    let found = seen(vec![verdict(NAME, text("a"), text("hand"), both.clone())], &[], 1);
    assert_eq!(found.len(), 1);
    let Drift { baseline, shown, entra, since, both_changed, .. } = found[0].clone();
    assert_eq!((baseline, shown, entra), (text("a"), text("hand"), text("a")));
    assert_eq!((since, both_changed), (at(1), false));
    assert_eq!(seen(vec![verdict(NAME, text("b"), text("a"), both.clone())], &[], 1), [], "only Entra moved");
    assert_eq!(
        seen(vec![verdict(NAME, text("b"), text("a"), None)], &[], 1),
        [],
        "nothing is known of before"
    );
    let both_moved = seen(vec![verdict(NAME, text("b"), text("hand"), both)], &[], 1);
    assert!(both_moved[0].both_changed);
}

#[test]
fn it_keeps_its_beginning_until_both_sides_agree() {
    let first = seen(vec![verdict(NAME, text("a"), text("hand"), Some((text("a"), text("a"))))], &[], 1);
    // The link's baseline has followed by now: by it alone nothing would be seen.
    let settled = Some((text("a"), text("hand")));
    let later = seen(vec![verdict(NAME, text("a"), text("hand"), settled.clone())], &first, 2);
    assert_eq!(later, first);
    assert_eq!(seen(Vec::new(), &first, 3), first, "a look that compares nothing forgets nothing");
    assert_eq!(seen(vec![verdict(NAME, text("hand"), text("hand"), settled.clone())], &later, 3), []);
    assert_eq!(seen(vec![verdict(NAME, text("a"), text("a"), settled)], &later, 3), [], "put back by hand");
}

#[test]
fn of_roles_the_group_that_would_give_them_is_named() {
    let base = Some((roles(&["agent"]), roles(&["agent"])));
    let hand =
        verdict(Attribute::Roles, roles(&["agent", "by hand"]), roles(&["agent", "by hand"]), base.clone());
    let found = seen(vec![hand], &[], 1);
    let role = RoleDrift { role: "by hand".to_owned(), given: true, group: None };
    assert_eq!(found[0].roles, [role]);
    assert!(!found[0].both_changed, "who holds it is not Entra's to say");
    assert!(found[0].not_revertible().unwrap().contains("never touched"));
    let left = found[0].clone().after_a_write(roles(&["agent", "by hand"]).as_ref());
    assert_eq!(left.map(|drift| drift.roles.len()), Some(1), "a write does not touch it");
    assert_eq!(found[0].not_acceptable(), None);

    let taken = verdict(Attribute::Roles, roles(&["agent"]), roles(&[]), base);
    let found = seen(vec![taken], &[], 1);
    let role = RoleDrift { role: "agent".to_owned(), given: false, group: table().group_of("agent") };
    assert_eq!(found[0].roles, [role]);
    assert_eq!(found[0].not_revertible(), None);
    assert_eq!(found[0].clone().after_a_write(roles(&["agent"]).as_ref()), None);
    assert_eq!(found[0].clone().after_a_write(roles(&["agent"]).as_ref()), None);
}

#[test]
fn what_the_target_makes_of_a_value_is_no_drift() {
    let mut normalised = verdict(NAME, text("Ana"), text("ANA"), Some((text("Ana"), text("Ana"))));
    normalised.why = Why::TargetNormalises;
    assert_eq!(seen(vec![normalised], &[], 1), []);
}

#[test]
fn the_owner_says_what_an_operator_may_do_about_it() {
    let base = Some((text("a"), text("a")));
    let mut ours = verdict(NAME, text("a"), text("hand"), base.clone());
    (ours.owner, ours.decision, ours.why) = (Owner::Entra, Decision::Write, Why::Drift);
    let found = seen(vec![ours], &[], 1);
    assert!(found[0].not_acceptable().unwrap().contains("displayName is owned by Entra"));
    assert_eq!(found[0].not_revertible(), None);
    let mut theirs = verdict(NAME, text("a"), text("hand"), base);
    (theirs.owner, theirs.why) = (Owner::Cxone, Why::OwnedByCxone);
    let found = seen(vec![theirs], &[], 1);
    assert!(found[0].not_revertible().unwrap().contains("owned by CXone"));
    assert_eq!(found[0].not_acceptable(), None);
}
