//! Where each attribute lives in a SCIM user, and how to find it there: names of attributes and
//! schemas do not depend on case (RFC 7643, 2.1), which is also why NICE's `timezone` in requests
//! and `timeZone` in answers are one attribute.

use serde_json::{Map, Value as Json};

use crate::domain::user::Attribute;

pub const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The only extension in NICE's schema.
pub const EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:nice:2.0:User";
/// Every SCIM message that is not a resource (error, list, patch) has a schema that begins so.
pub const MESSAGES: &str = "urn:ietf:params:scim:api:messages:2.0:";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Text(&'static str),
    Flag(&'static str),
    /// A sub-attribute of `name`.
    Name(&'static str),
    /// A multi-valued attribute of which one entry is ours; see `entry`.
    Entry(&'static str),
    /// `{display, value}` inside the extension.
    Extension(&'static str),
    Roles,
}

pub const fn place(attribute: Attribute) -> Place {
    match attribute {
        Attribute::UserName => Place::Text("userName"),
        Attribute::ExternalId => Place::Text("externalId"),
        Attribute::GivenName => Place::Name("givenName"),
        Attribute::MiddleName => Place::Name("middleName"),
        Attribute::FamilyName => Place::Name("familyName"),
        Attribute::DisplayName => Place::Text("displayName"),
        Attribute::Emails => Place::Entry("emails"),
        Attribute::PhoneNumbers => Place::Entry("phoneNumbers"),
        Attribute::Active => Place::Flag("active"),
        Attribute::UserType => Place::Text("userType"),
        // The spelling of requests; answers say `timeZone`.
        Attribute::TimeZone => Place::Text("timezone"),
        Attribute::Locale => Place::Text("locale"),
        Attribute::Team => Place::Extension("team"),
        Attribute::LoginAuthenticator => Place::Extension("loginAuthenticator"),
        Attribute::Roles => Place::Roles,
    }
}

/// The value of `name`, whatever its case; the exact spelling wins over another. Null is absent
/// (RFC 7643, 2.5).
pub fn lookup<'a>(object: &'a Map<String, Json>, name: &str) -> Option<&'a Json> {
    let exact = object.get(name).filter(|value| !value.is_null());
    exact.or_else(|| {
        object
            .iter()
            .find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null())
            .map(|(_, value)| value)
    })
}

/// Sets `name`, replacing every spelling of it at the place of the first.
pub fn replace(object: &mut Map<String, Json>, name: &str, value: Json) {
    let mut kept = Map::new();
    let mut value = Some(value);
    for (key, old) in std::mem::take(object) {
        if !key.eq_ignore_ascii_case(name) {
            kept.insert(key, old);
        } else if let Some(value) = value.take() {
            kept.insert(name.to_owned(), value);
        }
    }
    if let Some(value) = value {
        kept.insert(name.to_owned(), value);
    }
    *object = kept;
}

/// Removes every spelling of `name`.
pub fn remove(object: &mut Map<String, Json>, name: &str) {
    object.retain(|key, _| !key.eq_ignore_ascii_case(name));
}

/// Whether `schemas` names this schema, or one that begins so.
pub fn has_schema(object: &Map<String, Json>, beginning: &str) -> bool {
    let begins = |schema: &Json| {
        let schema = schema.as_str().unwrap_or_default();
        schema.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
    };
    lookup(object, "schemas").and_then(Json::as_array).is_some_and(|schemas| schemas.iter().any(begins))
}
