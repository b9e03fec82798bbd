//! Checks the public URL as Graph would: is it reachable, over good TLS, and does it echo?
//!
//! Done before Graph is asked for a subscription, because Graph says only that validation failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clock::Clock;
use crate::outbound::{self, Api, Method, Request, Transport, Url};
use crate::random::Random;
use crate::telemetry::Metrics;
use crate::worker::failure::words;

/// Graph waits 10 s for the handshake and 3 s for a notification.
const SLOW: Duration = Duration::from_secs(3);

/// What one address answered.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub url: String,
    pub ok: bool,
    pub latency_ms: u64,
    /// It answered as it must, be it slowly.
    #[serde(skip)]
    pub echoed: bool,
    /// What is wrong, in plain words.
    pub problem: Option<String>,
    /// What to do about it.
    pub todo: Option<String>,
}

/// Sends a validation request of our own and compares the echo byte by byte.
pub async fn check(
    url: &Url,
    transport: Transport,
    clock: Clock,
    random: &Random,
    metrics: Arc<Metrics>,
) -> Check {
    // What Graph's tokens look like, with everything that a proxy or framework could spoil.
    let token = format!(
        "Validation: Testing client application reachability for subscription Request-Id: {} %2B+&=/",
        random.guid()
    );
    let mut asked = url.clone();
    asked.query_pairs_mut().append_pair("validationToken", &token);
    let api = Api::new("the public URL", url.clone(), transport, 1, clock, metrics);
    let started = Instant::now();
    let answer = api.send(Request::new(Method::POST, asked).body("text/plain; charset=utf-8", "")).await;
    let latency = started.elapsed();
    let wrong = judge(&answer, &token);
    let echoed = wrong.is_none();
    let verdict = wrong.or_else(|| slow(latency));
    let (problem, todo) =
        verdict.map_or((None, None), |(problem, todo)| (Some(problem), Some(todo.to_owned())));
    Check {
        url: url.to_string(),
        ok: problem.is_none(),
        latency_ms: latency.as_millis() as u64,
        echoed,
        problem,
        todo,
    }
}

fn judge(
    answer: &Result<outbound::Response, outbound::Error>,
    token: &str,
) -> Option<(String, &'static str)> {
    let response = match answer {
        Ok(response) => response,
        Err(error) => return Some(unreached(error)),
    };
    let status = response.status;
    if !status.is_success() {
        let advice = match status.as_u16() {
            401 | 403 => {
                "something in front (a firewall, an auth proxy) refuses the call: let POST /notifications and /lifecycle through without authentication"
            }
            404 => {
                "the address leads to another service or path: service.public_url must reach the public listener of cxone-sync at its root"
            }
            502..=504 => {
                "the proxy in front does not reach the public listener: is `cxone-sync serve` running, and is service.public_listen what the proxy forwards to?"
            }
            _ => "look at what answers at service.public_url: it must be the public listener of cxone-sync",
        };
        return Some((format!("it answered {status} instead of 200"), advice));
    }
    if response.body != token.as_bytes() {
        return Some((
            format!(
                "the echo differs from the token ({} bytes came back, {} were expected)",
                response.body.len(),
                token.len()
            ),
            "something in front changes the query or the body, or another service answers",
        ));
    }
    let plain =
        response.headers.get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    if !plain {
        return Some((
            "the echo is not text/plain".to_owned(),
            "something in front changes the Content-Type",
        ));
    }
    None
}

fn slow(latency: Duration) -> Option<(String, &'static str)> {
    (latency > SLOW).then(|| {
        (
            format!("it took {} ms; Graph calls an endpoint slow after 3 s", latency.as_millis()),
            "bring the service closer to the Internet, or look for what delays it",
        )
    })
}

fn unreached(error: &outbound::Error) -> (String, &'static str) {
    let said = words(error);
    let lower = said.to_lowercase();
    let advice = match error {
        outbound::Error::Dns { .. } => {
            "the host name of service.public_url does not resolve: add the DNS record, or correct the name"
        }
        outbound::Error::Timeout { .. } => {
            "nothing answered in time: open the port to the Internet, and let the proxy forward to service.public_listen"
        }
        outbound::Error::Redirect { .. } => {
            "Graph follows no redirect: service.public_url must be the final address"
        }
        outbound::Error::Unreachable { .. }
            if lower.contains("certificate") || lower.contains("tls") || lower.contains("handshake") =>
        {
            "TLS failed: Graph needs a certificate of a public authority with its whole chain, the right name, and TLS 1.2"
        }
        outbound::Error::Unreachable { .. } => {
            "the connection was refused: is `cxone-sync serve` running, and does the port lead to it?"
        }
        _ => "look at what answers at service.public_url",
    };
    (said, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{HeaderMap, HeaderValue, Response, StatusCode};
    use jiff::Timestamp;

    async fn checked(
        answer: impl Fn(String) -> (u16, &'static str, String) + Send + Sync + 'static,
    ) -> Check {
        let transport = Transport::in_process(move |request| {
            let token =
                request.url.query_pairs().find(|(name, _)| name == "validationToken").unwrap().1.into_owned();
            let (status, content_type, body) = answer(token);
            let headers = HeaderMap::from_iter([(
                outbound::header::CONTENT_TYPE,
                HeaderValue::from_static(content_type),
            )]);
            let response =
                Response { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() };
            async move { Ok(response) }
        });
        let url = Url::parse("https://sync.example.com/notifications").unwrap();
        check(&url, transport, Clock::manual(Timestamp::UNIX_EPOCH), &Random::seeded(1), Metrics::new()).await
    }

    #[tokio::test]
    async fn an_exact_echo_passes() {
        let check = checked(|token| (200, "text/plain; charset=utf-8", token)).await;
        assert!(check.ok, "{check:?}");
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_plainly() {
        refused(200, "text/plain", |token| token.replace(' ', "+"), "echo differs").await;
        refused(200, "text/plain", |token| format!("\"{token}\""), "echo differs").await;
        refused(200, "application/json", |token| token, "not text/plain").await;
        refused(403, "text/html", |_| String::new(), "403").await;
        refused(301, "text/html", |_| String::new(), "redirect").await;
    }

    async fn refused(status: u16, content_type: &'static str, body: fn(String) -> String, expected: &str) {
        let check = checked(move |token| (status, content_type, body(token))).await;
        let problem = check.problem.expect("must be refused");
        assert!(problem.contains(expected), "{problem} should say {expected}");
        assert!(check.todo.is_some());
    }
}
