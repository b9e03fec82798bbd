//! The only way out of the process: requests to one pinned API each.
//!
//! An [`Api`] sends to the one origin it was made for and nowhere else: a `nextLink`, a `Location`
//! or a stored delta link that points elsewhere is refused before a token is attached, and redirects
//! are never followed. It also keeps the neighbour's word: while a `Retry-After` runs, nothing is
//! sent at all, and the number of requests under way halves when the neighbour is overloaded and
//! grows back one by one. It never retries: the queue is the retry.

mod gate;
mod limit;
mod tenant;
pub mod tls;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode, Url};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, debug_span};

use crate::clock::Clock;
use crate::telemetry::{ApiLabel, Metrics};
pub use gate::retry_after;
use gate::{Gate, date};
use limit::Limit;
pub use tenant::{Tenant, claim, claims};

/// No answer we ask for is larger; a larger one is a fault of the neighbour, not data.
pub const MAX_BODY_BYTES: usize = 8 << 20;
/// From the first byte sent to the last received.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For [`Request::long`]. The service itself gives up on an adoption after six hours.
const LONG_TIMEOUT: Duration = Duration::from_secs(6 * 3600 + 60);
/// For [`Request::long`]: the plans of some 100,000 users.
pub const LONG_BODY_BYTES: usize = 256 << 20;

/// What is sent. The URL must lie within the [`Api`] it is handed to.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    long: bool,
}

impl Request {
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), long: false }
    }

    /// May take many minutes, and have a large answer: only for commands that ask our own service.
    pub fn long(self) -> Self {
        Self { long: true, ..self }
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub fn body(self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut request = self.header(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        request.body = body.into();
        request
    }
}

/// A whole answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer whose body is not there yet: what a function in this process makes.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: BoxStream<'static, Result<Bytes, std::io::Error>>,
}

impl Answer {
    /// All of it, for who made it and knows that it is not much.
    pub async fn whole(self) -> Result<Response, std::io::Error> {
        let Self { status, headers, mut body } = self;
        let mut bytes = BytesMut::new();
        while let Some(piece) = body.try_next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(Response { status, headers, body: bytes.freeze() })
    }
}

impl From<Response> for Answer {
    fn from(Response { status, headers, body }: Response) -> Self {
        Self { status, headers, body: Box::pin(stream::iter([Ok(body)])) }
    }
}

/// An answer whose body is read piece by piece, for what is too large to be held.
pub struct Streamed {
    pub status: StatusCode,
    pub headers: HeaderMap,
    api: &'static str,
    body: Pieces,
}

enum Pieces {
    Network(reqwest::Response),
    InProcess(BoxStream<'static, Result<Bytes, std::io::Error>>),
}

impl Streamed {
    /// The next piece; `None` at the end. A body that broke off before it is an error.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        let api = self.api;
        match &mut self.body {
            Pieces::Network(answer) => answer.chunk().await.map_err(|error| failure(api, error)),
            Pieces::InProcess(pieces) => {
                pieces.try_next().await.map_err(|source| Error::BrokenOff { api, source: source.into() })
            }
        }
    }

    /// All of it, if it is no more than that.
    pub async fn whole(mut self, max_bytes: usize) -> Result<Response, Error> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if body.len() + piece.len() > max_bytes {
                return Err(Error::TooLarge { api: self.api });
            }
            body.extend_from_slice(&piece);
        }
        Ok(Response { status: self.status, headers: self.headers, body: body.freeze() })
    }
}

