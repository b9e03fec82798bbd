//! `/subscriptions`: what Graph accepts, how long it lets one live, and the handshake it insists on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Tenant;
use super::answer::{Answer, Refusal};
use super::directory::Kind;
use super::handshake;
use crate::sim::clock::seconds;

const SHORTEST: Duration = Duration::from_secs(45 * 60);
const LONGEST: Duration = Duration::from_secs(41_760 * 60);
const LONGEST_CLIENT_STATE: usize = 128;
/// Reauthorizing and renewing one subscription within this time leaves it "inconsistent".
const APART: Duration = Duration::from_secs(10 * 60);

/// A live subscription as Graph knows it.
#[derive(Clone, Debug)]
pub struct SubscriptionInfo {
    pub id: String,
    /// As it was given: `users`, `/users`, `groups/{id}` …
    pub resource: String,
    pub change_types: BTreeSet<String>,
    pub notification_url: String,
    pub lifecycle_url: Option<String>,
    pub client_state: Option<String>,
    pub expires_at: Timestamp,
    pub(super) target: Target,
    change_type: String,
    tls_version: String,
    touched: Option<(Timestamp, Touch)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touch {
    Reauthorized,
    Renewed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    /// `None`: all of them.
    pub(super) id: Option<String>,
}

impl Target {
    fn parse(resource: &str) -> Option<Self> {
        let resource = resource.strip_prefix('/').unwrap_or(resource);
        let mut parts = resource.split('/');
        let kind = match parts.next()?.to_ascii_lowercase().as_str() {
            "users" => Kind::User,
            "groups" => Kind::Group,
            _ => return None,
        };
        let id = parts.next().map(str::to_ascii_lowercase);
        let known_rest = match parts.next() {
            None => true,
            Some(relation) => kind == Kind::Group && ["members", "owners"].contains(&relation),
        };
        (known_rest && parts.next().is_none() && id.as_deref() != Some("")).then_some(Self { kind, id })
    }
}

impl SubscriptionInfo {
    fn show(&self, sim: &Tenant, context: bool) -> Value {
        let mut body = json!({
            "id": self.id,
            "resource": self.resource,
            "applicationId": sim.options.client_id,
            "changeType": self.change_type,
            "clientState": self.client_state.as_ref().filter(|_| sim.options.show_client_state),
            "notificationUrl": self.notification_url,
            "notificationQueryOptions": null,
            "notificationContentType": "application/json",
            "lifecycleNotificationUrl": self.lifecycle_url,
            "expirationDateTime": seconds(self.expires_at),
            "creatorId": "8ee44408-0679-472c-bc2a-692812af3437",
            "includeResourceData": null,
            "latestSupportedTlsVersion": self.tls_version,
            "encryptionCertificate": "",
            "encryptionCertificateId": "",
            "notificationUrlAppId": null,
        });
        if context {
            let context = format!("{}/$metadata#subscriptions/$entity", sim.base_url());
            body["@odata.context"] = json!(context);
        }
        body
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}

fn gone(id: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "ResourceNotFound", format!("The object '{id}' was not found."))
}

/// The end of a subscription: too short a wish is raised without a word, too long a one refused.
fn expiration(value: &Value, now: Timestamp) -> Result<Timestamp, Refusal> {
    let Some(wish) = value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
        return Err(invalid("expirationDateTime is not a date and time."));
    };
    if wish > now + LONGEST {
        let message = "Subscription expiration can only be 41760 minutes in the future.";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "ExtensionError", message));
    }
    Ok(wish.max(now + SHORTEST))
}

fn read(sim: &Tenant, body: &Value, now: Timestamp) -> Result<SubscriptionInfo, Refusal> {
    let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
    let required = |name: &str| text(name).ok_or_else(|| invalid(format!("{name} is required.")));
    let change_type = required("changeType")?;
    let change_types: BTreeSet<String> = change_type.split(',').map(|name| name.trim().to_owned()).collect();
    if let Some(unknown) = change_types.iter().find(|name| !["updated", "deleted"].contains(&name.as_str())) {
        return Err(invalid(format!("Invalid 'changeType' attribute: '{unknown}'.")));
    }
    let resource = required("resource")?;
    let Some(target) = Target::parse(resource) else {
        return Err(invalid(format!("The resource '{resource}' cannot be subscribed to.")));
    };
    let notification_url = required("notificationUrl")?;
    let lifecycle_url = text("lifecycleNotificationUrl");
    for url in std::iter::once(notification_url).chain(lifecycle_url) {
        let scheme = reqwest::Url::parse(url).ok().map(|url| url.scheme().to_owned());
        let allowed = scheme.as_deref() == Some("https")
            || (!sim.options.require_https && scheme.as_deref() == Some("http"));
        if !allowed {
            return Err(invalid("Notification URL must be HTTPS."));
        }
    }
    let client_state = text("clientState");
    if client_state.is_some_and(|state| state.chars().count() > LONGEST_CLIENT_STATE) {
        return Err(invalid("clientState has at most 128 characters."));
    }
    if ["vapidPublicKey", "webPushEncryptionKey"].iter().any(|name| !body[*name].is_null()) {
        return Err(invalid("Web push properties do not belong to a webhook."));
    }
    if body["includeResourceData"] == true {
        return Err(invalid("This resource does not support notifications with resource data."));
    }
    let tls_version = text("latestSupportedTlsVersion").unwrap_or("v1_2");
    if !["v1_0", "v1_1", "v1_2", "v1_3"].contains(&tls_version) {
        return Err(invalid("latestSupportedTlsVersion is unknown."));
    }
    Ok(SubscriptionInfo {
        id: String::new(),
        resource: resource.to_owned(),
        change_types,
        notification_url: notification_url.to_owned(),
        lifecycle_url: lifecycle_url.map(str::to_owned),
        client_state: client_state.map(str::to_owned),
        expires_at: expiration(&body["expirationDateTime"], now)?,
        target,
        change_type: change_type.to_owned(),
        tls_version: tls_version.to_owned(),
        touched: None,
    })
}

