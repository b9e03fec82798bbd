//! One run of one job: look, decide, act.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{later, until};
use crate::domain::case::{CaseChange, Observed, Restraint, RestraintReason, Task};
use crate::domain::drift::drift;
use crate::domain::evidence::{ABSENT_TWICE_APART, FirstSight, OUT_OF_SCOPE_TWICE_APART};
use crate::domain::link::Link;
use crate::domain::plan::{Action, Plan, Reason, Source, Target};
use crate::domain::queue::{
    self, Chore, ChoreEntry, Job, LinkChange, Operation, Outcome, Remark, Settlement,
};
use crate::domain::undo::holding_back;
use crate::domain::user::{Attributes, GroupId, TargetUser};
use crate::graph::fingerprint;
use crate::store;
use crate::telemetry::OpLabel;

use super::Worker;
use super::accounts::Held;
use super::decide::Decided;
use super::failure::Stopped;
use super::look::{Known, Look};

/// While groups are being read, a user who waits for them is tried again this often.
const GROUPS_PAUSE: Duration = Duration::from_secs(5);
/// And at least this often while that takes long.
const GROUPS_SLOW: Duration = Duration::from_secs(60);
/// And at least this often while one cannot be read.
const GROUPS_UNREAD: Duration = Duration::from_secs(300);

impl Worker {
    pub(super) async fn run_job(&self, job: &Job) -> Result<(Outcome, Option<Held>), store::Error> {
        let mut look = match self.look(job.user, Known::of(job)).await {
            Ok(look) => look,
            Err(Stopped::Store(error)) => return Err(error),
            Err(Stopped::By(fault)) => {
                let so_far = Outcome::of(Settlement::Done { recheck_at: None });
                return Ok((self.stopped(job, &fault, so_far), None));
            }
        };
        let now = self.clock.now();
        let decided = self.decided(job.user, &look, job.out_of_scope.as_ref(), now);
        let mut outcome = self.carry_out(job, &look, &decided).await?;
        self.follow_absence(&look, &mut outcome).await?;
        if matches!(look.source, Source::Unknown) {
            outcome.absent_since = look.absent_since;
        }
        self.tell_of_order(job, &decided, now, &mut outcome);
        outcome.seen = self.seen(&look, &decided.plan, &outcome).map(Box::new);
        Ok((outcome, look.held.take()))
    }

    /// Whoever is gone is noted to be, whatever came of it; and for whoever is back, the groups are read.
    async fn follow_absence(&self, look: &Look, outcome: &mut Outcome) -> Result<(), store::Error> {
        if let (Some(link), LinkChange::Keep) = (&look.link, &outcome.link) {
            let noted = match &look.source {
                Source::Gone(evidence) => Link {
                    source_gone: true,
                    purged: evidence.is_permanent(),
                    returned_at: None,
                    source_fingerprint: None,
                    ..link.clone()
                },
                Source::Present(_) if look.returned_at.is_some() => {
                    Link { source_gone: false, purged: false, returned_at: look.returned_at, ..link.clone() }
                }
                Source::Present(_) | Source::Unknown => link.clone(),
            };
            if noted != *link {
                outcome.link = LinkChange::Put(Box::new(noted));
            }
        }
        let Some(since) = look.returned_at else { return Ok(()) };
        let (now, groups) = (self.clock.now(), self.settings.rules.relevant_groups());
        self.have_read(groups.clone(), since, now).await?;
        // A reading marks those whose membership it changes; the others are looked at again.
        if let Settlement::Done { recheck_at } = &mut outcome.settlement {
            let due_at = self.groups_due(groups, since, since).await?;
            *recheck_at = Some(recheck_at.map_or(due_at, |at| at.min(due_at)));
        }
        Ok(())
    }

    /// Has those of the groups read at `read_at` that were not read since `since`.
    async fn have_read(
        &self,
        groups: BTreeSet<GroupId>,
        since: Timestamp,
        read_at: Timestamp,
    ) -> Result<(), store::Error> {
        let now = self.clock.now();
        for group in self.store.groups_read_before(groups, since).await? {
            self.store.schedule(Chore::Group(group), read_at, now).await?;
        }
        Ok(())
    }

