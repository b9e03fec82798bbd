use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

use expect_test::expect_file;

use super::*;

/// What can be made to stand in a scrape without meaning anything.
pub(super) trait Show {
    fn show(&self);
}

impl Show for Counter {
    fn show(&self) {}
}
impl Show for Gauge {
    fn show(&self) {}
}
impl Show for Ratio {
    fn show(&self) {}
}
impl Show for Histogram {
    fn show(&self) {}
}

impl<L: Example + Clone + Debug + Eq + Hash, M: Clone, C> Show for Family<L, M, C>
where
    C: prometheus_client::metrics::family::MetricConstructor<M>,
{
    fn show(&self) {
        self.get_or_create_owned(&L::example());
    }
}

pub(super) trait Example {
    fn example() -> Self;
}

macro_rules! examples {
    ($($label:ident),*) => {$(
        impl Example for $label {
            fn example() -> Self {
                Self::of("x")
            }
        }
    )*};
}
examples!(
    ResultLabel,
    StateLabel,
    OutcomeLabel,
    OpLabel,
    ApiLabel,
    ResourceLabel,
    ReasonLabel,
    CredentialLabel,
    VersionLabel
);

impl Example for RequestLabels {
    fn example() -> Self {
        Self { api: "x".to_owned(), method: "x".to_owned(), code: "x".to_owned() }
    }
}

impl Example for GuardLabels {
    fn example() -> Self {
        Self { budget: "x".to_owned(), window: "x".to_owned() }
    }
}

/// Series → the names of its labels, as a scrape has them.
fn scraped(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.split('=').next().unwrap().to_owned());
        found.entry(name.to_owned()).or_default().extend(labels.filter(|label| label != "le"));
    }
    found
}

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
        "# UNIT cxone_sync_webhook_coverage_ratio ratio",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
}

#[test]
fn a_scrape_holds_what_is_documented_and_nothing_else() {
    let metrics = Metrics::new();
    metrics.show_all();
    let found = scraped(&metrics.encode());
    let names: BTreeSet<String> = found.keys().cloned().collect();
    assert_eq!(names, exported());
    for documented in METRICS {
        let labels: BTreeSet<String> = documented.labels.iter().map(|label| (*label).to_owned()).collect();
        for series in documented.series() {
            assert_eq!(found[&series], labels, "the labels of {series}");
        }
    }
}

#[test]
fn no_name_says_its_unit_twice() {
    for documented in METRICS {
        let name = documented.name();
        assert_eq!(name.matches("_seconds").count(), usize::from(documented.unit == Unit::Seconds), "{name}");
        assert_eq!(name.matches("_ratio").count(), usize::from(documented.unit == Unit::Ratio), "{name}");
    }
}

#[test]
fn the_page_of_metrics_is_up_to_date() {
    let mut page = String::from(
        "# Metrics\n\nWhat `GET /metrics` of the private listener says, for Prometheus (OpenMetrics text, no token \
         needed). Base units; no label holds a user, a group or an address. A series with labels is there once it \
         has something to say. Of a histogram there are `_bucket`, `_sum` and `_count`. The `workqueue` ones are \
         about the jobs of users and mean what they mean in Kubernetes. Alerts on them are in \
         `deploy/prometheus/rules.yaml`, a dashboard in `deploy/grafana/cxone-sync.json`.\n\nMade from the code: \
         `UPDATE_EXPECT=1 cargo test --lib the_page_of_metrics` writes it anew.\n\n\
         | metric | kind | unit | labels | what it says | when to worry |\n|---|---|---|---|---|---|\n",
    );
    for documented in METRICS {
        let labels: Vec<String> = documented.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            documented.name(),
            documented.kind(),
            documented.unit.name(),
            labels.join(", "),
            documented.meaning,
            documented.worry
        )
        .unwrap();
    }
    expect_file!["../../../docs/metrics.md"].assert_eq(&page);
}
