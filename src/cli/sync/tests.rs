use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::cli::client::testing::{client, json as answer};
use crate::cli::screen::testing::{Captured, screen};
use crate::clock::Clock;
use crate::outbound::{Request, Response};

const USER: &str = "3f0c2a9e-1111-4222-8333-444455556666";

fn job(state: &str) -> Value {
    json!({
        "user": USER, "state": state, "reason": "operator", "first_news_at": "2026-11-23T10:00:00Z",
        "latest_news_at": "2026-11-23T10:00:00Z", "due_at": "2026-11-23T10:00:00Z", "attempts": 1,
        "generation": 1, "urgent": false, "removed": null, "absent_since": null, "not_applied": 0,
        "stopped": null, "last_error": null, "changed_at": "2026-11-23T10:00:00Z",
    })
}

fn with(mut job: Value, fields: Value) -> Value {
    job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    job
}

#[test]
fn the_end_of_a_job_is_seen_in_the_queue() {
    let of = |value: Value| verdict(Some(&serde_json::from_value(value).unwrap()));
    assert_eq!(verdict(None), Verdict::Done);
    assert_eq!(of(job("due")), Verdict::Going("in the queue".to_owned()));
    assert_eq!(of(job("running")), Verdict::Going("running".to_owned()));
    // It is right, and looked at once more later.
    let recheck = with(job("waiting"), json!({"reason": "recheck", "attempts": 0}));
    assert_eq!(of(recheck), Verdict::Done);
    let failed_recheck = with(job("waiting"), json!({"reason": "recheck", "last_error": "timeout"}));
    assert_eq!(of(failed_recheck), Verdict::Going("attempt 1 failed: timeout".to_owned()));
    let parked = with(job("parked"), json!({"stopped": "rejected", "last_error": "invalidValue"}));
    assert_eq!(of(parked), Verdict::Parked("rejected: invalidValue".to_owned()));
    let held = with(job("held"), json!({"stopped": "guard"}));
    assert_eq!(of(held), Verdict::Held("guard: no reason given".to_owned()));
}

/// A session whose service answers each look at the queue with the next of `looks`, and then the
/// last one for ever.
fn session(looks: Vec<Value>) -> (Session, Captured, Captured) {
    let looks = Mutex::new(looks.into_iter());
    let last = Mutex::new(None);
    let service = move |request: Request| -> Response {
        match request.url.path() {
            "/api/v1/sync" => answer(200, json!({"user": USER})),
            path => {
                assert_eq!(path, format!("/api/v1/queue/{USER}"));
                let mut last = last.lock().unwrap();
                *last = looks.lock().unwrap().next().or(last.take());
                answer(200, json!({"job": last.clone().unwrap(), "link": null, "history": []}))
            }
        }
    };
    let (screen, out, notes) = screen(false, "");
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    (Session { client: client(service), via: Via::Socket, clock, screen }, out, notes)
}

async fn sync(looks: Vec<Value>, wait: bool) -> (Exit, String) {
    let (mut session, out, _) = session(looks);
    let clock = session.clock.clone();
    let args = UserArgs {
        user: "ana@example.com".to_owned(),
        wait,
        timeout: Duration::from_secs(120),
        output: Output::default(),
    };
    let ticking = async {
        loop {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(1));
        }
    };
    let exit = tokio::select! {
        exit = user(&args, &mut session) => exit.unwrap(),
        () = ticking => unreachable!("it ticks for ever"),
    };
    (exit, out.text())
}

#[tokio::test]
async fn wait_follows_the_job_to_its_end() {
    assert_eq!(sync(vec![], false).await, (Exit::Done, format!("Marked {USER}.\n")));
    let done = sync(vec![job("due"), job("running"), Value::Null], true).await;
    assert_eq!(done, (Exit::Done, format!("{USER} is right.\n")));
    let parked = sync(vec![job("due"), with(job("parked"), json!({"stopped": "rejected"}))], true).await;
    assert_eq!(parked.0, Exit::SomeFailed);
    let held = sync(vec![with(job("held"), json!({"stopped": "guard"}))], true).await;
    assert_eq!(held.0, Exit::Held);
    let long = sync(vec![job("running")], true).await;
    assert_eq!(long, (Exit::Failed, format!("{USER} is not done after 2m: running\n")));
}

#[tokio::test]
async fn nobody_waits_for_a_service_that_does_not_run() {
    let (mut session, _, notes) = session(vec![]);
    session.via = Via::Offline;
    let mut args = UserArgs {
        user: USER.to_owned(),
        wait: true,
        timeout: Duration::from_secs(120),
        output: Output::default(),
    };
    assert_eq!(user(&args, &mut session).await.unwrap_err().exit, Exit::Usage);
    args.wait = false;
    assert_eq!(user(&args, &mut session).await.unwrap(), Exit::Done);
    assert!(notes.text().contains("when the service starts"));
}