    async fn carry_out(&self, job: &Job, look: &Look, decided: &Decided) -> Result<Outcome, store::Error> {
        let plan = &decided.plan;
        let (code, error) = (plan.reason.code(), plan.reason.sentence());
        let ended = || CaseChange { lift: plan.lift.clone(), ..CaseChange::default() };
        match &plan.action {
            Action::Hold => Ok(self.stopped_short(look, plan, Settlement::Hold { code, error })),
            Action::Park => Ok(self.stopped_short(look, plan, Settlement::Park { code, error })),
            // Where nothing is decided, nothing of the case is either, but for what Entra has ended.
            Action::LookAgain => {
                let settlement = self.look_again(job, look, &plan.reason).await?;
                Ok(Outcome { case: ended(), ..Outcome::of(settlement) })
            }
            Action::Confirm { since } => {
                Ok(Outcome { case: ended(), ..self.confirm(job, *since, error).await? })
            }
            Action::Nothing => Ok(self.confirmed(job, look, decided)),
            _ if !self.may_write(job, look, decided) => Ok(self.observed(job, look, plan)),
            Action::Deactivate { .. } | Action::Create(_) | Action::Patch(_) | Action::Reactivate(_) => {
                self.write(job, look, decided).await
            }
        }
    }

    /// Observing, only what an operator ordered or approved by name is written.
    fn may_write(&self, job: &Job, look: &Look, decided: &Decided) -> bool {
        let hash = || decided.plan.hash(job.user, look.scim_id());
        let approved =
            || look.case.approval.as_ref().is_some_and(|given| given.covers(&hash(), self.clock.now()));
        !self.settings.observe || decided.work.is_some() || approved()
    }

    fn observed(&self, job: &Job, look: &Look, plan: &Plan) -> Outcome {
        let code = plan.reason.code();
        self.metrics.operations.get_or_create(&OpLabel::of("observed")).inc();
        tracing::info!(user.id = %job.user, plan.kind = code, "would change user {}; sync.mode is \"observe\"", job.user);
        let mut outcome = Outcome::of(Settlement::Done { recheck_at: None });
        outcome.case = self.case_after(look, plan);
        outcome.case.observed = plan.operation().map(|operation| {
            let hash = plan.hash(job.user, look.scim_id());
            let earlier = look.case.observed.as_ref().filter(|earlier| earlier.plan == hash);
            Some(Observed {
                at: earlier.map_or(self.clock.now(), |earlier| earlier.at),
                plan: hash,
                operation,
                scim_id: look.scim_id().cloned(),
                reason: code.to_owned(),
                changes: plan.changes(),
                evidence: plan.evidence().cloned(),
            })
        });
        outcome
    }

    /// Out of scope by one look: the groups are read anew, and then another look must agree.
    async fn confirm(
        &self,
        job: &Job,
        mut since: Timestamp,
        mut error: String,
    ) -> Result<Outcome, store::Error> {
        let (now, scope) = (self.clock.now(), &self.settings.rules.scope);
        let groups = scope.named_groups();
        let counts_at = later(since, OUT_OF_SCOPE_TWICE_APART);
        let failing = if now < counts_at { None } else { self.failing(groups.clone(), counts_at).await? };
        if let Some(ChoreEntry { chore: Chore::Group(group), last_error, .. }) = failing {
            // What the others said meanwhile is no second reading: it begins anew.
            since = now;
            error.push_str(&format!("; group {group} cannot be read: {}", last_error.unwrap_or_default()));
        }
        let counts_at = later(since, OUT_OF_SCOPE_TWICE_APART);
        let read_at = counts_at.max(now);
        self.have_read(groups, counts_at, read_at).await?;
        let due_at = later(read_at, GROUPS_PAUSE);
        let wait = Settlement::Wait { due_at, why: error };
        let out_of_scope = Some(FirstSight { at: since, scope: scope.digest() });
        Ok(Outcome { out_of_scope, not_applied: job.not_applied, ..Outcome::of(wait) })
    }

    /// When to look again at whoever needs these groups to have been read since then, and has waited since
    /// `waits_since`: once one that failed has been tried again; else after as long again.
    async fn groups_due(
        &self,
        groups: BTreeSet<GroupId>,
        since: Timestamp,
        waits_since: Timestamp,
    ) -> Result<Timestamp, store::Error> {
        let now = self.clock.now();
        Ok(match self.failing(groups, since).await? {
            Some(chore) => later(chore.due_at.max(now), GROUPS_PAUSE).min(later(now, GROUPS_UNREAD)),
            None => later(now, until(waits_since, now).clamp(GROUPS_PAUSE, GROUPS_SLOW)),
        })
    }

