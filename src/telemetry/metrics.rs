//! The metrics: one table, from which the registry is filled and `docs/metrics.md` is written.
//!
//! A row says what a metric is called, in which unit, with which labels, what it means and when to
//! worry. Names get the prefix `cxone_sync_`; units are base units; no label holds a user, a group
//! or an address.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{self, Registry};

const PREFIX: &str = "cxone_sync";

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
label!(CredentialLabel, credential);
label!(VersionLabel, version);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub api: String,
    pub method: String,
    /// The status code, or `error` when there was no answer.
    pub code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GuardLabels {
    pub budget: String,
    pub window: String,
}

type Ratio = Gauge<f64, AtomicU64>;
type Counters<L> = Family<L, Counter>;
pub type Gauges<L> = Family<L, Gauge>;
type Ratios<L> = Family<L, Ratio>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn quick() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])
}

fn calls() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

fn lags() -> Histogram {
    Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0])
}

/// Until a change has been missed, none was.
fn all() -> Ratio {
    let ratio = Ratio::default();
    ratio.set(1.0);
    ratio
}

fn this_version() -> Gauges<VersionLabel> {
    let build = Gauges::default();
    build.get_or_create(&VersionLabel::of(env!("CARGO_PKG_VERSION"))).set(1);
    build
}

/// What a value is measured in. A unit is the end of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    None,
    Seconds,
    Ratio,
}

impl Unit {
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Seconds => "seconds",
            Self::Ratio => "ratio",
        }
    }

    fn register(self, registry: &mut Registry, name: &str, meaning: &str, metric: impl registry::Metric) {
        let unit = match self {
            Self::None => return registry.register(name, meaning, metric),
            Self::Seconds => registry::Unit::Seconds,
            Self::Ratio => registry::Unit::Other(self.name().to_owned()),
        };
        registry.register_with_unit(name, meaning, unit, metric);
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Documented {
    name: &'static str,
    kind: MetricType,
    pub unit: Unit,
    pub labels: &'static [&'static str],
    pub meaning: &'static str,
    pub worry: &'static str,
}

impl Documented {
    /// As it is asked for: with the prefix, the unit and what its kind adds. Of a histogram, what its
    /// three series begin with.
    pub fn name(&self) -> String {
        let unit = if self.unit == Unit::None { String::new() } else { format!("_{}", self.unit.name()) };
        let end = if matches!(self.kind, MetricType::Counter) { "_total" } else { "" };
        format!("{PREFIX}_{}{unit}{end}", self.name)
    }

    pub fn kind(&self) -> &str {
        self.kind.as_str()
    }

    fn series(&self) -> Vec<String> {
        let name = self.name();
        match self.kind {
            MetricType::Histogram => ["bucket", "sum", "count"].map(|end| format!("{name}_{end}")).to_vec(),
            _ => vec![name],
        }
    }
}

/// The name of every series that a scrape may hold.
pub fn exported() -> BTreeSet<String> {
    METRICS.iter().flat_map(Documented::series).collect()
}

const fn kind_of<M: TypedMetric>() -> MetricType {
    M::TYPE
}

macro_rules! metrics {
    ($($field:ident: $type:ty = $make:expr, $name:literal, $unit:ident, [$($label:literal),*],
        $meaning:literal, $worry:literal;)*) => {
        /// Every metric of the service.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $meaning] pub $field: $type,)*
            registry: Registry,
        }

        impl Metrics {
            pub fn new() -> Arc<Self> {
                let mut registry = Registry::with_prefix(PREFIX);
                $(
                    let $field: $type = $make;
                    Unit::$unit.register(&mut registry, $name, $meaning, $field.clone());
                )*
                Arc::new(Self { $($field,)* registry })
            }

            /// Gives every family a member, so that all of them are in a scrape.
            #[cfg(test)]
            fn show_all(&self) {
                $(tests::Show::show(&self.$field);)*
            }
        }

        /// Every metric, in the order of the page.
        pub const METRICS: &[Documented] = &[$(Documented {
            name: $name,
            kind: kind_of::<$type>(),
            unit: Unit::$unit,
            labels: &[$($label),*],
            meaning: $meaning,
            worry: $worry,
        }),*];
    };
}

