//! The JSON of the admin API, and how what a client sent is checked.
//!
//! Whatever is wrong is said in words that tell what to do: these messages are read by operators.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::body::{self, BodyError, Budget};
use super::operations::OperationError;
use crate::domain::coverage::Coverage;
use crate::domain::link::Link;
use crate::domain::queue::{ChoreEntry, Depth, Job, State, Write};
use crate::domain::subscription::Subscription;
use crate::domain::user::{Attribute, GroupId, UserId};
use crate::store::{self, SnapshotError};

/// Most a request to the admin API may hold.
const BODY_BYTES: usize = 1 << 20;

/// `{"error": {"code", "message"}}` with a status.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// What a program needs beside the words.
    more: serde_json::Map<String, serde_json::Value>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), more: serde_json::Map::new() }
    }

    pub fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }
}

impl ApiError {
    fn json(self) -> serde_json::Value {
        let mut error = serde_json::json!({ "code": self.code, "message": self.message });
        self.more.into_iter().for_each(|(key, value)| error[key] = value);
        serde_json::json!({ "error": error })
    }

    /// As a line of an answer that has begun already.
    pub fn told(self) -> serde_json::Value {
        let status = self.status.as_u16();
        let mut told = self.json();
        told["status"] = status.into();
        told
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.json())).into_response()
    }
}

impl From<SnapshotError> for ApiError {
    fn from(error: SnapshotError) -> Self {
        let (status, code) = match error {
            SnapshotError::Store(error) => return error.into(),
            SnapshotError::UnderWay => (StatusCode::CONFLICT, "under_way"),
            SnapshotError::NoRoom { .. } => (StatusCode::INSUFFICIENT_STORAGE, "no_room"),
            SnapshotError::Copy(_) | SnapshotError::Incomplete { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "copy_failed")
            }
        };
        tracing::warn!(error = &error as &dyn std::error::Error, "could not take a backup");
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(status, code, format!("{error}{cause}"))
    }
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, error.code, error.message)
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the admin API cannot use the store");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", format!("the store failed: {error}"))
    }
}

/// A JSON object in the body. An unknown field is an error, so that a misspelt `dry_run` replays
/// nothing.
pub struct Sent<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        // The private listener has few clients, so each may have its own budget.
        let body = body::read(request.into_body(), BODY_BYTES, &Budget::of_bytes(BODY_BYTES)).await.map_err(
            |error| {
                let status = match error {
                    BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
                    BodyError::BrokenOff => StatusCode::BAD_REQUEST,
                    BodyError::Busy => StatusCode::SERVICE_UNAVAILABLE,
                };
                ApiError::new(status, "invalid_body", error.to_string())
            },
        )?;
        let json = &mut serde_json::Deserializer::from_slice(&body.bytes);
        let sent = serde_path_to_error::deserialize(&mut *json).map_err(|error| {
            let path = error.path().to_string();
            let wrong = if path == "." { "the body" } else { &path };
            ApiError::invalid(format!("{wrong} is wrong: {}", error.inner()))
        })?;
        json.end().map_err(|_| ApiError::invalid("the body goes on after its end"))?;
        Ok(Self(sent))
    }
}

/// A request that says nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    pub since: Option<Timestamp>,
    pub users: Option<Vec<UserId>>,
    pub parked: Option<bool>,
    pub all: Option<bool>,
    pub dry_run: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    pub users: Option<Vec<UserId>>,
    pub states: Option<Vec<State>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropRequest {
    pub users: Vec<UserId>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncRequest {
    pub user: Option<String>,
    pub all: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    pub users: Option<Vec<String>>,
    pub group: Option<GroupId>,
    pub all: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    pub plans: Vec<serde_json::Value>,
    pub by: Option<String>,
    pub batch: Option<String>,
}

/// What an operator says of what the guard holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulingRequest {
    /// Absent: everything that is held.
    pub users: Option<Vec<UserId>>,
    pub set: String,
    /// Of an approval: for how long it holds.
    pub expires_seconds: Option<u64>,
    pub by: Option<String>,
}

