//! The queue of chores: the rules of the queue of jobs, for work that is not about one user.
//!
//! There are as many as relevant groups and a few more, so no index is kept.

use std::time::Duration;

use jiff::Timestamp;
use redb::ReadableTable;

use super::error::Fault;
use super::jobs::set_back_by;
use super::record::{ChoreRecord, decode, encode};
use super::tables::CHORES;
use super::transaction::{Reading, Writing};
use crate::domain::queue::{Chore, ChoreEntry, ChoreOutcome};

fn key(chore: &Chore) -> Vec<u8> {
    serde_json::to_vec(chore).expect("a chore cannot fail to serialise")
}

fn get(tx: &impl Reading, chore: &Chore) -> Result<Option<ChoreRecord>, Fault> {
    tx.read(CHORES)?.get(key(chore).as_slice())?.map(|value| decode(value.value())).transpose()
}

fn put(tx: &Writing, record: &ChoreRecord) -> Result<(), Fault> {
    tx.write(CHORES)?.insert(key(&record.entry.chore).as_slice(), encode(record).as_slice())?;
    Ok(())
}

/// Asks for a chore at `due_at`; one that is already there keeps the earlier time.
pub(super) fn schedule(tx: &Writing, chore: Chore, due_at: Timestamp, now: Timestamp) -> Result<(), Fault> {
    let record = scheduled(get(tx, &chore)?, chore, due_at, now);
    tx.announce();
    put(tx, &record)
}

fn scheduled(before: Option<ChoreRecord>, chore: Chore, due_at: Timestamp, now: Timestamp) -> ChoreRecord {
    let Some(ChoreRecord { mut entry, mut again_at }) = before else {
        let entry = ChoreEntry {
            chore,
            due_at,
            first_news_at: now,
            attempts: 0,
            generation: 1,
            running: false,
            last_error: None,
        };
        return ChoreRecord { entry, again_at: None };
    };
    entry.generation += 1;
    if entry.running {
        again_at = Some(again_at.map_or(due_at, |again_at| again_at.min(due_at)));
    } else if due_at < entry.due_at && entry.attempts == 0 {
        // One that waits for a retry goes on waiting: news is no reason to defeat its backoff.
        entry.due_at = due_at;
        entry.first_news_at = now;
    }
    ChoreRecord { entry, again_at }
}

pub(super) fn all(tx: &impl Reading) -> Result<Vec<ChoreRecord>, Fault> {
    tx.read(CHORES)?.iter()?.map(|entry| decode(entry?.1.value())).collect()
}

/// Brings along what was timed by a wall clock that has been set back to `now`.
pub(super) fn set_back(tx: &Writing, by: Duration, now: Timestamp) -> Result<(), Fault> {
    for mut record in all(tx)? {
        let before = record.clone();
        let entry = &mut record.entry;
        for at in [&mut entry.due_at, &mut entry.first_news_at].into_iter().chain(&mut record.again_at) {
            *at = set_back_by(*at, by, now);
        }
        if record != before {
            put(tx, &record)?;
            tx.announce();
        }
    }
    Ok(())
}

/// When the first chore is or becomes due.
pub(super) fn next_due(tx: &impl Reading, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let idle = all(tx)?.into_iter().filter(|record| !record.entry.running);
    Ok(idle.map(|record| record.entry.due_at.max(now)).min())
}

/// Takes every chore that is due. As with jobs, the attempt is counted here.
pub(super) fn claim(tx: &Writing, now: Timestamp) -> Result<Vec<ChoreEntry>, Fault> {
    let due = all(tx)?.into_iter().filter(|record| !record.entry.running && record.entry.due_at <= now);
    let mut claimed = Vec::new();
    for ChoreRecord { mut entry, .. } in due {
        entry.running = true;
        entry.attempts += 1;
        put(tx, &ChoreRecord { entry: entry.clone(), again_at: None })?;
        claimed.push(entry);
    }
    Ok(claimed)
}

pub(super) fn settle(
    tx: &Writing,
    chore: &Chore,
    outcome: ChoreOutcome,
    now: Timestamp,
) -> Result<(), Fault> {
    let Some(record) = get(tx, chore)? else { return Ok(()) };
    match settled(record, outcome, now) {
        Some(record) => {
            tx.announce();
            put(tx, &record)
        }
        None => {
            tx.write(CHORES)?.remove(key(chore).as_slice())?;
            Ok(())
        }
    }
}

fn settled(record: ChoreRecord, outcome: ChoreOutcome, now: Timestamp) -> Option<ChoreRecord> {
    let ChoreRecord { mut entry, again_at } = record;
    let earlier = |due_at: Timestamp| again_at.map_or(due_at, |again_at| again_at.min(due_at));
    entry.running = false;
    match outcome {
        ChoreOutcome::Done { next_at } => {
            entry.due_at = next_at.map(earlier).or(again_at)?;
            // A chore that only repeats keeps the time of its last news.
            if again_at.is_some() {
                entry.first_news_at = now;
            }
            entry.attempts = 0;
            entry.last_error = None;
        }
        ChoreOutcome::Again { due_at, error } => {
            entry.due_at = due_at;
            entry.last_error = Some(error);
        }
    }
    Some(ChoreRecord { entry, again_at: None })
}

/// Makes a chore due again whose claim was dropped without a settlement.
pub(super) fn release(tx: &Writing, chore: &Chore) -> Result<(), Fault> {
    if let Some(mut record) = get(tx, chore)?
        && record.entry.running
    {
        record.entry.running = false;
        record.again_at = None;
        tx.announce();
        put(tx, &record)?;
    }
    Ok(())
}

/// At the start of the process no chore can be running.
pub(super) fn release_all(tx: &Writing) -> Result<(), Fault> {
    let running = all(tx)?.into_iter().filter(|record| record.entry.running);
    running.into_iter().try_for_each(|record| release(tx, &record.entry.chore))
}
