//! Carries a plan out: asks the guard, writes the intent down, sends, and sees that it was done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{error, info};

use crate::clock::{later, until};
use crate::cxone;
use crate::domain::case::HeldItem;
use crate::domain::drift::Drift;
use crate::domain::evidence::{Evidence, FirstSight, OUT_OF_SCOPE};
use crate::domain::guard::Guarded;
use crate::domain::link::Normalised;
use crate::domain::observed::Observed;
use crate::domain::patch::{not_applied, same};
use crate::domain::plan::{Action, Plan};
use crate::domain::queue::{
    Change, GUARD, HELD, Intent, Job, LinkChange, Outcome, Remark, Settlement, WRITTEN_TOO_OFTEN,
    WriteResult, Wrote,
};
use crate::domain::retry::Failure;
use crate::domain::user::{Attribute, ScimId};
use crate::store::{self, Begun};
use crate::telemetry::{OpLabel, ReasonLabel};

use super::decide::Decided;
use super::failure::{CXONE, Fault, Stopped};
use super::look::Look;
use super::{Tenants, Worker};

/// A target may show an old state for a moment after it said yes.
const SHOW_AGAIN: Duration = Duration::from_secs(5);
/// So often in a row may the target say yes and change nothing.
const IGNORED_AT_MOST: u32 = 2;

/// What the guard said.
enum Passed {
    /// This may be sent; its intent has this number. What was held of it is beside.
    Go {
        plan: Box<Plan>,
        intent: u64,
        held: Option<Held>,
    },
    /// All of it is held.
    Held(Held),
    TooOften,
    Overruled,
}

/// What of a plan the guard stopped, and which bounds it would have broken.
struct Held {
    rest: Plan,
    words: String,
}

impl Worker {
    pub(super) async fn write(
        &self,
        job: &Job,
        look: &Look,
        decided: &Decided,
    ) -> Result<Outcome, store::Error> {
        let (plan, intent, held) = match self.pass_guard(job, look, decided).await? {
            Passed::Go { plan, intent, held } => (plan, intent, held),
            Passed::Held(held) => {
                let mut outcome = Outcome::of(Settlement::Done { recheck_at: None });
                outcome.case = self.case_after(look, &decided.plan);
                self.hold(job, look, look.scim_id(), &held, &mut outcome);
                outcome.out_of_scope = first_sight(job, &decided.plan);
                return Ok(outcome);
            }
            Passed::TooOften => {
                let names: Vec<&str> =
                    decided.plan.changes().iter().map(|change| change.attribute.name()).collect();
                let error = format!(
                    "the same was written three times within a day and CXone does not keep it ({}): somebody or \
                     something changes it back",
                    names.join(", ")
                );
                let settlement = Settlement::Park { code: WRITTEN_TOO_OFTEN, error };
                return Ok(self.stopped_short(look, &decided.plan, settlement));
            }
            Passed::Overruled => {
                let error = "an operator decided about this since the user was looked at".to_owned();
                let again = Settlement::Again { due_at: self.clock.now(), counts: false, error };
                let out_of_scope = first_sight(job, &decided.plan);
                return Ok(Outcome { out_of_scope, ..Outcome::of(again) });
            }
        };
        let changes = plan.changes();
        Ok(match self.send(look, &plan, &changes).await {
            Ok(shown) => {
                self.running.circuits.reached(CXONE);
                self.keep_learned().await?;
                self.keep_tenants().await?;
                let mut outcome = self.written(job, look, &plan, changes, intent, &shown);
                if let Settlement::Done { .. } = outcome.settlement {
                    self.end_order(decided, &shown.view.attributes, &mut outcome);
                }
                if let Some(held) = &held {
                    // What is held of an order is still to be done once it is approved.
                    outcome.case.work_done = None;
                    self.hold(job, look, Some(&shown.view.id), held, &mut outcome);
                    self.go_on_if_approved(look, &mut outcome);
                }
                outcome
            }
            Err(Stopped::Store(error)) => return Err(error),
            Err(Stopped::By(fault)) => {
                let error = fault.words();
                let result = match fault.failure {
                    // It may have been carried out although the answer was lost.
                    Failure::Transient(_) => WriteResult::Unknown { error },
                    // Nothing was sent, or the target said no: nothing has changed.
                    Failure::Throttled { .. }
                    | Failure::Outage(_)
                    | Failure::LookAgain(_)
                    | Failure::Rejected { .. } => WriteResult::Refused { error },
                };
                let fault = fault.of_a_write_after_a_read(look.found.is_some());
                let scim_id = look.scim_id().cloned();
                let mut so_far = Outcome::of(Settlement::Done { recheck_at: None });
                so_far.writes = vec![self.ended(job, intent, scim_id, result)];
                self.stopped(job, &fault, so_far)
            }
        })
    }

