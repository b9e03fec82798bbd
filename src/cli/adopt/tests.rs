use expect_test::expect;

use super::*;
use crate::cli::client::Via;
use crate::cli::client::testing::{client, json as answer};
use crate::cli::screen::testing::screen;
use crate::clock::Clock;

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn matched(n: u32, next: &str, conflicts: Value) -> Value {
    json!({"user": id(n), "userName": format!("u{n}@example.com"), "scimId": format!("11f{n}"),
           "by": "userName", "active": next != "would_reactivate", "next": next, "conflicts": conflicts})
}

fn report() -> Value {
    let differs = json!([
        {"attribute": "displayName", "entra": "Ana Martin", "cxone": "A\u{1b}[2J", "owner": "newest", "wins": "cxone"},
        {"attribute": "emails", "entra": "a@new.example", "cxone": null, "owner": "entra", "wins": "entra"},
    ]);
    json!({
        "dryRun": true, "inScope": 8, "outOfScope": 3, "listing": {"state": "complete", "users": 9},
        "matched": [
            matched(1, "nothing", json!([])),
            matched(2, "would_change", differs),
            matched(3, "would_deactivate", json!([])),
            matched(4, "would_reactivate", json!([])),
        ],
        "alreadyLinked": 1,
        "ambiguous": [{"user": id(5), "userName": "u5@example.com", "reason": "several_accounts",
                       "by": "email", "hits": 2, "accounts": [], "sentence": "2 CXone users have the same email"}],
        "unmatchedInEntra": [
            {"user": id(6), "userName": "u6@example.com", "wouldCreate": true},
            {"user": id(7), "userName": null, "wouldCreate": false},
        ],
        "unmatchedInCxone": [{"scimId": "11f8", "userName": "by.hand@example.com", "active": false}],
        "conflicts": {"displayName": 1, "emails": 1},
        "failed": [{"user": id(8), "userName": null, "error": "CXone answered with status 500"}],
    })
}

fn text(report: &Value) -> String {
    rendered(&Report::deserialize(report).unwrap(), &screen(false, "").0)
}

#[test]
fn a_report_reads_from_the_whole_to_the_single_user() {
    expect![[r#"
        8 users in scope, 3 out of scope and passed over

              4  matched         would be linked, 1 of them inactive in CXone
              1  linked already  nothing to do
              1  ambiguous       left alone: an operator must decide
              1  failed          could not be looked at or compared
              2  only in Entra   1 would be created
              1  only in CXone   no user in scope is one of them

        DIFFERING    USERS  ENTRA WINS  CXONE STAYS
        displayName      1           0            1
        emails           1           1            0

        Differing:
          ~ u2@example.com (00000000-0000-4000-8000-000000000002) (CXone 11f2)
              displayName  Entra Ana Martin | CXone A [2J  (owner newest: CXone stays)
              emails       Entra a@new.example | CXone -  (owner entra: Entra wins)

        Would be deactivated (disabled in Entra, active in CXone):
          - u3@example.com (00000000-0000-4000-8000-000000000003)

        Would be reactivated (enabled in Entra, inactive in CXone):
          + u4@example.com (00000000-0000-4000-8000-000000000004)

        Ambiguous, left alone:
          ! u5@example.com (00000000-0000-4000-8000-000000000005): 2 CXone users have the same email

        Could not be looked at:
          ? 00000000-0000-4000-8000-000000000008: CXone answered with status 500

        Only in Entra:
          + u6@example.com (00000000-0000-4000-8000-000000000006), would be created
          + 00000000-0000-4000-8000-000000000007, would not be created

        Only in CXone:
          = by.hand@example.com (11f8), inactive
    "#]]
    .assert_eq(&text(&report()));
}

#[test]
fn what_cannot_be_known_is_not_called_nobody() {
    let mut unlisted = report();
    unlisted["unmatchedInCxone"] = Value::Null;
    unlisted["listing"] = json!({"state": "not_offered"});
    let said = text(&unlisted);
    assert!(said.contains("?  only in CXone   not known: CXone does not list its users\n"), "{said}");
    unlisted["listing"] = json!({"state": "incomplete", "why": "CXone showed 5 users and counts 9"});
    let said = text(&unlisted);
    assert!(said.contains("not known: CXone did not list all its users (CXone showed 5 users"), "{said}");
}

#[test]
fn of_a_long_list_only_the_beginning_is_shown() {
    let mut many = report();
    let one = many["ambiguous"][0].clone();
    many["ambiguous"] = json!(vec![one; SHOWN + 7]);
    let said = text(&many);
    assert!(said.contains("     27  ambiguous") && said.contains("and 7 more: --out"), "{said}");
}

#[test]
fn the_exit_code_tells_what_is_left_to_do() {
    let of = |change: fn(&mut Value)| {
        let mut report = report();
        change(&mut report);
        exit(&Report::deserialize(&report).unwrap())
    };
    assert_eq!(of(|_| {}), Exit::SomeFailed);
    assert_eq!(of(|report| report["failed"] = json!([])), Exit::Held);
    let clean = |report: &mut Value| {
        report["failed"] = json!([]);
        report["ambiguous"] = json!([]);
    };
    assert_eq!(of(clean), Exit::Done);
}

#[tokio::test]
async fn the_whole_report_goes_to_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("adopted.json");
    let service = |request: crate::outbound::Request| {
        assert_eq!(request.url.path(), "/api/v1/adopt");
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(asked, json!({"dry_run": true}));
        answer(200, report())
    };
    let (screen, _, notes) = screen(false, "");
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let mut session = Session { client: client(service), via: Via::Socket, clock, screen };
    let args = Args { dry_run: true, out: Some(out.clone()), output: Output::default() };
    assert_eq!(run(&args, &mut session).await.unwrap(), Exit::SomeFailed);
    assert!(notes.text().contains("adopted.json"), "{}", notes.text());
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(written, report());
}
