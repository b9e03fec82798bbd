//! Taking writes back: the inverse of what the history says we wrote, where it still stands.

use std::collections::BTreeMap;

use serde::Serialize;

use super::case::Forbidden;
use super::patch::same;
use super::queue::{Change, Operation, Write, WriteResult};
use super::user::{Attribute, Attributes, Value};

/// What would take back a number of writes to one user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inverse {
    /// From what was written last (`before`) to what was there first (`after`).
    pub changes: Vec<Change>,
    pub skipped: Vec<Skipped>,
    /// The kind of evidence of the newest deactivation among the writes.
    pub evidence: Option<String>,
}

/// What is left as it is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub attribute: Attribute,
    pub code: UndoSkip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoSkip {
    /// CXone has no delete, and no account is turned off without evidence.
    Created,
    /// Taking a reactivation back would turn an account off, which needs evidence.
    NeedsEvidence,
    /// CXone shows something else than what was written.
    Moved,
    /// The user is disabled, deleted or out of scope by now, and that is not what was taken back.
    LeftSince,
}

impl UndoSkip {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::NeedsEvidence => "needs_evidence",
            Self::Moved => "moved",
            Self::LeftSince => "left_since",
        }
    }
}

/// The inverse of these writes to one user, given newest first. What was refused changed nothing.
pub fn inverse(writes: &[Write]) -> Inverse {
    let mut inverse = Inverse::default();
    let mut changes: BTreeMap<Attribute, Change> = BTreeMap::new();
    let may_have_happened = |write: &&Write| !matches!(write.result, WriteResult::Refused { .. });
    for write in writes.iter().filter(may_have_happened) {
        if write.operation == Operation::Create {
            let created = |change: &Change| Skipped { attribute: change.attribute, code: UndoSkip::Created };
            inverse.skipped.extend(write.changes.iter().map(created));
            continue;
        }
        if inverse.evidence.is_none() {
            inverse.evidence = write.evidence.as_ref().map(|evidence| evidence.code().to_owned());
        }
        for change in &write.changes {
            let earlier = changes.get(&change.attribute);
            let combined = match earlier {
                // The newest says what stands now, the oldest what to go back to.
                Some(later) if change.attribute != Attribute::Roles => {
                    Change { after: change.before.clone(), ..later.clone() }
                }
                Some(later) => roles_before(later, change),
                None => Change {
                    attribute: change.attribute,
                    before: change.after.clone(),
                    after: change.before.clone(),
                },
            };
            changes.insert(change.attribute, combined);
        }
    }
    for change in changes.into_values() {
        if turns_off(&change) {
            inverse.skipped.push(Skipped { attribute: Attribute::Active, code: UndoSkip::NeedsEvidence });
        } else if !same(change.attribute, change.before.as_ref(), change.after.as_ref()) {
            inverse.changes.push(change);
        }
    }
    inverse
}

/// It does not turn the account on, so it may turn it off.
fn turns_off(change: &Change) -> bool {
    change.attribute == Attribute::Active && change.after != Some(Value::Flag(true))
}

/// Of roles only those that we gave or took are taken back: the rest may have been changed by others
/// between two writes.
fn roles_before(later: &Change, earlier: &Change) -> Change {
    let (given, taken) = earlier.roles();
    let mut after = Value::items(later.after.as_ref());
    after.retain(|role| !given.contains(role));
    for role in taken {
        if !after.contains(&role) {
            after.push(role);
        }
    }
    Change { attribute: Attribute::Roles, before: later.before.clone(), after: Some(Value::List(after)) }
}

/// What of the inverse can still be done to a user who shows `shown`, and what has moved since.
pub fn still_standing(changes: &[Change], shown: &Attributes) -> Inverse {
    let mut standing = Inverse::default();
    for change in changes {
        // `inverse` makes none that does, but this comes out of the store.
        if turns_off(change) {
            standing.skipped.push(Skipped { attribute: change.attribute, code: UndoSkip::NeedsEvidence });
            continue;
        }
        let now = shown.get(&change.attribute);
        let possible = match change.attribute {
            Attribute::Roles => roles_now(change, now),
            attribute => same(attribute, now, change.before.as_ref())
                .then(|| Change { before: now.cloned(), ..change.clone() }),
        };
        match possible {
            Some(change) => standing.changes.push(change),
            None => {
                standing.skipped.push(Skipped { attribute: change.attribute, code: UndoSkip::Moved });
            }
        }
    }
    standing
}

/// Gives back the taken roles that are still missing and takes the given ones that are still held.
fn roles_now(change: &Change, now: Option<&Value>) -> Option<Change> {
    let (to_give, to_take) = change.roles();
    let held = Value::items(now);
    let mut after: Vec<String> = held.iter().filter(|role| !to_take.contains(role)).cloned().collect();
    after.extend(to_give.into_iter().filter(|role| !held.contains(role)));
    after.sort();
    let after = Some(Value::List(after));
    (!same(Attribute::Roles, now, after.as_ref())).then(|| Change {
        attribute: Attribute::Roles,
        before: now.cloned(),
        after,
    })
}

/// What must not be written again once `shown` is what an undo of `changes` has left.
pub fn holding_back(changes: &[Change], shown: &Attributes) -> Vec<Forbidden> {
    let mut forbidden = Vec::new();
    for change in changes {
        let now = shown.get(&change.attribute);
        if change.attribute == Attribute::Roles {
            let (given_back, taken_back) = change.roles();
            let held = Value::items(now);
            let back = given_back.into_iter().filter(|role| held.contains(role));
            forbidden.extend(back.map(|role| Forbidden::TakeRole { role }));
            let gone = taken_back.into_iter().filter(|role| !held.contains(role));
            forbidden.extend(gone.map(|role| Forbidden::GiveRole { role }));
        } else if same(change.attribute, now, change.after.as_ref()) {
            forbidden.push(Forbidden::Value { attribute: change.attribute, value: change.before.clone() });
        }
    }
    forbidden
}

#[cfg(test)]
mod tests;
