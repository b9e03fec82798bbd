//! The dashboard: what an operator sees of the service in a browser, and the few things they may do there.
//!
//! It is one more client of the admin API, called in this process, so nothing can be seen or done here
//! that a command could not. Pages are whole without JavaScript; a script only brings in what has
//! changed. A browser is let in by the admin token, then holds a session cookie; since a browser sends
//! that by itself, whatever changes something must come from a form of ours ([`session`]).

mod actions;
mod live;
mod pages;
mod session;
mod show;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::body::{self, Budget};
use super::private::{Entry, PrivateState, host, secure};
use super::wire::{ApiError, Query};
use crate::outbound;
use session::{Notice, Sessions, SignedIn};

/// Most a form may hold.
const FORM_BYTES: usize = 64 << 10;
/// Pages that are kept up to date at once. Each takes one of the private listener's connections.
const STREAMS: usize = 16;

/// What the pages work with.
#[derive(Debug)]
pub struct Dashboard {
    ours: Arc<PrivateState>,
    /// The admin API, for whoever is signed in.
    api: Router,
    entry: Arc<Entry>,
    sessions: Sessions,
    streams: Arc<Semaphore>,
}

type Ours = State<Arc<Dashboard>>;

impl Dashboard {
    pub fn new(ours: Arc<PrivateState>, api: Router, entry: Arc<Entry>) -> Self {
        let streams = Arc::new(Semaphore::new(STREAMS));
        Self { ours, api, entry, sessions: Sessions::default(), streams }
    }

    /// Asks the admin API.
    async fn get(&self, path: &str) -> Result<Value, Refused> {
        self.call(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, Refused> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Refused> {
        let url = format!("http://localhost{path}");
        let url = url.parse().map_err(|_| Refused::new(StatusCode::NOT_FOUND, "there is no such page"))?;
        let mut request = outbound::Request::new(method, url);
        if let Some(body) = body {
            request = request.body("application/json", body.to_string());
        }
        let failed = |words: String| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, words);
        let answer = async { super::call(self.api.clone(), request).await?.whole().await };
        let answer = answer.await.map_err(|error| failed(error.to_string()))?;
        let read: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| failed(format!("the answer to {path} could not be read")))?;
        match answer.status.is_success() {
            true => Ok(read),
            false => Err(Refused {
                status: answer.status,
                words: read["error"]["message"].as_str().unwrap_or("it could not be done").to_owned(),
            }),
        }
    }

    fn session(&self, headers: &HeaderMap, glance: bool) -> Option<SignedIn> {
        self.sessions.of(headers, self.entry.token_digest(), glance, self.ours.clock.now())
    }

    /// Who asks, or the way to the door.
    fn signed_in(&self, headers: &HeaderMap, glance: bool, page: &str) -> Result<SignedIn, Box<Response>> {
        let found = self.session(headers, glance);
        found.ok_or_else(|| {
            let back = percent_encoding::utf8_percent_encode(page, percent_encoding::NON_ALPHANUMERIC);
            Box::new(to(&format!("/login?next={back}")))
        })
    }
}

/// Why the API did not do or tell something, in its own words.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    words: String,
}

impl Refused {
    fn new(status: StatusCode, words: impl Into<String>) -> Self {
        Self { status, words: words.into() }
    }
}

/// Everything a browser may ask for.
pub fn router(dashboard: Dashboard) -> Router {
    let dashboard = Arc::new(dashboard);
    Router::new()
        .route("/", get(pages::overview))
        .route("/queue", get(pages::queue))
        .route("/held", get(pages::held))
        .route("/drift", get(pages::drift))
        .route("/history", get(pages::history))
        .route("/subscriptions", get(pages::subscriptions))
        .route("/users", get(pages::find))
        .route("/users/{user}", get(pages::user))
        .route("/do/{action}", post(actions::act))
        .route("/live", get(live::stream))
        .route("/login", get(door).post(sign_in))
        .route("/logout", post(sign_out))
        .route(
            "/assets/style.css",
            get(async || asset("text/css", include_str!("dashboard/assets/style.css"))),
        )
        .route(
            "/assets/live.js",
            get(async || asset("text/javascript", include_str!("dashboard/assets/live.js"))),
        )
        .layer(from_fn_with_state(dashboard.clone(), enter))
        .with_state(dashboard)
}

/// Nothing but our own style and script, nothing inline, no frame around us, forms only to us.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

