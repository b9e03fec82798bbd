//! The dashboard in a real browser: `tests/browser/dashboard.mjs` is the operator, this is the world.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cxone_sync::cli::demo::subscribe;
use cxone_sync::clock::Clock;
use cxone_sync::domain::pulse::{Lags, Sample};
use cxone_sync::domain::queue::Depth;
use cxone_sync::sim::{Fault, Faults, What, When};
use cxone_sync::store::{Options, Store};
use cxone_sync::telemetry::Metrics;
use serde_json::json;

use super::process::{Process, run};
use super::stage::{Stage, until};

const TOKEN: &str = "a-token-of-the-browser-test-0123456789";

/// What `tests/run` has installed.
fn installed(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.unwrap_or_else(|| {
        panic!("{variable} is not set: run the tests by tests/run, which installs the browser")
    })
}

/// The pictures of the documentation; elsewhere unless they are to be made anew.
fn pictures(stage: &Stage) -> PathBuf {
    match std::env::var_os("UPDATE_EXPECT") {
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dashboard"),
        None => stage.folder.path().join("pictures"),
    }
}

fn state_of(stage: &Stage, user: &str) -> String {
    let output = run(stage, &["queue", "show", user, "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    shown["job"]["state"].as_str().unwrap_or("none").to_owned()
}

/// A day as the service would have kept it: busier at noon, and an hour in which it did not run.
async fn remember_a_day(stage: &Stage) {
    let store = stage.folder.path().join("demo.redb");
    let now = Clock::system().now();
    let store = Store::open(Options::at(store), now, Metrics::new()).unwrap();
    // From the oldest on: a sample that is earlier than one known says that the clock was set back.
    for minute in (1..24 * 60).rev().filter(|minute| !(600..660).contains(minute)) {
        let at = now - Duration::from_secs(60 * minute);
        let busy: u64 = 1 + minute.min(1440 - minute) / 40;
        let mut lags = Lags::default();
        (0..busy).for_each(|n| lags.add(Duration::from_millis(80 + (minute * 37 + n * 131) % (40 * busy))));
        let depth = Depth { due: busy % 5, waiting: busy / 3, ..Depth::default() };
        store.add_sample(Sample { at, depth, lags }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_the_way_in_a_browser() {
    let (modules, chromium) =
        (installed("CXONE_SYNC_TEST_BROWSER_MODULES"), installed("CXONE_SYNC_TEST_CHROMIUM"));
    let mut stage = Stage::new();
    let sections = format!("[service]\nadmin_token = \"{TOKEN}\"\n");
    stage.configuration = stage.configuration.replace("[service]\n", &sections);
    stage.configuration =
        stage.configuration.replace("deactivations = { per_hour = 1000000", "deactivations = { per_hour = 0");
    let hold = "[attributes.displayName]\nowner = \"hold\"\n[guard]\n";
    stage.configuration = stage.configuration.replace("[guard]\n", hold);
    remember_a_day(&stage).await;
    let process = Process::start(&stage, &[("CXONE_SYNC__SYNC__RECHECK_AFTER", "0s")]).await;
    subscribe(stage.folder.path()).await.unwrap();

    let [parked, held, drifted] = ["Ana", "Ben", "Cleo"].map(|name| stage.hire(name));
    let hostile = stage.hire("Mallory");
    stage.graph().update_user(
        &hostile,
        json!({ "displayName": "<img src=x onerror=alert(1)>\"'><script>alert(1)</script>" }),
    );
    let mut everybody: Vec<String> = (0..12).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    everybody.extend([parked.clone(), held.clone(), drifted.clone(), hostile]);
    stage.converge(&everybody).await;
    let id = |user: &str| stage.account(user).unwrap()["id"].as_str().unwrap().to_owned();

    stage.graph().disable(&held);
    stage.cxone().edit_by_hand(&id(&drifted), json!({ "displayName": "Changed by hand" }));
    assert_eq!(run(&stage, &["sync", "user", &drifted, "--wait"]).status.code(), Some(0));
    let account = id(&parked);
    let mut changed = 0;
    let mut park = || {
        changed += 1;
        let path = format!("*/Users/{account}");
        for method in ["PATCH", "PUT"] {
            stage.cxone().add_fault(Fault::new(method, &path, When::Always, What::Status(400, None)));
        }
        stage.graph().update_user(&parked, json!({ "givenName": format!("Ana{changed}") }));
    };
    park();
    let stopped = || [state_of(&stage, &parked), state_of(&stage, &held)];
    assert!(until(|| stopped() == ["parked", "held"]).await, "{:?}", stopped());

    let pictures = pictures(&stage);
    std::fs::create_dir_all(&pictures).unwrap();
    let listen = stage.configuration.split("private_listen = \"").nth(1).unwrap().split('"').next().unwrap();
    let asked = json!({
        "base": format!("http://{listen}"), "token": TOKEN, "pictures": pictures,
        "parked": parked, "held": held, "drifted": "cleo@example.com",
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/dashboard.mjs");
    let mut browser = Command::new("node")
        .arg(script)
        .env("BROWSER_MODULES", modules)
        .env("BROWSER_CHROMIUM", chromium)
        .env("BROWSER_ASKED", asked.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node can be run");
    let (mut answers, said) = (browser.stdin.take().unwrap(), BufReader::new(browser.stdout.take().unwrap()));
    let mut last = String::new();
    for line in said.lines() {
        last = line.unwrap();
        println!("{last}");
        match last.as_str() {
            "please heal" => stage.cxone().set_faults(Faults::none()),
            "please park" => park(),
            _ => continue,
        }
        writeln!(answers, "done").unwrap();
    }
    assert!(browser.wait().unwrap().success(), "{last}");
    assert_eq!(last, "seen");
    // What was done there was done.
    assert!(until(|| state_of(&stage, &parked) == "none" && state_of(&stage, &held) == "none").await);
    assert_eq!(stage.account(&held).unwrap()["active"], json!(false));
    assert_eq!(process.terminate(), Some(0));
}
