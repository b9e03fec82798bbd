//! What a look saw of one user, as it is remembered: so that other rules can be tried on what was.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::plan::Source;
use super::user::{Attributes, GroupId, Membership, ScimId, SourceUser, TargetUser, UserId, Value};

/// Both sides of a user from `at` on, until another state is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenState {
    pub at: Timestamp,
    pub enabled: bool,
    pub properties: BTreeMap<String, Value>,
    /// Asked for and not set. Of what is neither here nor in `properties` nothing is known.
    pub unset: BTreeSet<String>,
    /// The relevant groups the user was in, nested ones included.
    pub groups: BTreeSet<GroupId>,
    /// All groups that were relevant had been read.
    pub complete: bool,
    /// The scope (see `Scope::digest`) of which all groups had been read, where it was only those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_read: Option<String>,
    /// Entra does not have the user any more, and shows nothing of the above.
    pub gone: Option<Evidence>,
    /// The CXone user, after what the run did about them; `None`: there was none.
    pub target: Option<Attributes>,
    /// Whom the user is linked to.
    pub scim_id: Option<ScimId>,
}

impl SeenState {
    /// Whether nothing but the time differs.
    pub fn shows_the_same_as(&self, other: &Self) -> bool {
        let Self { at: _, enabled, properties, unset, groups, complete, scope_read, gone, target, scim_id } =
            self;
        *enabled == other.enabled
            && *properties == other.properties
            && *unset == other.unset
            && *groups == other.groups
            && *complete == other.complete
            && *scope_read == other.scope_read
            && *gone == other.gone
            && *target == other.target
            && *scim_id == other.scim_id
    }

    /// Whether it can be told what the property was.
    pub fn knows(&self, property: &str) -> bool {
        self.gone.is_some() || self.properties.contains_key(property) || self.unset.contains(property)
    }

    /// The memberships as they were read then.
    pub fn membership(&self) -> Membership {
        Membership {
            groups: self.groups.clone(),
            complete: self.complete,
            read_at: Some(self.at),
            scope_read_at: (self.complete || self.scope_read.is_some()).then_some(self.at),
        }
    }

    pub fn source(&self, user: UserId) -> Source {
        match &self.gone {
            Some(evidence) => Source::Gone(evidence.clone()),
            None => Source::Present(SourceUser {
                id: user,
                enabled: self.enabled,
                properties: self.properties.clone(),
            }),
        }
    }

    pub fn shown(&self) -> Option<TargetUser> {
        let attributes = self.target.clone()?;
        // Somebody who was found and never linked is still found.
        let id = self.scim_id.clone().unwrap_or_else(|| ScimId("unlinked".to_owned()));
        Some(TargetUser { id, attributes })
    }
}
