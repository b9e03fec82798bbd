//! What the service says of itself: the metrics registry and the log set-up.
//!
//! One [`Metrics`] is made per process (or per test) and handed down; nothing here is global.

mod logging;
mod metrics;

pub use logging::{LogFormat, start_logging};
pub use metrics::{
    ApiLabel, CredentialLabel, Documented, Gauges, GuardLabels, METRICS, Metrics, OpLabel, OutcomeLabel,
    ReasonLabel, RequestLabels, ResourceLabel, ResultLabel, StateLabel, VersionLabel, exported,
};
