//! The commands' way to the service: its admin API, wherever it is answered.
//!
//! A running service owns the store, so commands talk to it: through the private socket, else
//! through the private listener. When none runs, the same API is answered in this process on the
//! store itself. Commands cannot tell the difference, except where they should.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::clock::Clock;
use crate::outbound::{
    self, Api, HeaderValue, LONG_BODY_BYTES, MAX_BODY_BYTES, Method, Request, Response, StatusCode, Streamed,
    Transport, Url, header,
};
use crate::telemetry::Metrics;

/// A service on this host that has not answered `/livez` by then is taken to be absent.
const KNOCK: Duration = Duration::from_secs(3);
/// What is asked for to be told how far something has come.
const LINES: &str = "application/x-ndjson";

/// Where a running service can be found on this host, by its configuration.
#[derive(Clone, Debug)]
pub struct Place {
    pub socket: Option<PathBuf>,
    pub listen: SocketAddr,
    /// From the configuration.
    pub token: Option<SecretString>,
    /// Made by the service at its first start, when the configuration has none.
    pub token_file: PathBuf,
}

/// One API to talk to.
#[derive(Clone, Debug)]
pub struct Client {
    api: Api,
    token: Option<SecretString>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service said no, in its own words.
    #[error("{message}")]
    Refused { status: StatusCode, code: String, message: String },
    #[error(transparent)]
    NoAnswer(outbound::Error),
    #[error("the service answered {0} with something this version does not understand")]
    Malformed(StatusCode),
}

impl ClientError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

impl Client {
    /// `base` is the root of the listener, such as `http://127.0.0.1:8081/`.
    pub fn new(transport: Transport, base: Url, token: Option<SecretString>, clock: Clock) -> Self {
        // One command at a time; what it counts is read by nobody.
        Self { api: Api::new("the service", base, transport, 1, clock, Metrics::new()), token }
    }

    pub async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, ClientError> {
        self.call(Method::GET, path, query, None).await
    }

    pub async fn post(&self, path: &[&str], body: Value) -> Result<Value, ClientError> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    pub async fn delete(&self, path: &[&str]) -> Result<Value, ClientError> {
        self.call(Method::DELETE, path, &[], None).await
    }

    /// An answer that is read piece by piece; one that is no success is read here.
    pub async fn fetch(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<Streamed, ClientError> {
        let request = self.request(method, path, &[], body);
        let answer = self.api.stream(request).await.map_err(ClientError::NoAnswer)?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status;
        understand(answer.whole(MAX_BODY_BYTES).await.map_err(ClientError::NoAnswer)?)?;
        Err(ClientError::Malformed(status))
    }

    /// As [`Client::post`], and tells meanwhile how far it has come.
    pub async fn post_told(
        &self,
        path: &[&str],
        body: Value,
        mut tell: impl FnMut(&Told),
    ) -> Result<Value, ClientError> {
        let request = self.request(Method::POST, path, &[], Some(body));
        let request = request.header(header::ACCEPT, HeaderValue::from_static(LINES));
        let mut answer = self.api.stream(request).await.map_err(ClientError::NoAnswer)?;
        let status = answer.status;
        if answer.headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != LINES) {
            return understand(answer.whole(LONG_BODY_BYTES).await.map_err(ClientError::NoAnswer)?);
        }
        let mut waiting = Vec::new();
        while let Some(piece) = answer.piece().await.map_err(ClientError::NoAnswer)? {
            waiting.extend_from_slice(&piece);
            while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                let mut line: Value =
                    serde_json::from_slice(&line).map_err(|_| ClientError::Malformed(status))?;
                if let Ok(told) = Told::deserialize(&line["progress"]) {
                    tell(&told);
                    continue;
                }
                if let Some(answer) = line.get_mut("answer") {
                    return Ok(answer.take());
                }
                let status = line["status"].as_u64().and_then(|it| StatusCode::from_u16(it as u16).ok());
                return Err(refused(status.unwrap_or_default(), &line));
            }
            if waiting.len() > LONG_BODY_BYTES {
                return Err(ClientError::Malformed(status));
            }
        }
        // The last line never came.
        Err(ClientError::Malformed(status))
    }

    /// A page outside `/api/v1` that needs no token, such as `readyz`.
    pub async fn probe(&self, page: &str) -> Result<Response, ClientError> {
        let request = Request::new(Method::GET, self.api.url([page]));
        self.api.send(request).await.map_err(ClientError::NoAnswer)
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<Value>,
    ) -> Result<Value, ClientError> {
        let request = self.request(method, path, query, body);
        understand(self.api.send(request).await.map_err(ClientError::NoAnswer)?)
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<Value>,
    ) -> Request {
        let mut url = self.api.url(["api", "v1"].iter().chain(path).copied());
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        // A command has a person at the other end who can end it.
        let mut request = Request::new(method, url).long();
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                .expect("a token is checked to be printable when it is read");
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(body) = body {
            request = request.body("application/json", body.to_string());
        }
        request
    }
}

/// How far something has come, as the service tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Told {
    pub doing: String,
    pub done: u64,
    pub of: Option<u64>,
}

fn understand(response: Response) -> Result<Value, ClientError> {
    let Response { status, body, .. } = response;
    if status.is_success() && body.is_empty() {
        return Ok(Value::Null);
    }
    let value: Value = serde_json::from_slice(&body).map_err(|_| ClientError::Malformed(status))?;
    if status.is_success() {
        return Ok(value);
    }
    Err(refused(status, &value))
}

