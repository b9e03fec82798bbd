//! What we remember of a pair: which CXone user an Entra user is, and how both looked last.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::user::{Attribute, ScimId, Value};

/// Entra user ↔ CXone user, with the third side of the three-way comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub scim_id: ScimId,
    /// Per attribute: what each side showed when they were last known to be settled.
    pub baseline: BTreeMap<Attribute, Baseline>,
    /// When the target was last read and found, or made, right.
    pub confirmed_at: Timestamp,
    /// SHA-256 over the mapped properties of the source as last seen (hex): a delta item that shows
    /// the same has no news.
    pub source_fingerprint: Option<String>,
    /// We deactivated the account, for the stated reason, and have not reactivated it since.
    #[serde(default)]
    pub deactivated_by_us: bool,
}

/// What the sides showed when they were last settled. `None`: the attribute was absent.
///
/// Two values, not one: with `newest` or `cxone` as the owner the sides may rightly differ, and a
/// change of either must still be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    pub source: Option<Value>,
    pub target: Option<Value>,
}
