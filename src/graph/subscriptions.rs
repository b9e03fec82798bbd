//! Graph's change subscriptions: making, finding, renewing and ending them.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;

use super::wire::{self, Fault};
use super::{Error, Graph};
use crate::domain::observed::Observed;
use crate::domain::subscription::{Resource, Subscription};
use crate::outbound::{Method, Request, Response, StatusCode, Url};

/// The one form on which all of Graph's pages agree: `updated` covers created and soft-deleted,
/// `deleted` means for good.
const CHANGE_TYPE: &str = "updated,deleted";
const LIST: &str = "list the subscriptions";
const CREATE: &str = "create a subscription";
const RENEW: &str = "renew a subscription";
const DELETE: &str = "delete a subscription";
/// An application may have 100 in a tenant.
const MOST_PAGES: usize = 100;

/// What is to be subscribed. The listener must already answer: Graph calls both addresses before it
/// answers us.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    pub resource: Resource,
    pub notification_url: String,
    pub lifecycle_url: String,
    /// At most 128 characters.
    pub client_state: String,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// With the expiry that Graph gave it, which may differ from the one asked for.
    Made(Subscription),
    /// There is one for the same resource and change types (409).
    AlreadyThere,
}

/// One that Graph has for our application, for users or groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSubscription {
    pub subscription: Subscription,
    pub change_type: String,
    pub lifecycle_url: Option<String>,
    /// Whether Graph shows it is not documented.
    pub client_state: Option<String>,
}

impl Graph {
    /// All of this application's subscriptions to `users` and `groups`, whoever made them.
    pub async fn subscriptions(&self) -> Result<Vec<RemoteSubscription>, Error> {
        let mut url = self.url(["subscriptions"], "");
        let mut seen: HashSet<Url> = HashSet::new();
        let mut found = Vec::new();
        loop {
            if !seen.insert(url.clone()) || seen.len() > MOST_PAGES {
                return Err(Error::malformed(LIST, "the pages do not end"));
            }
            let response = self.get(LIST, url).await?;
            let page: wire::Page<wire::Subscription> = read(LIST, StatusCode::OK, &response)?;
            for item in page.value {
                // Other resources are none of our business.
                if let Ok(resource) = item.resource.parse() {
                    found.push(self.remote(item, resource)?);
                }
            }
            match page.next_link {
                None => return Ok(found),
                Some(next) => {
                    url = self.api().own(&next).map_err(|source| Error::outbound(LIST, source))?;
                }
            }
        }
    }

    pub async fn create_subscription(&self, new: &NewSubscription) -> Result<Created, Error> {
        let body = wire::NewSubscription {
            change_type: CHANGE_TYPE,
            notification_url: &new.notification_url,
            lifecycle_notification_url: &new.lifecycle_url,
            resource: new.resource.path(),
            expiration_date_time: written(new.expires_at),
            client_state: &new.client_state,
            latest_supported_tls_version: "v1_2",
        };
        let request = with_json(Method::POST, self.url(["subscriptions"], ""), &body);
        let response = self.call(CREATE, request).await?;
        if response.status == StatusCode::CONFLICT {
            return Ok(Created::AlreadyThere);
        }
        let made: wire::Subscription = read(CREATE, StatusCode::CREATED, &response)?;
        if made.resource.parse() != Ok(new.resource) {
            return Err(Error::malformed(CREATE, "the answer is about another resource"));
        }
        let notification_url = made.notification_url.unwrap_or_else(|| new.notification_url.clone());
        let expires_at = read_time(CREATE, made.expiration_date_time.as_deref())?;
        let (id, resource, renewed_at) = (made.id, new.resource, self.inner.clock.now());
        let signed_by = None;
        Ok(Created::Made(Subscription { id, resource, notification_url, expires_at, renewed_at, signed_by }))
    }

    /// Renews, which also answers `reauthorizationRequired`. `Absent` when Graph has it no more: a
    /// new one must be made.
    pub async fn renew_subscription(
        &self,
        subscription: &Subscription,
        expires_at: Timestamp,
    ) -> Result<Observed<Subscription>, Error> {
        let body = wire::Renewal { expiration_date_time: written(expires_at) };
        let url = self.url(["subscriptions", &subscription.id], "");
        let response = self.call(RENEW, with_json(Method::PATCH, url, &body)).await?;
        if is_gone(&response) {
            return Ok(Observed::Absent);
        }
        let renewed: wire::Subscription = read(RENEW, StatusCode::OK, &response)?;
        if !renewed.id.eq_ignore_ascii_case(&subscription.id) {
            return Err(Error::malformed(RENEW, "the answer is about another subscription"));
        }
        let expires_at = read_time(RENEW, renewed.expiration_date_time.as_deref())?;
        let renewed_at = self.inner.clock.now();
        Ok(Observed::Present(Subscription { expires_at, renewed_at, ..subscription.clone() }))
    }

    pub async fn delete_subscription(&self, id: &str) -> Result<Observed<()>, Error> {
        let url = self.url(["subscriptions", id], "");
        let response = self.call(DELETE, Request::new(Method::DELETE, url)).await?;
        match response.status {
            _ if is_gone(&response) => Ok(Observed::Absent),
            StatusCode::NO_CONTENT | StatusCode::OK => Ok(Observed::Present(())),
            _ => Err(Error::refusal(DELETE, &response)),
        }
    }

    fn remote(&self, item: wire::Subscription, resource: Resource) -> Result<RemoteSubscription, Error> {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let subscription = Subscription {
            expires_at: read_time(LIST, item.expiration_date_time.as_deref())?,
            renewed_at: self.inner.clock.now(),
            notification_url: item.notification_url.unwrap_or_default(),
            id: item.id,
            resource,
            signed_by: None,
        };
        Ok(RemoteSubscription {
            subscription,
            change_type: item.change_type.unwrap_or_default(),
            lifecycle_url: said(item.lifecycle_notification_url),
            client_state: said(item.client_state),
        })
    }
}

fn with_json(method: Method, url: Url, body: &impl Serialize) -> Request {
    let body = serde_json::to_vec(body).expect("strings can be written as JSON");
    Request::new(method, url).body("application/json", body)
}

fn read<T: serde::de::DeserializeOwned>(
    doing: &'static str,
    wanted: StatusCode,
    response: &Response,
) -> Result<T, Error> {
    if response.status != wanted {
        return Err(Error::refusal(doing, response));
    }
    serde_json::from_slice(&response.body)
        .map_err(|_| Error::malformed(doing, "the answer is not a whole subscription"))
}

fn read_time(doing: &'static str, text: Option<&str>) -> Result<Timestamp, Error> {
    let text = text.ok_or_else(|| Error::malformed(doing, "the answer has no expiry"))?;
    text.parse().map_err(|_| Error::malformed(doing, "the expiry is not a time"))
}

/// Whole seconds: Graph refuses some of the longer fractions.
fn written(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// Unlike users, a missing subscription has no one code; a 404 that is not Graph's does not count.
fn is_gone(response: &Response) -> bool {
    response.status == StatusCode::NOT_FOUND && Fault::read(&response.body).is_some()
}

#[cfg(test)]
mod tests;
