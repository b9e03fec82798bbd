//! What the service says of itself: metrics, log lines, traces, and how far long work is.
//!
//! One [`Metrics`] is made per process (or per test) and handed down; only where lines and spans go is
//! said once for the whole process.

mod logging;
mod metrics;
mod progress;
mod traces;

pub use logging::{LogFormat, StartError, start, start_logging};
pub use metrics::{
    ApiLabel, CredentialLabel, Documented, Gauges, GuardLabels, METRICS, Metrics, OpLabel, OutcomeLabel,
    ReasonLabel, RequestLabels, ResourceLabel, ResultLabel, StateLabel, VersionLabel, exported,
};
pub use progress::{Progress, Stage};
pub use traces::{TraceSettings, Traces, go_on, traceparent};
