//! Keeps the members of the relevant groups: those the role table and the scope name, and those
//! nested inside them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use tracing::info;

use crate::clock::{later, until};
use crate::domain::observed::Observed;
use crate::domain::queue::{Chore, ChoreEntry, ChoreOutcome, Mark, Reason, State};
use crate::domain::retry::Failure;
use crate::domain::user::{GroupId, Membership, UserId};

use super::Worker;
use super::failure::{Fault, GRAPH, Stopped};

/// A group that had so many members and reads as empty is not believed at once: it looks like a read
/// that failed without saying so.
const LARGE: usize = 10;
/// For so long it is read again.
const EMPTY_FOR: Duration = Duration::from_secs(600);

/// Users whose states are in memory at once.
const PAGE: usize = 500;

fn mark(user: UserId, now: Timestamp) -> Mark {
    Mark { user, reason: Reason::Group, news_at: now, urgent: false, removed: None }
}

/// Since when large groups read as empty, by how long the clock had run. A restart begins anew.
#[derive(Debug, Default)]
pub struct Emptied(Mutex<HashMap<GroupId, Duration>>);

impl Emptied {
    /// Takes note of a reading, and says whether it may be believed.
    fn believes(&self, group: GroupId, looks_wrong: bool, uptime: Duration) -> bool {
        let mut emptied = self.0.lock().expect("no panic while the groups are held");
        if !looks_wrong {
            emptied.remove(&group);
            return true;
        }
        let since = *emptied.entry(group).or_insert(uptime);
        let believed = uptime.saturating_sub(since) >= EMPTY_FOR;
        if believed {
            emptied.remove(&group);
        }
        believed
    }
}

impl Worker {
    /// Tells the store which groups matter and has the unread ones read. To be called before anything
    /// is decided: until then the store may believe that no groups matter.
    pub async fn settle_roots(&self) -> Result<(), crate::store::Error> {
        let now = self.clock.now();
        for group in self.store.set_roots(&self.settings.rules.relevant_groups()).await? {
            self.store.schedule(Chore::Group(group), now, now).await?;
        }
        Ok(())
    }

    /// The groups that matter to our rules and have the user. While others are being kept than those
    /// rules name (the configuration is being exchanged), it is not complete.
    pub(super) async fn membership(&self, user: UserId) -> Result<Membership, crate::store::Error> {
        let rules = &self.settings.rules;
        self.store.membership(user, rules.relevant_groups(), rules.scope.named_groups()).await
    }

    /// Marks everybody who was last seen while some group was unread. A group marks only its own members
    /// when it is read, and of the others some have not been given what an earlier one gives.
    async fn look_again_at_the_unclear(&self) -> Result<(), crate::store::Error> {
        let (now, mut after) = (self.clock.now(), None);
        loop {
            let page = self.store.states_since(Timestamp::MAX, after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            let mut marks = Vec::new();
            for (user, states) in page {
                let is_unclear = states.last().is_some_and(|state| !state.complete);
                // Who is due is looked at anyway, and who is stopped is for another reason.
                let job = self.store.job(user).await?;
                if is_unclear && job.is_none_or(|job| job.state == State::Waiting) {
                    marks.push(mark(user, now));
                }
            }
            self.store.mark(marks, now).await?;
        }
    }

    /// The same for a run that began before the last group was read, and left the queue after.
    pub(super) async fn look_again_if_clear(&self, user: UserId) -> Result<(), crate::store::Error> {
        if self.store.are_groups_read().await? {
            let now = self.clock.now();
            self.store.mark(vec![mark(user, now)], now).await?;
        }
        Ok(())
    }

    /// Reads a group's direct members, to the end or not at all, and marks who joined and who left.
    pub(super) async fn refresh_group(
        &self,
        group: GroupId,
        entry: &ChoreEntry,
    ) -> Result<ChoreOutcome, Stopped> {
        let read_at = self.clock.now();
        if !self.store.is_relevant(group).await? {
            return Ok(ChoreOutcome::Done { next_at: None });
        }
        let Observed::Present(members) = self.graph.group_members(group).await? else {
            // A group that is not there says nothing about who was in it.
            let error = format!(
                "group {group} is not in the directory: remove it from the configuration, or restore it"
            );
            return Err(Stopped::By(Fault::answered(GRAPH, Failure::Transient(error))));
        };
        self.running.circuits.reached(GRAPH);
        let empty = members.users.is_empty() && members.groups.is_empty();
        let before = self.store.group_members(group).await?.len();
        // Not by the age of the news: a chore that failed for an hour may read it as empty just once.
        let looks_wrong = empty && before >= LARGE;
        if !self.running.emptied.believes(group, looks_wrong, self.clock.uptime()) {
            let error = format!("group {group} reads as empty and had {before} members; reading it again");
            return Err(Stopped::By(Fault::answered(GRAPH, Failure::Transient(error))));
        }
        let was_unclear = !self.store.are_groups_read().await?;
        let diff = self.store.record_group(group, members, read_at).await?;
        if was_unclear && self.store.are_groups_read().await? {
            self.look_again_at_the_unclear().await?;
        }
        for nested in &diff.unread {
            self.store.schedule(Chore::Group(*nested), read_at, read_at).await?;
        }
        let unchanged = diff.joined.is_empty() && diff.left.is_empty() && diff.unread.is_empty();
        if !unchanged {
            let (joined, left) = (diff.joined.len(), diff.left.len());
            info!(group.id = %group, n_joined = joined, n_left = left, "group {group}: {joined} joined, {left} left");
        }
        // The replica that answered may be older than the news; one more look, as for a user.
        let news_is_young = until(entry.first_news_at, read_at) < self.settings.recheck_after;
        let next_at = (unchanged && news_is_young).then(|| later(read_at, self.settings.recheck_after));
        Ok(ChoreOutcome::Done { next_at })
    }
}
