//! CXone answers what was not asked, keeps what it likes, or is changed by others.

use std::sync::Arc;

use cxone_sync::domain::queue::State;
use cxone_sync::sim::{CxoneOptions, Fault, Faults, GraphSim, What, When};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::stage::until_async;

use super::scene::{HOUR, MINUTE, Scene, Script, Tally};

/// An account that somebody made before there was any synchronisation.
fn account(name: &str) -> Value {
    let address = format!("{}@example.com", name.to_lowercase());
    json!({
        "userName": address, "name": { "givenName": name, "familyName": "Martin" },
        "displayName": format!("{name} Martin"), "active": true,
        "emails": [{ "type": "work", "value": address, "primary": true }], "roles": [{ "value": "Agent" }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_ignored_leads_to_nobody() {
    let cxone = CxoneOptions { ignore_filter: true, ..CxoneOptions::default() };
    let mut scene = Scene::before(16, cxone);
    // Half of them leave before they were ever linked; CXone shows everybody to whoever asks for one.
    for n in 0..16 {
        scene.cxone().add_user(account(&format!("Agent{n}")));
    }
    scene.people[..8].iter().for_each(|user| scene.graph().disable(user));
    scene.serve(&[]).await;
    scene.pass(2 * HOUR).await;
    assert_eq!(scene.cxone().writes(), vec![], "there was no way to know who is who");
    let waiting = scene.jobs(None).await;
    assert!(waiting.iter().all(|job| job.last_error.as_ref().unwrap().contains("filter")), "{waiting:#?}");
    println!("an ignored filter: 0 writes; {} jobs wait or are parked", waiting.len());
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_read_under_another_id_is_not_written() {
    let mut scene = Scene::new(16, &[]).await;
    // Where an empty list says that nobody is there, a joiner is created, and leavers are read by id.
    for (what, turned_off, created) in [
        (What::OtherId, 0, 1),
        (What::EmptyList, 3, 1),
        (What::Html(200), 0, 0),
        (What::Truncate, 0, 0),
        (What::Status(500, None), 0, 0),
    ] {
        scene.begin();
        let rule = Fault::new("GET", "/scim/v2/*", When::Always, what.clone());
        scene.cxone().set_faults(Faults { rules: vec![rule], ..Faults::none() });
        scene.people[..8].iter().for_each(|user| scene.graph().disable(user));
        scene.each(|graph, user| graph.update_user(user, json!({ "department": "Care" })));
        let cid = scene.hire(&format!("Cid{}", scene.cxone().faults_struck()));
        scene.pass(20 * MINUTE).await;
        let writes = scene.cxone().writes();
        assert_eq!(scene.turned_off().len(), turned_off, "{what:?}");
        assert_eq!(writes.len(), turned_off + created, "{what:?}: {writes:#?}");
        scene.cxone().set_faults(Faults::none());
        scene.people[..8].iter().for_each(|user| scene.graph().enable(user));
        scene.pass(2 * HOUR).await;
        scene.compare().await;
        scene.people.push(cid);
        scene.assert_agreed(&scene.everybody());
        assert_eq!(scene.turned_off().len(), turned_off, "{what:?}");
        scene.assert_within(3, 0, 0);
        println!("CXone answers with {what:?}: {turned_off} off, {created} created");
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_set_inactive_by_hand_and_are_active_again() {
    Script {
        name: "all are set inactive in CXone by hand",
        happens: |scene| {
            for user in scene.cxone().users() {
                scene.cxone().edit_by_hand(user["id"].as_str().unwrap(), json!({ "active": false }));
            }
            // What happens in CXone no notification tells; what happens in Entra does.
            scene.people.iter().for_each(|user| scene.rename(user, "Rossi"));
        },
        and: |scene| assert!(scene.cxone().users().iter().all(|user| user["active"] == true)),
        repaired: Some(|_| {}),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

/// Twenty leavers, each turned on again by hand a minute after each write.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_on_by_hand_again_and_again_is_parked_and_not_fought() {
    let mut scene = Scene::new(8, &[("guard.deactivations.per_hour", "1000")]).await;
    scene.each(GraphSim::disable);
    for _ in 0..6 {
        scene.pass(MINUTE).await;
        for user in &scene.people {
            let id = scene.stage.account(user).unwrap()["id"].as_str().unwrap().to_owned();
            scene.cxone().edit_by_hand(&id, json!({ "active": true }));
        }
        scene.compare().await;
    }
    let parked = scene.jobs(Some(State::Parked)).await;
    assert_eq!(parked.len(), 8);
    assert!(parked.iter().all(|job| job.stopped.as_deref() == Some("written_too_often")), "{parked:#?}");
    assert_eq!(scene.turned_off().len(), 3 * 8, "three times a day and no more");
    println!("turned on by hand six times: 3 writes each, 8 parked");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_are_stripped_by_hand_come_back_and_privileged_ones_within_the_budget() {
    Script {
        name: "all roles are stripped in CXone by hand",
        // What was lost by hand.
        within: (3, 2, 2),
        given_that: |scene| {
            scene.people[..2].iter().for_each(|user| scene.graph().add_member(&scene.admins, user))
        },
        happens: |scene| {
            for user in scene.cxone().users() {
                scene.cxone().edit_by_hand(user["id"].as_str().unwrap(), json!({ "roles": null }));
            }
            scene.people.iter().for_each(|user| scene.rename(user, "Rossi"));
        },
        // Two were given when they joined, so to give them once more is over.
        leaves: Tally { taken: 2, held: 2, ..Tally::default() },
        and: |scene| {
            let is_agent = |user: &String| scene.stage.held_roles(user).contains("Agent");
            assert!(scene.everybody().iter().all(is_agent));
        },
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_are_charged_as_if_it_were_done() {
    let mut scene = Scene::new(16, &[]).await;
    let lost = |what| Fault::new("PATCH", "/scim/v2/*", When::Always, what);
    scene.cxone().set_faults(Faults { rules: vec![lost(What::DropAfterWork)], ..Faults::none() });
    scene.each(GraphSim::disable);
    scene.pass(2 * HOUR).await;
    scene.cxone().set_faults(Faults::none());
    scene.pass(2 * HOUR).await;
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.held), (3, 13), "{tally:?}");
    scene.assert_within(3, 0, 0);
    println!("every answer to a deactivation is lost: {tally:?}");
    scene.stop().await;
}

/// Refused for a while, or failing: what is tried again is still one account. The three are turned off in the
/// end, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_deactivation_that_is_tried_again_is_neither_charged_twice_nor_given_up() {
    for status in [403, 500] {
        // With bad luck the dice of the backoff use twelve attempts up within twenty minutes.
        let mut scene = Scene::new(16, &[("sync.max_attempts", "1000")]).await;
        // What is refused is given back: nobody is answered before all have asked the guard.
        let gate = Arc::new(Semaphore::new(0));
        let refused = What::Until(gate.clone(), Box::new(What::Status(status, None)));
        let rule = Fault::new("PATCH", "/scim/v2/*", When::Always, refused);
        scene.cxone().set_faults(Faults { rules: vec![rule], ..Faults::none() });
        scene.each(GraphSim::disable);
        let have_asked = async || scene.running().store.held().await.unwrap().len() == 13;
        assert!(until_async(have_asked).await, "{status}");
        gate.close();
        scene.pass(20 * MINUTE).await;
        assert_eq!(scene.tally().await, Tally { held: 13, ..Tally::default() }, "{status}");
        scene.cxone().set_faults(Faults::none());
        scene.pass(2 * HOUR).await;
        let tally = scene.tally().await;
        assert_eq!(tally, Tally { off: 3, held: 13, ..Tally::default() }, "{status}");
        println!("every deactivation is answered with {status} for twenty minutes: {tally:?}");
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_keeps_in_its_own_way_is_written_twice_at_most() {
    let cxone =
        CxoneOptions { lower_case_user_name: true, plain_phone_numbers: true, ..CxoneOptions::default() };
    let mut scene = Scene::before(10, cxone);
    let keys =
        [("attributes.phoneNumbers.owner", "entra"), ("attributes.phoneNumbers.from", "[mobilePhone]")];
    scene.each(|graph, user| {
        let name = format!("{}@Example.COM", graph.user(user).unwrap()["givenName"].as_str().unwrap());
        graph.update_user(user, json!({ "mobilePhone": "+351 (900) 1-2", "userPrincipalName": name }));
    });
    scene.serve(&keys).await;
    scene.pass(HOUR).await;
    scene.begin();
    scene.each(|graph, user| graph.update_user(user, json!({ "mobilePhone": "+351 (900) 3-4" })));
    scene.pass(2 * HOUR).await;
    let mut writes = std::collections::BTreeMap::<String, usize>::new();
    for write in scene.cxone().writes() {
        *writes.entry(write.id.unwrap()).or_default() += 1;
    }
    assert!(writes.len() == 10 && writes.values().all(|n| *n <= 2), "{writes:?}");
    println!("numbers kept in another way: {:?} writes", writes.values().collect::<Vec<_>>());
    assert_eq!(scene.jobs(None).await, vec![]);
    // Names in another case are no difference at all.
    scene.cxone().clear_writes();
    scene.compare().await;
    scene.pass(26 * HOUR).await;
    assert_eq!(scene.cxone().writes(), vec![], "and then it is quiet");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_target_ignores_is_parked_with_the_attribute() {
    let ignore_attributes = ["displayName".to_owned()].into();
    let mut scene = Scene::before(10, CxoneOptions { ignore_attributes, ..CxoneOptions::default() });
    scene.serve(&[]).await;
    scene.pass(HOUR).await;
    scene.begin();
    scene.each(|graph, user| graph.update_user(user, json!({ "displayName": "Somebody Else" })));
    scene.pass(2 * HOUR).await;
    let parked = scene.jobs(Some(State::Parked)).await;
    let named = parked.iter().filter(|job| job.last_error.as_ref().unwrap().contains("displayName")).count();
    assert_eq!(named, 11, "{parked:#?}");
    assert!(scene.cxone().writes().len() <= 3 * 10, "{}", scene.cxone().writes().len());
    println!("an ignored change of ten: {} writes, {} parked", scene.cxone().writes().len(), parked.len());
    scene.stop().await;
}
