//! CXone as a SCIM 2.0 service provider. The only module that knows SCIM's JSON.
//!
//! Answers are judged, not trusted: a user is who they were asked to be, a search hit has the key
//! that was asked for, and only SCIM's own 404 says that somebody is absent. What NICE does not
//! publish is found out and remembered ([`Learned`]): the dialect of a change, the filters that are
//! refused, the content type. There are no retries here but for one new token after a 401.

mod describe;
mod dialect;
pub mod discovery;
mod entry;
mod errors;
mod filter;
mod list;
mod merge;
mod place;
mod preview;
mod token;
mod update;
mod wire;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use describe::Provider;
pub use dialect::{Dialect, DialectChoice};
pub use discovery::{Discovered, discover};
pub use errors::Error;
pub use filter::has_key;
pub use list::Listing;
pub use preview::{Draft, Intent};
pub use token::Auth;
pub use wire::User;

use crate::clock::Clock;
use crate::domain::observed::Observed;
use crate::domain::rules::MatchKey;
use crate::domain::user::{Attribute, Attributes, ScimId, Value};
use crate::outbound::{
    Api, HeaderValue, Method, Request, Response, StatusCode, Tenant, Transport, Url, header,
};
use crate::telemetry::Metrics;
use errors::Said;
use filter::Hits;
use token::Tokens;
use wire::RoleNames;

/// RFC 7644, 3.1.
const SCIM_JSON: &str = "application/scim+json";
const PLAIN_JSON: &str = "application/json";

#[derive(Clone, Debug)]
pub struct Settings {
    /// Where `/Users` is, such as `https://api-na1.niceincontact.com/scim/v2`.
    pub scim_url: Url,
    /// The first is used, the next when that is refused. At least one.
    pub auths: Vec<Auth>,
    /// The tenant: no token of another is used.
    pub tenant: Tenant,
    /// The most requests to CXone that are ever under way at once.
    pub max_connections: usize,
    pub dialect: DialectChoice,
    /// The roles of the table, by the names it uses.
    pub role_names: Vec<String>,
}

/// What was found out about the target. Worth keeping: finding it out costs refused requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    pub dialect: Option<Dialect>,
    pub refused_filters: BTreeSet<MatchKey>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub enum Search {
    None,
    /// Complete: read by id after the search.
    One(User),
    Many(usize),
    /// The target does not search by this key, which says nothing of whether the user exists.
    Refused,
}

/// A client of one tenant. Clones share everything.
#[derive(Clone, Debug)]
pub struct Cxone {
    inner: Arc<Inner>,
    roles: Arc<RoleNames>,
}

#[derive(Debug)]
struct Inner {
    scim: Api,
    tokens: Tokens,
    tenant: Tenant,
    dialect: DialectChoice,
    learned: Mutex<Learned>,
    /// The target does not take SCIM's media type.
    takes_plain_json: AtomicBool,
}

impl Cxone {
    pub fn new(
        settings: Settings,
        learned: Learned,
        transport: Transport,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let Settings { scim_url, auths, tenant, max_connections, dialect, role_names } = settings;
        let tokens = Tokens::new(auths, tenant.clone(), transport.clone(), clock.clone(), metrics.clone());
        let scim = Api::new("cxone", scim_url, transport, max_connections, clock, metrics);
        let (learned, takes_plain_json) = (Mutex::new(learned), AtomicBool::new(false));
        let inner = Arc::new(Inner { scim, tokens, tenant, dialect, learned, takes_plain_json });
        Self { inner, roles: Arc::new(RoleNames::new(role_names)) }
    }

    /// The same client, but for the names by which it knows roles. Whoever holds the old one goes on
    /// knowing the old ones.
    pub fn knowing_roles(&self, names: impl IntoIterator<Item = String>) -> Self {
        Self { inner: self.inner.clone(), roles: Arc::new(RoleNames::new(names)) }
    }

    /// Takes other credentials, for all clones. `false`: they need a restart.
    pub fn exchange_credentials(&self, auths: Vec<Auth>) -> bool {
        self.inner.tokens.exchange(auths)
    }

