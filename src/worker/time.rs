//! Two clocks: the guard's, which only runs while the service does, and the one on the wall, which
//! somebody may set. And what is kept of every minute, for the curves.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::OnceCell;
use tracing::warn;

use super::Worker;
use crate::clock::until;
use crate::domain::pulse::Sample;
use crate::store;

/// How often the clocks and a sample are written down. What runs between that and a crash does not count.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);
/// The latest time that the wall clock was seen to show.
const WALL_CLOCK_MEMO: &str = "wall_clock";
/// Less than this may be two machines that disagree, and harms nobody.
const SET_BACK: Duration = Duration::from_secs(60);

/// Where the guard's clock stood in the store, and how long ours had run then.
#[derive(Debug, Default)]
pub struct GuardClock(OnceCell<(Duration, Duration)>);

impl Worker {
    pub(super) async fn guard_clock(&self) -> Result<Duration, store::Error> {
        let begun = || async { Ok((self.store.guard_clock().await?, self.clock.uptime())) };
        let (stored, since) = *self.running.guard_clock.0.get_or_try_init(begun).await?;
        Ok(stored + self.clock.uptime().saturating_sub(since))
    }

    /// Writes the clocks down until shutdown. An error of the store ends it.
    pub async fn keep_time(self) -> anyhow::Result<()> {
        while !self.shutdown.is_requested() {
            self.follow_wall_clock().await?;
            tokio::select! {
                () = self.clock.sleep(WRITTEN_EVERY) => {}
                () = self.shutdown.requested() => {}
            }
            let run = self.guard_clock().await?;
            self.store.run_guard_clock(run).await?;
            self.keep_sample().await?;
        }
        Ok(())
    }

    /// A change is in CXone so long after its first news.
    pub(super) fn confirmed_after(&self, lag: Duration) {
        self.metrics.event_lag.observe(lag.as_secs_f64());
        self.running.lags.lock().expect("no panic while the lags are held").add(lag);
    }

    async fn keep_sample(&self) -> Result<(), store::Error> {
        let at = self.clock.now();
        let depth = self.store.depth(at).await?;
        let lags = std::mem::take(&mut *self.running.lags.lock().expect("no panic while the lags are held"));
        self.store.add_sample(Sample { at, depth, lags }).await
    }

    /// What was put off until a time of the wall clock would wait for as long as it is set back.
    async fn follow_wall_clock(&self) -> Result<(), store::Error> {
        let now = self.clock.now();
        let seen = self.store.memo(WALL_CLOCK_MEMO).await?.and_then(|at| at.parse::<Timestamp>().ok());
        let by = seen.map_or(Duration::ZERO, |seen| until(now, seen));
        if by > SET_BACK {
            warn!(
                by_s = by.as_secs(),
                "the clock was set back by {} s: what waits for it is due as much earlier",
                by.as_secs()
            );
            self.store.set_back(by, now).await?;
        }
        self.store.set_memo(WALL_CLOCK_MEMO, &now.to_string()).await
    }
}
