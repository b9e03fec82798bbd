//! Graph fails, or answers what is not so. Everybody is enabled and in scope throughout.

use std::time::Duration;

use cxone_sync::sim::{DeltaExpiry, Fault, Faults, GraphSim, RetryAfter, What, When};
use serde_json::json;

use super::scene::{MINUTE, Scene};

/// What Graph does for a while. Nobody may be turned off for it, and no role taken.
struct Lie {
    name: &'static str,
    faults: Vec<Fault>,
    /// The next round of users is a full one.
    anew: bool,
    lasts: Duration,
}

impl Lie {
    fn new(name: &'static str, rules: &[(&str, What)]) -> Self {
        let rule = |(path, what): &(&str, What)| Fault::new("*", path, When::Always, what.clone());
        Self { name, faults: rules.iter().map(rule).collect(), anew: false, lasts: 25 * MINUTE }
    }
}

const ALL: &str = "/v1.0/*";
/// Those read by id, and those of the delta query.
const USERS: &str = "/v1.0/users/*";
const DELTA: &str = "/v1.0/users/delta";
const MEMBERS: &str = "/v1.0/groups/*/members";
const DELETED: &str = "/v1.0/directory/deletedItems/*";

fn lies() -> Vec<Lie> {
    use What::*;
    let status = |code| Status(code, None);
    let enabled = |value| SetProperty("accountEnabled", value);
    let middle = Fault::new("GET", DELTA, When::Between(2, u64::MAX), status(403));
    // Shorter than what makes an absence, or an empty group, believable.
    let short = |lie: Lie| Lie { lasts: 9 * MINUTE, ..lie };
    let anew = |lie: Lie| Lie { anew: true, ..lie };
    vec![
        anew(Lie { faults: vec![middle], ..Lie::new("403 in the middle of a round", &[]) }),
        Lie::new("403 for everything", &[(ALL, status(403))]),
        Lie::new("401 for everything", &[(ALL, status(401))]),
        Lie::new("500 for everything", &[(ALL, status(500))]),
        Lie::new("429 for everything", &[(ALL, Status(429, Some(RetryAfter::Seconds(40))))]),
        Lie::new("a page of a proxy, with 200", &[(ALL, Html(200))]),
        Lie::new("answers that break off", &[(ALL, Truncate)]),
        Lie::new("connections that close", &[(ALL, DropBeforeWork)]),
        Lie::new("users without accountEnabled", &[(USERS, StripProperty("accountEnabled"))]),
        Lie::new("users with accountEnabled null", &[(USERS, enabled(json!(null)))]),
        Lie::new("users with accountEnabled \"false\"", &[(USERS, enabled(json!("false")))]),
        Lie::new("users with accountEnabled 0", &[(USERS, enabled(json!(0)))]),
        Lie::new("users under another id", &[(USERS, OtherId)]),
        Lie::new("a round with an empty list", &[(DELTA, EmptyList)]),
        anew(Lie::new("a full round with an empty list", &[(DELTA, EmptyList)])),
        anew(Lie::new(
            "a full round in which all are removed",
            &[(DELTA, SetProperty("@removed", json!({ "reason": "deleted" })))],
        )),
        anew(Lie::new("a delta query that is reset again and again", &[(DELTA, ResetDelta)])),
        Lie::new("members of groups: 403", &[(MEMBERS, status(403))]),
        Lie::new("members of groups: 404", &[(MEMBERS, status(404))]),
        Lie::new("members of groups without a type", &[(MEMBERS, StripProperty("@odata.type"))]),
        short(Lie::new("members of groups: none, for nine minutes", &[(MEMBERS, EmptyList)])),
        Lie::new("users 404, deleted items 403", &[(USERS, status(404)), (DELETED, status(403))]),
        Lie::new("users 404, deleted items 500", &[(USERS, status(404)), (DELETED, status(500))]),
        short(Lie::new(
            "users and deleted items 404, for nine minutes",
            &[(USERS, status(404)), (DELETED, status(404))],
        )),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_graph_fails_to_say_nobody_is_turned_off() {
    lied_to(lies().into_iter().step_by(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_graph_says_wrongly_nobody_is_turned_off() {
    lied_to(lies().into_iter().skip(1).step_by(2)).await;
}

/// One contact centre through all of them: what one leaves behind would show in the next.
async fn lied_to(lies: impl Iterator<Item = Lie>) {
    let mut scene = Scene::scoped(12, &[("sync.burst_threshold", "8")]).await;
    scene.assert_agreed(&scene.everybody());
    for (n, lie) in lies.enumerate() {
        let begun = std::time::Instant::now();
        scene.begin();
        let struck = scene.graph().faults_struck();
        scene.graph().set_faults(Faults { rules: lie.faults, ..Faults::none() });
        if lie.anew {
            scene.graph().expire_delta_tokens(DeltaExpiry::Gone);
        }
        scene.everybody().iter().for_each(|user| scene.rename(user, &format!("Martin {n}")));
        // Read anew, as after any change to them.
        let (agents, crew) = (scene.agents.clone(), scene.crew.clone());
        let zoe = scene.graph().add_user(json!({
            "userPrincipalName": format!("zoe{n}@example.com"), "accountEnabled": false, "surname": "Kaya",
        }));
        scene.graph().add_member(&agents, &zoe);
        scene.graph().add_member(&crew, &zoe);
        scene.compare().await;
        scene.pass(lie.lasts).await;
        scene.assert_nobody_off(lie.name);
        let tally = scene.tally().await;
        assert_eq!((tally.taken, tally.held), (0, 0), "{}", lie.name);
        assert!(scene.graph().faults_struck() > struck, "{}: nothing was struck", lie.name);

        scene.graph().set_faults(Faults::none());
        // A retry waits out its backoff, which is an hour at most.
        scene.pass(61 * MINUTE).await;
        scene.compare().await;
        scene.assert_agreed(&scene.everybody());
        scene.assert_nobody_off(lie.name);
        assert_eq!(scene.count(|event| matches!(event, super::scene::Event::Taken(_))), 0, "{}", lie.name);
        scene.assert_within(0, 0, 0);
        println!("{}: 0 off, 0 taken, 0 held; {:.1} s", lie.name, begun.elapsed().as_secs_f64());
    }
    scene.stop().await;
}

/// A reset says where to begin again, by an address that selects nothing.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_reset_the_poll_still_sees_who_is_disabled() {
    let mut scene = Scene::new(4, &[]).await;
    for path in [DELTA, "/v1.0/groups/delta"] {
        scene.graph().add_fault(Fault::new("GET", path, When::First(1), What::ResetDelta));
    }
    scene.pass(16 * MINUTE).await;
    assert_eq!(scene.graph().faults_struck(), 2);
    scene.graph().lose_next(1000);
    scene.each(GraphSim::disable);
    scene.graph().remove_member(&scene.agents, &scene.bea);
    scene.pass(16 * MINUTE).await;
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.taken, tally.held), (3, 1, 1), "{tally:?}");
    println!("disabled after a reset, and nobody told: {tally:?}");
    scene.stop().await;
}

/// As with the wrong tenant: every user is found nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_tenant_costs_nothing_for_ten_minutes_and_then_the_budget() {
    let mut scene = Scene::new(16, &[]).await;
    let nowhere = |path| Fault::new("*", path, When::Always, What::Status(404, None));
    scene.graph().set_faults(Faults { rules: vec![nowhere(USERS), nowhere(DELETED)], ..Faults::none() });
    scene.each(|graph, user| graph.update_user(user, json!({ "surname": "Silva" })));
    scene.pass(9 * MINUTE + Duration::from_secs(59)).await;
    scene.assert_nobody_off("before ten minutes");
    assert_eq!(scene.held().await, vec![]);
    scene.pass(2 * 60 * MINUTE).await;
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.taken, tally.held), (3, 0, 13), "{tally:?}");
    scene.assert_within(3, 0, 0);
    scene.graph().set_faults(Faults::none());
    scene.compare().await;
    scene.pass(11 * MINUTE).await;
    scene.assert_agreed(&scene.everybody());
    assert_eq!((scene.held().await, scene.turned_off().len()), (vec![], 3));
    println!("the wrong tenant: {tally:?}");
    scene.stop().await;
}

/// The read is whole and says so: then the budget is all there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_graph_that_says_all_are_disabled_is_believed_as_far_as_the_budget_goes() {
    let mut scene = Scene::new(16, &[]).await;
    let lie = What::SetProperty("accountEnabled", json!(false));
    scene.graph().add_fault(Fault::new("GET", USERS, When::Always, lie));
    scene.compare().await;
    scene.pass(60 * MINUTE).await;
    let tally = scene.tally().await;
    assert_eq!((tally.off, tally.held), (3, 14), "{tally:?}");
    scene.graph().set_faults(Faults::none());
    scene.compare().await;
    scene.assert_agreed(&scene.everybody());
    assert_eq!((scene.held().await, scene.turned_off().len()), (vec![], 3));
    scene.assert_within(3, 0, 0);
    println!("Graph says that all are disabled: {tally:?}");
    scene.stop().await;
}
