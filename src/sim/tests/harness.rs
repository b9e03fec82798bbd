//! Calls to the simulators, and a receiver of notifications.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Router, response::IntoResponse};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::sim::clock::SimClock;
use crate::sim::server::{self, Traffic};
use crate::sim::wire::{self, first, pairs};
use crate::sim::{CxoneOptions, CxoneSim, GraphOptions, GraphSim};

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) body: Value,
}

pub(super) struct Caller {
    pub(super) client: reqwest::Client,
    pub(super) base: String,
    pub(super) token: String,
}

impl Caller {
    pub(super) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.try_send(method, path, body, &[]).await.unwrap()
    }

    /// `path` may be a whole address.
    pub(super) async fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        request = request.bearer_auth(&self.token).timeout(Duration::from_secs(5));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            if headers.iter().all(|(name, _)| *name != "content-type") {
                request = request.header("content-type", "application/json");
            }
            request = request.body(body.to_string());
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body })
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body)).await
    }
}

pub(super) async fn form(url: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let answer = wire::client().post(url).form(fields).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

pub(super) async fn graph(options: GraphOptions) -> (GraphSim, Caller) {
    let sim = GraphSim::start(options).unwrap();
    let options = sim.options();
    let url = format!("{}/{}/oauth2/v2.0/token", sim.login_url(), options.tenant_id);
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "https://graph.microsoft.com/.default"),
        ("client_id", options.client_id.as_str()),
        ("client_secret", options.client_secret.as_str()),
    ];
    let (status, body) = form(&url, &fields).await;
    assert_eq!(status, 200, "{body}");
    let token = body["access_token"].as_str().unwrap().to_owned();
    let caller = Caller { client: wire::client(), base: sim.base_url(), token };
    (sim, caller)
}

pub(super) async fn cxone(options: CxoneOptions) -> (CxoneSim, Caller) {
    let sim = CxoneSim::start(options).unwrap();
    let options = sim.options();
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", options.client_id.as_str()),
        ("client_secret", options.client_secret.as_str()),
    ];
    let (status, body) = form(&sim.token_url(), &fields).await;
    assert_eq!(status, 200, "{body}");
    let token = body["access_token"].as_str().unwrap().to_owned();
    let caller = Caller { client: wire::client(), base: sim.scim_url(), token };
    (sim, caller)
}

/// How a receiver answers.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Manner {
    Well,
    /// The token as it came, not decoded.
    TokenUndecoded,
    /// The token as JSON.
    TokenQuoted,
    HandshakeRefused,
    /// 503 for the first so many notifications.
    RefuseFirst(usize),
    /// Takes so long over the first notification.
    DawdleFirst(Duration),
}

/// A webhook: keeps the items it got, body by body.
pub(super) struct Receiver {
    pub(super) url: String,
    bodies: watch::Sender<Vec<Vec<Value>>>,
    handshakes: Arc<Mutex<Vec<String>>>,
    traffic: Arc<Traffic>,
}

impl Receiver {
    pub(super) fn start(manner: Manner) -> Self {
        let bodies = watch::channel(Vec::new()).0;
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let answer = {
            let (bodies, handshakes, seen) =
                (bodies.clone(), Arc::clone(&handshakes), Arc::new(Mutex::new(0)));
            move |RawQuery(query): RawQuery, body: Bytes| async move {
                let raw = query.unwrap_or_default();
                if let Some(token) = first(&pairs(&raw), "validationToken") {
                    handshakes.lock().unwrap().push(raw.clone());
                    let undecoded = raw.split_once('=').unwrap().1.to_owned();
                    return match manner {
                        Manner::HandshakeRefused => StatusCode::FORBIDDEN.into_response(),
                        Manner::TokenUndecoded => undecoded.into_response(),
                        Manner::TokenQuoted => json!(token).to_string().into_response(),
                        _ => token.to_owned().into_response(),
                    };
                }
                let number = {
                    let mut seen = seen.lock().unwrap();
                    *seen += 1;
                    *seen
                };
                match manner {
                    Manner::RefuseFirst(count) if number <= count => {
                        return StatusCode::SERVICE_UNAVAILABLE.into_response();
                    }
                    Manner::DawdleFirst(time) if number == 1 => tokio::time::sleep(time).await,
                    _ => {}
                }
                let body: Value = serde_json::from_slice(&body).unwrap();
                bodies.send_modify(|bodies| bodies.push(body["value"].as_array().unwrap().clone()));
                StatusCode::ACCEPTED.into_response()
            }
        };
        let router = Router::new().route("/{*any}", post(answer));
        let refuse = |_| panic!("a receiver has no faults");
        let traffic = Arc::new(Traffic::new(1, SimClock::system(), refuse));
        let address = server::start(([127, 0, 0, 1], 0).into(), router, Arc::clone(&traffic)).unwrap();
        Self { url: format!("http://{address}/notifications"), bodies, handshakes, traffic }
    }

    pub(super) fn handshakes(&self) -> Vec<String> {
        self.handshakes.lock().unwrap().clone()
    }

    pub(super) fn bodies(&self) -> Vec<Vec<Value>> {
        self.bodies.borrow().clone()
    }

    pub(super) fn items(&self) -> Vec<Value> {
        self.bodies().concat()
    }

    pub(super) fn subscription(&self, resource: &str) -> Value {
        json!({
            "changeType": "updated,deleted",
            "notificationUrl": self.url,
            "lifecycleNotificationUrl": self.url,
            "resource": resource,
            "expirationDateTime": (SimClock::system().now() + Duration::from_secs(86_400)).to_string(),
            "clientState": "a secret",
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.traffic.stop.cancel();
    }
}
