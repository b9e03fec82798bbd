//! An operator's hand in the queue: replay, retry, drop. Calls about many jobs are made in steps, so
//! that no commit holds the others up; broken off half-way, they can simply be made again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Result, STEP, Store, journal, queue};
use crate::domain::queue::{Mark, Reason, State};
use crate::domain::user::UserId;

/// What to mark again. Without `since`, `parked` or `all`, exactly `users`; with one of them, what it
/// names, and of that only `users` if any are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Users whom the journal names at or after this time.
    pub since: Option<Timestamp>,
    pub users: Vec<UserId>,
    /// Users whose job is parked.
    pub parked: bool,
    /// Users whom the journal names at any time.
    pub all: bool,
    /// Only count.
    pub dry_run: bool,
}

impl Store {
    /// Marks users again. How many, or how many there would be.
    pub async fn replay(&self, replay: Replay, now: Timestamp) -> Result<usize> {
        let users = self.named_by(&replay).await?;
        let n_users = users.len();
        if replay.dry_run || n_users == 0 {
            return Ok(n_users);
        }
        let mark =
            |(user, urgent)| Mark { user, reason: Reason::Replay, news_at: now, urgent, removed: None };
        self.mark(users.into_iter().map(mark).collect(), now).await
    }

    /// The users a replay is about, with whether a notification said that they are deleted.
    async fn named_by(&self, replay: &Replay) -> Result<BTreeMap<UserId, bool>> {
        let mut users = BTreeMap::new();
        if replay.all || replay.since.is_some() {
            let since = if replay.all { None } else { replay.since };
            let mut from = Some(0);
            // Short transactions: one that stays open keeps the file from reusing its pages.
            while let Some(number) = from {
                (users, from) = self
                    .read("reading the journal", move |tx| {
                        let mut users = users;
                        let next = journal::collect_users(tx, number, since, &mut users)?;
                        Ok((users, next))
                    })
                    .await?;
            }
        }
        if replay.parked {
            let parked = self.read("reading parked jobs", |tx| queue::users(tx, &[State::Parked])).await?;
            for user in parked {
                users.entry(user).or_default();
            }
        }
        let named: BTreeSet<UserId> = replay.users.iter().copied().collect();
        if !(replay.all || replay.parked || replay.since.is_some()) {
            users = named.into_iter().map(|user| (user, false)).collect();
        } else if !named.is_empty() {
            users.retain(|user, _| named.contains(user));
        }
        Ok(users)
    }

    /// Makes jobs that wait, are parked or are held due now, as if they had never been tried. `users`:
    /// `None` for all. How many there were.
    pub async fn retry(&self, users: Option<Vec<UserId>>, states: &[State], now: Timestamp) -> Result<usize> {
        let states: Arc<[State]> = states.into();
        let users = match users {
            Some(users) => users,
            None => {
                let states = states.clone();
                self.read("reading jobs", move |tx| queue::users(tx, &states)).await?
            }
        };
        let mut n_retried = 0;
        for users in users.chunks(STEP) {
            let (users, states) = (users.to_vec(), states.clone());
            n_retried +=
                self.write("retrying jobs", move |tx| queue::retry(tx, &users, &states, now)).await?;
        }
        Ok(n_retried)
    }

    /// Takes a job off the queue, and with it what was ordered. `false` when there is none, or it runs.
    pub async fn drop_job(&self, user: UserId, now: Timestamp) -> Result<bool> {
        self.write("dropping a job", move |tx| queue::drop_job(tx, user, now)).await
    }
}
