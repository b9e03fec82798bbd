//! What is open about one user between an operator and the service: what is held, what was ordered,
//! approved or forbidden, how CXone has drifted, and what would be done if writing were allowed.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::drift::Drift;
use super::evidence::{Evidence, news_of};
use super::guard::Spend;
use super::patch::same;
use super::queue::{Change, Intent, Operation};
use super::user::{Attribute, GroupId, ScimId, Value};

/// Everything open about one user. An empty case is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Case {
    /// What the guard stopped.
    pub held: Option<HeldItem>,
    pub approval: Option<Approval>,
    pub work: Option<Work>,
    pub restraints: Vec<Restraint>,
    pub drift: Vec<Drift>,
    /// What would be done, where writing is not allowed.
    pub observed: Option<Observed>,
}

impl Case {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether operators have forbidden some of this, or ended the order it belongs to. An undo itself is
    /// not bound by what an earlier one forbade.
    pub fn overrules(&self, intent: &Intent) -> bool {
        let order = self.work.as_ref().filter(|work| Some(&work.batch) == intent.batch.as_ref());
        match order.map(|work| &work.task) {
            None if intent.batch.is_some() => true,
            Some(Task::Undo { .. }) => false,
            _ => {
                let evidence = intent.evidence.as_ref().map(Evidence::code);
                let is_forbidden =
                    |change| self.restraints.iter().any(|restraint| restraint.forbids(change, evidence));
                intent.changes.iter().any(is_forbidden)
            }
        }
    }

    /// An approval is for what is held, and ends with it: what looks the same some day is another thing.
    fn end_approval(&mut self) {
        let held = self.held.as_ref().map(|held| &held.plan);
        if self.approval.as_ref().is_some_and(|given| Some(&given.plan) != held) {
            self.approval = None;
        }
    }
}

/// The part of a plan that the guard stopped. It stays stopped until an operator decides: room that
/// frees by the hour is no approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldItem {
    pub since: Timestamp,
    /// The hash of the plan that holds just this, see `Plan::hash`.
    pub plan: String,
    pub operation: Operation,
    pub scim_id: Option<ScimId>,
    pub changes: Vec<Change>,
    pub evidence: Option<Evidence>,
    pub spend: Spend,
    /// Which bound it would have broken.
    pub words: String,
}

/// An operator's yes to exactly one plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    pub plan: String,
    /// The set it was approved with, see [`set_hash`](super::plan::set_hash).
    pub set: String,
    pub by: String,
    pub at: Timestamp,
    pub expires_at: Timestamp,
}

impl Approval {
    pub fn covers(&self, plan: &str, now: Timestamp) -> bool {
        self.plan == plan && now < self.expires_at
    }
}

/// An order that was not begun by then is not begun any more.
pub const ORDERS_LAST: Duration = Duration::from_secs(24 * 3600);

/// An id for an order given now. It tells when that was.
pub fn new_batch(now: Timestamp, random: &[u8; 10]) -> String {
    let milliseconds = now.as_millisecond().max(0) as u64;
    uuid::Builder::from_unix_timestamp_millis(milliseconds, random).into_uuid().to_string()
}

/// When the order was given, to the millisecond; `None` when that is no id of an order.
pub fn ordered_at(batch: &str) -> Option<Timestamp> {
    let (seconds, nanoseconds) = uuid::Uuid::try_parse(batch).ok()?.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
}

/// What an operator ordered to be done about the user, other than what would be done anyway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// The order it was given in; the history names it with every write.
    pub batch: String,
    pub by: String,
    pub at: Timestamp,
    /// Not begun after this.
    pub expires_at: Timestamp,
    pub task: Task,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "camelCase")]
pub enum Task {
    /// Carry out exactly the plan with this hash, even in observe mode; another plan is skipped.
    Apply { plan: String },
    /// Take these writes back, each only where CXone still shows what was written (`before`).
    Undo {
        changes: Vec<Change>,
        /// The kind of evidence of a deactivation among them.
        evidence: Option<String>,
    },
    /// Write Entra's value over what somebody changed in CXone.
    Revert { attributes: BTreeSet<Attribute> },
}

impl Task {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::Undo { .. } => "undo",
            Self::Revert { .. } => "revert",
        }
    }
}

