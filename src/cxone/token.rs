//! The token that opens CXone, by five kinds of credentials.
//!
//! One request at a time asks for a token, and everybody else waits for it or uses the old one while
//! that is valid. After a failure nobody asks again for a while, so that wrong credentials do not
//! become a storm that locks the account.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value as Json, json};

use super::errors::{Error, Said, tidy};
use super::filter::ENCODED;
use super::place::lookup;
use crate::clock::{Clock, later};
use crate::outbound::{
    self, Api, HeaderValue, Method, Request, Response, StatusCode, Tenant, Transport, Url, claim, header,
};
use crate::telemetry::Metrics;

/// At most one request in this time once credentials were refused, or a token did not help.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// The same after any other failure.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Refreshed this long before the end, or a tenth of the life, whichever is less.
const EARLY: Duration = Duration::from_secs(300);
/// When the answer does not say. NICE's tokens live for an hour.
const UNSAID_LIFE: Duration = Duration::from_secs(600);
const SHORTEST_LIFE: Duration = Duration::from_secs(30);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How we show who we are.
#[derive(Clone, Debug)]
pub enum Auth {
    /// RFC 6749, 4.4, with id and secret in the form.
    ClientCredentials {
        token_url: Url,
        client_id: String,
        client_secret: SecretString,
        scope: Option<String>,
    },
    /// The password grant with an access key, as NICE has it for back ends; the client shows itself
    /// by Basic authentication.
    AccessKey {
        token_url: Url,
        client_id: String,
        client_secret: SecretString,
        access_key_id: String,
        access_key_secret: SecretString,
    },
    /// UserHub's older endpoint, which takes the access key as JSON.
    AccessKeyJson { token_url: Url, access_key_id: String, access_key_secret: SecretString },
    /// A token made elsewhere.
    Bearer { token: SecretString },
    /// For `/basic-auth/scim/v2`: no token at all.
    Basic { user: String, password: SecretString },
}

/// Gives out the value of the `Authorization` header.
#[derive(Debug)]
pub struct Tokens(Source);

#[derive(Debug)]
enum Source {
    Fixed(Option<HeaderValue>),
    Fetched(Box<Fetched>),
}

#[derive(Debug)]
struct Fetched {
    api: Api,
    auth: Auth,
    tenant: Tenant,
    clock: Clock,
    state: Mutex<State>,
    /// Held across the request, so that only one is under way.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// The last failure, and until when it is the answer.
    failure: Option<(Timestamp, Error)>,
    /// When a token was last replaced because CXone did not accept it.
    forced_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Token {
    header: HeaderValue,
    refresh_at: Timestamp,
    expires_at: Timestamp,
}

enum Look {
    Fresh(HeaderValue),
    /// Valid, but soon no more.
    Ageing(HeaderValue),
    Missing,
    Paused(Error),
}

impl Tokens {
    pub fn new(
        auth: Auth,
        tenant: Tenant,
        transport: Transport,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let token_url = match &auth {
            Auth::Bearer { token } => return Self(Source::Fixed(bearer(token.expose_secret().trim()))),
            Auth::Basic { user, password } => return Self(Source::Fixed(Some(basic(user, password)))),
            Auth::ClientCredentials { token_url, .. }
            | Auth::AccessKey { token_url, .. }
            | Auth::AccessKeyJson { token_url, .. } => token_url.clone(),
        };
        let api = Api::new("cxone-token", token_url, transport, 1, clock.clone(), metrics);
        let (state, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Source::Fetched(Box::new(Fetched { api, auth, tenant, clock, state, turn })))
    }

    /// The header to send, from a token that is valid now as far as we know.
    pub async fn authorization(&self) -> Result<HeaderValue, Error> {
        match &self.0 {
            Source::Fixed(header) => header.clone().ok_or_else(|| Error::Refused {
                detail: "the configured token cannot be sent in a header".to_owned(),
            }),
            Source::Fetched(fetched) => fetched.authorization().await,
        }
    }

    /// The header to try instead of one that CXone answered with 401; `None` when there is none, or
    /// when another was tried less than 30 s ago: a revoked key must not become a loop.
    pub async fn instead_of(&self, refused: &HeaderValue) -> Result<Option<HeaderValue>, Error> {
        match &self.0 {
            Source::Fixed(_) => Ok(None),
            Source::Fetched(fetched) => fetched.instead_of(refused).await,
        }
    }

    pub fn closed_until(&self) -> Option<Timestamp> {
        match &self.0 {
            Source::Fixed(_) => None,
            Source::Fetched(fetched) => fetched.api.closed_until(),
        }
    }
}

impl Fetched {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the state is held")
    }

