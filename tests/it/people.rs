//! What becomes of people in the cases that go wrong elsewhere: hired again, deleted by hand, already
//! there, and sharing an address.

use cxone_sync::app::Running;
use cxone_sync::clock::Clock;
use cxone_sync::domain::plan::set_hash;
use cxone_sync::domain::queue::{State, WriteResult};
use cxone_sync::domain::user::ScimId;
use cxone_sync::sim::{CxoneOptions, GraphOptions};
use cxone_sync::store::{Ruled, Ruling, Verdict};
use serde_json::{Value, json};

use super::stage::{Stage, stop, until, until_async};

const NO_POLL: (&str, &str) = ("sync.poll_interval", "6d");

fn is_active(stage: &Stage, account: &str) -> bool {
    stage.cxone().user(account).is_some_and(|user| user["active"] == json!(true))
}

fn account_id(stage: &Stage, user: &str) -> String {
    stage.account(user).unwrap()["id"].as_str().unwrap().to_owned()
}

fn by_hand(name: &str, active: bool) -> Value {
    let address = format!("{}@example.com", name.to_lowercase());
    json!({
        "userName": address, "name": { "givenName": name, "familyName": "Martin" }, "displayName": name,
        "emails": [{ "value": address, "type": "work", "primary": true }], "active": active,
        "roles": [{ "display": "Agent", "primary": true }],
    })
}

