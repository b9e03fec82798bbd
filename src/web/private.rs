//! The private listener: health, metrics, status and the admin API.
//!
//! Nothing here is reachable from the public listener. Over TCP every request names a host we know
//! (DNS rebinding), carries the admin token (but for health and metrics) and does not come from a
//! page of somebody else. There is no CORS, and the cookie of the dashboard opens nothing but the
//! dashboard, so a browser cannot be made to act for an operator.

use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, watch};

use super::api;
use super::dashboard::{self, Dashboard};
use super::operations::Operations;
use super::wire::{ApiError, RoundStatus, Status, SubscriptionStatus};
use crate::clock::{Clock, until};
use crate::domain::coverage::Coverage;
use crate::domain::guard::{self, Budgets, WINDOWS};
use crate::domain::queue::State as JobState;
use crate::domain::subscription::Resource;
use crate::random::Random;
use crate::shutdown::Shutdown;
use crate::store::{self, COVERAGE_MEMO, FULL_COMPARE_MEMO, Store};
use crate::telemetry::{GuardLabels, Metrics, ReasonLabel, ResourceLabel, StateLabel};

/// What the private router needs.
#[derive(Clone, Debug)]
pub struct PrivateState {
    pub store: Store,
    pub operations: Operations,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub random: Random,
    pub shutdown: Shutdown,
    /// Those of the guard that are in force.
    pub budgets: watch::Receiver<Budgets>,
    pub access: Access,
}

/// Who may use a private router.
#[derive(Clone, Debug)]
pub enum Access {
    /// Whoever reaches it: the Unix socket has looked at the peer.
    Local,
    /// Whoever reaches it: the call is made in this process, and no service runs.
    Offline,
    /// Whoever is signed in to the dashboard, which asks in this process.
    Dashboard,
    /// Whoever has the token. `hosts` are names and addresses, without a port, by which the listener
    /// is called; loopback names always are.
    Token { token: AdminToken, hosts: Vec<String> },
}

/// The admin token, which may be exchanged while we run. Only its digest is kept.
#[derive(Clone, Debug)]
pub struct AdminToken(Arc<RwLock<[u8; 32]>>);

impl AdminToken {
    pub fn new(token: &SecretString) -> Self {
        Self(Arc::new(RwLock::new(digest(token.expose_secret()))))
    }

    /// Only the new one opens from now on.
    pub fn exchange(&self, token: &SecretString) {
        *self.0.write().expect("no panic while the token is held") = digest(token.expose_secret());
    }

    fn is(&self, token: &str) -> bool {
        !token.is_empty() && bool::from(digest(token).ct_eq(&self.digest()))
    }

    fn digest(&self) -> [u8; 32] {
        *self.0.read().expect("no panic while the token is held")
    }
}

impl Access {
    /// How a request came in, for what is kept of who ordered what: a name anybody can give.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Local => "socket",
            Self::Offline => "offline",
            Self::Dashboard => "dashboard",
            Self::Token { .. } => "token",
        }
    }
}

/// Everything a private listener answers. Over TCP that is the dashboard too: browsers do not use
/// sockets of files.
pub fn private_router(state: PrivateState) -> Router {
    let entry = Arc::new(Entry::new(&state.access));
    let has_pages = matches!(state.access, Access::Token { .. });
    let pages = has_pages.then(|| {
        let inner = PrivateState { access: Access::Dashboard, ..state.clone() };
        let api = answering(inner.clone(), Arc::new(Entry::new(&inner.access)));
        dashboard::router(Dashboard::new(Arc::new(inner), api, entry.clone()))
    });
    let router = answering(state, entry);
    match pages {
        Some(pages) => router.merge(pages),
        None => router,
    }
}

