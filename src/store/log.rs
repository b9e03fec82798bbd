//! The history: every write to CXone as an intent before it is sent and an outcome after, and what
//! operators decided, in a chain of seals.
//!
//! The seal of an entry is an HMAC over the seal before it, its number and its bytes; head and anchor
//! (where pruning has cut) are sealed too. Whoever changes, removes, adds or swaps entries without the
//! key breaks the chain at that place, and [`verify`] says where. An old copy of the whole file is
//! what the side file of `open` finds.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use redb::{Key, ReadableTable, TableDefinition};
use serde::Serialize;
use sha2::Sha256;
use tracing::warn;

use super::error::Fault;
use super::journal::is_past;
use super::record::{Entry, decode, encode};
use super::tables::{
    LOG, LOG_AT, LOG_OF_BATCH, LOG_OF_USER, LOG_OPEN, LOG_OUTCOMES, LogKey, META, REMARKS_OF_BATCH,
    REMARKS_OF_USER, batch_key, instant, last_of, log_key, meta, number_of,
};
use super::transaction::{Reading, Writing};
use crate::domain::digest::hex;
use crate::domain::patch::same;
use crate::domain::queue::{Change, Intent, Remark, Write, WriteResult, Wrote};
use crate::domain::user::UserId;

type Seal = [u8; 32];
const SEAL: usize = 32;

/// Broken places named by [`verify`]; more are only counted.
const MOST_BREAKS: usize = 100;

/// What seals the history. `Debug` does not show it.
#[derive(Clone)]
pub struct ChainKey([u8; 32]);

impl std::fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChainKey")
    }
}

impl ChainKey {
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn seal(&self, parts: &[&[u8]]) -> Seal {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn entry(&self, before: &Seal, number: u64, bytes: &[u8]) -> Seal {
        self.seal(&[b"entry", before, &number.to_be_bytes(), bytes])
    }

    fn mark(&self, name: &[u8], at: &Place) -> Seal {
        self.seal(&[name, &at.number.to_be_bytes(), &at.seal])
    }
}

/// A place in the chain: the entry and its seal. Number 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    number: u64,
    seal: Seal,
}

fn place(tx: &impl Reading, name: &'static [u8]) -> Result<(Place, Seal), Fault> {
    let value = tx.read(META)?.get(name)?.map(|value| value.value().to_vec());
    let Some(value) = value.filter(|value| value.len() == 8 + 2 * SEAL) else {
        return Ok((Place::default(), [0; SEAL]));
    };
    let part = |from: usize| value[from..from + SEAL].try_into().expect("the length was looked at");
    let number = u64::from_be_bytes(value[..8].try_into().expect("the length was looked at"));
    Ok((Place { number, seal: part(8) }, part(8 + SEAL)))
}

fn set_place(tx: &Writing, name: &'static [u8], at: &Place) -> Result<(), Fault> {
    let mut value = at.number.to_be_bytes().to_vec();
    value.extend(at.seal);
    value.extend(tx.chain().mark(name, at));
    tx.write(META)?.insert(name, value.as_slice())?;
    Ok(())
}

fn append(tx: &Writing, entry: &Entry) -> Result<u64, Fault> {
    let (head, _) = place(tx, meta::HEAD)?;
    let (number, bytes) = (head.number + 1, encode(entry));
    let seal = tx.chain().entry(&head.seal, number, &bytes);
    let mut value = seal.to_vec();
    value.extend_from_slice(&bytes);
    tx.write(LOG)?.insert(number, value.as_slice())?;
    set_place(tx, meta::HEAD, &Place { number, seal })?;
    index(tx, number, entry, true)?;
    Ok(number)
}

/// Keeps, or forgets, where an entry is found without reading all of them.
fn index(tx: &Writing, number: u64, entry: &Entry, kept: bool) -> Result<(), Fault> {
    let (user, batch, of_user, of_batch) = match entry {
        Entry::Intent { intent, .. } => {
            keep(tx, LOG_AT, &log_key(&instant(intent.at), number), kept)?;
            (Some(intent.user), &intent.batch, LOG_OF_USER, LOG_OF_BATCH)
        }
        Entry::Remark(remark) => (remark.user, &remark.batch, REMARKS_OF_USER, REMARKS_OF_BATCH),
        Entry::Outcome(_) => return Ok(()),
    };
    if let Some(user) = user {
        keep(tx, of_user, &log_key(user.as_bytes(), number), kept)?;
    }
    if let Some(batch) = batch {
        keep(tx, of_batch, &batch_key(batch, &number.to_be_bytes()), kept)?;
    }
    Ok(())
}

