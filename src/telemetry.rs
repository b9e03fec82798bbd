//! What the service says of itself: the metrics registry and the log set-up.
//!
//! One [`Metrics`] is made per process (or per test) and handed down; nothing here is global.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// A label set of one label, so that call sites stay short.
macro_rules! label {
    ($name:ident, $field:ident) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            pub $field: String,
        }
        impl $name {
            pub fn of(value: impl Into<String>) -> Self {
                Self { $field: value.into() }
            }
        }
    };
}

label!(ResultLabel, result);
label!(StateLabel, state);
label!(OutcomeLabel, outcome);
label!(OpLabel, op);
label!(ApiLabel, api);
label!(ResourceLabel, resource);
label!(ReasonLabel, reason);
label!(VersionLabel, version);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub api: String,
    pub method: String,
    /// The status code, or `error` when there was no answer.
    pub code: String,
}

type Ratio = Gauge<f64, AtomicU64>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every metric of the service. Names get the prefix `cxone_sync_`; units are base units; no label
/// holds a user, a group or an address.
#[derive(Debug)]
pub struct Metrics {
    pub notifications: Family<ResultLabel, Counter>,
    pub notification_ack: Histogram,
    pub notifications_missed: Counter,
    pub webhook_coverage: Ratio,
    pub event_lag: Histogram,
    pub queue_depth: Family<StateLabel, Gauge>,
    pub queue_oldest_due: Ratio,
    pub jobs: Family<OutcomeLabel, Counter>,
    pub operations: Family<OpLabel, Counter>,
    pub outbound_requests: Family<RequestLabels, Counter>,
    pub outbound_request: Histograms<ApiLabel>,
    pub throttled: Family<ApiLabel, Counter>,
    pub subscription_expiry: Family<ResourceLabel, Ratio>,
    pub delta_link_age: Family<ResourceLabel, Ratio>,
    /// 0 closed (well), 1 half open (probing), 2 open (out of reach).
    pub circuit_state: Family<ApiLabel, Gauge>,
    pub held: Family<ReasonLabel, Gauge>,
    pub held_leavers_overdue: Gauge,
    pub guard_stopped: Family<ReasonLabel, Counter>,
    pub store_commit: Histogram,
    pub config_reload_failed: Gauge,
    registry: Registry,
}

fn quick() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])
}

fn calls() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

