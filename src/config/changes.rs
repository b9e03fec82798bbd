//! What differs between two configurations, and what it takes to put it in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

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

/// Whether a running service can take another value.
pub(super) fn can_be_exchanged(path: &str) -> bool {
    decides(path)
        || path.starts_with("sync.")
        || path.starts_with("events")
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
