//! Who is linked to whom, in both directions.

use redb::{ReadableTable, ReadableTableMetadata as _};

use super::error::Fault;
use super::record::{decode, encode};
use super::tables::{Id, LINKED_TO, LINKS};
use super::transaction::{Reading, Writing};
use crate::domain::link::Link;
use crate::domain::queue::LinkChange;
use crate::domain::user::{ScimId, UserId};

pub(super) fn link(tx: &impl Reading, user: UserId) -> Result<Option<Link>, Fault> {
    tx.read(LINKS)?.get(user.as_bytes())?.map(|value| decode(value.value())).transpose()
}

pub(super) fn linked_to(tx: &impl Reading, scim_id: &ScimId) -> Result<Option<UserId>, Fault> {
    let linked_to = tx.read(LINKED_TO)?;
    let user = linked_to.get(scim_id.0.as_bytes())?;
    Ok(user.map(|user| UserId::from_bytes(*user.value())))
}

pub(super) fn count(tx: &impl Reading) -> Result<u64, Fault> {
    Ok(tx.read(LINKS)?.len()?)
}

/// A page of links in the order of their users.
pub(super) fn links(
    tx: &impl Reading,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<(UserId, Link)>, Fault> {
    let from = after.unwrap_or(UserId::from_bytes([0; 16]));
    let mut links = Vec::new();
    for entry in tx.read(LINKS)?.range::<&Id>(from.as_bytes()..)? {
        let (user, link) = entry?;
        let user = UserId::from_bytes(*user.value());
        if links.len() == limit {
            break;
        }
        if Some(user) != after {
            links.push((user, decode(link.value())?));
        }
    }
    Ok(links)
}

/// The linked users that are not among `seen`, which is sorted.
pub(super) fn unseen(tx: &impl Reading, seen: &[UserId]) -> Result<Vec<UserId>, Fault> {
    let mut unseen = Vec::new();
    for entry in tx.read(LINKS)?.iter()? {
        let user = UserId::from_bytes(*entry?.0.value());
        if seen.binary_search(&user).is_err() {
            unseen.push(user);
        }
    }
    Ok(unseen)
}

pub(super) fn change(tx: &Writing, user: UserId, change: &LinkChange) -> Result<(), Fault> {
    let link = match change {
        LinkChange::Keep => return Ok(()),
        LinkChange::Put(link) => Some(link),
        LinkChange::Remove => None,
    };
    let mut links = tx.write(LINKS)?;
    let mut linked_to = tx.write(LINKED_TO)?;
    let old = match link {
        Some(link) => links.insert(user.as_bytes(), encode(link.as_ref()).as_slice())?,
        None => links.remove(user.as_bytes())?,
    };
    if let Some(old) = old {
        let old: Link = decode(old.value())?;
        let old = old.scim_id.0.as_bytes();
        // The target may have been linked to somebody else since.
        let ours = linked_to.get(old)?.is_some_and(|linked| linked.value() == user.as_bytes());
        if ours {
            linked_to.remove(old)?;
        }
    }
    if let Some(link) = link {
        linked_to.insert(link.scim_id.0.as_bytes(), user.as_bytes())?;
    }
    Ok(())
}
