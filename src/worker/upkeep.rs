//! The timers: they only mark and keep up; what changes a user goes through the queue.

use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::clock::{later, until};
use crate::domain::queue::{Chore, ChoreEntry, ChoreOutcome};
use crate::domain::retry::{Failure, backoff};
use crate::domain::subscription::Resource;
use crate::store::{self, ChoreClaim, FULL_COMPARE_MEMO};

use super::Worker;
use super::failure::{Fault, Stopped};
use super::rounds::From;

/// A fingerprint of the rules everybody was last looked at by.
const RULES_MEMO: &str = "rules";
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Steps of pruning before other chores get their turn.
const PRUNE_STEPS: usize = 16;
/// So often a delta round may fail at the same link before it begins anew.
const ROUND_ATTEMPTS: u32 = 6;
/// A chore that fails is tried again at the latest after this long: none is ever given up.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

impl Worker {
    /// Runs chores until shutdown. An error of the store ends it.
    pub async fn keep_up(self) -> anyhow::Result<()> {
        self.schedule_all().await.context("cannot schedule the upkeep")?;
        let (failed, mut failures) = mpsc::unbounded_channel::<store::Error>();
        while !self.shutdown.is_requested() {
            let changed = self.store.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = self.clock.now();
            if let Some(opens) = self.graph.closed_until() {
                // Nearly all chores ask Graph: while it wants to be left alone they would only fail.
                tokio::select! {
                    () = self.clock.sleep_until(opens) => {}
                    () = self.shutdown.requested() => {}
                }
                continue;
            }
            let claims = self.store.claim_chores(now).await.context("cannot claim chores")?;
            for claim in claims {
                let (worker, failed) = (self.present(), failed.clone());
                self.tasks.spawn(async move {
                    if let Err(error) = worker.run_chore(claim).await {
                        failed.send(error).ok();
                    }
                });
            }
            let next = self.store.next_chore_due(now).await.context("cannot read the chores")?;
            tokio::select! {
                () = changed => {}
                () = self.clock.sleep_until(next.unwrap_or(Timestamp::MAX)) => {}
                () = self.shutdown.requested() => {}
                Some(error) = failures.recv() => return Err(error).context("cannot settle a chore"),
            }
        }
        Ok(())
    }

    /// What must happen from time to time, whatever happened before the last stop.
    pub(super) async fn schedule_all(&self) -> Result<(), store::Error> {
        let now = self.clock.now();
        self.settle_rules(now).await?;
        self.show_coverage(&self.coverage().await?);
        if !self.settings.observe {
            self.store.forget_observed().await?;
        }
        self.store.schedule(Chore::Poll(Resource::Users), now, now).await?;
        if !self.settings.rules.relevant_groups().is_empty() {
            self.store.schedule(Chore::Poll(Resource::Groups), now, now).await?;
        }
        self.store.schedule(Chore::Subscriptions, now, now).await?;
        self.store.schedule(Chore::Prune, later(now, PRUNE_EVERY), now).await?;
        let last = self.store.memo(FULL_COMPARE_MEMO).await?.and_then(|at| at.parse::<Timestamp>().ok());
        // Without a last one, the first poll goes through everybody anyway.
        let due_at = later(last.unwrap_or(now), self.settings.full_compare_interval);
        self.store.schedule(Chore::FullCompare, due_at.max(now), now).await
    }

    /// Other rules mean other plans for everybody: after a change of the configuration all are
    /// looked at, and so they are when what was only observed may be written from now on. (And after
    /// an update that changes how rules are written down; that costs one compare.)
    async fn settle_rules(&self, now: Timestamp) -> Result<(), store::Error> {
        let rules = BASE64_STANDARD
            .encode(Sha256::digest(format!("{:?} {}", self.settings.rules, self.settings.observe)));
        let before = self.store.memo(RULES_MEMO).await?;
        if before.as_deref() != Some(rules.as_str()) {
            if before.is_some() {
                info!("the rules have changed: everybody is looked at");
                self.store.schedule(Chore::FullCompare, now, now).await?;
            }
            self.store.set_memo(RULES_MEMO, &rules).await?;
        }
        Ok(())
    }

