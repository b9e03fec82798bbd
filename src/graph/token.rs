//! The bearer token: fetched once for all who wait, renewed before it expires, and kept in service
//! while renewing fails.
//!
//! Who asks how often is bounded here and nowhere else: one request at a time; after a refusal none
//! for 30 s; a renewal ahead of time that failed is tried again after 30 to 60 s; and a token that
//! Graph does not accept is replaced at most every 30 s.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;

use super::credential::{Asking, Credential};
use super::error::{Error, Refusal};
use super::{Settings, wire};
use crate::clock::{Clock, later, until};
use crate::outbound::{Api, HeaderValue, Response, StatusCode, Tenant, Transport, Url, claim, claims};
use crate::random::Random;
use crate::shutdown::Tasks;
use crate::telemetry::Metrics;

const DOING: &str = "get a token";
const PAUSE: Duration = Duration::from_secs(30);
/// Not used any more this long before it expires: a request may stand in line.
const LONGEST_MARGIN: Duration = Duration::from_secs(60);
/// Taken when the answer does not say how long the token lives.
const UNSAID_LIFE: Duration = Duration::from_secs(300);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A token as it goes into a request.
#[derive(Clone, Debug)]
pub struct Bearer {
    header: HeaderValue,
    /// Which of all tokens we ever had: tells whether it was replaced meanwhile.
    serial: u64,
}

impl Bearer {
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// What an administrator has granted to the application, as the token says: the claim is left out
    /// when that is nothing. Source: Microsoft identity platform, access token claims reference.
    pub fn roles(&self) -> Option<BTreeSet<String>> {
        let claims = claims(self.header.to_str().ok()?.strip_prefix("Bearer ")?)?;
        let roles = claims["roles"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
        Some(roles.map(str::to_owned).collect())
    }
}

/// Clones share the token.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    credential: RwLock<Credential>,
    service: Api,
    token_url: Url,
    resource: String,
    tenant: Tenant,
    clock: Clock,
    random: Random,
    tasks: Tasks,
    state: Mutex<State>,
}

type Flight = Shared<BoxFuture<'static, Result<Bearer, Error>>>;

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    serial: u64,
    /// The one request under way, for all who wait for it.
    flight: Option<Flight>,
    refused: Option<(Timestamp, Error)>,
    /// Raised when the credential is exchanged.
    generation: u64,
    replaced_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Held {
    bearer: Bearer,
    refresh_at: Timestamp,
    usable_until: Timestamp,
}

impl State {
    fn usable(&self, now: Timestamp) -> Option<&Held> {
        self.held.as_ref().filter(|held| now < held.usable_until)
    }

