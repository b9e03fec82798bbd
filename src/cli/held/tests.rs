use std::sync::{Arc, Mutex};

use expect_test::expect;

use super::*;
use crate::cli::client::Via;
use crate::cli::client::testing::{client, json as answer};
use crate::cli::screen::testing::{fits, screen};
use crate::clock::Clock;

fn user(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn held(n: u32) -> Value {
    json!({"user": user(n), "userName": "ana\u{1b}@example.com", "since": "2026-11-23T09:00:00Z",
           "plan": format!("plan {n}"), "operation": "deactivate", "scimId": "11f0",
           "changes": [{"attribute": "active", "before": true, "after": false}],
           "evidence": {"kind": "disabled"}, "spend": {"deactivations": 1},
           "words": "50 deactivations in the last hour; guard.deactivations.per_hour is 50"})
}

fn everything() -> Value {
    json!({
        "set": "5f2c",
        "held": [held(1), {
            "user": user(2), "userName": null, "since": "2026-11-23T09:50:00Z", "plan": "plan 2",
            "operation": "patch", "scimId": "11f1", "evidence": null, "spend": {"role_removals": 1},
            "changes": [{"attribute": "roles", "before": ["Agent", "Admin"], "after": ["Admin", "Lead"]}],
            "words": "5 roles taken in the last hour; guard.role_removals.per_hour is 5"}],
        "jobs": [{"user": user(3), "userName": null, "code": "ambiguous_match",
                  "since": "2026-11-23T08:00:00Z", "words": "2 hits by email\u{1b}"}],
        "approvals": [{"user": user(2), "userName": null, "plan": "plan 2", "set": "77aa", "by": "ana (socket)",
                       "at": "2026-11-23T09:55:00Z", "expiresAt": "2026-11-24T09:55:00Z"},
                      {"user": user(4), "userName": null, "plan": "plan 4", "set": "77aa", "by": "ana (socket)",
                       "at": "2026-11-23T09:55:00Z", "expiresAt": "2026-11-24T09:55:00Z"}],
        "restraints": [{"user": user(5), "userName": null, "why": "rejected", "by": "ben (token)",
                        "at": "2026-11-22T10:00:00Z",
                        "forbids": {"kind": "value", "attribute": "active", "value": false}}],
        "preapprovals": [{"id": user(6), "group": user(7), "users": 12, "most": 40, "used": 3,
                          "by": "ana (socket)", "at": "2026-11-23T09:00:00Z",
                          "until": "2026-11-23T18:00:00Z"}],
    })
}

#[test]
fn all_that_waits_is_shown_with_what_to_do() {
    let listing: Listed = serde_json::from_value(everything()).unwrap();
    let now = "2026-11-23T10:00:00Z".parse().unwrap();
    expect![[r#"
        Held by the guard
          deactivate ana @example.com (00000000-0000-4000-8000-000000000001), for 60m
              active: true → false
              evidence: the account is disabled in Entra
              50 deactivations in the last hour; guard.deactivations.per_hour is 50
          patch 00000000-0000-4000-8000-000000000002, for 10m
              roles: +Lead -Agent
              5 roles taken in the last hour; guard.role_removals.per_hour is 5
              approved by ana (socket) 5m ago, ends in 23h
          set 5f2c
          To do: `held approve` or `held reject`; `queue retry --held` asks the budgets anew.

        Held for another reason
          ambiguous_match 00000000-0000-4000-8000-000000000003, for 2h
              2 hits by email 
              To do: leave one CXone user with this key, then `queue retry`

        Approved, not used yet
          00000000-0000-4000-8000-000000000004: approved by ana (socket) 5m ago, ends in 23h

        Not written again
          00000000-0000-4000-8000-000000000005: active = false, rejected by ben (token) 24h ago
          To do: nothing, or `held lift`.

        Announced
        ID                                    GROUP                                 USERS  USED  OF  ENDS   BY
        00000000-0000-4000-8000-000000000006  00000000-0000-4000-8000-000000000007     12     3  40  in 8h  ana (socket)
    "#]].assert_eq(&listed(&listing, now, &screen(false, "").0));
}

#[test]
fn all_that_is_open_about_one_user_is_shown() {
    let mut answer = json!({
        "user": user(1), "userName": null, "job": null, "held": null, "approval": null, "order": null,
        "restraints": [], "drift": [], "observed": null,
    });
    let now = "2026-11-23T10:00:00Z".parse().unwrap();
    expect![[r#"
        00000000-0000-4000-8000-000000000001
          nothing is open
    "#]]
    .assert_eq(&open(&answer, now).unwrap());
    answer["held"] = held(1);
    answer["approval"] = everything()["approvals"][0].clone();
    answer["order"] = json!({
        "batch": "019ab0a2", "by": "ana (socket)", "at": "2026-11-23T09:30:00Z",
        "expiresAt": "2026-11-24T09:30:00Z", "task": {"task": "revert", "attributes": ["roles"]}});
    answer["restraints"] = everything()["restraints"].clone();
    expect![[r#"
        00000000-0000-4000-8000-000000000001
          held 60m ago: deactivate
              active: true → false
              evidence: the account is disabled in Entra
              50 deactivations in the last hour; guard.deactivations.per_hour is 50
              plan plan 1
          approved by ana (socket) 5m ago, ends in 23h
          ordered: revert by ana (socket) 30m ago (019ab0a2)
          not written again: active = false, rejected by ben (token) 24h ago
    "#]]
    .assert_eq(&open(&answer, now).unwrap());
}

/// Runs `held approve`: how it ended, what was sent, and what was shown before it asked.
async fn approve(
    which: Which,
    yes: bool,
    interactive: bool,
    typed: &'static str,
) -> (Exit, Vec<Value>, String) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let sent = sent.clone();
        move |request: crate::outbound::Request| match request.url.path() {
            "/api/v1/held" => answer(200, everything()),
            "/api/v1/resolve/ana@example.com" => answer(200, json!({"user": user(1)})),
            "/api/v1/held/approve" => {
                let asked: Value = serde_json::from_slice(&request.body).unwrap();
                let stale = asked["set"] == "stale";
                sent.lock().unwrap().push(asked);
                match stale {
                    true => answer(409, json!({"error": {"code": "set_changed", "message": "look again"}})),
                    false => answer(200, json!({"users": 1, "expiresAt": "2026-11-24T10:00:00Z"})),
                }
            }
            path => panic!("{path}"),
        }
    };
    let (screen, _, notes) = screen(interactive, typed);
    let clock = Clock::manual("2026-11-23T10:00:00Z".parse().unwrap());
    let mut session = Session { client: client(service), via: Via::Socket, clock, screen };
    let consent = Consent { yes, ..Consent::default() };
    let args = ApproveArgs { which, expires: Duration::from_secs(3600), consent };
    let exit = run(&Command::Approve(args), &mut session).await.unwrap_or_else(|failure| failure.exit);
    let sent = sent.lock().unwrap().clone();
    (exit, sent, notes.text())
}

fn all() -> Which {
    Which { all: true, ..Which::default() }
}

#[tokio::test]
async fn on_a_terminal_the_set_is_shown_and_asked_for() {
    let (exit, sent, notes) = approve(all(), false, true, "y\n").await;
    assert_eq!((exit, sent.len()), (Exit::Done, 1));
    assert!(notes.contains("active: true → false") && notes.contains("roles: +Lead -Agent"), "{notes}");
    assert!(notes.contains("This approves 2 changes. Go on?"), "{notes}");
    let ids = [user(1), user(2)].map(|id| id.parse::<UserId>().unwrap());
    let set = set_hash([(ids[0], "plan 1"), (ids[1], "plan 2")]);
    assert_eq!((&sent[0]["set"], sent[0].get("users")), (&json!(set), None));
    assert_eq!(sent[0]["expires_seconds"], 3600);
    let (exit, sent, _) = approve(all(), false, true, "n\n").await;
    assert_eq!((exit, sent.len()), (Exit::Failed, 0));
    // By name, only theirs is in the set.
    let named = Which { users: vec!["ana@example.com".to_owned()], ..Which::default() };
    let (_, sent, notes) = approve(named, false, true, "y\n").await;
    assert_eq!(sent[0]["users"], json!([user(1)]));
    assert_eq!(sent[0]["set"], json!(set_hash([(ids[0], "plan 1")])));
    assert!(notes.contains("This approves 1 change.") && !notes.contains("Lead"), "{notes}");
    let stranger = Which { users: vec![user(9)], ..Which::default() };
    assert_eq!(approve(stranger, true, true, "").await.0, Exit::Failed);
}

#[tokio::test]
async fn off_a_terminal_the_set_must_be_named() {
    let set = |set: &str| Which { set: Some(set.to_owned()), ..all() };
    assert_eq!(approve(all(), true, false, "").await.0, Exit::Usage);
    let (exit, sent, _) = approve(set("5f2c"), false, false, "y\n").await;
    assert_eq!((exit, sent.len()), (Exit::Usage, 0), "nobody agreed");
    let (exit, sent, _) = approve(set("5f2c"), true, false, "").await;
    assert_eq!((exit, &sent[0]["set"]), (Exit::Done, &json!("5f2c")));
    assert_eq!(approve(set("stale"), true, false, "").await.0, Exit::Held);
}

#[test]
fn on_a_narrow_terminal_an_announcement_can_still_be_ended() {
    let now = "2026-11-23T10:00:00Z".parse().unwrap();
    let known: Vec<Preapproval> = part(&everything(), "preapprovals").unwrap();
    fits(&["00000000-0000-4000-8000-000000000006"], |screen| preapprovals(&known, now, screen));
}