    /// Asks the guard for the plan; what it stops is taken out, and the rest asked for again.
    async fn pass_guard(&self, job: &Job, look: &Look, decided: &Decided) -> Result<Passed, store::Error> {
        let table = &self.settings.rules.roles;
        let (mut plan, mut held) = (decided.plan.clone(), BTreeMap::<Guarded, String>::new());
        let clock = self.guard_clock().await?;
        let stopped = |held: &BTreeMap<Guarded, String>, reduced: Option<&Plan>| Held {
            rest: decided.plan.rest(reduced),
            words: held.values().cloned().collect::<Vec<_>>().join("; "),
        };
        loop {
            let intent = self.intent(job, look, decided, &plan);
            match self.store.begin_write(intent, self.settings.budgets, clock).await? {
                Begun::Go(intent) => {
                    let held = (!held.is_empty()).then(|| stopped(&held, Some(&plan)));
                    return Ok(Passed::Go { plan: Box::new(plan), intent, held });
                }
                Begun::TooOften => return Ok(Passed::TooOften),
                Begun::Overruled => return Ok(Passed::Overruled),
                Begun::Over(over) => {
                    held.extend(over);
                    let kinds: BTreeSet<Guarded> = held.keys().copied().collect();
                    match plan.without(&kinds, table) {
                        Some(reduced) => plan = reduced,
                        None => return Ok(Passed::Held(stopped(&held, None))),
                    }
                }
            }
        }
    }

    fn intent(&self, job: &Job, look: &Look, decided: &Decided, plan: &Plan) -> Intent {
        let mut why = plan.why();
        let changes = plan.changes();
        why.retain(|attribute, _| changes.iter().any(|change| change.attribute == *attribute));
        Intent {
            at: self.clock.now(),
            user: job.user,
            scim_id: look.scim_id().cloned(),
            operation: plan.operation().expect("only plans that write are carried out"),
            changes,
            why,
            reason: job.reason,
            evidence: plan.evidence().cloned(),
            plan: plan.hash(job.user, look.scim_id()),
            desired: plan.desired_hash(),
            batch: decided.work.as_ref().map(|work| work.batch.clone()),
            approved_by: None,
            spend: plan.spend(&self.settings.rules.roles),
        }
    }

    /// Puts what the guard stopped before an operator.
    fn hold(&self, job: &Job, look: &Look, scim_id: Option<&ScimId>, held: &Held, outcome: &mut Outcome) {
        let Held { rest, words } = held;
        let spend = rest.spend(&self.settings.rules.roles);
        for (guarded, _) in spend.iter() {
            self.metrics.guard_stopped.get_or_create(&ReasonLabel::of(guarded.name())).inc();
        }
        error!(user.id = %job.user, "the guard holds a change of user {}: {words}; see `cxone-sync held list`", job.user);
        let (now, plan) = (self.clock.now(), rest.hash(job.user, scim_id));
        if look.case.held.as_ref().is_none_or(|earlier| earlier.plan != plan) {
            outcome.remarks.push(Remark {
                at: now,
                user: Some(job.user),
                code: HELD.to_owned(),
                words: format!("plan {plan}: {words}"),
                by: None,
                batch: None,
            });
        }
        outcome.case.held = Some(Some(HeldItem {
            since: now,
            plan,
            operation: rest.operation().expect("what is held would have been written"),
            scim_id: scim_id.cloned(),
            changes: rest.changes(),
            evidence: rest.evidence().cloned(),
            spend,
            words: words.clone(),
        }));
        if let Settlement::Done { .. } = outcome.settlement {
            outcome.settlement = Settlement::Hold { code: GUARD, error: words.clone() };
        }
    }

