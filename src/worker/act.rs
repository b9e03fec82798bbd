//! Carries a plan out and sees that it was done.

use std::time::Duration;

use tracing::info;

use crate::clock::{later, until};
use crate::cxone;
use crate::domain::observed::Observed;
use crate::domain::patch::not_applied;
use crate::domain::plan::{Action, Plan};
use crate::domain::queue::{Change, Job, LinkChange, Operation, Outcome, Settlement, Write, WriteResult};
use crate::domain::retry::Failure;
use crate::domain::user::ScimId;
use crate::store;
use crate::telemetry::OpLabel;

use super::Worker;
use super::failure::{CXONE, Fault, Stopped};
use super::look::Look;

/// A target may show an old state for a moment after it said yes.
const SHOW_AGAIN: Duration = Duration::from_secs(5);
/// So often in a row may the target say yes and change nothing.
const IGNORED_AT_MOST: u32 = 2;

impl Worker {
    pub(super) async fn write(&self, job: &Job, look: &Look, plan: &Plan) -> Result<Outcome, store::Error> {
        let (operation, changes) = (operation(plan), plan.changes());
        let answer = self.send(look, plan, &changes).await;
        match answer {
            Ok(shown) => {
                self.running.circuits.reached(CXONE);
                self.keep_learned().await?;
                Ok(self.written(job, look, plan, operation, changes, &shown))
            }
            Err(Stopped::Store(error)) => Err(error),
            Err(Stopped::By(fault)) => {
                let fault = fault.of_a_write_after_a_read(look.found.is_some());
                let error = fault.words();
                let result = match fault.failure {
                    // Nothing was sent, or the target said no: nothing has changed.
                    Failure::Throttled { .. } | Failure::Outage(_) | Failure::LookAgain(_) => None,
                    Failure::Rejected { .. } => Some(WriteResult::Refused { error }),
                    // It may have been carried out although the answer was lost.
                    Failure::Transient(_) => Some(WriteResult::Unknown { error }),
                };
                let scim_id = look.link.as_ref().map(|link| link.scim_id.clone());
                let record = |result| self.record(job, plan, operation, changes, scim_id, result);
                let mut so_far = Outcome::of(Settlement::Done { recheck_at: None });
                so_far.writes = result.map(record).into_iter().collect();
                Ok(self.stopped(job, &fault, so_far))
            }
        }
    }

    /// Sends the plan and returns the user as the target shows them afterwards.
    async fn send(&self, look: &Look, plan: &Plan, changes: &[Change]) -> Result<cxone::User, Stopped> {
        if let Action::Create(attributes) = &plan.action {
            return Ok(self.cxone.create(attributes).await?);
        }
        let id = match (&look.found, &look.link) {
            (Some(found), _) => found.view.id.clone(),
            (None, Some(link)) => link.scim_id.clone(),
            (None, None) => unreachable!("a plan that changes a user rests on one that was found"),
        };
        // The patch is made against the whole user. Where the look believed the baseline, the user
        // is read now.
        let found = match &look.found {
            Some(found) => found.clone(),
            None => self.read(&id).await?,
        };
        match self.cxone.update(&found, changes).await? {
            Some(shown) => Ok(shown),
            // The write is done. A read that fails now leaves it unknown, whatever the reason.
            None => self.read(&id).await.map_err(Stopped::after_a_write),
        }
    }

    async fn read(&self, id: &ScimId) -> Result<cxone::User, Stopped> {
        match self.cxone.get(id).await? {
            Observed::Present(user) => Ok(user),
            Observed::Absent => {
                let failure = Failure::LookAgain("the CXone user vanished while it was changed".to_owned());
                Err(Stopped::By(Fault::answered(CXONE, failure)))
            }
        }
    }

    fn written(
        &self,
        job: &Job,
        look: &Look,
        plan: &Plan,
        operation: Operation,
        changes: Vec<Change>,
        shown: &cxone::User,
    ) -> Outcome {
        let ignored: Vec<&str> = not_applied(&shown.view.attributes, &changes)
            .iter()
            .map(|change| change.attribute.name())
            .collect();
        let mut link = self.settled_link(look, plan, &shown.view);
        if let LinkChange::Put(link) = &mut link {
            // What was ignored is not settled: the next look must still see who changed it.
            for change in not_applied(&shown.view.attributes, &changes) {
                match look.link.as_ref().and_then(|old| old.baseline.get(&change.attribute)) {
                    Some(old) => link.baseline.insert(change.attribute, old.clone()),
                    None => link.baseline.remove(&change.attribute),
                };
            }
        }
        let scim_id = Some(shown.view.id.clone());
        let (settlement, result, not_applied) = if ignored.is_empty() {
            (Settlement::Done { recheck_at: None }, WriteResult::Applied, 0)
        } else {
            let times = job.not_applied + 1;
            let error = format!("CXone said yes and did not change {}", ignored.join(", "));
            let settlement = if times >= IGNORED_AT_MOST {
                Settlement::Park { code: "target_ignores_change", error }
            } else {
                Settlement::Again { due_at: later(self.clock.now(), SHOW_AGAIN), counts: true, error }
            };
            (settlement, WriteResult::NotApplied, times)
        };
        let write = self.record(job, plan, operation, changes, scim_id, result);
        if ignored.is_empty() {
            self.metrics.operations.get_or_create(&OpLabel::of(operation.name())).inc();
            self.metrics.event_lag.observe(Duration::from_millis(write.lag_ms).as_secs_f64());
            info!(
                user.id = %job.user, job.reason = %job.reason, plan.kind = operation.name(),
                job.attempt = job.attempts, duration_ms = write.lag_ms, "{} of user {} done", operation.name(), job.user
            );
        }
        Outcome { settlement, link, writes: vec![write], absent_since: None, not_applied }
    }

    fn record(
        &self,
        job: &Job,
        plan: &Plan,
        operation: Operation,
        changes: Vec<Change>,
        scim_id: Option<ScimId>,
        result: WriteResult,
    ) -> Write {
        let at = self.clock.now();
        let lag_ms = until(job.first_news_at, at).as_millis() as u64;
        let evidence = plan.evidence().cloned();
        Write {
            at,
            user: job.user,
            scim_id,
            operation,
            changes,
            reason: job.reason,
            evidence,
            result,
            lag_ms,
        }
    }

    /// Remembers what was learned of the target's dialect, so that the next start need not.
    async fn keep_learned(&self) -> Result<(), store::Error> {
        let learned = serde_json::to_string(&self.cxone.learned()).expect("plain values become JSON");
        if self.store.memo(super::LEARNED_MEMO).await?.as_deref() != Some(learned.as_str()) {
            self.store.set_memo(super::LEARNED_MEMO, &learned).await?;
        }
        Ok(())
    }
}

fn operation(plan: &Plan) -> Operation {
    match &plan.action {
        Action::Create(_) => Operation::Create,
        Action::Reactivate(_) => Operation::Reactivate,
        Action::Deactivate { .. } => Operation::Deactivate,
        Action::Patch(_) => Operation::Patch,
        Action::Nothing | Action::Hold | Action::Park | Action::LookAgain => {
            unreachable!("only plans that write are carried out")
        }
    }
}