    fn look(&self) -> Look {
        let (state, now) = (self.state(), self.clock.now());
        // A clock set back must not lengthen the pause.
        let paused =
            state.failure.as_ref().filter(|(until, _)| *until > now && *until <= later(now, AFTER_REFUSAL));
        match (&state.token, paused) {
            (Some(token), paused) if now < token.expires_at => {
                let header = token.header.clone();
                if now < token.refresh_at || paused.is_some() {
                    Look::Fresh(header)
                } else {
                    Look::Ageing(header)
                }
            }
            (_, Some((_, failure))) => Look::Paused(again(failure)),
            (_, None) => Look::Missing,
        }
    }

    async fn authorization(&self) -> Result<HeaderValue, Error> {
        match self.look() {
            Look::Fresh(header) => return Ok(header),
            Look::Paused(failure) => return Err(failure),
            Look::Missing => {}
            // Whoever comes first refreshes; the others need not wait.
            Look::Ageing(header) => {
                let Ok(_turn) = self.turn.try_lock() else { return Ok(header) };
                if let Look::Fresh(header) = self.look() {
                    return Ok(header);
                }
                return match self.fetch().await {
                    Ok(header) => Ok(header),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "cannot refresh the CXone token; the old one is still valid");
                        Ok(header)
                    }
                };
            }
        }
        let _turn = self.turn.lock().await;
        self.after_turn().await
    }

    /// With the turn in hand: somebody may have got a token, or a refusal, while we waited for it.
    async fn after_turn(&self) -> Result<HeaderValue, Error> {
        match self.look() {
            Look::Fresh(header) | Look::Ageing(header) => Ok(header),
            Look::Paused(failure) => Err(failure),
            Look::Missing => self.fetch().await,
        }
    }

    async fn instead_of(&self, refused: &HeaderValue) -> Result<Option<HeaderValue>, Error> {
        let _turn = self.turn.lock().await;
        {
            let (mut state, now) = (self.state(), self.clock.now());
            if state.token.as_ref().is_some_and(|token| token.header == *refused) {
                let recently = |at: &Timestamp| *at <= now && now < later(*at, AFTER_REFUSAL);
                if state.forced_at.as_ref().is_some_and(recently) {
                    return Ok(None);
                }
                (state.token, state.forced_at) = (None, Some(now));
            }
        }
        self.after_turn().await.map(Some)
    }

    /// Only with the turn in hand.
    async fn fetch(&self) -> Result<HeaderValue, Error> {
        let answer = match self.api.send(self.request()).await {
            Ok(response) => read(&response),
            Err(error) => Err(Error::Outbound(error)),
        };
        let answer = answer.and_then(|granted| match &granted.tenant {
            Some(found) if !self.tenant.is(found) => Err(Error::ForeignTenant { found: found.clone() }),
            _ => Ok(granted),
        });
        let (mut state, now) = (self.state(), self.clock.now());
        match answer {
            Ok(Granted { header, life, .. }) => {
                let early = EARLY.min(life / 10);
                let token = Token {
                    header: header.clone(),
                    refresh_at: later(now, life - early),
                    expires_at: later(now, life),
                };
                (state.token, state.failure) = (Some(token), None);
                Ok(header)
            }
            Err(error) => {
                let refused = matches!(error, Error::Refused { .. } | Error::ForeignTenant { .. });
                let pause = if refused { AFTER_REFUSAL } else { AFTER_FAILURE };
                state.failure = Some((later(now, pause), again(&error)));
                Err(error)
            }
        }
    }

    fn request(&self) -> Request {
        let request = Request::new(Method::POST, self.api.base().clone())
            .header(header::ACCEPT, HeaderValue::from_static("application/json"));
        match &self.auth {
            Auth::ClientCredentials { client_id, client_secret, scope, .. } => {
                let mut fields = vec![
                    ("grant_type", "client_credentials"),
                    ("client_id", client_id),
                    ("client_secret", client_secret.expose_secret()),
                ];
                fields.extend(scope.as_deref().map(|scope| ("scope", scope)));
                request.body("application/x-www-form-urlencoded", form(&fields))
            }
            Auth::AccessKey { client_id, client_secret, access_key_id, access_key_secret, .. } => {
                let fields = [
                    ("grant_type", "password"),
                    ("username", access_key_id.as_str()),
                    ("password", access_key_secret.expose_secret()),
                ];
                // RFC 6749, 2.3.1: both are encoded as in a form before they are joined.
                let secret = encode(client_secret.expose_secret()).into();
                request
                    .header(header::AUTHORIZATION, basic(&encode(client_id), &secret))
                    .body("application/x-www-form-urlencoded", form(&fields))
            }
            Auth::AccessKeyJson { access_key_id, access_key_secret, .. } => {
                let secret = access_key_secret.expose_secret();
                let body = json!({ "accessKeyId": access_key_id, "accessKeySecret": secret });
                request.body("application/json", body.to_string())
            }
            Auth::Bearer { .. } | Auth::Basic { .. } => unreachable!("these need no request"),
        }
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect();
    pairs.join("&")
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn bearer(token: &str) -> Option<HeaderValue> {
    // A header takes more than a token may hold (RFC 6750, 2.1).
    let is_token = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    is_token.then(|| secret_header(&format!("Bearer {token}")))
}

fn basic(user: &str, password: &SecretString) -> HeaderValue {
    secret_header(&format!("Basic {}", BASE64.encode(format!("{user}:{}", password.expose_secret()))))
}

fn secret_header(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).expect("printable ASCII is fit for a header");
    value.set_sensitive(true);
    value
}

