//! Microsoft Graph: the only module that knows its JSON.
//!
//! A [`Graph`] is pinned to one address and attaches its bearer token only to requests that go
//! there. It never retries, but for one thing: an answer of 401 gets a fresh token and a second
//! try. What an answer costs (wait, park, outage) is the caller's to decide; here it is only told
//! apart, by [`Error`]. Nothing but a complete and well-formed answer becomes
//! [`Present`](crate::domain::observed::Observed::Present) or `Absent`.
//!
//! `notification` is the other direction, Graph calling us; it is pure and needs no [`Graph`].

mod batch;
mod credential;
mod delta;
mod error;
mod groups;
pub mod notification;
mod selection;
mod subscriptions;
mod token;
mod users;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::outbound::{
    Api, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Tenant, Transport, Url, header,
};
use crate::random::Random;
use crate::shutdown::Tasks;
use crate::telemetry::Metrics;
use batch::Batch;
pub use credential::{Credential, CredentialError};
pub use delta::{GroupItem, Page, PageNext, UserItem};
pub use error::{Error, Refusal};
use selection::Selection;
pub use selection::cannot_be_read;
pub use subscriptions::{Created, NewSubscription, RemoteSubscription};
use token::{Bearer, Tokens};
pub use users::fingerprint;

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");

/// What a [`Graph`] is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Such as `https://graph.microsoft.com/v1.0`; each national cloud has its own.
    pub base_url: Url,
    /// Such as `https://login.microsoftonline.com`. Not used with a managed identity.
    pub login_url: Url,
    /// A GUID or a domain of the tenant.
    pub tenant_id: String,
    /// The tenant itself: no token of another is used.
    pub tenant: Tenant,
    pub credential: Credential,
    /// The names of user attributes that mappings and rules read.
    pub properties: BTreeSet<String>,
    pub max_connections: usize,
}

/// The client. Clones share the token, the gate and the batches.
#[derive(Clone, Debug)]
pub struct Graph {
    inner: Arc<Inner>,
    selection: Arc<Selection>,
}

#[derive(Debug)]
struct Inner {
    api: Api,
    tokens: Tokens,
    batch: Batch,
    clock: Clock,
    random: Random,
    tasks: Tasks,
}

impl Graph {
    /// Sends nothing yet. A credential that cannot be used shows at the first call; to know before,
    /// ask [`Credential::check`].
    pub fn new(
        settings: Settings,
        transport: Transport,
        clock: Clock,
        random: Random,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        let tokens = Tokens::new(
            &settings,
            transport.clone(),
            clock.clone(),
            random.clone(),
            metrics.clone(),
            tasks.clone(),
        );
        let selection = Arc::new(Selection::new(&settings.properties));
        let api =
            Api::new("graph", settings.base_url, transport, settings.max_connections, clock.clone(), metrics);
        let inner = Arc::new(Inner { api, tokens, batch: Batch::default(), clock, random, tasks });
        Self { inner, selection }
    }

    /// The same client, but for which attributes it reads of every user. Whoever holds the old one
    /// goes on reading the old ones.
    pub fn selecting(&self, properties: &BTreeSet<String>) -> Self {
        Self { inner: self.inner.clone(), selection: Arc::new(Selection::new(properties)) }
    }

    /// When Graph may be asked again, if it asked us to wait.
    pub fn closed_until(&self) -> Option<Timestamp> {
        self.api().closed_until()
    }

    /// What is read of every user, as `$select=…`. A stored delta link goes on with the selection it
    /// was begun with: when this has changed, the round must be begun anew.
    pub fn selected(&self) -> &str {
        self.selection.query()
    }

    /// Takes another credential, for all clones. `false`: it needs a restart.
    pub fn exchange_credential(&self, credential: Credential) -> bool {
        self.inner.tokens.exchange(credential)
    }

    /// The tenant whose tokens we use, once one is known.
    pub fn tenant(&self) -> Option<&str> {
        self.inner.tokens.tenant()
    }

    /// Gets a token if there is none in service, and does nothing with it: for `doctor` and probes.
    pub async fn sign_in(&self) -> Result<(), Error> {
        self.inner.tokens.current().await.map(drop)
    }

    /// The application permissions in the token in service, fetched when there is none. `None`: it is no
    /// token that can be looked into.
    pub async fn permissions(&self) -> Result<Option<BTreeSet<String>>, Error> {
        Ok(self.inner.tokens.current().await?.roles())
    }

    /// How far Graph's clock was ahead of ours at its last answer.
    pub fn skew(&self) -> Option<SignedDuration> {
        self.api().skew()
    }

    fn api(&self) -> &Api {
        &self.inner.api
    }

    /// `segments` below the base address, with a query that is already encoded.
    fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>, query: &str) -> Url {
        let mut url = self.api().url(segments);
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    async fn get(&self, doing: &'static str, url: Url) -> Result<Response, Error> {
        self.call(doing, Request::new(Method::GET, url)).await
    }

    /// Sends with a token; on 401 once more with a fresh one. Any other status is `Ok`.
    async fn call(&self, doing: &'static str, request: Request) -> Result<Response, Error> {
        let bearer = self.inner.tokens.current().await?;
        let response = self.send(doing, &request, &bearer).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let bearer = self.inner.tokens.replace(&bearer).await?;
        let response = self.send(doing, &request, &bearer).await?;
        if response.status == StatusCode::UNAUTHORIZED {
            return Err(Error::refusal(doing, &response));
        }
        Ok(response)
    }

    async fn send(&self, doing: &'static str, request: &Request, bearer: &Bearer) -> Result<Response, Error> {
        // Support asks for this id; it is new for every request, a repeated one included.
        let id = HeaderValue::from_str(&self.inner.random.guid().to_string()).expect("a GUID is ASCII");
        let request = request
            .clone()
            .header(CLIENT_REQUEST_ID, id)
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
            .header(header::AUTHORIZATION, bearer.header());
        self.api().send(request).await.map_err(|source| Error::outbound(doing, source))
    }
}

#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;
