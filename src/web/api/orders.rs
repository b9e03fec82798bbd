//! What an operator orders about many users at once, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Answer, MOST, Ours, by, name_of};
use crate::clock::later;
use crate::domain::case::{ORDERS_LAST, Task, Work, new_batch, ordered_at};
use crate::domain::plan::set_hash;
use crate::domain::queue::{self, Remark, Write, WriteResult};
use crate::domain::undo::{Inverse, inverse};
use crate::domain::user::UserId;
use crate::store::Wanted;
use crate::web::private::PrivateState;
use crate::web::wire::{ApiError, ApplyRequest, Sent, UndoRequest};

pub fn router() -> Router<Arc<PrivateState>> {
    Router::new().route("/apply", post(apply)).route("/undo", post(undo)).route("/batches/{id}", get(batch))
}

async fn apply(State(ours): Ours, Sent(asked): Sent<ApplyRequest>) -> Answer<Value> {
    let ApplyRequest { plans, by: name, batch } = asked;
    if plans.is_empty() || plans.len() > MOST {
        return Err(ApiError::invalid(format!("send 1 to {MOST} plans at once")));
    }
    if let Some(batch) = &batch {
        check(batch)?;
    }
    let mut named = BTreeSet::new();
    let mut users = plans.iter().filter_map(|plan| plan["user"].as_str()?.parse::<UserId>().ok());
    if let Some(twice) = users.find(|user| !named.insert(*user)) {
        return Err(ApiError::invalid(format!("user {twice} is there twice: send one plan a user")));
    }
    let by = by(&ours, name)?;
    Ok(Json(ours.operations.apply(plans, by, batch).await?))
}

/// Refuses what is no id of an order.
fn check(batch: &str) -> Result<(), ApiError> {
    match ordered_at(batch) {
        Some(_) => Ok(()),
        None => Err(ApiError::invalid("that is not the id of an order")),
    }
}

/// Orders that writes be taken back, or only says what that comes to.
async fn undo(State(ours): Ours, Sent(asked): Sent<UndoRequest>) -> Answer<Value> {
    let UndoRequest { user, since, before, batch, dry_run, set, by: name } = asked;
    if user.is_none() && since.is_none() && batch.is_none() {
        return Err(ApiError::invalid("say what to undo: user, since or batch"));
    }
    let (by, now) = (by(&ours, name)?, ours.clock.now());
    batch.as_deref().map(check).transpose()?;
    let before = before.unwrap_or(now);
    if since.is_some_and(|since| since >= before) {
        return Err(ApiError::invalid("since must be earlier than now"));
    }
    let wanted = Wanted { user, since, before: Some(before), batch };
    let mut of_user: BTreeMap<UserId, Vec<Write>> = BTreeMap::new();
    for write in ours.store.writes(wanted, usize::MAX).await? {
        of_user.entry(write.user).or_default().push(write);
    }
    let inverses: BTreeMap<UserId, Inverse> =
        of_user.into_iter().map(|(user, writes)| (user, inverse(&writes))).collect();
    let named: Vec<(UserId, String)> =
        inverses.iter().map(|(user, inverse)| (*user, json!(inverse.changes).to_string())).collect();
    let found = set_hash(named.iter().map(|(user, changes)| (*user, changes.as_str())));
    if set.is_some_and(|set| set != found) {
        let message = "what would be undone is not what was shown: look again";
        return Err(ApiError::new(StatusCode::CONFLICT, "set_changed", message).with("set", found));
    }
    let mut plans = Vec::with_capacity(inverses.len());
    for (user, Inverse { changes, skipped, .. }) in &inverses {
        let name = name_of(&ours, *user).await?;
        plans.push(json!({ "user": user, "userName": name, "changes": changes, "skipped": skipped }));
    }
    let mut answer = json!({ "plans": plans, "set": found, "before": before, "batch": null, "ordered": 0 });
    if dry_run.unwrap_or(false) {
        return Ok(Json(answer));
    }
    let (batch, expires_at) = (new_batch(now, &ours.random.secret()), later(now, ORDERS_LAST));
    let with_changes = inverses.into_iter().filter(|(_, inverse)| !inverse.changes.is_empty());
    let orders: Vec<(UserId, Work)> = with_changes
        .map(|(user, Inverse { changes, evidence, .. })| {
            let (batch, by, task) = (batch.clone(), by.clone(), Task::Undo { changes, evidence });
            (user, Work { batch, by, at: now, expires_at, task })
        })
        .collect();
    answer["ordered"] = json!(orders.len());
    if !orders.is_empty() {
        answer["batch"] = json!(batch);
        tracing::info!(
            users = orders.len(),
            batch,
            "an operator takes writes to {} users back",
            orders.len()
        );
        ours.store.order(orders, now).await?;
    }
    Ok(Json(answer))
}

