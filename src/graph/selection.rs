//! Which attributes of a user are asked for, under which names, and how they are read.
//!
//! Mappings may use the names that Entra's provisioning shows in the portal or Graph's own; both end
//! up in [`SourceUser::properties`] under the name the mapping used.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::Error;
use super::wire::Object;
use crate::domain::user::{SourceUser, UserId, Value};

/// The attributes that mappings use, and where each is found in Graph's user.
#[derive(Debug)]
pub struct Selection {
    columns: Vec<(String, Source)>,
    query: String,
    selected: BTreeSet<String>,
}

#[derive(Debug)]
enum Source {
    /// A member, or a member of a member.
    Member(Vec<String>),
    /// The first entry of a list.
    First(String),
    /// `"True"` when the account is disabled, which is how Entra's provisioning shows both a
    /// disabled and a soft-deleted user to a mapping.
    SoftDeleted,
}

/// Names of the provisioning service (as the portal shows them in a mapping) that Graph calls
/// otherwise. Source: Microsoft Entra ID, "Attribute mapping" of the provisioning tutorials.
const ALIASES: [(&str, &str); 7] = [
    ("objectId", "id"),
    ("mobile", "mobilePhone"),
    ("physicalDeliveryOfficeName", "officeLocation"),
    ("facsimileTelephoneNumber", "faxNumber"),
    ("immutableId", "onPremisesImmutableId"),
    ("dirSyncEnabled", "onPremisesSyncEnabled"),
    ("lastDirSyncTime", "onPremisesLastSyncDateTime"),
];

/// Aliases for the first entry of a list.
const FIRST: [(&str, &str); 2] = [("telephoneNumber", "businessPhones"), ("sipProxyAddress", "imAddresses")];

/// The spelling Graph insists on; any other name is asked for as it is written.
#[rustfmt::skip]
const KNOWN: [&str; 52] = [
    "accountEnabled", "ageGroup", "businessPhones", "city", "companyName",
    "consentProvidedForMinor", "country", "createdDateTime", "creationType", "department",
    "displayName", "employeeHireDate", "employeeId", "employeeLeaveDateTime", "employeeOrgData",
    "employeeType", "externalUserState", "faxNumber", "givenName", "id", "imAddresses",
    "isResourceAccount", "jobTitle", "lastPasswordChangeDateTime", "legalAgeGroupClassification",
    "mail", "mailNickname", "mobilePhone", "officeLocation", "onPremisesDistinguishedName",
    "onPremisesDomainName", "onPremisesExtensionAttributes", "onPremisesImmutableId",
    "onPremisesLastSyncDateTime", "onPremisesSamAccountName", "onPremisesSecurityIdentifier",
    "onPremisesSyncEnabled", "onPremisesUserPrincipalName", "otherMails", "passwordPolicies",
    "postalCode", "preferredDataLocation", "preferredLanguage", "proxyAddresses",
    "securityIdentifier", "showInAddressList", "state", "streetAddress", "surname", "usageLocation",
    "userPrincipalName", "userType",
];

/// Attributes of a user that are kept elsewhere: selecting one slows every read (`signInActivity`:
/// ten reads a minute) or breaks the delta query (501).
#[rustfmt::skip]
const ELSEWHERE: [&str; 15] = [
    "aboutMe", "birthday", "hireDate", "interests", "mailboxSettings", "manager", "memberOf",
    "mySite", "pastProjects", "photo", "preferredName", "responsibilities", "schools",
    "signInActivity", "skills",
];

/// Why a mapping cannot use this name; `None` when it can. Such a name is left out of every read.
pub fn cannot_be_read(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let first = name.split('.').next().unwrap_or_default();
    if name.split('.').any(str::is_empty) || !name.chars().all(legal) {
        Some("is not the name of a Graph attribute")
    } else if spelled(&ELSEWHERE, first).is_some() {
        Some("is not kept in the directory: reading it for every user is slow or impossible")
    } else {
        None
    }
}

fn spelled(known: &[&'static str], name: &str) -> Option<&'static str> {
    known.iter().find(|known| known.eq_ignore_ascii_case(name)).copied()
}

fn aliased(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, property)| *property)
}

