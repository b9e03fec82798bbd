//! Config → App: every part is made here, once, from its own part of the configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::config::{self, Config, CxoneAuth, CxoneEndpoint, Dialect, GraphCredential, Mode};
use crate::cxone::{self, Cxone, DialectChoice, Learned};
use crate::domain::rules::Rules;
use crate::domain::user::UserId;
use crate::graph::notification::Verifier;
use crate::graph::{self, Graph};
use crate::outbound::{Tenant, Transport, Url};
use crate::shutdown::{Shutdown, Tasks};
use crate::store::{self, Store};
use crate::telemetry::Metrics;
use crate::web::operations::Operations;
use crate::web::{Access, AdminToken, PrivateState, PublicState, private_router, public_router};
use crate::worker::{
    Format, InForce, LEARNED_MEMO, Parts, Receiver, Receivers, Settings, TENANTS_MEMO, Tenants, WebhookUrls,
    Worker,
};

use super::configured::Configured;
use super::{App, Environment, token};

/// Where a virtual machine asks for its managed identity. Source: Azure Instance Metadata Service.
const IMDS: &str = "http://169.254.169.254";
/// A file of its own is kept aside, so that a full disk can be drained.
pub const BALLAST_BYTES: u64 = 64 << 20;

impl App {
    /// Opens the store and makes every part. Nothing is sent, but for CXone's discovery when it is
    /// configured.
    pub async fn assemble(config: Config, environment: Environment) -> anyhow::Result<Self> {
        for warning in &config.warnings {
            warn!("{warning}");
        }
        let Environment { clock, random, transport } = environment;
        let shutdown = Shutdown::new();
        let (tasks, ended) = Tasks::new(shutdown.clone());
        let metrics = Metrics::new();
        let sources = (config.sources().clone(), config.values().clone());
        let Config { service, store, graph, cxone, sync, rules, guard, retention, events, .. } = config;

        let options = store::Options {
            path: store.path.clone(),
            cache_bytes: store.cache_bytes,
            ballast_bytes: BALLAST_BYTES,
            retention_journal: retention.journal,
            retention_history: retention.history,
            history_key: token::history_key(store.history_key.as_ref(), &store.path, &random)?,
        };
        let (opened_at, for_store) = (clock.now(), metrics.clone());
        let admin_token = match &service.admin_token {
            Some(token) => AdminToken::new(token),
            None => AdminToken::new(&token::made_token(&store.path, &random)?),
        };
        let configured = Configured::new(
            sources,
            store.path.clone(),
            service.admin_token.is_none(),
            admin_token.clone(),
            transport.clone(),
        );
        let store = tokio::task::spawn_blocking(move || Store::open(options, opened_at, for_store)).await??;

        let tenants = store.memo(TENANTS_MEMO).await?.and_then(|memo| serde_json::from_str(&memo).ok());
        let tenants: Tenants = tenants.unwrap_or_default();
        let directory = belongs("directory", "graph.tenant_id", tenants.graph, named_directory(&graph))?;
        let graph_settings = graph_settings(&graph, &rules, directory)?;
        let graph_transport = graph_transport(&graph, &transport)?;
        let mut client_states = service.client_state_secrets.clone();
        if client_states.is_empty() {
            // Graph cannot call us: one that nobody knows, so that nothing verifies.
            client_states.push(BASE64_STANDARD.encode(random.secret::<32>()).into());
        }
        let verifier = Arc::new(Verifier::new(client_states, &graph.tenant_id));
        let graph = Graph::new(
            graph_settings,
            graph_transport,
            clock.clone(),
            random.clone(),
            metrics.clone(),
            tasks.clone(),
        );

        // What an older or newer version wrote and we cannot read is found out again.
        let learned = store.memo(LEARNED_MEMO).await?;
        let learned: Learned = learned.and_then(|memo| serde_json::from_str(&memo).ok()).unwrap_or_default();
        let trust_baseline_for = cxone.trust_baseline_for;
        let cxone_settings =
            cxone_settings(cxone, &rules, tenants.cxone, transport.clone(), &clock, &metrics).await?;
        let cxone = Cxone::new(cxone_settings, learned, transport.clone(), clock.clone(), metrics.clone());

        let urls = service.public_url.as_ref().map(webhook_urls).transpose()?;
        let settings = worker_settings(&sync, &guard, rules, trust_baseline_for, urls);
        let in_force = InForce { settings: Arc::new(settings), graph, cxone };
        let parts = Parts {
            store: store.clone(),
            verifier: verifier.clone(),
            clock: clock.clone(),
            random: random.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            metrics: metrics.clone(),
            receivers: Receivers::new(receivers(events), &transport, &clock, &metrics),
        };
        let worker = Worker::new(in_force, parts);

        let (operations, asked) = Operations::channel();
        let private = |access| {
            private_router(PrivateState {
                store: store.clone(),
                operations: operations.clone(),
                metrics: metrics.clone(),
                clock: clock.clone(),
                random: random.clone(),
                shutdown: shutdown.clone(),
                budgets: worker.budgets(),
                access,
            })
        };
        let hosts = vec![service.private_listen.ip().to_string()];
        let (local, offline) = (private(Access::Local), private(Access::Offline));
        let private = private(Access::Token { token: admin_token, hosts });
        let public = public_router(PublicState {
            store: store.clone(),
            verifier,
            metrics,
            clock,
            max_body_bytes: service.max_body_bytes,
        });
        Ok(Self {
            service,
            store,
            worker,
            transport,
            configured,
            asked,
            public,
            private,
            local,
            offline,
            tasks,
            ended,
            shutdown,
        })
    }
}

