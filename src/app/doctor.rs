//! Looks at everything that has to be right for the work, and writes nothing to either neighbour.
//!
//! What is looked at runs side by side, each within its own time, so that one neighbour that hangs hides
//! nothing of the other. What the findings mean is decided in `domain::checkup`.

mod address;
mod cxone;
mod graph;
mod shelf;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::assemble::{cxone_settings, graph_settings, graph_transport, named_directory, webhook_urls};
use super::configured::Configured;
use super::{Environment, Foreign};
use crate::clock::Clock;
use crate::config::Config;
use crate::cxone::{Cxone, Learned};
use crate::domain::checkup::{self, Check, Finding, Kind};
use crate::domain::retry::Failure;
use crate::domain::rules::Rules;
use crate::graph::Graph;
use crate::outbound::{Tenant, Transport};
use crate::random::Random;
use crate::shutdown::{Shutdown, Tasks};
use crate::store::{OpenError, Store};
use crate::telemetry::Metrics;
use crate::worker::failure::{Fault, Stopped};
use crate::worker::{WebhookUrls, Worker};

/// How long one question to a neighbour may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is examined: the parts of a service, or as many of them as could be made.
#[derive(Debug)]
pub struct Patient {
    graph: Graph,
    cxone: Result<Cxone, String>,
    store: Option<Store>,
    store_path: PathBuf,
    /// Why there is no store.
    unopened: Option<Unopened>,
    /// The tenants of the store and of the configuration differ.
    foreign: Option<String>,
    rules: Rules,
    urls: Option<WebhookUrls>,
    serves: bool,
    transport: Transport,
    clock: Clock,
    random: Random,
    metrics: Arc<Metrics>,
}

/// Why the store could not be opened.
#[derive(Debug)]
struct Unopened {
    /// Another process has it open.
    is_held: bool,
    words: String,
}

/// What one side showed of whose it is.
enum Whose {
    Known(String),
    /// A token of somebody else.
    Foreign(String),
    Unknown,
}

/// What was found at one neighbour, and what is judged beside the other's.
struct Side {
    findings: Vec<Finding>,
    skew: Option<SignedDuration>,
    whose: Whose,
}

/// Why a question has no answer.
struct Trouble {
    /// `None`: the neighbour only asked to wait.
    kind: Option<Kind>,
    words: String,
}

impl<E: Into<Stopped>> From<E> for Trouble {
    fn from(error: E) -> Self {
        let stopped = error.into();
        let kind = match &stopped {
            Stopped::By(Fault { failure: Failure::Throttled { .. }, .. }) => None,
            Stopped::By(Fault { failure: Failure::Outage(_), reached: true, .. }) => Some(Kind::Credentials),
            Stopped::By(Fault { failure: Failure::Rejected { .. }, .. }) | Stopped::Store(_) => {
                Some(Kind::Other)
            }
            Stopped::By(_) => Some(Kind::Unreachable),
        };
        Self { kind, words: stopped.words() }
    }
}

impl Trouble {
    fn finding(self, check: Check, means: &str, todo: &str) -> Finding {
        match self.kind {
            Some(kind) => Finding::fail(check, kind, self.words, means, todo),
            None => Finding::warn(check, self.words, "it could not be looked at", "ask again then"),
        }
    }
}

/// Waits for an answer, but not for ever.
async fn within<T, E>(question: impl Future<Output = Result<T, E>>) -> Result<Result<T, E>, Trouble> {
    tokio::time::timeout(PATIENCE, question).await.map_err(|_| {
        let words = format!("no answer within {} s", PATIENCE.as_secs());
        Trouble { kind: Some(Kind::Unreachable), words }
    })
}

impl Patient {
    /// The parts of this process, running or not.
    pub fn of_parts(worker: &Worker, transport: Transport, configured: &Configured) -> Self {
        Self {
            graph: worker.graph.clone(),
            cxone: Ok(worker.cxone.clone()),
            store: Some(worker.store.clone()),
            store_path: configured.store.clone(),
            unopened: None,
            foreign: None,
            rules: worker.settings.rules.clone(),
            urls: worker.settings.urls.clone(),
            serves: configured.serves,
            transport,
            clock: worker.clock.clone(),
            random: worker.random.clone(),
            metrics: worker.metrics.clone(),
        }
    }

