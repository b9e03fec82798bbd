//! Which groups are relevant, who is in them, and who is marked when that changes.

use std::collections::BTreeSet;

use super::support::*;
use crate::domain::queue::Reason;
use crate::domain::user::{GroupId, Membership};
use crate::store::{GroupDiff, GroupMembers, Store};

fn members(users: &[u8], groups: &[u8]) -> GroupMembers {
    GroupMembers {
        users: users.iter().map(|n| user(*n)).collect(),
        groups: groups.iter().map(|n| group(*n)).collect(),
    }
}

async fn record(store: &Store, n: u8, users: &[u8], groups: &[u8]) -> GroupDiff {
    store.record_group(group(n), members(users, groups), at(10)).await.unwrap()
}

fn ids(groups: &[u8]) -> Vec<GroupId> {
    groups.iter().map(|n| group(*n)).collect()
}

/// A store where these groups are configured.
async fn with_roots(roots: &[u8]) -> Store {
    let store = fresh();
    let unread = store.set_roots(&ids(roots).into_iter().collect()).await.unwrap();
    assert_eq!(unread, ids(roots));
    store
}

/// Who is marked; forgets them.
async fn take_marked(store: &Store) -> Vec<u8> {
    let jobs = store.jobs(None, 99, None).await.unwrap();
    for job in &jobs {
        assert_eq!((job.reason, job.first_news_at), (Reason::Group, at(10)));
        store.drop_job(job.user, at(0)).await.unwrap();
    }
    jobs.into_iter().map(|job| job.user.as_bytes()[0]).collect()
}

async fn membership(store: &Store, n: u8) -> (Vec<GroupId>, bool) {
    let Membership { groups, complete, .. } = store.membership(user(n), [].into(), [].into()).await.unwrap();
    (groups.into_iter().collect(), complete)
}

#[tokio::test]
async fn who_joins_or_leaves_is_marked() {
    let store = with_roots(&[1]).await;
    let diff = record(&store, 1, &[1, 2], &[]).await;
    assert_eq!(diff.joined, members(&[1, 2], &[]).users);
    assert_eq!(take_marked(&store).await, [1, 2]);
    assert_eq!(record(&store, 1, &[1, 2], &[]).await, GroupDiff::default());
    assert_eq!(take_marked(&store).await, NOBODY);
    let diff = record(&store, 1, &[2, 3], &[]).await;
    assert_eq!((diff.joined, diff.left), (members(&[3], &[]).users, members(&[1], &[]).users));
    assert_eq!(take_marked(&store).await, [1, 3]);
}

#[tokio::test]
async fn an_irrelevant_group_is_not_kept() {
    let store = with_roots(&[1]).await;
    assert!(!store.is_relevant(group(2)).await.unwrap());
    assert_eq!(record(&store, 2, &[1], &[3]).await, GroupDiff::default());
    assert_eq!(take_marked(&store).await, NOBODY);
    assert_eq!(store.relevant_groups().await.unwrap(), ids(&[1]));
    assert_eq!(membership(&store, 1).await, (vec![], false));
}

#[tokio::test]
async fn to_rules_that_name_another_group_no_membership_is_complete() {
    let store = with_roots(&[1]).await;
    record(&store, 1, &[1], &[]).await;
    let among = async |named: &[u8]| {
        let named = ids(named).into_iter().collect();
        let Membership { groups, complete, .. } = store.membership(user(1), named, [].into()).await.unwrap();
        (groups.into_iter().collect::<Vec<_>>(), complete)
    };
    assert_eq!(among(&[1]).await, (ids(&[1]), true));
    assert_eq!(among(&[]).await, (ids(&[1]), true));
    assert_eq!(among(&[1, 2]).await, (ids(&[1]), false));
}

