//! How much of what changes is announced by a notification, and how often to poll for the rest. Pure.
//!
//! What a delta round shows and nobody had told us is only in doubt at first: notifications lag by
//! seconds and now and then by minutes, so that a change made just before the poll looks like a lost
//! one. It counts as missed when no notification for the user has come within [`GRACE`] after the
//! round; one that comes in time makes it an announced change like any other.
//!
//! A user is taken as announced by any notification since shortly before the last round: which of two
//! changes of one user it was about cannot be told.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::user::UserId;

/// A notification that comes later than this after the poll is as good as lost: the poll was sooner.
pub const GRACE: Duration = Duration::from_secs(5 * 60);
/// Less than this share announced is too little, and the poll steps in.
pub const ENOUGH: f64 = 0.95;
/// So many changes are remembered at most, and none for longer.
const MOST_CHANGES: u64 = 1000;
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);
/// So many are in doubt at once at most; more are neither announced nor missed.
const MOST_DOUBTS: usize = 10_000;

/// What is remembered of the recent changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Coverage {
    /// The oldest first.
    tallies: VecDeque<Tally>,
    doubts: Vec<Doubt>,
    /// How often the poll is asked for at present; `None` before it was ever tuned.
    interval_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    at: Timestamp,
    known: u64,
    missed: u64,
}

/// A change that a round showed and no notification has announced yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Doubt {
    user: UserId,
    at: Timestamp,
}

/// What one delta round showed, but for a full one, which shows everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Users whose change no job and no link knew.
    pub news: BTreeSet<UserId>,
    /// The other users on its pages.
    pub others: BTreeSet<UserId>,
}

/// Between which bounds the poll is tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub least: Duration,
    pub most: Duration,
}

impl Coverage {
    /// Who is in doubt, and since when the longest.
    pub fn in_doubt(&self) -> (BTreeSet<UserId>, Option<Timestamp>) {
        (self.doubts.iter().map(|doubt| doubt.user).collect(), self.doubts.iter().map(|doubt| doubt.at).min())
    }

    /// When the first doubt can be decided.
    pub fn verdict_at(&self) -> Option<Timestamp> {
        self.doubts.iter().map(|doubt| after(doubt.at, GRACE)).min()
    }

    /// Takes in what a round showed and whom notifications have announced: of those on its pages, and of
    /// those in doubt. How many changes turned out to be missed. Tunes the interval of the poll.
    pub fn learn(
        &mut self,
        shown: &Shown,
        announced: &BTreeSet<UserId>,
        bounds: Bounds,
        now: Timestamp,
    ) -> u64 {
        let on_pages = shown.news.union(&shown.others).filter(|user| announced.contains(user)).count() as u64;
        let (mut late, mut missed) = (0, 0);
        self.doubts.retain(|doubt| {
            if announced.contains(&doubt.user) {
                late += 1;
            } else if after(doubt.at, GRACE) <= now {
                missed += 1;
            } else {
                return true;
            }
            false
        });
        let (doubted, _) = self.in_doubt();
        let room = MOST_DOUBTS.saturating_sub(self.doubts.len());
        let new = shown.news.iter().filter(|user| !announced.contains(user) && !doubted.contains(user));
        self.doubts.extend(new.take(room).map(|user| Doubt { user: *user, at: now }));

        // A late one may be on the pages again; it is one change.
        let tally = Tally { at: now, known: on_pages.max(late), missed };
        if tally.known + tally.missed > 0 {
            self.tallies.push_back(tally);
        }
        self.forget(now);
        self.tune(tally, bounds);
        missed
    }

    fn forget(&mut self, now: Timestamp) {
        let (known, missed) = self.counts();
        let mut n_changes = known + missed;
        while let Some(oldest) = self.tallies.front() {
            let n = oldest.known + oldest.missed;
            // One round may hold more than is remembered; it is the least that can be.
            let is_more = n_changes > MOST_CHANGES && self.tallies.len() > 1;
            if !is_more && after(oldest.at, REMEMBERED_FOR) >= now {
                break;
            }
            n_changes -= n;
            self.tallies.pop_front();
        }
    }

    /// Too many missed: as often as may be. Each round that brings proof of recovery, and nothing to
    /// doubt, doubles the interval again.
    fn tune(&mut self, latest: Tally, bounds: Bounds) {
        let present = self.poll_interval(bounds);
        let ratio = self.ratio();
        let recovers = latest.missed == 0 && self.doubts.is_empty() && (latest.known > 0 || ratio.is_none());
        let tuned = if latest.missed > 0 && ratio.is_some_and(|ratio| ratio < ENOUGH) {
            bounds.least
        } else if recovers {
            present.saturating_mul(2).min(bounds.most)
        } else {
            present
        };
        self.interval_ms = Some(u64::try_from(tuned.as_millis()).unwrap_or(u64::MAX));
    }

    pub fn poll_interval(&self, bounds: Bounds) -> Duration {
        let Bounds { least, most } = bounds;
        self.interval_ms.map_or(most, |ms| Duration::from_millis(ms).clamp(least.min(most), most))
    }

    /// As it was last tuned.
    pub fn last_interval(&self) -> Option<Duration> {
        self.interval_ms.map(Duration::from_millis)
    }

    /// Announced and missed, of those remembered.
    pub fn counts(&self) -> (u64, u64) {
        self.tallies
            .iter()
            .fold((0, 0), |(known, missed), tally| (known + tally.known, missed + tally.missed))
    }

    /// The share of the remembered changes that was announced; `None` when nothing is remembered.
    pub fn ratio(&self) -> Option<f64> {
        let (known, missed) = self.counts();
        (known + missed > 0).then(|| known as f64 / (known + missed) as f64)
    }
}

fn after(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
