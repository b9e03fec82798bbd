//! Takes due jobs off the queue and runs them, never two for one user at once.
//!
//! The races, and where each is settled:
//! - News arrives while a user's job runs: the mark raises the generation, and `settle` with the
//!   older one makes the job due again (`store`).
//! - A delta page is older than news that arrived after it was asked for: its details are used only
//!   when its request began after the latest news of the job ([`details`]).
//! - Two rounds of one delta query: a lock per resource ([`rounds`]).
//! - Many deactivations decide at once: the guard asks, charges and writes the intent down in one
//!   transaction of the store ([`act`]).
//! - Two people are matched to one account at once: whoever comes second waits until the store says
//!   whose it is ([`accounts`]).
//! - The settings are exchanged while jobs and chores run: each takes what is in force once, at its
//!   beginning, and never sees two rule sets ([`Worker::present`]). What it may have left behind by
//!   the old ones is looked at again by the new ones.
//! - The process dies between a write and its settlement: the next start looks again and finds
//!   nothing to do.

mod accounts;
mod act;
pub mod adopt;
pub mod apply;
mod circuit;
mod decide;
mod details;
mod explain;
pub mod failure;
mod groups;
pub mod inspect;
mod job;
pub mod learn;
mod lint;
mod look;
mod rounds;
mod seen;
mod simulate;
mod subscriptions;
mod tell;
mod time;
mod upkeep;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, Semaphore, mpsc, watch};
use tracing::field::Empty;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use crate::clock::{Clock, until};
use crate::cxone::Cxone;
use crate::domain::guard::Budgets;
use crate::domain::pulse::Lags;
use crate::domain::queue::{Job, Outcome, Settlement};
use crate::domain::rules::Rules;
use crate::graph::Graph;
use crate::graph::notification::Verifier;
use crate::outbound::Url;
use crate::random::Random;
use crate::shutdown::{Shutdown, Tasks};
use crate::store::{self, Claim, Store};
use crate::telemetry::{self, Metrics, OutcomeLabel};

pub use circuit::CircuitState;
pub use tell::{Format, Receiver, Receivers};

/// Jobs under way at once. Most of them wait for one of the few connections to CXone; together they
/// fill the batches to Graph.
const JOBS_AT_ONCE: usize = 128;

/// Under which key the store keeps what was learned of the target's dialect.
pub const LEARNED_MEMO: &str = "cxone_learned";

/// Under which key the store keeps [`Tenants`].
pub const TENANTS_MEMO: &str = "tenants";

/// Whose data the store holds, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tenants {
    pub graph: Option<String>,
    pub cxone: Option<String>,
}

/// What the worker is configured to do.
#[derive(Clone, Debug)]
pub struct Settings {
    pub rules: Rules,
    pub budgets: Budgets,
    pub max_attempts: u32,
    /// How long after a look that found nothing to do a notified user is looked at once more.
    pub recheck_after: Duration,
    /// From this many due jobs on, one delta round is asked for the details of all.
    pub burst_threshold: usize,
    pub poll_interval: Duration,
    /// And this often when too few changes are announced; at most `poll_interval`.
    pub poll_interval_min: Duration,
    pub full_compare_interval: Duration,
    /// For this long after a look at CXone its result is believed; zero: never.
    pub trust_baseline_for: Duration,
    /// Everything but the writes.
    pub observe: bool,
    /// Where Graph calls us. `None`: it cannot, and only the poll finds changes.
    pub urls: Option<WebhookUrls>,
}

/// The addresses Graph is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookUrls {
    pub notification: Url,
    pub lifecycle: Url,
}

/// What the configuration may exchange while the worker runs. The clients belong to it, because which
/// attributes and which roles they know follows from the rules.
#[derive(Clone, Debug)]
pub struct InForce {
    pub settings: Arc<Settings>,
    pub graph: Graph,
    pub cxone: Cxone,
}

/// The parts a worker works with for as long as it lives.
#[derive(Debug)]
pub struct Parts {
    pub store: Store,
    pub verifier: Arc<Verifier>,
    pub clock: Clock,
    pub random: Random,
    pub tasks: Tasks,
    pub shutdown: Shutdown,
    pub metrics: Arc<Metrics>,
    /// Who is told of events.
    pub receivers: Receivers,
}