fn keep<'k, K: Key<SelfType<'k> = &'k Q> + 'static, Q: ?Sized + 'k>(
    tx: &Writing,
    table: TableDefinition<'static, K, &'static [u8]>,
    key: &'k Q,
    kept: bool,
) -> Result<(), Fault> {
    let mut table = tx.write(table)?;
    match kept {
        true => drop(table.insert(key, [].as_slice())?),
        false => drop(table.remove(key)?),
    }
    Ok(())
}

/// Indexes every entry, of a store that did not index all it does now.
pub(super) fn index_all(tx: &Writing) -> Result<(), Fault> {
    let numbers: Vec<u64> =
        tx.read(LOG)?.iter()?.map(|entry| Ok(entry?.0.value())).collect::<Result<_, Fault>>()?;
    for number in numbers {
        match entry(tx, number) {
            Ok(Some(entry)) => index(tx, number, &entry, true)?,
            Ok(None) => {}
            // The history can be read without it, and whoever verifies it is told.
            Err(fault @ (Fault::Record { .. } | Fault::Version { .. })) => {
                warn!("entry {number} of the history cannot be read: {fault}");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

fn entry(tx: &impl Reading, number: u64) -> Result<Option<Entry>, Fault> {
    let value = tx.read(LOG)?.get(number)?.map(|value| value.value().to_vec());
    value.map(|value| decode(value.get(SEAL..).unwrap_or_default())).transpose()
}

/// Writes down that a request is about to be sent; the number of the entry. An earlier intent of the
/// user that never came to an end has an unknown one.
pub(super) fn intend(tx: &Writing, intent: &Intent, charge: Charge) -> Result<u64, Fault> {
    close_open(tx, intent.user, intent.at)?;
    let user = *intent.user.as_bytes();
    let Charge { charged, carried, preapproval } = charge;
    let entry = Entry::Intent { intent: Box::new(intent.clone()), charged, carried, preapproval };
    let number = append(tx, &entry)?;
    tx.write(LOG_OPEN)?.insert(&user, number)?;
    Ok(number)
}

/// Writes down how a write ended. Returns the intent with what it was charged, to be given back if
/// nothing was done.
pub(super) fn conclude(tx: &Writing, user: UserId, wrote: &Wrote) -> Result<Option<(Intent, Charge)>, Fault> {
    let open = tx.read(LOG_OPEN)?.get(user.as_bytes())?.map(|number| number.value());
    if open != Some(wrote.intent) {
        return Ok(None);
    }
    tx.write(LOG_OPEN)?.remove(user.as_bytes())?;
    let number = append(tx, &Entry::Outcome(Box::new(wrote.into())))?;
    tx.write(LOG_OUTCOMES)?.insert(wrote.intent, number)?;
    Ok(match entry(tx, wrote.intent)? {
        Some(Entry::Intent { intent, charged, carried, preapproval }) => {
            Some((*intent, Charge { charged, carried, preapproval }))
        }
        _ => None,
    })
}

/// Where an intent was charged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Charge {
    /// The minute of the guard's clock.
    pub charged: Option<u64>,
    pub carried: bool,
    pub preapproval: Option<[u8; 16]>,
}

/// In which minute the last write to this user was charged, if it wanted the same and it is not known
/// that it was done.
pub(super) fn uncertain(tx: &impl Reading, intent: &Intent) -> Result<Option<u64>, Fault> {
    let of_user = tx.read(LOG_OF_USER)?;
    let key = |number| log_key(intent.user.as_bytes(), number);
    let Some(last) = of_user.range::<&[u8; 24]>(&key(0)..=&key(u64::MAX))?.next_back() else {
        return Ok(None);
    };
    let number = number_of(last?.0.value());
    let Some(Entry::Intent { intent: last, charged, carried, .. }) = entry(tx, number)? else {
        return Ok(None);
    };
    let result = write(tx, number)?.map(|write| write.result);
    let uncertain = match result {
        Some(WriteResult::Unknown { .. } | WriteResult::NotApplied | WriteResult::Pending) => true,
        // What it was carried from may have been done all the same.
        Some(WriteResult::Refused { .. }) => carried,
        Some(WriteResult::Applied) | None => false,
    };
    let same = last.desired == intent.desired && last.spend == intent.spend;
    Ok(charged.filter(|_| uncertain && same))
}

fn close_open(tx: &Writing, user: UserId, at: Timestamp) -> Result<(), Fault> {
    let Some(intent) = tx.read(LOG_OPEN)?.get(user.as_bytes())?.map(|number| number.value()) else {
        return Ok(());
    };
    let error = "the process ended, or the run broke off, before an answer was understood".to_owned();
    let result = WriteResult::Unknown { error };
    let wrote = Wrote { intent, at, scim_id: None, result, shown: Default::default(), lag_ms: 0 };
    conclude(tx, user, &wrote).map(drop)
}

/// At the start of the process nothing can be under way: what was, has an unknown end.
pub(super) fn close_all(tx: &Writing, at: Timestamp) -> Result<(), Fault> {
    let mut users = Vec::new();
    for entry in tx.read(LOG_OPEN)?.iter()? {
        users.push(UserId::from_bytes(*entry?.0.value()));
    }
    users.into_iter().try_for_each(|user| close_open(tx, user, at))
}

pub(super) fn remark(tx: &Writing, remark: &Remark) -> Result<(), Fault> {
    append(tx, &Entry::Remark(Box::new(remark.clone()))).map(drop)
}

/// The write that an intent became.
fn write(tx: &impl Reading, number: u64) -> Result<Option<Write>, Fault> {
    let Some(Entry::Intent { intent, .. }) = entry(tx, number)? else { return Ok(None) };
    let outcome = tx.read(LOG_OUTCOMES)?.get(number)?.map(|outcome| outcome.value());
    let ended = outcome.map(|outcome| entry(tx, outcome)).transpose()?.flatten();
    let mut write =
        Write { number, intent: *intent, result: WriteResult::Pending, shown: Default::default(), lag_ms: 0 };
    if let Some(Entry::Outcome(outcome)) = ended {
        write.intent.scim_id = outcome.scim_id.or(write.intent.scim_id);
        (write.result, write.shown, write.lag_ms) = (outcome.result, outcome.shown, outcome.lag_ms);
    }
    Ok(Some(write))
}

/// Which entries of the history are asked for. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub user: Option<UserId>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Earlier than that.
    pub before: Option<Timestamp>,
    /// Of this order.
    pub batch: Option<String>,
}

impl Wanted {
    fn is_in_time(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.before.is_none_or(|before| at < before)
    }
}

/// A step back through the history.
pub(super) struct Step {
    pub writes: Vec<Write>,
    /// Where the next step goes on; `None`: this was the last.
    pub below: Option<Below>,
}

/// The time and the number of an entry that was seen already.
pub(super) type Below = (Timestamp, u64);

/// The wanted ones among the next `among` writes, newest first.
pub(super) fn history(
    tx: &impl Reading,
    wanted: &Wanted,
    below: Option<Below>,
    among: usize,
) -> Result<Step, Fault> {
    let mut numbers = Vec::new();
    let below_number = below.map_or(u64::MAX, |(_, number)| number);
    match (&wanted.batch, wanted.user) {
        (Some(batch), _) => numbers = of_batch(tx, LOG_OF_BATCH, batch, below_number, among)?,
        (None, Some(user)) => numbers = of_user(tx, LOG_OF_USER, user, below_number, among)?,
        (None, None) => {
            let from = log_key(&instant(wanted.since.unwrap_or(Timestamp::MIN)), 0);
            let (at, number) = below.unwrap_or((wanted.before.unwrap_or(Timestamp::MAX), 0));
            let to = log_key(&instant(at), number);
            for entry in tx.read(LOG_AT)?.range::<&[u8; 24]>(&from..&to)?.rev().take(among) {
                numbers.push(number_of(entry?.0.value()));
            }
        }
    }
    let is_last = numbers.len() < among;
    let mut step = Step { writes: Vec::new(), below: None };
    for number in numbers {
        let Some(found) = write(tx, number)? else { continue };
        step.below = (!is_last).then_some((found.at, number));
        if wanted.is_in_time(found.at) && wanted.user.is_none_or(|user| found.user == user) {
            step.writes.push(found);
        }
    }
    Ok(step)
}

/// The last `among` numbers below that one.
fn of_user(
    tx: &impl Reading,
    table: TableDefinition<'static, &'static LogKey, &'static [u8]>,
    user: UserId,
    below: u64,
    among: usize,
) -> Result<Vec<u64>, Fault> {
    let (from, to) = (log_key(user.as_bytes(), 0), log_key(user.as_bytes(), below));
    let table = tx.read(table)?;
    let keys = table.range::<&LogKey>(&from..&to)?.rev().take(among);
    keys.map(|entry| Ok(number_of(entry?.0.value()))).collect()
}

/// The same of an order.
fn of_batch(
    tx: &impl Reading,
    table: TableDefinition<'static, &'static [u8], &'static [u8]>,
    batch: &str,
    below: u64,
    among: usize,
) -> Result<Vec<u64>, Fault> {
    let (from, to) = (batch_key(batch, &[]), batch_key(batch, &below.to_be_bytes()));
    let table = tx.read(table)?;
    let keys = table.range::<&[u8]>(from.as_slice()..to.as_slice())?.rev().take(among);
    keys.map(|entry| Ok(u64::from_be_bytes(last_of(entry?.0.value())))).collect()
}

/// The wanted remarks, newest first: of no user and no order among the last `among` entries, and none from
/// before the time that is wanted.
pub(super) fn remarks(
    tx: &impl Reading,
    wanted: &Wanted,
    among: usize,
    limit: usize,
) -> Result<Vec<Remark>, Fault> {
    let named = match (&wanted.batch, wanted.user) {
        (Some(batch), _) => Some(of_batch(tx, REMARKS_OF_BATCH, batch, u64::MAX, usize::MAX)?),
        (None, Some(user)) => Some(of_user(tx, REMARKS_OF_USER, user, u64::MAX, usize::MAX)?),
        (None, None) => None,
    };
    let is_of_user = |remark: &Remark| wanted.user.is_none_or(|user| remark.user == Some(user));
    let mut remarks = Vec::new();
    let mut take = |entry: Entry| {
        if let Entry::Remark(remark) = entry
            && is_of_user(&remark)
            && wanted.is_in_time(remark.at)
        {
            remarks.push(*remark);
        }
        remarks.len() == limit
    };
    if let Some(numbers) = named {
        for number in numbers {
            if entry(tx, number)?.is_some_and(&mut take) {
                break;
            }
        }
        return Ok(remarks);
    }
    for entry in tx.read(LOG)?.iter()?.rev().take(among) {
        let entry = decode::<Entry>(entry?.1.value().get(SEAL..).unwrap_or_default())?;
        if wanted.since.is_some_and(|since| entry.at() < since) || take(entry) {
            break;
        }
    }
    Ok(remarks)
}

/// A part of the history, in the order it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries {
    pub recorded: Vec<Recorded>,
    /// Where the next part goes on; `None`: this was the last.
    pub after: Option<u64>,
}

/// A write, as it ended, or a remark.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    Write(Box<Write>),
    Remark { number: u64, remark: Box<Remark> },
}