#[tokio::test]
async fn a_newly_nested_group_becomes_relevant_and_is_to_be_read() {
    let store = with_roots(&[1]).await;
    assert_eq!(record(&store, 1, &[1], &[2]).await.unread, ids(&[2]));
    assert_eq!(take_marked(&store).await, [1]);
    assert!(store.is_relevant(group(2)).await.unwrap());
    assert_eq!(membership(&store, 1).await, (ids(&[1]), false), "not all groups have been read");

    assert_eq!(record(&store, 2, &[1, 2], &[3]).await.unread, ids(&[3]));
    assert_eq!(
        record(&store, 3, &[4], &[]).await,
        GroupDiff { joined: members(&[4], &[]).users, ..GroupDiff::default() }
    );
    assert_eq!(take_marked(&store).await, [1, 2, 4]);
    assert_eq!(membership(&store, 1).await, (ids(&[1, 2]), true));
    assert_eq!(membership(&store, 4).await, (ids(&[1, 2, 3]), true));
    assert_eq!(membership(&store, 9).await, (vec![], true));
    assert_eq!(store.group_members(group(1)).await.unwrap(), members(&[1, 2, 4], &[]).users);
    assert_eq!(store.group_members(group(3)).await.unwrap(), members(&[4], &[]).users);
}

#[tokio::test]
async fn a_group_that_is_nested_no_more_takes_its_users_along() {
    let store = with_roots(&[1]).await;
    record(&store, 1, &[1], &[2]).await;
    record(&store, 2, &[1, 2], &[3]).await;
    record(&store, 3, &[3], &[]).await;
    take_marked(&store).await;
    let diff = record(&store, 1, &[1], &[]).await;
    assert_eq!(diff.left, members(&[2, 3], &[]).users);
    // User 1 stays in the root, but was in group 2 and is in no relevant group of that id any more.
    assert_eq!(take_marked(&store).await, [1, 2, 3]);
    assert_eq!(store.relevant_groups().await.unwrap(), ids(&[1]));
    // Nested again, it must be read anew: its old members are forgotten.
    assert_eq!(record(&store, 1, &[1], &[2]).await.unread, ids(&[2]));
    assert_eq!(membership(&store, 2).await, (vec![], false));
}

#[tokio::test]
async fn who_is_still_in_by_another_way_is_not_marked() {
    let store = with_roots(&[1]).await;
    record(&store, 1, &[], &[2, 3]).await;
    record(&store, 2, &[], &[4]).await;
    record(&store, 3, &[], &[4]).await;
    record(&store, 4, &[1], &[]).await;
    assert_eq!(take_marked(&store).await, [1]);
    // Group 4 stays below 1 by way of 3: only the membership in 2 is lost.
    record(&store, 1, &[1], &[2, 3]).await;
    assert_eq!(take_marked(&store).await, NOBODY, "in the root already, now directly too");
    record(&store, 2, &[], &[]).await;
    assert_eq!(take_marked(&store).await, [1]);
    assert_eq!(membership(&store, 1).await, (ids(&[1, 3, 4]), true));
}

#[tokio::test]
async fn groups_nested_in_a_ring_are_no_trap() {
    let store = with_roots(&[1]).await;
    record(&store, 1, &[1], &[2]).await;
    record(&store, 2, &[2], &[1]).await;
    assert_eq!(membership(&store, 1).await, (ids(&[1, 2]), true));
    assert_eq!(membership(&store, 2).await, (ids(&[1, 2]), true));
    take_marked(&store).await;
    record(&store, 2, &[2], &[]).await;
    assert_eq!(take_marked(&store).await, [1], "not in group 2 any more");
    let paths = store.membership_paths(user(2)).await.unwrap();
    assert_eq!(paths, [ids(&[2, 1])]);
}

#[tokio::test]
async fn roots_can_change() {
    let store = with_roots(&[1, 5]).await;
    record(&store, 1, &[1], &[2]).await;
    record(&store, 2, &[2], &[]).await;
    record(&store, 5, &[5], &[]).await;
    let set = async |roots: &[u8]| store.set_roots(&ids(roots).into_iter().collect()).await.unwrap();
    assert_eq!(set(&[2, 6]).await, ids(&[6]), "group 2 was read when it was nested");
    assert_eq!(store.relevant_groups().await.unwrap(), ids(&[2, 6]));
    assert_eq!(membership(&store, 2).await, (ids(&[2]), false));
    assert_eq!(membership(&store, 5).await, (vec![], false));
    assert_eq!(set(&[]).await, []);
    assert_eq!(membership(&store, 2).await, (vec![], true));
}

