//! The attributes of a CXone user, and how a value given for one is taken.

use serde_json::{Map, Value, json};

use super::problem::Problem;

pub(super) const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(super) const NICE: &str = "urn:ietf:params:scim:schemas:extension:nice:2.0:User";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Boolean,
    Complex(&'static [Attribute]),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    /// As it is answered; `timezone` is asked for and `timeZone` answered.
    pub(super) name: &'static str,
    pub(super) kind: Type,
    pub(super) many: bool,
    pub(super) required: bool,
    pub(super) read_only: bool,
    pub(super) case_exact: bool,
}

const fn text(name: &'static str) -> Attribute {
    Attribute { name, kind: Type::Text, many: false, required: false, read_only: false, case_exact: false }
}

const fn boolean(name: &'static str) -> Attribute {
    Attribute { kind: Type::Boolean, ..text(name) }
}

const fn complex(name: &'static str, parts: &'static [Attribute]) -> Attribute {
    Attribute { kind: Type::Complex(parts), ..text(name) }
}

const fn many(name: &'static str) -> Attribute {
    Attribute { many: true, ..complex(name, VALUES) }
}

const fn required(attribute: Attribute) -> Attribute {
    Attribute { required: true, ..attribute }
}

const fn exact(attribute: Attribute) -> Attribute {
    Attribute { case_exact: true, ..attribute }
}

const fn read_only(attribute: Attribute) -> Attribute {
    Attribute { read_only: true, ..attribute }
}

const NAME: &[Attribute] = &[required(text("givenName")), required(text("familyName")), text("middleName")];
const VALUES: &[Attribute] = &[text("value"), text("display"), text("type"), boolean("primary")];
const REFERENCE: &[Attribute] = &[text("display"), text("value")];
const NICE_PARTS: &[Attribute] = &[complex("team", REFERENCE), complex("loginAuthenticator", REFERENCE)];
const META: &[Attribute] = &[read_only(text("resourceType")), read_only(text("version"))];

pub(super) const USER: &[Attribute] = &[
    read_only(exact(text("id"))),
    exact(text("externalId")),
    required(text("userName")),
    required(complex("name", NAME)),
    text("displayName"),
    text("userType"),
    text("locale"),
    text("timeZone"),
    boolean("active"),
    required(many("emails")),
    many("phoneNumbers"),
    many("roles"),
    // The extension counts as one attribute whose name is its URN.
    complex(NICE, NICE_PARTS),
    read_only(complex("meta", META)),
];

/// Names are compared without case.
pub(super) fn find(attributes: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

impl Attribute {
    pub(super) fn part(&self, name: &str) -> Option<&'static Attribute> {
        match self.kind {
            Type::Complex(parts) => find(parts, name),
            Type::Text | Type::Boolean => None,
        }
    }
}

/// A value as it is stored: names canonical, unknown and read-only parts left out, types checked.
/// `null` and an empty list mean unassigned: `None`.
pub(super) fn take(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Problem> {
    if value.is_null() {
        return Ok(None);
    }
    if !attribute.many {
        return take_one(attribute, value);
    }
    let entries = match value {
        Value::Array(entries) => entries.iter().collect(),
        Value::Object(_) => vec![value],
        _ => return Err(wrong(attribute)),
    };
    let mut taken = Vec::new();
    for entry in entries {
        taken.extend(take_one(attribute, entry)?);
    }
    Ok((!taken.is_empty()).then_some(Value::Array(taken)))
}

/// One value of a multi-valued attribute, or the value of any other.
pub(super) fn take_one(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Problem> {
    match (attribute.kind, value) {
        (_, Value::Null) => Ok(None),
        (Type::Text, Value::String(_)) | (Type::Boolean, Value::Bool(_)) => Ok(Some(value.clone())),
        // Entra's older dialect says "False".
        (Type::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(json!(true))),
        (Type::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(json!(false))),
        (Type::Complex(parts), Value::Object(given)) => {
            let taken = take_parts(parts, given)?;
            Ok((!taken.is_empty()).then_some(Value::Object(taken)))
        }
        _ => Err(wrong(attribute)),
    }
}

/// The attributes of an object by their canonical names; unknown and read-only ones are passed over.
pub(super) fn take_parts(
    parts: &'static [Attribute],
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, Problem> {
    let mut taken = Map::new();
    for (name, value) in given {
        if let Some(part) = find(parts, name).filter(|part| !part.read_only)
            && let Some(value) = take(part, value)?
        {
            taken.insert(part.name.to_owned(), value);
        }
    }
    Ok(taken)
}

/// The first required attribute that is missing.
pub(super) fn missing(user: &Map<String, Value>) -> Option<String> {
    for attribute in USER.iter().filter(|attribute| attribute.required) {
        let Some(value) = user.get(attribute.name) else { return Some(attribute.name.to_owned()) };
        if let (Type::Complex(parts), Value::Object(value)) = (attribute.kind, value)
            && let Some(part) = parts.iter().find(|part| part.required && !value.contains_key(part.name))
        {
            return Some(format!("{}.{}", attribute.name, part.name));
        }
    }
    let nameless = user["emails"].as_array().into_iter().flatten().any(|email| email["value"].is_null());
    nameless.then(|| "emails.value".to_owned())
}

fn wrong(attribute: &Attribute) -> Problem {
    Problem::invalid_value(format!("The value of {} is of the wrong type.", attribute.name))
}

pub(super) fn nice_parts() -> &'static [Attribute] {
    NICE_PARTS
}
