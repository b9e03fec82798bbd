//! The configuration, read again by a service that runs.

use cxone_sync::sim::{Fault, What, When};
use serde_json::{Value, json};

use super::process::{Process, log_of, run, write_config};
use super::stage::{Stage, until};

/// Looks for nobody a second time, so that a test need not wait for it.
const NO_RECHECK: (&str, &str) = ("CXONE_SYNC__SYNC__RECHECK_AFTER", "0s");

async fn subscribed(stage: &Stage) -> Process {
    let process = Process::start(stage, &[NO_RECHECK]).await;
    assert!(run(stage, &["subscribe"]).status.success());
    process
}

/// What `config reload` answers, after these lines were added to the configuration.
fn reload(stage: &mut Stage, more: &str) -> Value {
    stage.configuration += more;
    let output = run(stage, &["config", "reload", "-o", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until the queue has nothing to do: what happens after a reload then happens because of it.
async fn rest(stage: &Stage) {
    let is_at_rest = until(|| {
        let output = run(stage, &["queue", "stats", "-o", "json"]);
        let stats: Value = serde_json::from_slice(&output.stdout).unwrap();
        ["due", "waiting", "running"].iter().all(|state| stats[state] == 0)
    });
    assert!(is_at_rest.await, "the queue never came to rest");
}

/// Waits until the service says so of its last reading.
async fn reload_failed(process: &Process, failed: u8) -> bool {
    let line = format!("\ncxone_sync_config_reload_failed {failed}\n");
    until(|| process.page("/metrics").contains(&line)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing_but_a_metric_and_a_line_of_the_log() {
    let mut stage = Stage::new();
    let process = subscribed(&stage).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;

    let good = stage.configuration.clone();
    stage.configuration += "[scope]\ngroups = [\"Nobody\"]\n";
    write_config(&stage);
    process.hang_up();
    assert!(reload_failed(&process, 1).await, "{}", log_of(&stage));
    let log = log_of(&stage);
    assert!(log.contains("stays in force") && log.contains("scope.groups"), "{log}");

    // By the old rules somebody new arrives, and Ana stays who she is.
    stage.configuration = good;
    let ben = stage.hire("Ben");
    stage.converge(&[ana, ben]).await;
    write_config(&stage);
    process.hang_up();
    assert!(reload_failed(&process, 0).await, "{}", log_of(&stage));
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_role_row_gives_its_members_the_role_without_a_restart() {
    let mut stage = Stage::new();
    let process = subscribed(&stage).await;
    let (ana, ben) = (stage.hire("Ana"), stage.hire("Ben"));
    let leads = stage.graph().add_group(json!({ "displayName": "Leads" }));
    stage.graph().add_member(&leads, &ana);
    stage.converge(&[ana.clone(), ben.clone()]).await;
    rest(&stage).await;

    stage.configuration += &format!("[[roles]]\ngroup = \"{leads}\"\nrole = \"Lead\"\n");
    write_config(&stage);
    process.hang_up();
    let given = until(|| stage.held_roles(&ana).contains("Lead")).await;
    assert!(given, "{:?}\n{}", stage.held_roles(&ana), log_of(&stage));
    assert_eq!(stage.held_roles(&ben).len(), 1);

    // Whoever joins later gets it too: the group is kept from now on.
    stage.graph().add_member(&leads, &ben);
    assert!(until(|| stage.held_roles(&ben).contains("Lead")).await, "{}", log_of(&stage));
    stage.graph().remove_member(&leads, &ana);
    assert!(until(|| !stage.held_roles(&ana).contains("Lead")).await, "{}", log_of(&stage));
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_looked_at_before_all_new_groups_were_read_is_looked_at_again() {
    let mut stage = Stage::new();
    let process = subscribed(&stage).await;
    let (ana, ben) = (stage.hire("Ana"), stage.hire("Ben"));
    let groups = ["Leads", "Coaches"].map(|name| stage.graph().add_group(json!({ "displayName": name })));
    stage.graph().add_member(&groups[0], &ana);
    stage.graph().add_member(&groups[1], &ben);
    stage.converge(&[ana.clone(), ben.clone()]).await;
    rest(&stage).await;

    // Of one of the groups the first reads fail, while everybody is looked at.
    let members = format!("/v1.0/groups/{}/members", groups[1]);
    stage.graph().add_fault(Fault::new("GET", &members, When::First(2), What::Status(500, None)));
    for (group, role) in groups.iter().zip(["Lead", "Coach"]) {
        stage.configuration += &format!("[[roles]]\ngroup = \"{group}\"\nrole = \"{role}\"\n");
    }
    reload(&mut stage, "");
    for (user, role) in [(&ana, "Lead"), (&ben, "Coach")] {
        assert!(until(|| stage.held_roles(user).contains(role)).await, "{role}: {}", log_of(&stage));
    }
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_reads_another_property_has_it_read() {
    let mut stage = Stage::new();
    let process = subscribed(&stage).await;
    let ana = stage.hire("Ana");
    stage.graph().update_user(&ana, json!({ "jobTitle": "Team lead" }));
    stage.arrives(&ana).await;
    rest(&stage).await;
    let shows = |stage: &Stage, name: &str| stage.account(&ana).unwrap()["displayName"] == name;
    // A change that only the next round can find, by a link that was made when less was read.
    stage.graph().lose_next(1);
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));

    let answer =
        reload(&mut stage, "[attributes.displayName]\nfrom = \"Coalesce([jobTitle], \\\"none\\\")\"\n");
    assert_eq!(answer["changed"], json!(["attributes.displayName.from"]));
    assert_eq!(answer["restart"], json!([]));
    assert_eq!(answer["effect"]["lines"][0]["sentence"], "1 cannot be told (jobTitle was not read)");
    assert!(until(|| shows(&stage, "Team lead")).await, "{}", log_of(&stage));
    // And so has a change that is told later.
    stage.graph().update_user(&ana, json!({ "jobTitle": "Head" }));
    assert!(until(|| shows(&stage, "Head")).await, "{}", log_of(&stage));
    // At no moment was a property that nobody had asked for taken for one that is not set.
    let writes = stage.sent();
    assert!(!writes.iter().any(|(_, body)| body.to_string().contains("none")), "{writes:#?}");
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_looked_at_by_rules_that_read_the_same() {
    let mut stage = Stage::new();
    let process = subscribed(&stage).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    rest(&stage).await;
    reload(&mut stage, "[attributes.displayName]\nfrom = \"Join(\\\", \\\", [surname], [displayName])\"\n");
    let shown = until(|| stage.account(&ana).unwrap()["displayName"] == "Martin, Ana Martin").await;
    assert!(shown, "{}", log_of(&stage));
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_tells_what_it_does_and_what_only_a_restart_can() {
    let mut stage = Stage::new();
    let process = subscribed(&stage).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    rest(&stage).await;
    let supervisors = stage.roles[1].0.clone();
    stage.configuration = stage.configuration.replacen("per_hour = 1000000", "per_hour = 0", 1);
    let more = format!("[scope]\ngroups = [\"{supervisors}\"]\n[retention]\nhistory = \"10d\"\n");
    let answer = reload(&mut stage, &more);
    assert_eq!(answer["changed"], json!(["guard.deactivations.per_hour", "scope.groups"]));
    assert_eq!(answer["restart"], json!(["retention.history"]));
    assert_eq!(answer["effect"]["summary"], "1 deactivated");
    assert_eq!(answer["effect"]["lines"][0]["users"], json!([ana]));
    assert_eq!(answer["effect"]["exceeded"].as_array().unwrap().len(), 1);
    // The same again is no change, but for the restart that is still needed.
    let answer = reload(&mut stage, "");
    assert_eq!((&answer["changed"], &answer["effect"]["lines"]), (&json!([]), &json!([])));
    assert_eq!(answer["restart"], json!(["retention.history"]));
    assert_eq!(stage.account(&ana).unwrap()["active"], true, "what a look must see twice was not yet done");
    assert_eq!(process.terminate(), Some(0));

    let output = run(&stage, &["config", "reload"]);
    assert_eq!(output.status.code(), Some(6), "without a service there is nothing to reload");
}