/// Why there is no answer to look at. URLs are never part of the message: they may hold names.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot find the host of {api}")]
    Dns {
        api: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot reach {api}")]
    Unreachable {
        api: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{api} did not answer in time")]
    Timeout { api: &'static str },
    #[error("the answer of {api} broke off")]
    BrokenOff {
        api: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the answer of {api} is larger than any we ask for")]
    TooLarge { api: &'static str },
    /// 429, or 503 with `Retry-After`, now or earlier: nothing may be sent before `until`.
    #[error("{api} asks to wait until {until}")]
    Throttled { api: &'static str, until: Timestamp },
    #[error("{api} answered with a redirect ({status}), which is never followed")]
    Redirect { api: &'static str, status: StatusCode },
    #[error("refused to send to {host}: it is not {api}")]
    ForeignAddress { api: &'static str, host: String },
}

/// How requests travel: over the network, or to a function in this process (tests, and commands
/// that run without the service).
#[derive(Clone)]
pub enum Transport {
    Network(reqwest::Client),
    InProcess(Arc<dyn Fn(Request) -> BoxFuture<'static, Result<Answer, std::io::Error>> + Send + Sync>),
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Network(_) => "Network",
            Self::InProcess(_) => "InProcess",
        })
    }
}

/// The process has no certificate authorities to trust, or TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS for outgoing requests; is the package ca-certificates installed?")]
pub struct SetUpError(#[from] reqwest::Error);

#[expect(clippy::disallowed_methods, reason = "this is the one place that makes clients")]
fn client() -> reqwest::ClientBuilder {
    // Another part of the process may have installed it first; it is the same one.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .user_agent(concat!("cxone-sync/", env!("CARGO_PKG_VERSION")))
}

impl Transport {
    /// HTTP over TCP, certificates checked. Proxies are taken from the environment
    /// (`HTTPS_PROXY`, `NO_PROXY`), except for loopback hosts.
    pub fn network() -> Result<Self, SetUpError> {
        Ok(Self::Network(client().build()?))
    }

    /// As [`Transport::network`], never through a proxy: for managed identity endpoints and tests.
    pub fn direct() -> Result<Self, SetUpError> {
        Ok(Self::Network(client().no_proxy().build()?))
    }

    /// HTTP over a Unix socket, for commands that talk to the running service.
    pub fn unix_socket(path: &std::path::Path) -> Result<Self, SetUpError> {
        Ok(Self::Network(client().no_proxy().unix_socket(path).build()?))
    }

    pub fn in_process<F, A>(answer: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<A, std::io::Error>> + Send + 'static,
        A: Into<Answer>,
    {
        Self::InProcess(Arc::new(move |request| {
            let answer = answer(request);
            Box::pin(async move { answer.await.map(Into::into) })
        }))
    }
}

/// One neighbour: an origin, its path prefix, its gate and its limit. Clones share them.
#[derive(Clone, Debug)]
pub struct Api {
    name: &'static str,
    base: Url,
    transport: Transport,
    gate: Arc<Gate>,
    limit: Arc<Limit>,
    /// How far the neighbour's clock was ahead of ours at its last answer.
    skew: Arc<Mutex<Option<SignedDuration>>>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Api {
    /// `base` is where the API lives, such as `https://graph.microsoft.com/v1.0`; at most
    /// `max_connections` requests are under way at once.
    pub fn new(
        name: &'static str,
        base: Url,
        transport: Transport,
        max_connections: usize,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (gate, limit) = (Arc::new(Gate::default()), Arc::new(Limit::new(max_connections)));
        Self { name, base, transport, gate, limit, skew: Arc::default(), clock, metrics }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn base(&self) -> &Url {
        &self.base
    }

    /// When the neighbour may be asked again, if it asked us to wait.
    pub fn closed_until(&self) -> Option<Timestamp> {
        self.gate.closed_until(self.clock.now())
    }

    /// How many requests may be under way at present.
    pub fn concurrency(&self) -> usize {
        self.limit.current()
    }

    /// How far the neighbour's clock was ahead of ours, by the `Date` of its last answer that had one.
    pub fn skew(&self) -> Option<SignedDuration> {
        *self.skew.lock().expect("no panic while the skew is held")
    }

    /// `base` with `segments` appended, each percent-encoded.
    pub fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(segments);
        url
    }

    /// Reads a link the neighbour gave us. One that leads to another host, port, scheme or out of
    /// the base path is [`Error::ForeignAddress`].
    pub fn own(&self, link: &str) -> Result<Url, Error> {
        let foreign = |host: String| Error::ForeignAddress { api: self.name, host };
        // `Url` would strip tabs and newlines and turn `\` into `/` without a word.
        if link.chars().any(|c| c.is_ascii_control() || c == '\\' || c == ' ') {
            return Err(foreign("a malformed address".to_owned()));
        }
        let url = Url::parse(link).map_err(|_| foreign("an address that is not absolute".to_owned()))?;
        self.check(&url)?;
        Ok(url)
    }

    fn check(&self, url: &Url) -> Result<(), Error> {
        let same_origin = url.origin() == self.base.origin() && url.origin().is_tuple();
        let no_user = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let prefix = self.base.path().trim_end_matches('/');
        let within =
            url.path().strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // An encoded dot or slash could leave the prefix again at the neighbour's router.
        let path = url.path().to_ascii_lowercase();
        let plain = !path.contains("%2e") && !path.contains("%2f") && !path.contains("%5c");
        if same_origin && no_user && within && plain {
            Ok(())
        } else {
            let host = url.host_str().unwrap_or("an address without a host").to_owned();
            Err(Error::ForeignAddress { api: self.name, host })
        }
    }

    /// Sends one request and reads the whole answer. Any status but a redirect or a request to wait
    /// is `Ok`: what it means is the caller's to say.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        self.check(&request.url)?;
        self.pass_gate()?;
        let permit = self.limit.acquire().await;
        // The neighbour may have closed the gate while we stood in line.
        self.pass_gate()?;
        let (started, method) = (Instant::now(), request.method.clone());
        let span = self.span(&method);
        let answer = self.transmit(request).instrument(span.clone()).await;
        match &answer {
            Ok(response) => span.record("http.status", response.status.as_u16()),
            Err(_) => span.record("otel.status_code", "error"),
        };
        drop(span);
        let code = answer.as_ref().ok().map(|response| response.status.as_u16());
        self.metrics.requested(self.name, method.as_str(), code, started.elapsed());
        tracing::debug!(
            api = self.name, http.method = %method, http.status = code,
            duration_ms = started.elapsed().as_millis() as u64, "asked {}", self.name
        );
        drop(permit);
        let response = answer?;
        if let Some(date) = date(&response.headers) {
            let ahead = date.duration_since(self.clock.now());
            *self.skew.lock().expect("no panic while the skew is held") = Some(ahead);
        }
        let wait = retry_after(&response.headers, self.clock.now());
        match response.status {
            StatusCode::TOO_MANY_REQUESTS => Err(self.throttled(wait)),
            StatusCode::SERVICE_UNAVAILABLE if wait.is_some() => Err(self.throttled(wait)),
            status if status.is_redirection() => Err(Error::Redirect { api: self.name, status }),
            status => {
                if status.is_success() {
                    self.limit.grow();
                }
                Ok(response)
            }
        }
    }

    /// As [`Api::send`], but the body of the answer is left to the caller to read, and its status to look
    /// at: only for commands that ask our own service.
    pub async fn stream(&self, request: Request) -> Result<Streamed, Error> {
        self.check(&request.url)?;
        self.pass_gate()?;
        self.open(request.long()).await
    }

    /// The address is no part of it: it may hold a name.
    fn span(&self, method: &Method) -> Span {
        macro_rules! request {
            ($name:literal) => {
                debug_span!(
                    $name, otel.kind = "client", api = self.name, http.method = %method, http.status = Empty,
                    otel.status_code = Empty
                )
            };
        }
        match self.name {
            "graph" => request!("graph.request"),
            "cxone" => request!("cxone.request"),
            _ => request!("outbound.request"),
        }
    }

    /// Tells the gate that part of an answer (an item of a batch) asked us to wait.
    pub fn throttled(&self, wait: Option<Duration>) -> Error {
        self.metrics.throttled.get_or_create(&ApiLabel::of(self.name)).inc();
        self.limit.halve();
        let until = self.gate.close(self.clock.now(), wait);
        Error::Throttled { api: self.name, until }
    }

    fn pass_gate(&self) -> Result<(), Error> {
        match self.closed_until() {
            Some(until) => Err(Error::Throttled { api: self.name, until }),
            None => Ok(()),
        }
    }

    async fn transmit(&self, request: Request) -> Result<Response, Error> {
        let max_bytes = if request.long { LONG_BODY_BYTES } else { MAX_BODY_BYTES };
        self.open(request).await?.whole(max_bytes).await
    }

    async fn open(&self, request: Request) -> Result<Streamed, Error> {
        let api = self.name;
        match &self.transport {
            Transport::InProcess(answer) => {
                let answer = answer(request).await;
                let answer = answer.map_err(|source| Error::Unreachable { api, source: source.into() })?;
                let Answer { status, headers, body } = answer;
                Ok(Streamed { status, headers, api, body: Pieces::InProcess(body) })
            }
            Transport::Network(client) => {
                let timeout = if request.long { LONG_TIMEOUT } else { REQUEST_TIMEOUT };
                let answer = client
                    .request(request.method, request.url)
                    .timeout(timeout)
                    .headers(request.headers)
                    .body(request.body)
                    .send()
                    .await
                    .map_err(|error| failure(api, error))?;
                let (status, headers) = (answer.status(), answer.headers().clone());
                Ok(Streamed { status, headers, api, body: Pieces::Network(answer) })
            }
        }
    }
}

fn failure(api: &'static str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    if error.is_timeout() {
        Error::Timeout { api }
    } else if error.is_connect() && is_dns(&error) {
        Error::Dns { api, source: error.into() }
    } else if error.is_body() || error.is_decode() {
        Error::BrokenOff { api, source: error.into() }
    } else {
        Error::Unreachable { api, source: error.into() }
    }
}

/// reqwest has no class for it: the connector's message is all there is.
fn is_dns(error: &dyn std::error::Error) -> bool {
    std::iter::successors(error.source(), |error| error.source())
        .any(|cause| cause.to_string().contains("dns error"))
}

#[cfg(test)]
mod tests;
