//! The three-way comparison of one attribute: who wins, and why.

use serde::{Deserialize, Serialize};

use super::link::Baseline;
use super::patch::same;
use super::rules::{Owner, Rule, Side};
use super::user::{Attribute, Value};

/// What is to be done about one attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    Keep,
    Write,
    Hold,
}

/// Why. The names are the reason codes operators see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    InSync,
    /// Entra shows nothing, and CXone cannot do without it.
    SourceEmpty,
    CreateOnly,
    OwnedByCxone,
    SourceChanged,
    /// CXone was changed by somebody else; Entra's value is restored.
    Drift,
    TargetChanged,
    /// Both changed since they last agreed.
    Conflict,
    /// The sides have differed since they were last settled, and neither moved.
    SettledDifference,
    /// The groups have not all been read.
    GroupsUnread,
    NotMapped,
    /// The target keeps this value in its own way, as it has shown before.
    TargetNormalises,
    /// An operator rejected this, or took it back.
    Restrained,
    /// An operator asked for Entra's value.
    Reverted,
}

impl Why {
    pub const ALL: [Self; 14] = [
        Self::InSync,
        Self::SourceEmpty,
        Self::CreateOnly,
        Self::OwnedByCxone,
        Self::SourceChanged,
        Self::Drift,
        Self::TargetChanged,
        Self::Conflict,
        Self::SettledDifference,
        Self::GroupsUnread,
        Self::NotMapped,
        Self::TargetNormalises,
        Self::Restrained,
        Self::Reverted,
    ];

    /// The reason code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::SourceEmpty => "source_empty",
            Self::CreateOnly => "create_only",
            Self::OwnedByCxone => "owned_by_cxone",
            Self::SourceChanged => "source_changed",
            Self::Drift => "drift",
            Self::TargetChanged => "target_changed",
            Self::Conflict => "conflict",
            Self::SettledDifference => "settled_difference",
            Self::GroupsUnread => "groups_unread",
            Self::NotMapped => "not_mapped",
            Self::TargetNormalises => "target_normalises",
            Self::Restrained => "restrained",
            Self::Reverted => "reverted",
        }
    }
}

/// `desired` is Entra's value, mapped; `shown` is what CXone has.
pub fn resolve(
    attribute: Attribute,
    rule: &Rule,
    desired: Option<&Value>,
    shown: Option<&Value>,
    baseline: Option<&Baseline>,
) -> (Decision, Why) {
    if same(attribute, desired, shown) {
        return (Decision::Keep, Why::InSync);
    }
    if rule.create_only {
        return (Decision::Keep, Why::CreateOnly);
    }
    // Without a baseline both count as changed: nothing is known of who moved.
    let source_changed = baseline.is_none_or(|b| !same(attribute, b.source.as_ref(), desired));
    let target_changed = baseline.is_none_or(|b| !same(attribute, b.target.as_ref(), shown));
    match (rule.owner, source_changed, target_changed) {
        (Owner::Entra, _, true) if baseline.is_some() && !source_changed => (Decision::Write, Why::Drift),
        (Owner::Entra, _, _) => (Decision::Write, Why::SourceChanged),
        (Owner::Cxone, _, _) => (Decision::Keep, Why::OwnedByCxone),
        (_, true, false) => (Decision::Write, Why::SourceChanged),
        (_, false, true) => (Decision::Keep, Why::TargetChanged),
        (_, false, false) => (Decision::Keep, Why::SettledDifference),
        (Owner::Hold, true, true) => (Decision::Hold, Why::Conflict),
        (Owner::Newest, true, true) => match rule.tie {
            Side::Entra => (Decision::Write, Why::Conflict),
            Side::Cxone => (Decision::Keep, Why::Conflict),
        },
    }
}

#[cfg(test)]
mod tests;
