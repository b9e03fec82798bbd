use super::*;
use crate::domain::conflict::{Decision, Why};
use crate::domain::rules::Owner;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn held(plan: &str, since: i64) -> HeldItem {
    HeldItem {
        since: at(since),
        plan: plan.to_owned(),
        operation: Operation::Deactivate,
        scim_id: None,
        changes: Vec::new(),
        evidence: None,
        spend: Spend::default(),
        words: String::new(),
    }
}

fn approval(plan: &str) -> Approval {
    let plan = plan.to_owned();
    Approval { plan, set: String::new(), by: "ana".to_owned(), at: at(0), expires_at: at(60) }
}

fn work(batch: &str) -> Work {
    let task = Task::Apply { plan: "p".to_owned() };
    Work { batch: batch.to_owned(), by: "ana".to_owned(), at: at(0), expires_at: at(60), task }
}

fn forbids(value: &str) -> Forbidden {
    Forbidden::Value { attribute: Attribute::DisplayName, value: Some(Value::text(value)) }
}

fn restraint(forbids: Forbidden, by: &str) -> Restraint {
    Restraint { forbids, why: RestraintReason::Rejected, evidence: None, by: by.to_owned(), at: at(0) }
}

fn drift() -> Drift {
    Drift {
        attribute: Attribute::DisplayName,
        since: at(0),
        baseline: None,
        shown: Some(Value::text("by hand")),
        entra: None,
        owner: Owner::Newest,
        decision: Decision::Keep,
        why: Why::TargetChanged,
        both_changed: false,
        roles: Vec::new(),
    }
}

fn observed() -> Observed {
    Observed {
        at: at(0),
        plan: "p".to_owned(),
        operation: Operation::Patch,
        scim_id: None,
        reason: "differs".to_owned(),
        changes: Vec::new(),
        evidence: None,
    }
}

/// A case in which everything is open.
fn full() -> Case {
    Case {
        held: Some(held("p", 5)),
        approval: Some(approval("p")),
        work: Some(work("b")),
        restraints: vec![restraint(forbids("a"), "ana")],
        drift: vec![drift()],
        observed: Some(observed()),
    }
}

#[test]
fn a_case_is_empty_when_nothing_is_open() {
    assert!(Case::default().is_empty());
    assert!(!full().is_empty());
    assert!(!Case { drift: vec![drift()], ..Case::default() }.is_empty());
}

#[test]
fn an_approval_is_for_one_plan_and_ends() {
    let approval = approval("p");
    assert!(approval.covers("p", at(59)));
    assert!(!approval.covers("p", at(60)), "it has expired");
    assert!(!approval.covers("q", at(0)), "another plan");
}

#[test]
fn a_run_that_says_nothing_of_the_case_leaves_it_as_it_is() {
    assert_eq!(CaseChange::default().applied_to(full()), full());
    assert_eq!(CaseChange::default().applied_to(Case::default()), Case::default());
}

#[test]
fn what_waits_for_an_operator_waits_since_the_first_time() {
    let holds = |item| CaseChange { held: Some(item), ..CaseChange::default() };
    let since = |change: CaseChange, case| change.applied_to(case).held.map(|held| held.since);
    assert_eq!(since(holds(Some(held("q", 9))), full()), Some(at(5)));
    assert_eq!(since(holds(Some(held("q", 3))), full()), Some(at(3)));
    assert_eq!(since(holds(Some(held("q", 9))), Case::default()), Some(at(9)));
}

#[test]
fn an_approval_ends_with_what_it_is_for() {
    let holds = |item| CaseChange { held: Some(item), ..CaseChange::default() };
    let after = holds(Some(held("q", 9))).applied_to(full());
    assert_eq!(after, Case { held: Some(held("q", 5)), approval: None, ..full() });
    assert_eq!(holds(None).applied_to(full()), Case { held: None, approval: None, ..full() });
    assert_eq!(holds(Some(held("p", 5))).applied_to(full()), full());
}

#[test]
fn a_look_says_anew_what_has_drifted_and_what_would_be_done() {
    let change = CaseChange { drift: Some(Vec::new()), observed: Some(None), ..CaseChange::default() };
    assert_eq!(change.applied_to(full()), Case { drift: Vec::new(), observed: None, ..full() });
}

#[test]
fn restraints_are_lifted_and_the_newest_of_one_thing_stands() {
    let lift = CaseChange { lift: vec![restraint(forbids("a"), "ana")], ..CaseChange::default() };
    assert_eq!(lift.applied_to(full()).restraints, []);
    let other = CaseChange { lift: vec![restraint(forbids("b"), "ana")], ..CaseChange::default() };
    assert_eq!(other.applied_to(full()), full());
    let more = vec![restraint(forbids("b"), "ben"), restraint(forbids("a"), "ben")];
    let change = CaseChange { restrain: more.clone(), ..CaseChange::default() };
    assert_eq!(change.applied_to(full()).restraints, more);
    let about =
        |evidence: &str| Restraint { evidence: Some(evidence.to_owned()), ..restraint(forbids("a"), "ben") };
    let both = vec![about("disabled"), about("out_of_scope")];
    let change = CaseChange { restrain: both.clone(), ..CaseChange::default() };
    assert_eq!(change.applied_to(full()).restraints[1..], both, "who is kept may be kept for two reasons");
}

