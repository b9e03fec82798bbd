//! The outbox: what is to be told to whom, and what each receiver has been told already. The rules are in
//! `domain::event`; here is where their answers are kept.
//!
//! A receiver is known by eight bytes that whoever configures it chooses.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use redb::ReadableTable;

use super::error::Fault;
use super::record::{decode, encode};
use super::tables::{OUTBOX, QUIET, instant};
use super::transaction::{Reading, Writing};
use crate::domain::event::{Delivery, Event, Quiet, WAITING_AT_MOST, hear as decide};

/// Who is to be told, and how long they are left alone about the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hearer {
    pub receiver: ReceiverId,
    pub window: Duration,
}

pub type ReceiverId = [u8; 8];

/// One delivery, by the key it is kept under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    key: Vec<u8>,
    pub delivery: Delivery,
}

fn outbox_key(receiver: ReceiverId, event: &Event) -> Vec<u8> {
    [&receiver[..], &instant(event.at), event.id.as_bytes()].concat()
}

fn quiet_key(receiver: ReceiverId, event: &Event) -> Vec<u8> {
    let what = &event.what;
    [&receiver[..], what.kind().name().as_bytes(), &[0], what.subject().as_bytes()].concat()
}

fn of_receiver(receiver: ReceiverId) -> std::ops::RangeInclusive<Vec<u8>> {
    // An instant and an id: 32 bytes.
    [&receiver[..], &[0; 32]].concat()..=[&receiver[..], &[u8::MAX; 32]].concat()
}

/// Takes an event in. How many older deliveries had to give way to it.
pub(super) fn hear(tx: &Writing, event: &Event, hearers: &[Hearer], now: Timestamp) -> Result<usize, Fault> {
    let mut given_up = 0;
    for hearer in hearers {
        let key = quiet_key(hearer.receiver, event);
        let before = tx.read(QUIET)?.get(key.as_slice())?.map(|value| decode(value.value())).transpose()?;
        let (told, quiet) = decide(before, event.clone(), hearer.window, now);
        if let Some(quiet) = quiet {
            tx.write(QUIET)?.insert(key.as_slice(), encode(&quiet).as_slice())?;
        }
        if let Some(event) = told {
            given_up += send(tx, hearer.receiver, event, now)?;
        }
    }
    Ok(given_up)
}

fn send(tx: &Writing, receiver: ReceiverId, event: Event, now: Timestamp) -> Result<usize, Fault> {
    let mut outbox = tx.write(OUTBOX)?;
    let key = outbox_key(receiver, &event);
    outbox.insert(key.as_slice(), encode(&Delivery::new(event, now)).as_slice())?;
    let mut keys = Vec::new();
    for entry in outbox.range::<&[u8]>(as_slices(&of_receiver(receiver)))? {
        keys.push(entry?.0.value().to_vec());
    }
    let too_many = keys.len().saturating_sub(WAITING_AT_MOST);
    for key in &keys[..too_many] {
        outbox.remove(key.as_slice())?;
    }
    Ok(too_many)
}

fn as_slices(range: &std::ops::RangeInclusive<Vec<u8>>) -> std::ops::RangeInclusive<&[u8]> {
    range.start().as_slice()..=range.end().as_slice()
}

/// Ends the windows that are over. When the next one ends that has something to tell, and how many older
/// deliveries had to give way.
pub(super) fn end_windows(
    tx: &Writing,
    hearers: &[Hearer],
    now: Timestamp,
) -> Result<(Option<Timestamp>, usize), Fault> {
    let (mut next, mut given_up) = (None::<Timestamp>, 0);
    for hearer in hearers {
        let mut ended = Vec::new();
        for entry in tx.read(QUIET)?.range::<&[u8]>(&hearer.receiver[..]..)? {
            let (key, value) = entry?;
            if !key.value().starts_with(&hearer.receiver) {
                break;
            }
            let quiet: Quiet = decode(value.value())?;
            let ends_at = quiet.ends_at(hearer.window, now);
            if ends_at <= now {
                ended.push((key.value().to_vec(), quiet));
            } else if quiet.kept.is_some() {
                next = Some(next.map_or(ends_at, |next| next.min(ends_at)));
            }
        }
        for (key, quiet) in ended {
            match quiet.end(now) {
                None => {
                    tx.write(QUIET)?.remove(key.as_slice())?;
                }
                Some((event, after)) => {
                    tx.write(QUIET)?.insert(key.as_slice(), encode(&after).as_slice())?;
                    given_up += send(tx, hearer.receiver, event, now)?;
                }
            }
        }
    }
    Ok((next, given_up))
}

/// What waits for a receiver, the oldest first.
pub(super) fn waiting(tx: &impl Reading, receiver: ReceiverId) -> Result<Vec<Outgoing>, Fault> {
    let mut waiting = Vec::new();
    for entry in tx.read(OUTBOX)?.range::<&[u8]>(as_slices(&of_receiver(receiver)))? {
        let (key, value) = entry?;
        waiting.push(Outgoing { key: key.value().to_vec(), delivery: decode(value.value())? });
    }
    Ok(waiting)
}

/// Puts a delivery off, or takes it off the outbox. One that is not there any more stays away.
pub(super) fn tried(tx: &Writing, outgoing: &Outgoing, again: Option<&Delivery>) -> Result<(), Fault> {
    let mut outbox = tx.write(OUTBOX)?;
    let there = outbox.remove(outgoing.key.as_slice())?.is_some();
    if let Some(again) = again.filter(|_| there) {
        outbox.insert(outgoing.key.as_slice(), encode(again).as_slice())?;
    }
    Ok(())
}

/// Forgets everything of receivers other than these: whoever is not configured any more is owed nothing.
pub(super) fn keep_only(tx: &Writing, receivers: &BTreeSet<ReceiverId>) -> Result<(), Fault> {
    let known = |key: &[u8]| key.first_chunk().is_some_and(|receiver| receivers.contains(receiver));
    tx.write(OUTBOX)?.retain(|key, _| known(key))?;
    tx.write(QUIET)?.retain(|key, _| known(key))?;
    Ok(())
}
