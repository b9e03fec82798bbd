//! Keeps deactivations within their budget, those under way included.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::domain::guard::{DAY, HOUR, Usage, over};
use crate::domain::queue::{GUARD, Job, Operation, Reason};
use crate::store;

use super::Worker;

/// Deactivations that passed the guard and are not in the history yet.
#[derive(Debug, Default)]
pub struct UnderWay {
    /// One asks at a time, or two would take the same last place.
    asking: Mutex<()>,
    passed: Arc<AtomicU64>,
}

/// One place within the budget, given back when dropped: also when the run that had it panicked.
#[derive(Debug)]
#[must_use]
pub struct Pass(Arc<AtomicU64>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Worker {
    /// Asks for one more deactivation. `Err` says which bound it would break. What an operator asks
    /// for, user by user, is approved by that.
    pub(super) async fn pass_guard(&self, job: &Job) -> Result<Result<Pass, String>, store::Error> {
        let UnderWay { asking, passed } = &self.running.guard;
        let _one_at_a_time = asking.lock().await;
        if job.reason != Reason::Operator {
            if job.stopped.as_deref() == Some(GUARD) {
                // Held once, held until an operator lets it go: room that frees by the hour is no
                // approval.
                return Ok(Err(job
                    .last_error
                    .clone()
                    .unwrap_or_else(|| "held by the guard before".to_owned())));
            }
            let usage = self.usage(passed.load(Ordering::SeqCst)).await?;
            if let Some(reason) = over(&self.settings.deactivations, &usage) {
                return Ok(Err(reason));
            }
        }
        passed.fetch_add(1, Ordering::SeqCst);
        Ok(Ok(Pass(passed.clone())))
    }

    async fn usage(&self, under_way: u64) -> Result<Usage, store::Error> {
        let now = self.clock.now();
        let ago = |span| now.checked_sub(span).unwrap_or(Timestamp::MIN);
        Ok(Usage {
            last_hour: self.store.count_writes(Operation::Deactivate, ago(HOUR)).await? + under_way,
            last_day: self.store.count_writes(Operation::Deactivate, ago(DAY)).await? + under_way,
            linked_users: self.store.links_count().await?,
        })
    }
}
