//! Graph's change subscriptions: what we keep of them, and when they must be renewed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long Graph lets a directory subscription live: 41,760 minutes, just under 29 days.
/// Source: Microsoft Graph, subscription resource type, "Subscription lifetime".
pub const LONGEST_LIFE: Duration = Duration::from_secs(41_760 * 60);

/// What Graph can notify us about. Its plural is the resource path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    Users,
    Groups,
}

impl Resource {
    pub const ALL: [Self; 2] = [Self::Users, Self::Groups];

    pub const fn path(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Groups => "groups",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

impl FromStr for Resource {
    type Err = String;
    /// Reads `users`, `/users` in any case: Graph shows both.
    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_start_matches('/').to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|resource| resource.path() == path)
            .ok_or_else(|| format!("{text:?} is not users or groups"))
    }
}

/// One subscription as Graph last told us. Its `clientState` is not here: it verifies by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub id: String,
    pub resource: Resource,
    pub notification_url: String,
    pub expires_at: Timestamp,
    /// When we made, adopted or last renewed it.
    pub renewed_at: Timestamp,
    /// The mark of the secret that signed its `clientState`, where that is known.
    #[serde(default)]
    pub signed_by: Option<String>,
}

/// When to renew: at half the life that was left when it was last renewed, moved by up to a tenth
/// of it so that several services do not renew at once. `jitter` is in `0.0..1.0`.
pub fn renew_at(subscription: &Subscription, jitter: f64) -> Timestamp {
    let life = Duration::try_from(subscription.expires_at.duration_since(subscription.renewed_at))
        .unwrap_or_default();
    let wait = life.mul_f64(0.5 - 0.1 * jitter.clamp(0.0, 1.0));
    subscription.renewed_at.checked_add(wait).unwrap_or(subscription.expires_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_renewed_at_about_half_its_life() {
        let renewed_at = Timestamp::UNIX_EPOCH;
        let subscription = Subscription {
            id: "a".to_owned(),
            resource: Resource::Users,
            notification_url: String::new(),
            expires_at: renewed_at + Duration::from_secs(1000),
            renewed_at,
            signed_by: None,
        };
        assert_eq!(renew_at(&subscription, 0.0), renewed_at + Duration::from_secs(500));
        assert_eq!(renew_at(&subscription, 1.0), renewed_at + Duration::from_secs(400));
        let over = Subscription { expires_at: renewed_at - Duration::from_secs(5), ..subscription };
        assert_eq!(renew_at(&over, 0.5), renewed_at);
    }
}
