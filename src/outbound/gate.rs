//! "Do not ask before …": one word of the neighbour that holds for everybody in the process.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::clock::{later, until};

/// Taken when the neighbour is overloaded and does not say for how long.
const UNSAID: Duration = Duration::from_secs(2);
/// A longer wait is taken for a mistake: the neighbour is asked again after this.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

#[derive(Debug, Default)]
pub struct Gate(Mutex<Option<Timestamp>>);

impl Gate {
    pub fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        let closed = self.0.lock().expect("no panic while the gate is held");
        // A wall clock set back must not lengthen the wait beyond what can have been asked for.
        closed.filter(|until| *until > now && *until <= later(now, LONGEST))
    }

    /// Closes the gate; an earlier, longer word stays in force. Returns when it opens.
    pub fn close(&self, now: Timestamp, wait: Option<Duration>) -> Timestamp {
        let mut closed = self.0.lock().expect("no panic while the gate is held");
        let asked = later(now, wait.unwrap_or(UNSAID).min(LONGEST));
        let opens = closed.map_or(asked, |earlier| earlier.max(asked));
        *closed = Some(opens);
        opens
    }
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3). Nonsense is `None`.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    Some(until(now, http_date(value)?).min(LONGEST))
}

/// What time it was for the neighbour when it answered (RFC 9110, 6.6.1).
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?.trim())
}

fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &'static str, expected: Option<u64>) {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value:?}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        check("7", Some(7));
        check("0", Some(0));
        check("-3", None);
        check("1000000000", Some(6 * 3600));
        check("soon", None);
        check("Mon, 23 Nov 2026 10:00:30 GMT", Some(30));
        check("Mon, 23 Nov 2026 09:00:00 GMT", Some(0));
    }

    #[test]
    fn the_longest_word_stands_and_the_gate_opens_by_itself() {
        let gate = Gate::default();
        let now = Timestamp::UNIX_EPOCH;
        let after = |seconds| later(now, Duration::from_secs(seconds));
        assert_eq!(gate.closed_until(now), None);
        gate.close(now, Some(Duration::from_secs(30)));
        gate.close(now, Some(Duration::from_secs(5)));
        assert_eq!(gate.closed_until(after(29)), Some(after(30)));
        assert_eq!(gate.closed_until(after(30)), None);
    }
}
