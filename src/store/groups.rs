//! The relevant groups: those the configuration names (the roots) and all that are nested in them.
//!
//! Direct members are kept, transitive membership is computed. A group has a record exactly as long
//! as it is reachable from a root; one that was reached but never read has a record without
//! `read_at`, and as long as there is such a group nobody's membership is complete. What the scope rests
//! on is known once its own groups, and those nested in them, have been read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use redb::ReadableTable;

use super::error::Fault;
use super::jobs::set_back_by;
use super::journal;
use super::record::{GroupRecord, decode, encode};
use super::tables::{GROUP_USERS, GROUPS, group_of, packed, packed_holds, unpacked};
use super::transaction::{Reading, Writing};
use crate::domain::queue::{Mark, Reason};
use crate::domain::user::{GroupId, GroupMembers, Membership, UserId};

/// Paths shown of one user at most: groups nested in many ways have more than anybody reads.
const MOST_PATHS: usize = 100;

/// What a new reading of a group changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupDiff {
    /// Users who are in the group now, directly or through a nested one, and were not.
    pub joined: BTreeSet<UserId>,
    /// The reverse.
    pub left: BTreeSet<UserId>,
    /// Relevant groups nested in this one that were never read: schedule a reading.
    pub unread: Vec<GroupId>,
}

/// The relevant groups and how they are nested, without their users.
#[derive(Clone, Debug, Default)]
struct Nesting(BTreeMap<GroupId, GroupRecord>);

impl Nesting {
    fn load(tx: &impl Reading) -> Result<Self, Fault> {
        let mut groups = BTreeMap::new();
        for entry in tx.read(GROUPS)?.iter()? {
            let (id, record) = entry?;
            groups.insert(group_of(id.value()), decode(record.value())?);
        }
        Ok(Self(groups))
    }

    /// The groups and everything nested in them.
    fn below(&self, groups: impl IntoIterator<Item = GroupId>) -> BTreeSet<GroupId> {
        closure(groups, |group| {
            self.0.get(&group).into_iter().flat_map(|record| record.groups.iter().copied())
        })
    }

    /// The groups and everything they are nested in.
    fn above(&self, groups: impl IntoIterator<Item = GroupId>) -> BTreeSet<GroupId> {
        closure(groups, |child| self.parents(child))
    }

    fn parents(&self, child: GroupId) -> impl Iterator<Item = GroupId> {
        self.0.iter().filter(move |(_, record)| record.groups.contains(&child)).map(|(id, _)| *id)
    }

    fn reachable(&self) -> BTreeSet<GroupId> {
        self.below(self.0.iter().filter(|(_, record)| record.root).map(|(id, _)| *id))
    }

    fn is_complete(&self) -> bool {
        self.0.values().all(|record| record.read_at.is_some())
    }

    /// When the first of these and of all that is nested in them was read. `None`: not all have been.
    fn read_at(&self, groups: impl IntoIterator<Item = GroupId>) -> Option<Timestamp> {
        // Never is the least.
        self.below(groups).into_iter().map(|group| self.read_at_of(group)).min().flatten()
    }

    fn read_at_of(&self, group: GroupId) -> Option<Timestamp> {
        self.0.get(&group).and_then(|record| record.read_at)
    }

    /// Gives every reachable group a record and forgets the others. The forgotten ones.
    fn settle(&mut self) -> BTreeSet<GroupId> {
        let reachable = self.reachable();
        for group in &reachable {
            self.0.entry(*group).or_default();
        }
        let gone = self.0.keys().filter(|group| !reachable.contains(group)).copied().collect();
        self.0.retain(|group, _| reachable.contains(group));
        gone
    }

    fn unread<'a>(&'a self, among: &'a BTreeSet<GroupId>) -> impl Iterator<Item = GroupId> + 'a {
        let unread = self.0.iter().filter(|(_, record)| record.read_at.is_none()).map(|(id, _)| *id);
        unread.filter(|group| among.contains(group))
    }
}

/// All that `next` leads to, from `start` on and with it. Nested groups may form a ring.
fn closure<I: IntoIterator<Item = GroupId>>(
    start: impl IntoIterator<Item = GroupId>,
    next: impl Fn(GroupId) -> I,
) -> BTreeSet<GroupId> {
    let mut reached: BTreeSet<GroupId> = start.into_iter().collect();
    let mut open: Vec<GroupId> = reached.iter().copied().collect();
    while let Some(group) = open.pop() {
        open.extend(next(group).into_iter().filter(|group| reached.insert(*group)));
    }
    reached
}

