//! The admin API: what commands ask for and order. Everything that causes work does so by marking.
//!
//! Here are the queue and what looks at users; what an operator decides is in `held`, `drift` and
//! `orders`, what was done in `record`, and whole copies of what is kept in `copies`.

mod copies;
mod drift;
mod held;
mod orders;
mod record;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::operations::Whom;
use super::pieces;
use super::private::PrivateState;
use super::wire::{
    AdoptRequest, ApiError, DropRequest, Dropped, Jobs, LearnRequest, PlanRequest, Query, ReplayRequest,
    RetryRequest, Sent, SimulateRequest, Stats, SyncRequest, UserEntry, Users, user_id, user_name,
};
use crate::domain::case::Observed;
use crate::domain::evidence::Evidence;
use crate::domain::pulse;
use crate::domain::queue::{self, Mark, Reason};
use crate::domain::user::{Attribute, UserId};
use crate::store::Replay;

/// Entries in one answer, and users in one request.
const MOST: usize = 1000;
const USUAL: usize = 100;
/// Writes shown beside a job.
const RECENT: usize = 20;

type Answer<T> = Result<Json<T>, ApiError>;
type Ours = State<Arc<PrivateState>>;

pub fn router() -> Router<Arc<PrivateState>> {
    Router::new()
        .route("/queue", get(jobs))
        .route("/queue/stats", get(stats))
        .route("/queue/replay", post(replay))
        .route("/queue/retry", post(retry))
        .route("/queue/drop", post(drop_jobs))
        .route("/queue/{user}", get(entry))
        .route("/resolve/{user}", get(resolved))
        .route("/sync", post(sync))
        .route("/plan", post(plan))
        .route("/simulate", post(simulate))
        .route("/reload", post(reload))
        .route("/lint", post(lint))
        .route("/doctor", post(doctor))
        .route("/doctor/learn", post(learn))
        .route("/events/test", post(test_events))
        .route("/observed", get(observed))
        .route("/pulse", get(pulse))
        .route("/explain/{user}", get(explain))
        .route("/adopt", post(adopt))
        .route("/subscriptions", get(subscriptions).post(subscribe))
        .route("/subscriptions/{id}", delete(unsubscribe))
        .route("/subscriptions/{id}/renew", post(renew))
        .merge(held::router())
        .merge(drift::router())
        .merge(orders::router())
        .merge(record::router())
        .merge(copies::router())
}

/// Who says they order something, and how the request came in, which nobody can choose.
fn by(ours: &PrivateState, asked: Option<String>) -> Result<String, ApiError> {
    const LONGEST: usize = 100;
    let name = asked.unwrap_or_default();
    let name = name.trim();
    if name.chars().count() > LONGEST || name.contains(char::is_control) {
        return Err(ApiError::invalid(format!("by must be a name of at most {LONGEST} characters")));
    }
    let name = if name.is_empty() { "somebody" } else { name };
    Ok(format!("{name} ({})", ours.access.name()))
}

/// The name people know a user by, as far as the store has it.
pub async fn name_of(ours: &PrivateState, user: UserId) -> Result<Option<String>, ApiError> {
    let Some(link) = ours.store.link(user).await? else { return Ok(None) };
    let known = link.baseline.get(&Attribute::UserName);
    let name = known.and_then(|known| known.target.as_ref().or(known.source.as_ref()));
    Ok(name.and_then(|name| name.as_text()).map(str::to_owned))
}

/// The id of a user, whichever way they are named.
async fn resolved(State(ours): Ours, Path(user): Path<String>) -> Answer<Value> {
    Ok(Json(json!({ "user": resolve(&ours, user_name(&user)?).await? })))
}

async fn jobs(State(ours): Ours, RawQuery(query): RawQuery) -> Answer<Jobs> {
    let query = Query::read(query.as_deref(), &["state", "limit", "after"])?;
    let (state, limit, after) = (query.state()?, query.limit(USUAL, MOST)?, query.user("after")?);
    Ok(Json(Jobs { jobs: ours.store.jobs(state, limit, after).await? }))
}

async fn stats(State(ours): Ours) -> Answer<Stats> {
    let depth = ours.store.depth(ours.clock.now()).await?.into();
    Ok(Json(Stats { depth, chores: ours.store.chores().await? }))
}

async fn entry(State(ours): Ours, Path(user): Path<String>) -> Answer<UserEntry> {
    let user = user_id(&user)?;
    let (job, link) = (ours.store.job(user).await?, ours.store.link(user).await?);
    let history = ours.store.history(Some(user), None, RECENT).await?;
    Ok(Json(UserEntry { job, link, history }))
}

