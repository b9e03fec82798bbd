//! Microsoft Graph for one tenant: users, groups, delta queries, batches, subscriptions and their
//! notifications, with the login endpoint.

mod answer;
mod batch;
mod delivery;
mod delta;
mod directory;
mod handle;
mod handshake;
mod login;
mod notice;
mod options;
mod round;
mod subscriptions;
mod users;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};

use super::server::Traffic;
use super::tokens::Tokens;
use answer::Refusal;
use delivery::Delivery;
pub use delivery::{DeliveryOptions, DeliveryStats};
pub use delta::DeltaExpiry;
use directory::{Change, Condition, Directory, Kind};
pub use handle::GraphSim;
pub use options::GraphOptions;
pub use round::DeltaOptions;
pub use subscriptions::SubscriptionInfo;

const HELD: &str = "no panic while the tenant is held";

struct Tenant {
    options: GraphOptions,
    traffic: Arc<Traffic>,
    origin: OnceLock<String>,
    secret: Mutex<String>,
    tokens: Tokens,
    directory: Mutex<Directory>,
    rounds: Mutex<delta::Rounds>,
    subscriptions: Mutex<Vec<SubscriptionInfo>>,
    /// Subscriptions that were reauthorized and renewed within ten minutes.
    clashes: AtomicU64,
    client: reqwest::Client,
    delivery: Arc<Delivery>,
}

impl Tenant {
    fn origin(&self) -> &str {
        self.origin.get().expect("known before the first request")
    }

    fn base_url(&self) -> String {
        format!("{}/v1.0", self.origin())
    }

    fn client_secret(&self) -> String {
        self.secret.lock().expect(HELD).clone()
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().expect(HELD)
    }

    fn rounds(&self) -> MutexGuard<'_, delta::Rounds> {
        self.rounds.lock().expect(HELD)
    }

    fn subscriptions(&self) -> MutexGuard<'_, Vec<SubscriptionInfo>> {
        self.subscriptions.lock().expect(HELD)
    }

    /// Those that have not ended; the others are forgotten.
    fn live_subscriptions(&self) -> Vec<SubscriptionInfo> {
        let now = self.traffic.clock.now();
        let mut subscriptions = self.subscriptions();
        subscriptions.retain(|one| now < one.expires_at);
        subscriptions.clone()
    }

    fn announce(&self, changes: impl IntoIterator<Item = Change>) {
        let subscriptions = self.live_subscriptions();
        for change in changes {
            for subscription in &subscriptions {
                if let Some(item) = notice::item(self, subscription, &change) {
                    self.delivery.send(&subscription.notification_url, item);
                }
            }
        }
    }

    fn state(&self) -> Value {
        let directory = self.directory();
        let shown = |kind, condition| -> Vec<Value> {
            let states = directory.all(kind).filter(|(_, state)| state.condition == condition);
            states
                .map(|(_, state)| {
                    let mut shown = state.properties.clone();
                    if kind == Kind::Group {
                        shown.insert("members".to_owned(), state.members.keys().cloned().collect());
                    }
                    Value::Object(shown)
                })
                .collect()
        };
        json!({
            "users": shown(Kind::User, Condition::Live),
            "groups": shown(Kind::Group, Condition::Live),
            "deletedUsers": shown(Kind::User, Condition::SoftDeleted),
            "deletedGroups": shown(Kind::Group, Condition::SoftDeleted),
            "subscriptions": self.live_subscriptions().iter().map(|one| json!({
                "id": one.id,
                "resource": one.resource,
                "notificationUrl": one.notification_url,
                "lifecycleNotificationUrl": one.lifecycle_url,
                "expirationDateTime": one.expires_at.to_string(),
            })).collect::<Vec<_>>(),
        })
    }
}

fn router(tenant: &Arc<Tenant>) -> Router {
    let inner: Router = Router::new()
        .route("/v1.0/users/delta", get(delta::users))
        .route("/v1.0/users/{key}", get(users::user))
        .route("/v1.0/groups/delta", get(delta::groups))
        .route("/v1.0/groups/{id}", get(users::group))
        .route("/v1.0/groups/{id}/members", get(users::members))
        .route("/v1.0/directory/deletedItems/{id}", get(users::deleted_item))
        .route("/v1.0/subscriptions", post(subscriptions::create).get(subscriptions::list))
        .route(
            "/v1.0/subscriptions/{id}",
            get(subscriptions::show).patch(subscriptions::renew).delete(subscriptions::delete),
        )
        .route("/v1.0/subscriptions/{id}/reauthorize", post(subscriptions::reauthorize))
        .fallback(async || Refusal::bad_request("Resource not found for the segment."))
        .with_state(Arc::clone(tenant));
    let batches = batch::Batches { sim: Arc::clone(tenant), inner: inner.clone() };
    Router::new()
        .route("/v1.0/$batch", post(batch::batch).with_state(batches))
        .merge(inner)
        .layer(middleware::from_fn_with_state(Arc::clone(tenant), answer::guard))
        .merge(
            Router::new()
                .route("/{tenant}/oauth2/v2.0/token", post(login::token))
                .route("/metadata/identity/oauth2/token", get(login::managed_identity))
                .route("/msi/token", get(login::managed_identity))
                .route("/state", get(async |State(sim): State<Arc<Tenant>>| Json(sim.state())))
                .with_state(Arc::clone(tenant)),
        )
}