fn lags() -> Histogram {
    Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0])
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut metrics = Self {
            notifications: Family::default(),
            notification_ack: quick(),
            notifications_missed: Counter::default(),
            webhook_coverage: Ratio::default(),
            event_lag: lags(),
            queue_depth: Family::default(),
            queue_oldest_due: Ratio::default(),
            jobs: Family::default(),
            operations: Family::default(),
            outbound_requests: Family::default(),
            outbound_request: Family::new_with_constructor(calls),
            throttled: Family::default(),
            subscription_expiry: Family::default(),
            delta_link_age: Family::default(),
            circuit_state: Family::default(),
            held: Family::default(),
            held_leavers_overdue: Gauge::default(),
            guard_stopped: Family::default(),
            store_commit: quick(),
            config_reload_failed: Gauge::default(),
            registry: Registry::with_prefix("cxone_sync"),
        };
        metrics.webhook_coverage.set(1.0);
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "notifications",
            "Notification items received, by what became of them",
            self.notifications.clone(),
        );
        r.register_with_unit(
            "notification_ack",
            "Time from a notification's last byte to its answer",
            Unit::Seconds,
            self.notification_ack.clone(),
        );
        r.register(
            "notifications_missed",
            "Changes learned only from the delta poll",
            self.notifications_missed.clone(),
        );
        r.register(
            "webhook_coverage_ratio",
            "Share of recent changes that a notification announced",
            self.webhook_coverage.clone(),
        );
        r.register_with_unit(
            "event_lag",
            "From the first news of a change to its confirmation in CXone",
            Unit::Seconds,
            self.event_lag.clone(),
        );
        r.register("queue_depth", "Jobs by state", self.queue_depth.clone());
        r.register_with_unit(
            "queue_oldest_due",
            "How long the oldest due job has waited",
            Unit::Seconds,
            self.queue_oldest_due.clone(),
        );
        r.register("jobs", "Jobs run, by outcome", self.jobs.clone());
        r.register("operations", "Writes made to CXone, by kind", self.operations.clone());
        r.register("outbound_requests", "Requests sent", self.outbound_requests.clone());
        r.register_with_unit(
            "outbound_request",
            "Time a request took, its body included",
            Unit::Seconds,
            self.outbound_request.clone(),
        );
        r.register("throttled", "Answers that asked us to slow down", self.throttled.clone());
        r.register_with_unit(
            "subscription_expiry_timestamp",
            "When the subscription ends, as a Unix time",
            Unit::Seconds,
            self.subscription_expiry.clone(),
        );
        r.register_with_unit(
            "delta_link_age",
            "Time since the last complete delta round",
            Unit::Seconds,
            self.delta_link_age.clone(),
        );
        r.register("circuit_state", "0 closed, 1 probing, 2 open", self.circuit_state.clone());
        r.register("held", "Jobs held for an operator", self.held.clone());
        r.register(
            "held_leavers_overdue",
            "Deactivations that the guard has held for more than 15 minutes: these people may still log in",
            self.held_leavers_overdue.clone(),
        );
        r.register(
            "guard_stopped",
            "Changes the guard stopped, by what they would have taken out of a budget",
            self.guard_stopped.clone(),
        );
        r.register_with_unit(
            "store_commit",
            "Time of one durable commit",
            Unit::Seconds,
            self.store_commit.clone(),
        );
        r.register(
            "config_reload_failed",
            "Whether the configuration was wrong when it was last read: 1, and the one before it stays in force",
            self.config_reload_failed.clone(),
        );
        let build: Family<VersionLabel, Gauge> = Family::default();
        build.get_or_create(&VersionLabel::of(env!("CARGO_PKG_VERSION"))).set(1);
        r.register("build_info", "The running version", build);
    }

    /// The page for Prometheus, in OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry)
            .unwrap_or_else(|error| writeln!(page, "# {error}").expect("a string can be written to"));
        page
    }

    /// One answer, or failure to get one, from a neighbour.
    pub fn requested(&self, api: &str, method: &str, code: Option<u16>, took: Duration) {
        let code = code.map_or_else(|| "error".to_owned(), |code| code.to_string());
        let labels = RequestLabels { api: api.to_owned(), method: method.to_owned(), code };
        self.outbound_requests.get_or_create(&labels).inc();
        self.outbound_request.get_or_create(&ApiLabel::of(api)).observe(took.as_secs_f64());
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

/// Starts logging to standard error. `level` is a `tracing` filter, such as `info` or
/// `cxone_sync=debug,info`. An error names what is wrong with the filter.
pub fn start_logging(format: LogFormat, level: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::builder().parse(level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    // A subscriber that is already there (several services in one test process) stays.
    match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init().ok(),
        LogFormat::Auto if !terminal => builder.json().flatten_event(true).try_init().ok(),
        _ => builder.with_ansi(terminal).try_init().ok(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_what_was_counted() {
        let metrics = Metrics::new();
        metrics.notifications.get_or_create(&ResultLabel::of("accepted")).inc_by(3);
        metrics.requested("graph", "GET", Some(429), Duration::from_millis(3));
        let page = metrics.encode();
        for line in [
            r#"cxone_sync_notifications_total{result="accepted"} 3"#,
            r#"cxone_sync_outbound_requests_total{api="graph",method="GET",code="429"} 1"#,
            "cxone_sync_event_lag_seconds_count 0",
            "cxone_sync_webhook_coverage_ratio 1.0",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}
