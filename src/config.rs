//! One validated configuration out of a file, the environment and flags.
//!
//! TOML first; over it `CXONE_SYNC__SECTION__KEY` from the environment; over both the flags. Tables
//! merge key by key, lists are replaced. In the file's strings `${VAR}` stands for an environment
//! variable and `$$` for a dollar sign; values from the environment and from flags are taken as they
//! are. Every secret can also be given as `<key>_file`. `deploy/cxone-sync.example.toml` documents
//! each key; [`keys`] is the table that everything here reads.
//!
//! All errors are collected. Each says where it is, what is wrong and what to do, and none holds a
//! secret: not even a TOML error shows the line it is about.

mod changes;
mod errors;
mod events;
mod keys;
mod kind;
mod layers;
mod neighbours;
mod rules;
mod schema;
mod sections;
mod settings;
mod show;
mod sources;
mod tree;
mod units;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::outbound::Url;
use jiff::Timestamp;
use secrecy::{SecretSlice, SecretString};

use crate::domain::event;
use crate::domain::guard::Budgets;
use crate::domain::rules::Rules;
use crate::telemetry::{LogFormat, TraceSettings};

pub use changes::Values;
pub use errors::{ConfigErrors, Origin, Problem};
pub use schema::schema;
pub use show::{Setting, report, report_json};
pub use sources::{Deciding, Sources};

use settings::Settings;

/// What the names of our environment variables begin with.
pub const PREFIX: &str = "CXONE_SYNC__";

/// Everything that can be configured, checked. `Debug` shows no secret.
#[derive(Debug)]
pub struct Config {
    pub service: Service,
    pub store: Store,
    pub graph: Graph,
    pub cxone: Cxone,
    pub sync: Sync,
    /// `[attributes]`, `[scope]`, `[[roles]]`, `cxone.match`, `sync.create` and `sync.on_delete`.
    pub rules: Rules,
    pub guard: Guard,
    pub retention: Retention,
    pub log: Log,
    /// `[[events]]`
    pub events: Vec<Receiver>,
    /// When credentials end that do not say so themselves, by the keys of those.
    pub expiries: Vec<(&'static str, Timestamp)>,
    /// `None`: no traces.
    pub traces: Option<TraceSettings>,
    /// What is allowed and probably not meant. To be logged at start.
    pub warnings: Vec<String>,
    settings: Vec<Setting>,
    values: Values,
    sources: Sources,
}

#[derive(Debug)]
pub struct Service {
    pub public_listen: SocketAddr,
    pub private_listen: SocketAddr,
    /// `None`: no socket.
    pub private_socket: Option<PathBuf>,
    /// Without a slash at its end. `None`: Graph cannot call us, and only the poll finds changes.
    pub public_url: Option<Url>,
    /// The first signs, all verify. Not empty if there is a `public_url`.
    pub client_state_secrets: Vec<SecretString>,
    /// `None`: to be made at first start, beside the store.
    pub admin_token: Option<SecretString>,
    pub tls: Option<Tls>,
    pub max_body_bytes: usize,
    pub max_connections: usize,
}

/// PEM files; they may change while we run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Debug)]
pub struct Store {
    pub path: PathBuf,
    pub cache_bytes: usize,
    /// `None`: to be made at first start, beside the store.
    pub history_key: Option<SecretString>,
}

#[derive(Debug)]
pub struct Graph {
    /// A GUID or a domain.
    pub tenant_id: String,
    pub credential: GraphCredential,
    /// With the version (`…/v1.0`), without a slash at its end.
    pub base_url: Url,
    pub login_url: Url,
    pub max_connections: usize,
}

#[derive(Debug)]
pub enum GraphCredential {
    Secret {
        client_id: String,
        secret: SecretString,
    },
    Certificate {
        client_id: String,
        certificate_pem: Vec<u8>,
        private_key_pem: SecretString,
    },
    FederatedTokenFile {
        client_id: String,
        path: PathBuf,
    },
    /// `endpoint`: `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`, which App Service and Container Apps
    /// set; without them the virtual machine's own service (IMDS) is asked.
    ManagedIdentity {
        client_id: Option<String>,
        endpoint: Option<(Url, SecretString)>,
    },
}

#[derive(Debug)]
pub struct Cxone {
    pub endpoint: CxoneEndpoint,
    pub auth: CxoneAuth,
    /// Used when the first is refused.
    pub next: Option<CxoneAuth>,
    /// 1 to 10.
    pub max_connections: usize,
    /// Zero: read CXone every time.
    pub trust_baseline_for: Duration,
    pub dialect: Dialect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CxoneEndpoint {
    /// `token_url` is there unless the grant is `bearer` or `basic`, which ask for no tokens.
    Fixed { scim_url: Url, token_url: Option<Url> },
    /// Ask the issuer. A configured `token_url` goes before the one it names.
    Discovery { issuer: Url, token_url: Option<Url> },
}

#[derive(Clone, Debug)]
pub enum CxoneAuth {
    ClientCredentials {
        client_id: String,
        client_secret: SecretString,
        scope: Option<String>,
    },
    /// The password grant: the access key is the user.
    AccessKey {
        client_id: String,
        client_secret: SecretString,
        access_key_id: String,
        access_key_secret: SecretString,
    },
    AccessKeyJson {
        access_key_id: String,
        access_key_secret: SecretString,
    },
    Bearer {
        token: SecretString,
    },
    Basic {
        user: String,
        password: SecretString,
    },
}

/// How a PATCH is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Tried in order, and remembered.
    Auto,
    Rfc7644,
    Indexed,
    Cxone,
    Put,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    pub mode: Mode,
    /// At least a second, less than the 7 days a delta link lives.
    pub poll_interval: Duration,
    /// At least a second, at most `poll_interval`.
    pub poll_interval_min: Duration,
    pub full_compare_interval: Duration,
    /// Zero: no second look.
    pub recheck_after: Duration,
    pub max_attempts: u32,
    pub burst_threshold: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Write,
    /// Everything but the writes.
    Observe,
}

/// How much may happen before the rest is held. `None`: no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    pub budgets: Budgets,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At least an hour.
    pub journal: Duration,
    /// At least a day: the guard counts in it.
    pub history: Duration,
}