impl Source {
    fn of(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        if lower == "issoftdeleted" {
            return Self::SoftDeleted;
        }
        if let Some(list) = aliased(&FIRST, name) {
            return Self::First(list.to_owned());
        }
        // `extensionAttribute7`, but not `extension_{appId}_name`, which is a member like any other.
        if let Some(number) = lower.strip_prefix("extensionattribute")
            && number.parse().is_ok_and(|number: u8| (1..=15).contains(&number))
        {
            let attribute = format!("extensionAttribute{number}");
            return Self::Member(vec!["onPremisesExtensionAttributes".to_owned(), attribute]);
        }
        let name = aliased(&ALIASES, name).unwrap_or(name);
        let mut path: Vec<String> = name.split('.').map(str::to_owned).collect();
        if let Some(spelling) = spelled(&KNOWN, &path[0]) {
            path[0] = spelling.to_owned();
        }
        Self::Member(path)
    }

    fn selects(&self) -> &str {
        match self {
            Self::Member(path) => &path[0],
            Self::First(list) => list,
            Self::SoftDeleted => "accountEnabled",
        }
    }

    fn read(&self, object: &Object, enabled: bool) -> Option<Value> {
        match self {
            Self::SoftDeleted => Some(Value::text(if enabled { "False" } else { "True" })),
            Self::First(list) => match member(object, list)? {
                Json::Array(items) => items.iter().find_map(scalar).map(Value::Text),
                single => scalar(single).map(Value::Text),
            },
            Self::Member(path) => {
                let (last, before) = path.split_last()?;
                let holder = before.iter().try_fold(object, |at, name| member(at, name)?.as_object())?;
                value(member(holder, last)?)
            }
        }
    }
}

fn member<'a>(object: &'a Object, name: &str) -> Option<&'a Json> {
    // Members of members come in a spelling of their own: `CostCenter` is shown as `costCenter`.
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

/// Text of a scalar that says something.
fn scalar(json: &Json) -> Option<String> {
    match json {
        Json::String(text) if !text.is_empty() => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn value(json: &Json) -> Option<Value> {
    match json {
        Json::Bool(flag) => Some(Value::Flag(*flag)),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(scalar).collect();
            (!items.is_empty()).then_some(Value::List(items))
        }
        other => scalar(other).map(Value::Text),
    }
}

impl Selection {
    pub fn new(names: &BTreeSet<String>) -> Self {
        let readable = names.iter().filter(|name| cannot_be_read(name).is_none());
        let columns: Vec<_> = readable.map(|name| (name.clone(), Source::of(name))).collect();
        let always = ["id", "accountEnabled"];
        let selected: BTreeSet<String> = always
            .into_iter()
            .chain(columns.iter().map(|(_, source)| source.selects()))
            .map(str::to_owned)
            .collect();
        let list = selected.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        Self { columns, query: format!("$select={list}"), selected }
    }

    /// `$select=…`, the names sorted.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Whether every attribute that all users have is there, so that one not there is not set.
    /// Graph may show a delta item reduced to what changed.
    pub fn is_whole(&self, object: &Object) -> bool {
        ["userPrincipalName", "displayName"]
            .into_iter()
            .all(|name| !self.selected.contains(name) || object.contains_key(name))
    }

    /// An answer about another user, or one without a boolean `accountEnabled`, decides nothing.
    pub fn read(
        &self,
        doing: &'static str,
        object: &Object,
        asked: Option<UserId>,
    ) -> Result<SourceUser, Error> {
        let id = read_id(doing, object, asked)?;
        let Some(Json::Bool(enabled)) = object.get("accountEnabled") else {
            return Err(Error::malformed(doing, "the answer does not say whether the account is enabled"));
        };
        let columns = self.columns.iter();
        let properties = columns
            .filter_map(|(name, source)| Some((name.clone(), source.read(object, *enabled)?)))
            .collect();
        Ok(SourceUser { id, enabled: *enabled, properties })
    }
}

pub fn read_id(doing: &'static str, object: &Object, asked: Option<UserId>) -> Result<UserId, Error> {
    let id = object.get("id").and_then(Json::as_str).and_then(|id| id.parse::<UserId>().ok());
    let id = id.ok_or_else(|| Error::malformed(doing, "the answer has no id"))?;
    match asked {
        Some(asked) if asked != id => Err(Error::malformed(doing, format!("the answer is about {id}"))),
        _ => Ok(id),
    }
}

#[cfg(test)]
mod tests;
