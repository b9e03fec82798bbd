//! What stands before an operator: what is held, what they said of it, and what they announced.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Answer, MOST, Ours, by, few, name_of, resolve};
use crate::clock::{later, until};
use crate::domain::plan::set_hash;
use crate::domain::queue::{GUARD, State as JobState};
use crate::domain::user::UserId;
use crate::store::{Ruled, Ruling, Verdict};
use crate::web::private::PrivateState;
use crate::web::wire::{ApiError, ByRequest, PreapproveRequest, RulingRequest, Sent, user_name};

pub fn router() -> Router<Arc<PrivateState>> {
    Router::new()
        .route("/held", get(list))
        .route("/held/approve", post(approve))
        .route("/held/reject", post(reject))
        .route("/held/{user}", get(show))
        .route("/held/{user}/lift", post(lift))
        .route("/preapprovals", get(preapprovals).post(preapprove))
        .route("/preapprovals/{id}/end", post(end_preapproval))
}

/// How long an approval holds if nothing is said.
const APPROVED_FOR: Duration = Duration::from_secs(24 * 3600);
/// So long may an approval or an announcement hold at most.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Everything that waits for an operator, and everything an operator said that still holds.
async fn list(State(ours): Ours) -> Answer<Value> {
    let items = ours.store.held().await?;
    let set = set_hash(items.iter().map(|(user, item)| (*user, item.plan.as_str())));
    let set = (!items.is_empty()).then_some(set);
    let now = ours.clock.now();
    let (mut approvals, mut restraints, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = ours.store.cases(after, MOST).await?;
        after = page.last().map(|(user, _)| *user);
        let is_last = page.len() < MOST;
        for (user, case) in page {
            if let Some(approval) = case.approval.filter(|approval| now < approval.expires_at) {
                approvals.push(of_user(&ours, user, json!(approval)).await?);
            }
            for restraint in &case.restraints {
                restraints.push(of_user(&ours, user, json!(restraint)).await?);
            }
        }
        if is_last {
            break;
        }
    }
    let mut held = Vec::with_capacity(items.len());
    for (user, item) in items {
        held.push(of_user(&ours, user, json!(item)).await?);
    }
    let preapprovals = ours.store.preapprovals().await?;
    Ok(Json(json!({
        "set": set, "held": held, "jobs": held_jobs(&ours).await?, "approvals": approvals,
        "restraints": restraints, "preapprovals": preapprovals,
    })))
}

/// `what`, with whom it is about before it.
async fn of_user(ours: &PrivateState, user: UserId, what: Value) -> Result<Value, ApiError> {
    let mut whole = json!({ "user": user, "userName": name_of(ours, user).await? });
    if let (Value::Object(whole), Value::Object(what)) = (&mut whole, what) {
        whole.extend(what);
    }
    Ok(whole)
}

/// The jobs that are held for another reason than the guard.
async fn held_jobs(ours: &PrivateState) -> Result<Vec<Value>, ApiError> {
    let (mut held, mut after) = (Vec::new(), None);
    loop {
        let page = ours.store.jobs(Some(JobState::Held), MOST, after).await?;
        after = page.last().map(|job| job.user);
        let is_last = page.len() < MOST;
        for job in page.into_iter().filter(|job| job.stopped.as_deref() != Some(GUARD)) {
            let about = json!({ "code": job.stopped, "since": job.changed_at, "words": job.last_error });
            held.push(of_user(ours, job.user, about).await?);
        }
        if is_last {
            return Ok(held);
        }
    }
}

/// All that is open about one user.
async fn show(State(ours): Ours, Path(user): Path<String>) -> Answer<Value> {
    let user = resolve(&ours, user_name(&user)?).await?;
    let case = ours.store.case(user).await?.unwrap_or_default();
    let about = json!({
        "job": ours.store.job(user).await?, "held": case.held, "approval": case.approval, "order": case.work,
        "restraints": case.restraints, "drift": case.drift, "observed": case.observed,
    });
    Ok(Json(of_user(&ours, user, about).await?))
}

