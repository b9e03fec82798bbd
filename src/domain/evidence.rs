//! Why we believe somebody is gone. No deactivation can be planned without such a value, and only
//! positive observations construct one: a read that failed proves nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::user::{GroupId, Membership, SourceUser, UserId};

/// Two looks that find a user nowhere must be this far apart to count: replicas of the directory
/// may lag by minutes.
pub const ABSENT_TWICE_APART: Duration = Duration::from_secs(600);
/// Two looks that find a user out of scope must be this far apart to count: somebody who moves from
/// one group to another is in neither for a moment, and replicas lag.
pub const OUT_OF_SCOPE_TWICE_APART: Duration = Duration::from_secs(300);

/// The code of evidence that an account is disabled.
pub const DISABLED: &str = "disabled";
/// The code of evidence that somebody is out of scope.
pub const OUT_OF_SCOPE: &str = "out_of_scope";

/// What a code says of the user: deleted is deleted, however it was seen.
pub fn news_of(code: &str) -> &str {
    match code {
        "in_deleted_items" | "removed_in_delta" | "absent_twice" => "gone",
        other => other,
    }
}

/// The first of the looks in a row that found a user out of scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstSight {
    pub at: Timestamp,
    /// By which scope, see `Scope::digest`: another one begins anew.
    pub scope: String,
}

/// A positive observation, kept with the history of the deactivation it justified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Evidence(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
enum Kind {
    Disabled,
    InDeletedItems,
    RemovedInDelta {
        reason: RemovedReason,
    },
    AbsentTwice {
        first: Timestamp,
        second: Timestamp,
    },
    OutOfScope {
        rule: String,
        #[serde(default)]
        first: Option<Timestamp>,
        #[serde(default)]
        second: Option<Timestamp>,
    },
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

    /// `directory/deletedItems/{id}` answered with this very user.
    pub fn in_deleted_items(user: UserId, found: &DeletedItem) -> Option<Self> {
        (found.id == user).then_some(Self(Kind::InDeletedItems))
    }

    /// A delta round said `@removed`, and the user is found nowhere.
    pub fn removed_in_delta(reason: RemovedReason) -> Self {
        Self(Kind::RemovedInDelta { reason })
    }

    /// Neither a user nor a deleted item, in two looks at least [`ABSENT_TWICE_APART`] apart.
    pub fn absent_twice(first: Timestamp, second: Timestamp) -> Option<Self> {
        is_apart(first, second, ABSENT_TWICE_APART).then_some(Self(Kind::AbsentTwice { first, second }))
    }

    /// Nobody comes back under this id.
    pub fn is_permanent(&self) -> bool {
        matches!(self.0, Kind::RemovedInDelta { reason: RemovedReason::Deleted } | Kind::AbsentTwice { .. })
    }

    /// The kind of observation, as operators and the history know it.
    pub const fn code(&self) -> &'static str {
        match self.0 {
            Kind::Disabled => DISABLED,
            Kind::InDeletedItems => "in_deleted_items",
            Kind::RemovedInDelta { .. } => "removed_in_delta",
            Kind::AbsentTwice { .. } => "absent_twice",
            Kind::OutOfScope { .. } => OUT_OF_SCOPE,
        }
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
            Kind::OutOfScope { rule, first: Some(first), second: Some(second) } => {
                format!("out of scope: {rule}; seen at {first} and at {second}")
            }
            Kind::OutOfScope { rule, .. } => format!("out of scope: {rule}"),
        }
    }
}

fn is_apart(first: Timestamp, second: Timestamp, least: Duration) -> bool {
    Duration::try_from(second.duration_since(first)).is_ok_and(|apart| apart >= least)
}

/// One complete look that shows a user out of scope. Not evidence yet: a second one, later, must
/// agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfScope {
    rule: String,
    seen_at: Timestamp,
}

impl OutOfScope {
    /// A complete read of the groups shows the user in none of those in scope.
    pub fn in_no_scope_group(membership: &Membership, scope: &[GroupId]) -> Option<Self> {
        let outside = !scope.iter().any(|group| membership.groups.contains(group));
        let rule = "in none of scope.groups".to_owned();
        membership.scope_read_at.filter(|_| outside).map(|seen_at| Self { rule, seen_at })
    }

    /// A complete read of the groups shows the user in one that is excluded.
    pub fn in_excluded_group(membership: &Membership, excluded: &[GroupId]) -> Option<Self> {
        let group = excluded.iter().find(|group| membership.groups.contains(group))?;
        let rule = format!("in scope.exclude_groups: {group}");
        membership.scope_read_at.map(|seen_at| Self { rule, seen_at })
    }

    /// An attribute rule of the scope says no to a completely read user.
    pub fn rule_says_no(_user: &SourceUser, rule: &str, read_at: Timestamp) -> Self {
        Self { rule: format!("scope.rules: {rule}"), seen_at: read_at }
    }

    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// When what it rests on was read: of several groups, the one read longest ago.
    pub fn seen_at(&self) -> Timestamp {
        self.seen_at
    }

    /// Evidence, if a look at `first` found the user out of scope too, and all that this sighting rests on
    /// was read at least [`OUT_OF_SCOPE_TWICE_APART`] after it; else this sighting again.
    pub fn confirmed(self, first: Option<Timestamp>) -> Result<Evidence, Self> {
        match first {
            Some(first) if is_apart(first, self.seen_at, OUT_OF_SCOPE_TWICE_APART) => {
                let (first, second) = (Some(first), Some(self.seen_at));
                Ok(Evidence(Kind::OutOfScope { rule: self.rule, first, second }))
            }
            _ => Err(self),
        }
    }
}

/// A user found in the directory's deleted items. Only a 200 answer for the same id makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedItem {
    pub id: UserId,
}

#[cfg(test)]
mod tests;
