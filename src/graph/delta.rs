//! Delta rounds, one page at a time: what changed since a link, and the link to go on from.
//!
//! A page has a `nextLink` or a `deltaLink`, never both and never neither; an empty page with a
//! `nextLink` is no end; an item may come again, in any order, and `@removed` also in a first round.
//! All of that is passed on as it comes: the store makes a round of it.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::wire::{Fault, GroupChange, Object};
use super::{Error, Graph, wire};
use crate::domain::evidence::RemovedReason;
use crate::domain::user::{GroupId, SourceUser, UserId};
use crate::outbound::{Response, StatusCode};

const DOING: &str = "read a page of changes";
const EXPIRED: [&str; 2] = ["syncStateNotFound", "resyncRequired"];

/// One page of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: PageNext,
}

/// How a round goes on. Both links are kept and sent back as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageNext {
    /// The next page.
    More(String),
    /// The round is over; the next one starts here, within seven days.
    End(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserItem {
    pub id: UserId,
    /// The user, when the item shows it whole.
    pub details: Option<SourceUser>,
    pub removed: Option<RemovedReason>,
    /// The item says that the account is disabled, whole or not.
    pub disabled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupItem {
    pub id: GroupId,
    pub removed: Option<RemovedReason>,
    pub members_changed: bool,
}

impl Graph {
    /// One page of changed users. Without a link, a full round begins: everybody is in it.
    pub async fn user_page(&self, link: Option<&str>) -> Result<Page<UserItem>, Error> {
        let page = self.page("users", self.selection.query(), link).await?;
        page.items_as(|object| self.user_item(&object))
    }

    /// As [`Graph::user_page`], of groups and their memberships.
    pub async fn group_page(&self, link: Option<&str>) -> Result<Page<GroupItem>, Error> {
        let page = self.page("groups", "$select=id,members", link).await?;
        page.items_as(group_item)
    }

    async fn page<T: DeserializeOwned>(
        &self,
        resource: &'static str,
        query: &str,
        link: Option<&str>,
    ) -> Result<Page<T>, Error> {
        let own = |link: &str| self.api().own(link).map_err(|source| Error::outbound(DOING, source));
        let url = match link {
            Some(link) => own(link)?,
            None => self.url([resource, "delta"], query),
        };
        let response = self.get(DOING, url).await?;
        if response.status != StatusCode::OK {
            // The `Location` of a 410 is not followed: nobody promises that it selects what we did, and
            // a round that does not would never again show who is disabled.
            let expired = link.is_some() && has_expired(&response);
            return Err(if expired { Error::ResyncRequired } else { Error::refusal(DOING, &response) });
        }
        let page: wire::Page<T> = serde_json::from_slice(&response.body)
            .map_err(|_| Error::malformed(DOING, "the answer is not a whole page"))?;
        let next = match (page.next_link, page.delta_link) {
            (Some(next), None) if Some(next.as_str()) == link => {
                return Err(Error::malformed(DOING, "the next page is the same one again"));
            }
            (Some(next), None) => PageNext::More(next),
            (None, Some(end)) => PageNext::End(end),
            _ => return Err(Error::malformed(DOING, "the page does not say how the round goes on")),
        };
        // Checked before it is kept: a stored link must not lead elsewhere after a restart either.
        let (PageNext::More(link) | PageNext::End(link)) = &next;
        own(link)?;
        Ok(Page { items: page.value, next })
    }

    fn user_item(&self, object: &Object) -> Result<UserItem, Error> {
        let id = object.get("id").and_then(Json::as_str).unwrap_or_default();
        let id = id.parse().map_err(|error| Error::malformed(DOING, error))?;
        let removed = removed(object.get("@removed"));
        let disabled = object.get("accountEnabled") == Some(&Json::Bool(false));
        let selection = &self.selection;
        let whole = removed.is_none() && selection.is_whole(object);
        let details = whole.then(|| selection.read(DOING, object, Some(id)).ok()).flatten();
        Ok(UserItem { id, details, removed, disabled })
    }
}

impl<T> Page<T> {
    fn items_as<U>(self, read: impl FnMut(T) -> Result<U, Error>) -> Result<Page<U>, Error> {
        let items = self.items.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Page { items, next: self.next })
    }
}

fn group_item(change: GroupChange) -> Result<GroupItem, Error> {
    let id = change.id.parse().map_err(|error| Error::malformed(DOING, error))?;
    let members_changed =
        change.members.is_some_and(|members| members.as_array().is_none_or(|m| !m.is_empty()));
    Ok(GroupItem { id, removed: removed(change.removed.as_ref()), members_changed })
}

/// A reason that we do not know is taken for the one that can be undone.
fn removed(annotation: Option<&Json>) -> Option<RemovedReason> {
    let annotation = annotation.filter(|annotation| !annotation.is_null())?;
    match annotation.get("reason").and_then(Json::as_str) {
        Some(reason) if reason.eq_ignore_ascii_case("deleted") => Some(RemovedReason::Deleted),
        _ => Some(RemovedReason::Changed),
    }
}

/// 410 whatever it says; 400 and 404 only with a code that means it.
fn has_expired(response: &Response) -> bool {
    match response.status {
        StatusCode::GONE => true,
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
            Fault::read(&response.body).is_some_and(|fault| fault.is(&EXPIRED))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
