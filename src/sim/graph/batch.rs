//! `POST /$batch`: up to 20 requests in one, each answered on its own, in any order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use super::Tenant;
use super::answer::{Answer, Refusal};
use crate::sim::faults::What;
use crate::sim::server::{self, RequestRecord};

const MAX_REQUESTS: usize = 20;

/// What the batch needs: the tenant, and the routes an inner request may take.
#[derive(Clone)]
pub(super) struct Batches {
    pub(super) sim: Arc<Tenant>,
    pub(super) inner: Router,
}

pub(super) async fn batch(State(batches): State<Batches>, headers: HeaderMap, body: Bytes) -> Answer {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        let message = "A JSON body is expected.";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "RequestBodyRead", message));
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return Err(Refusal::unreadable());
    };
    let Some(requests) = body["requests"].as_array() else {
        return Err(Refusal::bad_request("Invalid batch payload format."));
    };
    if requests.len() > MAX_REQUESTS {
        return Err(Refusal::bad_request("Number of batch request steps exceeds the maximum value of 20."));
    }
    let mut ids = HashSet::new();
    for request in requests {
        let id = request["id"].as_str().unwrap_or_default();
        let url = request["url"].as_str().unwrap_or_default();
        if id.is_empty() || !ids.insert(id.to_ascii_lowercase()) {
            return Err(Refusal::bad_request("Request ids in a batch must be present and unique."));
        }
        if url.trim_start_matches('/').starts_with("$batch") || url.contains("://") || url.is_empty() {
            return Err(Refusal::bad_request("A batch holds relative addresses and no other batch."));
        }
        if request["method"].as_str().is_none() {
            return Err(Refusal::bad_request("Every request in a batch has a method."));
        }
        if request.get("body").is_some() && !has_content_type(request) {
            return Err(Refusal::bad_request("A request with a body needs a Content-Type header."));
        }
    }
    let mut responses = Vec::new();
    let mut statuses: HashMap<String, u64> = HashMap::new();
    for request in requests {
        let failed_before = request["dependsOn"].as_array().into_iter().flatten().any(|id| {
            let id = id.as_str().unwrap_or_default().to_ascii_lowercase();
            statuses.get(&id).is_none_or(|status| *status >= 400)
        });
        let response = if failed_before {
            let message = "A request this one depends on has failed.";
            Refusal::new(StatusCode::FAILED_DEPENDENCY, "FailedDependency", message).into_response()
        } else {
            run(&batches, request).await
        };
        let id = request["id"].as_str().unwrap_or_default();
        let response = shown(id, response).await;
        statuses.insert(id.to_ascii_lowercase(), response["status"].as_u64().unwrap_or(500));
        responses.push(response);
    }
    batches.sim.traffic.dice.shuffle(&mut responses);
    Ok(Json(json!({"responses": responses})).into_response())
}

fn has_content_type(request: &Value) -> bool {
    let headers = request["headers"].as_object();
    headers.is_some_and(|headers| headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")))
}

async fn run(batches: &Batches, request: &Value) -> Response {
    let response = work(batches, request).await;
    let url = request["url"].as_str().unwrap_or_default().trim_start_matches('/');
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    batches.sim.traffic.record(RequestRecord {
        method: request["method"].as_str().unwrap_or_default().to_ascii_uppercase(),
        path: format!("/v1.0/{path}"),
        query: query.to_owned(),
        in_batch: true,
        status: Some(response.status().as_u16()),
    });
    response
}

async fn work(batches: &Batches, request: &Value) -> Response {
    let method = request["method"].as_str().unwrap_or_default().to_ascii_uppercase();
    let url = format!("/v1.0/{}", request["url"].as_str().unwrap_or_default().trim_start_matches('/'));
    let path = url.split('?').next().unwrap_or_default();
    let fault = batches.sim.traffic.strike_inside(&method, path);
    if let Some(What::Status(code, retry_after)) = &fault {
        return batches.sim.traffic.refusal(*code, retry_after.as_ref());
    }
    let mut inner = Request::builder().method(method.as_str()).uri(&url);
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        inner = inner.header(name, value.as_str().unwrap_or_default());
    }
    let body = request.get("body").map(Value::to_string).unwrap_or_default();
    let response = match inner.body(Body::from(body)) {
        Ok(inner) => match batches.inner.clone().oneshot(inner).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        Err(_) => {
            Refusal::bad_request("The address or a header of a request cannot be read.").into_response()
        }
    };
    match fault {
        Some(what) => server::untrue(response, &what).await,
        None => response,
    }
}

async fn shown(id: &str, response: Response) -> Value {
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let headers: Map<String, Value> = head
        .headers
        .iter()
        .filter(|(name, _)| ["content-type", "retry-after", "location"].contains(&name.as_str()))
        .map(|(name, value)| (title_case(name.as_str()), json!(value.to_str().unwrap_or_default())))
        .collect();
    let mut shown = json!({"id": id, "status": head.status.as_u16(), "headers": headers});
    if let Ok(body) = serde_json::from_slice::<Value>(&bytes) {
        shown["body"] = body;
    }
    shown
}

/// `Retry-After`, as Graph writes it inside a batch.
fn title_case(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}
