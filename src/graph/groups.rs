//! Reading who is directly in a group, to the last page or not at all.

use std::collections::HashSet;

use super::users::is_absent;
use super::{Error, Graph, wire};
use crate::domain::observed::Observed;
use crate::domain::user::{GroupId, GroupMembers};
use crate::outbound::{Response, StatusCode, Url};

const DOING: &str = "read the members of a group";
/// Pages of 999 hold a million members in half of this: more is a fault, not a group.
const MOST_PAGES: usize = 2_000;

impl Graph {
    /// The direct members that are users or groups; devices, contacts and applications are left out.
    /// `Absent` when there is no such group.
    pub async fn group_members(&self, group: GroupId) -> Result<Observed<GroupMembers>, Error> {
        let mut url = self.url(["groups", &group.to_string(), "members"], "$select=id&$top=999");
        let mut members = GroupMembers::default();
        let mut seen: HashSet<Url> = HashSet::new();
        loop {
            let first = seen.is_empty();
            if !seen.insert(url.clone()) {
                return Err(Error::malformed(DOING, "the pages go round in a circle"));
            }
            if seen.len() > MOST_PAGES {
                return Err(Error::malformed(DOING, "the pages do not end"));
            }
            let response = self.get(DOING, url).await?;
            // A group that goes while it is read is looked at again, not taken for an empty one.
            if first && is_absent(&response) {
                return Ok(Observed::Absent);
            }
            match add_page(&response, &mut members)? {
                None => return Ok(Observed::Present(members)),
                Some(next) => {
                    url = self.api().own(&next).map_err(|source| Error::outbound(DOING, source))?;
                }
            }
        }
    }
}

fn add_page(response: &Response, members: &mut GroupMembers) -> Result<Option<String>, Error> {
    if response.status != StatusCode::OK {
        return Err(Error::refusal(DOING, response));
    }
    let page: wire::Page<wire::Reference> = serde_json::from_slice(&response.body)
        .map_err(|_| Error::malformed(DOING, "the answer is not a whole page"))?;
    for wire::Reference { id, kind } in page.value {
        let kind = kind.ok_or_else(|| Error::malformed(DOING, "a member has no type"))?;
        let no_id = |error| Error::malformed(DOING, error);
        match kind.to_ascii_lowercase().as_str() {
            "#microsoft.graph.user" => members.users.insert(id.parse().map_err(no_id)?),
            "#microsoft.graph.group" => members.groups.insert(id.parse().map_err(no_id)?),
            _ => false,
        };
    }
    Ok(page.next_link)
}

#[cfg(test)]
mod tests;