fn answering(state: PrivateState, entry: Arc<Entry>) -> Router {
    let refreshing = Arc::new(Mutex::new(()));
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async move |State(ours)| metrics(ours, refreshing.clone()).await))
        .route("/status", get(status))
        .nest("/api/v1", api::router())
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here"))
        .method_not_allowed_fallback(async || {
            let message = "this cannot be done here with this method";
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .layer(from_fn_with_state(entry, enter))
        .with_state(Arc::new(state))
}

/// What a request must show, ready to be compared.
#[derive(Debug)]
pub struct Entry(Option<Credentials>);

#[derive(Debug)]
struct Credentials {
    token: AdminToken,
    hosts: Vec<String>,
}

impl Entry {
    pub fn new(access: &Access) -> Self {
        Self(match access {
            Access::Local | Access::Offline | Access::Dashboard => None,
            Access::Token { token, hosts } => Some(Credentials {
                token: token.clone(),
                hosts: hosts.iter().map(|host| bare(host)).collect(),
            }),
        })
    }

    /// Whether it is us who were called, and not a name that somebody pointed here.
    pub fn check_host(&self, request: &Request) -> Result<(), ApiError> {
        match &self.0 {
            Some(credentials) if !host(request).is_some_and(|host| credentials.knows(&host)) => {
                let message = "this host name is not served here; see service.private_listen";
                Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message))
            }
            _ => Ok(()),
        }
    }

    /// Whether this is the admin token.
    pub fn admits(&self, token: &SecretString) -> bool {
        self.0.as_ref().is_some_and(|credentials| credentials.token.is(token.expose_secret()))
    }

    /// Tells one admin token from another, without being it.
    pub fn token_digest(&self) -> [u8; 32] {
        self.0.as_ref().map_or([0; 32], |credentials| credentials.token.digest())
    }

    fn check(&self, request: &Request) -> Result<(), ApiError> {
        self.check_host(request)?;
        let headers = request.headers();
        if headers.contains_key(header::ORIGIN) || is_foreign_fetch(headers) {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", "not for web pages"));
        }
        let open = matches!(request.uri().path(), "/livez" | "/readyz" | "/metrics");
        if let Some(credentials) = &self.0
            && !open
            && !credentials.admit(headers)
        {
            let message = "the admin token is missing or wrong";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message));
        }
        // A page can send a form without being asked first, but not JSON; DELETE is always asked for.
        let simple = matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE);
        if !simple && !is_json(headers) {
            let message = "the request must have the content type application/json";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message));
        }
        Ok(())
    }
}

impl Credentials {
    fn knows(&self, host: &str) -> bool {
        let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        host == "localhost" || loopback || self.hosts.iter().any(|known| known == host)
    }

    /// Digests of equal length are compared, so neither the length nor a common beginning shows.
    fn admit(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return false };
        let token = value.to_str().ok().and_then(|value| value.split_once(' '));
        let Some((_, token)) = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return false;
        };
        self.token.is(token)
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The one host a request names: that of its target if it has one, else of the header (RFC 9112,
/// 3.2.2).
pub fn host(request: &Request) -> Option<String> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let header = match (named.next(), named.next()) {
        (Some(_), Some(_)) => return None,
        (header, _) => header.and_then(|value| value.to_str().ok()),
    };
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => header?.parse().ok()?,
    };
    // A user before the host has no business here.
    (!authority.as_str().contains('@')).then(|| bare(authority.host()))
}

fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}

fn is_foreign_fetch(headers: &HeaderMap) -> bool {
    let site = HeaderName::from_static("sec-fetch-site");
    headers.get_all(site).iter().any(|site| site != "none" && site != "same-origin")
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

async fn enter(State(entry): State<Arc<Entry>>, request: Request, next: Next) -> Response {
    let mut answer = match entry.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    secure(&mut answer, "default-src 'none'");
    if answer.status() == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

/// Nothing of ours is kept by a browser or a proxy, or taken for what it is not; `policy` is what a page of
/// ours may load.
pub fn secure(answer: &mut Response, policy: &'static str) {
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, policy),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

async fn livez() -> &'static str {
    "alive\n"
}

/// Ready means that a notification could be stored. Graph and CXone have no say in it: a service
/// that waits for them must not be taken out of rotation.
async fn readyz(State(ours): State<Arc<PrivateState>>) -> Result<&'static str, ApiError> {
    ours.store.ready(ours.clock.now()).await?;
    Ok("ready\n")
}

/// `refreshing`: one refresh at a time, however many scrape. Whoever finds one under way waits for its
/// end and shows what it found.
async fn metrics(ours: Arc<PrivateState>, refreshing: Arc<Mutex<()>>) -> Response {
    if let Ok(_one_at_a_time) = refreshing.try_lock() {
        if let Err(error) = refresh(&ours).await {
            // What was counted is still worth having, above all when the store fails.
            tracing::error!(error = &error as &dyn std::error::Error, "cannot refresh the gauges");
        }
    } else {
        drop(refreshing.lock().await);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], ours.metrics.encode()).into_response()
}

/// For so long may somebody who left go on logging in because the guard holds it, before the metrics
/// complain.
const LEAVERS_WAIT_AT_MOST: Duration = Duration::from_secs(15 * 60);

