//! No sequence of failures reaches a deactivation, whatever the dice say.

use std::time::Duration;

use cxone_sync::domain::queue::{Mark, Reason};
use cxone_sync::sim::{DeliveryFaults, DeltaExpiry, Fault, Faults, RetryAfter, What, When};
use serde_json::json;

use super::scene::{Event, MINUTE, Scene, turns_off};

const SEEDS: u64 = 12;
/// How often the failures change while a seed lasts.
const STEPS: usize = 6;

/// A failure that a read may meet. None of them is an absence: that two looks find a user nowhere, ten
/// minutes apart, is believed on purpose.
fn failure(chance: &mut fastrand::Rng) -> Fault {
    const PATHS: [&str; 9] = [
        "/v1.0/*",
        "/v1.0/users/*",
        "/v1.0/users/delta",
        "/v1.0/groups/delta",
        "/v1.0/groups/*/members",
        "/v1.0/$batch",
        "/v1.0/directory/*",
        "/scim/v2/*",
        "/scim/v2/Users/*",
    ];
    const STATUSES: [u16; 12] = [400, 401, 403, 408, 409, 410, 412, 425, 500, 502, 503, 504];
    let path = PATHS[chance.usize(..PATHS.len())];
    let wait = match chance.u8(..3) {
        0 => None,
        1 => Some(RetryAfter::Seconds(chance.u64(..90))),
        _ => Some(RetryAfter::Date(chance.u64(..90))),
    };
    let what = match chance.u8(..16) {
        0..4 => What::Status(STATUSES[chance.usize(..STATUSES.len())], None),
        4 => What::Status(429, wait),
        5 => What::Status(503, wait),
        6 => What::Html([200, 404, 502][chance.usize(..3)]),
        7 => What::Truncate,
        8 => What::DropBeforeWork,
        9 => What::DropAfterWork,
        10 => What::ResetDelta,
        11 => What::EmptyList,
        12 => What::OtherId,
        13 => What::StripProperty(["accountEnabled", "id", "value", "userPrincipalName"][chance.usize(..4)]),
        14 => What::SetProperty(
            "accountEnabled",
            [json!(null), json!("false"), json!(0)][chance.usize(..3)].clone(),
        ),
        _ => What::SetProperty("@removed", json!({ "reason": "changed" })),
    };
    let when = match chance.u8(..3) {
        0 => When::Always,
        1 => When::Probability(0.5),
        _ => When::Storm { every: 1 + chance.u64(1..12), length: 1 },
    };
    // What CXone is asked to write it writes: only its reads fail, or a name could not change.
    let method = if path.starts_with("/scim") { "GET" } else { "*" };
    Fault::new(method, path, when, what)
}

/// Something that is no reason to turn anybody off.
fn harmless(chance: &mut fastrand::Rng, scene: &mut Scene, step: usize) {
    let user = scene.people[chance.usize(..scene.people.len())].clone();
    let graph = scene.graph();
    match chance.u8(..8) {
        0 => graph.update_user(&user, json!({ "surname": format!("Silva {step}") })),
        1 => graph.update_user(&user, json!({ "mail": format!("{user}.{step}@example.com") })),
        2 => graph.update_user(&user, json!({ "userPrincipalName": format!("{user}.{step}@example.org") })),
        3 => scene.people.iter().for_each(|user| scene.rename(user, &format!("Rossi {step}"))),
        4 => graph.add_member(&scene.supervisors, &user),
        5 => {
            let new = scene.hire(&format!("Joiner{step}"));
            scene.graph().add_member(&scene.crew, &new);
            scene.people.push(new);
        }
        6 => graph.expire_delta_tokens(DeltaExpiry::Gone),
        _ => graph.expire_delta_tokens(DeltaExpiry::SyncStateNotFound),
    }
}

async fn play(seed: u64) {
    let begun = std::time::Instant::now();
    let mut chance = fastrand::Rng::with_seed(seed);
    let burst = if chance.bool() { "3" } else { "50" };
    let mut scene = Scene::scoped(11, &[("sync.burst_threshold", burst)]).await;
    scene.begin();
    let struck = scene.graph().faults_struck() + scene.cxone().faults_struck();
    for step in 0..STEPS {
        let rules: Vec<Fault> = (0..chance.usize(1..4)).map(|_| failure(&mut chance)).collect();
        let mut chances = || chance.f64() * 0.5;
        let delivery = DeliveryFaults { lose: chances(), double: chances(), reorder: chances() };
        scene.cxone().set_faults(Faults { rules: rules.clone(), ..Faults::none() });
        scene.graph().set_faults(Faults { rules, delivery });
        for _ in 0..chance.usize(1..4) {
            harmless(&mut chance, &mut scene, step);
        }
        match chance.u8(..4) {
            0 => scene.compare().await,
            1 => mark(&scene, &mut chance).await,
            2 if step == STEPS / 2 => scene.restart(&[]).await,
            _ => {}
        }
        scene.pass(Duration::from_secs(chance.u64(5..480))).await;
        assert_eq!(scene.turned_off().len(), 0, "seed {seed}, step {step}");
    }
    let struck = scene.graph().faults_struck() + scene.cxone().faults_struck() - struck;
    scene.cxone().set_faults(Faults::none());
    scene.graph().set_faults(Faults::none());
    // A retry waits out its backoff; who was parked meanwhile is revived.
    scene.pass(61 * MINUTE).await;
    scene.compare().await;
    scene.pass(6 * MINUTE).await;
    scene.assert_agreed(&scene.everybody());
    let off = scene.cxone().writes().iter().filter(|write| turns_off(&write.body)).count();
    assert_eq!((off, scene.count(|event| *event == Event::Off)), (0, 0), "seed {seed}");
    assert_eq!(scene.cxone().overlaps(), vec![]);
    println!("seed {seed}: {struck} requests struck, 0 off; {:.1} s", begun.elapsed().as_secs_f64());
    scene.stop().await;
}

/// Somebody is looked at for no reason.
async fn mark(scene: &Scene, chance: &mut fastrand::Rng) {
    let now = scene.clock.now();
    let mark = |user: &String| Mark {
        user: user.parse().unwrap(),
        reason: Reason::Operator,
        news_at: now,
        urgent: false,
        removed: None,
    };
    let some = scene.people.iter().filter(|_| chance.bool()).map(mark).collect();
    scene.running().store.mark(some, now).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sequence_of_failures_turns_anybody_off() {
    for seed in 0..SEEDS {
        play(seed).await;
    }
}

/// Two thousand join, and in the middle of it somebody leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_does_not_wait_behind_a_bulk_import() {
    const IMPORTED: usize = 2000;
    let scene = Scene::new(4, &[]).await;
    let leaver = scene.people[0].clone();
    let import: Vec<String> = (0..IMPORTED).map(|n| scene.stage.hire(&format!("Joiner{n}"))).collect();
    scene.graph().disable(&leaver);
    scene.calm().await;
    let writes = scene.cxone().writes();
    let at = writes.iter().position(|write| turns_off(&write.body)).expect("the leaver was turned off");
    let created = writes.iter().filter(|write| write.method == "POST").count();
    assert_eq!(created, IMPORTED);
    let before = writes[..at].iter().filter(|write| write.method == "POST").count();
    println!("a leaver in an import of {IMPORTED}: {before} were created before");
    assert!(before < IMPORTED / 2, "{before} were created before the leaver was turned off");
    scene.assert_agreed(&[scene.everybody(), import].concat());
}
