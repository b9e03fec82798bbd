//! Another configuration, tried on what was seen.

use cxone_sync::app::Running;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::process::run;
use super::stage::{Stage, stop, until_async};

/// What the command prints as JSON, and its exit code.
fn simulate(stage: &Stage, new: &str, more: &[&str]) -> (Value, Option<i32>) {
    let path = stage.folder.path().join("new.toml");
    std::fs::write(&path, new).unwrap();
    let path = path.to_str().unwrap();
    let output = run(stage, &[&["simulate", path, "-o", "json"], more].concat());
    let printed = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| json!(String::from_utf8_lossy(&output.stderr)));
    (printed, output.status.code())
}

/// Whom each kind of difference is about.
fn users<'a>(answer: &'a Value, kind: &str) -> Vec<&'a Value> {
    let lines = answer["lines"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
    let of_kind = lines.iter().filter(|line| line["kind"] == kind);
    of_kind.flat_map(|line| line["users"].as_array().unwrap()).collect()
}

/// The rules of the stage, with another scope and a guard.
fn narrowed(stage: &Stage, group: &str, per_hour: u64) -> String {
    let roles = stage
        .roles
        .iter()
        .map(|(group, role)| format!("[[roles]]\ngroup = \"{group}\"\nrole = \"{role}\"\n"));
    let roles: String = roles.collect();
    format!(
        "[scope]\ngroups = [\"{group}\"]\n[attributes.roles]\nowner = \"entra\"\n\
         [guard]\ndeactivations = {{ per_hour = {per_hour}, percent_per_day = 100 }}\n\
         [graph]\nclient_secret = \"${{SOMEBODY_ELSES_SECRET}}\"\n{roles}"
    )
}

/// Waits until nothing is left to do, and as many users have been seen with all their groups.
async fn rest(stage: &Stage, running: &Running, n_users: usize) {
    let at_rest = until_async(|| async {
        let depth = running.store.depth(running.worker.clock.now()).await.unwrap();
        let states = running.store.states_since(Timestamp::MAX, None, 99).await.unwrap();
        let deliveries = stage.graph().delivery_stats();
        deliveries.queued == deliveries.delivered
            && depth.due + depth.waiting + depth.running == 0
            && states.len() == n_users
            && states.iter().all(|(_, states)| states[0].scim_id.is_some() && states[0].complete)
    });
    assert!(at_rest.await, "the service never came to rest");
}

/// Nobody is looked at a second time, so that a test need not wait for it.
const NO_RECHECK: (&str, &str) = ("sync.recheck_after", "0s");

#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_scope_shows_whom_it_would_turn_off_and_that_the_guard_would_hold() {
    let stage = Stage::new();
    let running = stage.serve(&[NO_RECHECK]).await;
    let agents: Vec<String> = ["Ana", "Ben", "Cleo"].map(|name| stage.hire(name)).into();
    let dora = stage.hire("Dora");
    stage.graph().add_member(&stage.nested, &dora);
    stage.converge(&[agents.clone(), vec![dora]].concat()).await;
    rest(&stage, &running, 4).await;
    stage.sent();

    let (answer, exit) = simulate(&stage, &narrowed(&stage, &stage.roles[1].0, 2), &[]);
    assert_eq!(exit, Some(4), "{answer:#}");
    let mut deactivated = users(&answer, "deactivated");
    deactivated.sort_by_key(|user| user.to_string());
    let mut expected: Vec<Value> = agents.iter().map(|agent| json!(agent)).collect();
    expected.sort_by_key(Value::to_string);
    assert_eq!(deactivated, expected.iter().collect::<Vec<_>>());
    assert_eq!(answer["summary"], "3 deactivated");
    assert_eq!(answer["exceeded"].as_array().unwrap().len(), 1);

    let (answer, exit) = simulate(&stage, &narrowed(&stage, &stage.roles[1].0, 3), &[]);
    assert_eq!((exit, &answer["summary"]), (Some(0), &json!("3 deactivated")));
    let (answer, exit) = simulate(&stage, &narrowed(&stage, &stage.roles[0].0, 2), &[]);
    assert_eq!((exit, &answer["summary"]), (Some(0), &json!("nothing differs")));

    // The same without a service, and nothing was written by any of it.
    stop(running).await;
    let (answer, exit) = simulate(&stage, &narrowed(&stage, &stage.roles[1].0, 2), &["--since", "1h"]);
    assert_eq!((exit, &answer["summary"]), (Some(4), &json!("3 deactivated")));
    assert_eq!(stage.sent(), vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_before_counts_when_it_is_asked_for() {
    let stage = Stage::new();
    let running = stage.serve(&[NO_RECHECK]).await;
    let ana = stage.hire("Ana");
    stage.graph().add_member(&stage.nested, &ana);
    stage.arrives(&ana).await;
    rest(&stage, &running, 1).await;
    stage.graph().remove_member(&stage.nested, &ana);
    stage.arrives(&ana).await;
    let user = ana.parse().unwrap();
    let left = until_async(|| async {
        let newest = running.store.state_at(user, jiff::Timestamp::MAX).await.unwrap();
        newest.is_some_and(|newest| newest.groups.len() == 1)
    });
    assert!(left.await);

    let new = narrowed(&stage, &stage.roles[0].0, 9).replace("\"Supervisor\"", "\"Lead\"");
    let (answer, exit) = simulate(&stage, &new, &[]);
    assert_eq!((exit, &answer["summary"]), (Some(0), &json!("nothing differs")));
    let (answer, exit) = simulate(&stage, &new, &["--since", "1h"]);
    assert_eq!(exit, Some(0));
    assert_eq!(users(&answer, "gains_role"), [&json!(ana)], "{answer:#}");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_wrong_is_told_as_config_validate_tells_it() {
    let stage = Stage::new();
    let (said, exit) = simulate(&stage, "[scope]\ngroups = [\"Agents\"]\n", &[]);
    assert_eq!(exit, Some(2), "{said}");
    let said = said.as_str().unwrap();
    assert!(said.contains("new.toml:2:11: scope.groups: \"Agents\" is not an object id"), "{said}");
}
