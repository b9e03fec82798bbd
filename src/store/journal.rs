//! The journal: what was accepted, in the order it came, kept for folding and for replay.
//!
//! Accepting writes one record a commit, whatever is in it: that is as fast as the disk. Folding
//! turns the records into marks and chores later, a bounded step at a time, and moves a watermark in
//! the same commit. Mark lists too long for one commit take the same road.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use redb::ReadableTable;
use serde::Serialize;

use super::error::Fault;
use super::queue::Queue;
use super::record::{EncodedPart, JournalRecord, MarkRecord, Part, decode};
use super::tables::{JOURNAL, meta};
use super::transaction::{Reading, Writing};
use super::{chores, groups, meta as facts};
use crate::domain::queue::{Chore, LifecycleEvent, Mark, News, Reason};
use crate::domain::subscription::Resource;
use crate::domain::user::UserId;

/// Items in one record at most, and marks made directly at most: what one step does.
pub(super) const RECORD_ITEMS: usize = 1000;

/// Records read in one short transaction.
const PAGE: usize = 64;

/// The parts of one call, with the number of items in each.
pub(super) fn parts(news: &[News], at: Timestamp, trace: Option<&str>) -> Vec<(EncodedPart, usize)> {
    let part = |news: &[News]| Part::News { at, news: news.to_vec(), trace: trace.map(str::to_owned) };
    news.chunks(RECORD_ITEMS).map(|news| (EncodedPart::of(&part(news)), news.len())).collect()
}

/// Marks users now, or by way of the journal when they are many.
pub(super) fn mark(tx: &Writing, marks: &[Mark], now: Timestamp) -> Result<(), Fault> {
    if marks.len() > RECORD_ITEMS {
        for marks in marks.chunks(RECORD_ITEMS) {
            let marks = marks.iter().map(MarkRecord::from).collect();
            tx.journal(&[EncodedPart::of(&Part::Marks { at: now, marks })])?;
        }
    } else if !marks.is_empty() {
        let mut queue = Queue::open(tx)?;
        marks.iter().try_for_each(|mark| queue.mark(mark, now))?;
        tx.announce();
    }
    Ok(())
}

/// The number for the next record. The folded ones may all be pruned, so the last key is not enough.
pub(super) fn next_number(tx: &impl Reading) -> Result<u64, Fault> {
    let last = tx.read(JOURNAL)?.last()?.map_or(0, |(number, _)| number.value());
    Ok(last.max(facts::number(tx, meta::FOLDED)?) + 1)
}

/// Whether records wait to be folded.
pub(super) fn has_unfolded(tx: &impl Reading) -> Result<bool, Fault> {
    let folded = facts::number(tx, meta::FOLDED)?;
    Ok(tx.read(JOURNAL)?.last()?.is_some_and(|(number, _)| number.value() > folded))
}

/// Turns the oldest unfolded records, about [`RECORD_ITEMS`] items of them, into marks and chores.
pub(super) fn fold(tx: &Writing, now: Timestamp) -> Result<(), Fault> {
    let folded = facts::number(tx, meta::FOLDED)?;
    let mut records = Vec::new();
    let mut last = folded;
    let mut n_items = 0;
    for entry in tx.read(JOURNAL)?.range(folded + 1..)? {
        let (number, record) = entry?;
        let record: JournalRecord = decode(record.value())?;
        n_items += record.parts.iter().map(n_items_in).sum::<usize>();
        if last > folded && n_items > RECORD_ITEMS {
            break;
        }
        last = number.value();
        records.push(record);
    }
    if last == folded {
        return Ok(());
    }
    let parts = || records.iter().flat_map(|record| &record.parts);
    let told_at = parts().filter_map(news_at).chain(folded_news(tx)?).max();
    if let Some(at) = told_at {
        facts::set_text(tx, meta::LAST_NEWS, &at.to_string())?;
    }
    let parts = records.into_iter().flat_map(|record| record.parts);
    parts.into_iter().try_for_each(|part| fold_part(tx, part, now))?;
    facts::set_number(tx, meta::FOLDED, last)?;
    tx.announce();
    Ok(())
}

fn news_at(part: &Part) -> Option<Timestamp> {
    match part {
        Part::News { at, .. } => Some(*at),
        Part::Marks { .. } => None,
    }
}

fn folded_news(tx: &impl Reading) -> Result<Option<Timestamp>, Fault> {
    Ok(facts::text(tx, meta::LAST_NEWS)?.and_then(|at| at.parse().ok()))
}

/// When the last notification came. Of what is not folded yet only the last records are looked at.
pub(super) fn last_news(tx: &impl Reading) -> Result<Option<Timestamp>, Fault> {
    let folded = facts::number(tx, meta::FOLDED)?;
    let mut latest = folded_news(tx)?;
    for entry in tx.read(JOURNAL)?.range(folded + 1..)?.rev().take(PAGE) {
        let record: JournalRecord = decode(entry?.1.value())?;
        latest = latest.max(record.parts.iter().filter_map(news_at).max());
    }
    Ok(latest)
}

fn n_items_in(part: &Part) -> usize {
    match part {
        Part::News { news, .. } => news.len(),
        Part::Marks { marks, .. } => marks.len(),
    }
}