/// A request that says no more than who makes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByRequest {
    pub by: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreapproveRequest {
    pub group: GroupId,
    pub most: u64,
    pub until: Timestamp,
    pub by: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftRequest {
    pub user: UserId,
    pub attributes: BTreeSet<Attribute>,
    pub by: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    pub user: Option<UserId>,
    pub since: Option<Timestamp>,
    pub before: Option<Timestamp>,
    pub batch: Option<String>,
    pub dry_run: Option<bool>,
    /// The hash of what was shown; something else is not ordered.
    pub set: Option<String>,
    pub by: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    pub dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnRequest {
    pub user: String,
    /// The name of what was shown and is agreed to.
    pub plan: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulateRequest {
    /// What the file is called, for messages.
    pub name: String,
    pub text: String,
    pub since: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
pub struct Jobs {
    pub jobs: Vec<Job>,
}

#[derive(Debug, Serialize)]
pub struct UserEntry {
    pub job: Option<Job>,
    pub link: Option<Link>,
    pub history: Vec<Write>,
}

#[derive(Debug, Serialize)]
pub struct Writes {
    pub writes: Vec<Write>,
}

#[derive(Debug, Serialize)]
pub struct Users {
    pub users: usize,
}

#[derive(Debug, Serialize)]
pub struct Dropped {
    pub dropped: usize,
}

/// Jobs by state and everything else that waits.
#[derive(Debug, Serialize)]
pub struct Stats {
    #[serde(flatten)]
    pub depth: QueueDepth,
    pub chores: Vec<ChoreEntry>,
}

#[derive(Debug, Serialize)]
pub struct QueueDepth {
    pub due: u64,
    pub waiting: u64,
    pub running: u64,
    pub parked: u64,
    pub held: u64,
    pub oldest_due_seconds: f64,
    /// Since when the one longest in its state has been in it.
    pub running_since: Option<Timestamp>,
    pub parked_since: Option<Timestamp>,
    pub held_since: Option<Timestamp>,
}

impl From<Depth> for QueueDepth {
    fn from(depth: Depth) -> Self {
        let Depth { due, waiting, running, parked, held, oldest_due, .. } = depth;
        let Depth { running_since, parked_since, held_since, .. } = depth;
        let oldest_due_seconds = oldest_due.as_secs_f64();
        Self {
            due,
            waiting,
            running,
            parked,
            held,
            oldest_due_seconds,
            running_since,
            parked_since,
            held_since,
        }
    }
}

/// `/status`, but for what the running parts add.
#[derive(Debug, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub now: Timestamp,
    pub queue: QueueDepth,
    pub chores: Vec<ChoreEntry>,
    pub subscriptions: Vec<SubscriptionStatus>,
    pub delta: BTreeMap<&'static str, RoundStatus>,
    pub coverage: CoverageStatus,
    /// When a genuine notification last came.
    #[serde(rename = "lastNotificationAt")]
    pub last_notification_at: Option<Timestamp>,
    /// When everybody had last been looked at.
    #[serde(rename = "lastFullCompareAt")]
    pub last_full_compare_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
pub struct SubscriptionStatus {
    #[serde(flatten)]
    pub subscription: Subscription,
    /// Zero once it has expired.
    pub seconds_left: u64,
}

impl SubscriptionStatus {
    pub fn new(subscription: Subscription, left: Duration) -> Self {
        Self { subscription, seconds_left: left.as_secs() }
    }
}

/// How many of the recent changes a notification announced.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CoverageStatus {
    /// From 0 to 1; null when there was no change.
    pub ratio: Option<f64>,
    pub known: u64,
    pub missed: u64,
    /// As it was last tuned; null before that.
    pub poll_interval_seconds: Option<u64>,
}

impl From<Coverage> for CoverageStatus {
    fn from(coverage: Coverage) -> Self {
        let (known, missed) = coverage.counts();
        let poll_interval_seconds = coverage.last_interval().map(|interval| interval.as_secs());
        Self { ratio: coverage.ratio(), known, missed, poll_interval_seconds }
    }
}

/// One delta query. Its link is not shown: whoever has it may read the directory's changes.
#[derive(Debug, Serialize)]
pub struct RoundStatus {
    pub in_progress: bool,
    pub full: bool,
    pub started_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    /// Since the last complete round.
    pub age_seconds: Option<u64>,
}

/// The parameters of a query string, each known by name, given once, and absent when empty.
#[derive(Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    pub fn read(query: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let mut found = BTreeMap::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| {
                let spaced = text.replace('+', " ");
                percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned())
            };
            let (Ok(name), Ok(value)) = (decoded(name), decoded(value)) else {
                return Err(ApiError::invalid("the query is not UTF-8"));
            };
            if !known.contains(&name.as_str()) {
                let known = known.join(", ");
                return Err(ApiError::invalid(format!("unknown parameter {name:?}; there are: {known}")));
            }
            if found.insert(name.clone(), value).is_some() {
                return Err(ApiError::invalid(format!("{name} is given twice")));
            }
        }
        found.retain(|_, value| !value.is_empty());
        Ok(Self(found))
    }

    /// The value of `name`; when it is wrong, the error says what it should be.
    pub fn get<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let wrong = |_| {
            let shown: String = value.chars().take(64).collect();
            ApiError::invalid(format!("{name} is {shown:?}, but must be {expected}"))
        };
        value.parse().map(Some).map_err(wrong)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn attribute(&self, name: &str) -> Result<Option<Attribute>, ApiError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        Attribute::by_name(value).map(Some).ok_or_else(|| {
            let there_are = Attribute::ALL.map(Attribute::name).join(", ");
            ApiError::invalid(format!("{name} is not an attribute; there are: {there_are}"))
        })
    }

    pub fn user(&self, name: &str) -> Result<Option<UserId>, ApiError> {
        self.get(name, "an object id (a GUID such as 3f0c2a9e-1111-4222-8333-444455556666)")
    }

    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.get(name, "a time such as 2026-01-31T12:00:00Z")
    }

    /// A number of entries: `default` if not given, at most `most`.
    pub fn limit(&self, default: usize, most: usize) -> Result<usize, ApiError> {
        let limit = self.get::<usize>("limit", "a whole number")?.unwrap_or(default);
        if limit == 0 {
            return Err(ApiError::invalid("limit is 0, but must be at least 1"));
        }
        Ok(limit.min(most))
    }

    pub fn state(&self) -> Result<Option<State>, ApiError> {
        let Some(name) = self.0.get("state") else { return Ok(None) };
        let state = State::ALL.into_iter().find(|state| state.name() == name);
        state.map(Some).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            ApiError::invalid(format!(
                "state is {shown:?}, but must be due, waiting, running, parked or held"
            ))
        })
    }
}

/// A path segment that must be an object id.
pub fn user_id(text: &str) -> Result<UserId, ApiError> {
    text.parse().map_err(|error: crate::domain::user::NotAnId| ApiError::invalid(error.to_string()))
}

/// An object id or a sign-in name, as far as it can be told without asking.
pub fn user_name(text: &str) -> Result<&str, ApiError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ApiError::invalid("the user is missing: give an object id or a sign-in name"));
    }
    // The longest userPrincipalName has 113 characters (64 + @ + 48); domains may be longer elsewhere.
    if text.len() > 512 || text.contains(char::is_control) {
        return Err(ApiError::invalid("that is neither an object id nor a sign-in name"));
    }
    Ok(text)
}
