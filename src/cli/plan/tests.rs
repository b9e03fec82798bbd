use expect_test::expect;

use super::*;
use crate::cli::client::Via;
use crate::cli::client::testing::{client, json as answer};
use crate::cli::screen::testing::screen;
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
    .assert_eq(&rendered(&read(&plans()), false, Paint::default()));
}

#[test]
fn of_everybody_only_those_are_shown_to_whom_something_happens() {
    let text = rendered(&read(&plans()), true, Paint::default());
    assert!(!text.contains("nothing 0000"), "{text}");
    assert!(text.contains("5 users:"), "{text}");
    assert_eq!(rendered(&read(&plans()[2..3]), true, Paint::default()), "1 user: nothing to do\n");
}

#[test]
fn colours_are_only_on_a_terminal() {
    let of = |on| rendered(&read(&plans()), false, Paint { on });
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
        answer(200, json!({"plans": vec![plans()[2].clone(); n]}))
    };
    let (screen, printed, _) = screen(false, "");
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let mut session = Session { client: client(service), via: Via::Socket, clock, screen };
    // More than are asked for at once.
    let users = vec!["ana@example.com".to_owned(); AT_ONCE + 1];
    let args = Args {
        users,
        all: false,
        out: Some(out.clone()),
        detailed_exitcode: true,
        output: Output::default(),
    };
    assert_eq!(run(&args, &mut session).await.unwrap(), Exit::Done);
    assert!(printed.text().ends_with("101 users: nothing to do\n"), "{}", printed.text());
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(written["plans"].as_array().unwrap().len(), AT_ONCE + 1);
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
}
