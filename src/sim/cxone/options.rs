//! How a simulated CXone behaves.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::patch::Dialect;
use super::scim::{Lists, PatchAnswer};
use crate::sim::clock::SimClock;
use crate::sim::faults::Faults;

/// The defaults are CXone as published, with PATCH by the RFC.
#[derive(Clone, Debug)]
pub struct CxoneOptions {
    pub seed: u64,
    pub listen: SocketAddr,
    pub clock: SimClock,
    pub tenant_id: String,
    pub client_id: String,
    pub client_secret: String,
    pub access_key_id: String,
    pub access_key_secret: String,
    pub token_lifetime: Duration,
    /// How long each request takes, least and most.
    pub latency: (Duration, Duration),
    pub dialect: Dialect,
    /// Also reads `emails[0].value`, which SCIM does not know.
    pub indexed_paths: bool,
    pub patch_answer: PatchAnswer,
    /// Given to a user who is created without roles. `None`: the tenant has no Agent role, and every
    /// such create is 400.
    pub default_role: Option<String>,
    /// Display and value of every role there is; others are 400. Empty: any role will do.
    pub roles: Vec<(String, String)>,
    pub user_name_is_email: bool,
    pub lower_case_user_name: bool,
    /// Keeps of a telephone number its digits and a leading plus.
    pub plain_phone_numbers: bool,
    /// Attributes that are taken without complaint and never stored, such as `displayName` or `team`.
    pub ignore_attributes: BTreeSet<String>,
    /// Answers every search with all users.
    pub ignore_filter: bool,
    /// Attributes whose filter is 400 `invalidFilter`, such as `externalId`.
    pub refuse_filters: BTreeSet<String>,
    /// Attributes whose filter finds nobody, whoever is there.
    pub blind_filters: BTreeSet<String>,
    pub lists: Lists,
    pub etags: bool,
    pub faults: Faults,
}

impl Default for CxoneOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            clock: SimClock::system(),
            tenant_id: "11eb0000-0000-4000-8000-00000000cc01".to_owned(),
            client_id: "sim-client".to_owned(),
            client_secret: "cxone-secret-of-the-simulator".to_owned(),
            access_key_id: "SIMACCESSKEY==".to_owned(),
            access_key_secret: "access-key-secret+of/the=simulator==".to_owned(),
            token_lifetime: Duration::from_secs(3600),
            latency: (Duration::ZERO, Duration::ZERO),
            dialect: Dialect::Rfc7644,
            indexed_paths: false,
            patch_answer: PatchAnswer::Full,
            default_role: Some("Agent".to_owned()),
            roles: Vec::new(),
            user_name_is_email: true,
            lower_case_user_name: false,
            plain_phone_numbers: false,
            ignore_attributes: BTreeSet::new(),
            ignore_filter: false,
            refuse_filters: BTreeSet::new(),
            blind_filters: BTreeSet::new(),
            lists: Lists::Published,
            etags: false,
            faults: Faults::none(),
        }
    }
}