/// Of the next `among` entries after that one. An outcome stands with its write.
pub(super) fn entries(tx: &impl Reading, after: u64, among: usize) -> Result<Entries, Fault> {
    let mut entries = Entries::default();
    let mut n_entries = 0;
    for found in tx.read(LOG)?.range(after.saturating_add(1)..)?.take(among) {
        let (number, value) = found?;
        let number = number.value();
        (n_entries, entries.after) = (n_entries + 1, Some(number));
        match decode::<Entry>(value.value().get(SEAL..).unwrap_or_default())? {
            Entry::Intent { .. } => {
                entries.recorded.extend(write(tx, number)?.map(Box::new).map(Recorded::Write))
            }
            Entry::Remark(remark) => entries.recorded.push(Recorded::Remark { number, remark }),
            Entry::Outcome(_) => {}
        }
    }
    if n_entries < among {
        entries.after = None;
    }
    Ok(entries)
}

/// How many writes to this user since `since` wanted the same, back to the last one that wanted
/// something else of an attribute: then Entra has changed its mind, and nobody is fought. What was
/// refused or never answered does not count: a neighbour that is ill is no fight either, and its
/// attempts are numbered.
pub(super) fn same_desire(tx: &impl Reading, intent: &Intent, since: Timestamp) -> Result<u64, Fault> {
    let mut n_writes = 0;
    let of_user = tx.read(LOG_OF_USER)?;
    let key = |number| log_key(intent.user.as_bytes(), number);
    for entry in of_user.range::<&[u8; 24]>(&key(0)..=&key(u64::MAX))?.rev() {
        let Some(found) = write(tx, number_of(entry?.0.value()))? else { continue };
        if found.at < since {
            break;
        }
        if !matches!(found.result, WriteResult::Applied | WriteResult::NotApplied) {
            continue;
        }
        if found.desired == intent.desired {
            n_writes += 1;
        } else if found.changes.iter().any(|change| wants_other(change, &intent.changes)) {
            break;
        }
    }
    Ok(n_writes)
}

