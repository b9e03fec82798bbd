//! What operators decide: to let pass, to forbid, to announce, to accept, to take back. Judged by what
//! CXone holds afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cxone_sync::cli::demo::subscribe;
use cxone_sync::clock::Clock;
use redb::ReadableTable as _;
use serde_json::{Value, json};

use super::process::{Process, run};
use super::stage::{Stage, until};

/// A budget so small that it is soon used up.
fn tighten(stage: &mut Stage, budget: &str, per_hour: u64) {
    let (wide, tight) =
        (format!("{budget} = {{ per_hour = 1000000"), format!("{budget} = {{ per_hour = {per_hour}"));
    assert!(stage.configuration.contains(&wide), "{}", stage.configuration);
    stage.configuration = stage.configuration.replace(&wide, &tight);
}

/// Adds keys to a section of the configuration that is there, or makes it.
fn configure(stage: &mut Stage, section: &str, keys: &str) {
    let heading = format!("[{section}]\n");
    match stage.configuration.contains(&heading) {
        true => {
            stage.configuration = stage.configuration.replace(&heading, &format!("{heading}{keys}\n"));
        }
        false => {
            let at = stage.configuration.find("[[roles]]").unwrap();
            stage.configuration.insert_str(at, &format!("{heading}{keys}\n"));
        }
    }
}

async fn serve(stage: &Stage) -> Process {
    let process = Process::start(stage, &[("CXONE_SYNC__SYNC__RECHECK_AFTER", "0s")]).await;
    subscribe(stage.folder.path()).await.unwrap();
    process
}