async fn replay(State(ours): Ours, Sent(asked): Sent<ReplayRequest>) -> Answer<Users> {
    let users = few(asked.users.unwrap_or_default())?;
    let (parked, all) = (asked.parked.unwrap_or(false), asked.all.unwrap_or(false));
    if asked.since.is_none() && users.is_empty() && !parked && !all {
        return Err(ApiError::invalid("say what to replay: since, users, parked or all"));
    }
    let dry_run = asked.dry_run.unwrap_or(false);
    let replay = Replay { since: asked.since, users, parked, all, dry_run };
    let users = ours.store.replay(replay, ours.clock.now()).await?;
    if !dry_run {
        tracing::info!(users, "an operator replayed {users} users");
    }
    Ok(Json(Users { users }))
}

async fn retry(State(ours): Ours, Sent(asked): Sent<RetryRequest>) -> Answer<Users> {
    const STOPPED: [queue::State; 3] = [queue::State::Waiting, queue::State::Parked, queue::State::Held];
    let users = asked.users.map(few).transpose()?.filter(|users| !users.is_empty());
    let states = asked.states.unwrap_or_default();
    if users.is_none() && states.is_empty() {
        return Err(ApiError::invalid("say what to retry: users, states or both"));
    }
    if let Some(state) = states.iter().find(|state| !STOPPED.contains(state)) {
        let message =
            format!("a job that is {} needs no retry; there are: waiting, parked, held", state.name());
        return Err(ApiError::invalid(message));
    }
    let states = if states.is_empty() { STOPPED.to_vec() } else { states };
    let users = ours.store.retry(users, &states, ours.clock.now()).await?;
    tracing::info!(users, "an operator had {users} users tried again");
    Ok(Json(Users { users }))
}

async fn drop_jobs(State(ours): Ours, Sent(asked): Sent<DropRequest>) -> Answer<Dropped> {
    let mut dropped = 0;
    for user in few(asked.users)? {
        if ours.store.drop_job(user, ours.clock.now()).await? {
            dropped += 1;
            tracing::info!(user.id = %user, "an operator dropped the job of user {user}");
        }
    }
    Ok(Json(Dropped { dropped }))
}

fn few(users: Vec<UserId>) -> Result<Vec<UserId>, ApiError> {
    if users.len() > MOST {
        return Err(ApiError::invalid(format!("at most {MOST} users can be named at once")));
    }
    Ok(users)
}

async fn sync(State(ours): Ours, Sent(asked): Sent<SyncRequest>) -> Answer<Value> {
    let user = match (asked.user, asked.all.unwrap_or(false)) {
        (Some(user), false) => user,
        (None, true) => return Ok(Json(ours.operations.sync_all().await?)),
        _ => return Err(ApiError::invalid("say whom to sync: either user or all")),
    };
    let user = resolve(&ours, user_name(&user)?).await?;
    let news_at = ours.clock.now();
    let mark = Mark { user, reason: Reason::Operator, news_at, urgent: false, removed: None };
    ours.store.mark(vec![mark], news_at).await?;
    tracing::info!(user.id = %user, "an operator marked user {user}");
    Ok(Json(json!({ "user": user })))
}

/// Only a sign-in name needs Graph.
async fn resolve(ours: &PrivateState, user: &str) -> Result<UserId, ApiError> {
    if let Ok(id) = user.parse() {
        return Ok(id);
    }
    let found = ours.operations.resolve(user.to_owned()).await?;
    found.get("user").and_then(Value::as_str).and_then(|id| id.parse().ok()).ok_or_else(|| {
        let status = axum::http::StatusCode::NOT_FOUND;
        ApiError::new(status, "unknown_user", "the directory has no user of that name")
    })
}

async fn plan(
    State(ours): Ours,
    headers: HeaderMap,
    Sent(asked): Sent<PlanRequest>,
) -> Result<Response, ApiError> {
    let (users, all) = (asked.users.unwrap_or_default(), asked.all.unwrap_or(false));
    if users.len() > MOST {
        return Err(ApiError::invalid(format!("at most {MOST} users can be named at once")));
    }
    let whom = match (users.is_empty(), asked.group, all) {
        (false, None, false) => {
            let users = users.iter().map(|user| user_name(user).map(str::to_owned));
            Whom::Users(users.collect::<Result<_, _>>()?)
        }
        (true, Some(group), false) => Whom::Group(group),
        (true, None, true) => Whom::All,
        _ => return Err(ApiError::invalid("say whom to plan for: either users, a group or all")),
    };
    let operations = ours.operations.clone();
    pieces::told(&headers, |progress| async move { Ok(operations.plan(whom, progress).await?) }).await
}

async fn simulate(State(ours): Ours, Sent(asked): Sent<SimulateRequest>) -> Answer<Value> {
    let SimulateRequest { name, text, since } = asked;
    Ok(Json(ours.operations.simulate(name, text, since).await?))
}