fn wants_other(earlier: &Change, changes: &[Change]) -> bool {
    let same_attribute = |change: &&Change| change.attribute == earlier.attribute;
    changes
        .iter()
        .find(same_attribute)
        .is_some_and(|change| !same(change.attribute, change.after.as_ref(), earlier.after.as_ref()))
}

/// Drops up to `limit` of the oldest entries that are past their time. Whether there may be more.
pub(super) fn prune(tx: &Writing, keep: Duration, limit: usize, now: Timestamp) -> Result<bool, Fault> {
    let mut old = Vec::new();
    for entry in tx.read(LOG)?.iter()?.take(limit) {
        let (number, value) = entry?;
        let (seal, bytes) = value.value().split_at_checked(SEAL).unwrap_or_default();
        let entry = decode::<Entry>(bytes)?;
        if !is_past(entry.at(), keep, now) {
            break;
        }
        old.push((Place { number: number.value(), seal: seal.try_into().unwrap_or_default() }, entry));
    }
    let Some((last, _)) = old.last() else { return Ok(false) };
    set_place(tx, meta::ANCHOR, last)?;
    let (mut log, mut outcomes) = (tx.write(LOG)?, tx.write(LOG_OUTCOMES)?);
    for (Place { number, .. }, entry) in &old {
        log.remove(number)?;
        outcomes.remove(number)?;
        index(tx, *number, entry, false)?;
    }
    Ok(old.len() == limit)
}

