//! Answers what the private listener is asked and only the worker can tell or do.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::clock::until;
use crate::cxone::Search;
use crate::domain::case::Preapproval;
use crate::domain::guard::Spend;
use crate::domain::observed::Observed;
use crate::domain::queue::Chore;
use crate::domain::retry::Failure;
use crate::domain::rules::MatchKey;
use crate::domain::subscription::Subscription;
use crate::domain::user::{GroupId, UserId};
use crate::outbound::Transport;
use crate::telemetry::Progress;
use crate::web::operations::{Operation, OperationError, Whom};
use crate::worker::Worker;
use crate::worker::adopt::NotAdopted;
use crate::worker::apply::Filed;
use crate::worker::failure::{Fault, Stopped};
use crate::worker::learn::NotLearned;

use super::configured::Configured;
use super::doctor::Patient;
use super::handshake;

type Answer = Result<Json, OperationError>;

/// Answers until nobody can ask any more, each question in a task of its own.
pub async fn answer_all(
    worker: Worker,
    transport: Transport,
    configured: Arc<Configured>,
    mut asked: mpsc::Receiver<Operation>,
) {
    while let Some(operation) = asked.recv().await {
        let (worker, transport, configured) = (worker.present(), transport.clone(), configured.clone());
        let tasks = worker.tasks.clone();
        tasks.spawn(async move {
            let (answer, reply) = match operation {
                Operation::Resolve { user, reply } => {
                    (resolve(&worker, &user).await.map(|user| json!({ "user": user })), reply)
                }
                Operation::Plan { whom, progress, reply } => (plan(&worker, whom, &progress).await, reply),
                Operation::Apply { plans, by, batch, reply } => {
                    (apply(&worker, plans, by, batch).await, reply)
                }
                Operation::Preapprove { group, most, until, by, reply } => {
                    (preapprove(&worker, group, most, until, by).await, reply)
                }
                Operation::Explain { user, at, reply } => (explain(&worker, &user, at).await, reply),
                Operation::Adopt { dry_run, progress, reply } => {
                    (adopt(&worker, dry_run, &progress).await, reply)
                }
                Operation::Subscriptions { reply } => (subscriptions(&worker).await, reply),
                Operation::Subscribe { reply } => (subscribe(&worker, transport).await, reply),
                Operation::Renew { id, reply } => (renew(&worker, &id).await, reply),
                Operation::Unsubscribe { id, reply } => (unsubscribe(&worker, &id).await, reply),
                Operation::SyncAll { reply } => (sync_all(&worker).await, reply),
                Operation::Simulate { name, text, since, reply } => {
                    (configured.simulate(&worker, &name, &text, since).await, reply)
                }
                Operation::Doctor { reply } => (doctor(&worker, transport, &configured).await, reply),
                Operation::Learn { user, plan, reply } => (learn(&worker, &user, plan).await, reply),
                Operation::Lint { reply } => (worker.lint().await.map_err(failed), reply),
                Operation::Reload { reply } => (configured.reload(&worker).await, reply),
                Operation::TestEvents { reply } => (Ok(worker.test_events().await), reply),
                Operation::Status { reply } => (status(&worker, &configured).await, reply),
            };
            // The asker may have gone; the work is done all the same.
            reply.send(answer).ok();
        });
    }
}

pub fn failed(stopped: Stopped) -> OperationError {
    let (code, status) = match &stopped {
        Stopped::Store(_) => ("store", 503),
        Stopped::By(Fault { failure: Failure::Outage(_), reached: true, .. }) => ("credentials", 502),
        Stopped::By(Fault { failure: Failure::Rejected { .. }, .. }) => ("rejected", 409),
        Stopped::By(_) => ("unreachable", 502),
    };
    OperationError { code, message: stopped.words(), status }
}

fn not_found(message: String) -> OperationError {
    OperationError { code: "not_found", message, status: 404 }
}

/// An object id is taken as it is; anything else is looked up as a user principal name, and where the
/// directory has none of it, as a user name of CXone.
async fn resolve(worker: &Worker, user: &str) -> Result<UserId, OperationError> {
    if let Ok(id) = user.parse() {
        return Ok(id);
    }
    match worker.graph.user_by_name(user).await {
        Ok(Observed::Present(found)) => return Ok(found.id),
        Ok(Observed::Absent) => {}
        Err(error) => return Err(failed(error.into())),
    }
    // Who left the directory is still somebody in CXone.
    let found = worker.cxone.find(MatchKey::UserName, user).await.map_err(|error| failed(error.into()))?;
    let linked = match found {
        Search::One(account) => worker.store.linked_to(&account.view.id).await,
        Search::None | Search::Many(_) | Search::Refused => Ok(None),
    };
    linked.map_err(|error| failed(error.into()))?.ok_or_else(|| {
        not_found(
            "neither the directory nor, among those who are linked, CXone has a user of this name; give the \
             object id, the user principal name or the CXone user name"
                .to_owned(),
        )
    })
}