/// Somebody who left, and is another object in Entra with the same name: the old one, the new one, and the
/// account, which is on again.
async fn hired_again(stage: &Stage) -> (String, String, String) {
    let first = stage.hire("Ana");
    stage.arrives(&first).await;
    let account = account_id(stage, &first);
    stage.graph().soft_delete(&first);
    assert!(until(|| !is_active(stage, &account)).await);
    let again = stage.hire("Ana");
    assert!(until(|| is_active(stage, &account)).await, "locked out: {:#?}", stage.cxone().users());
    (first, again, account)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_hired_again_gets_their_old_account_back() {
    let stage = Stage::new();
    // That somebody is gone for good is told by the poll.
    let running = stage.serve(&[("sync.poll_interval", "1s")]).await;
    let (first, again, account) = hired_again(&stage).await;
    assert_eq!(stage.cxone().users().len(), 1, "and no second account");
    let user = again.parse().unwrap();
    let linked = until_async(|| async { running.store.link(user).await.unwrap().is_some() }).await;
    assert!(linked);
    assert_eq!(running.store.link(user).await.unwrap().unwrap().scim_id.0, account);

    // That the old object is gone for good changes nothing for who has the account now.
    stage.graph().hard_delete(&first);
    let old = first.parse().unwrap();
    let forgotten = until_async(|| async { running.store.link(old).await.unwrap().is_none() }).await;
    assert!(
        forgotten,
        "{:?} {:?}",
        running.store.job(old).await,
        running.store.history(Some(old), None, 9).await
    );
    assert!(is_active(&stage, &account));
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_restored_after_their_account_was_passed_on_does_not_get_it_back() {
    let stage = Stage::new();
    let running = stage.serve(&[NO_POLL]).await;
    let (first, again, account) = hired_again(&stage).await;
    stage.graph().restore(&first);
    let old = first.parse().unwrap();
    let is_held = async || {
        let job = running.store.job(old).await.unwrap();
        job.is_some_and(|job| job.stopped.as_deref() == Some("match_taken"))
    };
    assert!(until_async(is_held).await, "{:?}", running.store.job(old).await);
    let before = stage.cxone().users();
    stage.sent();
    // Once more, now that the first run has noted that they are back.
    stage.graph().update_user(&first, json!({ "surname": "Rossi" }));
    stage.graph().remove_member(&stage.roles[0].0, &first);
    stage.graph().add_member(&stage.roles[1].0, &first);
    stage.graph().update_user(&again, json!({ "surname": "Silva" }));
    let named = || stage.cxone().users().iter().any(|user| user["name"]["familyName"] == "Silva");
    assert!(until(named).await);
    running.store.retry(None, &[State::Held], Clock::system().now()).await.unwrap();
    let at_rest = async || {
        let depth = running.store.depth(Clock::system().now()).await.unwrap();
        depth.due == 0 && depth.running == 0
    };
    assert!(until_async(at_rest).await);
    assert!(is_held().await, "{:?}", running.store.job(old).await);
    assert_eq!(stage.sent().len(), 1, "only what the new owner's name has become");
    assert_eq!(stage.cxone().users().len(), before.len());
    let owner = running.store.linked_to(&ScimId(account)).await.unwrap();
    assert_eq!(owner, Some(again.parse().unwrap()));
    stop(running).await;
}

/// Rejects the one change that the guard holds.
async fn reject_what_is_held(running: &Running) {
    let held = async || running.store.held().await.unwrap();
    assert!(until_async(|| async { held().await.len() == 1 }).await);
    let (user, item) = held().await.remove(0);
    let set = set_hash([(user, item.plan.as_str())]);
    let ruling = Ruling { users: Vec::new(), set, by: "ana".to_owned(), verdict: Verdict::Reject };
    assert_eq!(running.store.rule(ruling, Clock::system().now()).await.unwrap(), Ruled::Done { users: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_enabled_again_is_not_kept_on_the_next_time_although_the_scope_cannot_be_told() {
    let stage = Stage::new();
    let keys = [("guard.deactivations.per_hour", "0"), ("scope.rules", "['CInt([employeeId]) > 1']")];
    let running = stage.serve(&keys).await;
    let ana = stage.hire("Ana");
    stage.graph().update_user(&ana, json!({ "employeeId": "7" }));
    stage.arrives(&ana).await;
    let user = ana.parse().unwrap();
    stage.graph().disable(&ana);
    reject_what_is_held(&running).await;
    let kept = async || !running.store.case(user).await.unwrap().unwrap_or_default().restraints.is_empty();
    assert!(kept().await);
    stage.graph().update_user(&ana, json!({ "accountEnabled": true, "employeeId": "none" }));
    assert!(until_async(|| async { !kept().await }).await, "{:?}", running.store.job(user).await);
    stage.graph().disable(&ana);
    assert!(until_async(|| async { running.store.held().await.unwrap().len() == 1 }).await);
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_kept_on_although_deleted_can_still_be_turned_off_when_they_are_purged() {
    let stage = Stage::new();
    let nobody = ("guard.deactivations.per_hour", "0");
    let running = stage.serve(&[("sync.poll_interval", "1s"), nobody]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    let (account, user) = (account_id(&stage, &ana), ana.parse().unwrap());
    stage.graph().soft_delete(&ana);
    reject_what_is_held(&running).await;
    stage.graph().hard_delete(&ana);
    let purged = until_async(|| async {
        let seen = running.store.state_at(user, jiff::Timestamp::MAX).await.unwrap();
        seen.and_then(|seen| seen.gone).is_some_and(|gone| gone.is_permanent())
    });
    assert!(purged.await, "{:?}", running.store.job(user).await);
    assert!(is_active(&stage, &account), "kept on");
    assert!(running.store.link(user).await.unwrap().is_some(), "or nobody could end that");
    // Hired again, they get it back.
    let again = stage.hire("Ana");
    let new = again.parse().unwrap();
    let passed_on = async || running.store.linked_to(&ScimId(account.clone())).await.unwrap() == Some(new);
    assert!(until_async(passed_on).await, "{:?}", running.store.job(new).await);
    assert_eq!(stage.cxone().users().len(), 1);
    running.store.lift(user, "ana".to_owned(), Clock::system().now()).await.unwrap();
    assert!(until_async(|| async { running.store.job(user).await.unwrap().is_some() }).await);
    // Nobody tells of it any more: that they are nowhere counts after ten minutes.
    let is_sought = async || {
        let job = running.store.job(user).await.unwrap();
        job.is_some_and(|job| job.absent_since.is_some() && job.state == State::Waiting)
    };
    assert!(until_async(is_sought).await, "{:?}", running.store.job(user).await);
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_in_use_is_passed_on_to_nobody() {
    let stage = Stage::new();
    let running = stage.serve(&[NO_POLL]).await;
    let first = stage.hire("Ana");
    stage.arrives(&first).await;
    // Somebody else comes to the same name while the first is there.
    let second = stage.hire("Ana");
    let user = second.parse().unwrap();
    let held = until_async(|| async {
        running.store.job(user).await.unwrap().is_some_and(|job| job.state == State::Held)
    });
    assert!(held.await);
    assert_eq!(running.store.job(user).await.unwrap().unwrap().stopped.as_deref(), Some("match_taken"));
    assert_eq!(stage.cxone().users().len(), 1);
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_deleted_by_hand_is_made_anew_for_who_is_still_here() {
    let stage = Stage::new();
    let running = stage.serve(&[NO_POLL]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    let old = account_id(&stage, &ana);
    stage.cxone().delete_by_hand(&old);
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    stage.arrives(&ana).await;
    assert_ne!(account_id(&stage, &ana), old);

    // Whoever left meanwhile gets none.
    let account = account_id(&stage, &ana);
    stage.graph().disable(&ana);
    assert!(until(|| !is_active(&stage, &account)).await);
    stage.cxone().delete_by_hand(&account);
    stage.sent();
    let before = stage.cxone().load().total_requests;
    stage.graph().update_user(&ana, json!({ "surname": "Rossi" }));
    assert!(until(|| stage.cxone().load().total_requests > before).await);
    let user = ana.parse().unwrap();
    let idle = until_async(|| async {
        running.store.job(user).await.unwrap().is_none_or(|job| job.state == State::Waiting)
    });
    assert!(idle.await);
    assert_eq!(stage.sent(), vec![]);
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_holder_of_the_name_is_taken_on_and_turned_on() {
    let stage = Stage::new();
    let account = stage.cxone().add_user(by_hand("Ana", false));
    let running = stage.serve(&[NO_POLL]).await;
    let ana = stage.hire("Ana");
    assert!(until(|| is_active(&stage, &account)).await);
    assert_eq!(stage.cxone().users().len(), 1);
    let user = ana.parse().unwrap();
    let linked = until_async(|| async { running.store.link(user).await.unwrap().is_some() }).await;
    assert!(linked);
    assert!(stage.sent().iter().all(|(method, _)| method != "POST"));
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_people_with_one_address_only_one_gets_the_account_and_the_other_waits_for_an_operator() {
    let stage = Stage::with(GraphOptions::default(), CxoneOptions::default());
    let account = stage.cxone().add_user(by_hand("Desk", true));
    let running = stage.serve(&[NO_POLL, ("cxone.match", "[\"email\"]"), ("sync.create", "false")]).await;
    let both: Vec<String> = ["Ana", "Ben"]
        .iter()
        .map(|name| {
            let user = stage.hire(name);
            stage.graph().update_user(&user, json!({ "mail": "desk@example.com" }));
            user
        })
        .collect();
    let state = async |user: &String| running.store.job(user.parse().unwrap()).await.unwrap();
    let held = until_async(|| async {
        let mut n = 0;
        for user in &both {
            n += usize::from(
                state(user).await.is_some_and(|job| job.stopped.as_deref() == Some("match_taken")),
            );
        }
        n == 1
    });
    assert!(held.await);
    let mut linked = Vec::new();
    for user in &both {
        linked.extend(running.store.link(user.parse().unwrap()).await.unwrap());
    }
    assert_eq!(linked.len(), 1, "{linked:?}");
    assert_eq!(linked[0].scim_id.0, account);
    assert!(is_active(&stage, &account));
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_to_sign_in_by_is_one_change_of_one_account() {
    let stage = Stage::new();
    let running = stage.serve(&[NO_POLL]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    let account = account_id(&stage, &ana);
    stage.sent();
    stage.graph().update_user(&ana, json!({ "userPrincipalName": "silva@example.com" }));
    stage.arrives(&ana).await;
    assert_eq!(account_id(&stage, &ana), account);
    let sent = stage.sent();
    assert_eq!(sent.len(), 1, "{sent:#?}");
    assert_eq!(sent[0].1["Operations"][0]["path"], "userName");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_protected_since_it_was_last_read_is_not_written() {
    let stage = Stage::new();
    let keys = [NO_POLL, ("cxone.trust_baseline_for", "1h"), ("guard.protected_roles", "[\"Owner\"]")];
    let running = stage.serve(&keys).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    let user = ana.parse().unwrap();
    assert!(until_async(|| async { running.store.job(user).await.unwrap().is_none() }).await);
    let account = account_id(&stage, &ana);
    stage.cxone().edit_by_hand(&account, json!({ "roles": [{ "value": "Agent" }, { "value": "Owner" }] }));
    stage.sent();
    stage.graph().disable(&ana);
    let looked = until_async(|| async {
        running.store.state_at(user, jiff::Timestamp::MAX).await.unwrap().is_some_and(|seen| !seen.enabled)
    });
    assert!(looked.await, "{:?}", running.store.job(user).await);
    assert_eq!((stage.sent(), is_active(&stage, &account)), (vec![], true));
    let writes = running.store.history(Some(user), None, 1).await.unwrap();
    assert!(
        matches!(&writes[0].result, WriteResult::Refused { error } if error.contains("protected")),
        "{writes:?}"
    );
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_observed_is_written_once_that_is_allowed() {
    let stage = Stage::new();
    let ana = stage.hire("Ana");
    let running = stage.serve(&[("sync.mode", "observe")]).await;
    let user = ana.parse().unwrap();
    let seen = until_async(|| async {
        running.store.case(user).await.unwrap().is_some_and(|case| case.observed.is_some())
    });
    assert!(seen.await, "the plan is kept where an operator sees it");
    assert_eq!(stage.sent(), vec![]);
    stop(running).await;
    let running = stage.serve(&[]).await;
    stage.arrives(&ana).await;
    assert_eq!(running.store.case(user).await.unwrap(), None);
    stop(running).await;
}
