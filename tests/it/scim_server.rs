//! The service against a SCIM server that others wrote: scim2-server, from PyPI, installed by
//! `tests/run`.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use cxone_sync::clock::Clock;
use cxone_sync::outbound::{Api, HeaderValue, Method, Request, Transport, header};
use cxone_sync::telemetry::Metrics;
use serde_json::{Value, json};

use super::stage::{Stage, stop, until_async};

const TOKEN: &str = "a-token-of-the-test";

struct ScimServer {
    child: Child,
    api: Api,
}

impl ScimServer {
    async fn start() -> Self {
        let program = std::env::var_os("CXONE_SYNC_TEST_SCIM_SERVER").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/scim2-server"),
            PathBuf::from,
        );
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(&program)
            .args(["--port", &port.to_string(), "--bearer-token", TOKEN])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", program.display()));
        let base = format!("http://127.0.0.1:{port}/v2").parse().unwrap();
        let api = Api::new(
            "the SCIM server",
            base,
            Transport::direct().unwrap(),
            4,
            Clock::system(),
            Metrics::new(),
        );
        let server = Self { child, api };
        assert!(
            until_async(|| async { server.users().await.is_some() }).await,
            "the SCIM server does not answer"
        );
        server
    }

    /// Everybody it has; `None` while it does not answer.
    async fn users(&self) -> Option<Vec<Value>> {
        let bearer = HeaderValue::from_str(&format!("Bearer {TOKEN}")).unwrap();
        let request =
            Request::new(Method::GET, self.api.url(["Users"])).header(header::AUTHORIZATION, bearer);
        let answer = self.api.send(request).await.ok()?;
        if !answer.status.is_success() {
            return None;
        }
        let list: Value = serde_json::from_slice(&answer.body).unwrap();
        Some(list["Resources"].as_array().cloned().unwrap_or_default())
    }

    async fn becomes(&self, what: &str, so: impl Fn(&Value) -> bool) {
        let there = until_async(|| async {
            self.users().await.is_some_and(|users| users.len() == 1 && so(&users[0]))
        })
        .await;
        assert!(there, "{what}: {:#?}", self.users().await);
    }
}

impl Drop for ScimServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn roles(user: &Value) -> Vec<&str> {
    let mut roles: Vec<&str> =
        user["roles"].as_array().into_iter().flatten().filter_map(|role| role["value"].as_str()).collect();
    roles.sort();
    roles
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_life_arrives_in_an_independent_scim_server() {
    let server = ScimServer::start().await;
    let stage = Stage::new();
    let configuration = with_cxone_at(&stage.configuration, server.api.base().as_str());
    let stage = Stage { configuration, ..stage };
    let running = stage.serve(&[]).await;

    let ana = stage.hire("Ana");
    server
        .becomes("created", |user| {
            user["userName"] == "ana@example.com"
                && user["externalId"] == json!(ana)
                && user["name"]["familyName"] == "Martin"
                && user["emails"][0]["value"] == "ana@example.com"
                && user["active"] == json!(true)
                && roles(user) == ["Agent"]
        })
        .await;
    stage.graph().update_user(&ana, json!({ "surname": "Silva", "displayName": "Ana Silva" }));
    server
        .becomes("renamed", |user| {
            user["name"]["familyName"] == "Silva" && user["displayName"] == "Ana Silva"
        })
        .await;
    stage.graph().update_user(&ana, json!({ "mail": "o'brien+x@example.com" }));
    server.becomes("a new address", |user| user["emails"][0]["value"] == "o'brien+x@example.com").await;
    stage.graph().update_user(&ana, json!({ "userPrincipalName": "silva@example.com" }));
    server.becomes("a new user name", |user| user["userName"] == "silva@example.com").await;
    stage.graph().add_member(&stage.nested, &ana);
    server.becomes("one more role", |user| roles(user) == ["Agent", "Supervisor"]).await;
    stage.graph().remove_member(&stage.roles[0].0, &ana);
    server.becomes("one role less", |user| roles(user) == ["Supervisor"]).await;
    stage.graph().disable(&ana);
    server.becomes("disabled", |user| user["active"] == json!(false)).await;
    stage.graph().enable(&ana);
    server.becomes("enabled again", |user| user["active"] == json!(true)).await;
    stop(running).await;
}

/// The same configuration with another `[cxone]`.
fn with_cxone_at(configuration: &str, scim_url: &str) -> String {
    let (before, section) = configuration.split_once("[cxone]").unwrap();
    let (_, after) = section.split_once("\n[").unwrap();
    format!("{before}[cxone]\nscim_url = \"{scim_url}\"\ngrant = \"bearer\"\ntoken = \"{TOKEN}\"\n[{after}")
}
