//! The demo, as a newcomer runs it.

use std::process::Command;

use serde_json::Value;

fn demo(faults: &str) -> Value {
    let arguments = ["demo", "--users", "40", "--changes", "120", "--faults", faults, "-o", "json"];
    let output = Command::new(env!("CARGO_BIN_EXE_cxone-sync")).env_clear().args(arguments).output().unwrap();
    let story = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn in_good_weather_both_sides_agree() {
    let report = demo("none");
    assert_eq!(report["converged"], true, "{report:#}");
    assert_eq!(report["differences"], serde_json::json!([]));
    assert!(report["eventLagMs"]["n"].as_u64().unwrap() > 50, "{report:#}");
    assert_eq!(report["overlappingWrites"], 0);
    assert!(report["mostConnections"].as_u64().unwrap() <= 10, "{report:#}");
}

#[test]
fn in_the_worst_weather_too() {
    let report = demo("many");
    assert_eq!(report["converged"], true, "{report:#}");
    assert!(report["faultsStruck"].as_u64().unwrap() > 20, "{report:#}");
    assert!(report["notifications"]["lost"].as_u64().unwrap() > 0, "{report:#}");
    assert_eq!(report["overlappingWrites"], 0);
}
