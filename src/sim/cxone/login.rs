//! CXone's token endpoints and discovery documents.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde_json::{Value, json};

use super::Centre;
use crate::sim::clock::seconds;
use crate::sim::wire::{basic, bearer, first, pairs};

/// `POST /auth/token` (the documented one) and `POST /oauth/token`: a form, the client by Basic or in
/// the form, grants `password` (access key) and `client_credentials`.
pub(super) async fn token(State(sim): State<Arc<Centre>>, headers: HeaderMap, body: Bytes) -> Response {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let form = pairs(&String::from_utf8_lossy(&body));
    let client = basic(&headers)
        .or_else(|| Some((first(&form, "client_id")?.to_owned(), first(&form, "client_secret")?.to_owned())));
    let options = &sim.options;
    let credentials = sim.credentials();
    if client != Some((options.client_id.clone(), credentials.client_secret.clone())) {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    match first(&form, "grant_type") {
        Some("client_credentials") => granted(&sim, None),
        Some("password") => {
            let key = (first(&form, "username"), first(&form, "password"));
            if key == (Some(options.access_key_id.as_str()), Some(credentials.access_key_secret.as_str())) {
                granted(&sim, Some(sim.traffic.dice.token(24)))
            } else {
                refused(StatusCode::BAD_REQUEST, "invalid_grant")
            }
        }
        _ => refused(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
    }
}

/// `POST /authentication/v1/token/access-key`: JSON.
pub(super) async fn access_key(State(sim): State<Arc<Centre>>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (options, credentials) = (&sim.options, sim.credentials());
    if body["accessKeyId"] == options.access_key_id.as_str()
        && body["accessKeySecret"] == credentials.access_key_secret.as_str()
    {
        granted(&sim, None)
    } else {
        unauthorized(&sim, "/authentication/v1/token/access-key")
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error, "error_description": "A refusal of the simulator."})))
        .into_response()
}

fn granted(sim: &Centre, refresh_token: Option<String>) -> Response {
    let lifetime = sim.options.token_lifetime;
    let token = format!("cxone.{}", sim.traffic.dice.token(40));
    let token = sim.tokens.issue(token, sim.traffic.clock.now() + lifetime);
    let encode = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": sim.origin(), "tenantId": sim.options.tenant_id, "area": "na1"});
    let id_token = format!("{}.{}.c2lt", encode(json!({"alg": "RS256", "typ": "JWT"})), encode(claims));
    let mut body = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
        "id_token": id_token,
    });
    if let Some(refresh_token) = refresh_token {
        body["refresh_token"] = json!(refresh_token);
    }
    Json(body).into_response()
}

/// `GET /.well-known/openid-configuration`.
pub(super) async fn openid(State(sim): State<Arc<Centre>>) -> Json<Value> {
    let origin = sim.origin();
    Json(json!({
        "issuer": origin,
        "token_endpoint": format!("{origin}/auth/token"),
        "authorization_endpoint": format!("{origin}/auth/authorize"),
        "jwks_uri": format!("{origin}/auth/jwks"),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "grant_types_supported": ["authorization_code", "password", "refresh_token"],
        "scopes_supported": ["openid"],
    }))
}

/// `GET /.well-known/cxone-configuration?tenantId=…`.
pub(super) async fn cxone(State(sim): State<Arc<Centre>>, RawQuery(query): RawQuery) -> Response {
    let query = pairs(&query.unwrap_or_default());
    if first(&query, "tenantId") != Some(sim.options.tenant_id.as_str()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let origin = sim.origin();
    Json(json!({
        "auth_endpoint": origin,
        "api_endpoint": origin,
        "ui_endpoint": origin,
        "uhDomain": origin,
        "area": "na1",
        "cluster": "sim",
        "domain": "localhost",
        "acdDomain": "localhost",
        "globaldomain": "localhost",
        "tenantId": sim.options.tenant_id,
    }))
    .into_response()
}

/// 401 in Spring's words, not SCIM's.
fn unauthorized(sim: &Centre, path: &str) -> Response {
    let body = json!({
        "timestamp": seconds(sim.traffic.clock.now()),
        "status": 401,
        "error": "Unauthorized",
        "message": "Unauthorized",
        "path": path,
    });
    (StatusCode::UNAUTHORIZED, Json(body)).into_response()
}

/// How a caller shows who it is.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Below `/scim/v2`.
    Bearer,
    /// Below `/basic-auth/scim/v2`: an access key as user and password.
    Basic,
}

pub(super) async fn guard(
    State((sim, access)): State<(Arc<Centre>, Access)>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = match access {
        Access::Basic => {
            let key = (sim.options.access_key_id.clone(), sim.credentials().access_key_secret);
            basic(request.headers()) == Some(key)
        }
        Access::Bearer => {
            bearer(request.headers()).is_some_and(|token| sim.tokens.is_valid(token, sim.traffic.clock.now()))
        }
    };
    if allowed {
        return next.run(request).await;
    }
    let mut answer = unauthorized(&sim, request.uri().path());
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}
