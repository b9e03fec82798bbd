//! The alerts and the dashboard ask only for what the service says, and every alert says what to do.
//! That the alerts fire when they should, `promtool test rules` shows.

use std::collections::BTreeSet;
use std::path::Path;

use cxone_sync::telemetry::exported;

/// The chapters of the runbook.
const ANCHORS: [&str; 9] = [
    "queue-old",
    "subscription-lost",
    "delta-old",
    "coverage-low",
    "leaver-held",
    "circuit-open",
    "credential-expiring",
    "reload-failed",
    "disk-full",
];

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every name in the text that begins as our metrics do.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("cxone_sync_")).map(str::to_owned).collect()
}

#[test]
fn the_alerts_and_the_dashboard_name_only_metrics_there_are() {
    let exported = exported();
    for path in [
        "deploy/prometheus/rules.yaml",
        "deploy/prometheus/rules_test.yaml",
        "deploy/grafana/cxone-sync.json",
    ] {
        let named = metrics_in(&read(path));
        assert!(named.len() > 8, "{path} names only {named:?}");
        let unknown: Vec<_> = named.difference(&exported).collect();
        assert!(unknown.is_empty(), "{path} names metrics that nobody exports: {unknown:?}");
    }
}

#[test]
fn every_alert_says_what_to_do_and_is_tried() {
    let (rules, tests) = (read("deploy/prometheus/rules.yaml"), read("deploy/prometheus/rules_test.yaml"));
    let mut linked = BTreeSet::new();
    for alert in rules.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        for part in ["summary: ", "description: ", "severity: "] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
        let (_, anchor) = alert.split_once("runbook_url: docs/runbooks.md#").expect(name);
        linked.insert(anchor.lines().next().unwrap().trim());
        // Once it fires, once it does not.
        let heading = format!("alertname: {name}\n");
        let tried = tests.split(&heading).skip(1);
        let fires: BTreeSet<bool> =
            tried.map(|case| !case.trim_start().starts_with("exp_alerts: []")).collect();
        assert_eq!(fires.len(), 2, "{name} must be seen to fire and not to fire");
    }
    assert_eq!(linked, ANCHORS.into());
}

#[test]
fn the_dashboard_takes_its_data_source_as_a_variable() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/grafana/cxone-sync.json")).unwrap();
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    let panels = dashboard["panels"].as_array().unwrap();
    let asking: Vec<_> = panels.iter().filter(|panel| panel["type"] != "row").collect();
    assert!(asking.len() > 10);
    for panel in asking {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
    }
}
