//! What an operator decides and orders.

use super::*;
use crate::domain::case::{CaseChange, HeldItem, Task, Work, ordered_at};
use crate::domain::conflict::{Decision, Why};
use crate::domain::drift::Drift;
use crate::domain::guard::{Budgets, Guarded, Spend};
use crate::domain::link::Link;
use crate::domain::queue::{
    Change, GUARD, Intent, LinkChange, Operation as Kind, Outcome, Settlement, WriteResult, Wrote,
};
use crate::domain::rules::Owner;
use crate::domain::user::{ScimId, Value as Held};
use crate::store::Begun;

fn off() -> Vec<Change> {
    let flag = |on| Some(Held::Flag(on));
    vec![Change { attribute: Attribute::Active, before: flag(true), after: flag(false) }]
}

impl Admin {
    /// Runs a job of this user that ends so.
    async fn settle(&self, n: u128, outcome: Outcome) {
        self.mark(n..n + 1).await;
        let claims = self.store.claim(9, self.now).await.unwrap();
        let claim = claims.into_iter().find(|claim| claim.job.user == user(n)).unwrap();
        self.store.settle(claim, outcome, self.now).await.unwrap();
    }

    /// The guard holds the deactivation of these users.
    async fn hold(&self, users: std::ops::Range<u128>) {
        for n in users {
            let mut spend = Spend::default();
            spend.add(Guarded::Deactivations, 1);
            let held = HeldItem {
                since: self.now,
                plan: format!("plan {n}"),
                operation: Kind::Deactivate,
                scim_id: None,
                changes: off(),
                evidence: None,
                spend,
                words: "over".to_owned(),
            };
            let case = CaseChange { held: Some(Some(held)), ..CaseChange::default() };
            let hold = Settlement::Hold { code: GUARD, error: "over".to_owned() };
            self.settle(n, Outcome { case, ..Outcome::of(hold) }).await;
        }
    }

    /// One write to this user, begun so many seconds ago and applied.
    async fn write(&self, n: u128, ago: u64, changes: Vec<Change>, batch: Option<&str>) {
        let at = self.now - Duration::from_secs(ago);
        let intent = Intent {
            at,
            user: user(n),
            scim_id: Some(ScimId("11f0".to_owned())),
            operation: Kind::Patch,
            changes,
            why: Default::default(),
            reason: Reason::Delta,
            evidence: None,
            plan: format!("plan {ago}"),
            desired: format!("wish {ago}"),
            batch: batch.map(str::to_owned),
            approved_by: None,
            spend: Spend::default(),
        };
        let begun =
            self.store.begin_write(intent, Budgets::default(), Duration::from_secs(60)).await.unwrap();
        let Begun::Go(intent) = begun else { panic!("{begun:?}") };
        let (result, shown) = (WriteResult::Applied, Default::default());
        let wrote = Wrote { intent, at, scim_id: None, result, shown, lag_ms: 1 };
        let done = Settlement::Done { recheck_at: None };
        self.settle(n, Outcome { writes: vec![wrote], ..Outcome::of(done) }).await;
    }
}

