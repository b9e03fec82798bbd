//! The history: every write to CXone, with before and after.

use std::time::Duration;

use jiff::Timestamp;
use redb::ReadableTable;

use super::error::Fault;
use super::journal::is_past;
use super::record::{decode, encode};
use super::tables::{
    APPLIED, HISTORY, HISTORY_OF_USER, applied_key, history_key, timestamp, user_history_key,
};
use super::transaction::{Reading, Writing};
use crate::domain::queue::{Operation, Write, WriteResult};
use crate::domain::user::UserId;

pub(super) fn append(tx: &Writing, writes: &[Write]) -> Result<(), Fault> {
    if writes.is_empty() {
        return Ok(());
    }
    let mut history = tx.write(HISTORY)?;
    let mut of_user = tx.write(HISTORY_OF_USER)?;
    let mut applied = tx.write(APPLIED)?;
    for write in writes {
        // Several writes of a user at one instant (a clock that stands still) are told apart by a
        // number; beyond 255 of them the last is overwritten.
        let mut number = 0;
        while number < u8::MAX && history.get(&history_key(write.at, write.user, number))?.is_some() {
            number += 1;
        }
        let key = history_key(write.at, write.user, number);
        history.insert(&key, encode(write).as_slice())?;
        of_user.insert(&user_history_key(write.user, write.at, number), [].as_slice())?;
        // What may have been carried out counts; only a refusal surely was not.
        if !matches!(write.result, WriteResult::Refused { .. }) {
            applied.insert(&applied_key(write.operation, &key), [].as_slice())?;
        }
    }
    Ok(())
}

/// Writes, newest first.
pub(super) fn history(
    tx: &impl Reading,
    user: Option<UserId>,
    since: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<Write>, Fault> {
    let since = since.unwrap_or(Timestamp::MIN);
    let history = tx.read(HISTORY)?;
    let Some(user) = user else {
        let from = history_key(since, UserId::from_bytes([0; 16]), 0);
        let entries = history.range::<&[u8; 33]>(&from..)?.rev().take(limit);
        return entries.map(|entry| decode(entry?.1.value())).collect();
    };
    let (from, to) = (user_history_key(user, since, 0), user_history_key(user, Timestamp::MAX, u8::MAX));
    let of_user = tx.read(HISTORY_OF_USER)?;
    let mut writes = Vec::new();
    for entry in of_user.range::<&[u8; 33]>(&from..=&to)?.rev().take(limit) {
        let (key, _) = entry?;
        let key = key.value();
        let at = timestamp(&key[16..32]).unwrap_or(Timestamp::MIN);
        if let Some(write) = history.get(&history_key(at, user, key[32]))? {
            writes.push(decode(write.value())?);
        }
    }
    Ok(writes)
}

/// How many writes of a kind were applied at or after `since`.
pub(super) fn count(tx: &impl Reading, operation: Operation, since: Timestamp) -> Result<u64, Fault> {
    let from = applied_key(operation, &history_key(since, UserId::from_bytes([0; 16]), 0));
    let to = applied_key(operation, &[u8::MAX; 33]);
    let mut n_writes = 0;
    for entry in tx.read(APPLIED)?.range::<&[u8; 34]>(&from..=&to)? {
        entry?;
        n_writes += 1;
    }
    Ok(n_writes)
}

/// Drops up to `limit` of the oldest writes that are past their time. Whether there may be more.
pub(super) fn prune(tx: &Writing, keep: Duration, limit: usize, now: Timestamp) -> Result<bool, Fault> {
    let mut old = Vec::new();
    for entry in tx.read(HISTORY)?.iter()?.take(limit) {
        let (key, write) = entry?;
        let at = timestamp(&key.value()[..16]).unwrap_or(Timestamp::MIN);
        if !is_past(at, keep, now) {
            break;
        }
        old.push((*key.value(), decode::<Write>(write.value())?));
    }
    if old.is_empty() {
        return Ok(false);
    }
    let mut history = tx.write(HISTORY)?;
    let mut of_user = tx.write(HISTORY_OF_USER)?;
    let mut applied = tx.write(APPLIED)?;
    for (key, write) in &old {
        history.remove(key)?;
        of_user.remove(&user_history_key(write.user, write.at, key[32]))?;
        applied.remove(&applied_key(write.operation, key))?;
    }
    Ok(old.len() == limit)
}
