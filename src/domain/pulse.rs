//! How the service did lately: what is kept of each minute, and the curve that is drawn of it.
//!
//! Lags are counted in buckets, each a tenth wider than the one before: minutes can be added up, and a
//! percentile of any stretch of time is right to within a tenth, whatever the number of syncs.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::queue::Depth;

/// How often one bucket is wider than the one before.
const GROWTH: f64 = 1.1;
/// Up to here everything is in the first bucket.
const SHORTEST_MS: f64 = 1.0;
/// The last bucket: a lag of more than a month is a month.
const LAST: u16 = 228;

/// Counts of lags, from the first news of a change to its confirmation in CXone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lags(BTreeMap<u16, u64>);

impl Lags {
    pub fn add(&mut self, lag: Duration) {
        let steps = (lag.as_secs_f64() * 1000.0 / SHORTEST_MS).max(1.0).log(GROWTH);
        let bucket = if steps >= f64::from(LAST) { LAST } else { steps as u16 };
        *self.0.entry(bucket).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (bucket, n) in &other.0 {
            let known = self.0.entry(*bucket).or_default();
            *known = known.saturating_add(*n);
        }
    }

    pub fn n(&self) -> u64 {
        self.0.values().fold(0, |n, more| n.saturating_add(*more))
    }

    /// The lag that `share` (0 to 1) of them did not exceed, to within a tenth; `None` of nothing.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = (self.n() as f64 * share).ceil().max(1.0) as u64;
        let mut below = 0_u64;
        let bucket = self.0.iter().find_map(|(bucket, n)| {
            below = below.saturating_add(*n);
            (below >= rank).then_some(*bucket)
        })?;
        // The middle of the bucket, in the sense of its growth.
        let ms = SHORTEST_MS * GROWTH.powf(f64::from(bucket) + 0.5);
        Some(Duration::from_secs_f64(ms / 1000.0))
    }
}

/// One look at the queue, and the lags of what was confirmed since the look before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub at: Timestamp,
    pub depth: Depth,
    pub lags: Lags,
}

/// A stretch of time on the curve. Of a stretch in which the service did not run everything is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// When the stretch begins.
    pub at: Timestamp,
    /// The most there were in it, due and running together.
    pub open: Option<u64>,
    pub waiting: Option<u64>,
    pub parked: Option<u64>,
    pub held: Option<u64>,
    /// Writes confirmed.
    pub n: u64,
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
}

/// The `n` stretches of `step` that end at `now`, from samples in any order.
pub fn curve(samples: &[Sample], now: Timestamp, step: Duration, n: usize) -> Vec<Point> {
    let step_ms = i64::try_from(step.as_millis()).expect("a step is short").max(1);
    let begin_ms = now.as_millisecond() - step_ms * i64::try_from(n).expect("few points");
    let mut lags = vec![Lags::default(); n];
    let begin = |i: usize| begin_ms + step_ms * i64::try_from(i).expect("few points");
    let mut points: Vec<Point> = (0..n)
        .map(|i| Point {
            at: Timestamp::from_millisecond(begin(i)).unwrap_or(Timestamp::MIN),
            open: None,
            waiting: None,
            parked: None,
            held: None,
            n: 0,
            p50_ms: None,
            p95_ms: None,
        })
        .collect();
    for sample in samples {
        // A sample tells of the minute before it, so one taken at `now` belongs to the last stretch.
        let Ok(after) = usize::try_from((sample.at.as_millisecond() - begin_ms - 1).div_euclid(step_ms))
        else {
            continue;
        };
        let (Some(point), Some(lags)) = (points.get_mut(after), lags.get_mut(after)) else { continue };
        let most = |known: Option<u64>, n: u64| Some(known.unwrap_or(0).max(n));
        point.open = most(point.open, sample.depth.due + sample.depth.running);
        point.waiting = most(point.waiting, sample.depth.waiting);
        point.parked = most(point.parked, sample.depth.parked);
        point.held = most(point.held, sample.depth.held);
        lags.merge(&sample.lags);
    }
    for (point, lags) in points.iter_mut().zip(lags) {
        let ms = |share| lags.percentile(share).map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
        (point.n, point.p50_ms, point.p95_ms) = (lags.n(), ms(0.50), ms(0.95));
    }
    points
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lags(ms: impl IntoIterator<Item = u64>) -> Lags {
        let mut lags = Lags::default();
        ms.into_iter().for_each(|ms| lags.add(Duration::from_millis(ms)));
        lags
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn sample(seconds: i64, due: u64, ms: &[u64]) -> Sample {
        let depth = Depth { due, running: 1, parked: 2, ..Depth::default() };
        Sample { at: at(seconds), depth, lags: lags(ms.iter().copied()) }
    }

    proptest! {
        #[test]
        fn a_percentile_is_right_to_within_a_tenth(
            mut ms in prop::collection::vec(1_u64..2_000_000_000, 1..200), share in 0.01_f64..=1.0
        ) {
            let told = lags(ms.iter().copied()).percentile(share).unwrap().as_secs_f64() * 1000.0;
            ms.sort_unstable();
            let rank = ((ms.len() as f64 * share).ceil() as usize).max(1);
            let exact = ms[rank - 1] as f64;
            prop_assert!((told / exact - 1.0).abs() < 0.1, "{told} for {exact}");
        }

        #[test]
        fn adding_up_is_counting_together(a in prop::collection::vec(0_u64..9_000, 0..50), b in prop::collection::vec(0_u64..9_000, 0..50)) {
            let mut sum = lags(a.iter().copied());
            sum.merge(&lags(b.iter().copied()));
            prop_assert_eq!(sum, lags(a.into_iter().chain(b)));
        }
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_place() {
        assert_eq!(Lags::default().percentile(0.5), None);
        assert!(lags([0]).percentile(0.5).unwrap() < Duration::from_millis(2));
        let ages = lags([u64::MAX]).percentile(0.5).unwrap();
        assert!(ages > Duration::from_secs(30 * 86_400), "{ages:?}");
    }

    #[test]
    fn each_sample_counts_in_the_stretch_before_it() {
        let samples =
            [sample(0, 9, &[1]), sample(1, 4, &[100]), sample(60, 7, &[100, 100, 900]), sample(61, 0, &[])];
        let curve = curve(&samples, at(120), Duration::from_secs(60), 3);
        let shown: Vec<_> = curve.iter().map(|point| (point.open, point.parked, point.n)).collect();
        assert_eq!(shown, [(Some(10), Some(2), 1), (Some(8), Some(2), 4), (Some(1), Some(2), 0)]);
        assert_eq!(curve[1].at, at(0));
        let (p50, p95) = (curve[1].p50_ms.unwrap(), curve[1].p95_ms.unwrap());
        assert!((90..=110).contains(&p50) && (810..=990).contains(&p95), "{p50} {p95}");
        assert_eq!((curve[2].p50_ms, curve[2].p95_ms), (None, None));
    }

    #[test]
    fn a_time_without_the_service_is_a_gap() {
        let curve = curve(&[sample(500, 1, &[5])], at(120), Duration::from_secs(60), 2);
        assert!(curve.iter().all(|point| point.open.is_none() && point.n == 0), "{curve:?}");
    }
}