fn refused(status: StatusCode, value: &Value) -> ClientError {
    let word = |key: &str| value.get("error")?.get(key)?.as_str().map(str::to_owned);
    match (word("code"), word("message")) {
        (Some(code), Some(message)) => ClientError::Refused { status, code, message },
        _ => ClientError::Malformed(status),
    }
}

/// Where the answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Socket,
    Listener,
    /// No service runs: answered in this process, on the store.
    Offline,
}

#[derive(Debug)]
pub struct Connection {
    pub client: Client,
    pub via: Via,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot prepare the connection to the service")]
    SetUp(#[from] outbound::SetUpError),
    #[error("the service answers on {listen}, but its admin token cannot be taken from {}", file.display())]
    Token {
        listen: SocketAddr,
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the store is in use, so a service seems to run, but it does not answer{} on {listen}",
        socket.as_ref().map(|socket| format!(" on {} or", socket.display())).unwrap_or_default()
    )]
    Silent { socket: Option<PathBuf>, listen: SocketAddr },
    #[error("there is a socket of the service at {}, which this user may not use", socket.display())]
    Socket {
        socket: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("no service runs, and its work cannot be done here")]
    Offline(#[source] anyhow::Error),
}

/// What an `offline` function puts into its error (as its context or as a cause) when another
/// process has the store open.
#[derive(Debug, thiserror::Error)]
#[error("the store is in use by another process")]
pub struct StoreInUse;

/// Finds the service, or does without: the private socket, else the private listener, else what
/// `offline` makes.
pub async fn connect(
    place: &Place,
    clock: &Clock,
    offline: impl AsyncFnOnce() -> anyhow::Result<Transport>,
) -> Result<Connection, ConnectError> {
    if let Some(connection) = running(place, clock).await? {
        return Ok(connection);
    }
    // Whoever may not use the socket mostly may not read the store either, and would be told only that.
    if let Some(socket) = &place.socket
        && let Some(source) = forbidden(socket).await
    {
        return Err(ConnectError::Socket { socket: socket.clone(), source });
    }
    let transport = offline().await.map_err(|error| match error.is::<StoreInUse>() {
        true => ConnectError::Silent { socket: place.socket.clone(), listen: place.listen },
        false => ConnectError::Offline(error),
    })?;
    let client = Client::new(transport, localhost(), None, clock.clone());
    Ok(Connection { client, via: Via::Offline })
}

/// Why this user may not use the socket, if that is so.
async fn forbidden(socket: &Path) -> Option<std::io::Error> {
    let tried = tokio::time::timeout(KNOCK, tokio::net::UnixStream::connect(socket)).await.ok()?;
    tried.err().filter(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// The service that runs, if one does.
async fn running(place: &Place, clock: &Clock) -> Result<Option<Connection>, ConnectError> {
    let Some(mut connection) = knock(place, clock).await? else { return Ok(None) };
    if connection.via == Via::Listener {
        connection.client.token = Some(token(place)?);
    }
    Ok(Some(connection))
}

/// As [`connect`], but only to a running service, and without the token: good for
/// [`Client::probe`] alone.
pub async fn knock(place: &Place, clock: &Clock) -> Result<Option<Connection>, ConnectError> {
    if let Some(socket) = place.socket.as_ref().filter(|socket| socket.exists()) {
        let client = Client::new(Transport::unix_socket(socket)?, localhost(), None, clock.clone());
        if is_alive(&client).await {
            return Ok(Some(Connection { client, via: Via::Socket }));
        }
    }
    let client = Client::new(Transport::direct()?, root_of(place.listen), None, clock.clone());
    if is_alive(&client).await {
        return Ok(Some(Connection { client, via: Via::Listener }));
    }
    Ok(None)
}

async fn is_alive(client: &Client) -> bool {
    let answer = tokio::time::timeout(KNOCK, client.probe("livez")).await;
    matches!(answer, Ok(Ok(response)) if response.status == StatusCode::OK)
}

fn token(place: &Place) -> Result<SecretString, ConnectError> {
    if let Some(token) = &place.token {
        return Ok(token.clone());
    }
    let refused =
        |source| ConnectError::Token { listen: place.listen, file: place.token_file.clone(), source };
    let text = std::fs::read_to_string(&place.token_file).map_err(refused)?;
    let token = text.trim();
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(refused(std::io::Error::other("the file does not hold a token")));
    }
    Ok(token.into())
}

fn localhost() -> Url {
    Url::parse("http://localhost/").expect("a URL")
}

/// A service that listens on every address is reached through the loopback one.
fn root_of(listen: SocketAddr) -> Url {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Url::parse(&format!("http://{}/", SocketAddr::new(ip, listen.port()))).expect("an address makes a URL")
}

#[cfg(test)]
pub mod testing {
    //! A service that a test makes up.

    use super::*;

    pub fn client(answer: impl Fn(Request) -> Response + Send + Sync + 'static) -> Client {
        let transport = Transport::in_process(move |request| {
            let response = answer(request);
            async move { Ok(response) }
        });
        Client::new(transport, localhost(), None, Clock::manual(jiff::Timestamp::UNIX_EPOCH))
    }

    pub fn text(status: u16, body: &str) -> Response {
        let status = StatusCode::from_u16(status).unwrap();
        Response { status, headers: Default::default(), body: body.to_owned().into() }
    }

    pub fn json(status: u16, body: Value) -> Response {
        text(status, &body.to_string())
    }
}

#[cfg(test)]
mod tests;