async fn enter(State(ours): Ours, request: Request, next: Next) -> Response {
    let mut answer = match admit(&ours.entry, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    secure(&mut answer, POLICY);
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::X_FRAME_OPTIONS, "DENY"),
        // With none at all, browsers would not say either where a form comes from.
        (header::REFERRER_POLICY, "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// A page may be asked for from anywhere (it shows nothing without the cookie, which then does not
/// come); a form must come from a page of this very host.
fn admit(entry: &Entry, request: &Request) -> Result<(), ApiError> {
    entry.check_host(request)?;
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let headers = request.headers();
    let site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    let origins: Vec<_> = headers.get_all(header::ORIGIN).iter().collect();
    let origin = match origins.as_slice() {
        [] => true,
        [origin] => is_ours(origin, request),
        _ => false,
    };
    match site && origin {
        true => Ok(()),
        false => Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", "this form is not from here")),
    }
}

/// Whether the origin is the host (with its port) that the request names.
fn is_ours(origin: &HeaderValue, request: &Request) -> bool {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, named, host(request)) {
        (Some(("http" | "https", origin)), Some(named), Some(_)) => origin.eq_ignore_ascii_case(named),
        _ => false,
    }
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, format!("{kind}; charset=utf-8"))], text).into_response()
}

/// "See there", as answer to a form.
fn to(page: &str) -> Response {
    let target = HeaderValue::from_str(page).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, target)]).into_response()
}

/// A path of ours to go back to; whatever else is asked for is the first page. Never another host.
fn local(path: Option<&str>) -> &str {
    let plain = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    path.filter(plain).unwrap_or("/")
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot write a page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The fields of a form.
async fn form(body: Body, known: &[&str]) -> Result<Query, ApiError> {
    let read = body::read(body, FORM_BYTES, &Budget::of_bytes(FORM_BYTES)).await;
    let bytes = read.map_err(|error| ApiError::invalid(error.to_string()))?.bytes;
    let text = std::str::from_utf8(&bytes).map_err(|_| ApiError::invalid("the form is not UTF-8"))?;
    Query::read(Some(text), known)
}

#[derive(Template)]
#[template(path = "login.html")]
struct Door {
    next: String,
    error: Option<&'static str>,
}

async fn door(State(ours): Ours, request: Request) -> Response {
    let asked = Query::read(request.uri().query(), &["next"]).ok();
    let next = local(asked.as_ref().and_then(|query| query.text("next"))).to_owned();
    if ours.session(request.headers(), true).is_some() {
        return to(&next);
    }
    page(StatusCode::OK, &Door { next, error: None })
}

async fn sign_in(State(ours): Ours, request: Request) -> Response {
    let form = match form(request.into_body(), &["token", "name", "next"]).await {
        Ok(form) => form,
        Err(error) => return error.into_response(),
    };
    let now = ours.ours.clock.now();
    let next = local(form.text("next")).to_owned();
    if !ours.sessions.may_try(now) {
        let error = Some("Too many wrong tokens. Wait a minute and try again.");
        return page(StatusCode::TOO_MANY_REQUESTS, &Door { next, error });
    }
    let token: SecretString = form.text("token").unwrap_or_default().trim().to_owned().into();
    if !ours.entry.admits(&token) {
        tracing::warn!("somebody tried to sign in to the dashboard with a wrong token");
        let error = Some("This is not the admin token.");
        return page(StatusCode::UNAUTHORIZED, &Door { next, error });
    }
    let name: String =
        form.text("name").unwrap_or_default().trim().chars().filter(|c| !c.is_control()).take(60).collect();
    let cookie = ours.sessions.open(name, ours.entry.token_digest(), &ours.ours.random, now);
    tracing::info!("an operator signed in to the dashboard");
    let mut answer = to(&next);
    answer.headers_mut().insert(header::SET_COOKIE, cookie);
    answer
}

async fn sign_out(State(ours): Ours, request: Request) -> Response {
    let who = match ours.signed_in(request.headers(), false, "/") {
        Ok(who) => who,
        Err(door) => return *door,
    };
    match form(request.into_body(), &["form_token"]).await {
        Ok(form) if who.made(form.text("form_token").unwrap_or_default()) => {
            let mut answer = to("/login");
            answer.headers_mut().insert(header::SET_COOKIE, ours.sessions.close(&who));
            answer
        }
        Ok(_) => actions::not_ours().into_response(),
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests;