/// Who is told of events.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub url: SecretString,
    /// As many bytes each as the standard asks for; all sign.
    pub secrets: Vec<SecretSlice<u8>>,
    pub slack: bool,
    pub quiet_window: Duration,
    pub types: Vec<event::Kind>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter that has been parsed once.
    pub level: String,
}

impl Config {
    /// Reads the file, if there is one, and lays the environment and the flags over it. Flags are
    /// dotted keys with values, such as `("sync.mode", "observe")`; secrets are refused there.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigErrors> {
        let Some(path) = path else {
            return Self::build(None, environment, flags).map(|(config, _)| config);
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let what = format!("cannot read the configuration file {name}: {error}");
            let todo = "name another with --config".to_owned();
            ConfigErrors::new(vec![Problem { place: None, what, todo }])
        })?;
        let (mut config, secret_in_file) = Self::build(Some((&name, &text)), environment, flags)?;
        config.warnings.extend(file_warnings(path, secret_in_file));
        config.sources.file = sources::File::Path { path: path.to_owned(), text: text.into() };
        Ok(config)
    }

    /// The same from a text; `name` stands for the file in messages.
    pub fn parse(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigErrors> {
        Self::build(Some((name, text)), environment, flags).map(|(config, _)| config)
    }

    /// The second value: whether a secret stands in the file itself.
    fn build(
        file: Option<(&str, &str)>,
        environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
        flags: &[(String, String)],
    ) -> Result<(Self, bool), ConfigErrors> {
        let variables: tree::Variables = environment
            .into_iter()
            .filter_map(|(name, value)| Some((name.into().into_string().ok()?, value.into())))
            .collect();
        let mut problems = Vec::new();
        // Without the file everything would be missing, and the errors in it lost among those.
        let merged = layers::merge(file, &variables, flags, &mut problems).map_err(ConfigErrors::new)?;
        let mut settings = Settings::collect(merged, problems);

        let service = sections::service(&mut settings);
        let store = sections::store(&settings);
        let graph = neighbours::graph(&mut settings, &variables);
        let cxone = neighbours::cxone(&mut settings);
        let sync = sections::sync(&mut settings);
        let rules = rules::rules(&mut settings);
        let (guard, retention) = (sections::guard(&settings), sections::retention(&settings));
        let events = events::events(&mut settings);
        let expiries = neighbours::expiries(&mut settings);
        let (log, traces) = (sections::log(&settings), sections::traces(&settings));

        match (graph, cxone, rules) {
            (Some(graph), Some(cxone), Some(rules)) if settings.problems.is_empty() => {
                let shown = show::settings(&settings);
                let values = changes::Values::of(&settings).with_certificate(&graph.credential);
                let warnings = settings.warnings;
                let config = Self {
                    service,
                    store,
                    graph,
                    cxone,
                    sync,
                    rules,
                    guard,
                    retention,
                    log,
                    events,
                    expiries,
                    traces,
                    warnings,
                    settings: shown,
                    values,
                    sources: Sources {
                        file: file.map_or(sources::File::None, sources::File::text),
                        environment: variables,
                        flags: flags.to_vec(),
                    },
                };
                Ok((config, settings.secret_in_file))
            }
            _ => Err(ConfigErrors::new(settings.problems)),
        }
    }

    /// Where all of it came from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// To see later what has changed.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Every value in force, in the order of the documentation, with where it comes from.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }
}

#[cfg(unix)]
fn file_warnings(path: &Path, secret_in_file: bool) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(path) else { return Vec::new() };
    let mode = metadata.permissions().mode();
    let mut warnings = Vec::new();
    if mode & 0o022 != 0 {
        let todo = "whoever changes it decides who may log in; chmod go-w";
        warnings.push(format!("{}: others may write this file: {todo}", path.display()));
    }
    if secret_in_file && mode & 0o044 != 0 {
        let todo = "chmod 600, or give them as <key>_file or ${VAR}";
        warnings.push(format!("{}: holds secrets and others may read it: {todo}", path.display()));
    }
    warnings
}

#[cfg(not(unix))]
fn file_warnings(_: &Path, _: bool) -> Vec<String> {
    Vec::new()
}
