//! The people on both sides, and the ids that must never be mistaken for one another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Not a GUID in its hyphenated form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an object id (a GUID such as 3f0c2a9e-1111-4222-8333-444455556666)")]
pub struct NotAnId(String);

fn parse_guid(text: &str) -> Result<Uuid, NotAnId> {
    // `Uuid` also reads braced, URN and unhyphenated forms, which Entra never writes.
    let shown = || NotAnId(text.chars().take(64).collect());
    if text.len() != 36 {
        return Err(shown());
    }
    Uuid::try_parse(text).map_err(|_| shown())
}

macro_rules! entra_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }
        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse_guid(text).map(Self)
            }
        }
        impl TryFrom<String> for $name {
            type Error = NotAnId;
            fn try_from(text: String) -> Result<Self, NotAnId> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

entra_id! {
    /// The Entra object id of a user: the queue's only key.
    UserId
}
entra_id! {
    /// The Entra object id of a group. Groups are never known by name: anybody who may create one
    /// could copy a name.
    GroupId
}

/// The id CXone gave a user. Opaque; compared exactly (RFC 7643, 3.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScimId(pub String);

impl fmt::Display for ScimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an attribute holds, on either side. Absent is `Option::None`, never an empty value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Flag(bool),
    Text(String),
    /// Order carries no meaning.
    List(Vec<String>),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The items of a list; a text is a list of one.
    pub fn items(value: Option<&Self>) -> Vec<String> {
        match value {
            Some(Self::List(items)) => items.clone(),
            Some(Self::Text(item)) => vec![item.clone()],
            Some(Self::Flag(_)) | None => Vec::new(),
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::List(items) => f.write_str(&items.join(", ")),
        }
    }
}

/// The attributes of a CXone user that can be mapped. Source: the SCIM schema NICE publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Attribute {
    UserName,
    ExternalId,
    /// `name.givenName`
    GivenName,
    /// `name.middleName`
    MiddleName,
    /// `name.familyName`
    FamilyName,
    DisplayName,
    /// The one address we keep: the entry of type `work`, else the primary one, else the only one.
    Emails,
    /// The one number we keep, chosen as the address is.
    PhoneNumbers,
    Active,
    UserType,
    TimeZone,
    Locale,
    /// `urn:ietf:params:scim:schemas:extension:nice:2.0:User:team`
    Team,
    /// `urn:ietf:params:scim:schemas:extension:nice:2.0:User:loginAuthenticator`
    LoginAuthenticator,
    /// The keys of all roles held: `value`, else `display`.
    Roles,
}

impl Attribute {
    pub const ALL: [Self; 15] = [
        Self::UserName,
        Self::ExternalId,
        Self::GivenName,
        Self::MiddleName,
        Self::FamilyName,
        Self::DisplayName,
        Self::Emails,
        Self::PhoneNumbers,
        Self::Active,
        Self::UserType,
        Self::TimeZone,
        Self::Locale,
        Self::Team,
        Self::LoginAuthenticator,
        Self::Roles,
    ];

    /// Its name in the configuration, in plans and in the history.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserName => "userName",
            Self::ExternalId => "externalId",
            Self::GivenName => "givenName",
            Self::MiddleName => "middleName",
            Self::FamilyName => "familyName",
            Self::DisplayName => "displayName",
            Self::Emails => "emails",
            Self::PhoneNumbers => "phoneNumbers",
            Self::Active => "active",
            Self::UserType => "userType",
            Self::TimeZone => "timeZone",
            Self::Locale => "locale",
            Self::Team => "team",
            Self::LoginAuthenticator => "loginAuthenticator",
            Self::Roles => "roles",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attribute| attribute.name() == name)
    }

    /// Whether the target may change the case of what it is given (RFC 7643: `caseExact` false).
    pub const fn ignores_case(self) -> bool {
        matches!(self, Self::UserName | Self::Emails | Self::TimeZone | Self::Locale)
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Target attributes with their values; what is missing is absent on that side.
pub type Attributes = BTreeMap<Attribute, Value>;

/// A user as a complete, successful read of Entra shows them. One whose `accountEnabled` is
/// missing or whose id is another's cannot become one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceUser {
    pub id: UserId,
    pub enabled: bool,
    /// The attributes read, by the name a mapping uses (`mail`, `userPrincipalName`,
    /// `extensionAttribute1` …). Null and missing ones are not there.
    pub properties: BTreeMap<String, Value>,
}

/// A user as CXone shows them, reduced to what can be mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUser {
    pub id: ScimId,
    pub attributes: Attributes,
}

impl TargetUser {
    /// A target that does not say is taken to be active (RFC 7643 gives no default; CXone always
    /// says).
    pub fn is_active(&self) -> bool {
        self.attributes.get(&Attribute::Active) != Some(&Value::Flag(false))
    }
}

/// Who is directly in a group, as a read to its last page shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMembers {
    pub users: BTreeSet<UserId>,
    pub groups: BTreeSet<GroupId>,
}

/// The relevant groups a user is in, nested ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub groups: BTreeSet<GroupId>,
    /// Every relevant group has been read to its end. Without it, absence means nothing.
    pub complete: bool,
    /// When the group that was read longest ago was read, of those that were; `None`: none was.
    pub read_at: Option<Timestamp>,
    /// When the groups of the scope, and those nested in them, had all been read: a role group that cannot
    /// be read says nothing about who is ours. `None`: one of them was never read.
    pub scope_read_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hyphenated_guids_are_ids() {
        let id: UserId = "3F0C2A9E-1111-4222-8333-444455556666".parse().unwrap();
        assert_eq!(id.to_string(), "3f0c2a9e-1111-4222-8333-444455556666");
        for wrong in [
            "",
            "ana@example.com",
            "3f0c2a9e111142228333444455556666",
            "{3f0c2a9e-1111-4222-8333-444455556666}",
            "../../users",
        ] {
            assert!(wrong.parse::<UserId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_attribute_is_found_by_its_name() {
        for attribute in Attribute::ALL {
            assert_eq!(Attribute::by_name(attribute.name()), Some(attribute));
            assert_eq!(serde_json::to_value(attribute).unwrap(), attribute.name());
        }
    }
}