    /// Where tokens are asked for, if they are.
    pub fn token_url(&self) -> Option<&Url> {
        self.inner.tokens.token_url()
    }

    /// The tenant whose tokens we use, once one is known.
    pub fn tenant(&self) -> Option<&str> {
        self.inner.tenant.get()
    }

    /// What is known of the target by now.
    pub fn learned(&self) -> Learned {
        self.knowledge().clone()
    }

    /// When CXone, or its token endpoint, may be asked again, if it asked us to wait.
    pub fn closed_until(&self) -> Option<Timestamp> {
        self.inner.scim.closed_until().max(self.inner.tokens.closed_until())
    }

    /// How many requests may be under way at present.
    pub fn concurrency(&self) -> usize {
        self.inner.scim.concurrency()
    }

    /// How far CXone's clock was ahead of ours at its last answer.
    pub fn skew(&self) -> Option<SignedDuration> {
        self.inner.scim.skew()
    }

    /// Whether the dialect is configured or to be found out.
    pub fn dialect(&self) -> DialectChoice {
        self.inner.dialect
    }

    /// Gets a token, or says why there is none.
    pub async fn authorize(&self) -> Result<(), Error> {
        self.inner.tokens.authorization().await.map(drop)
    }

    /// Reads a user. Absent only if CXone says so in SCIM's own words.
    pub async fn get(&self, id: &ScimId) -> Result<Observed<User>, Error> {
        let url = self.user_url(id)?;
        let response = self.send(Request::new(Method::GET, url)).await?;
        match response.status {
            StatusCode::OK => self.this_user(&response, id).map(Observed::Present),
            StatusCode::NOT_FOUND if Said::read(&response.body).is_absence() => Ok(Observed::Absent),
            _ => Err(unsuccessful(&response, "a user")),
        }
    }

    /// Looks for the one user with this key.
    pub async fn find(&self, key: MatchKey, value: &str) -> Result<Search, Error> {
        if key == MatchKey::Id {
            return Ok(match self.get(&ScimId(value.to_owned())).await? {
                Observed::Present(user) => Search::One(user),
                Observed::Absent => Search::None,
            });
        }
        if self.knowledge().refused_filters.contains(&key) {
            return Ok(Search::Refused);
        }
        // Remembered only if it was the filter that was refused, in so many words, and every time.
        let mut is_final = filter::is_plain(value);
        for filter in filter::filters(key, value) {
            let mut url = self.inner.scim.url(["Users"]);
            url.set_query(Some(&filter::query(&filter)));
            let response = self.send(Request::new(Method::GET, url)).await?;
            match response.status {
                StatusCode::OK => {
                    return match filter::judge(&response.body, key, value, &self.roles)? {
                        Hits::None => Ok(Search::None),
                        Hits::Many(n) => Ok(Search::Many(n)),
                        Hits::One(id) => self.complete(&id, key, value).await,
                    };
                }
                StatusCode::NOT_IMPLEMENTED => {}
                // The filter is all there is to refuse.
                StatusCode::BAD_REQUEST => {
                    let kind = Said::read(&response.body).scim_type.unwrap_or_default();
                    is_final &= kind.eq_ignore_ascii_case("invalidFilter");
                }
                _ => return Err(unsuccessful(&response, "a list of users")),
            }
        }
        if is_final && self.knowledge().refused_filters.insert(key) {
            tracing::info!(filter = key.name(), "CXone does not search by {}", key.name());
        }
        Ok(Search::Refused)
    }

    /// A search hit may lack attributes (NICE's lacks `phoneNumbers`): the whole user is read.
    async fn complete(&self, id: &ScimId, key: MatchKey, value: &str) -> Result<Search, Error> {
        let other = |what: &str| Err(Error::Malformed { asked: "the user it found", what: what.to_owned() });
        match self.get(id).await? {
            Observed::Present(user) if filter::has_key(&user, key, value) => Ok(Search::One(user)),
            Observed::Present(_) => other("read by id it has another key"),
            Observed::Absent => other("it is not there any more"),
        }
    }