async fn approve(State(ours): Ours, Sent(asked): Sent<RulingRequest>) -> Answer<Value> {
    let lasts = asked.expires_seconds.map_or(APPROVED_FOR, Duration::from_secs);
    if lasts.is_zero() || lasts > LONGEST {
        return Err(ApiError::invalid("an approval must expire within 30 days, and not at once"));
    }
    let expires_at = later(ours.clock.now(), lasts);
    rule(&ours, asked, Verdict::Approve { expires_at }).await
}

async fn reject(State(ours): Ours, Sent(asked): Sent<RulingRequest>) -> Answer<Value> {
    if asked.expires_seconds.is_some() {
        return Err(ApiError::invalid("a rejection does not expire: it holds until it is lifted"));
    }
    rule(&ours, asked, Verdict::Reject).await
}

async fn rule(ours: &PrivateState, asked: RulingRequest, verdict: Verdict) -> Answer<Value> {
    let RulingRequest { users, set, by: name, .. } = asked;
    if users.as_ref().is_some_and(Vec::is_empty) {
        return Err(ApiError::invalid("users is empty: name them, or leave it out for everything held"));
    }
    let (users, by) = (few(users.unwrap_or_default())?, by(ours, name)?);
    let ruling = Ruling { users, set: set.clone(), by: by.clone(), verdict };
    let (word, expires_at) = match verdict {
        Verdict::Approve { expires_at } => ("approved", Some(expires_at)),
        Verdict::Reject => ("rejected", None),
    };
    match ours.store.rule(ruling, ours.clock.now()).await? {
        Ruled::Done { users } => {
            tracing::info!(users, "an operator {word} what the guard holds of {users} users");
            Ok(Json(json!({ "users": users, "set": set, "by": by, "expiresAt": expires_at })))
        }
        Ruled::OtherSet { set, users } => {
            let message = format!(
                "what is held is another set by now ({users} changes, {set}), so nothing was {word}: look again \
                 with `cxone-sync held list`"
            );
            let error = ApiError::new(StatusCode::CONFLICT, "set_changed", message);
            Err(error.with("set", set).with("users", users))
        }
    }
}

async fn lift(State(ours): Ours, Path(user): Path<String>, Sent(asked): Sent<ByRequest>) -> Answer<Value> {
    let user = resolve(&ours, user_name(&user)?).await?;
    let by = by(&ours, asked.by)?;
    let lifted = ours.store.lift(user, by, ours.clock.now()).await?;
    Ok(Json(json!({ "user": user, "lifted": lifted })))
}

async fn preapprovals(State(ours): Ours) -> Answer<Value> {
    Ok(Json(json!({ "preapprovals": ours.store.preapprovals().await? })))
}

async fn preapprove(State(ours): Ours, Sent(asked): Sent<PreapproveRequest>) -> Answer<Value> {
    let PreapproveRequest { group, most, until: ends, by: name } = asked;
    let lasts = until(ours.clock.now(), ends);
    if lasts.is_zero() || lasts > LONGEST {
        return Err(ApiError::invalid("until must lie in the future, and at most 30 days ahead"));
    }
    if most == 0 {
        return Err(ApiError::invalid("most is 0, but must be at least 1"));
    }
    let by = by(&ours, name)?;
    Ok(Json(ours.operations.preapprove(group, most, ends, by).await?))
}

async fn end_preapproval(
    State(ours): Ours,
    Path(id): Path<String>,
    Sent(asked): Sent<ByRequest>,
) -> Answer<Value> {
    let unknown = || {
        let message = format!("there is no preapproval {id:?}; `cxone-sync held preapprovals` shows them");
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    };
    let known = ours.store.preapprovals().await?.into_iter().find(|known| known.id.to_string() == id);
    let known = known.ok_or_else(unknown)?;
    match ours.store.end_preapproval(known.id, by(&ours, asked.by)?, ours.clock.now()).await? {
        true => Ok(Json(json!({ "ended": known.id }))),
        false => Err(unknown()),
    }
}
