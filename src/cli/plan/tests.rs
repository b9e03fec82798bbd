use expect_test::expect;

use super::*;
use crate::cli::client::Via;
use crate::cli::client::testing::{client, json as answer};
use crate::cli::screen::testing::{fits, screen};
use crate::clock::Clock;

fn plans() -> Vec<Value> {
    let user = |n: u32| format!("00000000-0000-4000-8000-{n:012}");
    vec![
        json!({"user": user(1), "scimId": "11f0", "action": "patch", "reason": "source_changed",
               "sentence": "Two attributes differ.", "evidence": null, "error": null,
               "changes": [
                   {"attribute": "emails", "before": "a@old.example", "after": "a@new.example"},
                   {"attribute": "familyName", "before": null, "after": "Roe\u{1b}[2J"}],
               "attributes": [
                   {"attribute": "emails", "source": "a@new.example", "target": "a@old.example",
                    "baseline": {"source": "a@old.example", "target": "a@old.example"},
                    "owner": "entra", "decision": "write", "reason": "changed in Entra"},
                   {"attribute": "roles", "source": [], "target": ["agent", "admin"], "baseline": null,
                    "owner": "cxone", "decision": "keep", "reason": "owned by CXone"}]}),
        json!({"user": user(2), "scimId": "11f1", "action": "deactivate", "reason": "disabled",
               "sentence": "Gone in Entra.", "evidence": "the account is disabled in Entra", "error": null,
               "changes": [{"attribute": "active", "before": true, "after": false}], "attributes": []}),
        json!({"user": user(3), "scimId": null, "action": "nothing", "reason": "equal",
               "sentence": "Both sides agree.", "evidence": null, "changes": [], "attributes": [], "error": null}),
        json!({"user": user(4), "scimId": null, "action": "hold", "reason": "ambiguous",
               "sentence": "Two CXone users match.", "evidence": null, "changes": [], "attributes": [], "error": null}),
        json!({"user": user(5), "scimId": null, "action": "unknown", "reason": "",
               "sentence": "", "evidence": null, "changes": [], "attributes": [], "error": "Graph did not answer in time"}),
    ]
}

fn read(values: &[Value]) -> Vec<Plan> {
    values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
}

