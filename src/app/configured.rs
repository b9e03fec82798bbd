//! What is asked of the configuration while the parts made from it run: try another, or read it again.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;
use tracing::{error, info, warn};

use crate::config::{Config, ConfigErrors, Sources, Values};
use crate::domain::expiry::Expiry;
use crate::outbound::Transport;
use crate::web::AdminToken;
use crate::web::operations::OperationError;
use crate::worker::{Settings, Worker};

use super::assemble::worker_settings;
use super::credentials::usable;
use super::operations::failed;

/// Where the configuration came from, and what of it is in force.
#[derive(Debug)]
pub struct Configured {
    /// What the parts that cannot be exchanged were made from.
    pub(super) started: Values,
    /// What was last put in force. Held while another takes its place.
    pub(super) in_force: Mutex<InForce>,
    pub(super) admin_token: AdminToken,
    pub(super) transport: Transport,
    /// What was last said about a file that cannot be used.
    pub(super) complaint: std::sync::Mutex<String>,
    /// When credentials end.
    pub(super) ends: std::sync::Mutex<Vec<Expiry>>,
    /// Where the store is, for whoever looks at its files.
    pub store: PathBuf,
    pub serves: bool,
}

#[derive(Debug)]
pub(super) struct InForce {
    pub sources: Sources,
    pub values: Values,
    /// None is configured: one was made beside the store.
    pub admin_token_is_made: bool,
}

impl Configured {
    pub fn new(
        (sources, values): (Sources, Values),
        store: PathBuf,
        admin_token_is_made: bool,
        admin_token: AdminToken,
        transport: Transport,
    ) -> Self {
        let started = values.clone();
        let in_force = Mutex::new(InForce { sources, values, admin_token_is_made });
        let (complaint, ends) = Default::default();
        Self { started, in_force, admin_token, transport, complaint, ends, store, serves: false }
    }

    /// When each credential ends, for `/status`.
    pub fn ends(&self, now: Timestamp) -> Json {
        let ends = self.ends.lock().expect("no panic while the ends are held");
        let shown = |it: &Expiry| json!({ "name": it.name, "expires_at": it.expires_at, "days_left": it.days_left(now) });
        ends.iter().map(shown).collect()
    }

    /// Of a service that runs: only there is something to exchange.
    pub fn serving(self) -> Self {
        Self { serves: true, ..self }
    }

    /// What the rules of another file would have done; see [`Worker::try_rules`].
    pub async fn simulate(
        &self,
        worker: &Worker,
        name: &str,
        text: &str,
        since: Option<Timestamp>,
    ) -> Result<Json, OperationError> {
        let new =
            self.in_force.lock().await.sources.deciding(name, text).map_err(|errors| refused(&errors))?;
        let told = async {
            let effect = worker.try_rules(&new.rules, since).await?;
            worker.told(&effect, &new.rules, &new.guard.budgets).await
        };
        told.await.map_err(|error| failed(error.into()))
    }

    /// Reads the configuration again and puts in force what can be exchanged. One that is broken changes
    /// nothing. What it came to is logged.
    pub async fn reload(&self, worker: &Worker) -> Result<Json, OperationError> {
        if !self.serves {
            let message = "no service runs; its next start reads the configuration";
            return Err(OperationError::new(409, "not_running", message));
        }
        let mut in_force = self.in_force.lock().await;
        let sources = in_force.sources.clone();
        // It reads files.
        let loaded = tokio::task::spawn_blocking(move || sources.load()).await;
        let config = match loaded.expect("reading a configuration does not panic") {
            Ok(config) => config,
            Err(errors) => {
                error!("the configuration cannot be used, and the one before it stays in force: {errors}");
                worker.metrics.config_reload_failed.set(1);
                return Err(refused(&errors));
            }
        };
        let credential = match usable(&config).await {
            Ok(credential) => credential,
            Err(problem) => {
                error!("the configuration cannot be used, and the one before it stays in force: {problem}");
                worker.metrics.config_reload_failed.set(1);
                let message = format!("the configuration cannot be used\n{problem}");
                return Err(OperationError::new(400, "configuration", message));
            }
        };
        let changed = in_force.values.exchanged(config.values());
        let restart = self.started.need_restart(config.values());
        let warnings = config.warnings.clone();
        let next = InForce {
            sources: config.sources().clone(),
            values: config.values().clone(),
            admin_token_is_made: config.service.admin_token.is_none(),
        };
        let exchanged = self.exchange_credentials(worker, &config, credential, &changed).await;
        exchanged.map_err(|error| failed(error.into()))?;
        let effect = exchange(&worker.present(), config).await.map_err(|error| failed(error.into()))?;
        *in_force = next;
        worker.metrics.config_reload_failed.set(0);
        for warning in &warnings {
            warn!("{warning}");
        }
        let effect_told = effect["summary"].as_str().unwrap_or_default();
        info!(changed = changed.join(", "), "read the configuration again: {effect_told}");
        for exceeded in effect["exceeded"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            warn!("the guard will hold some of it: {exceeded}");
        }
        if !restart.is_empty() {
            warn!(keys = restart.join(", "), "what has changed in these keys needs a restart");
        }
        Ok(json!({ "changed": changed, "restart": restart, "warnings": warnings, "effect": effect }))
    }
}

/// Puts a configuration in force, as far as that can be. What its rules do otherwise than those before.
async fn exchange(worker: &Worker, config: Config) -> Result<Json, crate::store::Error> {
    let Config { sync, rules, guard, cxone, .. } = config;
    let effect = worker.try_rules(&rules, None).await?;
    let effect = worker.told(&effect, &rules, &guard.budgets).await?;
    let urls = worker.settings.urls.clone();
    let settings: Settings = worker_settings(&sync, &guard, rules, cxone.trust_baseline_for, urls);
    worker.exchange(settings).await?;
    Ok(effect)
}

fn refused(errors: &ConfigErrors) -> OperationError {
    OperationError::new(400, "configuration", format!("the configuration cannot be used\n{errors}"))
}
