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

/// An account that was passed on stays with whoever has it now, however the links of those who had it before
/// change.
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
    let old = old.map(|old| decode::<Link>(old.value())).transpose()?.map(|old| old.scim_id);
    let mut holder = None;
    if let Some(old) = &old {
        holder = linked_to.get(old.0.as_bytes())?.map(|user| *user.value());
        if holder == Some(*user.as_bytes()) {
            linked_to.remove(old.0.as_bytes())?;
            holder = None;
        }
    }
    if let Some(link) = link
        && !(holder.is_some() && old.as_ref() == Some(&link.scim_id))
    {
        linked_to.insert(link.scim_id.0.as_bytes(), user.as_bytes())?;
    }
    Ok(())
}

/// What became of a pair that was to be linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    Linked,
    /// The user was linked already, to this target.
    UserIsLinked(ScimId),
    /// The target was linked already, to this user.
    TargetIsLinked(UserId),
}

/// Links the pairs of which neither side is linked, one after the other.
pub(super) fn adopt(tx: &Writing, pairs: &[(UserId, Link)]) -> Result<Vec<Adoption>, Fault> {
    let mut adoptions = Vec::with_capacity(pairs.len());
    for (user, new) in pairs {
        adoptions.push(if let Some(old) = link(tx, *user)? {
            Adoption::UserIsLinked(old.scim_id)
        } else if let Some(other) = linked_to(tx, &new.scim_id)? {
            Adoption::TargetIsLinked(other)
        } else {
            tx.write(LINKS)?.insert(user.as_bytes(), encode(new).as_slice())?;
            tx.write(LINKED_TO)?.insert(new.scim_id.0.as_bytes(), user.as_bytes())?;
            Adoption::Linked
        });
    }
    Ok(adoptions)
}
