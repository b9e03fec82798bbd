use std::sync::{Arc, Mutex};

use super::*;
use crate::cli::client::Via;
use crate::cli::client::testing::{client, json as answer};
use crate::cli::screen::testing::screen;
use crate::clock::Clock;

fn entry(n: usize, action: &str) -> Value {
    json!({"user": format!("00000000-0000-4000-8000-{n:012}"), "action": action, "plan": format!("hash {n}"),
           "preconditions": {"entra": "e", "groups": [], "cxone": null, "scimId": null}, "changes": []})
}

#[test]
fn only_what_plan_wrote_is_read() {
    for (text, why) in [
        ("plans", "it is not JSON"),
        ("{}", "it holds no plans"),
        (r#"{"plans": 3}"#, "it holds no plans"),
        (r#"{"plans": [3]}"#, "plan 1 in it is none"),
        (r#"{"plans": [{"user": "u", "action": "patch"}]}"#, "plan 1 in it has no hash"),
    ] {
        let found = read(text).unwrap_err();
        assert!(found.starts_with(why), "{text}: {found}");
    }
    let plans = [entry(1, "patch"), entry(2, "nothing"), entry(3, "deactivate"), entry(4, "hold")];
    let filed = read(&json!({"plans": plans, "madeAt": "2026-11-23T10:00:00Z"}).to_string()).unwrap();
    assert_eq!((filed.plans.len(), filed.n_others), (2, 2));
    assert_eq!(filed.made_at, Some("2026-11-23T10:00:00Z".parse().unwrap()));
    let sent = json!({"user": entry(3, "")["user"], "plan": "hash 3", "preconditions": entry(3, "")["preconditions"]});
    assert_eq!(filed.plans[1], sent);
}

/// How it ended, the requests to `apply`, and what was printed.
async fn apply(plans: Vec<Value>, yes: bool, state: &'static str) -> (Exit, Vec<Value>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.json");
    std::fs::write(&file, json!({"plans": plans}).to_string()).unwrap();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let sent = sent.clone();
        move |request: crate::outbound::Request| match request.url.path() {
            "/api/v1/apply" => {
                let asked: Value = serde_json::from_slice(&request.body).unwrap();
                let plans = asked["plans"].as_array().unwrap().clone();
                sent.lock().unwrap().push(asked);
                // Whoever comes first has moved.
                let skipped = json!({"user": plans[0]["user"], "code": "moved", "moved": ["entra", "groups"],
                                     "error": null});
                answer(200, json!({"batch": "b1", "ordered": plans.len() - 1, "skipped": [skipped]}))
            }
            "/api/v1/batches/b1" => {
                let user = json!({"user": "u", "state": state, "words": null});
                answer(200, json!({"pending": 0, "users": [user], "skipped": []}))
            }
            path => panic!("{path}"),
        }
    };
    let (screen, out, _) = screen(false, "");
    let clock = Clock::manual("2026-11-23T10:00:00Z".parse().unwrap());
    let mut session = Session { client: client(service), via: Via::Socket, clock, screen };
    let (by, follow, output) = (By::default(), Follow::usual(), Output::default());
    let args = Args { file, yes, by, follow, output };
    let exit = run(&args, &mut session).await.unwrap_or_else(|failure| failure.exit);
    let sent = sent.lock().unwrap().clone();
    (exit, sent, out.text())
}

#[tokio::test]
async fn many_plans_are_one_order_and_who_moved_is_told() {
    let plans = || (0..=AT_ONCE).map(|n| entry(n, "patch")).collect::<Vec<_>>();
    let (exit, sent, text) = apply(plans(), true, "applied").await;
    assert_eq!((exit, sent.len()), (Exit::SomeFailed, 2));
    assert_eq!((sent[0].get("batch"), &sent[1]["batch"]), (None, &json!("b1")));
    let first = "! 00000000-0000-4000-8000-000000000000 skipped: moved: entra, groups\n";
    assert!(text.starts_with(first) && text.ends_with("1 user: 1 done\n"), "{text}");
    assert_eq!(apply(plans(), true, "held").await.0, Exit::Held);
    let (exit, sent, _) = apply(plans(), false, "applied").await;
    assert_eq!((exit, sent.len()), (Exit::Usage, 0), "nobody agreed");
    let (exit, sent, text) = apply(vec![entry(1, "nothing")], true, "applied").await;
    assert_eq!((exit, sent.len(), text.as_str()), (Exit::Done, 0, "Nothing to apply.\n"));
}