/// Metadata services are on this machine: a proxy would only get in the way.
pub fn graph_transport(graph: &config::Graph, transport: &Transport) -> anyhow::Result<Transport> {
    Ok(match (&graph.credential, transport) {
        (GraphCredential::ManagedIdentity { .. }, Transport::Network(_)) => Transport::direct()?,
        _ => transport.clone(),
    })
}

/// The store belongs to another tenant than the configuration names.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store belongs to {what} {known}, and {key} names {named}: everybody in it would seem to have left. Correct \
     {key}, or give {named} a store.path of its own"
)]
pub struct Foreign {
    what: &'static str,
    key: &'static str,
    known: String,
    named: String,
}

/// The tenant that tokens must be of: as the store knows it, and as the configuration names it.
fn belongs(
    what: &'static str,
    key: &'static str,
    known: Option<String>,
    named: Option<String>,
) -> Result<Tenant, Foreign> {
    match (known, named) {
        (Some(known), Some(named)) if !known.eq_ignore_ascii_case(&named) => {
            Err(Foreign { what, key, known, named })
        }
        (known, named) => Ok(Tenant::new(known.or(named))),
    }
}

/// The directory that the configuration names. A domain does not say which it is: the first token does.
pub fn named_directory(graph: &config::Graph) -> Option<String> {
    graph.tenant_id.parse::<UserId>().ok().map(|id| id.to_string())
}

/// How we show Entra who we are.
pub fn graph_credential(graph: &config::Graph) -> anyhow::Result<graph::Credential> {
    Ok(match &graph.credential {
        GraphCredential::Secret { client_id, secret } => {
            graph::Credential::Secret { client_id: client_id.clone(), secret: secret.clone() }
        }
        GraphCredential::Certificate { client_id, certificate_pem, private_key_pem } => {
            graph::Credential::Certificate {
                client_id: client_id.clone(),
                certificate_pem: certificate_pem.clone(),
                private_key_pem: private_key_pem.clone(),
            }
        }
        GraphCredential::FederatedTokenFile { client_id, path } => {
            graph::Credential::FederatedTokenFile { client_id: client_id.clone(), path: path.clone() }
        }
        GraphCredential::ManagedIdentity { client_id, endpoint } => graph::Credential::ManagedIdentity {
            client_id: client_id.clone(),
            endpoint: endpoint.clone(),
            imds_url: IMDS.parse().context("the address of the metadata service")?,
        },
    })
}

pub fn graph_settings(
    graph: &config::Graph,
    rules: &Rules,
    tenant: Tenant,
) -> anyhow::Result<graph::Settings> {
    Ok(graph::Settings {
        base_url: graph.base_url.clone(),
        login_url: graph.login_url.clone(),
        tenant_id: graph.tenant_id.clone(),
        tenant,
        credential: graph_credential(graph)?,
        properties: rules.properties(),
        max_connections: graph.max_connections,
    })
}

