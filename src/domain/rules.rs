//! The configured rules of deciding, checked and ready to use.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::mapping::Expression;
use super::roles::RoleTable;
use super::scope::Scope;
use super::user::{Attribute, GroupId, TargetUser, UserId, Value};

/// Everything `decide` needs to know that does not change from user to user.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What is mapped, how, and who wins. `Active` and `Roles` have an owner but no expression:
    /// they follow the account's state and the role table.
    pub attributes: BTreeMap<Attribute, Rule>,
    pub roles: RoleTable,
    pub scope: Scope,
    /// How an unlinked user is looked for, in this order. Never empty.
    pub matching: Vec<MatchKey>,
    pub create: bool,
    pub on_delete: OnDelete,
    pub protected: Protected,
}

/// Who and what is never written, whatever Entra says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    pub users: BTreeSet<UserId>,
    /// CXone user names, in lower case.
    pub user_names: BTreeSet<String>,
    /// Whoever holds one of these in CXone is protected. None of them stands in the role table.
    pub roles: BTreeSet<String>,
}

impl Protected {
    pub fn user(&self, user: UserId) -> bool {
        self.users.contains(&user)
    }

    /// Why this account is protected; `None` when it is not.
    pub fn account(&self, shown: &TargetUser) -> Option<String> {
        let name = shown.attributes.get(&Attribute::UserName).and_then(Value::as_text);
        if name.is_some_and(|name| self.user_names.contains(&name.to_lowercase())) {
            return Some("its user name is in guard.protected_users".to_owned());
        }
        let held = Value::items(shown.attributes.get(&Attribute::Roles));
        let role = held.into_iter().find(|role| self.roles.contains(role))?;
        Some(format!("it holds the role {role:?}, which is in guard.protected_roles"))
    }
}

impl Rules {
    /// Every source attribute that a mapping or a rule of the scope reads.
    pub fn properties(&self) -> BTreeSet<String> {
        let mapped = self.attributes.values().filter_map(|rule| rule.from.as_ref());
        let scoped = self.scope.rules.iter().map(|rule| &rule.condition);
        mapped.chain(scoped).flat_map(|expression| expression.properties()).collect()
    }

    /// Whether the role table is kept up after a user was created.
    pub fn gives_roles(&self) -> bool {
        self.attributes.get(&Attribute::Roles).is_some_and(|rule| rule.owner != Owner::Cxone)
    }

    /// Every group that is named, whether or not it matters at present.
    pub fn named_groups(&self) -> BTreeSet<GroupId> {
        let rows = self.roles.rows().iter().map(|row| row.group);
        self.scope.named_groups().into_iter().chain(rows).collect()
    }

    /// The groups whose members matter: those of the scope, and those of the role table when roles
    /// are ours to give.
    pub fn relevant_groups(&self) -> BTreeSet<GroupId> {
        let mut groups = self.scope.named_groups();
        if self.gives_roles() {
            groups.extend(self.roles.rows().iter().map(|row| row.group));
        }
        groups
    }
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub from: Option<Expression>,
    pub owner: Owner,
    /// Who wins when both sides changed and the owner is `newest`.
    pub tie: Side,
    /// Written when the user is created, never afterwards.
    pub create_only: bool,
}

/// Whose word holds for an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    #[serde(alias = "azure_ad")]
    Entra,
    Cxone,
    /// The side that changed since they last agreed.
    Newest,
    /// As `newest`, but when both changed an operator decides.
    Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    #[serde(alias = "azure_ad")]
    Entra,
    Cxone,
}

/// By what an unlinked user is looked for in CXone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MatchKey {
    ExternalId,
    UserName,
    Email,
    /// For targets that use the Graph id as their own.
    Id,
}

impl MatchKey {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExternalId => "externalId",
            Self::UserName => "userName",
            Self::Email => "email",
            Self::Id => "id",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDelete {
    Deactivate,
    Ignore,
}
