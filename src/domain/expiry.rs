//! When a credential ends, and at which of its last days somebody is told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// So many days before the end somebody is told, and when it has come.
pub const THRESHOLDS: [i64; 4] = [30, 7, 1, 0];

const DAY_S: i64 = 86_400;

/// A credential of which it is known when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// As the configuration calls it, such as `graph.client_secret`.
    pub name: String,
    /// Since when it is valid, where that is known.
    pub since: Option<Timestamp>,
    pub expires_at: Timestamp,
}

/// What was told of credentials, by their names.
pub type Told = BTreeMap<String, ToldOf>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldOf {
    pub expires_at: Timestamp,
    pub threshold: i64,
}

impl Expiry {
    /// Whole days that are left; below zero when it has ended.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.expires_at.as_second() - now.as_second()).div_euclid(DAY_S)
    }

    /// The nearest threshold that has come. One that lies in the first half of a life is none: a token
    /// that lives an hour is not about to end because a day is longer.
    fn threshold(&self, now: Timestamp) -> Option<i64> {
        let left_s = self.expires_at.as_second() - now.as_second();
        let life_s = self.since.map(|since| self.expires_at.as_second() - since.as_second());
        let counts = |days: &i64| *days == 0 || life_s.is_none_or(|life_s| 2 * days * DAY_S <= life_s);
        THRESHOLDS.into_iter().filter(counts).rfind(|days| left_s <= days * DAY_S)
    }
}

/// Of whom somebody is to be told now, and what has been told then. A new end is told of anew.
pub fn to_tell(known: &[Expiry], told: &Told, now: Timestamp) -> (Vec<Expiry>, Told) {
    let (mut tell, mut after) = (Vec::new(), Told::new());
    for expiry in known {
        let before = told.get(&expiry.name).filter(|before| before.expires_at == expiry.expires_at);
        let came = expiry.threshold(now);
        let news = came.filter(|came| before.is_none_or(|before| *came < before.threshold));
        if news.is_some() {
            tell.push(expiry.clone());
        }
        if let Some(threshold) = news.or(before.map(|before| before.threshold)) {
            after.insert(expiry.name.clone(), ToldOf { expires_at: expiry.expires_at, threshold });
        }
    }
    (tell, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + days * DAY_S).unwrap()
    }

    fn secret(ends: i64) -> Expiry {
        Expiry { name: "graph.client_secret".to_owned(), since: None, expires_at: day(ends) }
    }

    #[test]
    fn each_threshold_is_told_once() {
        let mut told = Told::new();
        let mut days = Vec::new();
        for now in 0..=105 {
            for _ in 0..2 {
                let (tell, after) = to_tell(&[secret(100)], &told, day(now));
                days.extend(tell.iter().map(|expiry| expiry.days_left(day(now))));
                told = after;
            }
        }
        assert_eq!(days, [30, 7, 1, 0]);
        // Another one in its place is told of anew.
        let (tell, after) = to_tell(&[secret(110)], &told, day(105));
        assert_eq!((tell.len(), after["graph.client_secret"].threshold), (1, 7));
        assert_eq!(to_tell(&[], &after, day(105)), (Vec::new(), Told::new()));
    }

    #[test]
    fn who_comes_late_is_told_once_and_not_of_what_has_passed() {
        let (tell, told) = to_tell(&[secret(5)], &Told::new(), day(0));
        assert_eq!((tell.len(), told["graph.client_secret"].threshold), (1, 7));
        assert_eq!(to_tell(&[secret(5)], &told, day(3)).0, []);
        assert_eq!(to_tell(&[secret(5)], &told, day(4)).0.len(), 1);
    }

    #[test]
    fn a_short_life_is_not_about_to_end_from_its_beginning_on() {
        let of = |days: i64| Expiry { since: Some(day(0)), ..secret(days) };
        assert_eq!(of(60).threshold(day(30)), Some(30));
        assert_eq!(of(59).threshold(day(30)), None);
        assert_eq!(of(14).threshold(day(7)), Some(7));
        let hour = Expiry { expires_at: Timestamp::from_second(day(0).as_second() + 3600).unwrap(), ..of(1) };
        assert_eq!((hour.threshold(day(0)), hour.threshold(day(1))), (None, Some(0)));
        assert_eq!(hour.days_left(day(1)), -1);
    }
}