    /// An approval is for what is held alone. When there was more to be done, that went first, and what
    /// is left is what was approved.
    fn go_on_if_approved(&self, look: &Look, outcome: &mut Outcome) {
        let now = self.clock.now();
        let approved = match (&outcome.case.held, &look.case.approval) {
            (Some(Some(held)), Some(given)) => given.covers(&held.plan, now),
            _ => false,
        };
        if let Settlement::Hold { error, .. } = &outcome.settlement
            && approved
        {
            let error = format!("approved, and goes next: {error}");
            outcome.settlement = Settlement::Again { due_at: now, counts: false, error };
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
        if let Some(why) = self.settings.rules.protected.account(&found.view) {
            let failure = Failure::LookAgain(format!("the CXone account is protected by now: {why}"));
            return Err(Stopped::By(Fault::answered(CXONE, failure)));
        }
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
        changes: Vec<Change>,
        intent: u64,
        shown: &cxone::User,
    ) -> Outcome {
        let operation = plan.operation().expect("only plans that write are carried out");
        let view = &shown.view.attributes;
        let differing = not_applied(view, &changes);
        let mut link = self.settled_link(look, plan, &shown.view);
        let mut ignored = Vec::new();
        if let LinkChange::Put(link) = &mut link {
            for change in &differing {
                let now = view.get(&change.attribute);
                let untouched = same(change.attribute, now, change.before.as_ref());
                let known = link.normalised.get(&change.attribute);
                // Written once more, it ends up as it was: what the first write had made of it.
                let again =
                    known.is_some_and(|known| known.wrote == change.after && known.shows.as_ref() == now);
                if (!untouched || again) && Normalised::is_for(change.attribute) {
                    let noted = Normalised::noted(known, change.after.as_ref(), now);
                    let learned = noted.is_learned();
                    link.normalised.insert(change.attribute, noted);
                    if learned {
                        continue;
                    }
                }
                ignored.push(change.attribute);
                // What was ignored is not settled: the next look must still see who changed it.
                match look.link.as_ref().and_then(|old| old.baseline.get(&change.attribute)) {
                    Some(old) => link.baseline.insert(change.attribute, old.clone()),
                    None => link.baseline.remove(&change.attribute),
                };
            }
        }
        let (settlement, result, not_applied) = if ignored.is_empty() {
            (Settlement::Done { recheck_at: None }, WriteResult::Applied, 0)
        } else {
            let times = job.not_applied + 1;
            let names: Vec<&str> = ignored.iter().map(|attribute| attribute.name()).collect();
            let error = format!("CXone said yes and did not keep {}", names.join(", "));
            let settlement = if times >= IGNORED_AT_MOST {
                Settlement::Park { code: "target_ignores_change", error }
            } else {
                Settlement::Again { due_at: later(self.clock.now(), SHOW_AGAIN), counts: true, error }
            };
            (settlement, WriteResult::NotApplied, times)
        };
        let mut write = self.ended(job, intent, Some(shown.view.id.clone()), result);
        let shows = |change: &&Change| Some((change.attribute, view.get(&change.attribute)?.clone()));
        write.shown = differing.iter().filter_map(shows).collect();
        if ignored.is_empty() {
            self.metrics.operations.get_or_create(&OpLabel::of(operation.name())).inc();
            self.confirmed_after(Duration::from_millis(write.lag_ms));
            info!(
                user.id = %job.user, job.reason = %job.reason, plan.kind = operation.name(),
                job.attempt = job.attempts, duration_ms = write.lag_ms, "{} of user {} done", operation.name(), job.user
            );
        }
        let mut outcome = Outcome { link, writes: vec![write], not_applied, ..Outcome::of(settlement) };
        outcome.case = self.case_after(look, plan);
        if let Settlement::Again { .. } = outcome.settlement {
            // Not done yet: what was approved still is, and what is known still counts.
            outcome.case.held = None;
            outcome.out_of_scope = first_sight(job, plan);
        }
        let written = |attribute: Attribute| {
            changes.iter().any(|change| change.attribute == attribute) && !ignored.contains(&attribute)
        };
        let known = outcome.case.drift.take().unwrap_or_else(|| look.case.drift.clone());
        let left = |drift: Drift| {
            let now = view.get(&drift.attribute);
            if written(drift.attribute) { drift.after_a_write(now) } else { Some(drift) }
        };
        let drift: Vec<Drift> = known.into_iter().filter_map(left).collect();
        outcome.case.drift = (drift != look.case.drift).then_some(drift);
        outcome
    }

    fn ended(&self, job: &Job, intent: u64, scim_id: Option<ScimId>, result: WriteResult) -> Wrote {
        let at = self.clock.now();
        let lag_ms = until(job.first_news_at, at).as_millis() as u64;
        Wrote { intent, at, scim_id, result, shown: Default::default(), lag_ms }
    }

    /// Remembers what was learned of the target's dialect, so that the next start need not.
    pub(super) async fn keep_learned(&self) -> Result<(), store::Error> {
        self.keep(super::LEARNED_MEMO, &self.cxone.learned()).await
    }

    /// Remembers whose data this is, so that another tenant is noticed.
    pub(super) async fn keep_tenants(&self) -> Result<(), store::Error> {
        let (graph, cxone) = (self.graph.tenant(), self.cxone.tenant());
        let tenants = Tenants { graph: graph.map(str::to_owned), cxone: cxone.map(str::to_owned) };
        self.keep(super::TENANTS_MEMO, &tenants).await
    }

    async fn keep(&self, memo: &'static str, value: &impl serde::Serialize) -> Result<(), store::Error> {
        let value = serde_json::to_string(value).expect("plain values become JSON");
        if self.store.memo(memo).await?.as_deref() != Some(value.as_str()) {
            self.store.set_memo(memo, &value).await?;
        }
        Ok(())
    }
}

/// Where a leaver by scope stands, so that the next run need not begin again.
fn first_sight(job: &Job, plan: &Plan) -> Option<FirstSight> {
    let by_scope = plan.evidence().map(Evidence::code) == Some(OUT_OF_SCOPE);
    job.out_of_scope.clone().filter(|_| by_scope)
}