#[tokio::test]
async fn every_way_up_to_a_root_is_shown() {
    let store = with_roots(&[1, 2]).await;
    record(&store, 1, &[9], &[3]).await;
    record(&store, 2, &[], &[1, 3]).await;
    record(&store, 3, &[9], &[]).await;
    let mut paths = store.membership_paths(user(9)).await.unwrap();
    paths.sort();
    assert_eq!(paths, [ids(&[1]), ids(&[1, 2]), ids(&[3, 1]), ids(&[3, 1, 2]), ids(&[3, 2])]);
    assert_eq!(store.membership_paths(user(8)).await.unwrap(), Vec::<Vec<GroupId>>::new());
}

#[tokio::test]
async fn a_group_of_thousands_is_recorded_and_its_users_are_marked() {
    let store = with_roots(&[1]).await;
    let users = (0..3000_u16).map(|n| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        crate::domain::user::UserId::from_bytes(id)
    });
    let members = GroupMembers { users: users.collect(), groups: BTreeSet::new() };
    let diff = store.record_group(group(1), members, at(10)).await.unwrap();
    assert_eq!(diff.joined.len(), 3000);
    assert_eq!(store.next_due(at(11)).await.unwrap(), Some(at(11)));
    for _ in 0..3 {
        store.claim(0, at(11)).await.unwrap();
    }
    assert_eq!(store.depth(at(11)).await.unwrap().due, 3000);
}

#[tokio::test]
async fn the_scope_is_as_old_as_its_own_groups() {
    let store = with_roots(&[1, 2]).await;
    let read_at = async |of_scope: &[u8]| {
        let of_scope = ids(of_scope).into_iter().collect();
        store.membership(user(1), [].into(), of_scope).await.unwrap().scope_read_at
    };
    let read = async |n, users: &[u8], nested: &[u8], second| {
        store.record_group(group(n), members(users, nested), at(second)).await.unwrap();
    };
    read(1, &[1], &[3], 10).await;
    assert_eq!(read_at(&[1]).await, None, "what is nested in it has not been read");
    read(3, &[], &[], 7).await;
    assert_eq!(read_at(&[1]).await, Some(at(7)), "that of a role need not be read");
    assert_eq!((read_at(&[1, 2]).await, read_at(&[9]).await), (None, None));
    read(2, &[], &[], 30).await;
    assert_eq!((read_at(&[1, 2]).await, read_at(&[2]).await), (Some(at(7)), Some(at(30))));
    let before =
        async |second| store.groups_read_before(ids(&[1]).into_iter().collect(), at(second)).await.unwrap();
    assert_eq!(before(7).await, []);
    assert_eq!(before(8).await, ids(&[3]));
    assert_eq!(before(11).await, ids(&[1, 3]));
}

#[tokio::test]
async fn exactly_those_are_marked_whose_membership_changed() {
    let memberships = async |store: &Store| {
        let mut all = Vec::new();
        for n in 1..=5 {
            all.push(membership(store, n).await.0);
        }
        all
    };
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let store = with_roots(&[1, 2]).await;
        let mut some = |most: u8| (1..=most).filter(|_| random.u8(..) < 90).collect::<Vec<_>>();
        for _ in 0..16 {
            let (users, nested, groups) = (some(5), some(6), some(6));
            for n in groups {
                let (before, was) = (memberships(&store).await, store.group_members(group(n)).await.unwrap());
                let diff = record(&store, n, &users, &nested).await;
                let (after, is) = (memberships(&store).await, store.group_members(group(n)).await.unwrap());
                let changed = (1..=5).filter(|n| before[usize::from(n - 1)] != after[usize::from(n - 1)]);
                assert_eq!(take_marked(&store).await, changed.collect::<Vec<_>>(), "seed {seed}");
                if store.is_relevant(group(n)).await.unwrap() {
                    assert_eq!(diff.joined, is.difference(&was).copied().collect(), "seed {seed}");
                    assert_eq!(diff.left, was.difference(&is).copied().collect(), "seed {seed}");
                }
            }
        }
    }
}