/// Where an order stands with one user.
struct Standing {
    state: &'static str,
    words: Option<String>,
}

/// What became of an order: user by user, its writes, and what was skipped.
async fn batch(State(ours): Ours, Path(id): Path<String>) -> Answer<Value> {
    check(&id)?;
    let wanted = Wanted { batch: Some(id.clone()), ..Wanted::default() };
    let pending: BTreeSet<UserId> = ours.store.working_on(&id).await?.into_iter().collect();
    // Read after that, so that who is done has their write here.
    let writes = ours.store.writes(wanted.clone(), usize::MAX).await?;
    let remarks = ours.store.wanted_remarks(wanted, usize::MAX).await?;
    let named = remarks.iter().filter_map(|remark| remark.user).chain(pending.iter().copied());
    let everybody: BTreeSet<UserId> = named.collect();
    if everybody.is_empty() {
        let message = format!("there is no order {id}, or it is older than the history");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", message));
    }
    let (mut users, mut counts) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for user in &everybody {
        let Standing { state, words } = match pending.contains(user) {
            true => still_open(&ours, *user).await?,
            false => over(*user, &writes, &remarks),
        };
        *counts.entry(state).or_default() += 1;
        users.push(json!({ "user": user, "state": state, "words": words }));
    }
    let n = |state: &str| counts.get(state).copied().unwrap_or(0);
    let skipped: Vec<&Remark> = remarks.iter().filter(|remark| remark.code == "skipped").collect();
    Ok(Json(json!({
        "batch": id, "ordered": everybody.len(), "pending": n("pending"), "held": n("held"),
        "parked": n("parked"), "users": users, "writes": writes, "skipped": skipped,
    })))
}

async fn still_open(ours: &PrivateState, user: UserId) -> Result<Standing, ApiError> {
    let job = ours.store.job(user).await?;
    let words = job.as_ref().and_then(|job| job.last_error.clone());
    let state = match job.map(|job| job.state) {
        Some(queue::State::Held) => "held",
        Some(queue::State::Parked) => "parked",
        _ => "pending",
    };
    Ok(Standing { state, words })
}

fn over(user: UserId, writes: &[Write], remarks: &[Remark]) -> Standing {
    let (state, words) = match writes.iter().find(|write| write.user == user).map(|write| &write.result) {
        Some(WriteResult::Applied) => ("applied", None),
        Some(WriteResult::NotApplied) => ("not_applied", None),
        Some(WriteResult::Unknown { error }) => ("unknown", Some(error.clone())),
        Some(WriteResult::Refused { error }) => ("refused", Some(error.clone())),
        Some(WriteResult::Pending) => ("pending", None),
        None => {
            let skip = |remark: &&Remark| remark.user == Some(user) && remark.code == "skipped";
            match remarks.iter().find(skip) {
                Some(skipped) => ("skipped", Some(skipped.words.clone())),
                None => ("nothing", None),
            }
        }
    };
    Standing { state, words }
}