async fn lint(State(ours): Ours) -> Answer<Value> {
    Ok(Json(ours.operations.lint().await?))
}

async fn doctor(State(ours): Ours) -> Answer<Value> {
    Ok(Json(ours.operations.doctor().await?))
}

async fn learn(State(ours): Ours, Sent(asked): Sent<LearnRequest>) -> Answer<Value> {
    let user = user_name(&asked.user)?.to_owned();
    if asked.plan.is_some() {
        tracing::info!("an operator has the dialect of CXone found out");
    }
    Ok(Json(ours.operations.learn(user, asked.plan).await?))
}

async fn test_events(State(ours): Ours) -> Answer<Value> {
    Ok(Json(ours.operations.test_events().await?))
}

async fn reload(State(ours): Ours) -> Answer<Value> {
    Ok(Json(ours.operations.reload().await?))
}

/// The plans that were made and, by the mode, not carried out. A page looks at so many users of whom
/// something is open; `next` is where the next one goes on.
async fn observed(State(ours): Ours, RawQuery(query): RawQuery) -> Answer<Value> {
    let query = Query::read(query.as_deref(), &["limit", "after"])?;
    let (limit, after) = (query.limit(MOST, MOST)?, query.user("after")?);
    let page = ours.store.cases(after, limit).await?;
    let next = page.last().map(|(user, _)| *user).filter(|_| page.len() == limit);
    let mut plans = Vec::new();
    for (user, case) in page {
        let Some(observed) = case.observed else { continue };
        let Observed { at, plan, operation, scim_id, reason, changes, evidence } = observed;
        plans.push(json!({
            "user": user, "userName": name_of(&ours, user).await?, "scimId": scim_id, "action": operation,
            "reason": reason, "sentence": "", "evidence": evidence.as_ref().map(Evidence::sentence),
            "changes": changes, "attributes": [], "error": null, "plan": plan, "observedAt": at,
        }));
    }
    Ok(Json(json!({ "plans": plans, "next": next })))
}

/// How it was lately, in stretches of equal length.
async fn pulse(State(ours): Ours, RawQuery(query): RawQuery) -> Answer<Value> {
    const POINTS: u32 = 96;
    let query = Query::read(query.as_deref(), &["hours"])?;
    let hours = query.get::<u32>("hours", "a number of hours")?.unwrap_or(24);
    if !(1..=48).contains(&hours) {
        return Err(ApiError::invalid("hours must be 1 to 48: older samples are not kept"));
    }
    let (now, span) = (ours.clock.now(), Duration::from_secs(u64::from(hours) * 3600));
    let step = span / POINTS;
    let since = now.checked_sub(span).unwrap_or(Timestamp::MIN);
    let samples = ours.store.samples(since).await?;
    let points = pulse::curve(&samples, now, step, POINTS as usize);
    Ok(Json(json!({ "stepSeconds": step.as_secs(), "points": points })))
}

async fn explain(State(ours): Ours, Path(user): Path<String>, RawQuery(query): RawQuery) -> Answer<Value> {
    let at = Query::read(query.as_deref(), &["at"])?.time("at")?;
    Ok(Json(ours.operations.explain(user_name(&user)?.to_owned(), at).await?))
}

async fn adopt(
    State(ours): Ours,
    headers: HeaderMap,
    Sent(asked): Sent<AdoptRequest>,
) -> Result<Response, ApiError> {
    let operations = ours.operations.clone();
    let work =
        |progress| async move { Ok(operations.adopt(asked.dry_run.unwrap_or(false), progress).await?) };
    pieces::told(&headers, work).await
}

async fn subscriptions(State(ours): Ours) -> Answer<Value> {
    Ok(Json(ours.operations.subscriptions().await?))
}

async fn subscribe(State(ours): Ours) -> Answer<Value> {
    Ok(Json(ours.operations.subscribe().await?))
}

async fn renew(State(ours): Ours, Path(id): Path<String>) -> Answer<Value> {
    Ok(Json(ours.operations.renew(subscription_id(id)?).await?))
}

async fn unsubscribe(State(ours): Ours, Path(id): Path<String>) -> Answer<Value> {
    Ok(Json(ours.operations.unsubscribe(subscription_id(id)?).await?))
}

/// Graph's are GUIDs, but documented as opaque: what could leave its path segment is refused.
fn subscription_id(id: String) -> Result<String, ApiError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if id.is_empty() || id.len() > 128 || !id.chars().all(plain) {
        return Err(ApiError::invalid("that is not the id of a subscription"));
    }
    Ok(id)
}

#[cfg(test)]
mod tests;