async fn plan(worker: &Worker, whom: Whom, progress: &Progress) -> Answer {
    let ids = match whom {
        Whom::All => worker.everybody(progress).await.map_err(failed)?,
        Whom::Group(group) => members(worker, group).await?.into_iter().collect(),
        Whom::Users(users) => {
            let mut ids = Vec::with_capacity(users.len());
            for user in &users {
                ids.push(resolve(worker, user).await?);
            }
            ids
        }
    };
    worker.plan_many(ids, progress).await.map_err(|error| failed(error.into()))
}

/// Who is in the group now.
async fn members(worker: &Worker, group: GroupId) -> Result<BTreeSet<UserId>, OperationError> {
    match worker.users_of(group).await.map_err(failed)? {
        Observed::Present(users) => Ok(users),
        Observed::Absent => Err(not_found(format!("the directory has no group {group}"))),
    }
}

async fn apply(worker: &Worker, plans: Vec<Json>, by: String, batch: Option<String>) -> Answer {
    let read = |plan: &Json| Filed::deserialize(plan);
    let plans: Result<Vec<Filed>, _> = plans.iter().map(read).collect();
    let plans = plans.map_err(|error| {
        OperationError::new(400, "invalid", format!("plans must be those that `plan --out` wrote: {error}"))
    })?;
    worker.apply(plans, by, batch).await.map_err(|error| failed(error.into()))
}

async fn preapprove(worker: &Worker, group: GroupId, most: u64, until: Timestamp, by: String) -> Answer {
    let users = members(worker, group).await?;
    let (id, n_users) = (worker.random.guid(), users.len() as u64);
    let at = worker.clock.now();
    let preapproval = Preapproval { id, group, users: n_users, most, used: 0, by, at, until };
    worker.store.preapprove(preapproval.clone(), users).await.map_err(|error| failed(error.into()))?;
    Ok(json!(preapproval))
}

async fn explain(worker: &Worker, user: &str, at: Option<Timestamp>) -> Answer {
    let user = resolve(worker, user).await?;
    match at {
        None => worker.explain(user).await.map_err(failed),
        Some(at) => worker.explain_at(user, at).await.map_err(failed),
    }
}

async fn adopt(worker: &Worker, dry_run: bool, progress: &Progress) -> Answer {
    let report = worker.adopt(dry_run, progress).await.map_err(|why| match why {
        NotAdopted::UnderWay => {
            OperationError::new(409, "under_way", "another adoption runs: wait for its end")
        }
        NotAdopted::GroupsUnread(why) => {
            let message = format!("cannot tell who is in scope: {why}");
            OperationError::new(409, "groups_unread", message)
        }
        NotAdopted::Stopping => OperationError::new(503, "not_running", "the service is stopping"),
        NotAdopted::Stopped(stopped) => failed(stopped),
    })?;
    Ok(json!(report))
}

fn shown(worker: &Worker, subscription: &Subscription) -> Json {
    let seconds_left = until(worker.clock.now(), subscription.expires_at).as_secs();
    let mut shown = json!(subscription);
    shown["seconds_left"] = json!(seconds_left);
    shown
}

/// What Graph lists, and whose it is.
async fn subscriptions(worker: &Worker) -> Answer {
    let kept = worker.store.subscriptions().await.map_err(|error| failed(error.into()))?;
    let remote = worker.graph.subscriptions().await.map_err(|error| failed(error.into()))?;
    let mut all: Vec<Json> = remote
        .iter()
        .map(|remote| {
            let ours = kept.iter().any(|kept| kept.id == remote.subscription.id);
            let mut shown = shown(worker, &remote.subscription);
            shown["state"] = json!(if ours { "ours" } else { "foreign" });
            shown
        })
        .collect();
    for lost in kept.iter().filter(|kept| !remote.iter().any(|remote| remote.subscription.id == kept.id)) {
        let mut shown = shown(worker, lost);
        shown["state"] = json!("lost");
        all.push(shown);
    }
    Ok(json!({ "subscriptions": all }))
}