pub async fn cxone_settings(
    cxone: config::Cxone,
    rules: &Rules,
    known: Option<String>,
    transport: Transport,
    clock: &crate::clock::Clock,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<cxone::Settings> {
    let (scim_url, token_url, named) = match &cxone.endpoint {
        CxoneEndpoint::Fixed { scim_url, token_url } => (scim_url.clone(), token_url.clone(), None),
        CxoneEndpoint::Discovery { issuer, token_url } => {
            let found = cxone::discover(issuer, transport, clock.clone(), metrics.clone()).await.context(
                "cannot discover the addresses of CXone; set cxone.scim_url and cxone.token_url instead",
            )?;
            (found.scim_url, token_url.clone().or(Some(found.token_url)), Some(found.tenant))
        }
    };
    let tenant = belongs("CXone tenant", "cxone.discovery", known, named)?;
    let auths = cxone_auths(&cxone, token_url)?;
    let dialect = match cxone.dialect {
        Dialect::Auto => DialectChoice::Auto,
        Dialect::Rfc7644 => DialectChoice::Fixed(cxone::Dialect::Rfc7644),
        Dialect::Indexed => DialectChoice::Fixed(cxone::Dialect::Indexed),
        Dialect::Cxone => DialectChoice::Fixed(cxone::Dialect::Cxone),
        Dialect::Put => DialectChoice::Fixed(cxone::Dialect::Put),
    };
    let role_names = rules.roles.rows().iter().map(|row| row.role.clone()).collect();
    let max_connections = cxone.max_connections;
    Ok(cxone::Settings { scim_url, auths, tenant, max_connections, dialect, role_names })
}

/// How we show CXone who we are: as configured, and then as configured for when that is refused.
pub fn cxone_auths(cxone: &config::Cxone, token_url: Option<Url>) -> anyhow::Result<Vec<cxone::Auth>> {
    let token_url = || token_url.clone().context("cxone.token_url is needed for this grant");
    let auth = |auth: &CxoneAuth| {
        Ok(match auth.clone() {
            CxoneAuth::ClientCredentials { client_id, client_secret, scope } => {
                cxone::Auth::ClientCredentials { token_url: token_url()?, client_id, client_secret, scope }
            }
            CxoneAuth::AccessKey { client_id, client_secret, access_key_id, access_key_secret } => {
                let token_url = token_url()?;
                cxone::Auth::AccessKey {
                    token_url,
                    client_id,
                    client_secret,
                    access_key_id,
                    access_key_secret,
                }
            }
            CxoneAuth::AccessKeyJson { access_key_id, access_key_secret } => {
                cxone::Auth::AccessKeyJson { token_url: token_url()?, access_key_id, access_key_secret }
            }
            CxoneAuth::Bearer { token } => cxone::Auth::Bearer { token },
            CxoneAuth::Basic { user, password } => cxone::Auth::Basic { user, password },
        })
    };
    std::iter::once(&cxone.auth).chain(&cxone.next).map(auth).collect()
}

pub fn worker_settings(
    sync: &config::Sync,
    guard: &config::Guard,
    rules: Rules,
    trust_baseline_for: Duration,
    urls: Option<WebhookUrls>,
) -> Settings {
    Settings {
        rules,
        budgets: guard.budgets,
        max_attempts: sync.max_attempts,
        recheck_after: sync.recheck_after,
        burst_threshold: sync.burst_threshold,
        poll_interval: sync.poll_interval,
        poll_interval_min: sync.poll_interval_min,
        full_compare_interval: sync.full_compare_interval,
        trust_baseline_for,
        observe: sync.mode == Mode::Observe,
        urls,
    }
}

/// Who is told of events. One is known by a digest of its address, which itself may be a secret.
pub fn receivers(events: Vec<config::Receiver>) -> Vec<Receiver> {
    let receiver = |configured: config::Receiver| {
        let config::Receiver { url, secrets, slack, quiet_window, types } = configured;
        let digest = Sha256::digest(url.expose_secret().as_bytes());
        Receiver {
            id: digest[..8].try_into().expect("a digest is longer"),
            url: url.expose_secret().parse().expect("addresses of receivers were checked"),
            secrets,
            format: if slack { Format::Slack } else { Format::Standard },
            window: quiet_window,
            kinds: types.into_iter().collect(),
        }
    };
    events.into_iter().map(receiver).collect()
}

pub fn webhook_urls(public: &Url) -> anyhow::Result<WebhookUrls> {
    let below = |path: &str| -> anyhow::Result<Url> {
        let mut url = public.clone();
        url.path_segments_mut()
            .ok()
            .context("service.public_url cannot have a path below it")?
            .pop_if_empty()
            .push(path);
        Ok(url)
    };
    Ok(WebhookUrls { notification: below("notifications")?, lifecycle: below("lifecycle")? })
}
