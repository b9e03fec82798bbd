//! A backup taken from the running service, and what a restored one does.

use serde_json::Value;

use super::process::{Process, run};
use super::stage::Stage;

fn code(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(stage, arguments);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), said(&output.stdout) + &said(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_acts_on_what_is_and_not_on_what_it_remembers() {
    let stage = Stage::new();
    let file = stage.folder.path().join("backup.redb");
    let file = file.to_str().unwrap();
    let ana = stage.hire("Ana");
    let process = Process::start(&stage, &[]).await;
    assert_eq!(code(&stage, &["subscribe"]).0, Some(0));
    stage.arrives(&ana).await;
    let (exit, said) = code(&stage, &["backup", file, "-o", "json"]);
    assert_eq!(exit, Some(0), "{said}");
    let taken: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&taken["links"], &taken["notHeld"].as_array().unwrap().len()),
        (&Value::from(1), &3),
        "{said}"
    );

    // What the backup knows nothing of: a role, another name, and somebody new.
    stage.graph().add_member(&stage.roles[1].0, &ana);
    stage.graph().update_user(&ana, serde_json::json!({ "surname": "Silva" }));
    let ben = stage.hire("Ben");
    stage.converge(&[ana.clone(), ben.clone()]).await;
    assert!(stage.held_roles(&ana).contains("Supervisor"));
    let (exit, said) = code(&stage, &["restore", file, "--yes"]);
    assert_eq!(exit, Some(1), "not under a service that runs: {said}");
    assert!(said.contains("hint: stop it"), "{said}");
    assert_eq!(process.terminate(), Some(0));

    let (exit, said) = code(&stage, &["restore", file, "--yes"]);
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.contains("Its history is whole."), "{said}");
    // Without a service a backup is taken too.
    let again = stage.folder.path().join("again.redb");
    let (exit, said) = code(&stage, &["backup", again.to_str().unwrap()]);
    assert_eq!(exit, Some(0), "{said}");

    stage.sent();
    let process = Process::start(&stage, &[]).await;
    assert_eq!(code(&stage, &["sync", "all", "--wait"]).0, Some(0));
    stage.converge(&[ana.clone(), ben.clone()]).await;
    assert_eq!(stage.sent(), vec![], "both were right, and nothing was taken from them");
    assert!(stage.held_roles(&ana).contains("Supervisor"));
    let (exit, said) = code(&stage, &["history", "verify"]);
    assert_eq!(exit, Some(0), "{said}");
    let (exit, said) = code(&stage, &["export"]);
    assert_eq!(exit, Some(0));
    let kinds: Vec<Value> =
        said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "link").count(), 2, "Ben is linked again");
    assert_eq!((&kinds[0], kinds.last().unwrap()), (&Value::from("export"), &Value::from("end")));
    assert_eq!(process.terminate(), Some(0));
}
