use expect_test::expect;
use serde_json::json;

use super::*;
use crate::cli::screen::testing::screen;

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
        "roles": [{"role": "agent", "group": group(1), "given": true, "held": false},
                  {"role": "supervisor", "group": group(2), "given": false, "held": true},
                  {"role": "by hand", "group": null, "given": false, "held": true}],
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
        ROLE        GROUP                                 GIVEN  HELD
        agent       00000000-0000-4000-9000-000000000001  yes    no    is missing
        supervisor  00000000-0000-4000-9000-000000000002  no     yes   is too much
        by hand     -                                     no     yes   not in the table: never touched

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

        Latest writes
        No writes.
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
