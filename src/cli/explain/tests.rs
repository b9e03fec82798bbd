use expect_test::expect;
use serde_json::json;

use super::*;
use crate::cli::screen::testing::{fits, screen};

#[test]
fn every_step_has_its_section() {
    let group = |n: u32| format!("00000000-0000-4000-9000-{n:012}");
    let answer = json!({
        "user": "3f0c2a9e-1111-4222-8333-444455556666",
        "source": {"id": "3f0c2a9e-1111-4222-8333-444455556666", "enabled": true,
                   "properties": {"mail": "ana@example.com", "surname": "Roe"}},
        "membership": {
            "groups": [{"group": group(1), "paths": [[group(1)]]},
                       {"group": group(2), "paths": [[group(1), group(2)]]}],
            "complete": false},
        "roles": [{"role": "agent", "group": group(1), "given": true, "held": false,
                   "code": "to_be_given", "owner": "entra"},
                  {"role": "supervisor", "group": group(2), "given": false, "held": true,
                   "code": "to_be_taken", "owner": "cxone"},
                  {"role": "by hand", "group": null, "given": false, "held": true,
                   "code": "outside_the_table", "owner": "entra"}],
        "news": [{"at": "2026-11-23T09:58:00Z", "reason": "notification", "deleted": true}],
        "restraints": [{"forbids": {"kind": "takeRole", "role": "agent\u{1b}"}, "why": "undone",
                        "by": "ana (socket)", "at": "2026-11-23T09:00:00Z"}],
        "remarks": [{"at": "2026-11-23T09:00:00Z", "user": null, "code": "undo", "words": "ordered",
                     "by": "ana (socket)", "batch": "019ab0a2"}],
        "link": {"scim_id": "11f0", "baseline": {}, "confirmed_at": "2026-11-22T10:00:00Z"},
        "job": null,
        "plan": {"user": "3f0c2a9e-1111-4222-8333-444455556666", "scimId": "11f0", "action": "patch",
                 "reason": "source_changed", "sentence": "One attribute differs.", "evidence": null,
                 "changes": [{"attribute": "familyName", "before": "Doe", "after": "Roe"}],
                 "attributes": [{"attribute": "familyName", "source": "Roe", "target": "Doe",
                                 "baseline": {"source": "Doe", "target": "Doe"}, "owner": "entra",
                                 "decision": "write", "reason": "changed in Entra"}],
                 "error": null},
        "history": [],
    });
    let now = "2026-11-23T10:00:00Z".parse().unwrap();
    expect![[r#"
        User
          3f0c2a9e-1111-4222-8333-444455556666

        News
          2026-11-23T09:58:00Z (2m ago) notification, says deleted

        In Entra
          id: 3f0c2a9e-1111-4222-8333-444455556666
          enabled: true
          mail = ana@example.com
          surname = Roe

        Groups
          00000000-0000-4000-9000-000000000001 directly
          00000000-0000-4000-9000-000000000002 by 00000000-0000-4000-9000-000000000001 in 00000000-0000-4000-9000-000000000002
          Not all groups have been read yet: being in none of them proves nothing.

        Roles
        ROLE        GROUP                                 GIVEN  HELD  CODE
        agent       00000000-0000-4000-9000-000000000001  yes    no    to_be_given        a member: is given
        supervisor  00000000-0000-4000-9000-000000000002  no     yes   to_be_taken        no member; roles are CXone's to take
        by hand     -                                     no     yes   outside_the_table  not in the table: never touched

        In CXone
          CXone user  11f0
          confirmed   2026-11-22T10:00:00Z

        In the queue
          no job

        Decision
        ~ patch 3f0c2a9e-1111-4222-8333-444455556666 (CXone 11f0)
            One attribute differs. (source_changed)
            familyName  Doe → Roe  (changed in Entra)
        ATTRIBUTE   IN ENTRA  IN CXONE  LAST IN ENTRA  LAST IN CXONE  OWNER  DECISION  REASON
        familyName  Roe       Doe       Doe            Doe            entra  write     changed in Entra

        Open
          not written again: taking the role agent , undone by ana (socket) 60m ago

        Latest writes
        No writes.

        Latest remarks
        AT                    USER  WHAT  BY            ORDER
        2026-11-23T09:00:00Z  -     undo  ana (socket)  019ab0a2  ordered
    "#]].assert_eq(&rendered(&answer, now, &screen(false, "").0).unwrap());
}

#[test]
fn what_is_not_there_is_said() {
    let answer = json!({
        "user": "3f0c2a9e-1111-4222-8333-444455556666", "source": null,
        "membership": {"groups": [], "complete": true}, "roles": [], "link": null, "job": null,
        "plan": null, "history": [],
    });
    let now = "2026-11-23T10:00:00Z".parse().unwrap();
    expect![[r#"
        User
          3f0c2a9e-1111-4222-8333-444455556666

        In Entra
          not found

        Groups
          in none of the groups that matter here

        Roles
          none in the table

        In CXone
          not linked

        In the queue
          no job

        Decision
          none

        Latest writes
        No writes.
    "#]]
    .assert_eq(&rendered(&answer, now, &screen(false, "").0).unwrap());
}

#[test]
fn the_history_answers_for_an_earlier_time() {
    let answer = json!({
        "user": "3f0c2a9e-1111-4222-8333-444455556666", "at": "2026-11-20T08:00:00Z", "scimId": "11f0",
        "values": [
            {"attribute": "displayName", "value": "Ana\u{1b}", "since": "2026-11-19T08:00:00Z", "entry": 7,
             "certain": true, "from": "written"},
            {"attribute": "active", "value": true, "since": null, "entry": 12, "certain": false,
             "from": "found_later"}],
        "held": null,
        "orders": [{"at": "2026-11-20T07:00:00Z", "order": "undo", "by": "ana (socket)", "batch": "019ab0a2"}],
        "restraints": [], "history": [], "remarks": [],
        "seen": {"at": "2026-11-19T06:00:00Z", "enabled": true, "properties": {"surname": "Martin\u{1b}"}, "unset": [],
                 "groups": ["3f0c2a9e-1111-4222-8333-444455557777"], "complete": false, "gone": null,
                 "target": null, "scim_id": null},
        "decision": {"reason": "differs", "sentence": "CXone differs from Entra",
                     "changes": [{"attribute": "familyName", "before": null, "after": "Martin"}]},
    });
    expect![[r#"
        User
          3f0c2a9e-1111-4222-8333-444455556666

        In Entra, as seen at 2026-11-19T06:00:00Z
          enabled
          surname = Martin 
          in group 3f0c2a9e-1111-4222-8333-444455557777
          Not all groups had been read.

        What the rules in force now make of that
          CXone differs from Entra (differs)
          familyName: - → Martin

        In CXone at 2026-11-20T08:00:00Z, as far as we wrote it
        ATTRIBUTE    VALUE  SINCE                 ENTRY
        displayName  Ana    2026-11-19T08:00:00Z  7
        active       true   -                     12     found so by the next write

        Open then
          ordered at 2026-11-20T07:00:00Z: undo by ana (socket) (019ab0a2)

        Writes until then
        No writes.

        Remarks until then
        No remarks.
    "#]]
    .assert_eq(&then(&answer, &screen(false, "").0).unwrap());
}

#[test]
fn on_a_narrow_terminal_the_tables_still_fit() {
    let role = json!({"role": "A role with a rather long name", "group": "00000000-0000-4000-9000-000000000001",
                      "given": true, "held": false, "code": "to_be_given", "owner": "cxone"});
    let roles = || vec![serde_json::from_value(role.clone()).unwrap()];
    fits(&["yes"], |screen| super::roles(roles(), screen));
    let value = json!({"attribute": "phoneNumbers", "value": "a long value, and then some more of it",
                       "since": "2026-11-19T08:00:00Z", "entry": 7, "certain": false, "from": "written"});
    let values: Vec<Known> = vec![serde_json::from_value(value).unwrap()];
    fits(&["phoneNumbers"], |screen| known(&values, screen));
}