/// Reads the gauges that are facts of the store.
async fn refresh(ours: &PrivateState) -> Result<(), store::Error> {
    let (store, metrics, now) = (&ours.store, &ours.metrics, ours.clock.now());
    let survey = store.survey(LEAVERS_WAIT_AT_MOST, now).await?;
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let unix = |at: Timestamp| at.as_millisecond() as f64 / 1000.0;

    let depth = &survey.depth;
    for state in JobState::ALL {
        let n = match state {
            JobState::Due => depth.due,
            JobState::Waiting => depth.waiting,
            JobState::Running => depth.running,
            JobState::Parked => depth.parked,
            JobState::Held => depth.held,
        };
        metrics.queue_depth.get_or_create(&StateLabel::of(state.name())).set(count(n));
    }
    metrics.queue_oldest_due.set(depth.oldest_due.as_secs_f64());
    metrics.workqueue_depth.set(count(depth.due));
    metrics.workqueue_unfinished_work.set(survey.unfinished.as_secs_f64());
    metrics.workqueue_longest_running.set(survey.longest_running.as_secs_f64());

    metrics.held.clear();
    for (reason, n) in survey.held {
        metrics.held.get_or_create(&ReasonLabel::of(reason)).set(count(n));
    }
    metrics.held_leavers_overdue.set(count(survey.leavers_overdue));

    metrics.guard_used.clear();
    let budgets = *ours.budgets.borrow();
    for (guarded, usage) in &survey.guard {
        for window in WINDOWS {
            let Some(used) = guard::used(budgets.of(*guarded), usage, window) else { continue };
            let (budget, window) = (guarded.name().to_owned(), window.to_owned());
            metrics.guard_used.get_or_create(&GuardLabels { budget, window }).set(used);
        }
    }

    metrics.subscription_expiry.clear();
    for subscription in &survey.subscriptions {
        let resource = ResourceLabel::of(subscription.resource.path());
        metrics.subscription_expiry.get_or_create(&resource).set(unix(subscription.expires_at));
    }
    metrics.delta_link_age.clear();
    for (resource, completed_at) in &survey.rounds {
        let age = until(*completed_at, now).as_secs_f64();
        metrics.delta_link_age.get_or_create(&ResourceLabel::of(resource.path())).set(age);
    }
    metrics.last_notification.set(survey.last_notification_at.map_or(0.0, unix));
    metrics.last_full_compare.set(last_full_compare(store).await?.map_or(0.0, unix));
    Ok(())
}

async fn last_full_compare(store: &Store) -> Result<Option<Timestamp>, store::Error> {
    Ok(store.memo(FULL_COMPARE_MEMO).await?.and_then(|at| at.parse().ok()))
}

async fn status(State(ours): State<Arc<PrivateState>>) -> Result<Json<Value>, ApiError> {
    let (store, now) = (&ours.store, ours.clock.now());
    let left = |subscription: crate::domain::subscription::Subscription| {
        let left = until(now, subscription.expires_at);
        SubscriptionStatus::new(subscription, left)
    };
    let mut delta = std::collections::BTreeMap::new();
    for resource in Resource::ALL {
        let Some(round) = store.round(resource).await? else { continue };
        let age_seconds = round.completed_at.map(|at| until(at, now).as_secs());
        let store::Round { in_progress, full, started_at, completed_at, .. } = round;
        delta.insert(
            resource.path(),
            RoundStatus { in_progress, full, started_at, completed_at, age_seconds },
        );
    }
    let coverage: Option<Coverage> =
        store.memo(COVERAGE_MEMO).await?.and_then(|memo| serde_json::from_str(&memo).ok());
    let known = Status {
        version: env!("CARGO_PKG_VERSION"),
        now,
        queue: store.depth(now).await?.into(),
        chores: store.chores().await?,
        subscriptions: store.subscriptions().await?.into_iter().map(left).collect(),
        delta,
        coverage: coverage.unwrap_or_default().into(),
        last_notification_at: store.last_notification_at().await?,
        last_full_compare_at: last_full_compare(store).await?,
    };
    let mut status = serde_json::to_value(known).expect("the status has string keys");
    // Half an answer is better than none when the parts are busy or not running.
    match (ours.operations.status().await, &mut status) {
        (Ok(Value::Object(more)), Value::Object(status)) => {
            for (key, value) in more {
                status.entry(key).or_insert(value);
            }
        }
        (Ok(_), _) => {}
        (Err(error), status) => status["parts"] = Value::from(error.message),
    }
    Ok(Json(status))
}

#[cfg(test)]
mod tests;
