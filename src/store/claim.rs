//! The right to run a job or a chore. Only `claim` makes one and only `settle` uses it up, so nothing
//! is settled twice; one that is dropped on the way puts its job back into the queue.

use std::fmt;

use super::record::JobRecord;
use super::writer::Writer;
use super::{chores, queue};
use crate::domain::queue::{ChoreEntry, Job};

/// A job to be run now, by nobody else. Give it to [`Store::settle`](super::Store::settle); dropped
/// (by a panic, say), the job is due again at once and the attempt stays counted.
pub struct Claim {
    pub job: Job,
    /// The trace of its first news, as a W3C `traceparent`.
    pub trace: Option<String>,
    writer: Option<Writer>,
}

/// A chore to be run now. See [`Claim`].
pub struct ChoreClaim {
    pub entry: ChoreEntry,
    writer: Option<Writer>,
}

impl Claim {
    pub(super) fn new(record: JobRecord, writer: Writer) -> Self {
        let JobRecord { job, trace, .. } = record;
        Self { job, trace, writer: Some(writer) }
    }

    pub(super) fn use_up(mut self) -> Job {
        self.writer = None;
        self.job.clone()
    }
}

impl ChoreClaim {
    pub(super) fn new(entry: ChoreEntry, writer: Writer) -> Self {
        Self { entry, writer: Some(writer) }
    }

    pub(super) fn use_up(mut self) -> ChoreEntry {
        self.writer = None;
        self.entry.clone()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            let user = self.job.user;
            // A store that has failed or was closed puts the job back when it is opened.
            writer.send_work("putting a dropped job back", move |tx| queue::release(tx, user)).ok();
        }
    }
}

impl Drop for ChoreClaim {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            let chore = self.entry.chore.clone();
            writer.send_work("putting a dropped chore back", move |tx| chores::release(tx, &chore)).ok();
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.job).finish()
    }
}

impl fmt::Debug for ChoreClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChoreClaim").field(&self.entry).finish()
    }
}