/// What the token endpoint gave.
struct Granted {
    header: HeaderValue,
    /// How long it will do.
    life: Duration,
    /// Whose it is, where that can be seen.
    tenant: Option<String>,
}

fn read(response: &Response) -> Result<Granted, Error> {
    let malformed = |what: &str| Error::Malformed { asked: "a token", what: what.to_owned() };
    match response.status {
        status if status.is_success() => {}
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let detail = format!("{} {}", response.status.as_u16(), oauth_words(&response.body));
            return Err(Error::Refused { detail });
        }
        status => {
            let detail = Said::read(&response.body).detail;
            return Err(Error::Status { status: status.as_u16(), detail });
        }
    }
    let answer: Json =
        serde_json::from_slice(&response.body).map_err(|_| malformed("it is not complete JSON"))?;
    let answer = answer.as_object().ok_or_else(|| malformed("it is not an object"))?;
    let kind = lookup(answer, "token_type").and_then(Json::as_str).unwrap_or("bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(malformed("it is not a bearer token"));
    }
    let text = |name| lookup(answer, name).and_then(Json::as_str);
    let token = text("access_token").ok_or_else(|| malformed("it has no access_token"))?;
    let header = bearer(token).ok_or_else(|| malformed("it has no access_token"))?;
    let life = lookup(answer, "expires_in").and_then(seconds).unwrap_or(UNSAID_LIFE);
    // NICE, "Perform API discovery": the tenant id is a claim of the id token.
    let tenant = text("id_token").into_iter().chain([token]).find_map(|token| claim(token, "tenantId"));
    Ok(Granted { header, life: life.clamp(SHORTEST_LIFE, LONGEST_LIFE), tenant })
}

/// A number, or a number in quotes.
fn seconds(value: &Json) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

/// RFC 6749, 5.2, else whatever is there.
fn oauth_words(body: &[u8]) -> String {
    let Ok(Json::Object(answer)) = serde_json::from_slice(body) else { return Said::read(body).detail };
    let text = |name| lookup(&answer, name).and_then(Json::as_str);
    match (text("error"), text("error_description")) {
        (Some(error), Some(description)) => tidy(&format!("{error}: {description}")),
        _ => Said::read(body).detail,
    }
}

/// The same failure for those who come while it is fresh. Errors hold sources that cannot be cloned.
fn again(failure: &Error) -> Error {
    use outbound::Error as Out;
    let words = |source: &(dyn std::error::Error + Send + Sync)| source.to_string().into();
    match failure {
        Error::Refused { detail } => Error::Refused { detail: detail.clone() },
        Error::ForeignTenant { found } => Error::ForeignTenant { found: found.clone() },
        Error::Status { status, detail } => Error::Status { status: *status, detail: detail.clone() },
        Error::Malformed { asked, what } => Error::Malformed { asked, what: what.clone() },
        Error::Outbound(outbound) => Error::Outbound(match outbound {
            Out::Dns { api, source } => Out::Dns { api, source: words(source.as_ref()) },
            Out::Unreachable { api, source } => Out::Unreachable { api, source: words(source.as_ref()) },
            Out::BrokenOff { api, source } => Out::BrokenOff { api, source: words(source.as_ref()) },
            Out::Timeout { api } => Out::Timeout { api },
            Out::TooLarge { api } => Out::TooLarge { api },
            Out::Throttled { api, until } => Out::Throttled { api, until: *until },
            Out::Redirect { api, status } => Out::Redirect { api, status: *status },
            Out::ForeignAddress { api, host } => Out::ForeignAddress { api, host: host.clone() },
        }),
        Error::Forbidden { .. }
        | Error::Unauthorized
        | Error::Conflict { .. }
        | Error::Precondition
        | Error::Rejected { .. } => unreachable!("asking for a token does not fail so"),
    }
}

#[cfg(test)]
mod tests;