pub(super) fn is_relevant(tx: &impl Reading, group: GroupId) -> Result<bool, Fault> {
    Ok(tx.read(GROUPS)?.get(group.as_bytes())?.is_some())
}

pub(super) fn relevant(tx: &impl Reading) -> Result<Vec<GroupId>, Fault> {
    tx.read(GROUPS)?.iter()?.map(|entry| Ok(group_of(entry?.0.value()))).collect()
}

pub(super) fn set_roots(tx: &Writing, roots: &BTreeSet<GroupId>) -> Result<Vec<GroupId>, Fault> {
    let before = Nesting::load(tx)?;
    let mut after = before.clone();
    for (group, record) in &mut after.0 {
        record.root = roots.contains(group);
    }
    for root in roots {
        after.0.entry(*root).or_default().root = true;
    }
    after.settle();
    store(tx, &before, &after)?;
    let all = after.reachable();
    Ok(after.unread(&all).collect())
}

/// Writes what differs, and drops the users of groups that are gone.
fn store(tx: &Writing, before: &Nesting, after: &Nesting) -> Result<(), Fault> {
    let changed: Vec<_> =
        after.0.iter().filter(|(group, record)| before.0.get(group) != Some(record)).collect();
    let gone: Vec<_> = before.0.keys().filter(|group| !after.0.contains_key(group)).collect();
    if changed.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let (mut groups, mut users) = (tx.write(GROUPS)?, tx.write(GROUP_USERS)?);
    for (group, record) in changed {
        groups.insert(group.as_bytes(), encode(record).as_slice())?;
    }
    for group in gone {
        groups.remove(group.as_bytes())?;
        users.remove(group.as_bytes())?;
    }
    Ok(())
}

pub(super) fn record(
    tx: &Writing,
    group: GroupId,
    members: GroupMembers,
    read_at: Timestamp,
) -> Result<GroupDiff, Fault> {
    let before = Nesting::load(tx)?;
    let Some(old) = before.0.get(&group) else { return Ok(GroupDiff::default()) };
    let old_users: BTreeSet<UserId> = direct_users(tx, group)?;
    let same_members = old.groups == members.groups && old_users == members.users;

    let mut after = before.clone();
    let record = after.0.get_mut(&group).expect("the group was just found");
    record.read_at = Some(read_at);
    record.groups.clone_from(&members.groups);
    let gone = after.settle();
    let unread = after.unread(&members.groups).collect();
    if same_members {
        store(tx, &before, &after)?;
        return Ok(GroupDiff { unread, ..GroupDiff::default() });
    }

    // Whoever is in this group before and after is also in all it is nested in, before and after; so
    // only its own members, and those of groups now out of reach, can have changed.
    let touched: Vec<GroupId> = gone.iter().copied().chain([group]).collect();
    let was: Vec<_> = touched.iter().map(|at| users_below(tx, &before, *at)).collect::<Result<_, _>>()?;
    store(tx, &before, &after)?;
    tx.write(GROUP_USERS)?.insert(group.as_bytes(), packed(&members.users).as_slice())?;

    let mut diff = GroupDiff { unread, ..GroupDiff::default() };
    let mut moved = BTreeSet::new();
    for (at, was) in touched.iter().zip(was) {
        let is = if gone.contains(at) { BTreeSet::new() } else { users_below(tx, &after, *at)? };
        moved.extend(is.symmetric_difference(&was));
        if *at == group {
            diff.joined = is.difference(&was).copied().collect();
            diff.left = was.difference(&is).copied().collect();
        }
    }
    let mark = |user| Mark { user, reason: Reason::Group, news_at: read_at, urgent: false, removed: None };
    journal::mark(tx, &moved.into_iter().map(mark).collect::<Vec<_>>(), read_at)?;
    Ok(diff)
}

/// Brings along when groups were read, by a wall clock that has been set back to `now`.
pub(super) fn set_back(tx: &Writing, by: Duration, now: Timestamp) -> Result<(), Fault> {
    let before = Nesting::load(tx)?;
    let mut after = before.clone();
    for read_at in after.0.values_mut().filter_map(|record| record.read_at.as_mut()) {
        *read_at = set_back_by(*read_at, by, now);
    }
    store(tx, &before, &after)
}