    /// Creates a user. Not idempotent: after any `Err` but [`Error::Rejected`] the user may exist,
    /// and must be looked for before another try.
    pub async fn create(&self, attributes: &Attributes) -> Result<User, Error> {
        let body = merge::created(attributes);
        let response = self.write(Method::POST, self.inner.scim.url(["Users"]), None, &body).await?;
        if !response.status.is_success() {
            return Err(unsuccessful(&response, "the new user"));
        }
        let malformed = |what: &str| Error::Malformed { asked: "the new user", what: what.to_owned() };
        let name = attributes.get(&Attribute::UserName).and_then(Value::as_text).unwrap_or_default();
        // RFC 7644, 3.3: the body of the answer is a SHOULD.
        if response.body.trim_ascii().is_empty() {
            return match self.find(MatchKey::UserName, name).await? {
                Search::One(user) => Ok(user),
                _ => Err(malformed("it is said to be there but cannot be found")),
            };
        }
        let user = self.read(&response)?;
        if filter::has_key(&user, MatchKey::UserName, name) {
            Ok(user)
        } else {
            Err(malformed("it has another userName"))
        }
    }

    fn knowledge(&self) -> MutexGuard<'_, Learned> {
        self.inner.learned.lock().expect("no panic while the knowledge is held")
    }

    fn user_url(&self, id: &ScimId) -> Result<Url, Error> {
        if wire::is_id(&id.0) {
            Ok(self.inner.scim.url(["Users", &id.0]))
        } else {
            Err(Error::Malformed { asked: "anything", what: "the id we have cannot be asked for".to_owned() })
        }
    }

    fn read(&self, response: &Response) -> Result<User, Error> {
        let mut user = User::read(&response.body, &self.roles)?;
        let header = response.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok());
        user.etag = header.map(str::to_owned).or(user.etag);
        Ok(user)
    }

    fn this_user(&self, response: &Response, id: &ScimId) -> Result<User, Error> {
        let user = self.read(response)?;
        if user.view.id == *id {
            Ok(user)
        } else {
            Err(Error::Malformed { asked: "a user", what: "it has another id".to_owned() })
        }
    }

    /// Sends a body as SCIM's media type, and once more as plain JSON to a target that does not
    /// know the former.
    async fn write(
        &self,
        method: Method,
        url: Url,
        etag: Option<&str>,
        body: &Json,
    ) -> Result<Response, Error> {
        let body = bytes::Bytes::from(body.to_string());
        let request = |content_type| {
            let mut request = Request::new(method.clone(), url.clone()).body(content_type, body.clone());
            if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
                request = request.header(header::IF_MATCH, etag);
            }
            request
        };
        if self.inner.takes_plain_json.load(Ordering::Relaxed) {
            return self.send(request(PLAIN_JSON)).await;
        }
        let response = self.send(request(SCIM_JSON)).await?;
        if response.status != StatusCode::UNSUPPORTED_MEDIA_TYPE {
            return Ok(response);
        }
        let response = self.send(request(PLAIN_JSON)).await?;
        if response.status != StatusCode::UNSUPPORTED_MEDIA_TYPE {
            self.inner.takes_plain_json.store(true, Ordering::Relaxed);
        }
        Ok(response)
    }

    /// Sends with our token, and once more with another if CXone does not accept it.
    async fn send(&self, request: Request) -> Result<Response, Error> {
        let accept = HeaderValue::from_static("application/scim+json, application/json");
        let request = request.header(header::ACCEPT, accept);
        let authorization = self.inner.tokens.authorization().await?;
        let with = |token: &HeaderValue| request.clone().header(header::AUTHORIZATION, token.clone());
        let response = self.inner.scim.send(with(&authorization)).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let other = self.inner.tokens.instead_of(&authorization).await?.ok_or(Error::Unauthorized)?;
        let response = self.inner.scim.send(with(&other)).await?;
        if response.status == StatusCode::UNAUTHORIZED { Err(Error::Unauthorized) } else { Ok(response) }
    }
}

/// An answer with another status than those that answer the question.
fn unsuccessful(response: &Response, asked: &'static str) -> Error {
    if response.status.is_success() {
        let what = format!("it has status {}", response.status.as_u16());
        return Error::Malformed { asked, what };
    }
    Error::of(response)
}

#[cfg(test)]
mod tests;
