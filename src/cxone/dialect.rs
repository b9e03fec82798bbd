//! The ways to say the same change: four dialects of PATCH and PUT, as pure functions.
//!
//! NICE publishes no example of a PATCH, only a schema that differs from the RFC's; which dialect a
//! tenant understands has to be tried. Each says only what differs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::entry;
use super::merge::{self, RoleChange};
use super::place::{EXTENSION, MESSAGES, Place, lookup, place};
use super::wire::{RoleNames, entries};
use crate::domain::queue::Change;
use crate::domain::user::Value;
use crate::outbound::Method;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// PATCH as the RFC has it: `emails[type eq "work"].value`.
    Rfc7644,
    /// As `rfc7644`, with `emails[0].value`, which is no SCIM but is asked for in the wild.
    Indexed,
    /// PATCH by NICE's published schema: no `op`, and every value a string.
    Cxone,
    /// PUT of the whole user, with our changes in it.
    Put,
}

impl Dialect {
    /// In the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Rfc7644, Self::Indexed, Self::Cxone, Self::Put];

    /// Its name in the configuration and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc7644 => "rfc7644",
            Self::Indexed => "indexed",
            Self::Cxone => "cxone",
            Self::Put => "put",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialectChoice {
    /// Finds out, beginning with `rfc7644`.
    Auto,
    Fixed(Dialect),
}

/// What is sent to `/Users/{id}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub method: Method,
    pub body: Json,
}

/// The one request that makes these changes to this user; `None` when the user needs none.
/// What a dialect cannot say (`cxone`: a removal, several roles) is said by PUT.
pub fn update(
    raw: &Map<String, Json>,
    changes: &[Change],
    dialect: Dialect,
    roles: &RoleNames,
) -> Option<Update> {
    if changes.iter().all(|change| standard(raw, change, false, roles).is_empty()) {
        return None;
    }
    let operations = match dialect {
        Dialect::Rfc7644 | Dialect::Indexed => Some(
            changes
                .iter()
                .flat_map(|change| standard(raw, change, dialect == Dialect::Indexed, roles))
                .collect::<Vec<_>>(),
        ),
        Dialect::Cxone => changes.iter().map(published).collect(),
        Dialect::Put => None,
    };
    Some(match operations {
        Some(operations) => {
            let body = json!({ "schemas": [format!("{MESSAGES}PatchOp")], "Operations": operations });
            Update { method: Method::PATCH, body }
        }
        None => Update { method: Method::PUT, body: merge::merged(raw, changes, roles) },
    })
}

fn operation(op: &str, path: &str, value: Json) -> Json {
    json!({ "op": op, "path": path, "value": value })
}

fn removal(path: &str) -> Json {
    json!({ "op": "remove", "path": path })
}

/// The operations of RFC 7644, 3.5.2. `add` where there is nothing yet: some targets answer
/// `replace` with `noTarget` then.
fn standard(raw: &Map<String, Json>, change: &Change, indexed: bool, roles: &RoleNames) -> Vec<Json> {
    let after = change.after.as_ref().filter(|value| !merge::is_empty(value));
    let single = |path: &str, old: Option<&Json>, value: Option<Json>| match (old, value) {
        (Some(_), Some(value)) => vec![operation("replace", path, value)],
        (None, Some(value)) => vec![operation("add", path, value)],
        (Some(_), None) => vec![removal(path)],
        (None, None) => Vec::new(),
    };
    let part = |of: &str, name: &str| {
        lookup(raw, of).and_then(Json::as_object).and_then(|object| lookup(object, name)).cloned()
    };
    let text = |value: &Value| Json::from(value.to_string());
    match place(change.attribute) {
        Place::Text(name) => single(name, lookup(raw, name), after.map(text)),
        Place::Name(name) => single(&format!("name.{name}"), part("name", name).as_ref(), after.map(text)),
        // An account that does not say is active: removing this would open it.
        Place::Flag(name) => after
            .map_or_else(Vec::new, |value| vec![operation("replace", name, Json::Bool(merge::flag(value)))]),
        Place::Extension(name) => {
            let old = part(EXTENSION, name);
            let new = after.map(|value| merge::reference(old.as_ref(), &value.to_string()));
            single(&format!("{EXTENSION}:{name}"), old.as_ref(), new)
        }
        Place::Entry(name) => one_entry(raw, name, after, indexed),
        Place::Roles => role_operations(raw, change, roles),
    }
}

fn one_entry(raw: &Map<String, Json>, name: &str, after: Option<&Value>, indexed: bool) -> Vec<Json> {
    let held = entries(raw, name).unwrap_or_default();
    match (entry::chosen(held), after) {
        (None, None) => Vec::new(),
        // Without the chosen entry the next one would show in its place, for ever.
        (Some(_), None) => vec![removal(name)],
        (None, Some(value)) => {
            vec![operation("add", name, json!([merge::new_entry(&value.to_string())]))]
        }
        (Some(index), Some(value)) => {
            let value = value.to_string();
            let filter = if indexed { Some(index.to_string()) } else { entry::filter(held, index) };
            if let Some(filter) = filter {
                return vec![operation("replace", &format!("{name}[{filter}].value"), value.into())];
            }
            let mut all = held.to_vec();
            merge::set_entry(&mut all, &value);
            vec![operation("replace", name, Json::Array(all))]
        }
    }
}

/// Roles are given and taken one by one, never as a list: somebody else may be changing others.
/// They are taken by a filter in the indexed dialect too, since an index may have moved on to a
/// role that is not ours.
fn role_operations(raw: &Map<String, Json>, change: &Change, roles: &RoleNames) -> Vec<Json> {
    let held = entries(raw, "roles").unwrap_or_default();
    let RoleChange { given, taken } = merge::role_change(change);
    let mut operations: Vec<Json> = Vec::new();
    for role in held.iter().filter(|role| roles.key(role).is_some_and(|key| taken.contains(&key))) {
        let by = |part| {
            let literal = lookup(role.as_object()?, part)?;
            Some(removal(&format!("roles[{part} eq {literal}]")))
        };
        let removal =
            by("value").or_else(|| by("display")).expect("a role with a key has a value or a display");
        if !operations.contains(&removal) {
            operations.push(removal);
        }
    }
    let is_held = |name: &str| held.iter().any(|role| roles.key(role).as_deref() == Some(name));
    let new: Vec<Json> =
        given.into_iter().filter(|name| !is_held(name)).map(|name| json!({ "value": name })).collect();
    if !new.is_empty() {
        operations.push(operation("add", "roles", Json::Array(new)));
    }
    operations
}

/// An operation by NICE's schema, `{path, value}`, both strings. It can only set, and only to one
/// value.
fn published(change: &Change) -> Option<Json> {
    let value = match change.after.as_ref()? {
        Value::Flag(flag) => flag.to_string(),
        Value::Text(text) if text.is_empty() => return None,
        Value::Text(text) => text.clone(),
        Value::List(items) => match items.as_slice() {
            [only] => only.clone(),
            _ => return None,
        },
    };
    let path = match place(change.attribute) {
        Place::Text(name) | Place::Flag(name) | Place::Entry(name) => name.to_owned(),
        Place::Name(name) => format!("name.{name}"),
        Place::Extension(name) => format!("{EXTENSION}:{name}"),
        Place::Roles => "roles".to_owned(),
    };
    Some(json!({ "path": path, "value": value }))
}

#[cfg(test)]
mod patcher;
#[cfg(test)]
mod tests;
