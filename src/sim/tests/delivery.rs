use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Manner, Receiver, graph};
use crate::sim::{DeliveryFaults, DeliveryOptions, Faults, GraphOptions};

fn options() -> GraphOptions {
    GraphOptions { delivery: DeliveryOptions::fast(), ..GraphOptions::default() }
}

#[tokio::test]
async fn every_change_is_told_in_graphs_own_shape() {
    let (sim, graph) = graph(options()).await;
    let receiver = Receiver::start(Manner::Well);
    for resource in ["users", "groups"] {
        assert_eq!(graph.post("/subscriptions", receiver.subscription(resource)).await.status, 201);
    }
    let user = sim.add_user(json!({"userPrincipalName": "ana@example.com"}));
    let group = sim.add_group(json!({"displayName": "Agents"}));
    sim.add_member(&group, &user);
    sim.update_user(&user, json!({"accountEnabled": true}));
    sim.soft_delete(&user);
    sim.hard_delete(&user);
    sim.deliveries_settled().await;
    let told: Vec<String> = receiver
        .items()
        .iter()
        .map(|item| {
            format!("{} {}", item["changeType"].as_str().unwrap(), item["resource"].as_str().unwrap())
        })
        .collect();
    let (of_user, of_group) = (format!("updated Users/{user}"), format!("updated Groups/{group}"));
    let mut sorted = told.clone();
    sorted.sort();
    let mut expected = vec![
        of_user.clone(),
        of_user,
        format!("deleted Users/{user}"),
        of_group.clone(),
        of_group.clone(),
        of_group,
    ];
    expected.sort();
    assert_eq!(sorted, expected, "what was so already is no change");
    let first = &receiver.items()[0];
    assert_eq!(first["resourceData"]["@odata.type"], "#Microsoft.Graph.User");
    assert_eq!(first["clientState"], "a secret");
    assert_eq!(first["tenantId"], sim.options().tenant_id.as_str());
    let (sequence, time) = (&first["resourceData"]["sequenceNumber"], &first["resourceData"]["eventTime"]);
    assert!(sequence.as_i64().unwrap() > 1 << 53);
    assert_eq!(time.as_str().unwrap().len(), "2026-11-20T10:11:12.1234567Z".len());
    let joined =
        receiver.items().into_iter().find(|item| item["resourceData"].get("members@delta").is_some());
    assert_eq!(joined.unwrap()["resourceData"]["members@delta"], json!([{"id": user}]));
}

#[tokio::test]
async fn what_is_refused_comes_again_and_holds_nothing_up() {
    let (sim, graph) = graph(options()).await;
    let receiver = Receiver::start(Manner::RefuseFirst(2));
    graph.post("/subscriptions", receiver.subscription("users")).await;
    sim.add_user(json!({"userPrincipalName": "ana@example.com"}));
    sim.deliveries_settled().await;
    assert_eq!(receiver.items().len(), 1);
    let stats = sim.delivery_stats();
    assert_eq!((stats.posts, stats.failed_posts, stats.retried_posts, stats.delivered), (3, 2, 2, 1));
    assert_eq!(stats.statuses.get(&503), Some(&2));
    assert_eq!(stats.response_times.len(), 3);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_none() {
    let delivery = DeliveryOptions { first_timeout: Duration::from_millis(50), ..DeliveryOptions::fast() };
    let (sim, graph) = graph(GraphOptions { delivery, ..options() }).await;
    let receiver = Receiver::start(Manner::DawdleFirst(Duration::from_secs(30)));
    graph.post("/subscriptions", receiver.subscription("users")).await;
    sim.add_user(json!({"userPrincipalName": "ana@example.com"}));
    sim.deliveries_settled().await;
    let stats = sim.delivery_stats();
    assert_eq!((stats.posts, stats.delivered), (2, 1));
    assert_eq!(stats.statuses, [(0, 1), (202, 1)].into());
}

#[tokio::test]
async fn many_changes_share_bodies() {
    let delivery =
        DeliveryOptions { max_items: 10, delay: Duration::from_millis(30), ..DeliveryOptions::fast() };
    let (sim, graph) = graph(GraphOptions { delivery, ..options() }).await;
    let receiver = Receiver::start(Manner::Well);
    graph.post("/subscriptions", receiver.subscription("users")).await;
    for n in 0..25 {
        sim.add_user(json!({"userPrincipalName": format!("u{n}@example.com")}));
    }
    sim.deliveries_settled().await;
    let sizes: BTreeSet<usize> = receiver.bodies().iter().map(Vec::len).collect();
    assert_eq!((receiver.items().len(), sizes), (25, BTreeSet::from([5, 10])));
}

#[tokio::test]
async fn notifications_are_lost_and_doubled_on_demand() {
    let (sim, graph) = graph(options()).await;
    let receiver = Receiver::start(Manner::Well);
    graph.post("/subscriptions", receiver.subscription("users")).await;
    sim.lose_next(1);
    sim.add_user(json!({"userPrincipalName": "lost@example.com"}));
    sim.double_next(1);
    let doubled = sim.add_user(json!({"userPrincipalName": "doubled@example.com"}));
    sim.deliveries_settled().await;
    let ids: Vec<Value> = receiver.items().iter().map(|item| item["resourceData"]["id"].clone()).collect();
    assert_eq!(ids, [json!(doubled), json!(doubled)]);
    let delivery = DeliveryFaults { lose: 1.0, ..DeliveryFaults::default() };
    sim.set_faults(Faults { delivery, ..Faults::none() });
    sim.disable(&doubled);
    sim.deliveries_settled().await;
    assert_eq!((sim.delivery_stats().lost, sim.delivery_stats().doubled), (2, 1));
}

#[tokio::test]
async fn an_ended_subscription_is_told_nothing() {
    let (sim, graph) = graph(options()).await;
    let receiver = Receiver::start(Manner::Well);
    graph.post("/subscriptions", receiver.subscription("users")).await;
    let id = sim.subscriptions()[0].id.clone();
    sim.send_lifecycle(&id, "reauthorizationRequired");
    sim.deliveries_settled().await;
    assert_eq!(receiver.items()[0]["lifecycleEvent"], "reauthorizationRequired");
    assert!(receiver.items()[0].get("resource").is_none());
    sim.clock().advance(Duration::from_secs(86_400));
    sim.add_user(json!({"userPrincipalName": "ana@example.com"}));
    sim.deliveries_settled().await;
    assert_eq!((receiver.items().len(), sim.subscriptions().len()), (1, 0));
}
