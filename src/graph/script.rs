//! For tests: a client whose neighbour is a function, and a record of what it was asked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use secrecy::SecretString;

use super::{Credential, Graph, Settings};
use crate::clock::Clock;
use crate::outbound::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Tenant, Transport};
use crate::random::Random;
use crate::shutdown::{Shutdown, Tasks};
use crate::telemetry::Metrics;

pub const TENANT: &str = "11112222-3333-4444-5555-666677778888";
pub const ANA: &str = "3f0c2a9e-1111-4222-8333-444455556666";

/// What the neighbour answers.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

pub fn answer(status: u16, body: impl Into<String>) -> Answer {
    Answer { status, headers: Vec::new(), body: body.into() }
}

impl Answer {
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
        }
        let status = StatusCode::from_u16(self.status).unwrap();
        Response { status, headers, body: self.body.into() }
    }
}

pub fn fault(code: &str) -> String {
    serde_json::json!({"error": {"code": code, "message": "Ana Example cannot be found", "innerError": {}}})
        .to_string()
}

pub fn token(name: &str) -> Answer {
    answer(
        200,
        serde_json::json!({"token_type": "Bearer", "expires_in": 3599, "access_token": name}).to_string(),
    )
}

pub struct Script {
    pub graph: Graph,
    pub clock: Clock,
    sent: Arc<Mutex<Vec<Request>>>,
}

pub fn settings() -> Settings {
    let names =
        ["mail", "userPrincipalName", "displayName", "telephoneNumber", "IsSoftDeleted", "proxyAddresses"];
    Settings {
        base_url: "https://graph.example.com/v1.0".parse().unwrap(),
        login_url: "https://login.example.com".parse().unwrap(),
        tenant_id: TENANT.to_owned(),
        tenant: Tenant::default(),
        credential: Credential::Secret {
            client_id: "the-client".to_owned(),
            secret: SecretString::from("s3cret & more"),
        },
        properties: names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(),
        max_connections: 8,
    }
}

impl Script {
    /// Every request for a token is granted: `token-1`, `token-2` …; `respond` is Graph.
    pub fn new(respond: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let logins = std::sync::atomic::AtomicUsize::new(0);
        Self::with(settings(), move |request| {
            if request.url.host_str() == Some("login.example.com") {
                let n = logins.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                token(&format!("token-{n}"))
            } else {
                respond(request)
            }
        })
    }

    /// `respond` is everybody.
    pub fn with(settings: Settings, respond: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = sent.clone();
        let transport = Transport::in_process(move |request| {
            let response = respond(&request).into_response();
            log.lock().unwrap().push(request);
            async move {
                // As over a network, the answer is not there at once.
                tokio::task::yield_now().await;
                Ok(response)
            }
        });
        let clock = Clock::manual("2026-11-20T10:00:00Z".parse::<Timestamp>().unwrap());
        let (tasks, _) = Tasks::new(Shutdown::new());
        let graph = Graph::new(settings, transport, clock.clone(), Random::seeded(7), Metrics::new(), tasks);
        Self { graph, clock, sent }
    }

    pub fn sent(&self) -> Vec<Request> {
        self.sent.lock().unwrap().clone()
    }

    /// What Graph was asked, as `METHOD path?query` below the base address.
    pub fn asked(&self) -> Vec<String> {
        let to_graph = self.sent().into_iter().filter(|r| r.url.host_str() == Some("graph.example.com"));
        to_graph
            .map(|r| {
                format!(
                    "{} {}",
                    r.method,
                    r.url.as_str().trim_start_matches("https://graph.example.com/v1.0")
                )
            })
            .collect()
    }

    /// How often a token was asked for.
    pub fn logins(&self) -> usize {
        self.sent().iter().filter(|r| r.url.host_str() != Some("graph.example.com")).count()
    }
}