/// What comes with running: state that is rebuilt after a restart.
#[derive(Debug, Default)]
struct Running {
    circuits: circuit::Circuits,
    details: details::Details,
    emptied: groups::Emptied,
    rounds: rounds::Locks,
    guard_clock: time::GuardClock,
    /// Of what was confirmed since the last sample.
    lags: std::sync::Mutex<Lags>,
    accounts: accounts::Accounts,
    /// Those in force, for who shows how much of them is used up.
    budgets: watch::Sender<Budgets>,
    /// A slot is free again, and what the run learned of the circuits may let more jobs start.
    freed: Notify,
    /// Something new is in the outbox, or the receivers are others.
    told: Notify,
    /// One adoption at a time: a second would only find out the same.
    adoption: Mutex<()>,
    /// Renewing and creating subscriptions, one at a time: an operator's command and the watch
    /// must not both create one.
    subscriptions: Mutex<()>,
    /// Settings are exchanged one after the other.
    exchange: Mutex<()>,
}

/// The worker. Clones are the same worker, and have the same settings; see [`Worker::present`].
#[derive(Clone, Debug)]
pub struct Worker {
    /// In force when this handle was taken, and for it ever after.
    pub settings: Arc<Settings>,
    pub graph: Graph,
    pub cxone: Cxone,
    parts: Arc<Parts>,
    in_force: Arc<RwLock<InForce>>,
    running: Arc<Running>,
}

impl std::ops::Deref for Worker {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Worker {
    pub fn new(in_force: InForce, parts: Parts) -> Self {
        let InForce { settings, graph, cxone } = in_force.clone();
        let in_force = Arc::new(RwLock::new(in_force));
        let circuits = circuit::Circuits::told_in(parts.metrics.circuit_state.clone());
        let running = Arc::new(Running { circuits, ..Running::default() });
        running.budgets.send_replace(settings.budgets);
        Self { settings, graph, cxone, parts: Arc::new(parts), in_force, running }
    }

    /// The worker with what is in force now. Whatever decides takes it once, at its beginning.
    pub fn present(&self) -> Self {
        let InForce { settings, graph, cxone } =
            self.in_force.read().expect("no panic while the settings are held").clone();
        Self { settings, graph, cxone, ..self.clone() }
    }

    /// Puts other settings in force: what begins from now on decides by them. Everybody is looked at if
    /// the rules have changed; whoever they turn off passes the guard like anybody else.
    pub async fn exchange(&self, settings: Settings) -> Result<(), store::Error> {
        let _one_at_a_time = self.running.exchange.lock().await;
        let before = self.present();
        let rules = &settings.rules;
        let graph = before.graph.selecting(&rules.properties());
        let cxone = before.cxone.knowing_roles(rules.roles.rows().iter().map(|row| row.role.clone()));
        self.running.budgets.send_replace(settings.budgets);
        let in_force = InForce { settings: Arc::new(settings), graph, cxone };
        *self.in_force.write().expect("no panic while the settings are held") = in_force;
        let present = self.present();
        // In between, and for runs that began before, the groups kept are not those the rules name:
        // `membership` says so, and nothing is concluded.
        present.settle_roots().await?;
        present.schedule_all().await?;
        Ok(())
    }

    /// The budgets of the guard that are in force.
    pub fn budgets(&self) -> watch::Receiver<Budgets> {
        self.running.budgets.subscribe()
    }

    /// The state of the way to each API.
    pub fn circuits(&self) -> Vec<(&'static str, CircuitState)> {
        self.running.circuits.states()
    }

    /// Claims and runs jobs until shutdown. An error of the store ends it: nothing may be decided
    /// on a queue that cannot be written.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut n_slots = JOBS_AT_ONCE;
        let slots = Arc::new(Semaphore::new(n_slots));
        let (failed, mut failures) = mpsc::unbounded_channel::<store::Error>();
        while !self.shutdown.is_requested() {
            if let Ok(error) = failures.try_recv() {
                return Err(error).context("cannot settle a job");
            }
            // The ticket comes before the look, or news in between would be slept through.
            let changed = self.store.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();

            let worker = self.present();
            // As many as a burst needs to be recognised; there is no harm in having had more once.
            let needed = 2 * worker.settings.burst_threshold;
            slots.add_permits(needed.saturating_sub(n_slots));
            n_slots = n_slots.max(needed);
            let now = self.clock.now();
            let admission = self.running.circuits.admission(now, &self.neighbours_closed_until());
            let (room, wake_at) = match admission {
                circuit::Admission::Open => (slots.available_permits(), None),
                circuit::Admission::Probe => (slots.available_permits().min(1), None),
                circuit::Admission::Closed { until } => (0, Some(until)),
            };
            let claims = if room > 0 {
                self.store.claim(room, now).await.context("cannot claim jobs")?
            } else {
                Vec::new()
            };
            if !claims.is_empty() {
                if admission == circuit::Admission::Probe {
                    self.running.circuits.probing(now);
                }
                worker.start(claims, &slots, &failed).await;
                continue;
            }
            let next = match wake_at {
                Some(at) => at,
                // All slots are taken: the next settled job wakes us.
                None if room == 0 => Timestamp::MAX,
                None => {
                    self.store.next_due(now).await.context("cannot read the queue")?.unwrap_or(Timestamp::MAX)
                }
            };
            // While nothing may be claimed, changes of the queue are no reason to look.
            let may_claim = room > 0;
            tokio::select! {
                () = changed, if may_claim => {}
                () = self.running.freed.notified(), if !may_claim => {}
                () = self.clock.sleep_until(next) => {}
                () = self.shutdown.requested() => {}
                Some(error) = failures.recv() => return Err(error).context("cannot settle a job"),
            }
        }
        info!("worker stops: no more claims");
        Ok(())
    }

