//! Both simulated neighbours and the real service, for tests that look from outside.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use cxone_sync::app::Running;
use cxone_sync::cli::demo::compare::Judge;
use cxone_sync::cli::demo::stage::{Neighbours, configuration, service};
use cxone_sync::cli::demo::subscribe;
use cxone_sync::clock::Clock;
use cxone_sync::sim::{CxoneOptions, CxoneSim, GraphOptions, GraphSim};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test calls it lost.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The neighbours, two role groups (the second with a nested one), and a place for the service.
pub struct Stage {
    pub neighbours: Neighbours,
    pub roles: Vec<(String, String)>,
    pub nested: String,
    pub folder: TempDir,
    pub configuration: String,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(GraphOptions::default(), CxoneOptions::default())
    }

    pub fn with(graph: GraphOptions, cxone: CxoneOptions) -> Self {
        let neighbours = Neighbours::start_with(graph, cxone).unwrap();
        let graph = &neighbours.graph;
        let group = |name: &str| graph.add_group(json!({ "displayName": name }));
        let (agents, supervisors, nested) = (group("Agents"), group("Supervisors"), group("Team leads"));
        graph.add_member(&supervisors, &nested);
        let roles = vec![(agents, "Agent".to_owned()), (supervisors, "Supervisor".to_owned())];
        let folder = tempfile::tempdir().unwrap();
        let configuration = configuration(folder.path(), &neighbours, &roles).unwrap();
        Self { neighbours, roles, nested, folder, configuration }
    }

    pub fn graph(&self) -> &GraphSim {
        &self.neighbours.graph
    }

    pub fn cxone(&self) -> &CxoneSim {
        &self.neighbours.cxone
    }

    /// Somebody new, in the first role group.
    pub fn hire(&self, name: &str) -> String {
        let address = format!("{}@example.com", name.to_lowercase());
        let user = self.graph().add_user(json!({
            "userPrincipalName": address, "mail": address, "accountEnabled": true,
            "givenName": name, "surname": "Martin", "displayName": format!("{name} Martin"),
        }));
        self.graph().add_member(&self.roles[0].0, &user);
        user
    }

    /// Starts the service with these keys set, and subscribes.
    pub async fn serve(&self, flags: &[(&str, &str)]) -> Running {
        let running = self.serve_unsubscribed(flags).await;
        subscribe(self.folder.path()).await.unwrap();
        running
    }

    pub async fn serve_unsubscribed(&self, flags: &[(&str, &str)]) -> Running {
        self.serve_by(Clock::system(), flags).await
    }

    /// Starts the service by this clock.
    pub async fn serve_by(&self, clock: Clock, flags: &[(&str, &str)]) -> Running {
        let flags: Vec<_> =
            flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        service(&self.configuration, &flags, clock).await.unwrap()
    }

    pub fn judge(&self) -> Judge {
        Judge::new(self.graph().clone(), self.cxone().clone(), self.roles.clone())
    }

    pub fn differences(&self, users: &[String]) -> Vec<String> {
        self.judge().differences(users)
    }

    /// Waits until both sides agree about these users and nobody else has an account.
    pub async fn converge(&self, users: &[String]) {
        let agreed = until(|| self.differences(users).is_empty()).await;
        assert!(agreed, "still different: {:#?}", self.differences(users));
    }

    /// As [`Stage::converge`], when there is just one user.
    pub async fn arrives(&self, user: &str) {
        self.converge(&[user.to_owned()]).await;
    }

    /// As [`Stage::arrives`], while a manual clock goes on.
    pub async fn arrives_by(&self, clock: &Clock, user: &str) {
        let everybody = [user.to_owned()];
        let agreed = until(|| {
            clock.advance(Duration::from_millis(500));
            self.differences(&everybody).is_empty()
        });
        assert!(agreed.await, "still different: {:#?}", self.differences(&everybody));
    }

    /// The CXone account of a user.
    pub fn account(&self, user: &str) -> Option<Value> {
        self.cxone().users().into_iter().find(|account| account["externalId"] == user)
    }

    pub fn held_roles(&self, user: &str) -> BTreeSet<String> {
        let account = self.account(user).expect("the user has an account");
        let roles = account["roles"].as_array().cloned().unwrap_or_default();
        roles
            .iter()
            .map(|role| role["value"].as_str().or(role["display"].as_str()).unwrap().to_owned())
            .collect()
    }

    /// The bodies sent to CXone since the last call, as `METHOD body`.
    pub fn sent(&self) -> Vec<(String, Value)> {
        let sent = self.cxone().writes().into_iter().map(|write| (write.method, write.body)).collect();
        self.cxone().clear_writes();
        sent
    }
}

/// Looks again and again until it is so; `false` when patience has run out.
pub async fn until(mut so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

/// As [`until`], with something to wait for in between.
pub async fn until_async<F: Future<Output = bool>>(mut so: impl FnMut() -> F) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

/// Ends a service in order, as SIGTERM does.
pub async fn stop(running: Running) {
    running.shutdown.request();
    running.until_end().await.unwrap();
}
