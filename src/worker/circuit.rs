//! Whether an API is worth asking: when it is out of reach for every job alike, jobs stay in the
//! queue instead of using up their attempts, and one of them goes ahead to see.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tracing::{error, info};

use crate::clock::{later, until};
use crate::domain::retry::backoff;
use crate::telemetry::{ApiLabel, Gauges};

use super::failure::{CXONE, GRAPH};

/// An API that for so long was reached by nobody, in so many tries, is out of reach. Both bounds are
/// needed: one lost connection may fail a whole batch of jobs at once.
const UNREACHABLE_FOR: Duration = Duration::from_secs(10);
const UNREACHABLE_TIMES: u32 = 8;
/// The longest an outage is left alone before it is probed again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum CircuitState {
    Closed,
    /// Out of reach since then, for this reason; probed next at `probe_at`.
    Open {
        since: Timestamp,
        probe_at: Timestamp,
        error: String,
    },
}

/// What the gauge of the circuits says.
const CLOSED: i64 = 0;
const PROBING: i64 = 1;
const OPEN: i64 = 2;

#[derive(Debug, Default)]
pub struct Circuits {
    all: Mutex<BTreeMap<&'static str, Circuit>>,
    told: Gauges<ApiLabel>,
}

#[derive(Debug, Default)]
struct Circuit {
    unreachable: Option<Streak>,
    open: Option<Outage>,
}

/// Failures to reach an API, over all jobs, with no success in between.
#[derive(Debug)]
struct Streak {
    since: Timestamp,
    times: u32,
}

#[derive(Debug)]
struct Outage {
    since: Timestamp,
    probe_at: Timestamp,
    probes: u32,
    error: String,
}

/// Whether jobs may be claimed.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    Open,
    /// One job, to see whether the outage is over.
    Probe,
    Closed {
        until: Timestamp,
    },
}

impl Circuits {
    /// Circuits that show their states in a gauge.
    pub fn told_in(told: Gauges<ApiLabel>) -> Self {
        let circuits = Self { all: Mutex::default(), told };
        [GRAPH, CXONE].into_iter().for_each(|api| circuits.tell(api, CLOSED));
        circuits
    }