fn intent(batch: Option<&str>, after: &str) -> Intent {
    let (attribute, after) = (Attribute::DisplayName, Some(Value::text(after)));
    Intent {
        at: at(0),
        user: crate::domain::user::UserId::from_bytes([1; 16]),
        scim_id: None,
        operation: Operation::Patch,
        changes: vec![Change { attribute, before: None, after }],
        why: Default::default(),
        reason: crate::domain::queue::Reason::Delta,
        evidence: None,
        plan: "p".to_owned(),
        desired: "d".to_owned(),
        batch: batch.map(str::to_owned),
        approved_by: None,
        spend: Spend::default(),
    }
}

#[test]
fn what_an_operator_says_between_the_look_and_the_write_counts() {
    let case = full();
    assert!(case.overrules(&intent(None, "a")), "forbidden meanwhile");
    assert!(!case.overrules(&intent(None, "b")));
    assert!(case.overrules(&intent(Some("b"), "a")), "an order that applies is bound by it too");
    assert!(!case.overrules(&intent(Some("b"), "b")));
    assert!(case.overrules(&intent(Some("old"), "b")), "the order was replaced or dropped");
    let task = Task::Undo { changes: Vec::new(), evidence: None };
    let undoing = Case { work: Some(Work { task, ..work("b") }), ..full() };
    assert!(!undoing.overrules(&intent(Some("b"), "a")), "an undo takes back what forbade it");
}

#[test]
fn a_restraint_forbids_just_what_it_names() {
    let of = |forbids| restraint(forbids, "ana");
    let roles = |items: &[&str]| Some(Value::List(items.iter().map(|item| (*item).to_owned()).collect()));
    let change =
        Change { attribute: Attribute::Roles, before: roles(&["x", "z"]), after: roles(&["y", "z"]) };
    let give = |role: &str| of(Forbidden::GiveRole { role: role.to_owned() });
    let take = |role: &str| of(Forbidden::TakeRole { role: role.to_owned() });
    assert!(give("y").forbids(&change, None) && take("x").forbids(&change, None));
    for other in [give("x"), give("z"), take("y"), take("z"), of(forbids("a"))] {
        assert!(!other.forbids(&change, None), "{other:?}");
    }
    let off = Change { attribute: Attribute::Active, before: None, after: Some(Value::Flag(false)) };
    let forbids = Forbidden::Value { attribute: Attribute::Active, value: off.after.clone() };
    let kept = Restraint { evidence: Some("in_deleted_items".to_owned()), ..of(forbids) };
    assert!(kept.forbids(&off, Some("in_deleted_items")) && kept.forbids(&off, Some("absent_twice")));
    assert!(!kept.forbids(&off, Some("disabled")));
    assert!(!kept.forbids(&Change { after: Some(Value::Flag(true)), ..off }, None));
}

#[test]
fn what_is_done_goes_and_what_was_ordered_meanwhile_stays() {
    let done = |batch: &str| CaseChange { work_done: Some(batch.to_owned()), ..CaseChange::default() };
    assert_eq!(done("b").applied_to(full()), Case { work: None, ..full() });
    assert_eq!(done("another").applied_to(full()), full());
}

#[test]
fn what_forbids_a_change_forbids_its_end_and_each_role_by_itself() {
    let roles = |items: &[&str]| Some(Value::List(items.iter().map(|item| (*item).to_owned()).collect()));
    let changes = [
        Change { attribute: Attribute::DisplayName, before: None, after: Some(Value::text("a")) },
        Change { attribute: Attribute::Roles, before: roles(&["x", "z"]), after: roles(&["y", "z"]) },
    ];
    let give = Forbidden::GiveRole { role: "y".to_owned() };
    let take = Forbidden::TakeRole { role: "x".to_owned() };
    assert_eq!(forbidding(&changes), [forbids("a"), give, take]);
}

/// The names are shown to operators and kept in the history.
#[test]
fn what_is_ordered_and_what_restrains_have_names() {
    let names = [
        Task::Apply { plan: String::new() }.name(),
        Task::Undo { changes: Vec::new(), evidence: None }.name(),
        Task::Revert { attributes: BTreeSet::new() }.name(),
        RestraintReason::Rejected.name(),
        RestraintReason::Undone.name(),
    ];
    assert_eq!(names, ["apply", "undo", "revert", "rejected", "undone"]);
}

#[test]
fn an_order_is_good_for_a_day() {
    assert_eq!(ORDERS_LAST, Duration::from_secs(86_400), "as `docs/reason-codes.md` says of `expired`");
}

#[test]
fn an_order_tells_when_it_was_given() {
    let now: Timestamp = "2026-11-23T10:00:00.123456Z".parse().unwrap();
    let batch = new_batch(now, &[7; 10]);
    assert_eq!(ordered_at(&batch).unwrap().to_string(), "2026-11-23T10:00:00.123Z");
    assert_ne!(batch, new_batch(now, &[8; 10]));
    for wrong in ["", "now", "3f0c2a9e-1111-4222-8333-444455556666"] {
        assert_eq!(ordered_at(wrong), None, "{wrong}");
    }
}
