//! One run of one job: look, decide, act.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{later, until};
use crate::domain::evidence::ABSENT_TWICE_APART;
use crate::domain::link::Link;
use crate::domain::plan::{Action, Plan, Reason, Source, Target, decide};
use crate::domain::queue::{self, Job, LinkChange, Outcome, Settlement};
use crate::domain::user::TargetUser;
use crate::graph::fingerprint;
use crate::store;
use crate::telemetry::OpLabel;

use super::Worker;
use super::failure::Stopped;
use super::guard::Pass;
use super::look::{Known, Look};

/// Who is out of scope by the groups is looked at twice, this far apart: somebody who moves from one
/// group to another is in neither for a moment, and replicas lag.
const OUT_OF_SCOPE_APART: Duration = Duration::from_secs(300);
/// While the groups of the scope are being read, a user is tried again this often.
const GROUPS_PAUSE: Duration = Duration::from_secs(5);

impl Worker {
    pub(super) async fn run_job(&self, job: &Job) -> Result<(Outcome, Option<Pass>), store::Error> {
        let look = match self.look(job.user, Known::of(job)).await {
            Ok(look) => look,
            Err(Stopped::Store(error)) => return Err(error),
            Err(Stopped::By(fault)) => {
                let so_far = Outcome::of(Settlement::Done { recheck_at: None });
                return Ok((self.stopped(job, &fault, so_far), None));
            }
        };
        let plan =
            decide(&self.settings.rules, &look.source, &look.membership, &look.target, look.link.as_ref());
        let (mut outcome, pass) = self.carry_out(job, &look, &plan).await?;
        if matches!(look.source, Source::Unknown) {
            outcome.absent_since = look.absent_since;
        }
        Ok((outcome, pass))
    }

    async fn carry_out(
        &self,
        job: &Job,
        look: &Look,
        plan: &Plan,
    ) -> Result<(Outcome, Option<Pass>), store::Error> {
        let stop = |settlement| Ok((Outcome::of(settlement), None));
        let (code, error) = (plan.reason.code(), plan.reason.sentence());
        match &plan.action {
            Action::Hold => stop(Settlement::Hold { code, error }),
            Action::Park => stop(Settlement::Park { code, error }),
            Action::LookAgain => stop(self.look_again(job, look, &plan.reason)),
            Action::Nothing => Ok((self.confirmed(job, look, plan), None)),
            _ if self.settings.observe => {
                self.metrics.operations.get_or_create(&OpLabel::of("observed")).inc();
                tracing::info!(user.id = %job.user, plan.kind = code, "would change user {}; sync.mode is \"observe\"", job.user);
                stop(Settlement::Done { recheck_at: None })
            }
            Action::Deactivate { evidence, .. }
                if evidence.needs_second_look() && !self.seen_long_enough(job) =>
            {
                let mut outcome = Outcome::of(Settlement::Again {
                    due_at: later(job.absent_since.unwrap_or(self.clock.now()), OUT_OF_SCOPE_APART),
                    counts: false,
                    error: format!("{}; looked at once more before anything is done", evidence.sentence()),
                });
                outcome.absent_since = job.absent_since.or(Some(self.clock.now()));
                Ok((outcome, None))
            }
            Action::Deactivate { .. } => match self.pass_guard(job).await? {
                Ok(pass) => Ok((self.write(job, look, plan).await?, Some(pass))),
                Err(over) => stop(Settlement::Hold { code: queue::GUARD, error: over }),
            },
            Action::Create(_) | Action::Patch(_) | Action::Reactivate(_) => {
                Ok((self.write(job, look, plan).await?, None))
            }
        }
    }

    /// The user was out of scope in an earlier look already, long enough ago.
    fn seen_long_enough(&self, job: &Job) -> bool {
        job.absent_since.is_some_and(|since| until(since, self.clock.now()) >= OUT_OF_SCOPE_APART)
    }

    /// Both sides are right. A notified user is looked at once more: the replica that answered may
    /// be older than the news.
    fn confirmed(&self, job: &Job, look: &Look, plan: &Plan) -> Outcome {
        let notified = matches!(job.reason, queue::Reason::Notification | queue::Reason::Group);
        let recheck_at = notified.then(|| later(self.clock.now(), self.settings.recheck_after));
        let mut outcome = Outcome::of(Settlement::Done { recheck_at });
        // Whoever was never ours is not made ours by having been looked up: linked, they would be
        // deactivated for being out of scope.
        let stranger =
            look.link.is_none() && matches!(plan.reason, Reason::NothingToLeave | Reason::OnDeleteIsIgnore);
        match &look.target {
            Target::Found(shown) if !stranger => outcome.link = self.settled_link(look, plan, shown),
            _ => {}
        }
        if let Source::Gone(evidence) = &look.source
            && evidence.is_permanent()
        {
            // Nobody comes back under this id; a link would only be looked at again and again.
            outcome.link = LinkChange::Remove;
        }
        outcome
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
        }))
    }

    fn look_again(&self, job: &Job, look: &Look, reason: &Reason) -> Settlement {
        let now = self.clock.now();
        let (due_at, counts) = match reason {
            Reason::SourceUnknown => (self.next_look(job, look.absent_since.unwrap_or(now), now), true),
            _ => (later(now, GROUPS_PAUSE), false),
        };
        if counts && job.attempts >= self.settings.max_attempts {
            return Settlement::Park { code: reason.code(), error: reason.sentence() };
        }
        Settlement::Again { due_at, counts, error: reason.sentence() }
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
