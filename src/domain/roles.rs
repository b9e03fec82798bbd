//! The table of Entra groups and CXone roles, read in both directions.

use std::collections::BTreeSet;

use serde::Serialize;

use super::user::{GroupId, Membership, Value};

/// One row: who is in the group has the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRow {
    pub group: GroupId,
    /// As CXone shows it: a role's `value`, or its `display`.
    pub role: String,
    /// It gives power over others.
    pub privileged: bool,
}

/// One-to-one in both directions: no group and no role stands in it twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleTable(Vec<RoleRow>);

/// A row that would make the table ambiguous.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleTableError {
    #[error("group {group} has two roles, {first:?} and {second:?}: give each role a group of its own")]
    GroupTwice { group: GroupId, first: String, second: String },
    #[error(
        "role {role:?} is given by two groups, {first} and {second}: nest one group in the other, or make one group of them"
    )]
    RoleTwice { role: String, first: GroupId, second: GroupId },
}

/// What a row of the table comes to for one user. The names are reason codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowCode {
    /// A member who holds the role.
    Given,
    /// A member who does not hold it yet.
    ToBeGiven,
    /// No member, and holds it: taken, if roles are Entra's to take.
    ToBeTaken,
    /// No member, and does not hold it.
    NotAMember,
    /// Not a member by the groups read so far, but they have not all been read.
    GroupsUnread,
}

impl RowCode {
    pub const ALL: [Self; 5] =
        [Self::Given, Self::ToBeGiven, Self::ToBeTaken, Self::NotAMember, Self::GroupsUnread];

    pub const fn code(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::ToBeGiven => "to_be_given",
            Self::ToBeTaken => "to_be_taken",
            Self::NotAMember => "not_a_member",
            Self::GroupsUnread => "groups_unread",
        }
    }
}

impl RoleRow {
    /// Why a user has or lacks the role of this row.
    pub fn judge(&self, membership: &Membership, held: &[String]) -> RowCode {
        match (membership.groups.contains(&self.group), held.contains(&self.role)) {
            (true, true) => RowCode::Given,
            (true, false) => RowCode::ToBeGiven,
            (false, _) if !membership.complete => RowCode::GroupsUnread,
            (false, true) => RowCode::ToBeTaken,
            (false, false) => RowCode::NotAMember,
        }
    }
}

impl RoleTable {
    pub fn new(rows: Vec<RoleRow>) -> Result<Self, RoleTableError> {
        for (n, row) in rows.iter().enumerate() {
            for earlier in &rows[..n] {
                if earlier.group == row.group {
                    let (first, second) = (earlier.role.clone(), row.role.clone());
                    return Err(RoleTableError::GroupTwice { group: row.group, first, second });
                }
                if earlier.role == row.role {
                    let role = row.role.clone();
                    return Err(RoleTableError::RoleTwice { role, first: earlier.group, second: row.group });
                }
            }
        }
        Ok(Self(rows))
    }

    pub fn rows(&self) -> &[RoleRow] {
        &self.0
    }

    pub fn contains(&self, role: &str) -> bool {
        self.0.iter().any(|row| row.role == role)
    }

    pub fn is_privileged(&self, role: &str) -> bool {
        self.0.iter().any(|row| row.role == role && row.privileged)
    }

    /// Read backwards: the group that a role found in CXone would need.
    pub fn group_of(&self, role: &str) -> Option<GroupId> {
        self.0.iter().find(|row| row.role == role).map(|row| row.group)
    }

    /// The roles of the table that the memberships give.
    pub fn given_by(&self, membership: &Membership) -> BTreeSet<&str> {
        self.0
            .iter()
            .filter(|row| membership.groups.contains(&row.group))
            .map(|row| row.role.as_str())
            .collect()
    }

    /// What was desired earlier, as it would read beside `now`: roles outside the table are in it only
    /// because they are held, so that one given or taken by hand is no change of Entra's word.
    pub fn rebased(&self, earlier: Option<&Value>, now: Option<&Value>) -> Value {
        let given = Value::items(earlier).into_iter().filter(|role| self.contains(role));
        let others = Value::items(now).into_iter().filter(|role| !self.contains(role));
        let roles: BTreeSet<String> = given.chain(others).collect();
        Value::List(roles.into_iter().collect())
    }

    /// What the user should hold: the roles given by groups, and every role held now that the table
    /// does not know.
    pub fn desired(&self, membership: &Membership, held: &[String]) -> BTreeSet<String> {
        let untouched = held.iter().filter(|role| !self.contains(role)).cloned();
        untouched.chain(self.given_by(membership).into_iter().map(str::to_owned)).collect()
    }
}

#[cfg(test)]
mod tests;
