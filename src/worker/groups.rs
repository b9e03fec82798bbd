//! Keeps the members of the relevant groups: those the role table and the scope name, and those
//! nested inside them.

use std::time::Duration;

use tracing::info;

use crate::clock::{later, until};
use crate::domain::observed::Observed;
use crate::domain::queue::{Chore, ChoreEntry, ChoreOutcome};
use crate::domain::retry::Failure;
use crate::domain::user::{GroupId, Membership, UserId};

use super::Worker;
use super::failure::{Fault, GRAPH, Stopped};

/// A group that had so many members and reads as empty is not believed at once: it looks like a read
/// that failed without saying so.
const LARGE: usize = 10;
/// For so long it is read again.
const EMPTY_FOR: Duration = Duration::from_secs(600);

impl Worker {
    /// Tells the store which groups matter and has the unread ones read. To be called before anything
    /// is decided: until then the store may believe that no groups matter.
    pub async fn settle_roots(&self) -> Result<(), crate::store::Error> {
        let now = self.clock.now();
        for group in self.store.set_roots(&self.settings.rules.relevant_groups(), now).await? {
            self.store.schedule(Chore::Group(group), now, now).await?;
        }
        Ok(())
    }

    /// The groups that matter to our rules and have the user. While others are being kept than those
    /// rules name (the configuration is being exchanged), it is not complete.
    pub(super) async fn membership(&self, user: UserId) -> Result<Membership, crate::store::Error> {
        self.store.membership_among(user, self.settings.rules.relevant_groups()).await
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
        if empty && before >= LARGE && until(entry.first_news_at, read_at) < EMPTY_FOR {
            let error = format!("group {group} reads as empty and had {before} members; reading it again");
            return Err(Stopped::By(Fault::answered(GRAPH, Failure::Transient(error))));
        }
        let diff = self.store.record_group(group, members, read_at).await?;
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
