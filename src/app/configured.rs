//! What is asked of the configuration while the parts made from it run: try another, or read it again.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;
use tracing::{error, info, warn};

use crate::config::{Config, ConfigErrors, Sources, Values};
use crate::outbound::Transport;
use crate::web::operations::OperationError;
use crate::worker::{Settings, Worker};

use super::assemble::{receivers, worker_settings};
use super::operations::failed;

/// Where the configuration came from, and what of it is in force.
#[derive(Debug)]
pub struct Configured {
    sources: Sources,
    /// What the parts that cannot be exchanged were made from.
    started: Values,
    /// What was last put in force. Held while another takes its place.
    in_force: Mutex<Values>,
    /// Where the store is, for whoever looks at its files.
    pub store: PathBuf,
    pub serves: bool,
    transport: Transport,
}

impl Configured {
    pub fn new(config: &Config, transport: Transport) -> Self {
        let (sources, values) = (config.sources().clone(), config.values().clone());
        let store = config.store.path.clone();
        let in_force = Mutex::new(values.clone());
        Self { sources, started: values, in_force, store, serves: false, transport }
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
        let new = self.sources.deciding(name, text).map_err(|errors| refused(&errors))?;
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
        let sources = self.sources.clone();
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
        let changed = in_force.exchanged(config.values());
        let restart = self.started.need_restart(config.values());
        let warnings = config.warnings.clone();
        let values = config.values().clone();
        let effect = self.exchange(&worker.present(), config).await.map_err(|error| failed(error.into()))?;
        *in_force = values;
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

    /// Puts a configuration in force, as far as that can be. What its rules do otherwise than those before.
    async fn exchange(&self, worker: &Worker, config: Config) -> Result<Json, crate::store::Error> {
        let Config { sync, rules, guard, cxone, events, .. } = config;
        let effect = worker.try_rules(&rules, None).await?;
        let effect = worker.told(&effect, &rules, &guard.budgets).await?;
        let urls = worker.settings.urls.clone();
        let settings: Settings = worker_settings(&sync, &guard, rules, cxone.trust_baseline_for, urls);
        worker.exchange(settings).await?;
        worker.exchange_receivers(receivers(events), &self.transport).await?;
        Ok(effect)
    }
}

fn refused(errors: &ConfigErrors) -> OperationError {
    OperationError::new(400, "configuration", format!("the configuration cannot be used\n{errors}"))
}
