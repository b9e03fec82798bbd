//! The public listener: what Microsoft Graph calls, and nothing else.
//!
//! `POST /notifications` and `POST /lifecycle` both answer the handshake and both take both kinds of
//! items: Graph sends whatever it has to whichever address it knows. 202 means that every genuine
//! item is on disk. An item that is not ours is dropped and counted and the answer is 202 all the
//! same: a 4xx would buy four hours of retries and tell an attacker what he guessed.
//!
//! Whatever arrives, the answer is one of a few statuses with the same headers. Tokens and bodies are
//! never logged.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use tracing::{Instrument as _, info_span};

use super::body::{self, BodyError, Budget};
use super::handshake::{self, Handshake};
use crate::clock::{self, Clock};
use crate::graph::notification::{self, NotJson, Read, Verifier};
use crate::store::{self, Store};
use crate::telemetry::{Metrics, ResultLabel};

/// From the last byte of a notification to its answer. Graph waits 3 s for a first attempt and
/// counts a slower answer against the endpoint.
/// Source: Microsoft Graph, "Receive change notifications through webhooks", 2026-04.
const ANSWER_WITHIN: Duration = Duration::from_millis(2500);
/// Bytes of all bodies in memory at once.
const BODIES_BYTES: usize = 64 << 20;
/// A larger body is read by a thread that may take its time.
const LARGE_BODY_BYTES: usize = 64 << 10;
/// The same trouble is logged at most this often; all of it is counted.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What the public router needs.
#[derive(Clone, Debug)]
pub struct PublicState {
    pub store: Store,
    pub verifier: Arc<Verifier>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    /// A larger body is refused with 413.
    pub max_body_bytes: usize,
}

/// Everything the public listener answers.
pub fn public_router(state: PublicState) -> Router {
    let (dropped, failed) = (Complaint::default(), Complaint::default());
    let webhook = Webhook { state, budget: Budget::of_bytes(BODIES_BYTES), dropped, failed };
    // One handler for everything, so that no routing can answer in words of its own.
    Router::new().fallback(receive).with_state(Arc::new(webhook))
}

struct Webhook {
    state: PublicState,
    budget: Budget,
    dropped: Complaint,
    failed: Complaint,
}

/// When we last complained: whoever sends what we complain of decides how often there is cause.
#[derive(Default)]
struct Complaint(Mutex<Option<Timestamp>>);

impl Complaint {
    fn may_complain(&self, now: Timestamp) -> bool {
        let mut last = self.0.lock().expect("no panic while complaining");
        let may = last.is_none_or(|last| now >= clock::later(last, COMPLAIN_EVERY));
        if may {
            *last = Some(now);
        }
        may
    }
}

async fn receive(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    if !matches!(request.uri().path(), "/notifications" | "/lifecycle") {
        return answer(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        return answer(StatusCode::METHOD_NOT_ALLOWED);
    }
    match handshake::read(request.uri().query()) {
        Handshake::Echo(token) => {
            webhook.count("handshake", 1);
            tracing::info!("answered a validation handshake");
            answer_with(StatusCode::OK, Body::from(token))
        }
        Handshake::Refused => {
            webhook.count("handshake_refused", 1);
            answer(StatusCode::BAD_REQUEST)
        }
        Handshake::None => answer(webhook.notified(request).await),
    }
}

impl Webhook {
    async fn notified(&self, request: Request) -> StatusCode {
        if is_encoded(request.headers()) {
            self.count("encoded", 1);
            return StatusCode::UNSUPPORTED_MEDIA_TYPE;
        }
        let body = match body::read(request.into_body(), self.state.max_body_bytes, &self.budget).await {
            Ok(body) => body,
            Err(error) => return self.refused(&error),
        };
        let (started, received_at) = (Instant::now(), self.state.clock.now());
        // Always a trace of its own: what a caller says of his is not believed.
        let span = info_span!(parent: None, "notification.receive", n_bytes = body.bytes.len());
        let taken = self.take(body.bytes.clone(), received_at).instrument(span);
        let status = in_time(&self.state.clock, taken).await.unwrap_or_else(|| {
            self.count("too_slow", 1);
            if self.failed.may_complain(received_at) {
                tracing::error!("a notification could not be stored in time; Graph will send it again");
            }
            StatusCode::SERVICE_UNAVAILABLE
        });
        self.state.metrics.notification_ack.observe(started.elapsed().as_secs_f64());
        status
    }

    async fn take(&self, body: Bytes, received_at: Timestamp) -> StatusCode {
        let Read { news, mut counts } = match self.understand(body).await {
            Ok(read) => read,
            Err(NotJson) => {
                self.count("not_json", 1);
                return StatusCode::BAD_REQUEST;
            }
        };
        let stored: Result<(), store::Error> = match news.is_empty() {
            true => Ok(()),
            false => self.state.store.accept(news, received_at).await,
        };
        if stored.is_err()
            && let Some(accepted) = counts.remove("accepted")
        {
            counts.insert("not_stored", accepted);
        }
        for (result, n) in &counts {
            self.count(result, *n);
        }
        self.complain(&counts, received_at);
        match stored {
            Ok(()) => StatusCode::ACCEPTED,
            Err(error) => {
                if self.failed.may_complain(received_at) {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "cannot store notifications; Graph will send them again");
                }
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    async fn understand(&self, body: Bytes) -> Result<Read, NotJson> {
        if body.len() <= LARGE_BODY_BYTES {
            return notification::read(&body, &self.state.verifier);
        }
        let verifier = self.state.verifier.clone();
        tokio::task::spawn_blocking(move || notification::read(&body, &verifier))
            .await
            .expect("reading a notification does not panic")
    }

    fn refused(&self, error: &BodyError) -> StatusCode {
        let (result, status) = match error {
            BodyError::TooLarge { .. } => ("too_large", StatusCode::PAYLOAD_TOO_LARGE),
            BodyError::TimedOut => ("timed_out", StatusCode::REQUEST_TIMEOUT),
            BodyError::BrokenOff => ("broken_off", StatusCode::BAD_REQUEST),
            BodyError::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE),
        };
        self.count(result, 1);
        status
    }

    fn count(&self, result: &str, n: u64) {
        self.state.metrics.notifications.get_or_create(&ResultLabel::of(result)).inc_by(n);
    }

    /// Says that items were dropped.
    fn complain(&self, counts: &BTreeMap<&'static str, u64>, now: Timestamp) {
        let count = |result| counts.get(result).copied().unwrap_or_default();
        let (tenant, state) = (count("unknown_tenant"), count("bad_client_state"));
        let (malformed, too_many) = (count("malformed_item"), count("too_many"));
        if tenant + state + malformed + too_many == 0 {
            return;
        }
        if !self.dropped.may_complain(now) {
            return;
        }
        tracing::warn!(
            unknown_tenant = tenant,
            bad_client_state = state,
            malformed_item = malformed,
            too_many,
            "dropped notification items that are not ours, or more than one body may hold"
        );
    }
}

/// What `work` comes to, if it does so within [`ANSWER_WITHIN`].
async fn in_time<T>(clock: &Clock, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep(ANSWER_WITHIN) => None,
    }
}

/// Whether the body is anything but itself. Nothing is ever unpacked: a small bomb is a large body.
fn is_encoded(headers: &HeaderMap) -> bool {
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    !headers.get_all(header::CONTENT_ENCODING).iter().all(plain)
}

fn answer(status: StatusCode) -> Response {
    answer_with(status, Body::empty())
}

fn answer_with(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        // The rest of the body is not going to be read.
        StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests;
