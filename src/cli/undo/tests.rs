use std::sync::{Arc, Mutex};

use expect_test::expect;
use serde_json::Value;

use super::*;
use crate::cli::client::Via;
use crate::cli::client::testing::{client, json as answer};
use crate::cli::screen::testing::screen;
use crate::clock::Clock;

const ID: &str = "3f0c2a9e-1111-4222-8333-444455556666";

fn plans() -> Value {
    json!([
        {"user": ID, "userName": "ana@example.com",
         "changes": [{"attribute": "active", "before": false, "after": true},
                     {"attribute": "roles", "before": ["Agent"], "after": ["Agent", "Supervisor\u{1b}"]}],
         "skipped": []},
        {"user": "00000000-0000-4000-8000-000000000002", "userName": null, "changes": [],
         "skipped": [{"attribute": "userName", "code": "created"}]},
        {"user": "00000000-0000-4000-8000-000000000003", "userName": null, "changes": [], "skipped": []},
    ])
}

#[test]
fn the_inverse_is_shown_user_by_user() {
    let plans: Vec<Inverse> = serde_json::from_value(plans()).unwrap();
    expect![[r#"
        ~ ana@example.com (3f0c2a9e-1111-4222-8333-444455556666)
            active: false → true
            roles: +Supervisor 
        ~ 00000000-0000-4000-8000-000000000002
            userName stays as it is (created)
        writes to 1 user to take back
    "#]]
    .assert_eq(&rendered(&plans, Paint::default()));
    assert_eq!(rendered(&[], Paint::default()), "nothing to take back\n");
}

/// How it ended, and what was sent.
async fn undo(args: Args, plans: Value, interactive: bool, typed: &'static str) -> (Exit, Vec<Value>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let sent = sent.clone();
        move |request: crate::outbound::Request| match request.url.path() {
            "/api/v1/undo" => {
                let asked: Value = serde_json::from_slice(&request.body).unwrap();
                let batch = (asked["dry_run"] == false).then_some("b1");
                sent.lock().unwrap().push(asked);
                let before = "2026-11-23T10:00:01Z";
                answer(200, json!({"plans": plans, "set": "5f2c", "before": before, "batch": batch}))
            }
            "/api/v1/batches/b1" => {
                let user = json!({"user": ID, "state": "applied", "words": null});
                answer(200, json!({"pending": 0, "users": [user], "skipped": []}))
            }
            path => panic!("{path}"),
        }
    };
    let (screen, _, _) = screen(interactive, typed);
    let clock = Clock::manual("2026-11-23T10:00:00Z".parse().unwrap());
    let mut session = Session { client: client(service), via: Via::Socket, clock, screen };
    let exit = run(&args, &mut session).await.unwrap_or_else(|failure| failure.exit);
    let sent = sent.lock().unwrap().clone();
    (exit, sent)
}

fn args(dry_run: bool, yes: bool) -> Args {
    Args {
        user: Some(ID.to_owned()),
        since: Some("2h".parse().unwrap()),
        batch: None,
        dry_run,
        yes,
        out: None,
        by: By::default(),
        follow: Follow::usual(),
        output: Output::default(),
    }
}

#[tokio::test]
async fn exactly_what_was_shown_is_ordered_and_only_with_consent() {
    let (exit, sent) = undo(args(false, true), plans(), false, "").await;
    assert_eq!((exit, sent.len()), (Exit::Done, 2));
    assert_eq!((&sent[0]["user"], &sent[0]["since"]), (&json!(ID), &json!("2026-11-23T08:00:00Z")));
    assert_eq!((&sent[0]["dry_run"], &sent[0]["set"]), (&json!(true), &Value::Null));
    assert_eq!((&sent[1]["dry_run"], &sent[1]["set"]), (&json!(false), &json!("5f2c")));
    assert_eq!(sent[1]["before"], "2026-11-23T10:00:01Z");
    assert_eq!(undo(args(false, false), plans(), true, "y\n").await.1.len(), 2);
    for (args, plans, interactive, exit) in [
        (args(true, true), plans(), true, Exit::Done),
        (args(false, false), plans(), true, Exit::Failed),
        (args(false, false), plans(), false, Exit::Usage),
        (args(false, true), json!([]), false, Exit::Done),
    ] {
        let (found, sent) = undo(args, plans, interactive, "n\n").await;
        assert_eq!((found, sent.len()), (exit, 1), "only shown");
    }
}