#[tokio::test]
async fn only_the_set_that_was_shown_is_approved_and_it_is_known_by_whom() {
    let admin = Admin::new();
    let (_, nothing) = admin.get("held").await;
    assert_eq!((&nothing["set"], &nothing["held"]), (&Value::Null, &json!([])));
    admin.hold(1..3).await;
    let (_, shown) = admin.get("held").await;
    assert_eq!(shown["held"][1]["user"], json!(user(2)));
    assert_eq!(shown["held"][1]["changes"][0]["attribute"], "active");
    assert_eq!(shown["jobs"], json!([]), "what the guard holds is not told twice");

    admin.hold(3..4).await;
    let asked = json!({ "set": shown["set"], "by": "ana" });
    let (status, refused) = admin.post("held/approve", asked.clone()).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("set_changed")));
    let (_, now) = admin.get("held").await;
    assert_eq!((&refused["error"]["set"], &refused["error"]["users"]), (&now["set"], &json!(3)));
    assert_eq!(now["approvals"], json!([]), "nothing was approved");
    // By name, it is still the set it was.
    let named = json!({ "users": [user(1), user(2)], "set": shown["set"], "by": "ana" });
    let (status, approved) = admin.post("held/approve", named).await;
    assert_eq!((status, &approved["users"], &approved["by"]), (200, &json!(2), &json!("ana (socket)")));
    assert_eq!(approved["expiresAt"], "2026-11-24T12:00:00Z");
    let (_, after) = admin.get("held").await;
    assert_eq!(after["approvals"].as_array().unwrap().len(), 2);
    assert_eq!(after["approvals"][0]["plan"], "plan 1");
    let (_, remarks) = admin.get("remarks?limit=1").await;
    assert_eq!(
        (&remarks["remarks"][0]["code"], &remarks["remarks"][0]["by"]),
        (&json!("approved"), &json!("ana (socket)"))
    );
}

#[tokio::test]
async fn what_is_rejected_stays_so_until_it_is_lifted() {
    let admin = Admin::new();
    admin.hold(1..3).await;
    let set = admin.get("held").await.1["set"].clone();
    assert_eq!(admin.post("held/reject", json!({ "set": set })).await.1["users"], 2);
    let (_, after) = admin.get("held").await;
    assert_eq!(after["held"], json!([]));
    assert_eq!(after["restraints"][0]["why"], "rejected");
    let path = format!("held/{}/lift", user(1));
    assert_eq!(admin.post(&path, json!({})).await.1["lifted"], 1);
    assert_eq!(admin.post(&path, json!({})).await.1["lifted"], 0);
    assert_eq!(admin.get(&format!("held/{}", user(1))).await.1["restraints"], json!([]));
    assert_eq!(admin.get(&format!("held/{}", user(2))).await.1["restraints"][0]["by"], "somebody (socket)");
}

#[tokio::test]
async fn jobs_that_are_held_for_another_reason_are_told_too() {
    let admin = Admin::new();
    let hold = Settlement::Hold { code: "ambiguous_match", error: "2 hits by email".to_owned() };
    admin.settle(1, Outcome::of(hold)).await;
    let (_, shown) = admin.get("held").await;
    assert_eq!(
        shown["jobs"],
        json!([{ "user": user(1), "userName": null, "code": "ambiguous_match", "since": admin.now,
                 "words": "2 hits by email" }])
    );
}

#[tokio::test]
async fn there_is_no_end_to_what_was_not_announced() {
    let admin = Admin::new();
    for id in ["3f0c2a9e-1111-4222-8333-444455556666", "x"] {
        let answer = admin.post(&format!("preapprovals/{id}/end"), json!({})).await;
        assert_eq!((answer.0, &answer.1["error"]["code"]), (404, &json!("not_found")));
    }
    assert_eq!(admin.get("preapprovals").await.1, json!({ "preapprovals": [] }));
}

fn drift(attribute: Attribute, owner: Owner, decision: Decision) -> Drift {
    Drift {
        attribute,
        since: Timestamp::UNIX_EPOCH,
        baseline: Some(Held::text("A")),
        shown: Some(Held::text("B")),
        entra: Some(Held::text("A")),
        owner,
        decision,
        why: Why::TargetChanged,
        both_changed: false,
        roles: Vec::new(),
    }
}

/// User 1, linked, changed by hand in three attributes.
async fn drifted(admin: &Admin) {
    let (newest, cxone, entra) = (Owner::Newest, Owner::Cxone, Owner::Entra);
    let drift = vec![
        drift(Attribute::DisplayName, newest, Decision::Keep),
        drift(Attribute::Locale, cxone, Decision::Keep),
        drift(Attribute::Team, entra, Decision::Write),
    ];
    let link = Link {
        scim_id: ScimId("11f0".to_owned()),
        baseline: [(
            Attribute::UserName,
            crate::domain::link::Baseline { source: None, target: Some(Held::text("ana@example.com")) },
        )]
        .into(),
        confirmed_at: admin.now,
        source_fingerprint: None,
        deactivated_by_us: false,
        source_gone: false,
        purged: false,
        returned_at: None,
        normalised: Default::default(),
    };
    let case = CaseChange { drift: Some(drift), ..CaseChange::default() };
    let done = Settlement::Done { recheck_at: None };
    let link = LinkChange::Put(Box::new(link));
    admin.settle(1, Outcome { case, link, ..Outcome::of(done) }).await;
}

