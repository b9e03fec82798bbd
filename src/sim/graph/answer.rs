//! Graph's way of answering: the error body, and the headers every answer carries.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Tenant;
use crate::sim::wire::bearer;

/// A refusal: `{"error":{"code","message","innerError"}}`.
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Request_BadRequest", message)
    }

    pub(super) fn unreadable() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", "Unable to read JSON request payload.")
    }

    pub(super) fn not_found(id: &str) -> Self {
        let message = format!(
            "Resource '{id}' does not exist or one of its queried reference-property objects are not present."
        );
        Self::new(StatusCode::NOT_FOUND, "Request_ResourceNotFound", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let inner =
            json!({"date": "2026-11-23T10:00:00", "request-id": "00000000-0000-4000-8000-000000000000"});
        let body = json!({"error": {"code": self.code, "message": self.message, "innerError": inner}});
        (self.status, Json(body)).into_response()
    }
}

pub(super) type Answer = Result<Response, Refusal>;

/// The answer for a status that a fault asks for.
pub(super) fn refuse(status: StatusCode) -> Response {
    let code = match status.as_u16() {
        400 => "Request_BadRequest",
        401 => "InvalidAuthenticationToken",
        403 => "Authorization_RequestDenied",
        404 => "Request_ResourceNotFound",
        410 => "resyncRequired",
        429 => "TooManyRequests",
        501 => "NotImplemented",
        503 => "serviceNotAvailable",
        504 => "gatewayTimeout",
        _ => "UnknownError",
    };
    Refusal::new(status, code, "A fault of the simulator.").into_response()
}

/// Asks for a valid bearer token, waits as long as the options say, and adds the usual headers.
pub(super) async fn guard(State(sim): State<Arc<Tenant>>, request: Request, next: Next) -> Response {
    let request_id = sim.traffic.dice.guid();
    let client_request_id = request.headers().get("client-request-id").cloned();
    let now = sim.traffic.clock.now();
    let refusal = match bearer(request.headers()) {
        None => Some("Access token is empty."),
        Some(token) if !sim.tokens.is_valid(token, now) => {
            Some("Access token has expired or is not yet valid.")
        }
        Some(_) => None,
    };
    let mut answer = match refusal {
        Some(message) => {
            let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message);
            let mut answer = refusal.into_response();
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
        None => {
            tokio::time::sleep(sim.traffic.dice.between(sim.options.latency)).await;
            next.run(request).await
        }
    };
    let headers = answer.headers_mut();
    let text = HeaderValue::from_str(&request_id).expect("a guid is a header value");
    headers.insert("client-request-id", client_request_id.unwrap_or_else(|| text.clone()));
    headers.insert("request-id", text);
    headers.insert(
        "x-ms-ags-diagnostic",
        HeaderValue::from_static(r#"{"ServerInfo":{"DataCenter":"Simulator"}}"#),
    );
    headers.insert("x-ms-resource-unit", HeaderValue::from_static("1"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