    /// What can be made of a configuration when the parts cannot: `why` is their error, if they were
    /// tried. The store is not opened.
    pub async fn of_configuration(
        config: Config,
        environment: Environment,
        why: Option<&anyhow::Error>,
    ) -> anyhow::Result<Self> {
        let Environment { clock, random, transport } = environment;
        let Config { service, store, graph, cxone, rules, .. } = config;
        let metrics = Metrics::new();
        let (tasks, _) = Tasks::new(Shutdown::new());
        let settings = graph_settings(&graph, &rules, Tenant::new(named_directory(&graph)))?;
        let way = graph_transport(&graph, &transport)?;
        let graph = Graph::new(settings, way, clock.clone(), random.clone(), metrics.clone(), tasks);
        let settings = cxone_settings(cxone, &rules, None, transport.clone(), &clock, &metrics).await;
        let cxone = settings.map(|settings| {
            Cxone::new(settings, Learned::default(), transport.clone(), clock.clone(), metrics.clone())
        });
        let is_discovery = cxone.is_err();
        let foreign = why.filter(|why| why.is::<Foreign>()).map(|why| format!("{why:#}"));
        // Whatever else went wrong is the store's, unless it has just gone wrong here as well.
        let unopened = why.filter(|why| why.is::<OpenError>() || !(is_discovery || foreign.is_some()));
        Ok(Self {
            graph,
            cxone: cxone.map_err(|error| format!("{error:#}")),
            store: None,
            store_path: store.path,
            unopened: unopened.map(|why| Unopened {
                is_held: matches!(why.downcast_ref(), Some(OpenError::InUse { .. })),
                words: format!("{why:#}"),
            }),
            foreign,
            urls: service.public_url.as_ref().map(webhook_urls).transpose()?,
            rules,
            serves: false,
            transport,
            clock,
            random,
            metrics,
        })
    }

    /// Makes every check that needs the parts, in the order in which they are told.
    pub async fn examine(&self) -> Vec<Finding> {
        let (graph, cxone, address, shelf) =
            tokio::join!(self.graph_side(), self.cxone_side(), self.address(), self.shelf());
        let skews: Vec<(&str, SignedDuration)> = [("Graph", graph.skew), ("CXone", cxone.skew)]
            .into_iter()
            .filter_map(|(name, skew)| Some((name, skew?)))
            .collect();
        let mut findings = vec![checkup::clock(&skews), self.tenant(&graph.whose, &cxone.whose)];
        for found in [graph.findings, cxone.findings, address, shelf] {
            findings.extend(found);
        }
        findings.sort_by_key(|finding| finding.check);
        findings
    }

