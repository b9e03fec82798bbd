//! Everybody the target shows, where it lets itself be listed.
//!
//! NICE publishes no list: its search requires a filter and names no paging. So it is tried, and
//! what comes back is not believed to be everybody unless it adds up: targets ignore `startIndex`,
//! show users twice, return short pages and miscount. The pages end with the first that shows nobody
//! new, whatever the target counts.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::errors::{Error, Said};
use super::place::lookup;
use super::wire::{entries, is_id};
use super::{Cxone, filter, unsuccessful};
use crate::domain::adopt::Account;
use crate::domain::user::ScimId;
use crate::outbound::{Method, Request, StatusCode};

/// Users asked for at once. Targets refuse, or silently shorten, much larger pages.
const PAGE: usize = 100;
/// Pages of ten still cover a hundred thousand users: more is a fault, not a tenant.
const MOST_PAGES: usize = 10_000;
/// True of everybody, for a target that requires a filter.
const EVERYBODY: &str = "userName pr";

/// What a target lists. The entries are for matching only: like search hits they lack attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// At least as many different users as the last page counted: everybody.
    Complete(Vec<Account>),
    /// The pages ended before `total` users had been shown. Who is not among these may exist.
    Partial { shown: Vec<Account>, total: u64 },
    /// The target does not list its users.
    NotOffered,
}

/// What one page says.
struct Page {
    shown: Vec<Account>,
    total: u64,
}

impl Cxone {
    /// Lists the target's users: without a filter, else with one that is true of everybody.
    ///
    /// # Errors
    /// When a page fails, is not whole, or the pages do not end: a listing that broke off says
    /// nothing of those it did not show.
    pub async fn list(&self) -> Result<Listing, Error> {
        for filter in [None, Some(EVERYBODY)] {
            let listing = self.list_by(filter).await?;
            if listing != Listing::NotOffered {
                return Ok(listing);
            }
        }
        Ok(Listing::NotOffered)
    }

    async fn list_by(&self, filter: Option<&str>) -> Result<Listing, Error> {
        let (mut shown, mut seen) = (Vec::new(), HashSet::<ScimId>::new());
        let (mut total, mut asked_from, mut capped) = (0, 1, false);
        for n in 0..MOST_PAGES {
            let page = match self.page(filter, asked_from).await? {
                Some(page) => page,
                None if n == 0 => return Ok(Listing::NotOffered),
                None => return Err(malformed("a later page is refused although the first was not")),
            };
            let n_shown = page.shown.len();
            let before = seen.len();
            shown.extend(page.shown.into_iter().filter(|account| seen.insert(account.id.clone())));
            // Past the end some targets count what the page shows: nobody.
            if page.total > 0 || seen.is_empty() {
                total = page.total;
            }
            if seen.len() > before {
                asked_from += n_shown;
                continue;
            }
            // A full page of known users is no end but a `startIndex` that is ignored, and then the
            // target may count no further than a page.
            capped |= n_shown == PAGE;
            return Ok(match shown.is_empty() {
                // The employee whose access key we use is a user: nobody at all is no answer.
                true => Listing::NotOffered,
                false if !capped && seen.len() as u64 >= total => Listing::Complete(shown),
                false => Listing::Partial { shown, total },
            });
        }
        Err(malformed("its pages do not end"))
    }

    /// One page; `None` when the target refuses to list so.
    async fn page(&self, filter: Option<&str>, start: usize) -> Result<Option<Page>, Error> {
        let mut url = self.inner.scim.url(["Users"]);
        let filter = filter.map(|filter| filter::query(filter) + "&").unwrap_or_default();
        url.set_query(Some(&format!("{filter}startIndex={start}&count={PAGE}")));
        let response = self.send(Request::new(Method::GET, url)).await?;
        match response.status {
            StatusCode::OK => read(&response.body).map(Some),
            StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED => Ok(None),
            // In SCIM's own words: a gateway's page says nothing of the target.
            StatusCode::METHOD_NOT_ALLOWED if Said::read(&response.body).is_scim => Ok(None),
            _ => Err(unsuccessful(&response, "a list of users")),
        }
    }
}

fn read(body: &[u8]) -> Result<Page, Error> {
    let list: Json = serde_json::from_slice(body).map_err(|_| malformed("it is not complete JSON"))?;
    let list = list.as_object().ok_or_else(|| malformed("it is not an object"))?;
    let total = lookup(list, "totalResults").and_then(Json::as_u64);
    let total = total.ok_or_else(|| malformed("it does not say how many"))?;
    let shown = match lookup(list, "Resources") {
        None => Vec::new(),
        Some(Json::Array(resources)) => resources.iter().map(account).collect::<Result<_, _>>()?,
        Some(_) => return Err(malformed("its Resources are not a list")),
    };
    Ok(Page { shown, total })
}

fn account(resource: &Json) -> Result<Account, Error> {
    let user = resource.as_object().ok_or_else(|| malformed("it shows what is no object"))?;
    let id =
        text(user, "id")?.filter(|id| is_id(id)).ok_or_else(|| malformed("it shows a user without an id"))?;
    let emails = entries(user, "emails").map_err(|_| malformed("it shows emails that are no list"))?;
    let address = |entry: &Json| text(entry.as_object()?, "value").transpose();
    Ok(Account {
        id: ScimId(id),
        user_name: text(user, "userName")?,
        external_id: text(user, "externalId")?,
        emails: emails.iter().filter_map(address).collect::<Result<_, _>>()?,
        active: is_active(user)?,
    })
}

/// Empty is absent.
fn text(object: &Map<String, Json>, name: &str) -> Result<Option<String>, Error> {
    match lookup(object, name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(malformed(&format!("it shows a {name} that is no text"))),
    }
}

/// Who does not say is active, as in `TargetUser::is_active`.
fn is_active(user: &Map<String, Json>) -> Result<bool, Error> {
    match lookup(user, "active") {
        None => Ok(true),
        Some(Json::Bool(active)) => Ok(*active),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(malformed("it shows an active that is neither true nor false")),
    }
}

fn malformed(what: &str) -> Error {
    Error::Malformed { asked: "a list of users", what: what.to_owned() }
}

#[cfg(test)]
mod tests;
