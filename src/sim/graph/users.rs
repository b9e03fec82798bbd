//! Reading users, deleted items and the members of groups, as a replica shows them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::Tenant;
use super::answer::{Answer, Refusal};
use super::directory::{Condition, Kind, Properties};
use crate::sim::wire::{first, pairs};

/// What a user shows without `$select`.
const USER_DEFAULTS: &[&str] = &[
    "businessPhones",
    "displayName",
    "givenName",
    "id",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
];
/// What a user shows only when it is selected.
const USER_OTHERS: &[&str] = &[
    "accountEnabled",
    "ageGroup",
    "assignedLicenses",
    "assignedPlans",
    "city",
    "companyName",
    "consentProvidedForMinor",
    "country",
    "createdDateTime",
    "creationType",
    "customSecurityAttributes",
    "deletedDateTime",
    "department",
    "employeeHireDate",
    "employeeId",
    "employeeLeaveDateTime",
    "employeeOrgData",
    "employeeType",
    "externalUserState",
    "externalUserStateChangeDateTime",
    "faxNumber",
    "identities",
    "imAddresses",
    "isResourceAccount",
    "lastPasswordChangeDateTime",
    "legalAgeGroupClassification",
    "licenseAssignmentStates",
    "mailNickname",
    "onPremisesDistinguishedName",
    "onPremisesDomainName",
    "onPremisesExtensionAttributes",
    "onPremisesImmutableId",
    "onPremisesLastSyncDateTime",
    "onPremisesSamAccountName",
    "onPremisesSecurityIdentifier",
    "onPremisesSyncEnabled",
    "onPremisesUserPrincipalName",
    "otherMails",
    "passwordPolicies",
    "postalCode",
    "preferredDataLocation",
    "provisionedPlans",
    "proxyAddresses",
    "securityIdentifier",
    "showInAddressList",
    "signInActivity",
    "signInSessionsValidFromDateTime",
    "state",
    "streetAddress",
    "usageLocation",
    "userType",
];
/// Kept outside the main store: selecting one is 501.
const USER_ELSEWHERE: &[&str] = &[
    "aboutMe",
    "birthday",
    "hireDate",
    "interests",
    "mySite",
    "pastProjects",
    "responsibilities",
    "schools",
    "skills",
];
const COLLECTIONS: &[&str] =
    &["businessPhones", "assignedLicenses", "assignedPlans", "imAddresses", "otherMails", "proxyAddresses"];
const GROUP_PROPERTIES: &[&str] = &[
    "classification",
    "createdDateTime",
    "deletedDateTime",
    "description",
    "displayName",
    "expirationDateTime",
    "groupTypes",
    "id",
    "isAssignableToRole",
    "mail",
    "mailEnabled",
    "mailNickname",
    "membershipRule",
    "onPremisesSyncEnabled",
    "proxyAddresses",
    "renewedDateTime",
    "securityEnabled",
    "securityIdentifier",
    "visibility",
];

fn names(query: &[(String, String)]) -> Option<Vec<String>> {
    first(query, "$select").map(|list| list.split(',').map(|name| name.trim().to_owned()).collect())
}

/// The names of a `$select`, each known, or the refusal.
pub(super) fn select(kind: Kind, query: &[(String, String)]) -> Result<Option<Vec<String>>, Refusal> {
    let Some(names) = names(query) else { return Ok(None) };
    for name in &names {
        let known = match kind {
            Kind::User if USER_ELSEWHERE.contains(&name.as_str()) => {
                let message = format!("The property {name} is not supported in this query.");
                return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message));
            }
            Kind::User => USER_DEFAULTS.contains(&name.as_str()) || USER_OTHERS.contains(&name.as_str()),
            Kind::Group => GROUP_PROPERTIES.contains(&name.as_str()),
        };
        if !known && !name.starts_with("extension_") {
            let of = kind.odata_type().trim_start_matches('#');
            return Err(Refusal::bad_request(format!(
                "Could not find a property named '{name}' on type '{of}'."
            )));
        }
    }
    Ok(Some(names))
}

/// What is shown when nothing is selected.
pub(super) fn defaults(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::User => USER_DEFAULTS,
        Kind::Group => GROUP_PROPERTIES,
    }
}

/// A whole resource with `id` and what was selected: `null` where nothing is set.
pub(super) fn show(kind: Kind, properties: &Properties, select: Option<&[String]>) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut put = |name: &str| {
        let unset = if COLLECTIONS.contains(&name) { json!([]) } else { Value::Null };
        shown.insert(name.to_owned(), properties.get(name).cloned().unwrap_or(unset));
    };
    put("id");
    match select {
        Some(names) => names.iter().for_each(|name| put(name)),
        None => defaults(kind).iter().for_each(|name| put(name)),
    }
    shown
}

