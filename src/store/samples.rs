//! The minutes of the last two days, for the curves: how deep the queue was and how long syncs took.

use std::time::Duration;

use jiff::Timestamp;
use redb::ReadableTable;

use super::error::Fault;
use super::journal::is_past;
use super::record::{decode, encode};
use super::tables::{Instant, SAMPLES, instant, timestamp};
use super::transaction::{Reading, Writing};
use crate::domain::pulse::Sample;

/// What is older is dropped with the next one: one sample a minute makes under 3,000.
pub(super) const KEPT: Duration = Duration::from_secs(48 * 3600);

pub(super) fn add(tx: &Writing, sample: &Sample) -> Result<(), Fault> {
    let mut samples = tx.write(SAMPLES)?;
    samples.insert(&instant(sample.at), encode(sample).as_slice())?;
    // Also what is later: a clock that was set back would leave it there for ever.
    let beyond = instant(sample.at);
    samples
        .retain(|key, _| *key <= beyond && timestamp(key).is_some_and(|at| !is_past(at, KEPT, sample.at)))?;
    Ok(())
}

/// Those at or after `since`, oldest first.
pub(super) fn since(tx: &impl Reading, since: Timestamp) -> Result<Vec<Sample>, Fault> {
    let samples = tx.read(SAMPLES)?;
    let entries = samples.range::<&Instant>(&instant(since)..)?;
    entries.map(|entry| decode(entry?.1.value())).collect()
}
