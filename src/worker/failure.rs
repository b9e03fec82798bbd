//! What the neighbours' errors cost a job.

use crate::cxone;
use crate::domain::event::What;
use crate::domain::queue::{Job, Outcome, Settlement};
use crate::domain::retry::{Disposition, Failure, disposition};
use crate::graph;
use crate::outbound;
use crate::store;

use super::Worker;

pub const GRAPH: &str = "graph";
pub const CXONE: &str = "cxone";

/// Why a run could not finish.
#[derive(Debug)]
pub enum Stopped {
    /// A neighbour failed.
    By(Fault),
    /// Ours failed: the process must end.
    Store(store::Error),
}

/// A neighbour's failure. The words in `failure` are fit for log lines; `detail` is what the
/// neighbour wrote, which may hold names, and is kept for the operator only.
#[derive(Debug)]
pub struct Fault {
    pub api: &'static str,
    pub failure: Failure,
    /// The neighbour answered.
    pub reached: bool,
    pub detail: Option<String>,
}

impl Fault {
    pub fn answered(api: &'static str, failure: Failure) -> Self {
        Self { api, failure, reached: true, detail: None }
    }

    /// An API that answered our read is not out of reach: that it refuses the write is about this
    /// user, and counts.
    pub fn of_a_write_after_a_read(self, read: bool) -> Self {
        match self.failure {
            Failure::Outage(words) if self.reached && read => {
                Self { failure: Failure::Transient(words), ..self }
            }
            _ => self,
        }
    }

    /// For an operator: what went wrong, with the neighbour's words.
    pub fn words(&self) -> String {
        match &self.detail {
            Some(detail) if !detail.is_empty() => format!("{}: {detail}", self.failure.words()),
            _ => self.failure.words(),
        }
    }
}

impl Stopped {
    /// The same failure when a write went before: it is not known whether that was kept.
    pub fn after_a_write(self) -> Self {
        match self {
            Self::By(fault) => {
                Self::By(Fault { failure: Failure::Transient(fault.failure.words()), ..fault })
            }
            Self::Store(_) => self,
        }
    }

    /// For an operator: what went wrong, with its causes.
    pub fn words(&self) -> String {
        match self {
            Self::By(fault) => fault.words(),
            Self::Store(error) => words(error),
        }
    }
}

impl From<store::Error> for Stopped {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<graph::Error> for Stopped {
    fn from(error: graph::Error) -> Self {
        use graph::Error as E;
        let words = words(&error);
        let (failure, reached) = match &error {
            E::Outbound { source, .. } => sent(source, words),
            E::Refused(_)
            | E::Credential(_)
            | E::ForeignTenant { .. }
            | E::Unauthorized { .. }
            | E::Forbidden { .. } => (Failure::Outage(words), true),
            E::Status { status, .. } => (by_status(*status, words), true),
            E::Malformed { .. } | E::ResyncRequired | E::Interrupted { .. } => {
                (Failure::Transient(words), true)
            }
        };
        let detail = match error {
            E::Forbidden { message, .. } | E::Status { message, .. } => Some(message),
            _ => None,
        };
        Self::By(Fault { api: GRAPH, failure, reached, detail })
    }
}

impl From<cxone::Error> for Stopped {
    fn from(error: cxone::Error) -> Self {
        use cxone::Error as E;
        let words = words(&error);
        let (failure, reached) = match &error {
            E::Outbound(source) => sent(source, words),
            E::Refused { .. } | E::ForeignTenant { .. } | E::Unauthorized | E::Forbidden { .. } => {
                (Failure::Outage(words), true)
            }
            E::Conflict { .. } | E::Precondition => (Failure::LookAgain(words), true),
            E::Rejected { .. } => (Failure::Rejected { code: "rejected_by_cxone", error: words }, true),
            E::Status { status, .. } => (by_status(*status, words), true),
            E::Malformed { .. } => (Failure::Transient(words), true),
        };
        let detail = error.detail().map(str::to_owned);
        Self::By(Fault { api: CXONE, failure, reached, detail })
    }
}

fn sent(error: &outbound::Error, words: String) -> (Failure, bool) {
    use outbound::Error as E;
    match error {
        E::Throttled { until, .. } => (Failure::Throttled { until: *until }, true),
        E::Dns { .. } => (Failure::Outage(words), false),
        E::Redirect { .. } | E::ForeignAddress { .. } | E::TooLarge { .. } => {
            (Failure::Transient(words), true)
        }
        E::Unreachable { .. } | E::Timeout { .. } | E::BrokenOff { .. } => (Failure::Transient(words), false),
    }
}

fn by_status(status: u16, words: String) -> Failure {
    match status {
        400 | 422 => Failure::Rejected { code: "rejected", error: words },
        _ => Failure::Transient(words),
    }
}

/// The error with its causes, on one line.
pub fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let source_words = source.to_string();
        // Some libraries repeat their cause in their own message.
        if !words.contains(&source_words) {
            words = format!("{words}: {source_words}");
        }
        cause = source.source();
    }
    words
}

impl Worker {
    /// The outcome of a run that a neighbour's failure stopped. `so_far` is what the run has to
    /// keep nevertheless, such as a write whose answer was lost.
    pub(super) fn stopped(&self, job: &Job, fault: &Fault, so_far: Outcome) -> Outcome {
        self.note_circuit(fault);
        let settlement = self.settlement_after(job, &fault.failure, fault.words());
        Outcome {
            settlement,
            absent_since: job.absent_since,
            out_of_scope: job.out_of_scope.clone(),
            not_applied: job.not_applied,
            ..so_far
        }
    }

    /// Tells the circuit of an API how a call went wrong.
    pub(super) fn note_circuit(&self, fault: &Fault) {
        let (api, now) = (fault.api, self.clock.now());
        let circuits = &self.running.circuits;
        let opened = match &fault.failure {
            Failure::Outage(error) => circuits.outage(api, error, now).then_some(error),
            Failure::Transient(error) if !fault.reached => {
                circuits.unreachable(api, error, now).then_some(error)
            }
            _ => {
                circuits.reached(api);
                None
            }
        };
        if let Some(error) = opened {
            self.tell(What::circuit_open(api, error));
        }
    }

    /// A run that panicked has used its attempt: a user that makes us panic must end up parked.
    pub(super) fn panicked(&self, job: &Job) -> Outcome {
        let failure = Failure::Transient("the run panicked; this is a defect of cxone-sync".to_owned());
        let settlement = self.settlement_after(job, &failure, failure.words());
        Outcome {
            absent_since: job.absent_since,
            out_of_scope: job.out_of_scope.clone(),
            not_applied: job.not_applied,
            ..Outcome::of(settlement)
        }
    }

    fn settlement_after(&self, job: &Job, failure: &Failure, error: String) -> Settlement {
        let (now, unit) = (self.clock.now(), self.random.unit());
        match disposition(failure, job.attempts, self.settings.max_attempts, now, unit) {
            Disposition::Again { due_at, counts } => Settlement::Again { due_at, counts, error },
            // The shut circuit is what holds it back.
            Disposition::Outage { due_at } => Settlement::Again { due_at, counts: false, error },
            Disposition::Park { code } => Settlement::Park { code, error },
        }
    }
}