/// What must not be written again although Entra says so, until Entra says something else or an
/// operator lifts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restraint {
    pub forbids: Forbidden,
    pub why: RestraintReason,
    /// Of an account that must not be turned off: on which kind of evidence. On another it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Forbidden {
    Value { attribute: Attribute, value: Option<Value> },
    GiveRole { role: String },
    TakeRole { role: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestraintReason {
    /// An operator rejected what the guard held.
    Rejected,
    /// An operator took the write back.
    Undone,
}

impl Restraint {
    /// Whether it is about an account that is turned off by this kind of evidence.
    pub fn is_about(&self, evidence: &str) -> bool {
        self.evidence.as_deref().is_none_or(|about| news_of(about) == news_of(evidence))
    }

    /// Whether it forbids to write this value.
    pub fn forbids_value(&self, of: Attribute, desired: Option<&Value>) -> bool {
        match &self.forbids {
            Forbidden::Value { attribute, value } => *attribute == of && same(of, value.as_ref(), desired),
            Forbidden::GiveRole { .. } | Forbidden::TakeRole { .. } => false,
        }
    }

    /// Whether it forbids this change, made by that kind of evidence.
    pub fn forbids(&self, change: &Change, evidence: Option<&str>) -> bool {
        let is_about = evidence.is_none_or(|evidence| self.is_about(evidence));
        match &self.forbids {
            Forbidden::Value { .. } => {
                is_about && self.forbids_value(change.attribute, change.after.as_ref())
            }
            Forbidden::GiveRole { role } => {
                change.attribute == Attribute::Roles && change.roles().0.contains(role)
            }
            Forbidden::TakeRole { role } => {
                change.attribute == Attribute::Roles && change.roles().1.contains(role)
            }
        }
    }
}

impl RestraintReason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Undone => "undone",
        }
    }
}

/// What forbids these changes.
pub fn forbidding(changes: &[Change]) -> Vec<Forbidden> {
    let mut forbidden = Vec::new();
    for change in changes {
        if change.attribute == Attribute::Roles {
            let (given, taken) = change.roles();
            forbidden.extend(given.into_iter().map(|role| Forbidden::GiveRole { role }));
            forbidden.extend(taken.into_iter().map(|role| Forbidden::TakeRole { role }));
        } else {
            forbidden.push(Forbidden::Value { attribute: change.attribute, value: change.after.clone() });
        }
    }
    forbidden
}

/// A plan that was made and, by the mode, not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    pub at: Timestamp,
    pub plan: String,
    pub operation: Operation,
    pub scim_id: Option<ScimId>,
    pub reason: String,
    pub changes: Vec<Change>,
    pub evidence: Option<Evidence>,
}

/// What a run leaves of a case. `None` keeps what is there; whatever an operator did meanwhile stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaseChange {
    pub held: Option<Option<HeldItem>>,
    pub drift: Option<Vec<Drift>>,
    pub observed: Option<Option<Observed>>,
    pub restrain: Vec<Restraint>,
    pub lift: Vec<Restraint>,
    /// The batch whose work has come to its end.
    pub work_done: Option<String>,
}

impl CaseChange {
    /// The case after the run.
    pub fn applied_to(&self, mut case: Case) -> Case {
        if let Some(held) = &self.held {
            let since = case.held.as_ref().map(|earlier| earlier.since);
            case.held.clone_from(held);
            if let (Some(held), Some(since)) = (&mut case.held, since) {
                // How long an operator has let it wait counts from the first time.
                held.since = held.since.min(since);
            }
        }
        if let Some(drift) = &self.drift {
            case.drift.clone_from(drift);
        }
        if let Some(observed) = &self.observed {
            case.observed.clone_from(observed);
        }
        case.restraints.retain(|restraint| !self.lift.contains(restraint));
        for restraint in &self.restrain {
            let about = |it: &Restraint| (it.forbids.clone(), it.evidence.clone());
            case.restraints.retain(|old| about(old) != about(restraint));
            case.restraints.push(restraint.clone());
        }
        if case.work.as_ref().is_some_and(|work| Some(&work.batch) == self.work_done.as_ref()) {
            case.work = None;
        }
        case.end_approval();
        case
    }
}

/// A change that was announced: so much may be done to those who were in a group when it was said,
/// without asking the budgets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preapproval {
    pub id: uuid::Uuid,
    pub group: GroupId,
    /// Users it is for.
    pub users: u64,
    /// How much may be done, of whatever is guarded.
    pub most: u64,
    pub used: u64,
    pub by: String,
    pub at: Timestamp,
    pub until: Timestamp,
}

#[cfg(test)]
mod tests;
