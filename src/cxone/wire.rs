//! A SCIM user as JSON, and what of it we understand. The JSON is kept whole, so that nothing we do
//! not know is lost when it is sent back.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::entry;
use super::errors::Error;
use super::place::{EXTENSION, MESSAGES, Place, has_schema, lookup, place};
use crate::domain::user::{Attribute, Attributes, ScimId, TargetUser, Value};

/// Longer ids are nobody's; what is kept in the store and put into addresses must be bounded.
const LONGEST_ID: usize = 256;

/// A complete user as CXone shows them.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub view: TargetUser,
    /// Everything the answer held.
    pub raw: Json,
    /// The version, if the target has versions: the `ETag` header, else `meta.version`.
    pub etag: Option<String>,
}

/// The configured names of roles, by which a role is known although the target shows it with an id
/// and a name.
#[derive(Clone, Debug, Default)]
pub struct RoleNames(BTreeSet<String>);

impl RoleNames {
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// The key of a role held: its `value`, else its `display`, but the configured name if one of
    /// the two is one.
    pub fn key(&self, entry: &Json) -> Option<String> {
        let entry = entry.as_object()?;
        let (value, display) = (label(lookup(entry, "value")), label(lookup(entry, "display")));
        let configured =
            [&value, &display].into_iter().flatten().find(|name| self.0.contains(*name)).cloned();
        configured.or(value).or(display)
    }
}

impl User {
    /// Reads a user. An `Err` means that this is no user, or one that cannot be understood: nothing
    /// may be concluded from it.
    pub fn read(body: &[u8], roles: &RoleNames) -> Result<Self, Error> {
        let raw = serde_json::from_slice(body).map_err(|_| malformed("it is not complete JSON"))?;
        Self::of(raw, roles)
    }

    pub fn of(raw: Json, roles: &RoleNames) -> Result<Self, Error> {
        let object = raw.as_object().ok_or_else(|| malformed("it is not an object"))?;
        if has_schema(object, MESSAGES) {
            return Err(malformed("it is a message, not a user"));
        }
        let id = match lookup(object, "id") {
            Some(Json::String(id)) if is_id(id) => ScimId(id.clone()),
            Some(_) => return Err(malformed("its id is not one")),
            None => return Err(malformed("it has no id")),
        };
        let mut attributes = Attributes::new();
        for attribute in Attribute::ALL {
            let value = view(object, attribute, roles)
                .map_err(|wrong| malformed(&format!("{attribute} is not {wrong}")))?;
            attributes.extend(value.map(|value| (attribute, value)));
        }
        if !attributes.contains_key(&Attribute::UserName) {
            return Err(malformed("it has no userName"));
        }
        let meta = lookup(object, "meta").and_then(Json::as_object);
        let etag = meta.and_then(|meta| lookup(meta, "version")).and_then(Json::as_str).map(str::to_owned);
        Ok(Self { view: TargetUser { id, attributes }, raw, etag })
    }
}

/// Whether this can be the id of a resource, and can be put into an address without leaving it.
pub fn is_id(id: &str) -> bool {
    let strange = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\');
    (1..=LONGEST_ID).contains(&id.len()) && !matches!(id, "." | "..") && !id.contains(strange)
}

fn malformed(what: &str) -> Error {
    Error::Malformed { asked: "a user", what: what.to_owned() }
}

/// What should have been there.
type Wrong = &'static str;

fn view(raw: &Map<String, Json>, attribute: Attribute, roles: &RoleNames) -> Result<Option<Value>, Wrong> {
    let text = |text: Option<String>| text.map(Value::Text);
    match place(attribute) {
        Place::Text(name) => string(lookup(raw, name)).map(text),
        Place::Flag(name) => flag(lookup(raw, name)),
        Place::Name(part) => match lookup(raw, "name") {
            None => Ok(None),
            Some(Json::Object(name)) => string(lookup(name, part)).map(text),
            Some(_) => Err("inside an object"),
        },
        Place::Entry(name) => {
            let entries = entries(raw, name)?;
            let Some(index) = entry::chosen(entries) else { return Ok(None) };
            let entry = entries[index].as_object().ok_or("an object")?;
            string(lookup(entry, "value")).map(text)
        }
        Place::Extension(name) => match lookup(raw, EXTENSION) {
            None => Ok(None),
            Some(Json::Object(extension)) => reference(lookup(extension, name)).map(text),
            Some(_) => Err("inside an object"),
        },
        Place::Roles => {
            let keys: BTreeSet<String> =
                entries(raw, "roles")?.iter().filter_map(|role| roles.key(role)).collect();
            Ok((!keys.is_empty()).then(|| Value::List(keys.into_iter().collect())))
        }
    }
}

/// The entries of a multi-valued attribute; none if it is absent.
pub fn entries<'a>(raw: &'a Map<String, Json>, name: &str) -> Result<&'a [Json], Wrong> {
    match lookup(raw, name) {
        None => Ok(&[]),
        Some(Json::Array(entries)) if entries.iter().all(Json::is_object) => Ok(entries),
        Some(_) => Err("a list of objects"),
    }
}

fn string(value: Option<&Json>) -> Result<Option<String>, Wrong> {
    match value {
        None => Ok(None),
        Some(Json::String(text)) => Ok((!text.is_empty()).then(|| text.clone())),
        Some(_) => Err("text"),
    }
}

/// A boolean, or Entra's and others' spelling of one. Anything else is refused: who may log in is
/// not to be guessed.
fn flag(value: Option<&Json>) -> Result<Option<Value>, Wrong> {
    match value {
        None => Ok(None),
        Some(Json::Bool(flag)) => Ok(Some(Value::Flag(*flag))),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(Value::Flag(true))),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(Value::Flag(false))),
        Some(_) => Err("true or false"),
    }
}

/// `{display, value}`: people configure names, so the name goes before the id.
fn reference(value: Option<&Json>) -> Result<Option<String>, Wrong> {
    match value {
        Some(Json::Object(reference)) => {
            Ok(label(lookup(reference, "display")).or_else(|| label(lookup(reference, "value"))))
        }
        other => string(other),
    }
}

/// A name or an id; older ids are numbers.
fn label(value: Option<&Json>) -> Option<String> {
    match value? {
        Json::String(text) => (!text.is_empty()).then(|| text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