#[test]
fn a_plan_reads_as_a_diff() {
    expect![[r#"
        ~ patch 00000000-0000-4000-8000-000000000001 (CXone 11f0)
            Two attributes differ. (source_changed)
            emails      a@old.example → a@new.example  (changed in Entra)
            familyName  - → Roe [2J
        - deactivate 00000000-0000-4000-8000-000000000002 (CXone 11f1)
            Gone in Entra. (disabled)
            evidence: the account is disabled in Entra
            active  true → false
        = nothing 00000000-0000-4000-8000-000000000003
            Both sides agree. (equal)
        ! hold 00000000-0000-4000-8000-000000000004
            Two CXone users match. (ambiguous)
        ? unknown 00000000-0000-4000-8000-000000000005
            Graph did not answer in time

        5 users: 1 to change, 1 to deactivate, 1 held, 1 undecided
    "#]]
    .assert_eq(&rendered(&read(&plans()), Show::default(), Paint::default()));
}

#[test]
fn of_everybody_only_those_are_shown_to_whom_something_happens() {
    let text = rendered(&read(&plans()), Show { brief: true, requests: false }, Paint::default());
    assert!(!text.contains("nothing 0000"), "{text}");
    assert!(text.contains("5 users:"), "{text}");
    assert_eq!(
        rendered(&read(&plans()[2..3]), Show { brief: true, requests: false }, Paint::default()),
        "1 user: nothing to do\n"
    );
}

#[test]
fn colours_are_only_on_a_terminal() {
    let of = |on| rendered(&read(&plans()), Show::default(), Paint { on });
    assert!(!of(false).contains('\u{1b}'), "what the neighbours wrote is no steering either");
    assert!(of(true).contains("\u{1b}[31m") && of(true).contains("\u{1b}[32m"));
}

#[test]
fn the_exit_code_tells_changes_only_when_asked() {
    let plans = plans();
    for (range, plain, detailed) in [
        (0..1, Exit::Done, Exit::ChangesPending),
        (2..3, Exit::Done, Exit::Done),
        (3..4, Exit::Done, Exit::ChangesPending),
        (4..5, Exit::SomeFailed, Exit::SomeFailed),
        (0..5, Exit::SomeFailed, Exit::SomeFailed),
        (0..0, Exit::Done, Exit::Done),
    ] {
        let plans = read(&plans[range.clone()]);
        assert_eq!((exit(&plans, false), exit(&plans, true)), (plain, detailed), "{range:?}");
    }
}

#[tokio::test]
async fn out_writes_a_file_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("plan.json");
    let service = |request: crate::outbound::Request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let n = asked["users"].as_array().unwrap().len();
        // Each request by itself is within the budget, both together are not.
        let stand = |planned: usize, over: Option<&str>| {
            json!({"planned": planned, "lastHour": 3, "lastDay": 3, "linkedUsers": 1000,
                   "budget": {"per_hour": 103, "per_day": null, "percent_per_hour": null,
                              "percent_per_day": null},
                   "over": over})
        };
        let guard = json!({"deactivations": stand(n, None), "role_removals": stand(0, None)});
        answer(200, json!({"plans": vec![plans()[2].clone(); n], "guard": guard}))
    };
    let (screen, printed, _) = screen(false, "");
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let mut session = Session { client: client(service), via: Via::Socket, clock, screen };
    // More than are asked for at once.
    let users = vec!["ana@example.com".to_owned(); AT_ONCE + 1];
    let args = Args {
        users,
        group: None,
        all: false,
        observed: false,
        requests: false,
        out: Some(out.clone()),
        detailed_exitcode: true,
        output: Output::default(),
    };
    assert_eq!(run(&args, &mut session).await.unwrap(), Exit::Done);
    let end = "101 users: nothing to do\ndeactivations: 101 planned, 3 in the last hour, 3 in the last day; \
               over: 3 deactivations in the last hour; guard.deactivations.per_hour is 103\n";
    assert!(printed.text().ends_with(end), "{}", printed.text());
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(written["plans"].as_array().unwrap().len(), AT_ONCE + 1);
    assert_eq!(written["guard"]["deactivations"]["planned"], AT_ONCE + 1);
    assert_eq!(written["madeAt"], "1970-01-01T00:00:00Z");
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_held_and_ordered_and_would_be_sent_is_shown() {
    let mut plan = plans().swap_remove(1);
    plan["held"] = json!({
        "since": "2026-11-23T09:00:00Z", "plan": "5f2c", "operation": "deactivate", "scimId": "11f1",
        "changes": [], "evidence": null, "spend": {"deactivations": 1}, "words": "50 in the last hour\u{1b}"});
    plan["order"] = json!({
        "batch": "019ab0a2", "by": "ana (socket)", "at": "2026-11-23T09:30:00Z",
        "expiresAt": "2026-11-24T09:30:00Z", "task": {"task": "apply", "plan": "5f2c"}});
    plan["requests"] = json!([{"method": "PATCH", "path": "/scim/v2/Users/11f1",
                               "body": {"active": false, "note": "a\u{9b}b"}}]);
    expect![[r#"
        - deactivate 00000000-0000-4000-8000-000000000002 (CXone 11f1)
            Gone in Entra. (disabled)
            ordered: apply by ana (socket) (019ab0a2)
            held since 2026-11-23T09:00:00Z: 50 in the last hour ; see `held list`
            evidence: the account is disabled in Entra
            active  true → false
            PATCH /scim/v2/Users/11f1
            {
              "active": false,
              "note": "a b"
            }

        1 user: 1 to deactivate
    "#]]
    .assert_eq(&rendered(&read(&[plan]), Show { brief: true, requests: true }, Paint::default()));
}

#[tokio::test]
async fn what_was_observed_is_read_to_its_last_page() {
    let service = |request: crate::outbound::Request| {
        assert_eq!(request.url.path(), "/api/v1/observed");
        let mut plan = plans().swap_remove(1);
        plan["observedAt"] = json!("2026-11-23T09:00:00Z");
        let next = request.url.query().is_none().then_some("00000000-0000-4000-8000-000000000002");
        answer(200, json!({"plans": [plan], "next": next}))
    };
    let (screen, printed, _) = screen(false, "");
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let mut session = Session { client: client(service), via: Via::Socket, clock, screen };
    let args = Args {
        users: vec![],
        group: None,
        all: false,
        observed: true,
        requests: false,
        out: None,
        detailed_exitcode: false,
        output: Output::default(),
    };
    assert_eq!(run(&args, &mut session).await.unwrap(), Exit::Done);
    assert!(printed.text().contains("observed at 2026-11-23T09:00:00Z"), "{}", printed.text());
    assert!(printed.text().ends_with("2 users: 2 to deactivate\n"), "{}", printed.text());
}

#[test]
fn on_a_narrow_terminal_the_attributes_still_fit() {
    let mut plan = plans().swap_remove(0);
    plan["attributes"] = json!([{
        "attribute": "phoneNumbers", "source": "Ana Maria of the Silva family", "target": "Ana Maria Martin",
        "baseline": {"source": "Ana Maria of the Martins", "target": "Ana Maria Martin"}, "owner": "entra",
        "decision": "write_back", "reason": "written_too_often",
    }]);
    let plan = read(&[plan]).remove(0);
    fits(&["phoneNumbers", "write_back"], |screen| plan.attributes(screen));
}
