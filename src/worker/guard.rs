//! The guard's clock, which only runs while the service does.

use std::time::Duration;

use tokio::sync::OnceCell;

use super::Worker;
use crate::store;

/// How often the clock is written down. What runs between that and a crash does not count.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);

/// Where the clock stood in the store, and how long ours had run then.
#[derive(Debug, Default)]
pub struct GuardClock(OnceCell<(Duration, Duration)>);

impl Worker {
    pub(super) async fn guard_clock(&self) -> Result<Duration, store::Error> {
        let begun = || async { Ok((self.store.guard_clock().await?, self.clock.uptime())) };
        let (stored, since) = *self.running.guard_clock.0.get_or_try_init(begun).await?;
        Ok(stored + self.clock.uptime().saturating_sub(since))
    }

    /// Writes the guard's clock down until shutdown. An error of the store ends it.
    pub async fn keep_guard_clock(self) -> anyhow::Result<()> {
        while !self.shutdown.is_requested() {
            tokio::select! {
                () = self.clock.sleep(WRITTEN_EVERY) => {}
                () = self.shutdown.requested() => {}
            }
            let run = self.guard_clock().await?;
            self.store.run_guard_clock(run).await?;
        }
        Ok(())
    }
}
