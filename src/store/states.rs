//! What was seen of each user: a new state only where something differs from the one before.
//!
//! A state is in force until the next one of its user. `STATE_ENDS` says from when on one may be of no
//! use any more, so that pruning need not go through the states of everybody.

use std::time::Duration;

use jiff::Timestamp;
use redb::ReadableTable;

use super::error::Fault;
use super::journal::is_past;
use super::links;
use super::record::{decode, encode};
use super::tables::{STATE_ENDS, STATES, StateKey, state_end_key, state_key, state_of, timestamp};
use super::transaction::{Reading, Writing};
use crate::domain::queue::LinkChange;
use crate::domain::seen::SeenState;
use crate::domain::user::UserId;

/// What a user was seen as since a moment: the state in force then, and the later ones.
pub type SeenStates = (UserId, Vec<SeenState>);

/// Keeps what a run saw, if it is news. To be called after the link has been changed.
pub(super) fn record(
    tx: &Writing,
    user: UserId,
    seen: Option<&SeenState>,
    link: &LinkChange,
    now: Timestamp,
) -> Result<(), Fault> {
    let newest = in_force(tx, user, Timestamp::MAX)?;
    let is_news = |seen: &&SeenState| !newest.as_ref().is_some_and(|newest| newest.shows_the_same_as(seen));
    let Some(seen) = seen.filter(is_news) else {
        if let (Some(newest), LinkChange::Remove) = (&newest, link) {
            tx.write(STATE_ENDS)?.insert(&state_end_key(now, user, newest.at), [].as_slice())?;
        }
        return Ok(());
    };
    let is_linked = links::link(tx, user)?.is_some();
    // By a clock that was set back a new state would come before an older one.
    let at = newest.as_ref().map_or(seen.at, |newest| newest.at.max(seen.at));
    let seen = SeenState { at, ..seen.clone() };
    tx.write(STATES)?.insert(&state_key(user, at), encode(&seen).as_slice())?;
    let mut ends = tx.write(STATE_ENDS)?;
    if let Some(newest) = newest.filter(|newest| newest.at < at) {
        ends.insert(&state_end_key(at, user, newest.at), [].as_slice())?;
    }
    if !is_linked {
        // Nobody may ever look at the user again.
        ends.insert(&state_end_key(at, user, at), [].as_slice())?;
    }
    Ok(())
}

/// The state that was the newest at this time.
pub(super) fn in_force(tx: &impl Reading, user: UserId, at: Timestamp) -> Result<Option<SeenState>, Fault> {
    let (from, to) = (state_key(user, Timestamp::MIN), state_key(user, at));
    let states = tx.read(STATES)?;
    let last = states.range::<&StateKey>(&from..=&to)?.next_back().transpose()?;
    last.map(|(_, state)| decode(state.value())).transpose()
}

/// Users in order, from the one after `after` on, each with the state in force at `since` and those
/// after it. A user without any such state is left out.
pub(super) fn since(
    tx: &impl Reading,
    since: Timestamp,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<SeenStates>, Fault> {
    let states = tx.read(STATES)?;
    let mut found = Vec::new();
    let mut from = after.map_or([0; 32], |after| state_key(after, Timestamp::MAX));
    while found.len() < limit {
        // No state is as late as the end of time, so the key there is nobody's.
        let Some(entry) = states.range::<&StateKey>(&from..)?.next() else { break };
        let (user, _) = state_of(entry?.0.value());
        let (last, end) = (state_key(user, since), state_key(user, Timestamp::MAX));
        let first = states.range::<&StateKey>(&state_key(user, Timestamp::MIN)..=&last)?.next_back();
        let start = first.transpose()?.map_or(last, |(key, _)| *key.value());
        let of_user = states.range::<&StateKey>(&start..=&end)?;
        let of_user: Vec<SeenState> =
            of_user.map(|entry| decode(entry?.1.value())).collect::<Result<_, Fault>>()?;
        if !of_user.is_empty() {
            found.push((user, of_user));
        }
        from = end;
    }
    Ok(found)
}

/// Looks at up to `limit` states whose time may be over, and drops those that were replaced before the
/// time that is kept, and those of users who are linked to nobody any more. Whether there may be more.
pub(super) fn prune(tx: &Writing, keep: Duration, limit: usize, now: Timestamp) -> Result<bool, Fault> {
    let mut over = Vec::new();
    for entry in tx.read(STATE_ENDS)?.iter()?.take(limit) {
        let (key, _) = entry?;
        if !is_past(timestamp(&key.value()[..16]).unwrap_or(Timestamp::MIN), keep, now) {
            break;
        }
        over.push(*key.value());
    }
    if over.is_empty() {
        return Ok(false);
    }
    let mut states = tx.write(STATES)?;
    let mut ends = tx.write(STATE_ENDS)?;
    for end in &over {
        let key: StateKey = end[16..].try_into().expect("an end is followed by the key of its state");
        let (user, at) = state_of(&key);
        let next = states.range::<&StateKey>(&key..=&state_key(user, Timestamp::MAX))?.nth(1).transpose()?;
        let next = next.map(|(key, _)| state_of(key.value()).1);
        let is_over = match next {
            Some(replaced_at) => is_past(replaced_at, keep, now),
            None => is_past(at, keep, now) && links::link(tx, user)?.is_none(),
        };
        // One that is still needed gets an end of its own when it is replaced.
        if is_over {
            states.remove(&key)?;
        }
        ends.remove(end)?;
    }
    Ok(over.len() == limit)
}