#[tokio::test]
async fn drift_is_listed_accepted_and_reverted_as_its_owner_allows() {
    let admin = Admin::new();
    drifted(&admin).await;
    let (_, all) = admin.get("drift").await;
    assert_eq!(all["drift"].as_array().unwrap().len(), 3, "{all:#}");
    assert_eq!((&all["drift"][0]["userName"], &all["next"]), (&json!("ana@example.com"), &Value::Null));
    let (_, one) = admin.get(&format!("drift?user={}&attribute=team", user(1))).await;
    assert_eq!(one["drift"].as_array().unwrap().len(), 1);
    assert_eq!(admin.get("drift?limit=1").await.1["next"], json!(user(1)));
    assert_eq!(admin.get(&format!("drift?after={}", user(1))).await.1["drift"], json!([]));

    let asked = |attributes: &[&str]| json!({ "user": user(1), "attributes": attributes, "by": "ana" });
    let (_, answer) = admin.post("drift/accept", asked(&["team", "locale", "emails"])).await;
    assert_eq!(answer["accepted"], json!(["locale"]));
    let why = |n: usize| answer["refused"][n]["why"].as_str().unwrap().to_owned();
    assert!(why(0).contains("has no drift in emails") && why(1).contains("owned by Entra"), "{answer:#}");
    let link = admin.store.link(user(1)).await.unwrap().unwrap();
    assert_eq!(link.baseline[&Attribute::Locale].target, Some(Held::text("B")));

    let (_, answer) = admin.post("drift/revert", asked(&["locale", "displayName"])).await;
    assert_eq!(answer["ordered"], json!(["displayName"]), "{answer:#}");
    assert_eq!(answer["refused"][0]["attribute"], "locale");
    let order = admin.get(&format!("held/{}", user(1))).await.1["order"].clone();
    assert_eq!((&order["task"]["task"], &order["by"]), (&json!("revert"), &json!("ana (socket)")));
    let (_, nothing) = admin.post("drift/revert", asked(&["emails"])).await;
    assert_eq!(nothing["batch"], Value::Null);
}

#[tokio::test]
async fn an_undo_takes_back_exactly_what_was_shown() {
    let admin = Admin::new();
    for n in 1..4 {
        admin.write(n, 600, off(), None).await;
    }
    let named = |after: &str| Change {
        attribute: Attribute::DisplayName,
        before: None,
        after: Some(Held::text(after)),
    };
    admin.write(1, 4000, vec![named("long ago")], None).await;
    let since = admin.now - Duration::from_secs(3600);
    let asked =
        |dry_run: bool, set: &Value| json!({ "since": since, "dry_run": dry_run, "set": set, "by": "ana" });
    let (status, shown) = admin.post("undo", asked(true, &Value::Null)).await;
    assert_eq!((status, shown["plans"].as_array().unwrap().len()), (200, 3), "{shown:#}");
    let active = json!([{ "attribute": "active", "before": false, "after": true }]);
    assert_eq!((&shown["plans"][0]["changes"], &shown["batch"]), (&active, &Value::Null));
    assert_eq!(admin.jobs().await, [], "only shown");

    admin.write(4, 10, off(), None).await;
    let (status, refused) = admin.post("undo", asked(false, &shown["set"])).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("set_changed")));
    let (_, shown) = admin.post("undo", asked(true, &Value::Null)).await;
    let (_, ordered) = admin.post("undo", asked(false, &shown["set"])).await;
    assert_eq!(ordered["ordered"], 4);
    let batch = ordered["batch"].as_str().unwrap();
    assert_eq!(ordered_at(batch), Some(admin.now));
    assert_eq!(admin.store.working_on(batch).await.unwrap().len(), 4);
    assert_eq!(admin.jobs().await.len(), 4);

    let (_, of_one) = admin.post("undo", json!({ "user": user(1), "dry_run": true })).await;
    assert_eq!(of_one["plans"][0]["changes"].as_array().unwrap().len(), 2, "all of their history");
}

