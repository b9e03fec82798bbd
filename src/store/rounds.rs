//! Delta rounds: a page's marks and the round's progress are one commit.
//!
//! After a restart a round goes on from the link of the page that was last recorded. A full round of
//! users also keeps who was on its pages, so that at its end those who were on none are looked at.

use jiff::Timestamp;
use redb::{ReadableTable, Table};

use super::error::Fault;
use super::record::{RoundRecord, decode, encode};
use super::tables::{ROUNDS, SEEN, packed, unpacked};
use super::transaction::{Reading, Writing};
use super::{journal, links};
use crate::domain::queue::{Mark, Reason};
use crate::domain::subscription::Resource;
use crate::domain::user::UserId;

/// How far the delta query of a resource has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The link to ask next: of the next page, or (between rounds) of the next round.
    pub next: String,
    pub in_progress: bool,
    /// From the beginning: everybody is looked at.
    pub full: bool,
    pub started_at: Timestamp,
    /// When the last round that came to its end did so.
    pub completed_at: Option<Timestamp>,
}

/// What one page of a round says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRecord {
    pub marks: Vec<Mark>,
    /// Everybody on the page, marked or not. Only a full round of users needs them.
    pub seen: Vec<UserId>,
    pub next: PageNext,
    pub full: bool,
    /// The same for all pages of a round: another value begins a new round.
    pub started_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageNext {
    /// The link of the next page.
    More(String),
    /// The round is over; the link begins the next one.
    End(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageOutcome {
    /// Users marked because of the page.
    pub marked: usize,
    /// Linked users that a full round did not show, marked as well.
    pub vanished: usize,
}

fn key(resource: Resource) -> &'static [u8] {
    resource.path().as_bytes()
}

pub(super) fn round(tx: &impl Reading, resource: Resource) -> Result<Option<Round>, Fault> {
    let record = tx.read(ROUNDS)?.get(key(resource))?.map(|value| decode::<RoundRecord>(value.value()));
    let round = |RoundRecord { next, in_progress, full, started_at, completed_at }| Round {
        next,
        in_progress,
        full,
        started_at,
        completed_at,
    };
    Ok(record.transpose()?.map(round))
}

pub(super) fn record_page(
    tx: &Writing,
    resource: Resource,
    page: PageRecord,
    now: Timestamp,
) -> Result<PageOutcome, Fault> {
    let PageRecord { mut marks, seen, next, full, started_at } = page;
    let before = round(tx, resource)?;
    let begins = !before.as_ref().is_some_and(|round| round.in_progress && round.started_at == started_at);
    let completed_at = before.and_then(|round| round.completed_at);
    let mut outcome = PageOutcome { marked: n_users(&marks), vanished: 0 };

    if resource == Resource::Users && (begins || full) {
        let mut pages = tx.write(SEEN)?;
        if begins {
            clear(&mut pages)?;
        }
        if full {
            let number = pages.last()?.map_or(0, |(number, _)| number.value() + 1);
            pages.insert(number, packed(&seen).as_slice())?;
        }
        if full && matches!(next, PageNext::End(_)) {
            let vanished = vanished(tx, &pages)?;
            clear(&mut pages)?;
            outcome.vanished = vanished.len();
            marks.extend(vanished.into_iter().map(|user| Mark {
                user,
                reason: Reason::Delta,
                news_at: now,
                urgent: false,
                removed: None,
            }));
        }
    }
    journal::mark(tx, &marks, now)?;
    let (next, in_progress) = match next {
        PageNext::More(link) => (link, true),
        PageNext::End(link) => (link, false),
    };
    let completed_at = if in_progress { completed_at } else { Some(now) };
    let record = RoundRecord { next, in_progress, full, started_at, completed_at };
    tx.write(ROUNDS)?.insert(key(resource), encode(&record).as_slice())?;
    Ok(outcome)
}

/// The linked users on none of the pages. Their ids are held in memory, 16 bytes each.
fn vanished(tx: &Writing, pages: &Table<u64, &[u8]>) -> Result<Vec<UserId>, Fault> {
    let mut seen = Vec::new();
    for entry in pages.iter()? {
        seen.extend(unpacked(entry?.1.value()));
    }
    seen.sort_unstable();
    links::unseen(tx, &seen)
}

fn clear(pages: &mut Table<u64, &[u8]>) -> Result<(), Fault> {
    // One value a page: a directory of a million users has a thousand.
    pages.retain(|_, _| false)?;
    Ok(())
}

pub(super) fn forget(tx: &Writing, resource: Resource) -> Result<(), Fault> {
    tx.write(ROUNDS)?.remove(key(resource))?;
    if resource == Resource::Users {
        clear(&mut tx.write(SEEN)?)?;
    }
    Ok(())
}

pub(super) fn n_users(marks: &[Mark]) -> usize {
    let mut users: Vec<UserId> = marks.iter().map(|mark| mark.user).collect();
    users.sort_unstable();
    users.dedup();
    users.len()
}
