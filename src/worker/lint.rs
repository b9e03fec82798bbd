//! Asks what only the directory and the people in it can tell about the rules.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::domain::lint::{Facts, OnUsers, of_rules};
use crate::domain::observed::Observed;
use crate::domain::user::GroupId;
use crate::graph::{PageNext, UserItem, cannot_be_read};

use super::Worker;
use super::failure::Stopped;

/// Users whose states are in memory at once.
const PAGE: usize = 200;
/// As long as nobody has been seen, so many users of the directory are tried.
const SAMPLE: usize = 500;
const READS_AT_ONCE: usize = 32;

impl Worker {
    /// What is probably not meant in the rules in force.
    pub async fn lint(&self) -> Result<Json, Stopped> {
        let mut findings = of_rules(&self.settings.rules, &self.facts().await?);
        let mut on_users = self.tried_on_the_seen().await?;
        let from = if on_users.n_users > 0 { "seen" } else { "directory" };
        if on_users.n_users == 0 {
            on_users = self.tried_on_a_sample().await?;
        }
        let n_users = on_users.n_users;
        findings.extend(on_users.findings());
        Ok(json!({ "findings": findings, "users": n_users, "from": from }))
    }

    async fn facts(&self) -> Result<Facts, Stopped> {
        let rules = &self.settings.rules;
        let mut read: BTreeMap<GroupId, Option<BTreeSet<GroupId>>> = BTreeMap::new();
        let mut open: Vec<GroupId> = rules.named_groups().into_iter().collect();
        while let Some(group) = open.pop() {
            if read.contains_key(&group) {
                continue;
            }
            let nested = match self.graph.group_members(group).await? {
                Observed::Present(members) => Some(members.groups),
                Observed::Absent => None,
            };
            open.extend(nested.iter().flatten());
            read.insert(group, nested);
        }
        let mut facts = Facts::default();
        for group in rules.named_groups() {
            if matches!(read.get(&group), Some(None)) {
                facts.missing.insert(group);
            }
            facts.nested.insert(group, below(group, &read));
        }
        let named = rules.properties().into_iter();
        facts.unreadable = named.filter_map(|name| cannot_be_read(&name).map(|why| (name, why))).collect();
        Ok(facts)
    }

    async fn tried_on_the_seen(&self) -> Result<OnUsers, Stopped> {
        let (mut on_users, mut after) = (OnUsers::default(), None);
        loop {
            let page = self.store.states_since(Timestamp::MAX, after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(on_users) };
            after = Some(*last);
            let newest = page.iter().filter_map(|(user, states)| Some((user, states.last()?)));
            for (user, state) in newest.filter(|(_, state)| state.enabled) {
                on_users.add(&self.settings.rules, *user, &state.properties, |name| state.knows(name));
            }
        }
    }

    async fn tried_on_a_sample(&self) -> Result<OnUsers, Stopped> {
        let (mut on_users, mut link) = (OnUsers::default(), None);
        loop {
            let page = self.graph.user_page(link.as_deref()).await?;
            // A page leaves out what is not set, and so does not show everybody whole.
            let room = SAMPLE.saturating_sub(on_users.n_users);
            let there = page.items.into_iter().filter(|item| item.removed.is_none()).take(room);
            let whole = |item: UserItem| async move {
                match item.details {
                    Some(user) => Ok(Observed::Present(user)),
                    None => self.graph.user(item.id).await,
                }
            };
            let mut read = stream::iter(there.map(whole)).buffered(READS_AT_ONCE);
            while let Some(user) = read.next().await {
                if let Observed::Present(user) = user?
                    && user.enabled
                {
                    on_users.add(&self.settings.rules, user.id, &user.properties, |_| true);
                }
            }
            match page.next {
                PageNext::More(next) if on_users.n_users < SAMPLE => link = Some(next),
                PageNext::More(_) | PageNext::End(_) => return Ok(on_users),
            }
        }
    }
}

/// What is nested in a group, however deep; groups may be nested in a ring.
fn below(group: GroupId, read: &BTreeMap<GroupId, Option<BTreeSet<GroupId>>>) -> BTreeSet<GroupId> {
    let mut below = BTreeSet::new();
    let mut open = vec![group];
    while let Some(at) = open.pop() {
        let nested = read.get(&at).into_iter().flatten().flatten();
        open.extend(nested.copied().filter(|nested| *nested != group && below.insert(*nested)));
    }
    below
}
