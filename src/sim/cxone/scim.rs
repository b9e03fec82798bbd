//! `/scim/v2`: exactly the operations that CXone publishes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Centre;
use super::filter;
use super::patch::Dialect;
use super::problem::{Problem, scim};
use super::schema::{CORE, NICE, Type, USER};
use super::users::Stored;
use super::watch::WriteRecord;
use crate::sim::wire::{first, pairs};

/// How a PATCH is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchAnswer {
    /// 200 with the whole user, as CXone's schema says.
    Full,
    /// 204.
    Empty,
}

/// How far the tenant lets itself be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// As published: a filter is required, and everything found is in one answer.
    Published,
    /// Only a user with a given value is looked for: `pr` is 400 `invalidFilter` too.
    Refused,
    /// With or without a filter, in pages of at most `most` (RFC 7644, 3.4.2.4).
    Paged { most: usize },
    /// As `Paged`, but every page is the first one, and the answer does not say so.
    IgnoresStartIndex { most: usize },
}

impl Lists {
    fn needs_filter(self) -> bool {
        matches!(self, Self::Published | Self::Refused)
    }
}

/// `GET /Users?filter=…`; without a filter it is 400, unless [`Lists`] says otherwise.
pub(super) async fn search(State(sim): State<Arc<Centre>>, RawQuery(query): RawQuery) -> Response {
    sim.take_time(1.0).await;
    let query = pairs(&query.unwrap_or_default());
    let answer = found(&sim, first(&query, "filter")).and_then(|hits| page(sim.options.lists, hits, &query));
    match answer {
        Ok(answer) => scim(StatusCode::OK, &answer),
        Err(problem) => problem.into_response(),
    }
}

/// What of the hits is answered.
fn page(lists: Lists, mut hits: Vec<Value>, query: &[(String, String)]) -> Result<Value, Problem> {
    let number = |name: &str, absent: i64| match first(query, name) {
        None => Ok(absent),
        Some(text) => text.parse().map_err(|_| Problem::invalid_value(format!("{name} is not a number."))),
    };
    let total = hits.len();
    let mut answer = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
    });
    let (most, start) = match lists {
        Lists::Published | Lists::Refused => (total, 1),
        Lists::Paged { most } => (most, number("startIndex", 1)?.max(1)),
        Lists::IgnoresStartIndex { most } => (most, 1),
    };
    if !lists.needs_filter() {
        let count = number("count", i64::MAX)?.max(0);
        let before = usize::try_from(start - 1).unwrap_or(usize::MAX).min(total);
        hits.drain(..before);
        hits.truncate(usize::try_from(count).unwrap_or(usize::MAX).min(most));
    }
    if matches!(lists, Lists::Paged { .. }) {
        answer["startIndex"] = json!(start);
        answer["itemsPerPage"] = json!(hits.len());
    }
    answer["Resources"] = json!(hits);
    Ok(answer)
}

fn found(sim: &Centre, filter: Option<&str>) -> Result<Vec<Value>, Problem> {
    let options = &sim.options;
    let Some(text) = filter.filter(|text| !text.is_empty()) else {
        if options.lists.needs_filter() {
            return Err(Problem::invalid_filter("Required request parameter 'filter' is not present."));
        }
        return Ok(sim.users().all().map(|stored| stored.show(options.etags, true)).collect());
    };
    let filter = filter::parse(text)
        .map_err(|why| Problem::invalid_filter(format!("The filter cannot be read: {why}.")))?;
    if options.lists == Lists::Refused && !filter.names_a_value() {
        return Err(Problem::invalid_filter("Only a search for a value is supported."));
    }
    let asked = filter.attributes();
    let names = |list: &std::collections::BTreeSet<String>| {
        asked.iter().any(|name| list.iter().any(|listed| listed.eq_ignore_ascii_case(name)))
    };
    if names(&options.refuse_filters) {
        return Err(Problem::invalid_filter("Filtering on this attribute is not supported."));
    }
    let blind = names(&options.blind_filters);
    let users = sim.users();
    let fits = |stored: &&Stored| options.ignore_filter || (!blind && filter.matches(&stored.user));
    // The search everybody makes must not read a whole tenant.
    let candidates: Box<dyn Iterator<Item = &Stored>> = match filter.user_name() {
        Some(name) if !options.ignore_filter => Box::new(users.named(name)),
        _ => Box::new(users.all()),
    };
    Ok(candidates.filter(fits).map(|stored| stored.show(options.etags, true)).collect())
}

fn shown(sim: &Centre, status: StatusCode, stored: &Stored) -> Response {
    let mut answer = scim(status, &stored.show(sim.options.etags, false));
    if sim.options.etags {
        let etag = HeaderValue::from_str(&stored.etag()).expect("digits in quotes");
        answer.headers_mut().insert(header::ETAG, etag);
    }
    answer
}

/// `GET /Users/{id}`.
pub(super) async fn get(
    State(sim): State<Arc<Centre>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    sim.take_time(1.0).await;
    match sim.users().get(&id) {
        Ok(stored) if sim.options.etags && names_version(&headers, header::IF_NONE_MATCH, stored) => {
            StatusCode::NOT_MODIFIED.into_response()
        }
        Ok(stored) => shown(&sim, StatusCode::OK, stored),
        Err(problem) => problem.into_response(),
    }
}

