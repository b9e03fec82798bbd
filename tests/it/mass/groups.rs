//! Groups are emptied, filled, swapped, deleted, or cannot be read: scope and roles hang on them.

use cxone_sync::sim::{Fault, Faults, GraphSim, What, When};
use serde_json::json;

use super::scene::{Event, HOUR, MINUTE, Scene, Script, Tally};

const SCOPED: &[(&str, &str)] = &[("scope.groups", r#"["{Crew}", "{Office}"]"#)];
const EXCLUDED: &[(&str, &str)] = &[("scope.exclude_groups", r#"["{On leave}"]"#)];

fn leave(group: &str, scene: &Scene) {
    scene.each(|graph, user| graph.remove_member(group, user));
}

fn join(group: &str, scene: &Scene) {
    scene.each(|graph, user| graph.add_member(group, user));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_group_is_emptied() {
    Script {
        name: "a scope group is emptied",
        keys: SCOPED,
        happens: |scene| leave(&scene.crew, scene),
        leaves: Tally { off: 3, held: 13, ..Tally::default() },
        repaired: Some(|scene| join(&scene.crew, scene)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_group_is_deleted() {
    Script {
        name: "a scope group is deleted",
        keys: SCOPED,
        happens: |scene| scene.graph().soft_delete(&scene.crew),
        repaired: Some(|scene| scene.graph().restore(&scene.crew)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_nested_in_the_scope_is_taken_out() {
    Script {
        name: "a group nested in the scope is taken out",
        keys: SCOPED,
        given_that: |scene| {
            let field = scene.fill("Field", &scene.people[..10]);
            scene.people[..10].iter().for_each(|user| scene.graph().remove_member(&scene.crew, user));
            scene.graph().add_member(&scene.crew, &field);
        },
        happens: |scene| scene.graph().remove_member(&scene.crew, &scene.group("Field")),
        leaves: Tally { off: 3, held: 7, ..Tally::default() },
        repaired: Some(|scene| scene.graph().add_member(&scene.crew, &scene.group("Field"))),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_comes_into_an_excluded_group() {
    Script {
        name: "everybody comes into an excluded group",
        keys: EXCLUDED,
        given_that: |scene| drop(scene.fill("On leave", &[])),
        happens: |scene| join(&scene.group("On leave"), scene),
        leaves: Tally { off: 3, held: 13, ..Tally::default() },
        repaired: Some(|scene| leave(&scene.group("On leave"), scene)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_move_from_one_scope_group_to_another_and_stay() {
    Script {
        name: "all move from one scope group to another",
        keys: SCOPED,
        happens: |scene| {
            leave(&scene.crew, scene);
            join(&scene.office, scene);
        },
        repaired: Some(|_| {}),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_scope_are_deleted_and_restored() {
    Script {
        name: "all of a scope are deleted",
        keys: SCOPED,
        happens: |scene| scene.each(GraphSim::soft_delete),
        leaves: Tally { off: 3, held: 13, ..Tally::default() },
        repaired: Some(|scene| scene.each(GraphSim::restore)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_group_is_emptied() {
    Script {
        name: "a role group is emptied",
        given_that: |scene| join(&scene.supervisors, scene),
        happens: |scene| leave(&scene.supervisors, scene),
        leaves: Tally { taken: 4, held: 12, ..Tally::default() },
        repaired: Some(|scene| join(&scene.supervisors, scene)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_role_group_is_emptied() {
    Script {
        name: "a small role group is emptied",
        n_people: 6,
        given_that: |scene| join(&scene.supervisors, scene),
        happens: |scene| leave(&scene.supervisors, scene),
        leaves: Tally { taken: 4, held: 2, ..Tally::default() },
        repaired: Some(|scene| join(&scene.supervisors, scene)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_group_is_deleted() {
    Script {
        name: "a role group is deleted",
        given_that: |scene| join(&scene.admins, scene),
        keys: &[("guard.privileged_grants.per_hour", "16"), ("guard.privileged_grants.per_day", "16")],
        within: (3, 4, 16),
        happens: |scene| scene.graph().soft_delete(&scene.admins),
        repaired: Some(|scene| scene.graph().restore(&scene.admins)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

/// Each gets the new role at once; the old one is taken as far as the budget goes.
#[tokio::test(flavor = "multi_thread")]
async fn all_move_from_one_role_group_to_another() {
    Script {
        name: "all move from one role group to another",
        happens: |scene| {
            leave(&scene.agents, scene);
            join(&scene.supervisors, scene);
        },
        leaves: Tally { taken: 4, held: 12, ..Tally::default() },
        and: |scene| {
            let supervisor = Event::Given("Supervisor".to_owned());
            assert_eq!(scene.count(|event| *event == supervisor), 16, "what is given is not held up");
        },
        repaired: Some(|scene| join(&scene.agents, scene)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_group_is_filled_with_everybody() {
    Script {
        name: "a privileged group is filled with everybody",
        happens: |scene| join(&scene.admins, scene),
        leaves: Tally { given: 2, held: 14, ..Tally::default() },
        repaired: Some(|scene| {
            scene.people[2..].iter().chain(&scene.people[..2]).for_each(|user| {
                // Whoever was given the role keeps it: taking it back is another budget's business.
                if !scene.stage.held_roles(user).contains("Administrator") {
                    scene.graph().remove_member(&scene.admins, user);
                }
            })
        }),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_helps_themselves_by_a_nested_group_and_the_budget_lets_it_pass() {
    Script {
        name: "one joins a group nested in a privileged one",
        happens: |scene| scene.graph().add_member(&scene.night_shift, &scene.people[0]),
        leaves: Tally { given: 1, ..Tally::default() },
        repaired: Some(|_| {}),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_help_themselves_by_a_nested_group_and_two_may() {
    Script {
        name: "all join a group nested in a privileged one",
        happens: |scene| join(&scene.night_shift, scene),
        leaves: Tally { given: 2, held: 14, ..Tally::default() },
        ..Script::ORDINARY
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_the_same_name_gives_nothing() {
    Script {
        name: "everybody is in another group of the privileged one's name",
        happens: |scene| {
            scene.fill("Administrators", &scene.people);
            let lookalike = scene.fill("Lookalike", &scene.people);
            scene.graph().update_group(&lookalike, json!({ "displayName": "Administrators" }));
        },
        repaired: Some(|_| {}),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

/// Everybody is created and works; who is over comes without the privileged role.
#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_over_the_budget_comes_without_the_privileged_role() {
    Script {
        name: "six join with a privileged role",
        happens: |scene| {
            for n in 0..6 {
                let user = scene.stage.hire(&format!("Joiner{n}"));
                scene.graph().add_member(&scene.admins, &user);
            }
        },
        leaves: Tally { given: 2, held: 4, ..Tally::default() },
        and: |scene| assert_eq!(scene.count(|event| *event == Event::Made), 7, "six, and Cid"),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

/// A plan of two parts: the name arrives at once, the role waits for an operator.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_plan_over_the_budget_the_rest_is_carried_out() {
    Script {
        name: "all are renamed and lose a role",
        happens: |scene| {
            leave(&scene.agents, scene);
            scene.people.iter().for_each(|user| scene.rename(user, "Rossi"));
        },
        leaves: Tally { taken: 4, held: 12, ..Tally::default() },
        and: |scene| {
            for user in &scene.people {
                assert_eq!(scene.stage.account(user).unwrap()["name"]["familyName"], "Rossi");
            }
        },
        repaired: Some(|scene| join(&scene.agents, scene)),
        ..Script::ORDINARY
    }
    .play()
    .await;
}

/// An hour of failures is no hour of emptiness.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_group_that_reads_as_empty_after_failures_is_not_believed_at_once() {
    let mut scene = Scene::before(16, Default::default());
    join(&scene.supervisors, &scene);
    let scope = scene.filled(r#"["{Crew}", "{Office}"]"#);
    scene.serve(&[("scope.groups", &scope)]).await;
    scene.begin();
    for failure in [What::Status(403, None), What::Status(500, None)] {
        for (what, lasts) in [(failure, HOUR), (What::EmptyList, 9 * MINUTE)] {
            let rule = Fault::new("GET", "/v1.0/groups/*/members", When::Always, what);
            scene.graph().set_faults(Faults { rules: vec![rule], ..Faults::none() });
            scene.compare().await;
            scene.pass(lasts).await;
            assert_eq!(scene.tally().await, Tally::default());
        }
        scene.graph().set_faults(Faults::none());
        scene.pass(10 * MINUTE).await;
    }
    scene.graph().set_faults(Faults::none());
    scene.pass(HOUR).await;
    assert_eq!((scene.cxone().writes(), scene.tally().await), (vec![], Tally::default()));
    scene.stop().await;
}

/// How often the members of a group were read so far.
fn readings(scene: &Scene, group: &str) -> usize {
    let path = format!("/v1.0/groups/{group}/members");
    let first_pages =
        |one: &&cxone_sync::sim::RequestRecord| one.path == path && !one.query.contains("$skiptoken");
    scene.graph().requests().iter().filter(first_pages).count()
}

fn unreadable(scene: &Scene, group: &str) {
    let path = format!("/v1.0/groups/{group}/members");
    let rule = Fault::new("GET", &path, When::Always, What::Status(403, None));
    scene.graph().set_faults(Faults { rules: vec![rule], ..Faults::none() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_group_that_cannot_be_read_is_no_matter_of_the_scope() {
    let mut scene = Scene::scoped(4, &[]).await;
    scene.pass(HOUR).await;
    scene.begin();
    unreadable(&scene, &scene.admins);
    let (leaver, restored) = (scene.people[0].clone(), scene.people[1].clone());
    scene.graph().remove_member(&scene.crew, &leaver);
    scene.graph().soft_delete(&restored);
    scene.calm().await;
    assert_eq!(scene.turned_off().len(), 1, "who is deleted goes at once");
    scene.graph().restore(&restored);
    scene.pass(10 * MINUTE).await;
    assert_eq!(scene.turned_off().len(), 2, "and who left the scope in ten minutes");
    assert_eq!(scene.count(|event| *event == Event::On), 1, "who is restored is back");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_group_of_the_scope_cannot_be_read_nobody_goes_and_few_looks_are_made() {
    let mut scene = Scene::scoped(4, &[("sync.poll_interval", "6d")]).await;
    scene.pass(HOUR).await;
    scene.begin();
    let leaver = scene.people[0].clone();
    scene.graph().remove_member(&scene.crew, &leaver);
    scene.calm().await;
    unreadable(&scene, &scene.office);
    let path = format!("/v1.0/users/{leaver}");
    let looks = || scene.graph().requests().iter().filter(|request| request.path == path).count();
    let before = looks();
    scene.pass(3 * HOUR).await;
    scene.assert_nobody_off("by a group that was last read before");
    let looks = looks() - before;
    assert!((6..60).contains(&looks), "{looks} looks in three hours");
    let other = scene.people[1].clone();
    scene.graph().remove_member(&scene.crew, &other);
    scene.calm().await;
    scene.graph().disable(&other);
    scene.calm().await;
    assert_eq!(scene.turned_off().len(), 1, "who is disabled does not wait for it");
    scene.graph().enable(&other);
    scene.graph().add_member(&scene.crew, &other);
    scene.calm().await;
    scene.begin();
    let job = &scene.jobs(None).await[0];
    let told = job.last_error.clone().unwrap_or_default();
    assert!(told.contains(&scene.office) && told.contains("cannot be read: "), "{told}");
    scene.graph().set_faults(Faults::none());
    // A retry waits out its backoff, which is an hour at most.
    scene.pass(70 * MINUTE).await;
    assert_eq!(scene.turned_off().len(), 1);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_scope_needs_two_readings_of_the_groups_five_minutes_apart() {
    let mut scene = Scene::scoped(4, &[("sync.poll_interval", "6d")]).await;
    // The other groups were read long ago: that is no earlier sight of anybody.
    scene.pass(3 * HOUR).await;
    scene.begin();
    let leaver = scene.people[0].clone();
    let (crew, before) = (scene.crew.clone(), readings(&scene, &scene.crew));
    scene.graph().remove_member(&crew, &leaver);
    scene.calm().await;
    assert_eq!(readings(&scene, &crew), before + 1, "the notification has it read");
    scene.pass(5 * MINUTE - std::time::Duration::from_secs(1)).await;
    scene.assert_nobody_off("by readings less than five minutes apart");
    let between = readings(&scene, &crew);
    scene.pass(MINUTE).await;
    assert_eq!(scene.turned_off().len(), 1, "two readings are enough");
    assert!(readings(&scene, &crew) > between, "the second look rests on a reading of its own");

    // Seen once, and back again by the second reading.
    let mover = scene.people[1].clone();
    scene.graph().remove_member(&crew, &mover);
    scene.calm().await;
    scene.graph().lose_next(1000);
    scene.graph().add_member(&crew, &mover);
    scene.pass(HOUR).await;
    assert_eq!(scene.turned_off().len(), 1, "who is back by the second reading stays");
    scene.stop().await;
}