fn with_context(sim: &Tenant, entity: &str, shown: Map<String, Value>) -> Response {
    let mut body = Map::new();
    body.insert("@odata.context".to_owned(), json!(format!("{}/$metadata#{entity}/$entity", sim.base_url())));
    body.extend(shown);
    Json(Value::Object(body)).into_response()
}

/// `GET /users/{id or userPrincipalName}`.
pub(super) async fn user(
    State(sim): State<Arc<Tenant>>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let select = select(Kind::User, &pairs(&query.unwrap_or_default()))?;
    let now = sim.traffic.clock.now();
    let directory = sim.directory();
    let id = if key.contains('@') { directory.named(&key, now) } else { Some(key.to_ascii_lowercase()) };
    let state = id.and_then(|id| directory.replica(&id, now));
    match state.filter(|state| state.kind == Kind::User && state.condition == Condition::Live) {
        Some(state) => {
            Ok(with_context(&sim, "users", show(Kind::User, &state.properties, select.as_deref())))
        }
        None => Err(Refusal::not_found(&key)),
    }
}

/// `GET /groups/{id}`.
pub(super) async fn group(
    State(sim): State<Arc<Tenant>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let select = select(Kind::Group, &pairs(&query.unwrap_or_default()))?;
    let directory = sim.directory();
    let state = directory.replica(&id.to_ascii_lowercase(), sim.traffic.clock.now());
    match state.filter(|state| state.kind == Kind::Group && state.condition == Condition::Live) {
        Some(state) => {
            Ok(with_context(&sim, "groups", show(Kind::Group, &state.properties, select.as_deref())))
        }
        None => Err(Refusal::not_found(&id)),
    }
}

/// `GET /directory/deletedItems/{id}`.
pub(super) async fn deleted_item(
    State(sim): State<Arc<Tenant>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = pairs(&query.unwrap_or_default());
    let directory = sim.directory();
    let state = directory.replica(&id.to_ascii_lowercase(), sim.traffic.clock.now());
    let Some(state) = state.filter(|state| state.condition == Condition::SoftDeleted) else {
        return Err(Refusal::not_found(&id));
    };
    let mut shown = Map::from_iter([("@odata.type".to_owned(), json!(state.kind.odata_type()))]);
    let selected = names(&query);
    shown.extend(show(state.kind, &state.properties, selected.as_deref()));
    if selected.is_none() {
        let deleted_at = state.properties.get("deletedDateTime").cloned().unwrap_or_default();
        shown.insert("deletedDateTime".to_owned(), deleted_at);
    }
    Ok(with_context(&sim, "directoryObjects", shown))
}

/// `GET /groups/{id}/members`, direct members, in pages.
pub(super) async fn members(
    State(sim): State<Arc<Tenant>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = pairs(&query.unwrap_or_default());
    let now = sim.traffic.clock.now();
    let directory = sim.directory();
    let group = directory.replica(&id.to_ascii_lowercase(), now);
    let Some(group) = group.filter(|state| state.kind == Kind::Group && state.condition == Condition::Live)
    else {
        return Err(Refusal::not_found(&id));
    };
    let top = match first(&query, "$top").map(str::parse::<usize>) {
        None => sim.options.page_size,
        Some(Ok(top)) if (1..=999).contains(&top) => top.min(sim.options.page_size),
        Some(_) => {
            return Err(Refusal::bad_request(
                "Invalid page size specified. Must be between 1 and 999 inclusive.",
            ));
        }
    };
    // The skip token names the last member shown, so that a page survives changes before it.
    let after = first(&query, "$skiptoken").and_then(|token| token.strip_prefix("m"));
    let rest = group.members.iter().filter(|(member, _)| after.is_none_or(|after| member.as_str() > after));
    // Deleted members keep their membership but are not listed.
    let live = |member: &str| directory.truth(member).filter(|state| state.condition == Condition::Live);
    let mut rest = rest.filter_map(|(member, kind)| Some((member, *kind, live(member)?))).peekable();
    let selected = names(&query);
    let (mut value, mut last) = (Vec::new(), String::new());
    while value.len() < top
        && let Some((member, kind, state)) = rest.next()
    {
        let mut shown = Map::from_iter([("@odata.type".to_owned(), json!(kind.odata_type()))]);
        shown.extend(show(kind, &state.properties, selected.as_deref()));
        value.push(Value::Object(shown));
        last.clone_from(member);
    }
    let mut body = json!({"@odata.context": format!("{}/$metadata#directoryObjects", sim.base_url())});
    if rest.peek().is_some() {
        let select = first(&query, "$select").map(|list| format!("$select={list}&")).unwrap_or_default();
        body["@odata.nextLink"] =
            json!(format!("{}/groups/{id}/members?{select}$skiptoken=m{last}", sim.base_url()));
    }
    body["value"] = json!(value);
    Ok(Json(body).into_response())
}
