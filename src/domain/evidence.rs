//! Why we believe somebody is gone. No deactivation can be planned without such a value, and only
//! positive observations construct one: a read that failed proves nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::user::{GroupId, Membership, SourceUser};

/// Two looks that find a user nowhere must be this far apart to count: replicas of the directory
/// may lag by minutes.
pub const ABSENT_TWICE_APART: Duration = Duration::from_secs(600);

/// A positive observation, kept with the history of the deactivation it justified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Evidence(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
enum Kind {
    Disabled,
    InDeletedItems,
    RemovedInDelta { reason: RemovedReason },
    AbsentTwice { first: Timestamp, second: Timestamp },
    OutOfScope { rule: String },
}

/// What a delta round says about a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RemovedReason {
    /// Soft-deleted: can be restored for 30 days.
    Changed,
    /// Gone for good.
    Deleted,
}

impl Evidence {
    /// `accountEnabled` is false in a complete read of this very user.
    pub fn disabled(user: &SourceUser) -> Option<Self> {
        (!user.enabled).then_some(Self(Kind::Disabled))
    }

    /// `directory/deletedItems/{id}` answered with the user.
    pub fn in_deleted_items(_found: &DeletedItem) -> Self {
        Self(Kind::InDeletedItems)
    }

    /// A delta round said `@removed`, and the user is found nowhere.
    pub fn removed_in_delta(reason: RemovedReason) -> Self {
        Self(Kind::RemovedInDelta { reason })
    }

    /// Neither a user nor a deleted item, in two looks at least [`ABSENT_TWICE_APART`] apart.
    pub fn absent_twice(first: Timestamp, second: Timestamp) -> Option<Self> {
        let apart = Duration::try_from(second.duration_since(first)).unwrap_or_default();
        (apart >= ABSENT_TWICE_APART).then_some(Self(Kind::AbsentTwice { first, second }))
    }

    /// A complete read of the groups shows the user in none of those in scope.
    pub fn in_no_scope_group(membership: &Membership, scope: &[GroupId]) -> Option<Self> {
        let outside = membership.complete && !scope.iter().any(|group| membership.groups.contains(group));
        outside.then(|| Self(Kind::OutOfScope { rule: "in none of scope.groups".to_owned() }))
    }

    /// A complete read of the groups shows the user in one that is excluded.
    pub fn in_excluded_group(membership: &Membership, excluded: &[GroupId]) -> Option<Self> {
        let group = excluded.iter().find(|group| membership.complete && membership.groups.contains(group))?;
        Some(Self(Kind::OutOfScope { rule: format!("in scope.exclude_groups: {group}") }))
    }

    /// An attribute rule of the scope says no to a completely read user.
    pub fn rule_says_no(_user: &SourceUser, rule: &str) -> Self {
        Self(Kind::OutOfScope { rule: format!("scope.rules: {rule}") })
    }

    /// Nobody comes back under this id.
    pub fn is_permanent(&self) -> bool {
        matches!(self.0, Kind::RemovedInDelta { reason: RemovedReason::Deleted } | Kind::AbsentTwice { .. })
    }

    /// One look is not enough to act on: the next one may show the user elsewhere.
    pub fn needs_second_look(&self) -> bool {
        matches!(self.0, Kind::OutOfScope { .. })
    }

    /// A sentence for an operator.
    pub fn sentence(&self) -> String {
        match &self.0 {
            Kind::Disabled => "the account is disabled in Entra".to_owned(),
            Kind::InDeletedItems => "the user is among the deleted items of the directory".to_owned(),
            Kind::RemovedInDelta { reason: RemovedReason::Changed } => {
                "the delta query says removed (soft-deleted)".to_owned()
            }
            Kind::RemovedInDelta { reason: RemovedReason::Deleted } => {
                "the delta query says removed (permanently)".to_owned()
            }
            Kind::AbsentTwice { first, second } => {
                format!("found nowhere in the directory at {first} and at {second}")
            }
            Kind::OutOfScope { rule } => format!("out of scope: {rule}"),
        }
    }
}

/// A user found in the directory's deleted items. Only a 200 answer for the same id makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedItem {
    pub id: super::user::UserId,
}
