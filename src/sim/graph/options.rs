//! How a simulated Graph behaves.

use std::net::SocketAddr;
use std::time::Duration;

use super::delivery::DeliveryOptions;
use super::round::DeltaOptions;
use crate::sim::clock::SimClock;
use crate::sim::faults::Faults;

#[derive(Clone, Debug)]
pub struct GraphOptions {
    pub seed: u64,
    pub listen: SocketAddr,
    pub clock: SimClock,
    pub tenant_id: String,
    pub client_id: String,
    pub client_secret: String,
    pub token_lifetime: Duration,
    /// The application permissions that an administrator has consented to, as tokens show them. None is
    /// asked for.
    pub permissions: Vec<String>,
    /// Items in a page of a delta query or of a member list.
    pub page_size: usize,
    /// Members in one item of a group delta; a larger group fills several.
    pub members_per_item: usize,
    pub delta: DeltaOptions,
    /// How far behind reads are, least and most; drawn per object. Delta queries are never behind.
    pub lag: (Duration, Duration),
    /// How long each request takes, least and most.
    pub latency: (Duration, Duration),
    /// Per resource (users, groups).
    pub max_subscriptions: usize,
    /// Whether the secret of a subscription is shown when it is read. No page says so.
    pub show_client_state: bool,
    /// Whether a renewal shakes hands again. No page says so.
    pub validate_on_renew: bool,
    /// Graph insists on it; on loopback plain HTTP is the rule.
    pub require_https: bool,
    pub delivery: DeliveryOptions,
    pub faults: Faults,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            clock: SimClock::system(),
            tenant_id: "7a1c0000-0000-4000-8000-00000000e17a".to_owned(),
            client_id: "c11e0000-0000-4000-8000-0000000a9901".to_owned(),
            client_secret: "graph-secret-of-the-simulator".to_owned(),
            token_lifetime: Duration::from_secs(3599),
            permissions: ["User.Read.All", "Group.Read.All"].map(str::to_owned).to_vec(),
            page_size: 100,
            members_per_item: 20,
            delta: DeltaOptions::default(),
            lag: (Duration::ZERO, Duration::ZERO),
            latency: (Duration::ZERO, Duration::ZERO),
            max_subscriptions: 100,
            show_client_state: false,
            validate_on_renew: false,
            require_https: false,
            delivery: DeliveryOptions::default(),
            faults: Faults::none(),
        }
    }
}
