//! `kill -9` between any two steps of a notification's way, again and again: the same end state, and
//! no acknowledged mark lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cxone_sync::cli::demo::subscribe;
use cxone_sync::sim::{Fault, Phase, What, When};
use serde_json::json;

use super::process::{Process, log_of};
use super::stage::{Stage, until};

/// Where the process is killed: at a request of its own to a neighbour, before the neighbour has
/// worked or before it answers; or some time after a change, which hits the steps in between.
#[derive(Clone, Copy, Debug)]
enum Point {
    Graph(&'static str, &'static str, Phase),
    Cxone(&'static str, &'static str, Phase),
    After(Duration),
}

const POINTS: &[Point] = &[
    Point::Graph("POST", "/v1.0/$batch", Phase::Before),
    Point::Graph("POST", "/v1.0/$batch", Phase::After),
    Point::Graph("GET", "/v1.0/users/", Phase::Before),
    Point::Graph("GET", "/v1.0/users/", Phase::After),
    Point::Graph("GET", "/v1.0/groups/", Phase::Before),
    Point::Graph("GET", "/v1.0/groups/", Phase::After),
    Point::Graph("POST", "/oauth2/v2.0/token", Phase::After),
    Point::Cxone("GET", "/scim/v2/Users", Phase::Before),
    Point::Cxone("GET", "/scim/v2/Users", Phase::After),
    Point::Cxone("PATCH", "/scim/v2/Users", Phase::Before),
    Point::Cxone("PATCH", "/scim/v2/Users", Phase::After),
    Point::Cxone("POST", "/scim/v2/Users", Phase::Before),
    Point::Cxone("POST", "/scim/v2/Users", Phase::After),
    Point::After(Duration::ZERO),
    Point::After(Duration::from_millis(2)),
    Point::After(Duration::from_millis(4)),
    Point::After(Duration::from_millis(8)),
    Point::After(Duration::from_millis(15)),
    Point::After(Duration::from_millis(30)),
    Point::After(Duration::from_millis(60)),
];
/// Each point is met three times, at the first, second and fifth such request.
const TIMES: [usize; 3] = [1, 2, 5];

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_any_two_steps_it_ends_where_it_would_have() {
    let stage = Stage::new();
    let mut users: Vec<String> = (0..8).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    // So rare a poll that only the start polls; and from the second start on even that fails: what
    // a notification was acknowledged for must come out of the journal.
    let environment = [("CXONE_SYNC__SYNC__POLL_INTERVAL", "6d"), ("CXONE_SYNC__SYNC__RECHECK_AFTER", "1s")];
    let mut process = Process::start(&stage, &environment).await;
    subscribe(stage.folder.path()).await.unwrap();
    stage.converge(&users).await;
    for path in ["/v1.0/users/delta", "/v1.0/groups/delta"] {
        stage.graph().add_fault(Fault::new("GET", path, When::Always, What::Status(503, None)));
    }

    let mut kills = 0;
    for (round, (point, nth)) in POINTS.iter().flat_map(|point| TIMES.map(|nth| (*point, nth))).enumerate() {
        arm(&stage, &process, point, nth);
        change(&stage, &mut users, round);
        if let Point::After(wait) = point {
            tokio::time::sleep(wait * nth as u32).await;
            process.kill();
        } else {
            // Not every round comes to the nth such request; then it is killed all the same.
            let ended = until_soon(|| process.has_ended()).await;
            if !ended {
                process.kill();
            }
        }
        kills += 1;
        process = Process::start(&stage, &environment).await;
    }
    assert!(kills >= 50, "{kills} kills");

    stage.graph().deliveries_settled().await;
    stage.converge(&users).await;
    assert!(stage.cxone().overlaps().is_empty(), "{:?}", stage.cxone().overlaps());
    assert_eq!(process.terminate(), Some(0), "{}", log_of(&stage));
}

fn arm(stage: &Stage, process: &Process, point: Point, nth: usize) {
    let nothing = || Box::new(|_: &str, _: &str, _: Phase| ());
    let (graph, cxone) = (stage.graph(), stage.cxone());
    let (method, part, phase) = match point {
        Point::Graph(method, part, phase) | Point::Cxone(method, part, phase) => (method, part, phase),
        Point::After(_) => {
            graph.on_request(nothing());
            cxone.on_request(nothing());
            return;
        }
    };
    let (process, met) = (process.clone(), Arc::new(AtomicUsize::new(0)));
    let hook = move |asked: &str, path: &str, now: Phase| {
        let here = now == phase && asked == method && path.contains(part) && !path.ends_with("/delta");
        if here && met.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            process.kill();
        }
    };
    match point {
        Point::Graph(..) => {
            graph.on_request(Box::new(hook));
            cxone.on_request(nothing());
        }
        _ => {
            cxone.on_request(Box::new(hook));
            graph.on_request(nothing());
        }
    }
}

/// A bit of everything, so that each round has users to create, patch and give roles.
fn change(stage: &Stage, users: &mut Vec<String>, round: usize) {
    let graph = stage.graph();
    let user = |n: usize| &users[(round * 3 + n) % users.len()];
    graph.update_user(user(0), json!({ "surname": format!("Name{round}") }));
    graph.update_user(user(1), json!({ "displayName": format!("Shown {round}") }));
    let group = &stage.roles[1].0;
    if graph.members(group).contains(user(2)) {
        graph.remove_member(group, user(2));
    } else {
        graph.add_member(group, user(2));
    }
    match round % 3 {
        0 => graph.disable(user(3)),
        1 => graph.enable(user(3)),
        _ => {}
    }
    if round.is_multiple_of(2) {
        let new = stage.hire(&format!("New{round}"));
        users.push(new);
    }
}

/// Within a second.
async fn until_soon(so: impl Fn() -> bool) -> bool {
    tokio::time::timeout(Duration::from_secs(1), until(so)).await.unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_under_load_it_exits_with_0_and_loses_nothing() {
    let stage = Stage::new();
    let environment = [("CXONE_SYNC__SYNC__POLL_INTERVAL", "6d")];
    let users: Vec<String> = (0..60).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    let mut process = Process::start(&stage, &environment).await;
    subscribe(stage.folder.path()).await.unwrap();
    for round in 0..5 {
        for user in &users {
            stage.graph().update_user(user, json!({ "surname": format!("Name{round}") }));
        }
        assert_eq!(process.terminate(), Some(0), "{}", log_of(&stage));
        process = Process::start(&stage, &environment).await;
    }
    stage.converge(&users).await;
    assert_eq!(process.terminate(), Some(0), "{}", log_of(&stage));
}
