//! The token endpoint of the login host, and the two managed-identity endpoints.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde_json::{Value, json};

use super::Tenant;
use crate::sim::wire::{basic, first, pairs};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// What a managed identity must show at `IDENTITY_ENDPOINT`.
pub(super) const IDENTITY_HEADER: &str = "sim-identity-header";

/// `POST /{tenant}/oauth2/v2.0/token`.
pub(super) async fn token(
    State(sim): State<Arc<Tenant>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = pairs(&String::from_utf8_lossy(&body));
    if tenant != sim.options.tenant_id {
        return refused("invalid_request", 90002, &format!("Tenant '{tenant}' not found."));
    }
    if first(&form, "grant_type") != Some("client_credentials") {
        return refused("unsupported_grant_type", 70003, "The app requested an unsupported grant type.");
    }
    if !first(&form, "scope").is_some_and(|scope| scope.ends_with("/.default")) {
        return refused("invalid_scope", 1_002_012, "The scope is not valid; it must end in /.default.");
    }
    let by_header = basic(&headers);
    let client_id = first(&form, "client_id").or(by_header.as_ref().map(|(id, _)| id.as_str()));
    if client_id != Some(sim.options.client_id.as_str()) {
        return refused("unauthorized_client", 700_016, "Application was not found in the directory.");
    }
    let secret = first(&form, "client_secret").or(by_header.as_ref().map(|(_, secret)| secret.as_str()));
    let proven = match (secret, first(&form, "client_assertion")) {
        (Some(secret), _) => (secret == sim.client_secret()).then_some(()).ok_or(7_000_215),
        (None, Some(assertion)) if first(&form, "client_assertion_type") == Some(ASSERTION_TYPE) => {
            check_assertion(&sim, assertion).ok_or(700_027)
        }
        _ => Err(7_000_216),
    };
    match proven {
        Ok(()) => Json(json!({
            "token_type": "Bearer",
            "expires_in": sim.options.token_lifetime.as_secs(),
            "ext_expires_in": sim.options.token_lifetime.as_secs(),
            "access_token": issue(&sim, sim.options.token_lifetime),
        }))
        .into_response(),
        Err(code) => refused("invalid_client", code, "The credentials of the client are not valid."),
    }
}

fn issue(sim: &Tenant, lifetime: Duration) -> String {
    let encode = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let mut claims = json!({ "tid": sim.options.tenant_id, "uti": sim.traffic.dice.token(22) });
    if !sim.options.permissions.is_empty() {
        claims["roles"] = json!(sim.options.permissions);
    }
    let token = format!("{}.{}.c2lt", encode(json!({ "alg": "RS256", "typ": "JWT" })), encode(claims));
    sim.tokens.issue(token, sim.traffic.clock.now() + lifetime)
}

/// The shape and the claims of an assertion. The signature is not looked at: the keys are the caller's.
fn check_assertion(sim: &Tenant, assertion: &str) -> Option<()> {
    let part = |text: &str| -> Option<Value> {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    let parts: Vec<&str> = assertion.split('.').collect();
    let [header, claims, signature] = parts[..] else { return None };
    let (header, claims) = (part(header)?, part(claims)?);
    let signed = ["PS256", "RS256"].contains(&header["alg"].as_str()?) && !signature.is_empty();
    let now = sim.traffic.clock.now().as_second();
    let in_time = claims["exp"].as_i64().is_some_and(|end| now < end)
        && claims["nbf"].as_i64().is_none_or(|begin| begin <= now + 300);
    // A federated token is the other provider's: its issuer and subject are not the client id, and
    // its header names no certificate.
    let of_certificate = header.get("x5t#S256").or(header.get("x5t")).is_some();
    let for_us = claims["aud"].as_str()?.ends_with(&format!("/{}/oauth2/v2.0/token", sim.options.tenant_id));
    let ours = claims["iss"] == sim.options.client_id.as_str()
        && claims["sub"] == sim.options.client_id.as_str()
        && claims["jti"].is_string()
        && for_us;
    (signed && in_time && (ours || !of_certificate)).then_some(())
}

fn refused(error: &str, code: u64, text: &str) -> Response {
    let body =
        json!({"error": error, "error_description": format!("AADSTS{code}: {text}"), "error_codes": [code]});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// `GET /metadata/identity/oauth2/token` (a virtual machine's) and `GET /msi/token` (a container's).
pub(super) async fn managed_identity(
    State(sim): State<Arc<Tenant>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = pairs(&query.unwrap_or_default());
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let allowed = header("metadata") == Some("true") || header("x-identity-header") == Some(IDENTITY_HEADER);
    if !allowed || first(&query, "resource").is_none() || first(&query, "api-version").is_none() {
        let body = json!({"error": "invalid_request", "error_description": "Required metadata header not specified"});
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    let lifetime = sim.options.token_lifetime;
    let ends = (sim.traffic.clock.now() + lifetime).as_second();
    let mut body = json!({
        "access_token": issue(&sim, lifetime),
        "expires_on": ends.to_string(),
        "resource": first(&query, "resource"),
        "token_type": "Bearer",
    });
    // Only the virtual machine's endpoint says how long; both say it as text.
    if header("metadata").is_some() {
        body["expires_in"] = json!(lifetime.as_secs().to_string());
    }
    Json(body).into_response()
}