/// All groups count as never read; who was in them is kept, to be compared with.
pub(super) fn forget_readings(tx: &Writing) -> Result<(), Fault> {
    let before = Nesting::load(tx)?;
    let mut after = before.clone();
    after.0.values_mut().for_each(|record| record.read_at = None);
    store(tx, &before, &after)
}

fn direct_users(tx: &impl Reading, group: GroupId) -> Result<BTreeSet<UserId>, Fault> {
    let users = tx.read(GROUP_USERS)?.get(group.as_bytes())?.map(|users| unpacked(users.value()).collect());
    Ok(users.unwrap_or_default())
}

/// The users of a group and of everything nested in it.
fn users_below(tx: &impl Reading, nesting: &Nesting, group: GroupId) -> Result<BTreeSet<UserId>, Fault> {
    let mut users = BTreeSet::new();
    for group in nesting.below([group]) {
        users.append(&mut direct_users(tx, group)?);
    }
    Ok(users)
}

pub(super) fn members(tx: &impl Reading, group: GroupId) -> Result<BTreeSet<UserId>, Fault> {
    users_below(tx, &Nesting::load(tx)?, group)
}

/// The groups a user is a direct member of.
fn direct_groups(tx: &impl Reading, user: UserId) -> Result<Vec<GroupId>, Fault> {
    let mut groups = Vec::new();
    for entry in tx.read(GROUP_USERS)?.iter()? {
        let (group, users) = entry?;
        if packed_holds(users.value(), user) {
            groups.push(group_of(group.value()));
        }
    }
    Ok(groups)
}

pub(super) fn membership(
    tx: &impl Reading,
    user: UserId,
    named: &BTreeSet<GroupId>,
    of_scope: &BTreeSet<GroupId>,
) -> Result<Membership, Fault> {
    let nesting = Nesting::load(tx)?;
    Ok(Membership {
        groups: nesting.above(direct_groups(tx, user)?),
        complete: nesting.is_complete() && named.iter().all(|group| nesting.0.contains_key(group)),
        read_at: nesting.0.values().filter_map(|record| record.read_at).min(),
        scope_read_at: nesting.read_at(of_scope.iter().copied()),
    })
}

/// Of these groups and everything nested in them, those that were not read since `at`.
pub(super) fn read_before(
    tx: &impl Reading,
    groups: &BTreeSet<GroupId>,
    at: Timestamp,
) -> Result<Vec<GroupId>, Fault> {
    let nesting = Nesting::load(tx)?;
    let mut below = nesting.below(groups.iter().copied());
    below.retain(|group| nesting.read_at_of(*group).is_none_or(|read_at| read_at < at));
    Ok(below.into_iter().collect())
}

pub(super) fn are_read(tx: &impl Reading) -> Result<bool, Fault> {
    Ok(Nesting::load(tx)?.is_complete())
}

/// The groups of which it is known who is in them: read themselves, and all that is nested in them.
pub(super) fn kept(tx: &impl Reading) -> Result<BTreeSet<GroupId>, Fault> {
    let nesting = Nesting::load(tx)?;
    let groups = nesting.0.keys().copied().filter(|group| nesting.read_at([*group]).is_some());
    Ok(groups.collect())
}

/// Every way from a group the user is directly in up to a root, at most [`MOST_PATHS`].
pub(super) fn paths(tx: &impl Reading, user: UserId) -> Result<Vec<Vec<GroupId>>, Fault> {
    let nesting = Nesting::load(tx)?;
    let mut paths = Vec::new();
    let mut open: Vec<Vec<GroupId>> = direct_groups(tx, user)?.into_iter().map(|group| vec![group]).collect();
    open.reverse();
    while let Some(path) = open.pop() {
        let top = *path.last().expect("a path begins with a group");
        if nesting.0.get(&top).is_some_and(|record| record.root) {
            paths.push(path.clone());
        }
        if paths.len() == MOST_PATHS {
            break;
        }
        for parent in nesting.parents(top).filter(|parent| !path.contains(parent)) {
            open.push(path.iter().copied().chain([parent]).collect());
        }
    }
    Ok(paths)
}
