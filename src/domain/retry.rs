//! What a failure costs: run again and when, wait for the neighbour, or give up.

use std::time::Duration;

use jiff::Timestamp;

/// Shortest and longest wait after a failure of our own or of the network.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);
/// After a conflict with another writer, or when a directory replica may lag.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What went wrong, sorted by what it means for the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer, 408, 425, 5xx, or an answer that cannot be understood.
    Transient(String),
    /// The neighbour asked everybody to wait.
    Throttled { until: Timestamp },
    /// The neighbour is out of reach for all jobs alike: credentials, permissions, DNS.
    Outage(String),
    /// 409, 412: somebody else was quicker.
    LookAgain(String),
    /// 400, 422: it will not get better by itself.
    Rejected { code: &'static str, error: String },
}

impl Failure {
    /// What went wrong, as a sentence.
    pub fn words(&self) -> String {
        match self {
            Self::Transient(words) | Self::Outage(words) | Self::LookAgain(words) => words.clone(),
            Self::Rejected { error, .. } => error.clone(),
            Self::Throttled { until } => format!("asked to wait until {until}"),
        }
    }
}

/// What to do with the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// `counts`: the attempt is used up.
    Again {
        due_at: Timestamp,
        counts: bool,
    },
    /// As `Again` without counting, and the API's circuit opens.
    Outage {
        due_at: Timestamp,
    },
    Park {
        code: &'static str,
    },
}

/// Decides by the failure and the attempts begun so far (this one included). `unit` is a random
/// number in `0.0..1.0`.
pub fn disposition(
    failure: &Failure,
    attempts: u32,
    max_attempts: u32,
    now: Timestamp,
    unit: f64,
) -> Disposition {
    let at = |wait: Duration| now.checked_add(wait).unwrap_or(Timestamp::MAX);
    let used_up = attempts >= max_attempts;
    match failure {
        Failure::Rejected { code, .. } => Disposition::Park { code },
        // The word of the neighbour is a floor; jitter above it keeps the jobs from coming back as
        // one crowd.
        Failure::Throttled { until } => {
            let due_at = until.checked_add(Duration::from_secs(1).mul_f64(unit)).unwrap_or(*until);
            Disposition::Again { due_at, counts: false }
        }
        // Later than others, so that another job is the probe: the fault may be this user's alone.
        Failure::Outage(_) => Disposition::Outage { due_at: at(LOOK_AGAIN.mul_f64(1.0 + unit)) },
        Failure::Transient(_) | Failure::LookAgain(_) if used_up => {
            Disposition::Park { code: "attempts_used_up" }
        }
        Failure::LookAgain(_) => {
            Disposition::Again { due_at: at(LOOK_AGAIN.mul_f64(0.5 + unit)), counts: true }
        }
        Failure::Transient(_) => Disposition::Again { due_at: at(backoff(attempts, unit)), counts: true },
    }
}

/// Full jitter between 2 s and a ceiling that doubles with every attempt up to an hour.
/// Source: AWS Builders' Library, "Timeouts, retries, and backoff with jitter".
pub fn backoff(attempts: u32, unit: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let ceiling = (FIRST_BACKOFF * 2u32.pow(doublings)).min(LONGEST_BACKOFF);
    FIRST_BACKOFF + (ceiling - FIRST_BACKOFF).mul_f64(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_an_hour() {
        assert_eq!(backoff(1, 0.9), Duration::from_secs(2));
        assert_eq!(backoff(2, 0.5), Duration::from_secs(3));
        assert_eq!(backoff(4, 1.0), Duration::from_secs(16));
        assert_eq!(backoff(400, 1.0), LONGEST_BACKOFF);
        assert_eq!(backoff(400, 0.0), FIRST_BACKOFF);
    }

    #[test]
    fn each_failure_costs_what_the_table_says() {
        let now = Timestamp::UNIX_EPOCH;
        let cost = |failure: Failure, attempts| disposition(&failure, attempts, 12, now, 0.0);
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(
            cost(Failure::Transient("x".into()), 1),
            Disposition::Again { due_at: after(2), counts: true }
        );
        assert_eq!(cost(Failure::Transient("x".into()), 12), Disposition::Park { code: "attempts_used_up" });
        assert_eq!(
            cost(Failure::Throttled { until: after(9) }, 12),
            Disposition::Again { due_at: after(9), counts: false }
        );
        assert_eq!(cost(Failure::Outage("x".into()), 12), Disposition::Outage { due_at: after(5) });
        let rejected = Failure::Rejected { code: "rejected", error: "no such team".into() };
        assert_eq!(cost(rejected, 1), Disposition::Park { code: "rejected" });
    }
}