fn fold_part(tx: &Writing, part: Part, now: Timestamp) -> Result<(), Fault> {
    let mut queue = Queue::open(tx)?;
    let (at, news, trace) = match part {
        Part::Marks { marks, .. } => {
            return marks.into_iter().try_for_each(|mark| queue.mark(&mark.into(), now));
        }
        Part::News { at, news, trace } => (at, news, trace),
    };
    for item in news {
        match item {
            News::User { id, deleted } => {
                let reason = Reason::Notification;
                let mark = Mark { user: id, reason, news_at: at, urgent: deleted, removed: None };
                queue.mark_traced(&mark, trace.as_deref(), now)?;
            }
            News::Group { id } => {
                if groups::is_relevant(tx, id)? {
                    chores::schedule(tx, Chore::Group(id), now, now)?;
                } else {
                    tracing::debug!(group.id = %id, "group {id} gives no role and is in no scope: skipped");
                }
            }
            News::Lifecycle { subscription, event } => {
                for chore in upkeep(subscription, event) {
                    chores::schedule(tx, chore, now, now)?;
                }
            }
        }
    }
    Ok(())
}

/// What a lifecycle event asks for. Where notifications were or may have been lost, a delta round of
/// both resources finds what they would have said.
fn upkeep(subscription: String, event: LifecycleEvent) -> Vec<Chore> {
    let polls = Resource::ALL.map(Chore::Poll);
    match event {
        LifecycleEvent::ReauthorizationRequired => vec![Chore::Renew(subscription)],
        LifecycleEvent::SubscriptionRemoved => [Chore::Subscriptions].into_iter().chain(polls).collect(),
        LifecycleEvent::Missed => polls.into(),
    }
}

/// Adds the users that a page of the journal names, with whether one was said to be deleted. The
/// number to go on from, or `None` after the last page.
pub(super) fn collect_users(
    tx: &impl Reading,
    from: u64,
    since: Option<Timestamp>,
    users: &mut BTreeMap<UserId, bool>,
) -> Result<Option<u64>, Fault> {
    for (n_records, entry) in tx.read(JOURNAL)?.range(from..)?.enumerate() {
        let (number, record) = entry?;
        if n_records == PAGE {
            return Ok(Some(number.value()));
        }
        for part in decode::<JournalRecord>(record.value())?.parts {
            let Part::News { at, news, .. } = part else { continue };
            if since.is_some_and(|since| at < since) {
                continue;
            }
            for item in news {
                if let News::User { id, deleted } = item {
                    *users.entry(id).or_default() |= deleted;
                }
            }
        }
    }
    Ok(None)
}

/// What one record of the journal says of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    pub at: Timestamp,
    /// The reason of the mark it became.
    pub reason: Reason,
    /// A notification said that the user is deleted.
    pub deleted: bool,
}

/// The latest news of a user, newest first, among the last `among` records.
pub(super) fn news_of(
    tx: &impl Reading,
    user: UserId,
    among: usize,
    limit: usize,
) -> Result<Vec<Told>, Fault> {
    let mut told = Vec::new();
    for entry in tx.read(JOURNAL)?.iter()?.rev().take(among) {
        for part in decode::<JournalRecord>(entry?.1.value())?.parts.into_iter().rev() {
            match part {
                Part::News { at, news, .. } => told.extend(news.into_iter().filter_map(|item| match item {
                    News::User { id, deleted } if id == user => {
                        Some(Told { at, reason: Reason::Notification, deleted })
                    }
                    _ => None,
                })),
                Part::Marks { at, marks } => {
                    let ours = marks.into_iter().map(Mark::from).filter(|mark| mark.user == user);
                    told.extend(ours.map(|mark| Told { at, reason: mark.reason, deleted: false }));
                }
            }
        }
        if told.len() >= limit {
            told.truncate(limit);
            break;
        }
    }
    Ok(told)
}

/// Those of the users of whom a notification has come since then, folded or not.
pub(super) fn announced_since(
    tx: &impl Reading,
    since: Timestamp,
    users: &BTreeSet<UserId>,
) -> Result<BTreeSet<UserId>, Fault> {
    let mut announced = BTreeSet::new();
    for entry in tx.read(JOURNAL)?.iter()?.rev() {
        let parts = decode::<JournalRecord>(entry?.1.value())?.parts;
        if announced.len() == users.len() || parts.iter().all(|part| part.at() < since) {
            break;
        }
        for part in parts {
            let Part::News { at, news, .. } = part else { continue };
            announced.extend(news.iter().filter_map(|item| match item {
                News::User { id, .. } if at >= since && users.contains(id) => Some(*id),
                _ => None,
            }));
        }
    }
    Ok(announced)
}

/// Drops up to `limit` of the oldest records that are folded and past their time. Whether there may
/// be more.
pub(super) fn prune(tx: &Writing, keep: Duration, limit: usize, now: Timestamp) -> Result<bool, Fault> {
    let folded = facts::number(tx, meta::FOLDED)?;
    let mut old = Vec::new();
    for entry in tx.read(JOURNAL)?.range(..=folded)?.take(limit) {
        let (number, record) = entry?;
        let parts = decode::<JournalRecord>(record.value())?.parts;
        if parts.iter().any(|part| !is_past(part.at(), keep, now)) {
            break;
        }
        old.push(number.value());
    }
    if old.is_empty() {
        return Ok(false);
    }
    let mut journal = tx.write(JOURNAL)?;
    for number in &old {
        journal.remove(number)?;
    }
    Ok(old.len() == limit)
}

/// Whether something of that time is older than `keep`.
pub(super) fn is_past(at: Timestamp, keep: Duration, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > keep)
}
