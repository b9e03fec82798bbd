//! The commands, against the running service and straight on the store.

use serde_json::{Value, json};

use super::process::{Process, run};
use super::stage::{Stage, until};

fn json_of(stage: &Stage, arguments: &[&str]) -> Value {
    let output = run(stage, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_afternoon() {
    let stage = Stage::new();
    let ana = stage.hire("Ana");
    let process = Process::start(&stage, &[("CXONE_SYNC__SYNC__RECHECK_AFTER", "0s")]).await;
    assert_eq!(run(&stage, &["healthcheck"]).status.code(), Some(0));

    let subscribed = json_of(&stage, &["subscribe", "-o", "json"]);
    assert_eq!(subscribed["check"]["ok"], true, "{subscribed:#}");
    assert_eq!(stage.graph().subscriptions().len(), 2);
    // Once more adopts what is there.
    json_of(&stage, &["subscribe", "-o", "json"]);
    assert_eq!(stage.graph().subscriptions().len(), 2);
    let listed = json_of(&stage, &["subscriptions", "list", "-o", "json"]);
    assert_eq!(listed["subscriptions"].as_array().unwrap().len(), 2);
    let id = listed["subscriptions"][0]["id"].as_str().unwrap().to_owned();
    json_of(&stage, &["subscriptions", "renew", &id, "-o", "json"]);

    stage.arrives(&ana).await;
    let by_name = json_of(&stage, &["explain", "ana@example.com", "-o", "json"]);
    assert_eq!(by_name["user"], json!(ana));
    assert_eq!(by_name["plan"]["reason"], "in_sync", "{by_name:#}");
    assert_eq!(by_name["roles"][0]["given"], true);
    let history = json_of(&stage, &["history", &ana, "-o", "json"]);
    assert_eq!(history["writes"].as_array().unwrap().last().unwrap()["operation"], "create");

    // What somebody changed by hand is what a plan shows, and a sync puts right.
    let account = stage.account(&ana).unwrap()["id"].as_str().unwrap().to_owned();
    stage.cxone().edit_by_hand(&account, json!({ "displayName": "By hand" }));
    let plan = json_of(&stage, &["plan", &ana, "-o", "json"]);
    assert_eq!(plan["plans"][0]["changes"][0]["attribute"], "displayName", "{plan:#}");
    assert_eq!(run(&stage, &["plan", &ana, "--detailed-exitcode"]).status.code(), Some(8));
    assert_eq!(run(&stage, &["sync", "user", "ana@example.com", "--wait"]).status.code(), Some(0));
    stage.arrives(&ana).await;
    assert_eq!(run(&stage, &["plan", &ana, "--detailed-exitcode"]).status.code(), Some(0));

    // Something Graph tells us, so that there is something to replay.
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    stage.arrives(&ana).await;

    // Replay: says how many, marks them, and nothing is sent for who is right.
    let before = stage.cxone().load().total_requests;
    stage.sent();
    let replayed = json_of(&stage, &["queue", "replay", "--all", "--yes", "-o", "json"]);
    assert!(replayed["users"].as_u64().unwrap() >= 1, "{replayed:#}");
    assert!(until(|| stage.cxone().load().total_requests > before).await);
    let stats = json_of(&stage, &["queue", "stats", "-o", "json"]);
    assert_eq!(stats["parked"], 0, "{stats:#}");
    assert_eq!(stage.sent(), vec![]);
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_service_commands_work_on_the_store() {
    let stage = Stage::new();
    let ana = stage.hire("Ana");
    let process = Process::start(&stage, &[]).await;
    json_of(&stage, &["subscribe", "-o", "json"]);
    stage.arrives(&ana).await;
    assert_eq!(process.terminate(), Some(0));

    assert_ne!(run(&stage, &["healthcheck"]).status.code(), Some(0));
    let history = json_of(&stage, &["history", "-o", "json"]);
    assert_eq!(history["writes"].as_array().unwrap().len(), 1, "{history:#}");
    let plan = json_of(&stage, &["plan", "ana@example.com", "-o", "json"]);
    assert_eq!(plan["plans"][0]["action"], "nothing", "{plan:#}");
    json_of(&stage, &["sync", "user", &ana, "-o", "json"]);
    let queue = json_of(&stage, &["queue", "list", "-o", "json"]);
    assert_eq!(queue["jobs"][0]["user"], json!(ana), "{queue:#}");

    // The next start works it off.
    let account = stage.account(&ana).unwrap()["id"].as_str().unwrap().to_owned();
    stage.cxone().edit_by_hand(&account, json!({ "displayName": "By hand" }));
    let process = Process::start(&stage, &[]).await;
    stage.arrives(&ana).await;
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_public_url_is_said_before_graph_is_asked() {
    let mut stage = Stage::new();
    // Port 1, where nobody listens, stands in the configuration; the listener is elsewhere.
    let lines = stage.configuration.lines().map(|line| match line.starts_with("public_url") {
        true => "public_url = \"http://127.0.0.1:1\"".to_owned(),
        false => line.to_owned(),
    });
    stage.configuration = lines.collect::<Vec<_>>().join("\n");
    let process = Process::start(&stage, &[]).await;
    let output = run(&stage, &["subscribe"]);
    assert_ne!(output.status.code(), Some(0));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("refused") || said.contains("reach"), "{said}");
    assert!(
        stage
            .graph()
            .requests()
            .iter()
            .all(|request| request.path != "/v1.0/subscriptions" || request.method != "POST")
    );
    assert_eq!(process.terminate(), Some(0));
}