    async fn run_chore(&self, claim: ChoreClaim) -> Result<(), store::Error> {
        let entry = claim.entry.clone();
        let run = tokio::spawn({
            let (worker, entry) = (self.clone(), entry.clone());
            let span = info_span!("upkeep.run", chore = ?entry.chore);
            async move { worker.do_chore(&entry).await }.instrument(span)
        });
        let outcome = match run.await {
            Ok(Ok(outcome)) => {
                self.keep_tenants().await?;
                outcome
            }
            Ok(Err(Stopped::Store(error))) => return Err(error),
            Ok(Err(Stopped::By(fault))) => {
                // A permission that one chore lacks says nothing of what the jobs may do.
                if !(fault.reached && matches!(fault.failure, Failure::Outage(_))) {
                    self.note_circuit(&fault);
                }
                self.give_up_round(&entry, &fault).await?;
                self.postpone(&entry, &fault.failure, fault.words())
            }
            Err(_) => {
                let failure =
                    Failure::Transient("the chore panicked; this is a defect of cxone-sync".to_owned());
                self.postpone(&entry, &failure, failure.words())
            }
        };
        self.store.settle_chore(claim, outcome, self.clock.now()).await?;
        // A chore that reached Graph may have ended an outage, and the worker sleeps until its next probe.
        self.running.freed.notify_one();
        Ok(())
    }

    async fn do_chore(&self, entry: &ChoreEntry) -> Result<ChoreOutcome, Stopped> {
        let now = self.clock.now();
        match &entry.chore {
            Chore::Poll(Resource::Users) => {
                let found = self.user_round(From::Link).await?;
                debug!(n_users = found.marked, full = found.full, "delta round of users ended");
                if found.full {
                    self.full_compare_done().await?;
                }
                let next_at = later(now, self.poll_interval().await?);
                Ok(ChoreOutcome::Done { next_at: Some(next_at) })
            }
            Chore::Poll(Resource::Groups) => {
                self.group_round().await?;
                let next_at = later(now, self.poll_interval().await?);
                Ok(ChoreOutcome::Done { next_at: Some(next_at) })
            }
            Chore::FullCompare => {
                let found = self.user_round(From::Start { asked_at: entry.first_news_at }).await?;
                for group in self.store.relevant_groups().await? {
                    self.store.schedule(Chore::Group(group), now, now).await?;
                }
                info!(n_users = found.marked, "full compare: {} users are looked at", found.marked);
                self.full_compare_done().await?;
                Ok(ChoreOutcome::Done { next_at: Some(later(now, self.settings.full_compare_interval)) })
            }
            Chore::Group(group) => self.refresh_group(*group, entry).await,
            Chore::Subscriptions => self.watch_subscriptions().await,
            Chore::Renew(id) => self.reauthorize(id).await,
            Chore::Prune => {
                let more = self.store.prune(now, PRUNE_STEPS).await?;
                // Whoever collects the logs has it from then on, out of the reach of this machine.
                let (number, head) = self.store.history_head().await?;
                info!(history.number = number, history.head = head, "the history ends at entry {number}");
                let wait = if more { Duration::from_secs(1) } else { PRUNE_EVERY };
                Ok(ChoreOutcome::Done { next_at: Some(later(now, wait)) })
            }
        }
    }

    /// A link that again and again leads nowhere is worth less than a full round.
    async fn give_up_round(&self, entry: &ChoreEntry, fault: &Fault) -> Result<(), store::Error> {
        let resource = match entry.chore {
            Chore::Poll(resource) => resource,
            Chore::FullCompare => Resource::Users,
            _ => return Ok(()),
        };
        let of_the_link =
            fault.reached && matches!(fault.failure, Failure::Transient(_) | Failure::Rejected { .. });
        if of_the_link && entry.attempts >= ROUND_ATTEMPTS {
            warn!(resource = %resource, "the delta round of {resource} fails again and again; the next one begins anew");
            self.store.forget_round(resource).await?;
        }
        Ok(())
    }

    async fn full_compare_done(&self) -> Result<(), store::Error> {
        self.store.set_memo(FULL_COMPARE_MEMO, &self.clock.now().to_string()).await
    }

    fn postpone(&self, entry: &ChoreEntry, failure: &Failure, error: String) -> ChoreOutcome {
        let (now, unit) = (self.clock.now(), self.random.unit());
        let due_at = match failure {
            Failure::Throttled { until } => later(*until, Duration::from_secs(1).mul_f64(unit)),
            _ => later(now, backoff(entry.attempts, unit).min(LONGEST_PAUSE)),
        };
        let wait_s = until(now, due_at).as_secs();
        if let Failure::Throttled { .. } = failure {
            debug!(chore = ?entry.chore, wait_s, "a chore waits as Graph asked");
            return ChoreOutcome::Again { due_at, error };
        }
        warn!(
            chore = ?entry.chore, job.attempt = entry.attempts, error = failure.words(), wait_s,
            "a chore failed and will be tried again"
        );
        ChoreOutcome::Again { due_at, error }
    }
}
