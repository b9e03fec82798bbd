use expect_test::expect;
use serde_json::json;

use super::*;
use crate::cli::screen::testing::{fits, screen};

#[test]
fn a_write_is_shown_with_why_by_whom_and_what_became_of_it() {
    let writes = json!([
        {"number": 9, "at": "2026-11-23T10:00:00Z", "user": "3f0c2a9e-1111-4222-8333-444455556666",
         "scim_id": "11f0", "operation": "patch",
         "changes": [{"attribute": "displayName", "before": "Ana", "after": "Eva\u{1b}"}],
         "why": {"displayName": "reverted"}, "reason": "operator", "evidence": null,
         "plan": "5f2c00112233", "desired": "aa", "batch": "019ab0a2", "approved_by": "ana (socket)",
         "result": {"result": "notApplied"}, "shown": {"displayName": "EVA"}, "lag_ms": 250},
        {"number": 3, "at": "2026-11-23T09:00:00Z", "user": "3f0c2a9e-1111-4222-8333-444455556666",
         "scim_id": null, "operation": "create", "changes": [], "reason": "delta", "evidence": null,
         "result": {"result": "pending"}, "lag_ms": 0},
    ]);
    let writes: Vec<Write> = serde_json::from_value(writes).unwrap();
    expect![[r#"
        AT                    OPERATION  RESULT       REASON    LAG    PLAN      CHANGES
        2026-11-23T10:00:00Z  patch      not applied  operator  250ms  5f2c0011  displayName: Ana → Eva , kept as EVA (reverted)
                                                                                 (approved by ana (socket))
                                                                                 (order 019ab0a2)
        2026-11-23T09:00:00Z  create     under way    delta       0ms  -
    "#]].assert_eq(&rendered(&writes, false, &screen(false, "").0));
}

#[test]
fn where_the_chain_is_broken_is_said() {
    let breaks = vec![Break { number: 12, what: "the entry was changed\u{1b}".to_owned() }];
    let found =
        Verification { entries: 40, first: 1, last: 40, head: "9c1d".to_owned(), n_breaks: 3, breaks };
    expect![[r#"
        ! at entry 12: the entry was changed 
          and 2 more
        40 entries (1 to 40): broken in 3 places
        40:9c1d
    "#]]
    .assert_eq(&verified(&found, Paint::default()));
}

#[test]
fn remarks_tell_who_said_what() {
    let remarks = json!([
        {"at": "2026-11-23T10:00:00Z", "user": null, "code": "preapproved", "words": "up to 40\u{1b}",
         "by": "ana (socket)"},
        {"at": "2026-11-23T09:00:00Z", "user": "3f0c2a9e-1111-4222-8333-444455556666", "code": "skipped",
         "words": "apply: moved", "batch": "019ab0a2"},
    ]);
    let remarks: Vec<Remark> = serde_json::from_value(remarks).unwrap();
    expect![[r#"
        AT                    USER                                  WHAT         BY            ORDER
        2026-11-23T10:00:00Z  -                                     preapproved  ana (socket)  -         up to 40
        2026-11-23T09:00:00Z  3f0c2a9e-1111-4222-8333-444455556666  skipped      -             019ab0a2  apply: moved
    "#]].assert_eq(&remarked(&remarks, &screen(false, "").0));
}

#[test]
fn on_a_narrow_terminal_no_id_is_broken() {
    const ID: &str = "3f0c2a9e-1111-4222-8333-444455556666";
    let writes = json!([
        {"number": 9, "at": "2026-11-23T10:00:00Z", "user": ID, "scim_id": "11f0", "operation": "reactivate",
         "changes": [{"attribute": "displayName", "before": "Ana Maria Martin", "after": "Ana Maria Silva"}],
         "why": {"displayName": "reverted"}, "reason": "notification", "evidence": null, "plan": "5f2c00112233",
         "desired": "aa", "result": {"result": "refused", "error": "400 invalidValue: no such place"}, "lag_ms": 250},
    ]);
    let writes: Vec<Write> = serde_json::from_value(writes).unwrap();
    fits(&[ID, "refused"], |screen| rendered(&writes, true, screen));
    fits(&["displayName:"], |screen| rendered(&writes, false, screen));
    let remarks = json!([
        {"at": "2026-11-23T10:00:00Z", "user": ID, "code": "drift_accepted", "words": "displayName",
         "by": "ana (socket)", "batch": "01a20846-fe00-7000-8000-000000000000"},
    ]);
    let remarks: Vec<Remark> = serde_json::from_value(remarks).unwrap();
    fits(&[ID], |screen| remarked(&remarks, screen));
}