#[tokio::test]
async fn an_order_is_followed_user_by_user_to_its_end() {
    let admin = Admin::new();
    let unknown = crate::domain::case::new_batch(admin.now, &[1; 10]);
    assert_eq!(admin.get(&format!("batches/{unknown}")).await.0, 404);
    for n in 1..6 {
        admin.write(n, 600, off(), None).await;
    }
    let (_, ordered) = admin.post("undo", json!({ "since": admin.now - Duration::from_secs(3600) })).await;
    let batch = ordered["batch"].as_str().unwrap().to_owned();
    let work_done = CaseChange { work_done: Some(batch.clone()), ..CaseChange::default() };
    let done = || Outcome { case: work_done.clone(), ..Outcome::of(Settlement::Done { recheck_at: None }) };
    admin.write(1, 0, off(), Some(&batch)).await;
    admin.settle(1, done()).await;
    let remark = queue::Remark {
        at: admin.now,
        user: Some(user(2)),
        code: "skipped".to_owned(),
        words: "undo: active moved".to_owned(),
        by: None,
        batch: Some(batch.clone()),
    };
    admin.settle(2, Outcome { remarks: vec![remark], ..done() }).await;
    let stop = |hold: bool| match hold {
        true => Settlement::Hold { code: GUARD, error: "over".to_owned() },
        false => Settlement::Park { code: "refused", error: "400".to_owned() },
    };
    admin.settle(3, Outcome::of(stop(true))).await;
    admin.settle(4, Outcome::of(stop(false))).await;
    let (_, found) = admin.get(&format!("batches/{batch}")).await;
    let states: Vec<&Value> = found["users"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["applied", "skipped", "held", "parked", "pending"], "{found:#}");
    let counts = ["ordered", "pending", "held", "parked"].map(|name| found[name].as_u64().unwrap());
    assert_eq!(counts, [5, 1, 1, 1]);
    assert_eq!(found["writes"].as_array().unwrap().len(), 1);
    assert_eq!(found["skipped"][0]["words"], "undo: active moved");
}

#[tokio::test]
async fn the_history_is_asked_by_time_and_order_and_verified() {
    let admin = Admin::new();
    let task = Task::Apply { plan: "p".to_owned() };
    let (at, expires_at, by) = (admin.now, admin.now + Duration::from_secs(60), "ana".to_owned());
    let work = Work { batch: "a".to_owned(), by, at, expires_at, task };
    admin.store.order(vec![(user(1), work)], at).await.unwrap();
    for (n, ago, batch) in [(1, 300, None), (1, 200, Some("a")), (2, 100, None)] {
        admin.write(n, ago, off(), batch).await;
    }
    let n =
        async |query: &str| admin.get(&format!("history{query}")).await.1["writes"].as_array().unwrap().len();
    assert_eq!(n("").await, 3);
    assert_eq!(n("?batch=a").await, 1);
    assert_eq!(n("?before=2026-11-23T11:56:30Z").await, 1);
    let (_, whole) = admin.get("history/verify").await;
    assert_eq!((&whole["entries"], &whole["nBreaks"]), (&json!(7), &json!(0)));
    let path = format!("history/verify?number=7&seal={}", whole["head"].as_str().unwrap());
    assert_eq!(admin.get(&path).await.1["nBreaks"], 0);
    assert_eq!(admin.get("history/verify?number=7&seal=00").await.1["nBreaks"], 1);
}
