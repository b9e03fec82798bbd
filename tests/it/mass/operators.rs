//! Configuration, protection and operators: what is changed on our own side, and what must never be.

use cxone_sync::sim::{GraphSim, What};
use cxone_sync::store::Replay;
use serde_json::json;

use super::scene::{Event, HOUR, MINUTE, Scene, Script, Tally};

#[tokio::test(flavor = "multi_thread")]
async fn on_delete_ignore_turns_off_nobody_who_is_deleted() {
    Script {
        name: "all are deleted, on_delete is ignore",
        keys: &[("sync.on_delete", "ignore")],
        happens: |scene| {
            scene.each(GraphSim::soft_delete);
            scene.people[..8].iter().for_each(|user| scene.graph().hard_delete(user));
        },
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_scope_turns_off_as_many_as_the_budget_lets() {
    let mut scene = Scene::new(16, &[]).await;
    let scope = scene.filled(r#"["{Office}"]"#);
    scene.restart(&[("scope.groups", &scope)]).await;
    scene.pass(4 * MINUTE).await;
    scene.assert_nobody_off("by one look");
    scene.pass(2 * HOUR).await;
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.taken, tally.held), (3, 0, 13), "{tally:?}");
    scene.assert_within(3, 0, 0);
    scene.restart(&[("scope.groups", "[]")]).await;
    scene.pass(10 * MINUTE).await;
    scene.assert_agreed(&scene.everybody());
    assert_eq!((scene.held().await, scene.turned_off().len()), (vec![], 3));
    println!("a narrowed scope: {tally:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_the_scope_that_is_true_of_nobody_is_bounded_too() {
    let mut scene = Scene::new(16, &[]).await;
    scene.restart(&[("scope.rules", r#"['[department] = "Care"']"#)]).await;
    scene.pass(2 * HOUR).await;
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.held), (3, 14), "{tally:?}");
    scene.restart(&[("scope.rules", "[]")]).await;
    scene.pass(10 * MINUTE).await;
    scene.assert_agreed(&scene.everybody());
    scene.assert_within(3, 0, 0);
    assert_eq!((scene.held().await, scene.turned_off().len()), (vec![], 3));
    println!("a rule true of nobody: {tally:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_renames_everybody_is_nobody_s_guard() {
    let mut scene = Scene::new(16, &[]).await;
    let mapping = r#"Join(", ", [surname], [givenName])"#;
    scene.restart(&[("attributes.displayName.from", mapping)]).await;
    scene.pass(10 * MINUTE).await;
    let renamed = |user: &serde_json::Value| user["displayName"].as_str().unwrap().starts_with("Martin, ");
    assert!(scene.cxone().users().iter().all(renamed));
    assert_eq!(scene.cxone().writes().len(), 17, "one each");
    assert_eq!(scene.tally().await, Tally::default());
    println!("another name for everybody: 17 writes");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_gives_nobody_a_name_takes_none() {
    let mut scene = Scene::new(16, &[]).await;
    let empty = "[extensionAttribute9]";
    let keys =
        ["givenName", "familyName", "userName", "emails"].map(|name| format!("attributes.{name}.from"));
    let keys: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), empty)).collect();
    scene.restart(&keys).await;
    scene.pass(HOUR).await;
    assert_eq!(scene.cxone().writes(), vec![]);
    println!("a mapping from what nobody has: 0 writes");
    scene.stop().await;
}

/// By id, by the name in CXone, by a role held there; and one who comes to hold that role later.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_protected_is_never_written_whatever_happens() {
    let mut scene = Scene::before(16, Default::default());
    let by_hand = |n: usize, changes: serde_json::Value| {
        let address = format!("agent{n}@example.com");
        let mut account = json!({
            "userName": address, "name": { "givenName": "By", "familyName": "Hand" }, "active": true,
            "emails": [{ "type": "work", "value": address }], "externalId": scene.people[n],
        });
        account.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        scene.cxone().add_user(account)
    };
    let mut protected = vec![
        by_hand(0, json!({})),
        by_hand(1, json!({})),
        by_hand(2, json!({ "roles": [{ "value": "Owner" }] })),
    ];
    let users = format!(r#"["{}", "Agent1@example.com"]"#, scene.people[0]);
    let keys = [("guard.protected_users", users.as_str()), ("guard.protected_roles", r#"["Owner"]"#)];
    scene.serve(&keys).await;
    // Made by us, and given the role by hand.
    let promoted = scene.stage.account(&scene.people[3]).unwrap()["id"].as_str().unwrap().to_owned();
    scene.cxone().edit_by_hand(&promoted, json!({ "roles": [{ "value": "Owner" }, { "value": "Agent" }] }));
    protected.push(promoted);
    scene.begin();

    happens(&mut scene).await;
    let written: Vec<_> = scene
        .cxone()
        .writes()
        .into_iter()
        .filter(|one| protected.contains(one.id.as_ref().unwrap()))
        .collect();
    assert_eq!(written, vec![]);
    scene.assert_within(3, 4, 2);
    println!(
        "four protected, everything happens: 0 writes to them, {} to others",
        scene.cxone().writes().len()
    );
    scene.stop().await;
}

/// Everything at once, over days.
async fn happens(scene: &mut Scene) {
    scene.each(GraphSim::disable);
    scene.pass(HOUR).await;
    scene.each(GraphSim::enable);
    scene.people.iter().for_each(|user| scene.rename(user, "Rossi"));
    scene.each(|graph, user| graph.add_member(&scene.admins, user));
    scene.pass(HOUR).await;
    scene.each(|graph, user| graph.remove_member(&scene.agents, user));
    scene.each(|graph, user| graph.add_member(&scene.supervisors, user));
    scene.pass(HOUR).await;
    for user in scene.cxone().users() {
        scene.cxone().edit_by_hand(user["id"].as_str().unwrap(), json!({ "displayName": "Nobody" }));
    }
    scene.compare().await;
    scene.hire("Dora");
    scene.each(GraphSim::soft_delete);
    scene.pass(HOUR).await;
    scene.restart(&[]).await;
    scene.each(GraphSim::restore);
    scene.pass(HOUR).await;
    replay(scene).await;
    let lie = What::SetProperty("accountEnabled", json!(false));
    let rule = cxone_sync::sim::Fault::new("GET", "/v1.0/users/*", cxone_sync::sim::When::Always, lie);
    scene.graph().add_fault(rule);
    scene.compare().await;
    scene.graph().set_faults(cxone_sync::sim::Faults::none());
    let office = scene.filled(r#"["{Office}"]"#);
    scene.restart(&[("scope.groups", &office)]).await;
    scene.pass(HOUR).await;
    scene.each(GraphSim::soft_delete);
    scene.each(GraphSim::hard_delete);
    scene.pass(26 * HOUR).await;
}

async fn replay(scene: &Scene) -> usize {
    let everything = Replay { all: true, ..Replay::default() };
    let n_users = scene.running().store.replay(everything, scene.clock.now()).await.unwrap();
    scene.calm().await;
    n_users
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_sends_cxone_nothing_but_reads_whatever_happens() {
    let mut scene = Scene::new(16, &[]).await;
    scene.restart(&[("sync.mode", "observe")]).await;
    let before = scene.cxone().requests().len();
    happens(&mut scene).await;
    let requests = scene.cxone().requests().split_off(before);
    let (reads, others): (Vec<_>, Vec<_>) =
        requests.iter().filter(|one| one.path.contains("/scim/")).partition(|one| one.method == "GET");
    assert_eq!(others, Vec::<&cxone_sync::sim::RequestRecord>::new());
    println!("observing, everything happens: {} reads, 0 others", reads.len());
    scene.stop().await;
}

/// Genuine by every sign, and not true: a notification only says when to look.
#[tokio::test(flavor = "multi_thread")]
async fn forged_notifications_change_nothing() {
    let mut scene = Scene::new(16, &[]).await;
    let before = scene.cxone().users();
    let reads = scene.graph().load().total_requests;
    for subscription in scene.graph().subscriptions() {
        let (kind, path) = match subscription.resource.contains("users") {
            true => ("#Microsoft.Graph.User", "Users"),
            false => ("#Microsoft.Graph.Group", "Groups"),
        };
        for user in scene.everybody().iter().chain([&scene.agents, &scene.admins]) {
            for change in ["deleted", "updated"] {
                let item = json!({
                    "changeType": change, "clientState": subscription.client_state, "resource": format!("{path}/{user}"),
                    "resourceData": {
                        "@odata.type": kind, "@odata.id": format!("{path}/{user}"), "id": user,
                        "accountEnabled": false, "members@delta": [{ "id": user, "@removed": "deleted" }],
                    },
                    "subscriptionId": subscription.id, "tenantId": scene.graph().options().tenant_id,
                });
                scene.graph().send_raw_item(&subscription.notification_url, item);
            }
        }
    }
    scene.pass(2 * HOUR).await;
    assert!(scene.graph().load().total_requests > reads + 16, "they were not believed to be genuine");
    assert_eq!(scene.cxone().writes(), vec![]);
    assert_eq!((scene.cxone().users(), scene.tally().await), (before, Tally::default()));
    println!("{} forged notifications: 0 writes", 2 * 2 * 19);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_everything_writes_nothing_and_lets_nothing_go() {
    let mut scene = Scene::new(16, &[]).await;
    scene.each(GraphSim::disable);
    scene.each(|graph, user| graph.add_member(&scene.admins, user));
    scene.pass(3 * HOUR).await;
    let (tally, writes) = (scene.tally().await, scene.cxone().writes().len());
    assert_eq!((tally.off, tally.held), (3, 13));
    assert!(replay(&scene).await >= 16);
    scene.pass(2 * HOUR).await;
    assert_eq!((scene.tally().await, scene.cxone().writes().len()), (tally, writes));
    // As `queue retry` does: it approves nothing, and asks the budget of this hour.
    let states = [cxone_sync::domain::queue::State::Held];
    let retried = scene.running().store.retry(None, &states, scene.clock.now()).await.unwrap();
    assert_eq!(retried, 13);
    scene.pass(2 * HOUR).await;
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.held), (6, 10));
    scene.assert_within(3, 0, 2);
    assert_eq!(scene.count(|event| *event == Event::On), 0);
    println!("a replay and a retry of everything: {tally:?}");
    scene.stop().await;
}
