//! The simulators' own clock: real, shifted, or standing still until it is moved.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// .NET counts 100 ns from the year 1; this is where the Unix epoch lies on that scale.
const UNIX_EPOCH_TICKS: i64 = 621_355_968_000_000_000;

/// Says what time it is for a simulator: when tokens, subscriptions and delta links end, and what a
/// lagging replica shows. Clones share one hand.
#[derive(Clone, Debug)]
pub struct SimClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Timestamp,
    runs_since: Option<Instant>,
    ahead: Mutex<Duration>,
}

impl SimClock {
    /// Follows the real time, plus what [`SimClock::advance`] adds.
    #[expect(
        clippy::disallowed_methods,
        reason = "a simulator has a clock of its own; this is its one place"
    )]
    pub fn system() -> Self {
        Self::new(Timestamp::now(), Some(Instant::now()))
    }

    /// Stands at `start` until [`SimClock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self::new(start, None)
    }

    fn new(start: Timestamp, runs_since: Option<Instant>) -> Self {
        Self(Arc::new(Inner { start, runs_since, ahead: Mutex::new(Duration::ZERO) }))
    }

    pub fn now(&self) -> Timestamp {
        let run = self.0.runs_since.map_or(Duration::ZERO, |since| since.elapsed());
        let ahead = *self.0.ahead.lock().expect("no panic while the clock is held");
        self.0.start + run + ahead
    }

    /// Moves the hand forward for everybody who shares this clock.
    pub fn advance(&self, by: Duration) {
        *self.0.ahead.lock().expect("no panic while the clock is held") += by;
    }
}

/// 100 ns units since 0001-01-01, the unit of Graph's `sequenceNumber`: above 2^53.
pub(super) fn ticks(instant: Timestamp) -> i64 {
    UNIX_EPOCH_TICKS + i64::try_from(instant.as_nanosecond() / 100).expect("this century fits")
}

/// `2026-11-20T10:11:12.1234567Z` for the same instant as `ticks`.
pub(super) fn seven_digits(ticks: i64) -> String {
    let nanoseconds = i128::from(ticks - UNIX_EPOCH_TICKS) * 100;
    let instant = Timestamp::from_nanosecond(nanoseconds).expect("made from a timestamp");
    format!("{}.{:07}Z", instant.strftime("%Y-%m-%dT%H:%M:%S"), instant.subsec_nanosecond() / 100)
}

/// `2026-11-20T10:11:12Z`.
pub(super) fn seconds(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_digits_are_those_of_a_real_notification() {
        // The pair of a notification published in 2021.
        let instant: Timestamp = "2021-07-26T02:40:12.0385565Z".parse().unwrap();
        assert_eq!(ticks(instant), 637_628_640_120_385_565);
        assert_eq!(seven_digits(ticks(instant)), "2021-07-26T02:40:12.0385565Z");
    }
}
