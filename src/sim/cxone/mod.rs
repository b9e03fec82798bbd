//! NICE CXone for one tenant: its SCIM service as far as it is published, and its token endpoints.

mod filter;
mod handle;
mod login;
mod options;
mod patch;
mod path;
mod problem;
mod schema;
mod scim;
mod users;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};

use super::server::Traffic;
use super::tokens::Tokens;
pub use handle::CxoneSim;
pub use options::CxoneOptions;
pub use patch::Dialect;
pub use scim::{Lists, PatchAnswer};
use users::Users;
use watch::Watch;
pub use watch::{Overlap, WriteRecord};

const HELD: &str = "no panic while the tenant is held";

#[derive(Clone)]
struct Credentials {
    client_secret: String,
    access_key_secret: String,
}

struct Centre {
    options: CxoneOptions,
    traffic: Arc<Traffic>,
    origin: OnceLock<String>,
    credentials: Mutex<Credentials>,
    tokens: Tokens,
    users: Mutex<Users>,
    watch: Watch,
}

impl Centre {
    fn origin(&self) -> &str {
        self.origin.get().expect("known before the first request")
    }

    fn scim_url(&self) -> String {
        format!("{}/scim/v2", self.origin())
    }

    fn credentials(&self) -> Credentials {
        self.credentials.lock().expect(HELD).clone()
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().expect(HELD)
    }

    /// `part` of the time a request takes.
    async fn take_time(&self, part: f64) {
        let time = self.traffic.dice.between(self.options.latency).mul_f64(part);
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }

    fn shown(&self) -> Vec<Value> {
        self.users().all().map(|stored| stored.show(self.options.etags, false)).collect()
    }
}

fn router(centre: &Arc<Centre>) -> Router {
    let routes = Router::new()
        .route("/Users", get(scim::search).post(scim::create).fallback(scim::not_allowed))
        .route(
            "/Users/{id}",
            get(scim::get).put(scim::replace).patch(scim::patch).fallback(scim::not_allowed),
        )
        .route("/Schemas", get(scim::schemas));
    let guarded = |access| {
        routes.clone().layer(middleware::from_fn_with_state((Arc::clone(centre), access), login::guard))
    };
    Router::new()
        .nest("/scim/v2", guarded(login::Access::Bearer))
        .nest("/basic-auth/scim/v2", guarded(login::Access::Basic))
        .route("/auth/token", post(login::token))
        .route("/oauth/token", post(login::token))
        .route("/authentication/v1/token/access-key", post(login::access_key))
        .route("/.well-known/openid-configuration", get(login::openid))
        .route("/.well-known/cxone-configuration", get(login::cxone))
        .route("/state", get(async |State(sim): State<Arc<Centre>>| Json(json!({"users": sim.shown()}))))
        .fallback(scim::nowhere)
        .with_state(Arc::clone(centre))
}