metrics! {
    notifications: Counters<ResultLabel> = Family::default(), "notifications", None, ["result"],
        "Notification items received, by what became of them",
        "`bad_client_state` or `unknown_tenant` rises: somebody else calls the webhook, or the secret was changed \
         without keeping the old one; `not_stored` or `too_slow` rises: the disk";
    notification_ack: Histogram = quick(), "notification_ack", Seconds, [],
        "Time from a notification's last byte to its answer",
        "the 99th percentile passes 2 s: Graph gives up after 3 s and counts it against us";
    last_notification: Ratio = Ratio::default(), "last_notification_timestamp", Seconds, [],
        "When the last genuine notification was stored, as a Unix time; 0 if the store knows of none",
        "much older than usual while people are being changed: look at coverage and at the subscriptions";
    notifications_missed: Counter = Counter::default(), "notifications_missed", None, [],
        "Changes learned only from the delta poll, of which no notification came within five minutes",
        "it rises steadily: notifications are being lost on their way";
    webhook_coverage: Ratio = all(), "webhook_coverage", Ratio, [],
        "Share of the recent changes (at most 1000, of the last day) that a notification announced",
        "below 0.95: changes wait for the poll, which is asked for more often by itself";
    poll_interval: Ratio = Ratio::default(), "poll_interval", Seconds, [],
        "How often the delta poll is asked for at present: less than `sync.poll_interval` while coverage is low",
        "it stays below `sync.poll_interval`: coverage does not recover";
    last_full_compare: Ratio = Ratio::default(), "last_full_compare_timestamp", Seconds, [],
        "When the last full compare came to its end, as a Unix time; 0 before the first",
        "older than twice `sync.full_compare_interval`";
    delta_link_age: Ratios<ResourceLabel> = Family::default(), "delta_link_age", Seconds, ["resource"],
        "Time since the last complete delta round",
        "more than three poll intervals: the poll fails, and what no notification told is not found; after 7 days the \
         link is no longer accepted";
    subscription_expiry: Ratios<ResourceLabel> = Family::default(), "subscription_expiry_timestamp", Seconds, ["resource"],
        "When the subscription ends, as a Unix time",
        "less than a day ahead, or there is none: renewing fails, and soon only the poll finds changes";
    event_lag: Histogram = lags(), "event_lag", Seconds, [],
        "From the first news of a change to its confirmation in CXone",
        "the median leaves the range of seconds";
    queue_depth: Gauges<StateLabel> = Family::default(), "queue_depth", None, ["state"],
        "Jobs by state",
        "`parked` or `held` is not 0: an operator must look; `due` keeps rising: more comes in than CXone takes";
    queue_oldest_due: Ratio = Ratio::default(), "queue_oldest_due", Seconds, [],
        "How long the oldest due job has waited",
        "more than 5 minutes outside of a bulk change";
    jobs: Counters<OutcomeLabel> = Family::default(), "jobs", None, ["outcome"],
        "Jobs run, by outcome",
        "`parked` rises, or `again` outgrows `done`";
    operations: Counters<OpLabel> = Family::default(), "operations", None, ["op"],
        "Writes made to CXone, by kind; `observed` is what would have been written",
        "`deactivate` rises faster than people leave";
    held: Gauges<ReasonLabel> = Family::default(), "held", None, ["reason"],
        "Jobs held for an operator, by why; of more than 10,000 the others are `more`",
        "it is not 0: see `cxone-sync held list`";
    held_leavers_overdue: Gauge = Gauge::default(), "held_leavers_overdue", None, [],
        "Deactivations that the guard has held for more than 15 minutes: these people may still log in",
        "it is not 0";
    guard_stopped: Counters<ReasonLabel> = Family::default(), "guard_stopped", None, ["reason"],
        "Changes the guard stopped, by what they would have taken out of a budget",
        "it rises";
    guard_used: Ratios<GuardLabels> = Family::default(), "guard_used", Ratio, ["budget", "window"],
        "Share of a guard budget that is used up within its sliding window (`hour`, `day`)",
        "above 0.8: what comes next may be held; 1: it is held";
    outbound_requests: Counters<RequestLabels> = Family::default(), "outbound_requests", None, ["api", "method", "code"],
        "Requests sent; `code` is `error` where no answer came",
        "5xx, `error`, 401 or 403 rise";
    outbound_request: Histograms<ApiLabel> = Family::new_with_constructor(calls), "outbound_request", Seconds, ["api"],
        "Time a request took, its body included",
        "the 95th percentile passes 5 s";
    throttled: Counters<ApiLabel> = Family::default(), "throttled", None, ["api"],
        "Answers that asked us to slow down",
        "it rises outside of bulk changes: somebody else uses up the same limit";
    circuit_state: Gauges<ApiLabel> = Family::default(), "circuit_state", None, ["api"],
        "0 closed (well), 1 probing, 2 open (out of reach: jobs wait, no attempt is used)",
        "2 for more than some minutes: credentials, permissions or the network";
    credential_expiry: Ratios<CredentialLabel> = Family::default(), "credential_expiry_timestamp", Seconds, ["credential"],
        "When a credential ends, as a Unix time, where that can be told",
        "less than 30 days ahead";
    workqueue_depth: Gauge = Gauge::default(), "workqueue_depth", None, [],
        "Jobs that are due and not claimed yet",
        "it keeps rising";
    workqueue_adds: Counter = Counter::default(), "workqueue_adds", None, [],
        "Jobs that became due: new ones, and those that were due again",
        "-";
    workqueue_queue_duration: Histogram = lags(), "workqueue_queue_duration", Seconds, [],
        "How long a job was due before it was claimed",
        "the 95th percentile passes a minute outside of a bulk change";
    workqueue_work_duration: Histogram = lags(), "workqueue_work_duration", Seconds, [],
        "How long one run of a job took, from the claim to the settlement",
        "the 95th percentile passes 30 s";
    workqueue_unfinished_work: Ratio = Ratio::default(), "workqueue_unfinished_work", Seconds, [],
        "How long the jobs that run at present have run, added up",
        "it keeps rising: something is stuck";
    workqueue_longest_running: Ratio = Ratio::default(), "workqueue_longest_running_processor", Seconds, [],
        "How long the oldest run has lasted that has not ended",
        "more than 5 minutes: no request may take that long";
    workqueue_retries: Counter = Counter::default(), "workqueue_retries", None, [],
        "Runs that ended with the wish to run again later",
        "it rises as fast as `jobs`: a neighbour is ill";
    store_commit: Histogram = quick(), "store_commit", Seconds, [],
        "Time of one durable commit",
        "the 99th percentile passes 0.5 s: the disk is too slow for notifications to be answered in time";
    config_reload_failed: Gauge = Gauge::default(), "config_reload_failed", None, [],
        "Whether the configuration was wrong when it was last read: 1, and the one before it stays in force",
        "it is 1: the next start would fail";
    events: Counters<ResultLabel> = Family::default(), "events", None, ["result"],
        "Events for operators, by what became of a try to deliver one",
        "`given_up` or `gone` rises: a receiver hears nothing any more";
    credential_files_failed: Gauge = Gauge::default(), "credential_files_failed", None, [],
        "Whether a file that holds a credential could not be used when it was last read: 1, and the one before it stays \
         in force",
        "it is 1: a credential that was exchanged is not in force";
    build_info: Gauges<VersionLabel> = this_version(), "build_info", None, ["version"],
        "The running version",
        "-";
}

impl Metrics {
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

#[cfg(test)]
mod tests;
