//! Changes applied to the JSON of a user: the whole body of a PUT, or, applied to nothing, of a
//! POST. What is not changed stays as it came, unknown attributes included: a PUT clears what it
//! does not hold (RFC 7644, 3.5.1).

use serde_json::{Map, Value as Json, json};

use super::entry;
use super::place::{CORE, EXTENSION, Place, has_schema, lookup, place, remove, replace};
use super::wire::RoleNames;
use crate::domain::queue::Change;
use crate::domain::user::{Attributes, Value};

/// The body of a POST. Nothing in it is null or empty: a target may take that for a wish.
pub fn created(attributes: &Attributes) -> Json {
    let mut body = Map::from_iter([("schemas".to_owned(), json!([CORE]))]);
    for (&attribute, value) in attributes {
        if !is_empty(value) {
            let change = Change { attribute, before: None, after: Some(value.clone()) };
            apply(&mut body, &change, &RoleNames::default());
        }
    }
    declare_extension(&mut body);
    Json::Object(body)
}

/// The body of a PUT.
pub fn merged(raw: &Map<String, Json>, changes: &[Change], roles: &RoleNames) -> Json {
    let mut body = raw.clone();
    for change in changes {
        apply(&mut body, change, roles);
    }
    // It comes back as `timeZone` and goes out as `timezone`.
    if let Some(zone) = lookup(&body, "timezone").cloned() {
        replace(&mut body, "timezone", zone);
    }
    // NICE's schema requires a boolean here; some targets answer with its name.
    if let Some(active) = lookup(&body, "active").and_then(Json::as_str).map(is_true) {
        replace(&mut body, "active", Json::Bool(active));
    }
    declare_extension(&mut body);
    Json::Object(body)
}

fn apply(body: &mut Map<String, Json>, change: &Change, roles: &RoleNames) {
    let after = change.after.as_ref().filter(|value| !is_empty(value));
    match (place(change.attribute), after) {
        (Place::Text(name), Some(value)) => replace(body, name, Json::from(value.to_string())),
        (Place::Text(name) | Place::Entry(name), None) => remove(body, name),
        (Place::Flag(name), Some(value)) => replace(body, name, Json::Bool(flag(value))),
        // An account that does not say is active: removing this would open it.
        (Place::Flag(_), None) => {}
        (Place::Name(part), after) => inside(body, "name", part, after.map(|value| value.to_string().into())),
        (Place::Entry(name), Some(value)) => {
            let mut entries = list(body, name);
            set_entry(&mut entries, &value.to_string());
            replace(body, name, Json::Array(entries));
        }
        (Place::Extension(part), after) => {
            let old = lookup(body, EXTENSION).and_then(Json::as_object).and_then(|known| lookup(known, part));
            let new = after.map(|value| reference(old, &value.to_string()));
            inside(body, EXTENSION, part, new);
        }
        (Place::Roles, _) => {
            let mut held = list(body, "roles");
            let RoleChange { given, taken } = role_change(change);
            held.retain(|role| !roles.key(role).is_some_and(|key| taken.contains(&key)));
            for role in given {
                if !held.iter().any(|held| roles.key(held).as_deref() == Some(role)) {
                    held.push(json!({ "value": role }));
                }
            }
            if held.is_empty() {
                remove(body, "roles");
            } else {
                replace(body, "roles", Json::Array(held));
            }
        }
    }
}

/// Sets or removes a part of a complex attribute; an attribute without parts goes too.
fn inside(body: &mut Map<String, Json>, name: &str, part: &str, value: Option<Json>) {
    let mut parts = lookup(body, name).and_then(Json::as_object).cloned().unwrap_or_default();
    match value {
        Some(value) => replace(&mut parts, part, value),
        None => remove(&mut parts, part),
    }
    if parts.is_empty() {
        remove(body, name);
    } else {
        replace(body, name, Json::Object(parts));
    }
}

/// Changes the value of the entry we keep, or makes the first one.
pub fn set_entry(entries: &mut Vec<Json>, value: &str) {
    match entry::chosen(entries).and_then(|index| entries[index].as_object_mut()) {
        Some(entry) => replace(entry, "value", value.into()),
        None => entries.push(new_entry(value)),
    }
}

pub fn new_entry(value: &str) -> Json {
    json!({ "value": value, "type": "work", "primary": true })
}

/// A team or a login authenticator under the part by which it is seen, see `wire`. The other part
/// names the old one and must not stay beside it.
pub fn reference(old: Option<&Json>, value: &str) -> Json {
    let old = old.and_then(Json::as_object);
    let has = |part| old.is_some_and(|old| lookup(old, part).is_some());
    if has("value") && !has("display") { json!({ "value": value }) } else { json!({ "display": value }) }
}

/// The roles that change. The others are nobody's business here.
pub struct RoleChange<'a> {
    pub given: Vec<&'a str>,
    pub taken: Vec<String>,
}

pub fn role_change(change: &Change) -> RoleChange<'_> {
    let (before, after) = (items(change.before.as_ref()), items(change.after.as_ref()));
    let given = after.iter().copied().filter(|role| !before.contains(role)).collect();
    let taken = before.into_iter().filter(|role| !after.contains(role)).map(str::to_owned).collect();
    RoleChange { given, taken }
}

fn items(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::List(items)) => items.iter().map(String::as_str).collect(),
        Some(Value::Text(item)) => vec![item],
        Some(Value::Flag(_)) | None => Vec::new(),
    }
}

fn list(body: &Map<String, Json>, name: &str) -> Vec<Json> {
    lookup(body, name).and_then(Json::as_array).cloned().unwrap_or_default()
}

fn declare_extension(body: &mut Map<String, Json>) {
    if lookup(body, EXTENSION).is_some() && !has_schema(body, EXTENSION) {
        let mut schemas = list(body, "schemas");
        schemas.push(EXTENSION.into());
        replace(body, "schemas", Json::Array(schemas));
    }
}

/// Only a clear yes opens an account.
pub fn flag(value: &Value) -> bool {
    match value {
        Value::Flag(flag) => *flag,
        Value::Text(text) => is_true(text),
        Value::List(_) => false,
    }
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Flag(_) => false,
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
    }
}
