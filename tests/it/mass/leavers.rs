//! Everybody leaves at once, or seems to.

use cxone_sync::domain::queue::Chore;
use cxone_sync::domain::subscription::Resource;
use cxone_sync::sim::GraphSim;

use crate::stage::until_async;

use super::scene::{HOUR, MINUTE, Scene, Script, Tally};

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_disabled() {
    Script {
        name: "everybody is disabled",
        n_people: 20,
        happens: |scene| scene.each(GraphSim::disable),
        // Neither time nor the daily compare is an approval.
        lasts: 26 * HOUR,
        leaves: Tally { off: 3, held: 17, ..Tally::default() },
        repaired: Some(|scene| scene.each(GraphSim::enable)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_soft_deleted() {
    Script {
        name: "everybody is soft-deleted",
        happens: |scene| scene.each(GraphSim::soft_delete),
        leaves: Tally { off: 3, held: 13, ..Tally::default() },
        // Their memberships come back with them, and nobody tells.
        repaired: Some(|scene| scene.each(GraphSim::restore)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_hard_deleted() {
    Script {
        name: "everybody is hard-deleted",
        happens: |scene| {
            scene.each(GraphSim::soft_delete);
            scene.each(GraphSim::hard_delete);
        },
        leaves: Tally { off: 3, held: 13, ..Tally::default() },
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_are_disabled_in_one_burst() {
    Script {
        name: "half are disabled in one burst",
        n_people: 40,
        // The details of all come from one delta round.
        keys: &[("sync.burst_threshold", "5")],
        happens: |scene| scene.people.iter().step_by(2).for_each(|user| scene.graph().disable(user)),
        leaves: Tally { off: 3, held: 17, ..Tally::default() },
        repaired: Some(|scene| scene.each(GraphSim::enable)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_users_is_a_budget_too() {
    Script {
        name: "everybody is disabled, a tenth may be",
        n_people: 29,
        keys: &[("guard.deactivations.per_hour", "1000"), ("guard.deactivations.percent_per_hour", "10")],
        happens: |scene| scene.each(GraphSim::disable),
        // A tenth of the 30 who were linked, and of the 31 with the joiner.
        leaves: Tally { off: 3, held: 26, ..Tally::default() },
        repaired: Some(|scene| scene.each(GraphSim::enable)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_disabled_and_enabled_again_and_again() {
    Script {
        name: "everybody is disabled and enabled, three times",
        happens: |scene| {
            for _ in 0..3 {
                scene.each(GraphSim::disable);
                scene.each(GraphSim::enable);
            }
            scene.each(GraphSim::disable);
        },
        leaves: Tally { off: 3, held: 13, ..Tally::default() },
        repaired: Some(|scene| scene.each(GraphSim::enable)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

/// One every ten minutes: three pass, and three more once those have left the hour.
#[tokio::test(flavor = "multi_thread")]
async fn one_by_one_over_hours_the_budget_refills_and_what_was_held_stays_held() {
    let mut scene = Scene::new(18, &[]).await;
    for user in scene.people.clone() {
        scene.graph().disable(&user);
        scene.pass(10 * MINUTE).await;
    }
    scene.assert_within(3, 0, 0);
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.held), (9, 9), "{tally:?}");
    scene.pass(3 * HOUR).await;
    assert_eq!(scene.tally().await, tally, "room that frees by the hour is no approval");
    scene.each(GraphSim::enable);
    scene.pass(HOUR).await;
    scene.assert_agreed(&scene.everybody());
    assert_eq!((scene.held().await, scene.turned_off().len()), (vec![], 9));
    println!("one by one over three hours: {tally:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_has_a_budget_of_its_own() {
    let mut scene = Scene::new(18, &[("guard.deactivations.per_day", "5")]).await;
    for wave in scene.people.chunks(6) {
        wave.iter().for_each(|user| scene.graph().disable(user));
        scene.pass(2 * HOUR).await;
    }
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.held), (5, 13), "{tally:?}");
    scene.assert_within(3, 0, 0);
    println!("three waves in six hours, five a day: {tally:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_waves_with_a_restart_and_hours_of_standstill_between_are_one() {
    let mut scene = Scene::new(16, &[]).await;
    let (first, second) = scene.people.split_at(8);
    first.iter().for_each(|user| scene.graph().disable(user));
    scene.pass(10 * MINUTE).await;
    let (off, held) = (scene.tally().await.off, scene.tally().await.held);
    assert_eq!((off, held), (3, 5));
    let second = second.to_vec();
    scene.stop().await;
    scene.tick(3 * HOUR);
    scene.graph().lose_next(second.len());
    second.iter().for_each(|user| scene.graph().disable(user));
    scene.serve(&[]).await;
    scene.pass(20 * MINUTE).await;
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.held), (3, 13), "standing still makes no room");
    scene.each(GraphSim::enable);
    scene.pass(HOUR).await;
    scene.assert_agreed(&scene.everybody());
    assert_eq!((scene.held().await, scene.turned_off().len()), (vec![], 3));
    println!("two waves, a restart between: {tally:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumps_a_day_and_back_makes_no_room() {
    const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
    let mut scene = Scene::new(24, &[]).await;
    let waves: Vec<Vec<String>> = scene.people.chunks(8).map(<[String]>::to_vec).collect();
    let right = scene.clock.now();
    for (wave, jump) in waves.iter().zip([right, right + DAY, right]) {
        scene.clock.jump_to(jump);
        scene.calm().await;
        wave.iter().for_each(|user| scene.graph().disable(user));
        scene.calm().await;
        assert_eq!(scene.tally().await.off, 3);
    }
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.held), (3, 21), "{tally:?}");
    // What nobody tells is found all the same: no poll waits for the day that was taken back.
    scene.graph().lose_next(1000);
    scene.rename(&scene.bea, "Silva");
    scene.each(GraphSim::enable);
    scene.tick(2 * MINUTE);
    let store = &scene.running().store;
    let soon = scene.clock.now() + HOUR;
    let poll = Chore::Poll(Resource::Users);
    let followed = until_async(async || {
        store.chores().await.unwrap().iter().any(|chore| chore.chore == poll && chore.due_at < soon)
    });
    assert!(followed.await, "{:#?}", store.chores().await);
    scene.pass(HOUR).await;
    scene.assert_agreed(&scene.everybody());
    assert_eq!((scene.held().await, scene.turned_off().len()), (vec![], 3));
    println!("three waves, the clock a day ahead and back: {tally:?}");
    scene.stop().await;
}