    /// The reading of the first of these groups that should have been read since then and could not be.
    async fn failing(
        &self,
        groups: BTreeSet<GroupId>,
        since: Timestamp,
    ) -> Result<Option<ChoreEntry>, store::Error> {
        let unread = self.store.groups_read_before(groups, since).await?;
        let is_of_one = |chore: &Chore| matches!(chore, Chore::Group(group) if unread.contains(group));
        let mut chores = self.store.chores().await?.into_iter();
        Ok(chores.find(|entry| entry.last_error.is_some() && is_of_one(&entry.chore)))
    }

    /// The job stops at something else before what the guard held comes up again: that stays held, but
    /// for a deactivation of whoever is to stay after all.
    pub(super) fn stopped_short(&self, look: &Look, plan: &Plan, settlement: Settlement) -> Outcome {
        let mut case = self.case_after(look, plan);
        let turns_off = look.case.held.as_ref().is_some_and(|held| held.operation == Operation::Deactivate);
        let stays =
            matches!(&look.source, Source::Present(user) if user.enabled && self.is_in_scope(user, look));
        if !(turns_off && stays) {
            case.held = None;
        }
        Outcome { case, ..Outcome::of(settlement) }
    }

    /// What a decision leaves of the case before anything is written: what was held or observed
    /// before is decided anew, and drift is what this look shows.
    pub(super) fn case_after(&self, look: &Look, plan: &Plan) -> CaseChange {
        let found = drift(plan, &self.settings.rules.roles, &look.case.drift, self.clock.now());
        CaseChange {
            held: look.case.held.is_some().then_some(None),
            observed: look.case.observed.is_some().then_some(None),
            drift: (found != look.case.drift).then_some(found),
            lift: plan.lift.clone(),
            ..CaseChange::default()
        }
    }

    /// Both sides are right. A notified user is looked at once more: the replica that answered may
    /// be older than the news.
    fn confirmed(&self, job: &Job, look: &Look, decided: &Decided) -> Outcome {
        let plan = &decided.plan;
        let notified = matches!(job.reason, queue::Reason::Notification | queue::Reason::Group);
        let recheck_at = notified.then(|| later(self.clock.now(), self.settings.recheck_after));
        let mut outcome = Outcome::of(Settlement::Done { recheck_at });
        outcome.case = self.case_after(look, plan);
        if let Target::Found(shown) = &look.target {
            self.end_order(decided, &shown.attributes, &mut outcome);
        }
        // Whoever was never ours is not made ours by having been looked up: linked, they would be
        // deactivated for being out of scope. And whom we never write we do not keep either.
        let stranger = look.link.is_none()
            && matches!(
                plan.reason,
                Reason::NothingToLeave
                    | Reason::OnDeleteIsIgnore
                    | Reason::ProtectedUser
                    | Reason::ProtectedAccount(_)
            );
        match &look.target {
            Target::Found(shown) if !stranger => outcome.link = self.settled_link(look, plan, shown),
            _ => {}
        }
        let gone_for_good = matches!(&look.source, Source::Gone(evidence) if evidence.is_permanent());
        let kept_on = matches!(plan.reason, Reason::Restrained(_));
        if gone_for_good && !kept_on || plan.reason == Reason::PassedOn {
            // Nobody comes back under this id; a link would only be looked at again and again.
            outcome.link = LinkChange::Remove;
        }
        outcome
    }

    /// An order is done when both sides are as it wanted; after an undo, what was taken back must not
    /// be written again.
    pub(super) fn end_order(&self, decided: &Decided, shown: &Attributes, outcome: &mut Outcome) {
        let Some(work) = &decided.work else { return };
        outcome.case.work_done = Some(work.batch.clone());
        if let Task::Undo { changes, evidence } = &work.task {
            let restraint = |forbids| Restraint {
                forbids,
                why: RestraintReason::Undone,
                evidence: evidence.clone(),
                by: work.by.clone(),
                at: self.clock.now(),
            };
            outcome.case.restrain = holding_back(changes, shown).into_iter().map(restraint).collect();
        }
    }