/// What a check of the chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    pub entries: u64,
    /// Where the chain begins: after what was pruned.
    pub first: u64,
    pub last: u64,
    /// The seal of the last entry, hexadecimal: keep it elsewhere, and a history that was cut short
    /// and sealed anew by a thief of the key is found too.
    pub head: String,
    pub n_breaks: u64,
    /// The first of them.
    pub breaks: Vec<Break>,
}

/// One place where the chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    pub number: u64,
    pub what: String,
}

impl Verification {
    fn broken(&mut self, number: u64, what: impl Into<String>) {
        self.n_breaks += 1;
        if self.breaks.len() < MOST_BREAKS {
            self.breaks.push(Break { number, what: what.into() });
        }
    }
}

/// Checks every seal, from the anchor to the head. `expected` is an entry with the head it had once.
pub(super) fn verify(
    tx: &impl Reading,
    key: &ChainKey,
    expected: Option<&(u64, String)>,
) -> Result<Verification, Fault> {
    let mut found = Verification::default();
    let (anchor, anchor_seal) = place(tx, meta::ANCHOR)?;
    let (head, head_seal) = place(tx, meta::HEAD)?;
    if anchor.number > 0 && key.mark(meta::ANCHOR, &anchor) != anchor_seal {
        found.broken(anchor.number, "the mark of what was pruned has another seal");
    }
    if head.number > 0 && key.mark(meta::HEAD, &head) != head_seal {
        found.broken(head.number, "the mark of the last entry has another seal");
    }
    let mut at = anchor;
    found.first = anchor.number + 1;
    for entry in tx.read(LOG)?.iter()? {
        let (number, value) = entry?;
        let (number, value) = (number.value(), value.value());
        if number != at.number + 1 {
            found.broken(
                at.number + 1,
                format!("entries {} to {} are missing", at.number + 1, number.saturating_sub(1)),
            );
        }
        let (seal, bytes) = value.split_at_checked(SEAL).unwrap_or_default();
        let seal: Seal = seal.try_into().unwrap_or_default();
        if key.entry(&at.seal, number, bytes) != seal {
            found.broken(number, "the entry, or its place in the chain, was changed");
        }
        if let Some((known, head)) = expected
            && *known == number
            && hex(&seal) != head.to_ascii_lowercase()
        {
            found.broken(number, "the entry is not the one that was kept elsewhere");
        }
        at = Place { number, seal };
        found.entries += 1;
    }
    if at != head {
        found.broken(
            head.number,
            format!("the chain ends at entry {} and should end at {}", at.number, head.number),
        );
    }
    if let Some((known, _)) = expected
        && (*known > at.number || *known < found.first)
    {
        found.broken(*known, "the entry that was kept elsewhere is not there");
    }
    (found.last, found.head) = (at.number, hex(&at.seal));
    Ok(found)
}

/// The number and the seal of the last entry.
pub(super) fn head(tx: &impl Reading) -> Result<(u64, String), Fault> {
    let (head, _) = place(tx, meta::HEAD)?;
    Ok((head.number, hex(&head.seal)))
}

/// Takes in a write of a store that had no chain yet.
pub(super) fn adopt(tx: &Writing, old: Write) -> Result<(), Fault> {
    let Write { intent, result, shown, lag_ms, .. } = old;
    let number = intend(tx, &intent, Charge::default())?;
    let wrote = Wrote { intent: number, at: intent.at, scim_id: intent.scim_id, result, shown, lag_ms };
    conclude(tx, intent.user, &wrote).map(drop)
}
