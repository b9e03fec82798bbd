use super::*;
use crate::domain::queue::{Intent, Reason};
use crate::domain::user::UserId;
use jiff::Timestamp;

fn text(value: &str) -> Option<Value> {
    Some(Value::text(value))
}

fn roles(items: &[&str]) -> Option<Value> {
    Some(Value::List(items.iter().map(|item| (*item).to_owned()).collect()))
}

fn change(attribute: Attribute, before: Option<Value>, after: Option<Value>) -> Change {
    Change { attribute, before, after }
}

fn write(operation: Operation, changes: Vec<Change>, result: WriteResult) -> Write {
    let intent = Intent {
        at: Timestamp::UNIX_EPOCH,
        user: UserId::from_bytes([1; 16]),
        scim_id: None,
        operation,
        changes,
        why: Default::default(),
        reason: Reason::Delta,
        evidence: None,
        plan: String::new(),
        desired: String::new(),
        batch: None,
        approved_by: None,
        spend: Default::default(),
    };
    Write { number: 1, intent, result, shown: Attributes::new(), lag_ms: 0 }
}

fn applied(operation: Operation, changes: Vec<Change>) -> Write {
    write(operation, changes, WriteResult::Applied)
}

const ON: Option<Value> = Some(Value::Flag(true));
const OFF: Option<Value> = Some(Value::Flag(false));

#[test]
fn the_newest_says_what_stands_and_the_oldest_where_to_go_back_to() {
    let name = Attribute::DisplayName;
    let writes = [
        applied(Operation::Patch, vec![change(name, text("b"), text("c"))]),
        applied(
            Operation::Patch,
            vec![change(name, text("a"), text("b")), change(Attribute::Emails, None, text("x"))],
        ),
    ];
    let inverse = inverse(&writes);
    assert_eq!(
        inverse.changes,
        [change(name, text("c"), text("a")), change(Attribute::Emails, text("x"), None)]
    );
    assert_eq!(inverse.skipped, []);
}

#[test]
fn what_was_refused_or_came_back_by_itself_needs_no_undoing() {
    let name = Attribute::DisplayName;
    let refused = WriteResult::Refused { error: String::new() };
    let once = [write(Operation::Patch, vec![change(name, text("a"), text("b"))], refused)];
    assert_eq!(inverse(&once), Inverse::default());
    let there_and_back = [
        applied(Operation::Patch, vec![change(name, text("b"), text("a"))]),
        applied(Operation::Patch, vec![change(name, text("a"), text("b"))]),
    ];
    assert_eq!(inverse(&there_and_back), Inverse::default());
}

#[test]
fn no_undo_turns_an_account_off() {
    let off = applied(Operation::Deactivate, vec![change(Attribute::Active, ON, OFF)]);
    assert_eq!(inverse(&[off]).changes, [change(Attribute::Active, OFF, ON)]);
    let on = applied(Operation::Reactivate, vec![change(Attribute::Active, OFF, ON)]);
    let back = inverse(&[on]);
    assert_eq!(back.changes, []);
    assert_eq!(back.skipped, [Skipped { attribute: Attribute::Active, code: UndoSkip::NeedsEvidence }]);
    let unclear = write(
        Operation::Deactivate,
        vec![change(Attribute::Active, None, OFF)],
        WriteResult::Unknown { error: String::new() },
    );
    assert_eq!(inverse(&[unclear]).skipped[0].code, UndoSkip::NeedsEvidence, "it did not say it was active");
}

#[test]
fn no_order_to_undo_turns_an_account_off_either() {
    let shown = Attributes::from([(Attribute::Active, Value::Flag(true))]);
    for after in [OFF, None] {
        let standing = still_standing(&[change(Attribute::Active, ON, after)], &shown);
        assert_eq!(standing.changes, []);
        assert_eq!(
            standing.skipped,
            [Skipped { attribute: Attribute::Active, code: UndoSkip::NeedsEvidence }]
        );
    }
}

#[test]
fn what_was_created_stays() {
    let created = applied(
        Operation::Create,
        vec![change(Attribute::UserName, None, text("a@b")), change(Attribute::Active, None, ON)],
    );
    let inverse = inverse(&[created]);
    assert_eq!(inverse.changes, []);
    let codes: Vec<_> = inverse.skipped.iter().map(|skipped| skipped.code).collect();
    assert_eq!(codes, [UndoSkip::Created, UndoSkip::Created]);
}

#[test]
fn only_our_own_roles_are_taken_back() {
    let role = Attribute::Roles;
    let writes = [
        // Between the two, somebody gave "by hand".
        applied(
            Operation::Patch,
            vec![change(role, roles(&["b", "by hand"]), roles(&["b", "by hand", "c"]))],
        ),
        applied(Operation::Patch, vec![change(role, roles(&["a"]), roles(&["b"]))]),
    ];
    let inverse = inverse(&writes);
    let shown = |held: &[&str]| Attributes::from([(role, roles(held).unwrap())]);
    let standing = still_standing(&inverse.changes, &shown(&["b", "by hand", "c", "later"]));
    assert_eq!(
        standing.changes,
        [change(role, roles(&["b", "by hand", "c", "later"]), roles(&["a", "by hand", "later"]))]
    );
    let standing = still_standing(&inverse.changes, &shown(&["a", "by hand"]));
    assert_eq!(standing.changes, []);
    assert_eq!(standing.skipped, [Skipped { attribute: role, code: UndoSkip::Moved }]);
}

#[test]
fn what_has_moved_since_stays_as_it_is() {
    let name = Attribute::DisplayName;
    let back = [change(name, text("c"), text("a"))];
    let shown = |value: &str| Attributes::from([(name, Value::text(value))]);
    assert_eq!(still_standing(&back, &shown("c")).changes, [change(name, text("c"), text("a"))]);
    let moved = still_standing(&back, &shown("by hand"));
    assert_eq!(moved.changes, []);
    assert_eq!(moved.skipped, [Skipped { attribute: name, code: UndoSkip::Moved }]);
}

/// The history then tells what was really there.
#[test]
fn what_is_taken_back_begins_at_what_is_shown() {
    let back = [change(Attribute::Emails, text("Ana@Example.com"), text("a@example.com"))];
    let shown = Attributes::from([(Attribute::Emails, Value::text("ana@example.com"))]);
    let standing = still_standing(&back, &shown);
    assert_eq!(standing.changes, [change(Attribute::Emails, text("ana@example.com"), text("a@example.com"))]);
}

#[test]
fn what_was_taken_back_is_held_back() {
    let back = [
        change(Attribute::DisplayName, text("c"), text("a")),
        change(Attribute::Emails, text("y"), text("x")),
        change(Attribute::Roles, roles(&["b"]), roles(&["a"])),
    ];
    let shown = Attributes::from([
        (Attribute::DisplayName, Value::text("a")),
        (Attribute::Emails, Value::text("moved on")),
        (Attribute::Roles, roles(&["a", "z"]).unwrap()),
    ]);
    assert_eq!(
        holding_back(&back, &shown),
        [
            Forbidden::Value { attribute: Attribute::DisplayName, value: text("c") },
            Forbidden::TakeRole { role: "a".to_owned() },
            Forbidden::GiveRole { role: "b".to_owned() },
        ]
    );
}

/// The names are kept in the history.
#[test]
fn what_is_left_as_it_is_says_why() {
    let codes = [UndoSkip::Created, UndoSkip::NeedsEvidence, UndoSkip::Moved, UndoSkip::LeftSince];
    assert_eq!(codes.map(UndoSkip::name), ["created", "needs_evidence", "moved", "left_since"]);
}
