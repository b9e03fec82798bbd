//! What somebody changed in CXone by hand: the target has moved from the baseline, and not by us.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::conflict::{Decision, Why};
use super::link::Baseline;
use super::patch::same;
use super::plan::{Plan, Verdict};
use super::roles::RoleTable;
use super::rules::Owner;
use super::user::{Attribute, GroupId, Value};

/// One attribute of one user that differs from what we last wrote or saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    pub attribute: Attribute,
    /// When a look first showed it.
    pub since: Timestamp,
    /// What CXone showed when both sides were last settled.
    pub baseline: Option<Value>,
    pub shown: Option<Value>,
    /// Entra's value, mapped.
    pub entra: Option<Value>,
    pub owner: Owner,
    /// What the rules make of it: kept, held, or written back (then it is gone with the next write).
    pub decision: Decision,
    pub why: Why,
    /// Entra changed too since both sides were last settled.
    pub both_changed: bool,
    /// Of roles: which, and the group that would give each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleDrift>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleDrift {
    pub role: String,
    /// Given by hand, or taken.
    pub given: bool,
    /// The group the table's reverse side names; `None`: the role is not in the table and never
    /// touched.
    pub group: Option<GroupId>,
}

/// The drift a look shows. `old` is what was known before: what goes on keeps its beginning, and what
/// was kept or held stays until both sides agree or an operator accepts or reverts it.
pub fn drift(plan: &Plan, table: &RoleTable, old: &[Drift], now: Timestamp) -> Vec<Drift> {
    if plan.verdicts.is_empty() {
        return old.to_vec();
    }
    plan.verdicts.iter().filter_map(|verdict| one(verdict, table, old, now)).collect()
}

fn one(verdict: &Verdict, table: &RoleTable, old: &[Drift], now: Timestamp) -> Option<Drift> {
    let attribute = verdict.attribute;
    let earlier = old.iter().find(|drift| drift.attribute == attribute);
    // The link's baseline follows what is kept, so the drift remembers the one it is measured by.
    let baseline = match (earlier, &verdict.baseline) {
        (Some(earlier), _) => earlier.baseline.clone(),
        (None, Some(baseline)) => baseline.target.clone(),
        (None, None) => return None,
    };
    let shown = verdict.target.as_ref();
    if same(attribute, baseline.as_ref(), shown) || verdict.why == Why::TargetNormalises {
        return None;
    }
    let roles =
        if attribute == Attribute::Roles { role_drift(baseline.as_ref(), shown, table) } else { Vec::new() };
    let agreed = same(attribute, verdict.source.as_ref(), shown);
    // Agreement ends it, but for roles outside the table, which Entra has no word on.
    if agreed && !roles.iter().any(|role| role.group.is_none()) {
        return None;
    }
    let source_moved = |b: &Baseline| {
        let now = verdict.source.as_ref();
        let then = match attribute {
            Attribute::Roles => Some(table.rebased(b.source.as_ref(), now)),
            _ => b.source.clone(),
        };
        !same(attribute, then.as_ref(), now)
    };
    Some(Drift {
        attribute,
        since: earlier.map_or(now, |earlier| earlier.since),
        baseline,
        shown: shown.cloned(),
        entra: verdict.source.clone(),
        owner: verdict.owner,
        decision: verdict.decision,
        why: verdict.why,
        both_changed: earlier.is_some_and(|earlier| earlier.both_changed)
            || verdict.baseline.as_ref().is_some_and(source_moved),
        roles,
    })
}

fn role_drift(baseline: Option<&Value>, shown: Option<&Value>, table: &RoleTable) -> Vec<RoleDrift> {
    let (before, after) = (Value::items(baseline), Value::items(shown));
    let role = |role: &String, given| RoleDrift { role: role.clone(), given, group: table.group_of(role) };
    let given = after.iter().filter(|role| !before.contains(role)).map(|name| role(name, true));
    let taken = before.iter().filter(|role| !after.contains(role)).map(|name| role(name, false));
    given.chain(taken).collect()
}

impl Drift {
    /// What is left of it once Entra's value was written: roles outside the table, which that does not
    /// touch.
    pub fn after_a_write(mut self, shown: Option<&Value>) -> Option<Self> {
        self.roles.retain(|role| role.group.is_none());
        self.shown = shown.cloned();
        (!self.roles.is_empty()).then_some(self)
    }

    /// Why an operator cannot take this as the new baseline; `None` when they can.
    pub fn not_acceptable(&self) -> Option<String> {
        (self.decision == Decision::Write).then(|| {
            format!(
                "attributes.{} is owned by Entra, which writes its value back: change it in Entra, or change the owner",
                self.attribute
            )
        })
    }

    /// Why an operator cannot have Entra's value written over it; `None` when they can.
    pub fn not_revertible(&self) -> Option<String> {
        if self.owner == Owner::Cxone {
            return Some(format!(
                "attributes.{} is owned by CXone: only mapped attributes that are not are ever written",
                self.attribute
            ));
        }
        let outside = !self.roles.is_empty() && self.roles.iter().all(|role| role.group.is_none());
        outside.then(|| "these roles are not in the table, and what is not is never touched".to_owned())
    }
}

#[cfg(test)]
mod tests;
