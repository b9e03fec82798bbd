//! Follows the files that hold credentials, and exchanges them in the parts that run.
//!
//! Their contents are compared, not their times: a secret mounted by Kubernetes changes through a symbolic
//! link. What is new is taken once it was seen twice and can be used; until then, and if it cannot, the
//! old one stays. Certificates of the public listener are followed by the listener itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tracing::{error, info, warn};

use crate::config::{Config, Values};
use crate::domain::event::What;
use crate::domain::expiry::{self, Told};
use crate::domain::queue::Chore;
use crate::graph::Credential;
use crate::store;
use crate::telemetry::CredentialLabel;
use crate::worker::Worker;
use crate::worker::failure::words;

use super::assemble::{cxone_auths, graph_credential, receivers};
use super::configured::Configured;
use super::token;

const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A file that is being written looks other a moment later.
const SEEN_APART: Duration = Duration::from_secs(2);
/// Of which ends somebody was told.
const TOLD_MEMO: &str = "expiry_told";

/// Looks from time to time until shutdown.
pub async fn follow(configured: Arc<Configured>, worker: Worker) -> anyhow::Result<()> {
    while !worker.shutdown.is_requested() {
        configured.look(&worker).await.context("cannot exchange credentials")?;
        tokio::select! {
            () = worker.clock.sleep(LOOK_EVERY) => {}
            () = worker.shutdown.requested() => {}
        }
    }
    Ok(())
}

impl Configured {
    /// Reads the files again and takes what is new in them.
    async fn look(&self, worker: &Worker) -> Result<(), store::Error> {
        let mut in_force = self.in_force.lock().await;
        let Some(config) = self.reread(worker, &in_force.sources).await else { return Ok(()) };
        if !in_force.values.changed(config.values()).is_empty() {
            worker.clock.sleep(SEEN_APART).await;
            let Some(again) = self.reread(worker, &in_force.sources).await else { return Ok(()) };
            if again.values() != config.values() {
                // It is being written: the next look sees what became of it.
                return Ok(());
            }
            let changed = in_force.values.changed(config.values());
            match usable(&again).await {
                Ok(credential) => {
                    self.exchange_credentials(worker, &again, credential, &changed).await?;
                    in_force.values = again.values().clone();
                    self.complain(worker, "");
                    info!(keys = changed.join(", "), "took new credentials from their files");
                    self.tell_restart(&in_force.values);
                }
                Err(problem) => self.complain(worker, &problem),
            }
        } else {
            self.complain(worker, "");
        }
        if in_force.admin_token_is_made
            && let Ok(token) = token::made_token(&config.store.path, &worker.random)
        {
            self.admin_token.exchange(&token);
        }
        self.tell_of_ends(worker, &config).await
    }

    /// The configuration in force, with what its files hold now. `None`: they cannot be used.
    async fn reread(&self, worker: &Worker, sources: &crate::config::Sources) -> Option<Config> {
        let sources = sources.clone();
        let read = tokio::task::spawn_blocking(move || sources.reread());
        match read.await.expect("reading a configuration does not panic") {
            Ok(config) => Some(config),
            Err(errors) => {
                self.complain(worker, &errors.to_string());
                None
            }
        }
    }

    /// Says once what is wrong with a file; nothing, if that is empty.
    fn complain(&self, worker: &Worker, problem: &str) {
        worker.metrics.credential_files_failed.set(i64::from(!problem.is_empty()));
        let mut last = self.complaint.lock().expect("no panic while the complaint is held");
        if !problem.is_empty() && *last != problem {
            error!("a new credential cannot be used, and the one before it stays in force: {problem}");
        }
        problem.clone_into(&mut last);
    }

    fn tell_restart(&self, values: &Values) {
        let restart = self.started.need_restart(values);
        if !restart.is_empty() {
            warn!(keys = restart.join(", "), "what has changed in these keys needs a restart");
        }
    }

    /// Puts credentials in force, those of them that have changed.
    pub(super) async fn exchange_credentials(
        &self,
        worker: &Worker,
        config: &Config,
        credential: Credential,
        changed: &[String],
    ) -> Result<(), store::Error> {
        let has = |section: &str| changed.iter().any(|key| key.starts_with(section));
        if has("graph.") && !worker.graph.exchange_credential(credential) {
            warn!("the new credential for Microsoft Graph is of another kind: it needs a restart");
        }
        if has("cxone.") {
            let token_url = worker.cxone.token_url().cloned();
            let taken = match cxone_auths(&config.cxone, token_url) {
                Ok(auths) => worker.cxone.exchange_credentials(auths),
                Err(_) => false,
            };
            if !taken {
                warn!("the new credentials for CXone are of another kind: they need a restart");
            }
        }
        if has("service.client_state_secret") && !config.service.client_state_secrets.is_empty() {
            worker.verifier.exchange(config.service.client_state_secrets.clone());
            // What the old one signed is signed anew; until then it verifies.
            let now = worker.clock.now();
            worker.store.schedule(Chore::Subscriptions, now, now).await?;
        }
        if let Some(token) = &config.service.admin_token {
            self.admin_token.exchange(token);
        }
        if has("events") {
            worker.exchange_receivers(receivers(config.events.clone()), &self.transport).await?;
        }
        Ok(())
    }

    /// Shows when credentials end, and has somebody told before.
    async fn tell_of_ends(&self, worker: &Worker, config: &Config) -> Result<(), store::Error> {
        let known = super::expiry::known(config);
        worker.metrics.credential_expiry.clear();
        for it in &known {
            let label = CredentialLabel::of(it.name.as_str());
            worker.metrics.credential_expiry.get_or_create(&label).set(it.expires_at.as_second() as f64);
        }
        let now = worker.clock.now();
        let told = worker.store.memo(TOLD_MEMO).await?.and_then(|memo| serde_json::from_str(&memo).ok());
        let told: Told = told.unwrap_or_default();
        let (tell, after) = expiry::to_tell(&known, &told, now);
        for it in tell {
            let days_left = it.days_left(now);
            let what = What::CredentialExpiring {
                credential: it.name.clone(),
                expires_at: it.expires_at,
                days_left,
            };
            warn!(credential = it.name, days_left, "{}; see docs/rotation.md", what.sentence(0));
            worker.tell(what);
        }
        if after != told {
            let memo = serde_json::to_string(&after).expect("names and times become JSON");
            worker.store.set_memo(TOLD_MEMO, &memo).await?;
        }
        *self.ends.lock().expect("no panic while the ends are held") = known;
        Ok(())
    }
}

/// The credential for Graph, if a token could be asked for with it.
pub(super) async fn usable(config: &Config) -> Result<Credential, String> {
    let credential = graph_credential(&config.graph).map_err(|error| format!("{error:#}"))?;
    // That of a file is read at each use, and may be there by then.
    if !matches!(credential, Credential::FederatedTokenFile { .. }) {
        credential.check().await.map_err(|error| words(&error))?;
    }
    Ok(credential)
}