/// Refuses a subscription that exists already, or one too many.
fn room(sim: &Tenant, wished: &SubscriptionInfo) -> Result<(), Refusal> {
    let live = sim.live_subscriptions();
    let same = |other: &&SubscriptionInfo| {
        other.target == wished.target
            && other.change_types == wished.change_types
            && other.resource.trim_matches('/').eq_ignore_ascii_case(wished.resource.trim_matches('/'))
    };
    if let Some(other) = live.iter().find(same) {
        let message = format!("Subscription Id {} already exists for the requested combination", other.id);
        return Err(Refusal::new(StatusCode::CONFLICT, "Conflict", message));
    }
    if live.iter().filter(|other| other.target.kind == wished.target.kind).count()
        >= sim.options.max_subscriptions
    {
        let message = "Operation: Create; Exception: [Status Code: Forbidden; Reason: Maximum number of subscriptions has been reached]";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "ExtensionError", message));
    }
    Ok(())
}

async fn shake(sim: &Tenant, url: &str) -> Result<(), Refusal> {
    let shaken = handshake::shake(sim, url).await;
    shaken.map_err(|complaint| Refusal::new(StatusCode::BAD_REQUEST, "ValidationError", complaint))
}

/// `POST /subscriptions`.
pub(super) async fn create(State(sim): State<Arc<Tenant>>, body: Bytes) -> Answer {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return Err(Refusal::unreadable());
    };
    let mut wished = read(&sim, &body, sim.traffic.clock.now())?;
    room(&sim, &wished)?;
    // Both are asked, even when they are the same.
    for url in std::iter::once(&wished.notification_url).chain(&wished.lifecycle_url) {
        shake(&sim, url).await?;
    }
    // Another request may have been faster while we waited for the handshake.
    room(&sim, &wished)?;
    wished.id = sim.traffic.dice.guid();
    let shown = wished.show(&sim, true);
    sim.subscriptions().push(wished);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// `GET /subscriptions`.
pub(super) async fn list(State(sim): State<Arc<Tenant>>) -> Response {
    let value: Vec<Value> = sim.live_subscriptions().iter().map(|one| one.show(&sim, false)).collect();
    let context = format!("{}/$metadata#subscriptions", sim.base_url());
    Json(json!({"@odata.context": context, "value": value})).into_response()
}

/// `GET /subscriptions/{id}`.
pub(super) async fn show(State(sim): State<Arc<Tenant>>, Path(id): Path<String>) -> Answer {
    match sim.live_subscriptions().iter().find(|one| one.id == id) {
        Some(one) => Ok(Json(one.show(&sim, true)).into_response()),
        None => Err(gone(&id)),
    }
}

/// `PATCH /subscriptions/{id}`.
pub(super) async fn renew(State(sim): State<Arc<Tenant>>, Path(id): Path<String>, body: Bytes) -> Answer {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return Err(Refusal::unreadable());
    };
    let Some(found) = sim.live_subscriptions().into_iter().find(|one| one.id == id) else {
        return Err(gone(&id));
    };
    let (expires, url) = (&body["expirationDateTime"], body["notificationUrl"].as_str());
    if expires.is_null() && url.is_none() {
        return Err(invalid("expirationDateTime or notificationUrl is required."));
    }
    if body.as_object().is_some_and(|body| body.contains_key("lifecycleNotificationUrl")) {
        return Err(invalid(
            "lifecycleNotificationUrl cannot be changed; delete the subscription and make a new one.",
        ));
    }
    let now = sim.traffic.clock.now();
    let expires_at = match expires {
        Value::Null => None,
        value => Some(expiration(value, now)?),
    };
    let asked = url.or(sim.options.validate_on_renew.then_some(found.notification_url.as_str()));
    if let Some(url) = asked {
        shake(&sim, url).await?;
    }
    let mut subscriptions = sim.subscriptions();
    let Some(one) = subscriptions.iter_mut().find(|one| one.id == id) else { return Err(gone(&id)) };
    one.expires_at = expires_at.unwrap_or(one.expires_at);
    one.notification_url = url.unwrap_or(&one.notification_url).to_owned();
    touch(&sim, one, Touch::Renewed, now);
    Ok(Json(one.show(&sim, true)).into_response())
}

/// `POST /subscriptions/{id}/reauthorize`.
pub(super) async fn reauthorize(State(sim): State<Arc<Tenant>>, Path(id): Path<String>) -> Answer {
    let now = sim.traffic.clock.now();
    let mut subscriptions = sim.subscriptions();
    match subscriptions.iter_mut().find(|one| one.id == id && now < one.expires_at) {
        Some(one) => {
            touch(&sim, one, Touch::Reauthorized, now);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        None => Err(gone(&id)),
    }
}

fn touch(sim: &Tenant, one: &mut SubscriptionInfo, touch: Touch, now: Timestamp) {
    if one.touched.is_some_and(|(at, other)| other != touch && now < at + APART) {
        sim.clashes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    one.touched = Some((now, touch));
}

/// `DELETE /subscriptions/{id}`.
pub(super) async fn delete(State(sim): State<Arc<Tenant>>, Path(id): Path<String>) -> Answer {
    let existed = sim.live_subscriptions().iter().any(|one| one.id == id);
    sim.subscriptions().retain(|one| one.id != id);
    if existed { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(gone(&id)) }
}
