//! Times on the command line and in tables.

use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp};

use crate::clock::{later, until};

/// `--since`: so long ago, or since then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Ago(Duration),
    At(Timestamp),
}

impl Since {
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
            Self::At(at) => at,
        }
    }
}

impl FromStr for Since {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        duration(text).map(Self::Ago).map_err(|_| {
            format!("{text:?} is neither a duration such as 2h or 7d nor a time such as 2026-11-23T10:00:00Z")
        })
    }
}

/// `--until`: for so long, or until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    In(Duration),
    At(Timestamp),
}

impl Until {
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::In(length) => later(now, length),
            Self::At(at) => at,
        }
    }
}

impl FromStr for Until {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        duration(text).map(Self::In).map_err(|_| {
            format!("{text:?} is neither a duration such as 4h or 3d nor a time such as 2026-11-23T10:00:00Z")
        })
    }
}

/// A length of time such as `90s`, `2h` or `7d`; a day is 24 hours.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 90s, 2h or 7d");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

/// How long ago `then` was, or how far away it is, roughly: `12s`, `3h`, `in 4m`.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    if then > now { format!("in {}", rough(until(now, then))) } else { rough(until(then, now)) }
}

/// As [`age`], for sentences: `12s ago`, `in 4m`.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    if then > now { age(now, then) } else { age(now, then) + " ago" }
}

/// A length of time in its largest unit: `250ms`, `12s`, `4m`, `3h`, `2d`.
pub fn rough(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        s @ 1..=119 => format!("{s}s"),
        s @ 120..=7199 => format!("{}m", s / 60),
        s @ 7200..=172_799 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// A moment to the second, in UTC.
pub fn moment(at: Timestamp) -> String {
    format!("{at:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_duration_or_a_moment() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2h", "2026-11-23T08:00:00Z"),
            ("7d", "2026-11-16T10:00:00Z"),
            ("1h30m", "2026-11-23T08:30:00Z"),
            ("2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z"),
            ("2026-11-20T00:00:00+02:00", "2026-11-19T22:00:00Z"),
        ] {
            assert_eq!(text.parse::<Since>().unwrap().resolve(now).to_string(), expected, "{text}");
        }
        for wrong in ["", "2", "soon", "-2h", "2026-11-20", "2 months"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn until_is_a_duration_from_now_or_a_moment() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        for (text, expected) in
            [("4h", "2026-11-23T14:00:00Z"), ("2026-11-30T00:00:00Z", "2026-11-30T00:00:00Z")]
        {
            assert_eq!(text.parse::<Until>().unwrap().resolve(now).to_string(), expected, "{text}");
        }
        assert!("friday".parse::<Until>().is_err());
    }

    #[test]
    fn ages_are_rough_and_know_the_future() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        for (then, expected) in
            [(0, "0ms"), (-59, "59s"), (-300, "5m"), (-7200, "2h"), (-200_000, "2d"), (240, "in 4m")]
        {
            assert_eq!(age(at(0), at(then)), expected);
        }
        assert_eq!(moment("2026-11-23T10:00:00.987654Z".parse().unwrap()), "2026-11-23T10:00:00Z");
    }
}
