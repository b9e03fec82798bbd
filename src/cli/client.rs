//! The commands' way to the service: its admin API, wherever it is answered.
//!
//! A running service owns the store, so commands talk to it: through the private socket, else
//! through the private listener. When none runs, the same API is answered in this process on the
//! store itself. Commands cannot tell the difference, except where they should.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::clock::Clock;
use crate::outbound::{
    self, Api, HeaderValue, Method, Request, Response, StatusCode, Transport, Url, header,
};
use crate::telemetry::Metrics;

/// A service on this host that has not answered `/livez` by then is taken to be absent.
const KNOCK: Duration = Duration::from_secs(3);

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
        understand(self.api.send(request).await.map_err(ClientError::NoAnswer)?)
    }
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
    let word = |key: &str| value.get("error")?.get(key)?.as_str().map(str::to_owned);
    match (word("code"), word("message")) {
        (Some(code), Some(message)) => Err(ClientError::Refused { status, code, message }),
        _ => Err(ClientError::Malformed(status)),
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
    #[error(
        "the service answers on {listen}, but its admin token cannot be taken from {}: run this as the user the \
         service runs as, or set service.admin_token", file.display()
    )]
    Token {
        listen: SocketAddr,
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the store is in use, so a service seems to run, but it does not answer{} on {listen}: is this the \
         configuration it was started with, and the same host or container?",
        socket.as_ref().map(|socket| format!(" on {} or", socket.display())).unwrap_or_default()
    )]
    Silent { socket: Option<PathBuf>, listen: SocketAddr },
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
    let transport = offline().await.map_err(|error| match error.is::<StoreInUse>() {
        true => ConnectError::Silent { socket: place.socket.clone(), listen: place.listen },
        false => ConnectError::Offline(error),
    })?;
    let client = Client::new(transport, localhost(), None, clock.clone());
    Ok(Connection { client, via: Via::Offline })
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