    async fn start(
        &self,
        claims: Vec<Claim>,
        slots: &Arc<Semaphore>,
        failed: &mpsc::UnboundedSender<store::Error>,
    ) {
        if claims.len() >= self.settings.burst_threshold {
            self.refresh_details(claims.iter().map(|claim| claim.job.user).collect()).await;
        }
        for claim in claims {
            let was_due = until(claim.job.due_at, self.clock.now());
            self.metrics.workqueue_queue_duration.observe(was_due.as_secs_f64());
            let slot = slots.clone().try_acquire_owned().expect("claims are never more than the free slots");
            let (worker, failed) = (self.present(), failed.clone());
            self.tasks.spawn(async move {
                if let Err(error) = worker.run_one(claim).await {
                    // The receiver is gone only when the worker is ending already.
                    failed.send(error).ok();
                }
                drop(slot);
                worker.running.freed.notify_one();
            });
        }
    }

    async fn run_one(&self, claim: Claim) -> Result<(), store::Error> {
        let job = &claim.job;
        let span = info_span!(
            "job.run", user.id = %job.user, job.reason = %job.reason, job.attempt = job.attempts,
            trace_id = Empty
        );
        // In the trace of its news, which may have come before a restart.
        telemetry::go_on(&span, claim.trace.as_deref());
        self.run_claimed(claim).instrument(span).await
    }

    async fn run_claimed(&self, claim: Claim) -> Result<(), store::Error> {
        let (job, began) = (claim.job.clone(), self.clock.uptime());
        // A task of its own, so that a panic ends this run only and still counts as an attempt.
        let run = tokio::spawn({
            let (worker, job) = (self.clone(), job.clone());
            async move { worker.run_job(&job).await }.in_current_span()
        });
        // An account is let go after the settlement, when the store says whose it is.
        let (outcome, _held) = match run.await {
            Ok(Ok(run)) => run,
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                error!(user.id = %job.user, "the run of user {} panicked", job.user);
                (self.panicked(&job), None)
            }
        };
        self.count(&job, &outcome);
        self.tell_of_run(&job, &outcome);
        let was_unclear = outcome.seen.as_ref().is_some_and(|seen| !seen.complete);
        let settled = self.store.settle(claim, outcome, self.clock.now()).await?;
        let took = self.clock.uptime().saturating_sub(began);
        self.metrics.workqueue_work_duration.observe(took.as_secs_f64());
        if was_unclear && settled.state.is_none() {
            self.look_again_if_clear(job.user).await?;
        }
        debug!(user.id = %job.user, job.remarked = settled.remarked, "settled user {}", job.user);
        Ok(())
    }

    fn count(&self, job: &Job, outcome: &Outcome) {
        let user = job.user;
        let label = match &outcome.settlement {
            Settlement::Done { .. } => "done",
            // The error itself may quote the neighbour, who may quote a name: it is kept with the
            // job, for `queue show`, and not logged.
            Settlement::Again { .. } => {
                debug!(user.id = %user, job.attempt = job.attempts, "will run user {user} again");
                "again"
            }
            Settlement::Wait { .. } => {
                debug!(user.id = %user, "cannot decide about user {user} yet");
                "wait"
            }
            Settlement::Park { code, .. } => {
                warn!(user.id = %user, job.attempt = job.attempts, reason = code, "parked user {user}; see `cxone-sync queue show {user}`");
                "parked"
            }
            Settlement::Hold { code, .. } => {
                warn!(user.id = %user, reason = code, "held user {user} for an operator; see `cxone-sync queue show {user}`");
                "held"
            }
        };
        self.metrics.jobs.get_or_create(&OutcomeLabel::of(label)).inc();
    }

    /// While a neighbour asks to wait, claiming would only hand out jobs that fail at once.
    fn neighbours_closed_until(&self) -> [Option<Timestamp>; 2] {
        [self.graph.closed_until(), self.cxone.closed_until()]
    }
}