fn names_version(headers: &HeaderMap, name: header::HeaderName, stored: &Stored) -> bool {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else { return false };
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    value.trim() == "*" || value.split(',').any(|tag| plain(tag) == plain(&stored.etag()))
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<Value, Problem> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/scim+json", "application/json"].contains(&media_type.as_str()) {
        return Err(Problem::new(415, None, "The media type is not supported."));
    }
    serde_json::from_slice(body).map_err(|_| Problem::invalid_syntax("The body is not JSON."))
}

/// `POST /Users`.
pub(super) async fn create(State(sim): State<Arc<Centre>>, headers: HeaderMap, body: Bytes) -> Response {
    let body = match read(&headers, &body) {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let _writing = sim.watch.begin("POST", &body["userName"].as_str().unwrap_or_default().to_lowercase());
    sim.take_time(0.5).await;
    let (id, mut answer) = match sim.users().create(&sim.options, &body, &sim.traffic.dice) {
        Ok(stored) => (Some(stored.id.clone()), shown(&sim, StatusCode::CREATED, stored)),
        Err(problem) => (None, problem.into_response()),
    };
    if let Some(id) = &id {
        let location = format!("{}/Users/{id}", sim.scim_url());
        let location = HeaderValue::from_str(&location).expect("our own address is a header value");
        answer.headers_mut().insert(header::LOCATION, location);
    }
    let changed = id.is_some();
    record(&sim, "POST", id, body, &answer, changed);
    sim.take_time(0.5).await;
    answer
}

fn record(sim: &Centre, method: &str, id: Option<String>, body: Value, answer: &Response, changed: bool) {
    let (at, status) = (sim.traffic.clock.now(), answer.status().as_u16());
    sim.watch.record(WriteRecord { at, method: method.to_owned(), id, body, status, changed });
}

/// `PUT /Users/{id}`.
pub(super) async fn replace(
    State(sim): State<Arc<Centre>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    change(&sim, "PUT", id, &headers, &body).await
}

/// `PATCH /Users/{id}`.
pub(super) async fn patch(
    State(sim): State<Arc<Centre>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if sim.options.dialect == Dialect::PutOnly {
        return Problem::new(501, None, "PATCH is not implemented.").into_response();
    }
    change(&sim, "PATCH", id, &headers, &body).await
}

async fn change(sim: &Centre, method: &str, id: String, headers: &HeaderMap, body: &Bytes) -> Response {
    let body = match read(headers, body) {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let _writing = sim.watch.begin(method, &id);
    sim.take_time(0.5).await;
    let (answer, changed) = match changed(sim, method, &id, headers, &body) {
        Ok(done) => done,
        Err(problem) => (problem.into_response(), false),
    };
    record(sim, method, Some(id), body, &answer, changed);
    sim.take_time(0.5).await;
    answer
}

fn changed(
    sim: &Centre,
    method: &str,
    id: &str,
    headers: &HeaderMap,
    body: &Value,
) -> Result<(Response, bool), Problem> {
    let mut users = sim.users();
    let conditional = sim.options.etags && headers.contains_key(header::IF_MATCH);
    if conditional && !names_version(headers, header::IF_MATCH, users.get(id)?) {
        return Err(Problem::new(412, None, "The user has changed."));
    }
    let changed = match method {
        "PUT" => users.replace(&sim.options, id, body)?,
        _ => users.patch(&sim.options, id, body)?,
    };
    let answer = match sim.options.patch_answer {
        PatchAnswer::Empty if method == "PATCH" => StatusCode::NO_CONTENT.into_response(),
        _ => shown(sim, StatusCode::OK, users.get(id)?),
    };
    Ok((answer, changed))
}

/// `GET /Schemas`: names and kinds, no more than a client could need. What is never stored is not there.
pub(super) async fn schemas(State(sim): State<Arc<Centre>>) -> Response {
    let describe = |name: &str, parts: &[super::schema::Attribute]| -> Value {
        let attributes: Vec<Value> = parts
            .iter()
            .filter(|attribute| attribute.name != NICE)
            .filter(|attribute| !sim.options.ignore_attributes.contains(attribute.name))
            .map(|attribute| {
                let kind = match attribute.kind {
                    Type::Text => "string",
                    Type::Boolean => "boolean",
                    Type::Complex(_) => "complex",
                };
                json!({
                    "name": attribute.name,
                    "type": kind,
                    "multiValued": attribute.many,
                    "required": attribute.required,
                    "caseExact": attribute.case_exact,
                    "mutability": if attribute.read_only { "readOnly" } else { "readWrite" },
                })
            })
            .collect();
        json!({"id": name, "name": "User", "attributes": attributes})
    };
    let resources = [describe(CORE, USER), describe(NICE, super::schema::nice_parts())];
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": resources.len(),
        "Resources": resources,
    });
    scim(StatusCode::OK, &body)
}

/// What the gateway says to a path nobody serves: a page, not a SCIM error.
pub(super) async fn nowhere() -> Response {
    let page = "<html><body><h1>404 Not Found</h1></body></html>";
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// DELETE, and whatever else is not published for a path.
pub(super) async fn not_allowed() -> Response {
    Problem::new(405, None, "The method is not allowed.").into_response()
}