async fn subscribe(worker: &Worker, transport: Transport) -> Answer {
    let Some(urls) = &worker.settings.urls else {
        let message = "service.public_url is not configured: Graph needs an address to call".to_owned();
        return Err(OperationError { code: "configuration", message, status: 409 });
    };
    let mut checks = Vec::new();
    for url in [&urls.notification, &urls.lifecycle] {
        checks.push(
            handshake::check(
                url,
                transport.clone(),
                worker.clock.clone(),
                &worker.random,
                worker.metrics.clone(),
            )
            .await,
        );
    }
    if let Some(failed) = checks.iter().find(|check| !check.ok) {
        // Graph would refuse too, with fewer words.
        let mut check = json!(failed);
        check["checks"] = json!(checks);
        return Ok(json!({ "check": check, "subscriptions": [] }));
    }
    let made = worker.subscribe().await.map_err(failed)?;
    let made: Vec<Json> = made.iter().map(|subscription| shown(worker, subscription)).collect();
    Ok(json!({ "check": { "ok": true, "url": checks[0].url, "checks": checks }, "subscriptions": made }))
}

async fn renew(worker: &Worker, id: &str) -> Answer {
    match worker.renew(id).await.map_err(failed)? {
        Observed::Present(renewed) => Ok(json!({ "subscription": shown(worker, &renewed) })),
        Observed::Absent => Err(not_found(format!(
            "subscription {id} is not one of ours; `cxone-sync subscriptions list` shows them"
        ))),
    }
}

async fn unsubscribe(worker: &Worker, id: &str) -> Answer {
    match worker.unsubscribe(id).await.map_err(failed)? {
        Observed::Present(()) => Ok(json!({ "deleted": id })),
        Observed::Absent => Err(not_found(format!("Graph has no subscription {id}"))),
    }
}

async fn doctor(worker: &Worker, transport: Transport, configured: &Configured) -> Answer {
    let patient = Patient::of_parts(worker, transport, configured);
    Ok(json!({ "findings": patient.examine().await }))
}

/// What would be written, or, agreed to, what came of it.
async fn learn(worker: &Worker, user: &str, agreed: Option<String>) -> Answer {
    let user = resolve(worker, user).await?;
    let answer = match agreed {
        None => worker.would_learn(user).await.map(|proposal| json!(proposal)),
        Some(plan) => worker.learn(user, &plan).await.map(|learning| json!(learning)),
    };
    answer.map_err(|why| match why {
        NotLearned::NoAccount => not_found(
            "no one CXone account is known to be this user's: `cxone-sync explain` says why, and `cxone-sync sync \
             user` links what it finds"
                .to_owned(),
        ),
        NotLearned::Protected(why) => {
            OperationError::new(409, "protected", format!("this account is never written: {why}"))
        }
        NotLearned::NothingToChange => OperationError::new(
            409,
            "nothing_to_change",
            "the account shows neither a telephone number nor an address that could be changed and taken back: name \
             another user",
        ),
        NotLearned::OtherByNow { plan } => OperationError::new(
            409,
            "set_changed",
            format!("the account is not as it was when this was agreed to (it is {plan} by now): look again"),
        ),
        NotLearned::Forbidden => OperationError::new(
            409,
            "held",
            "an operator has forbidden this change of this user: `cxone-sync held show` names it; or name another user",
        ),
        NotLearned::Stopped(stopped) => failed(stopped),
    })
}

/// Everybody is looked at again, by a full delta round.
async fn sync_all(worker: &Worker) -> Answer {
    let now = worker.clock.now();
    worker.store.schedule(Chore::FullCompare, now, now).await.map_err(|error| failed(error.into()))?;
    Ok(json!({ "scheduled": "fullCompare", "at": now }))
}

async fn status(worker: &Worker, configured: &Configured) -> Answer {
    let gate = |closed: Option<Timestamp>| json!(closed);
    let circuits: serde_json::Map<String, Json> =
        worker.circuits().into_iter().map(|(api, state)| (api.to_owned(), json!(state))).collect();
    let guard = worker.guard_json(&Spend::default()).await.map_err(|error| failed(error.into()))?;
    let events = worker.receivers_status().await.map_err(|error| failed(error.into()))?;
    Ok(json!({
        "mode": if worker.settings.observe { "observe" } else { "write" },
        "circuits": circuits,
        "closedUntil": { "graph": gate(worker.graph.closed_until()), "cxone": gate(worker.cxone.closed_until()) },
        "cxone": { "concurrency": worker.cxone.concurrency(), "learned": worker.cxone.learned() },
        "guard": guard,
        "events": events,
        "credentials": configured.ends(worker.clock.now()),
    }))
}
