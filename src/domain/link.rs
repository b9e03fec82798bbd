//! What we remember of a pair: which CXone user an Entra user is, and how both looked last.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::patch::same;
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
    /// The user was gone from Entra at the last look.
    #[serde(default)]
    pub source_gone: bool,
    /// And gone for good: nobody comes back under this id.
    #[serde(default)]
    pub purged: bool,
    /// The user was gone and is back since then, and the groups have not all been read since: those
    /// read while the user was gone do not list them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<Timestamp>,
    /// What the target made of values we wrote, see [`Normalised`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub normalised: BTreeMap<Attribute, Normalised>,
}

/// So often must the target make the same of the same value before it is believed to be its way of
/// keeping it.
const SEEN_OFTEN_ENOUGH: u32 = 2;

/// What the target shows after we wrote a value, where that is something else than was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Normalised {
    pub wrote: Option<Value>,
    pub shows: Option<Value>,
    /// How often in a row it made this of that.
    pub times: u32,
}

impl Normalised {
    /// After one more write of `wrote` that ended up as `shows`.
    pub fn noted(old: Option<&Self>, wrote: Option<&Value>, shows: Option<&Value>) -> Self {
        let again = old.filter(|old| old.wrote.as_ref() == wrote && old.shows.as_ref() == shows);
        let times = again.map_or(0, |old| old.times) + 1;
        Self { wrote: wrote.cloned(), shows: shows.cloned(), times }
    }

    pub fn is_learned(&self) -> bool {
        self.times >= SEEN_OFTEN_ENOUGH
    }

    /// Whether that is why the target shows `shows` where `desired` was written.
    pub fn explains(&self, attribute: Attribute, desired: Option<&Value>, shows: Option<&Value>) -> bool {
        Self::is_for(attribute)
            && self.is_learned()
            && same(attribute, self.wrote.as_ref(), desired)
            && same(attribute, self.shows.as_ref(), shows)
    }

    /// Whether something may be learned of this attribute: of who may log in, and as what, never.
    pub const fn is_for(attribute: Attribute) -> bool {
        !matches!(
            attribute,
            Attribute::Active | Attribute::Roles | Attribute::UserName | Attribute::ExternalId
        )
    }
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

#[cfg(test)]
mod tests;