    /// What was ordered and not done is told in the history, and not tried again.
    fn tell_of_order(&self, job: &Job, decided: &Decided, now: Timestamp, outcome: &mut Outcome) {
        let remark = |batch: &str, words: String| Remark {
            at: now,
            user: Some(job.user),
            code: "skipped".to_owned(),
            words,
            by: None,
            batch: Some(batch.to_owned()),
        };
        if let Some((work, why)) = &decided.dropped {
            outcome.remarks.push(remark(&work.batch, format!("{}: {why}", work.task.name())));
            outcome.case.work_done = Some(work.batch.clone());
        }
        let ended = matches!(outcome.settlement, Settlement::Done { .. } | Settlement::Park { .. });
        if let Some(work) = decided.work.as_ref().filter(|_| ended) {
            if let Settlement::Park { code, .. } = &outcome.settlement
                && outcome.writes.is_empty()
            {
                outcome.remarks.push(remark(&work.batch, format!("{}: {code}", work.task.name())));
            }
            for skipped in &decided.skipped {
                let words = format!("{}: {} {}", work.task.name(), skipped.attribute, skipped.code.name());
                outcome.remarks.push(remark(&work.batch, words));
            }
            outcome.case.work_done = Some(work.batch.clone());
            if let (Task::Undo { .. } | Task::Revert { .. }, Settlement::Done { recheck_at }) =
                (&work.task, &mut outcome.settlement)
            {
                // It was done instead of what the rules say, and what they say is not known by it.
                *recheck_at = Some(now);
            }
        }
    }

    /// The link after both sides are as `shown` and the plan say.
    pub(super) fn settled_link(&self, look: &Look, plan: &Plan, shown: &TargetUser) -> LinkChange {
        let deactivated = matches!(plan.action, Action::Deactivate { .. });
        let was = look.link.as_ref().is_some_and(|link| link.deactivated_by_us);
        let believed = look.found.is_none() && matches!(plan.action, Action::Nothing);
        LinkChange::Put(Box::new(Link {
            scim_id: shown.id.clone(),
            baseline: plan.settled_baseline(look.link.as_ref(), &shown.attributes),
            confirmed_at: match &look.link {
                // A look that believed the baseline confirms nothing.
                Some(link) if believed => link.confirmed_at,
                _ => self.clock.now(),
            },
            source_fingerprint: match &look.source {
                Source::Present(user) => Some(fingerprint(user)),
                Source::Gone(_) | Source::Unknown => None,
            },
            deactivated_by_us: deactivated || (was && !shown.is_active()),
            source_gone: matches!(look.source, Source::Gone(_)),
            purged: matches!(&look.source, Source::Gone(evidence) if evidence.is_permanent()),
            returned_at: look.returned_at,
            normalised: look.link.as_ref().map(|link| link.normalised.clone()).unwrap_or_default(),
        }))
    }

    async fn look_again(&self, job: &Job, look: &Look, reason: &Reason) -> Result<Settlement, store::Error> {
        let (now, scope, error) = (self.clock.now(), &self.settings.rules.scope, reason.sentence());
        if let Reason::ScopeUnknown(_) = reason
            && scope.needs_groups()
            && look.membership.scope_read_at.is_none()
        {
            let since = look.returned_at.unwrap_or(Timestamp::MIN);
            let due_at = self.groups_due(scope.named_groups(), since, job.first_news_at).await?;
            return Ok(Settlement::Wait { due_at, why: error });
        }
        // A rule that cannot be evaluated needs another rule, or another value.
        let is_futile = matches!(reason, Reason::ScopeUnknown(_));
        if is_futile || job.attempts >= self.settings.max_attempts {
            return Ok(Settlement::Park { code: reason.code(), error });
        }
        let due_at = self.next_look(job, look.absent_since.unwrap_or(now), now);
        Ok(Settlement::Again { due_at, counts: true, error })
    }

    /// A user who is nowhere may be about to appear on a lagging replica: soon at first, then when
    /// a second look would count as evidence.
    fn next_look(&self, job: &Job, since: Timestamp, now: Timestamp) -> Timestamp {
        let counts_at = later(since, ABSENT_TWICE_APART + Duration::from_secs(1));
        let soon =
            later(now, if job.attempts <= 1 { Duration::from_secs(30) } else { Duration::from_secs(300) });
        if until(now, counts_at).is_zero() { soon } else { soon.min(counts_at) }
    }
}
