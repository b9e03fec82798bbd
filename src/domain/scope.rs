//! Who is ours to keep: groups and attribute rules.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::digest::of_json;
use super::evidence::OutOfScope;
use super::mapping::Expression;
use super::user::{GroupId, Membership, SourceUser};

/// The configured scope. Without groups and rules everybody is in it.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// In one of these (nested groups count), or nobody is in scope; empty: everybody.
    pub groups: Vec<GroupId>,
    /// In none of these.
    pub exclude_groups: Vec<GroupId>,
    /// Each must be true of the user.
    pub rules: Vec<ScopeRule>,
}

#[derive(Clone, Debug)]
pub struct ScopeRule {
    /// As it stands in the configuration.
    pub text: String,
    pub condition: Expression,
}

/// Whether a user is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InScope {
    Yes,
    /// Shown by a complete read. Once is no evidence.
    No(OutOfScope),
    /// Cannot be told at present, for this reason: nothing may be concluded.
    Unknown(String),
}

impl Scope {
    pub fn needs_groups(&self) -> bool {
        !self.groups.is_empty() || !self.exclude_groups.is_empty()
    }

    /// Every group the scope names.
    pub fn named_groups(&self) -> BTreeSet<GroupId> {
        self.groups.iter().chain(&self.exclude_groups).copied().collect()
    }

    /// Names this scope: another one has another. Hexadecimal SHA-256.
    pub fn digest(&self) -> String {
        let rules: Vec<&str> = self.rules.iter().map(|rule| rule.text.as_str()).collect();
        of_json(&serde_json::json!([self.groups, self.exclude_groups, rules]))
    }

    /// `read_at` is when the user was read; the membership knows its own time.
    pub fn of(&self, user: &SourceUser, membership: &Membership, read_at: Timestamp) -> InScope {
        if self.needs_groups() && membership.scope_read_at.is_none() {
            return InScope::Unknown("the groups of the scope have not all been read".to_owned());
        }
        if let Some(sighting) = OutOfScope::in_excluded_group(membership, &self.exclude_groups) {
            return InScope::No(sighting);
        }
        if !self.groups.is_empty()
            && let Some(sighting) = OutOfScope::in_no_scope_group(membership, &self.groups)
        {
            return InScope::No(sighting);
        }
        for rule in &self.rules {
            match rule.condition.holds(&user.properties) {
                Ok(true) => {}
                Ok(false) => return InScope::No(OutOfScope::rule_says_no(user, &rule.text, read_at)),
                Err(error) => return InScope::Unknown(format!("scope rule {:?}: {error}", rule.text)),
            }
        }
        InScope::Yes
    }
}

#[cfg(test)]
mod tests;