    fn tell(&self, api: &'static str, state: i64) {
        self.told.get_or_create(&ApiLabel::of(api)).set(state);
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Circuit>> {
        self.all.lock().expect("no panic while the circuits are held")
    }

    /// A job needs both neighbours, so one that is shut holds all.
    pub fn admission(&self, now: Timestamp, gates: &[Option<Timestamp>]) -> Admission {
        let all = self.all();
        let open = || all.values().filter_map(|circuit| circuit.open.as_ref());
        let shut = open()
            .map(|outage| outage.probe_at)
            // A probe farther off than any was set before the wall clock was set back.
            .filter(|probe_at| *probe_at <= later(now, LONGEST_PAUSE))
            .chain(gates.iter().flatten().copied())
            .filter(|until| *until > now)
            .max();
        if let Some(until) = shut {
            return Admission::Closed { until };
        }
        if open().next().is_none() { Admission::Open } else { Admission::Probe }
    }

    /// A job goes ahead as the probe. It may take long or be lost; the next one is already set.
    pub fn probing(&self, now: Timestamp) {
        for (api, circuit) in self.all().iter_mut() {
            let Some(outage) = circuit.open.as_mut() else { continue };
            self.tell(api, PROBING);
            outage.probes += 1;
            outage.probe_at = later(now, backoff(outage.probes + 1, 1.0).min(LONGEST_PAUSE));
        }
    }

    /// The API answered, whatever it said.
    pub fn reached(&self, api: &'static str) {
        let mut all = self.all();
        let circuit = all.entry(api).or_default();
        circuit.unreachable = None;
        self.tell(api, CLOSED);
        if let Some(outage) = circuit.open.take() {
            info!(api, since = %outage.since, "{api} is back");
        }
    }

    /// The API could not be reached. One such failure is bad luck, many in a row are an outage.
    /// Whether this made an outage of it.
    pub fn unreachable(&self, api: &'static str, error: &str, now: Timestamp) -> bool {
        let out_of_reach = {
            let mut all = self.all();
            let circuit = all.entry(api).or_default();
            if circuit.open.is_some() {
                // The probe has failed.
                self.tell(api, OPEN);
            }
            let streak = circuit.unreachable.get_or_insert(Streak { since: now, times: 0 });
            streak.times += 1;
            streak.times >= UNREACHABLE_TIMES && until(streak.since, now) >= UNREACHABLE_FOR
        };
        out_of_reach && self.outage(api, error, now)
    }

    /// The API is of no use to any job until something changes.
    /// Whether that is news.
    pub fn outage(&self, api: &'static str, reason: &str, now: Timestamp) -> bool {
        let mut all = self.all();
        let circuit = all.entry(api).or_default();
        let first = || Outage {
            since: now,
            probe_at: later(now, backoff(1, 0.0)),
            probes: 0,
            error: reason.to_owned(),
        };
        let is_news = circuit.open.is_none();
        if is_news {
            error!(api, error = reason, "{api} is out of reach: jobs wait, no attempt is used");
        }
        self.tell(api, OPEN);
        let outage = circuit.open.get_or_insert_with(first);
        reason.clone_into(&mut outage.error);
        is_news
    }

    pub fn states(&self) -> Vec<(&'static str, CircuitState)> {
        let state = |circuit: &Circuit| match &circuit.open {
            None => CircuitState::Closed,
            Some(outage) => CircuitState::Open {
                since: outage.since,
                probe_at: outage.probe_at,
                error: outage.error.clone(),
            },
        };
        self.all().iter().map(|(api, circuit)| (*api, state(circuit))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    #[test]
    fn an_outage_lets_one_job_through_at_a_time() {
        let circuits = Circuits::default();
        assert_eq!(circuits.admission(at(0), &[]), Admission::Open);
        circuits.outage("cxone", "403", at(0));
        assert_eq!(circuits.admission(at(1), &[]), Admission::Closed { until: at(2) });
        assert_eq!(circuits.admission(at(2), &[]), Admission::Probe);
        // Nobody was there to go: the door stays as it is.
        assert_eq!(circuits.admission(at(2), &[]), Admission::Probe);
        circuits.probing(at(2));
        // The probe is under way: nobody follows it.
        assert!(matches!(circuits.admission(at(2), &[]), Admission::Closed { .. }));
        circuits.reached("cxone");
        assert_eq!(circuits.admission(at(3), &[]), Admission::Open);
    }

    #[test]
    fn the_gauge_shows_whether_an_api_is_closed_open_or_probed() {
        let told = Gauges::default();
        let circuits = Circuits::told_in(told.clone());
        let shown = || [GRAPH, CXONE].map(|api| told.get_or_create(&ApiLabel::of(api)).get());
        assert_eq!(shown(), [CLOSED, CLOSED]);
        circuits.outage(CXONE, "403", at(0));
        assert_eq!(shown(), [CLOSED, OPEN]);
        circuits.probing(at(2));
        assert_eq!(shown(), [CLOSED, PROBING]);
        circuits.unreachable(CXONE, "reset", at(3));
        assert_eq!(shown(), [CLOSED, OPEN]);
        circuits.probing(at(9));
        circuits.reached(CXONE);
        assert_eq!(shown(), [CLOSED, CLOSED]);
    }

    #[test]
    fn one_lost_connection_is_no_outage() {
        let circuits = Circuits::default();
        // A batch of twenty that was lost, and a few stragglers.
        for _ in 0..20 {
            circuits.unreachable("graph", "reset", at(0));
        }
        circuits.unreachable("graph", "reset", at(9));
        assert_eq!(circuits.admission(at(9), &[]), Admission::Open);
        circuits.reached("graph");
        circuits.unreachable("graph", "reset", at(10));
        assert_eq!(circuits.admission(at(10), &[]), Admission::Open);
        for second in 11..=20 {
            circuits.unreachable("graph", "reset", at(second));
        }
        assert!(matches!(circuits.admission(at(20), &[]), Admission::Closed { .. }));
    }

    #[test]
    fn a_shut_gate_holds_all_claims_until_it_opens() {
        let circuits = Circuits::default();
        assert_eq!(circuits.admission(at(0), &[None, Some(at(9))]), Admission::Closed { until: at(9) });
        assert_eq!(circuits.admission(at(9), &[None, Some(at(9))]), Admission::Open);
    }
}
