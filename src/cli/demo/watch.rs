//! Watches the changes arrive, from outside the service.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::compare::Judge;
use super::people::Told;

/// How often both sides are compared while changes are under way: the precision of the latencies.
const TICK: Duration = Duration::from_millis(10);

/// Changes that have not arrived, and how long those took that have.
pub struct Watch {
    judge: Judge,
    /// Per user: the first change that has not arrived.
    under_way: HashMap<String, Change>,
    lags: Vec<Duration>,
}

struct Change {
    made_at: Instant,
    what: String,
    /// Both sides were found to differ: only then is there something to arrive.
    seen: bool,
}

impl Watch {
    pub fn new(judge: Judge) -> Self {
        Self { judge, under_way: HashMap::new(), lags: Vec::new() }
    }

    /// A change was just made. Further changes of a user whose first has not arrived count from the
    /// first.
    pub fn made(&mut self, told: Told, at: Instant) {
        self.under_way.entry(told.user).or_insert(Change { made_at: at, what: told.what, seen: false });
    }

    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Looks once, to be called right after a change was made, too; `arrived` hears of every change
    /// that is there now.
    pub fn look(&mut self, mut arrived: impl FnMut(&str, Duration)) {
        let (accounts, given) = (self.judge.accounts(), self.judge.given());
        let (judge, lags) = (&self.judge, &mut self.lags);
        self.under_way.retain(|user, change| {
            let there = judge.difference(user, &accounts, &given).is_none();
            // A change that makes no difference in CXone, such as a new address of somebody who is
            // disabled, has nothing to arrive and is not counted.
            if there && change.seen {
                let lag = change.made_at.elapsed();
                arrived(&change.what, lag);
                lags.push(lag);
            }
            change.seen = true;
            !there
        });
    }

    /// Looks until everything has arrived, or `deadline`.
    pub async fn until_all_there(&mut self, deadline: Instant, mut arrived: impl FnMut(&str, Duration)) {
        while !self.under_way.is_empty() && Instant::now() < deadline {
            self.look(&mut arrived);
            tokio::time::sleep(TICK).await;
        }
    }

    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// The latencies so far, sorted; the next call begins anew.
    pub fn take_lags(&mut self) -> Vec<Duration> {
        let mut lags = std::mem::take(&mut self.lags);
        lags.sort();
        lags
    }
}

/// The value that `share` of the sorted ones do not exceed (nearest rank).
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 0.50), Duration::from_millis(5));
        assert_eq!(percentile(&sorted, 0.95), Duration::from_millis(10));
        assert_eq!(percentile(&sorted[..1], 0.99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