    fn check_refused(&self, now: Timestamp) -> Result<(), Error> {
        match &self.refused {
            Some((at, error)) if within_pause(*at, now) => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

/// A wall clock set back ends the pause instead of lengthening it.
fn within_pause(began: Timestamp, now: Timestamp) -> bool {
    began <= now && until(began, now) < PAUSE
}

impl Tokens {
    pub fn new(
        settings: &Settings,
        transport: Transport,
        clock: Clock,
        random: Random,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        let credential = settings.credential.clone();
        let own_endpoint = credential.own_endpoint();
        let transport = match transport {
            // The endpoint of a managed identity is on this host and behind no proxy.
            Transport::Network(_) if own_endpoint.is_some() => Transport::direct().unwrap_or(transport),
            other => other,
        };
        let base = own_endpoint.clone().unwrap_or_else(|| settings.login_url.clone());
        let service = Api::new("login", base, transport, 1, clock.clone(), metrics);
        let token_url = own_endpoint
            .unwrap_or_else(|| service.url([settings.tenant_id.as_str(), "oauth2", "v2.0", "token"]));
        // Each national cloud has its own Graph, and a token for one is worth nothing at another.
        let resource = settings.base_url.origin().ascii_serialization();
        let (tenant, state) = (settings.tenant.clone(), Mutex::default());
        Self(Arc::new(Inner {
            credential: RwLock::new(credential),
            service,
            token_url,
            resource,
            tenant,
            clock,
            random,
            tasks,
            state,
        }))
    }

    /// The token in service; fetched when there is none. One that is soon to expire is renewed in
    /// the background.
    pub async fn current(&self) -> Result<Bearer, Error> {
        let now = self.0.clock.now();
        let flight = {
            let mut state = self.state();
            if let Some(held) = state.usable(now) {
                let (bearer, refresh) = (held.bearer.clone(), held.refresh_at <= now);
                if refresh && state.flight.is_none() {
                    // Nobody waits for it: it runs as a task, and the old token is still good.
                    drop(self.take_off(&mut state));
                }
                return Ok(bearer);
            }
            state.check_refused(now)?;
            self.join(&mut state)
        };
        flight.await
    }

    /// A token other than `rejected`, which Graph did not accept.
    pub async fn replace(&self, rejected: &Bearer) -> Result<Bearer, Error> {
        let now = self.0.clock.now();
        let flight = {
            let mut state = self.state();
            if let Some(held) = state.usable(now)
                && held.bearer.serial != rejected.serial
            {
                return Ok(held.bearer.clone());
            }
            if state.flight.is_none() {
                state.check_refused(now)?;
                if state.replaced_at.is_some_and(|at| within_pause(at, now)) {
                    return Err(Error::Unauthorized { doing: "use a token replaced a moment ago" });
                }
                state.replaced_at = Some(now);
            }
            self.join(&mut state)
        };
        flight.await
    }

    /// Takes another credential. The token in service stays, and the next caller has it renewed in the
    /// background: so a credential that is wrong shows while there still is one that works. `false` for
    /// one that is asked for elsewhere than the present one, which needs a restart.
    pub fn exchange(&self, credential: Credential) -> bool {
        let mut present = self.0.credential.write().expect("no panic while the credential is held");
        if present.own_endpoint() != credential.own_endpoint() {
            return false;
        }
        *present = credential;
        let mut state = self.state();
        state.generation += 1;
        state.refused = None;
        // One that is under way asks with the old one; nobody new waits for it.
        state.flight = None;
        if let Some(held) = &mut state.held {
            held.refresh_at = self.0.clock.now();
        }
        true
    }

    pub fn tenant(&self) -> Option<&str> {
        self.0.tenant.get()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while the token is held")
    }

    fn join(&self, state: &mut State) -> Flight {
        match &state.flight {
            Some(flight) => flight.clone(),
            None => self.take_off(state),
        }
    }

    /// Starts a refresh as a task of its own, so that a caller who gives up does not end it for
    /// the others.
    fn take_off(&self, state: &mut State) -> Flight {
        let (tokens, owner) = (self.clone(), self.clone());
        let task = self.0.tasks.spawn(async move { tokens.refresh().await });
        let flight = async move {
            task.await.unwrap_or_else(|_| {
                owner.state().flight = None;
                Err(Error::Interrupted { doing: DOING })
            })
        };
        let flight = flight.boxed().shared();
        state.flight = Some(flight.clone());
        flight
    }

    async fn refresh(&self) -> Result<Bearer, Error> {
        let asked_at = self.0.clock.now();
        let generation = self.state().generation;
        let answer = self.fetch(asked_at).await;
        let now = self.0.clock.now();
        let jitter = self.0.random.unit();
        let mut state = self.state();
        if state.generation == generation {
            state.flight = None;
        } else if let Err(error) = answer {
            // What became of the old credential says nothing of the new one.
            return Err(error);
        }
        match answer {
            Ok((header, life)) => {
                state.serial += 1;
                let bearer = Bearer { header, serial: state.serial };
                // Between 70 and 80 % of its life, so that a fleet does not come all at once.
                let refresh_at = later(asked_at, life.mul_f64(0.8 - 0.1 * jitter));
                let usable_until = later(asked_at, life - (life / 10).min(LONGEST_MARGIN));
                state.refused = None;
                state.held = Some(Held { bearer: bearer.clone(), refresh_at, usable_until });
                Ok(bearer)
            }
            Err(error) => {
                if matches!(error, Error::Refused(_) | Error::ForeignTenant { .. }) {
                    state.refused = Some((now, error.clone()));
                }
                if let Some(held) = state.held.as_mut().filter(|held| now < held.usable_until) {
                    held.refresh_at = later(now, PAUSE + PAUSE.mul_f64(jitter));
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot renew the token for Microsoft Graph; the old one is good until {}",
                        held.usable_until
                    );
                }
                Err(error)
            }
        }
    }

    async fn fetch(&self, now: Timestamp) -> Result<(HeaderValue, Duration), Error> {
        let Inner { credential, service, token_url, resource, tenant, random, .. } = &*self.0;
        let credential = credential.read().expect("no panic while the credential is held").clone();
        let request = credential.request(&Asking { token_url, resource, now, random }).await?;
        let response = service.send(request).await.map_err(|source| Error::outbound(DOING, source))?;
        if response.status != StatusCode::OK {
            return Err(refusal(&response));
        }
        let malformed = |fault: &str| Error::malformed(DOING, fault);
        let token: wire::Token =
            serde_json::from_slice(&response.body).map_err(|_| malformed("the answer holds no token"))?;
        if token.access_token.is_empty() {
            return Err(malformed("the token is empty"));
        }
        // A managed identity may be of another tenant than the configuration names.
        if let Some(found) = claim(&token.access_token, "tid").filter(|found| !tenant.is(found)) {
            return Err(Error::ForeignTenant { found });
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {}", token.access_token))
            .map_err(|_| malformed("the token holds characters that no header may have"))?;
        header.set_sensitive(true);
        Ok((header, life(&token, now)))
    }
}

fn life(token: &wire::Token, now: Timestamp) -> Duration {
    let expires_in = token.expires_in.as_ref().and_then(wire::number);
    let expires_on = token.expires_on.as_ref().and_then(wire::number);
    let seconds = expires_in.or_else(|| Some(expires_on?.saturating_sub(now.as_second())));
    let said = seconds.map(|seconds| Duration::from_secs(seconds.max(1).unsigned_abs()));
    said.unwrap_or(UNSAID_LIFE).min(LONGEST_LIFE)
}

fn refusal(response: &Response) -> Error {
    let status = response.status.as_u16();
    let fault: wire::TokenFault = serde_json::from_slice(&response.body).unwrap_or_default();
    let numbers = fault.error_codes.iter().map(|number| format!("AADSTS{number}"));
    let code: String = std::iter::once(fault.error.clone()).chain(numbers).collect::<Vec<_>>().join(" ");
    let passing = matches!(fault.error.as_str(), "temporarily_unavailable" | "server_error");
    match status {
        400 | 401 | 403 if !passing => Error::Refused(Refusal { status, code }),
        _ => Error::Status { doing: DOING, status, code, message: String::new() },
    }
}

#[cfg(test)]
mod tests;