/// Runs a command that prints JSON: the exit code and what it printed.
#[track_caller]
fn ask(stage: &Stage, arguments: &[&str]) -> (i32, Value) {
    let output = run(stage, &[arguments, &["-o", "json"]].concat());
    let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let exit = output.status.code().unwrap();
    if printed.is_null() {
        println!("{arguments:?}: {exit}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    (exit, printed)
}

/// As [`ask`], of a command that has to go well.
#[track_caller]
fn tell(stage: &Stage, arguments: &[&str]) -> Value {
    let (exit, printed) = ask(stage, arguments);
    assert_eq!(exit, 0, "{arguments:?}: {printed:#}");
    printed
}

fn n(answer: &Value, list: &str) -> usize {
    answer[list].as_array().unwrap_or_else(|| panic!("no {list}: {answer:#}")).len()
}

fn inactive(stage: &Stage) -> usize {
    stage.cxone().users().iter().filter(|user| user["active"] == json!(false)).count()
}

/// Waits until the guard holds so many changes: everything that is held.
async fn held(stage: &Stage, expected: usize) -> Value {
    let mut last = Value::Null;
    let reached = until(|| {
        last = tell(stage, &["held", "list"]);
        n(&last, "held") == expected
    });
    assert!(reached.await, "{last:#}");
    last
}

/// Waits until nothing is due or running.
async fn at_rest(stage: &Stage) {
    let rest = until(|| {
        let stats = tell(stage, &["queue", "stats"]);
        stats["due"] == 0 && stats["running"] == 0
    });
    assert!(rest.await);
}

/// Somebody new, whose account is settled.
async fn hired(stage: &Stage, name: &str) -> String {
    let user = stage.hire(name);
    stage.arrives(&user).await;
    at_rest(stage).await;
    user
}

fn id(stage: &Stage, user: &str) -> String {
    stage.account(user).expect("the user has an account")["id"].as_str().unwrap().to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_budget_stopped_passes_by_the_approval_of_just_that() {
    let mut stage = Stage::new();
    tighten(&mut stage, "deactivations", 3);
    let process = serve(&stage).await;
    let users: Vec<String> = (0..8).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    stage.converge(&users).await;
    users[..6].iter().for_each(|user| stage.graph().disable(user));
    let shown = held(&stage, 3).await;
    assert_eq!(inactive(&stage), 3);
    let set = text(&shown["set"]).to_owned();
    assert!(text(&shown["held"][0]["words"]).contains("guard.deactivations.per_hour is 3"), "{shown:#}");
    assert!(text(&shown["held"][0]["userName"]).ends_with("@example.com"));

    stage.graph().disable(&users[6]);
    let now = held(&stage, 4).await;
    let output = run(&stage, &["held", "approve", "--all", "--set", &set, "--yes"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("held list") && said.contains(text(&now["set"])), "{said}");
    // Off a terminal, what nobody looked at is not approved.
    assert_eq!(ask(&stage, &["held", "approve", "--all", "--yes"]).0, 2);
    at_rest(&stage).await;
    assert_eq!(inactive(&stage), 3);

    let set = text(&now["set"]).to_owned();
    let approved = tell(&stage, &["held", "approve", "--set", &set, "--yes", "--by", "ana"]);
    assert_eq!(approved["users"], 4);
    assert!(until(|| inactive(&stage) == 7).await);
    let after = held(&stage, 0).await;
    assert_eq!((n(&after, "approvals"), &after["set"]), (0, &Value::Null), "{after:#}");
    let history = tell(&stage, &["history"]);
    let by_ana = |write: &&Value| write["approved_by"] == "ana (socket)";
    assert_eq!(history["writes"].as_array().unwrap().iter().filter(by_ana).count(), 4);
    let remarks = tell(&stage, &["history", "--remarks"]);
    assert_eq!((n(&remarks, "remarks"), &remarks["remarks"][0]["code"]), (8, &json!("approved")));
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rejected_is_not_tried_again_until_it_is_lifted() {
    let mut stage = Stage::new();
    tighten(&mut stage, "deactivations", 0);
    let process = serve(&stage).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    stage.graph().disable(&ana);
    let set = text(&held(&stage, 1).await["set"]).to_owned();
    tell(&stage, &["held", "reject", "ana@example.com", "--set", &set, "--yes", "--by", "ben"]);
    let after = held(&stage, 0).await;
    assert_eq!(after["restraints"][0]["by"], "ben (socket)");
    for _ in 0..2 {
        assert_eq!(run(&stage, &["sync", "user", &ana, "--wait"]).status.code(), Some(0));
    }
    assert_eq!((inactive(&stage), n(&held(&stage, 0).await, "restraints")), (0, 1));
    let plan = tell(&stage, &["plan", &ana])["plans"][0].clone();
    assert_eq!(plan["reason"], "restrained", "{plan:#}");
    assert!(text(&plan["sentence"]).contains("ben (socket) rejected"), "{plan:#}");

    tell(&stage, &["held", "lift", "ana@example.com"]);
    held(&stage, 1).await;
    assert_eq!(inactive(&stage), 0, "the budget is still what it is");
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_change_passes_for_the_members_of_the_group() {
    let mut stage = Stage::new();
    tighten(&mut stage, "deactivations", 1);
    let process = serve(&stage).await;
    let (team, nested) = (stage.graph().add_group(json!({ "displayName": "Night" })), stage.nested.clone());
    stage.graph().add_member(&team, &nested);
    let users: Vec<String> = (0..7).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    users[..2].iter().for_each(|user| stage.graph().add_member(&team, user));
    users[2..5].iter().for_each(|user| stage.graph().add_member(&nested, user));
    stage.converge(&users).await;

    let missing = "00000000-0000-4000-8000-00000000dead";
    let output = run(&stage, &["held", "preapprove", "--group", missing, "--max", "1", "--until", "1h"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no group"));
    assert_eq!(ask(&stage, &["held", "preapprove", "--group", &team, "--max", "1", "--until", "31d"]).0, 2);
    let made = tell(&stage, &["held", "preapprove", "--group", &team, "--max", "4", "--until", "1h"]);
    assert_eq!(made["users"], 5, "nested ones too");

    // Four are announced, one has the budget, one of the team is left, and one who is not of it.
    users[..6].iter().for_each(|user| stage.graph().disable(user));
    held(&stage, 1).await;
    at_rest(&stage).await;
    assert_eq!(inactive(&stage), 5);
    let known = tell(&stage, &["held", "preapprovals"]);
    assert_eq!(known["preapprovals"][0]["used"], 4, "{known:#}");
    tell(&stage, &["held", "end", text(&made["id"])]);
    assert_eq!(n(&tell(&stage, &["held", "preapprovals"]), "preapprovals"), 0);
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_used_although_something_else_was_to_be_written_first() {
    let mut stage = Stage::new();
    tighten(&mut stage, "role_removals", 0);
    configure(&mut stage, "sync", "full_compare_interval = \"6d\"");
    stage.configuration = stage.configuration.replace("poll_interval = \"3s\"", "poll_interval = \"6d\"");
    let process = serve(&stage).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    stage.graph().remove_member(&stage.roles[0].0, &ana);
    let set = text(&held(&stage, 1).await["set"]).to_owned();
    // Nobody hears of this before the approval is used.
    stage.graph().lose_next(1);
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    tell(&stage, &["held", "approve", "--set", &set, "--yes"]);
    stage.arrives(&ana).await;
    assert_eq!(stage.held_roles(&ana), BTreeSet::new());
    held(&stage, 0).await;
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_by_hand_is_accepted_or_reverted() {
    let mut stage = Stage::new();
    configure(&mut stage, "attributes.displayName", "owner = \"newest\"");
    stage.configuration = stage.configuration.replace("owner = \"entra\"", "owner = \"newest\"");
    let process = serve(&stage).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    // CXone gives a first role by itself: only once ours is settled has somebody changed it.
    let settled = || {
        let known = tell(&stage, &["queue", "show", &ana]);
        known["link"]["baseline"]["roles"]["target"] == json!(["Agent"])
    };
    assert!(until(settled).await);
    let account = id(&stage, &ana);
    let roles = ["Agent", "Supervisor", "Custom"].map(|role| json!({ "value": role }));
    let by_hand = json!({ "displayName": "By hand", "roles": roles });
    stage.cxone().edit_by_hand(&account, by_hand);
    assert_eq!(run(&stage, &["sync", "user", &ana, "--wait"]).status.code(), Some(0));
    let found = tell(&stage, &["drift", "list", "ana@example.com"]);
    let of = |attribute: &str| {
        let drift = found["drift"].as_array().unwrap();
        drift.iter().find(|one| one["attribute"] == attribute).unwrap_or_else(|| panic!("{found:#}")).clone()
    };
    let name = of("displayName");
    assert_eq!((&name["shown"], &name["baseline"]), (&json!("By hand"), &json!("Ana Martin")));
    let roles = of("roles")["roles"].as_array().unwrap().clone();
    let group: BTreeMap<&str, &Value> =
        roles.iter().map(|role| (text(&role["role"]), &role["group"])).collect();
    assert_eq!(group, [("Custom", &Value::Null), ("Supervisor", &json!(stage.roles[1].0))].into());

    tell(&stage, &["drift", "accept", &ana, "displayName"]);
    let (exit, answer) = ask(&stage, &["drift", "accept", &ana, "displayName"]);
    assert_eq!((exit, n(&answer, "refused")), (3, 1), "{answer:#}");
    let reverted = tell(&stage, &["drift", "revert", &ana, "roles"]);
    assert_eq!(reverted["result"]["users"][0]["state"], "applied", "{reverted:#}");
    let left = ["Agent", "Custom"].map(str::to_owned).into();
    assert_eq!(stage.held_roles(&ana), left, "what is not in the table is never touched");
    assert_eq!(stage.account(&ana).unwrap()["displayName"], "By hand");
    let (exit, answer) = ask(&stage, &["drift", "revert", &ana, "roles"]);
    assert_eq!(exit, 3);
    assert!(text(&answer["refused"][0]["why"]).contains("not in the table"), "{answer:#}");
    let left = tell(&stage, &["drift", "list", "--attribute", "displayName"]);
    assert_eq!(n(&left, "drift"), 0, "{left:#}");
    // What was accepted is written over when Entra changes.
    stage.graph().update_user(&ana, json!({ "displayName": "Ana S." }));
    assert!(until(|| stage.account(&ana).unwrap()["displayName"] == "Ana S.").await);
    assert_eq!(process.terminate(), Some(0));
}

fn file(stage: &Stage, name: &str) -> (PathBuf, String) {
    let path = stage.folder.path().join(name);
    let text = path.to_str().unwrap().to_owned();
    (path, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_applied_where_nothing_moved_and_nothing_else_is_written() {
    let mut stage = Stage::new();
    let process = serve(&stage).await;
    let users: Vec<String> = (0..5).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    stage.converge(&users).await;
    assert_eq!(process.terminate(), Some(0));

    configure(&mut stage, "sync", "mode = \"observe\"");
    let process = serve(&stage).await;
    let rename = |n: usize, name: &str| stage.graph().update_user(&users[n], json!({ "surname": name }));
    (0..4).for_each(|n| rename(n, "Silva"));
    let (_, plan) = file(&stage, "plan.json");
    let group = stage.roles[0].0.clone();
    let planned = tell(&stage, &["plan", "--group", &group, "--out", &plan]);
    assert_eq!(n(&planned, "plans"), 5, "{planned:#}");
    let of_the_first =
        planned["plans"].as_array().unwrap().iter().find(|plan| plan["user"] == json!(users[0]));
    assert_eq!(of_the_first.unwrap()["requests"][0]["method"], "PATCH", "{planned:#}");
    rename(1, "Costa");
    stage.sent();
    let (exit, applied) = ask(&stage, &["apply", &plan, "--yes", "--by", "ana"]);
    assert_eq!((exit, &applied["ordered"]), (3, &json!(3)), "{applied:#}");
    assert_eq!(applied["skipped"][0]["user"], json!(users[1]), "{applied:#}");
    assert_eq!(applied["skipped"][0]["moved"], json!(["entra"]), "{applied:#}");
    let family = |user: &String| stage.account(user).unwrap()["name"]["familyName"].clone();
    let names: Vec<Value> = users.iter().map(family).collect();
    assert_eq!(names, ["Silva", "Martin", "Silva", "Silva", "Martin"]);
    let batch = text(&applied["batch"]).to_owned();
    let writes = tell(&stage, &["history", "--batch", &batch]);
    assert_eq!(n(&writes, "writes"), 3, "{writes:#}");

    // Nothing but that was written, and what it would do is kept.
    at_rest(&stage).await;
    assert_eq!(stage.sent().len(), 3);
    let mut observed = Value::Null;
    let kept = until(|| {
        observed = tell(&stage, &["plan", "--observed"]);
        n(&observed, "plans") == 1
    });
    assert!(kept.await, "{observed:#}");
    assert_eq!(observed["plans"][0]["changes"][0]["after"], "Costa", "{observed:#}");
    // It can be applied as it is.
    let (_, kept) = file(&stage, "observed.json");
    tell(&stage, &["plan", "--observed", "--out", &kept]);
    tell(&stage, &["apply", &kept, "--yes"]);
    assert_eq!(family(&users[1]), "Costa");

    let (path, other) = file(&stage, "other.json");
    std::fs::write(path, "{\"users\": []}").unwrap();
    assert_eq!(ask(&stage, &["apply", &other, "--yes"]).0, 2);
    assert_eq!(process.terminate(), Some(0));
}

/// Something happens to somebody, on either side.
fn something(chance: &mut fastrand::Rng, stage: &Stage, user: &str) {
    let name = ["Silva", "Costa", "Rossi"][chance.usize(0..3)];
    if stage.graph().user(user).is_none() {
        return;
    }
    let is_agent = stage.graph().members(&stage.roles[0].0).contains(user);
    match chance.u32(0..8) {
        0 => stage.graph().update_user(user, json!({ "surname": name, "displayName": name })),
        1 => stage.graph().disable(user),
        2 => stage.graph().soft_delete(user),
        3 if is_agent => stage.graph().remove_member(&stage.roles[0].0, user),
        4 => stage.graph().add_member(&stage.roles[1].0, user),
        5 => stage.cxone().edit_by_hand(&id(stage, user), json!({ "displayName": name, "active": false })),
        6 => stage.cxone().edit_by_hand(&id(stage, user), json!({ "roles": [{ "value": "Custom" }] })),
        _ => {}
    }
}

/// Whatever has happened on both sides: what a plan says is what is sent, of whoever has not moved since.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_what_was_planned_to_the_letter() {
    for seed in 0..6 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut stage = Stage::new();
        let process = serve(&stage).await;
        let mut users: Vec<String> = (0..14).map(|n| stage.hire(&format!("Agent{n}"))).collect();
        stage.converge(&users).await;
        at_rest(&stage).await;
        assert_eq!(process.terminate(), Some(0));

        configure(&mut stage, "sync", "mode = \"observe\"");
        let process = serve(&stage).await;
        for user in &users {
            something(&mut chance, &stage, user);
            something(&mut chance, &stage, user);
        }
        users.extend((0..2).map(|n| stage.hire(&format!("Joiner{n}"))));
        stage.graph().deliveries_settled().await;
        at_rest(&stage).await;
        let (path, plan) = file(&stage, "plan.json");
        tell(&stage, &["plan", "--all", "--out", &plan]);
        let planned: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let moved: BTreeSet<&str> =
            users.iter().filter(|_| chance.u32(0..4) == 0).map(String::as_str).collect();
        let still_there = |user: &&&str| stage.graph().user(user).is_some();
        moved.iter().filter(still_there).for_each(|user| {
            stage.graph().update_user(user, json!({ "givenName": "Moved", "surname": "Since" }));
        });
        stage.graph().deliveries_settled().await;
        at_rest(&stage).await;

        stage.sent();
        let (known, before) = (stage.cxone().requests().len(), state(&stage));
        ask(&stage, &["apply", &plan, "--yes"]);
        at_rest(&stage).await;
        let requests = stage.cxone().requests().split_off(known);
        let paths = requests.into_iter().filter(|it| it.method != "GET" && it.path.contains("/scim/"));
        let sent: Vec<Value> = paths
            .zip(stage.sent())
            .map(|(request, (method, body))| json!({ "method": method, "path": request.path, "body": body }))
            .collect();
        let wants = |plan: &&Value| plan["requests"] != json!([]);
        // Who is gone cannot get another name.
        let is_unmoved = |plan: &&Value| {
            let user = text(&plan["user"]);
            !moved.contains(user) || stage.graph().user(user).is_none()
        };
        let plans = planned["plans"].as_array().unwrap();
        let expected: Vec<&Value> =
            plans.iter().filter(wants).filter(is_unmoved).map(|plan| &plan["requests"][0]).collect();
        for request in &expected {
            assert!(sent.contains(request), "seed {seed}: {request:#} was planned and not sent: {sent:#?}");
        }
        // An account that was made shows its first role only afterwards.
        let made: Vec<String> = state(&stage).into_keys().filter(|id| !before.contains_key(id)).collect();
        let of_made = |request: &&Value| made.iter().any(|id| text(&request["path"]).ends_with(id.as_str()));
        let others: Vec<&Value> =
            sent.iter().filter(|it| !expected.contains(it)).filter(|it| !of_made(it)).collect();
        assert_eq!(others, Vec::<&Value>::new(), "seed {seed}: sent and not planned");
        assert!(expected.len() > 4, "seed {seed}: too little happens: {}", expected.len());
        assert_eq!(process.terminate(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_stays_held_while_something_else_stops_the_job() {
    let mut stage = Stage::new();
    tighten(&mut stage, "role_removals", 0);
    configure(&mut stage, "attributes.displayName", "owner = \"hold\"");
    let process = serve(&stage).await;
    let ana = hired(&stage, "Ana").await;
    stage.graph().remove_member(&stage.roles[0].0, &ana);
    let shown = held(&stage, 1).await;
    stage.cxone().edit_by_hand(&id(&stage, &ana), json!({ "displayName": "By hand" }));
    stage.graph().update_user(&ana, json!({ "displayName": "Ana S." }));
    let stopped = || tell(&stage, &["queue", "show", &ana])["job"]["stopped"] == json!("conflict_held");
    assert!(until(stopped).await, "{:#}", tell(&stage, &["queue", "show", &ana]));
    assert_eq!(held(&stage, 1).await["set"], shown["set"], "or room that frees would be an approval");
    tell(&stage, &["drift", "accept", &ana, "displayName"]);
    let set = text(&held(&stage, 1).await["set"]).to_owned();
    tell(&stage, &["held", "approve", "--set", &set, "--yes"]);
    assert!(until(|| stage.held_roles(&ana).is_empty()).await);
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_to_stay_after_all_is_no_held_leaver_although_something_else_stops_the_job() {
    let mut stage = Stage::new();
    tighten(&mut stage, "deactivations", 0);
    configure(&mut stage, "attributes.displayName", "owner = \"hold\"");
    let process = serve(&stage).await;
    let ana = hired(&stage, "Ana").await;
    stage.graph().disable(&ana);
    held(&stage, 1).await;
    stage.cxone().edit_by_hand(&id(&stage, &ana), json!({ "displayName": "By hand" }));
    stage.graph().update_user(&ana, json!({ "displayName": "Ana S.", "accountEnabled": true }));
    held(&stage, 0).await;
    let stopped = || tell(&stage, &["queue", "show", &ana])["job"]["stopped"] == json!("conflict_held");
    assert!(until(stopped).await);
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_entries_of_a_file_that_mean_one_account_do_not_wait_for_each_other() {
    let mut stage = Stage::new();
    configure(&mut stage, "sync", "mode = \"observe\"");
    configure(&mut stage, "cxone", "match = [\"email\"]");
    let desk = json!({
        "userName": "desk@example.com", "name": { "givenName": "De", "familyName": "Sk" }, "active": true,
        "emails": [{ "value": "desk@example.com", "type": "work", "primary": true }],
    });
    stage.cxone().add_user(desk);
    let process = serve(&stage).await;
    for name in ["Ana", "Ben"] {
        let user = stage.hire(name);
        stage.graph().update_user(&user, json!({ "mail": "desk@example.com" }));
    }
    at_rest(&stage).await;
    let (path, plan) = file(&stage, "plan.json");
    let planned = tell(&stage, &["plan", "--all", "--out", &plan]);
    assert_eq!(n(&planned, "plans"), 2, "{planned:#}");
    let (_, answer) = ask(&stage, &["apply", &plan, "--yes"]);
    assert_eq!((&answer["ordered"], n(&answer, "skipped")), (&json!(2), 0), "{answer:#}");
    let states: BTreeSet<&str> =
        answer["result"]["users"].as_array().unwrap().iter().map(|user| text(&user["state"])).collect();
    assert!(states.contains("applied"), "{answer:#}");
    assert_eq!(stage.sent().len(), 1, "the second is not written over the first");

    let mut twice: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let one = twice["plans"][0].clone();
    twice["plans"] = json!([one, one]);
    std::fs::write(&path, twice.to_string()).unwrap();
    let output = run(&stage, &["apply", &plan, "--yes"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(output.status.code(), Some(0));
    assert!(said.contains("is there twice"), "{said}");
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_a_revert_writes_what_was_named_and_nothing_else() {
    let mut stage = Stage::new();
    let process = serve(&stage).await;
    let ana = hired(&stage, "Ana").await;
    assert_eq!(process.terminate(), Some(0));
    configure(&mut stage, "sync", "mode = \"observe\"");
    let process = serve(&stage).await;
    let by_hand = json!({ "displayName": "By hand", "name": { "givenName": "By", "familyName": "Hand" } });
    stage.cxone().edit_by_hand(&id(&stage, &ana), by_hand);
    assert_eq!(run(&stage, &["sync", "user", &ana, "--wait"]).status.code(), Some(0));
    stage.sent();
    let reverted = tell(&stage, &["drift", "revert", &ana, "displayName"]);
    assert_eq!(reverted["result"]["users"][0]["state"], "applied", "{reverted:#}");
    at_rest(&stage).await;
    let sent = stage.sent();
    assert_eq!(sent.len(), 1, "{sent:#?}");
    let account = stage.account(&ana).unwrap();
    assert_eq!(
        (&account["displayName"], &account["name"]["familyName"]),
        (&json!("Ana Martin"), &json!("Hand"))
    );
    assert_eq!(n(&tell(&stage, &["plan", "--observed"]), "plans"), 1, "the rest is still observed");

    // Who left meanwhile is not turned off because of it.
    stage.graph().disable(&ana);
    at_rest(&stage).await;
    let (exit, answer) = ask(&stage, &["drift", "revert", &ana, "familyName"]);
    assert_eq!(answer["result"]["users"][0]["state"], "skipped", "{exit}: {answer:#}");
    assert_eq!((stage.sent(), inactive(&stage)), (vec![], 0));
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_turns_on_nobody_who_has_left_for_another_reason_since() {
    let stage = Stage::new();
    let process = serve(&stage).await;
    let users: Vec<String> = ["Ana", "Ben", "Cid"].map(|name| stage.hire(name)).into();
    stage.converge(&users).await;
    at_rest(&stage).await;
    let since = Clock::system().now().to_string();
    users[..2].iter().for_each(|user| stage.graph().disable(user));
    assert!(until(|| inactive(&stage) == 2).await);
    at_rest(&stage).await;
    stage.graph().soft_delete(&users[0]);
    at_rest(&stage).await;

    let (exit, undone) = ask(&stage, &["undo", "--since", &since, "--yes"]);
    assert_eq!((exit, &undone["ordered"]), (3, &json!(2)), "{undone:#}");
    assert_eq!(inactive(&stage), 1);
    assert_eq!(stage.account(&users[0]).unwrap()["active"], false, "who is deleted stays off");
    let skipped = undone["result"]["skipped"].to_string();
    assert!(skipped.contains("active left_since"), "{undone:#}");

    // What the rules have to say is asked again once the undo is done.
    let since = Clock::system().now().to_string();
    stage.graph().update_user(&users[2], json!({ "surname": "Silva" }));
    let name = || stage.account(&users[2]).unwrap()["name"].clone();
    assert!(until(|| name()["familyName"] == "Silva").await);
    assert_eq!(process.terminate(), Some(0));
    stage.graph().update_user(&users[2], json!({ "givenName": "Cide" }));
    run(&stage, &["undo", "--since", &since, "--yes"]);
    let process = serve(&stage).await;
    let both = json!({ "givenName": "Cide", "familyName": "Martin" });
    assert!(until(|| name()["givenName"] == both["givenName"]).await, "{:#?}", name());
    assert_eq!(name()["familyName"], both["familyName"]);
    assert_eq!(process.terminate(), Some(0));
}

/// CXone's users as they are, but for when they were changed.
fn state(stage: &Stage) -> BTreeMap<String, Value> {
    let without_meta = |mut user: Value| {
        user.as_object_mut().unwrap().remove("meta");
        (text(&user["id"]).to_owned(), user)
    };
    stage.cxone().users().into_iter().map(without_meta).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_of_deactivations_is_taken_back_and_not_done_again() {
    let stage = Stage::new();
    let process = serve(&stage).await;
    let users: Vec<String> = (0..500).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    stage.converge(&users).await;
    at_rest(&stage).await;
    let (before, since) = (state(&stage), Clock::system().now().to_string());
    users.iter().for_each(|user| stage.graph().disable(user));
    assert!(until(|| inactive(&stage) == 500).await);
    at_rest(&stage).await;

    let dry = tell(&stage, &["undo", "--since", &since, "--dry-run"]);
    assert_eq!((n(&dry, "plans"), &dry["batch"]), (500, &Value::Null));
    assert_eq!(ask(&stage, &["undo", "--since", &since]).0, 2, "nobody agreed");
    assert_eq!(inactive(&stage), 500);
    let undone = tell(&stage, &["undo", "--since", &since, "--yes", "--by", "ana"]);
    assert_eq!(undone["ordered"], 500);
    assert_eq!(state(&stage), before);

    // The next looks agree, and doing it once more does nothing.
    stage.sent();
    tell(&stage, &["sync", "all"]);
    for user in &users[..3] {
        assert_eq!(run(&stage, &["sync", "user", user, "--wait"]).status.code(), Some(0));
    }
    at_rest(&stage).await;
    assert_eq!((stage.sent(), state(&stage) == before), (vec![], true));
    let again = tell(&stage, &["undo", "--since", &since, "--yes"]);
    assert!(again["plans"].as_array().unwrap().iter().all(|plan| plan["changes"] == json!([])), "{again:#}");
    assert_eq!((stage.sent(), n(&tell(&stage, &["held", "list"]), "restraints")), (vec![], 500));
    let verified = tell(&stage, &["history", "verify"]);
    assert!(verified["entries"].as_u64().unwrap() > 3000, "{verified:#}");

    // Entra says something else: the account follows again.
    stage.graph().enable(&users[0]);
    at_rest(&stage).await;
    assert!(until(|| n(&tell(&stage, &["held", "list"]), "restraints") == 499).await);
    stage.graph().disable(&users[0]);
    assert!(until(|| inactive(&stage) == 1).await);
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_of_an_undo_is_done_once_it_is_approved() {
    let mut stage = Stage::new();
    tighten(&mut stage, "role_removals", 0);
    let process = serve(&stage).await;
    let ana = hired(&stage, "Ana").await;
    let (before, since) = (state(&stage), Clock::system().now().to_string());
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    stage.graph().add_member(&stage.roles[1].0, &ana);
    stage.arrives(&ana).await;
    assert_eq!(stage.held_roles(&ana).len(), 2);
    at_rest(&stage).await;

    let (exit, undone) = ask(&stage, &["undo", "--user", "ana@example.com", "--since", &since, "--yes"]);
    assert_eq!((exit, &undone["result"]["held"]), (4, &json!(1)), "{undone:#}");
    assert_eq!(stage.account(&ana).unwrap()["name"]["familyName"], "Martin", "what may be done is");
    assert_eq!(stage.held_roles(&ana).len(), 2);
    let set = text(&held(&stage, 1).await["set"]).to_owned();
    tell(&stage, &["held", "approve", "--set", &set, "--yes"]);
    assert!(until(|| stage.held_roles(&ana).len() == 1).await);
    at_rest(&stage).await;
    assert_eq!(run(&stage, &["sync", "user", &ana, "--wait"]).status.code(), Some(0));
    assert_eq!(state(&stage), before, "and none of it is done again");
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ordered_while_no_service_runs_is_done_by_the_next() {
    let stage = Stage::new();
    let process = serve(&stage).await;
    let ana = hired(&stage, "Ana").await;
    let (before, since) = (state(&stage), Clock::system().now().to_string());
    stage.graph().disable(&ana);
    assert!(until(|| inactive(&stage) == 1).await);
    at_rest(&stage).await;
    assert_eq!(process.terminate(), Some(0));

    assert_eq!(ask(&stage, &["undo", "--since", &since, "--yes", "--wait"]).0, 2, "nobody would do it");
    let output = run(&stage, &["undo", "--since", &since, "--yes", "--by", "ana"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("done when the service starts"));
    let remark = tell(&stage, &["history", "--remarks"])["remarks"][0].clone();
    assert_eq!((&remark["code"], &remark["by"]), (&json!("undo"), &json!("ana (offline)")));
    assert_eq!(inactive(&stage), 1);
    let process = serve(&stage).await;
    assert!(until(|| inactive(&stage) == 0).await);
    at_rest(&stage).await;
    assert_eq!(state(&stage), before);
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_answers_for_an_earlier_time() {
    let stage = Stage::new();
    let process = serve(&stage).await;
    let ana = hired(&stage, "Ana").await;
    let then = Clock::system().now().to_string();
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    stage.arrives(&ana).await;
    at_rest(&stage).await;
    let family = |answer: &Value| {
        let values = answer["values"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
        values.iter().find(|one| one["attribute"] == "familyName").map(|one| one["value"].clone())
    };
    let earlier = tell(&stage, &["explain", &ana, "--at", &then]);
    assert_eq!((family(&earlier), n(&earlier, "history")), (Some(json!("Martin")), 1), "{earlier:#}");
    assert_eq!(earlier["seen"]["properties"]["surname"], "Martin", "{earlier:#}");
    assert_eq!(earlier["decision"]["reason"], "in_sync", "{earlier:#}");
    let now = tell(&stage, &["explain", &ana, "--at", "0s"]);
    assert_eq!((family(&now), n(&now, "history")), (Some(json!("Silva")), 2), "{now:#}");

    // Whom the directory does not know any more is still found by the name in CXone.
    stage.graph().soft_delete(&ana);
    assert!(until(|| inactive(&stage) == 1).await);
    at_rest(&stage).await;
    let left = tell(&stage, &["explain", "ana@example.com"]);
    assert_eq!(left["user"], json!(ana));
    assert_eq!(left["plan"]["reason"], "already_inactive", "{left:#}");
    let text = String::from_utf8(run(&stage, &["explain", "ana@example.com"]).stdout).unwrap();
    for section in ["News", "Groups", "Roles", "Decision", "Latest writes"] {
        assert!(text.contains(&format!("{section}\n")), "{text}");
    }
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_somebody_changed_is_found_out() {
    let stage = Stage::new();
    let process = serve(&stage).await;
    hired(&stage, "Ana").await;
    assert_eq!(process.terminate(), Some(0));
    let whole = tell(&stage, &["history", "verify"]);
    let head = format!("{}:{}", whole["last"], text(&whole["head"]));
    tell(&stage, &["history", "verify", "--expect", &head]);
    {
        let store = redb::Database::open(stage.folder.path().join("demo.redb")).unwrap();
        let writing = store.begin_write().unwrap();
        {
            let mut log = writing.open_table(redb::TableDefinition::<u64, &[u8]>::new("log")).unwrap();
            let changed = log.get(1).unwrap().unwrap().value().to_ascii_uppercase();
            log.insert(1, changed.as_slice()).unwrap();
        }
        writing.commit().unwrap();
    }
    let output = run(&stage, &["history", "verify"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("at entry 1:"), "{said}");
}
