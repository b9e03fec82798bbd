//! What differs between two configurations, and what it takes to put it in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::GraphCredential;
use super::kind::Ready;
use super::settings::Settings;
use super::sources::decides;

/// Every value in force, to be compared with later ones. Of secrets it holds digests only.
#[derive(Clone, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values of {} keys", self.0.len())
    }
}

/// What a running service takes from files that change, and by a reload.
const CREDENTIALS: [&str; 13] = [
    "service.client_state_secret",
    "service.admin_token",
    "graph.client_id",
    "graph.client_secret",
    "graph.certificate_file",
    "graph.private_key_file",
    "graph.federated_token_file",
    "cxone.client_id",
    "cxone.client_secret",
    "cxone.access_key_id",
    "cxone.access_key_secret",
    "cxone.token",
    "cxone.scope",
];

/// Whether it is one of those, the file of one, or when one ends.
fn is_credential(path: &str) -> bool {
    let bare = path.strip_suffix("_file").or_else(|| path.strip_suffix("_expires")).unwrap_or(path);
    CREDENTIALS.contains(&path) || CREDENTIALS.contains(&bare) || path.starts_with("cxone.next.")
}

/// Whether a running service can take another value.
pub(super) fn can_be_exchanged(path: &str) -> bool {
    decides(path)
        || path.starts_with("sync.")
        || path.starts_with("events")
        || is_credential(path)
        || path == "cxone.trust_baseline_for"
}

impl Values {
    pub(super) fn of(settings: &Settings) -> Self {
        let value = |ready: &Ready| match ready {
            Ready::Text(text) => text.clone(),
            Ready::Flag(flag) => flag.to_string(),
            Ready::Number(number) => number.to_string(),
            Ready::Texts(texts) => format!("{texts:?}"),
            Ready::Secrets(secrets) => {
                let digests = secrets.iter().map(|secret| Sha256::digest(secret.expose_secret()));
                format!("{:?}", digests.collect::<Vec<_>>())
            }
        };
        Self(settings.values().map(|(path, ready)| (path.to_owned(), value(ready))).collect())
    }

    /// Of a certificate and its key the configuration names only the files.
    pub(super) fn with_certificate(mut self, credential: &GraphCredential) -> Self {
        if let GraphCredential::Certificate { certificate_pem, private_key_pem, .. } = credential {
            let contents = [
                ("graph.certificate_file", certificate_pem.as_slice()),
                ("graph.private_key_file", private_key_pem.expose_secret().as_bytes()),
            ];
            for (path, content) in contents {
                self.0
                    .entry(path.to_owned())
                    .or_default()
                    .push_str(&format!("{:?}", Sha256::digest(content)));
            }
        }
        self
    }

    /// All keys that differ.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        self.differ(other).map(str::to_owned).collect()
    }

    fn differ<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let paths: BTreeSet<&str> = self.0.keys().chain(other.0.keys()).map(String::as_str).collect();
        let differs = |path: &&str| self.0.get(*path) != other.0.get(*path);
        // Rows of a list move when one goes; which of them is of no use to say.
        let named = |path| str::split(path, '[').next().unwrap_or(path);
        let differing: BTreeSet<&str> = paths.into_iter().filter(differs).map(named).collect();
        differing.into_iter()
    }

    /// The keys that differ and that a running service exchanges.
    pub fn exchanged(&self, other: &Self) -> Vec<String> {
        self.differ(other).filter(|path| can_be_exchanged(path)).map(str::to_owned).collect()
    }

    /// The keys that differ and need a restart.
    pub fn need_restart(&self, other: &Self) -> Vec<String> {
        self.differ(other).filter(|path| !can_be_exchanged(path)).map(str::to_owned).collect()
    }
}
