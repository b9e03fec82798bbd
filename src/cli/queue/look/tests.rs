use std::sync::{Arc, Mutex};

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::cli::client::Via;
use crate::cli::client::testing::{client, json as answer};
use crate::cli::screen::testing::{fits, screen};
use crate::clock::Clock;

const NOW: &str = "2026-11-23T10:00:00Z";

fn a_job(n: u32, state: &str) -> Value {
    json!({
        "user": format!("00000000-0000-4000-8000-{n:012}"), "state": state, "reason": "notification",
        "first_news_at": "2026-11-23T09:00:00Z", "latest_news_at": "2026-11-23T09:30:00Z",
        "due_at": "2026-11-23T10:04:00Z", "attempts": n, "generation": 3, "urgent": false, "removed": null,
        "absent_since": null, "not_applied": 0, "stopped": null, "last_error": null,
        "changed_at": "2026-11-23T09:59:00Z",
    })
}

#[test]
fn a_list_is_a_line_a_job() {
    let mut parked = a_job(12, "parked");
    parked["stopped"] = json!("attempts_used_up");
    parked["last_error"] = json!("503 from CXone\nagain");
    let mut urgent = a_job(1, "due");
    urgent["urgent"] = json!(true);
    let jobs: Vec<Job> = understood(&json!([parked, a_job(2, "waiting"), urgent])).unwrap();
    let screen = screen(false, "").0;
    expect![[r#"
        USER                                  STATE    REASON        NEWS  DUE    ATTEMPTS  WHY
        00000000-0000-4000-8000-000000000012  parked   notification  60m   -            12  attempts_used_up: 503 from CXone again
        00000000-0000-4000-8000-000000000002  waiting  notification  60m   in 4m         2
        00000000-0000-4000-8000-000000000001  due      notification  60m   in 4m         1  urgent
    "#]].assert_eq(&listed(&jobs, NOW.parse().unwrap(), &screen));
    assert_eq!(listed(&[], NOW.parse().unwrap(), &screen), "No jobs.\n");
}

#[test]
fn one_user_is_shown_with_job_link_and_writes() {
    let whole = json!({
        "job": a_job(2, "waiting"),
        "link": {"scim_id": "11f0", "baseline": {"active": {"source": true, "target": true}},
                 "confirmed_at": "2026-11-22T10:00:00Z", "source_fingerprint": null, "deactivated_by_us": true},
        "history": [{
            "at": "2026-11-22T10:00:00.5Z", "user": "00000000-0000-4000-8000-000000000002", "scim_id": "11f0",
            "operation": "deactivate", "reason": "delta", "evidence": {"kind": "disabled"},
            "changes": [{"attribute": "active", "before": true, "after": false}],
            "result": {"result": "applied"}, "lag_ms": 1830,
        }],
    });
    let screen = screen(false, "").0;
    expect![[r#"
        Job
          user        00000000-0000-4000-8000-000000000002
          state       waiting
          reason      notification
          first news  2026-11-23T09:00:00Z (60m ago)
          latest news 2026-11-23T09:30:00Z (30m ago)
          due         2026-11-23T10:04:00Z (in 4m)
          attempts    2
        Link
          CXone user  11f0
          confirmed   2026-11-22T10:00:00Z (24h ago)
          baseline    1 attribute
          deactivated by us
        Latest writes
        AT                    OPERATION   RESULT   REASON  LAG  PLAN  CHANGES
        2026-11-22T10:00:00Z  deactivate  applied  delta    1s  -     active: true → false
                                                                      (the account is disabled in Entra)
    "#]]
    .assert_eq(&shown(&whole, NOW.parse().unwrap(), &screen).unwrap());
    let nothing = json!({"job": null, "link": null, "history": []});
    expect![[r#"
        Job
          none: nothing is to be done for this user
        Link
          none: no CXone user is known for this user
        Latest writes
        No writes.
    "#]]
    .assert_eq(&shown(&nothing, NOW.parse().unwrap(), &screen).unwrap());
}

#[test]
fn stats_count_the_states_and_name_the_chores() {
    let chore = |chore: Value, running: bool| {
        json!({"chore": chore, "due_at": "2026-11-23T10:10:00Z", "first_news_at": NOW, "attempts": 1,
               "generation": 1, "running": running, "last_error": "401"})
    };
    let answer = json!({
        "due": 3, "waiting": 0, "running": 1, "parked": 2, "held": 0, "oldest_due_seconds": 4.2,
        "chores": [chore(json!({"chore": "poll", "of": "users"}), false), chore(json!({"chore": "prune"}), true)],
    });
    let screen = screen(false, "").0;
    expect![[r#"
        STATE    JOBS
        due         3  the oldest for 4s
        waiting     0
        running     1
        parked      2  see: queue list --state parked
        held        0

        CHORE       DUE      ATTEMPTS  LAST ERROR
        poll users  in 10m          1  401
        prune       running         1  401
    "#]]
    .assert_eq(&counted(&answer, NOW.parse().unwrap(), &screen).unwrap());
    assert!(counted(&json!({"due": 3}), NOW.parse().unwrap(), &screen).is_err());
}

#[tokio::test]
async fn a_long_list_is_asked_for_in_pages() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let asked = asked.clone();
        move |request: crate::outbound::Request| {
            let mut asked = asked.lock().unwrap();
            asked.push(request.url.query().unwrap().to_owned());
            // Two at a time, five in all.
            let jobs = match asked.len() {
                1 => vec![a_job(1, "due"), a_job(2, "due")],
                2 => vec![a_job(3, "due"), a_job(4, "due")],
                3 => vec![a_job(5, "due")],
                _ => vec![],
            };
            answer(200, json!({"jobs": jobs}))
        }
    };
    let (screen, out, notes) = screen(false, "");
    let clock = Clock::manual(NOW.parse().unwrap());
    let mut session = Session { client: client(service), via: Via::Socket, clock, screen };
    let args = ListArgs { state: Some(State::Due), limit: 50, output: Output::default() };
    list(&args, &mut session).await.unwrap();
    assert_eq!(out.text().lines().count(), 6, "{}", out.text());
    assert_eq!(notes.text(), "");
    expect![[r#"
        limit=50&state=due
        limit=48&state=due&after=00000000-0000-4000-8000-000000000002
        limit=46&state=due&after=00000000-0000-4000-8000-000000000004
        limit=45&state=due&after=00000000-0000-4000-8000-000000000005"#]]
    .assert_eq(&asked.lock().unwrap().join("\n"));
}

#[test]
fn on_a_narrow_terminal_no_id_is_broken() {
    let mut parked = a_job(12, "parked");
    parked["stopped"] = json!("attempts_used_up");
    parked["last_error"] = json!("503 from CXone, and a great many words on why that may be so");
    let jobs: Vec<Job> = understood(&json!([parked, a_job(2, "waiting")])).unwrap();
    let now = NOW.parse().unwrap();
    let ids = ["00000000-0000-4000-8000-000000000012", "00000000-0000-4000-8000-000000000002"];
    fits(&ids, |screen| listed(&jobs, now, screen));
    let chore = |chore: Value| {
        json!({
            "chore": chore, "due_at": NOW, "first_news_at": NOW, "attempts": 3, "generation": 1,
            "running": false, "last_error": "Graph does not answer, and has not for quite a while now",
        })
    };
    let stats = json!({
        "due": 3, "waiting": 0, "running": 1, "parked": 2, "held": 1, "oldest_due_seconds": 3.5,
        "chores": [chore(json!({"chore": "group", "of": ids[0]})), chore(json!({"chore": "renew", "of": ids[1]}))],
    });
    fits(&ids, |screen| counted(&stats, now, screen).unwrap());
}