    fn tenant(&self, graph: &Whose, cxone: &Whose) -> Finding {
        let check = Check::Tenant;
        let todo = "correct graph.tenant_id, cxone.discovery or the credentials, or give the other tenant a \
                    store.path of its own";
        let means =
            "nobody kept in the store is in it: everybody would seem to have left, so nothing is done";
        let mut wrong: Vec<String> = self.foreign.iter().cloned().collect();
        for whose in [graph, cxone] {
            if let Whose::Foreign(words) = whose {
                wrong.push(words.clone());
            }
        }
        if !wrong.is_empty() {
            return Finding::fail(check, Kind::Configuration, wrong.join("; "), means, todo);
        }
        let known: Vec<String> = [("directory", graph), ("CXone tenant", cxone)]
            .into_iter()
            .filter_map(|(what, whose)| match whose {
                Whose::Known(id) => Some(format!("{what} {id}")),
                Whose::Foreign(_) | Whose::Unknown => None,
            })
            .collect();
        match known.is_empty() {
            true => Finding::skipped(check, "no token shows whose it is"),
            false => Finding::ok(check, known.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::checkup::State;
    use crate::outbound::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};

    const CONFIGURATION: &str = r#"
        [service]
        public_url = "https://sync.example.com"
        client_state_secret = "0123456789abcdef0123456789abcdef"
        [store]
        path = "FOLDER/queue.redb"
        [graph]
        tenant_id = "7a1c0000-0000-4000-8000-00000000e17a"
        client_id = "c11e0000-0000-4000-8000-0000000a9901"
        client_secret = "0123456789abcdef"
        [cxone]
        subdomain = "contoso"
        client_id = "c"
        client_secret = "0123456789abcdef"
    "#;

    async fn patient(transport: Transport, why: Option<&anyhow::Error>) -> (Patient, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let text = CONFIGURATION.replace("FOLDER", &folder.path().display().to_string());
        let no_environment = std::iter::empty::<(std::ffi::OsString, std::ffi::OsString)>();
        let config = Config::parse("test", &text, no_environment, &[]).unwrap();
        let clock = Clock::manual("2026-11-23T10:00:00Z".parse().unwrap());
        let environment = Environment { clock, random: Random::seeded(1), transport };
        (Patient::of_configuration(config, environment, why).await.unwrap(), folder)
    }

    fn of(findings: &[Finding], check: Check) -> &Finding {
        findings.iter().find(|finding| finding.check == check).unwrap()
    }

    /// Who answers nothing for ever ends no check but its own.
    #[tokio::test(start_paused = true)]
    async fn a_neighbour_that_hangs_hides_nothing_of_the_others() {
        let cxone_alone = Transport::in_process(|request: Request| async move {
            if !request.url.host_str().unwrap_or_default().ends_with("nicecxone.com") {
                return std::future::pending().await;
            }
            let body = match request.url.path().ends_with("/token") {
                true => r#"{"access_token": "t", "expires_in": 3600}"#,
                false => r#"{"totalResults": 0}"#,
            };
            let date = HeaderValue::from_static("Mon, 23 Nov 2026 10:00:31 GMT");
            let headers = HeaderMap::from_iter([(header::DATE, date)]);
            Ok(Response { status: StatusCode::OK, headers, body: body.into() })
        });
        let (patient, _folder) = patient(cxone_alone, None).await;
        let findings = patient.examine().await;
        assert_eq!(findings.len(), Check::ALL.len() - 2, "all but those of the command");
        let graph = of(&findings, Check::GraphToken);
        assert_eq!((graph.state, graph.kind), (State::Fail, Some(Kind::Unreachable)));
        assert!(graph.found.contains("within 20 s"), "{graph:?}");
        assert_eq!(of(&findings, Check::Subscriptions).state, State::Skipped);
        assert_eq!(of(&findings, Check::CxoneSearch).state, State::Ok);
        assert_eq!(of(&findings, Check::StoreFiles).state, State::Ok);
        let clock = of(&findings, Check::Clock);
        assert_eq!(clock.state, State::Warn);
        assert!(clock.found.contains("31 s behind CXone's"), "{clock:?}");
    }

    #[tokio::test]
    async fn why_the_parts_could_not_be_made_is_told_where_it_belongs() {
        let nobody =
            || Transport::in_process(|_| async { Err::<Response, _>(std::io::Error::other("no route")) });
        let gone = anyhow::Error::from(OpenError::Newer { found: 9, known: 3 });
        let (patient_of_a_newer, _folder) = patient(nobody(), Some(&gone)).await;
        let findings = patient_of_a_newer.examine().await;
        let store = of(&findings, Check::Store);
        assert_eq!(store.state, State::Fail);
        assert!(store.found.contains("newer version"), "{store:?}");
        assert_eq!(of(&findings, Check::Tenant).state, State::Skipped);
        assert_eq!(of(&findings, Check::GraphToken).kind, Some(Kind::Unreachable));
        assert_eq!(of(&findings, Check::CxoneToken).kind, Some(Kind::Unreachable));
    }
}
