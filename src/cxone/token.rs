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

impl Auth {
    fn token_url(&self) -> Option<&Url> {
        match self {
            Self::Bearer { .. } | Self::Basic { .. } => None,
            Self::ClientCredentials { token_url, .. }
            | Self::AccessKey { token_url, .. }
            | Self::AccessKeyJson { token_url, .. } => Some(token_url),
        }
    }

    /// The header of those that ask for no tokens.
    fn header(&self) -> Option<HeaderValue> {
        match self {
            Self::Bearer { token } => bearer(token.expose_secret().trim()),
            Self::Basic { user, password } => Some(basic(user, password)),
            _ => None,
        }
    }
}

/// The credentials, and which of them is used: the first, until it is refused and another is not.
#[derive(Debug)]
struct Ring {
    auths: Vec<Auth>,
    used: usize,
    /// Raised when they are exchanged.
    generation: u64,
}

impl Ring {
    fn used(&self) -> &Auth {
        &self.auths[self.used]
    }

    /// Goes over to another one; `false` when there is none.
    fn turn_to(&mut self, other: usize) -> bool {
        let other = other % self.auths.len();
        if other == self.used {
            return false;
        }
        let name = if other == 0 { "first" } else { "next" };
        tracing::info!("CXone refused the credentials in use: using the {name} ones instead");
        self.used = other;
        true
    }
}

/// Gives out the value of the `Authorization` header.
#[derive(Debug)]
pub struct Tokens {
    ring: Mutex<Ring>,
    /// `None` where no tokens are asked for.
    fetched: Option<Box<Fetched>>,
}

#[derive(Debug)]
struct Fetched {
    api: Api,
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
    /// The first of `auths` is used, and the next when that is refused. There is at least one, and all
    /// ask for tokens at the same place or not at all.
    pub fn new(
        auths: Vec<Auth>,
        tenant: Tenant,
        transport: Transport,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let fetched = auths[0].token_url().cloned().map(|token_url| {
            let api = Api::new("cxone-token", token_url, transport, 1, clock.clone(), metrics);
            let (state, turn) = (Mutex::default(), tokio::sync::Mutex::default());
            Box::new(Fetched { api, tenant, clock, state, turn })
        });
        Self { ring: Mutex::new(Ring { auths, used: 0, generation: 0 }), fetched }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("no panic while the credentials are held")
    }

    /// Where tokens are asked for, if they are.
    pub fn token_url(&self) -> Option<&Url> {
        self.fetched.as_ref().map(|fetched| fetched.api.base())
    }

    /// Takes other credentials. A token in service stays, and the next caller has it renewed: so one that
    /// is wrong shows while there still is a token that works. `false`: they need a restart.
    pub fn exchange(&self, auths: Vec<Auth>) -> bool {
        if auths.is_empty() || auths.iter().any(|auth| auth.token_url() != self.token_url()) {
            return false;
        }
        {
            let mut ring = self.ring();
            *ring = Ring { auths, used: 0, generation: ring.generation + 1 };
        }
        if let Some(fetched) = &self.fetched {
            let (mut state, now) = (fetched.state(), fetched.clock.now());
            (state.failure, state.forced_at) = (None, None);
            if let Some(token) = &mut state.token {
                token.refresh_at = now;
            }
        }
        true
    }

    /// The header to send, from a token that is valid now as far as we know.
    pub async fn authorization(&self) -> Result<HeaderValue, Error> {
        match &self.fetched {
            None => self.ring().used().header().ok_or_else(|| Error::Refused {
                detail: "the configured token cannot be sent in a header".to_owned(),
            }),
            Some(fetched) => fetched.authorization(self).await,
        }
    }

    /// The header to try instead of one that CXone answered with 401; `None` when there is none, or
    /// when another was tried less than 30 s ago: a revoked key must not become a loop.
    pub async fn instead_of(&self, refused: &HeaderValue) -> Result<Option<HeaderValue>, Error> {
        if let Some(fetched) = &self.fetched {
            return fetched.instead_of(self, refused).await;
        }
        let mut ring = self.ring();
        let already = ring.used().header().filter(|header| header != refused);
        let next = ring.used + 1;
        Ok(already.or_else(|| ring.turn_to(next).then(|| ring.used().header()).flatten()))
    }

    pub fn closed_until(&self) -> Option<Timestamp> {
        self.fetched.as_ref().and_then(|fetched| fetched.api.closed_until())
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

    async fn authorization(&self, tokens: &Tokens) -> Result<HeaderValue, Error> {
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
                return match self.fetch(tokens).await {
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
        self.after_turn(tokens).await
    }

    /// With the turn in hand: somebody may have got a token, or a refusal, while we waited for it.
    async fn after_turn(&self, tokens: &Tokens) -> Result<HeaderValue, Error> {
        match self.look() {
            Look::Fresh(header) | Look::Ageing(header) => Ok(header),
            Look::Paused(failure) => Err(failure),
            Look::Missing => self.fetch(tokens).await,
        }
    }

    async fn instead_of(&self, tokens: &Tokens, refused: &HeaderValue) -> Result<Option<HeaderValue>, Error> {
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
        self.after_turn(tokens).await.map(Some)
    }

    /// Only with the turn in hand.
    async fn fetch(&self, tokens: &Tokens) -> Result<HeaderValue, Error> {
        let (auths, used, generation) = {
            let ring = tokens.ring();
            (ring.auths.clone(), ring.used, ring.generation)
        };
        let mut answer = self.ask(&auths[used]).await;
        for other in (used + 1..used + auths.len()).map(|other| other % auths.len()) {
            if !matches!(answer, Err(Error::Refused { .. })) {
                break;
            }
            answer = self.ask(&auths[other]).await;
            let mut ring = tokens.ring();
            if answer.is_ok() && ring.generation == generation {
                ring.turn_to(other);
            }
        }
        let is_of_old = tokens.ring().generation != generation;
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
            // What became of the old credentials says nothing of the new ones.
            Err(error) if is_of_old => Err(error),
            Err(error) => {
                let refused = matches!(error, Error::Refused { .. } | Error::ForeignTenant { .. });
                let pause = if refused { AFTER_REFUSAL } else { AFTER_FAILURE };
                state.failure = Some((later(now, pause), again(&error)));
                Err(error)
            }
        }
    }

    async fn ask(&self, auth: &Auth) -> Result<Granted, Error> {
        let response = self.api.send(self.request(auth)).await.map_err(Error::Outbound)?;
        let granted = read(&response)?;
        match &granted.tenant {
            Some(found) if !self.tenant.is(found) => Err(Error::ForeignTenant { found: found.clone() }),
            _ => Ok(granted),
        }
    }

    fn request(&self, auth: &Auth) -> Request {
        let request = Request::new(Method::POST, self.api.base().clone())
            .header(header::ACCEPT, HeaderValue::from_static("application/json"));
        match auth {
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
