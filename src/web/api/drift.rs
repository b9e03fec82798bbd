//! What somebody changed in CXone by hand: to see it, to accept it, to take it back.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Answer, MOST, Ours, by, name_of};
use crate::clock::later;
use crate::domain::case::{ORDERS_LAST, Task, Work, new_batch};
use crate::domain::drift::Drift;
use crate::domain::user::{Attribute, UserId};
use crate::web::private::PrivateState;
use crate::web::wire::{ApiError, DriftRequest, Query, Sent};

pub fn router() -> Router<Arc<PrivateState>> {
    Router::new()
        .route("/drift", get(list))
        .route("/drift/accept", post(accept))
        .route("/drift/revert", post(revert))
}

/// The drift of one user, or of the next `limit` users of whom something is open; `next` is where the
/// next page goes on.
async fn list(State(ours): Ours, RawQuery(query): RawQuery) -> Answer<Value> {
    let query = Query::read(query.as_deref(), &["user", "attribute", "limit", "after"])?;
    let (limit, after) = (query.limit(MOST, MOST)?, query.user("after")?);
    let attribute = query.attribute("attribute")?;
    let (cases, next) = match query.user("user")? {
        Some(user) => (ours.store.case(user).await?.map(|case| (user, case)).into_iter().collect(), None),
        None => {
            let page = ours.store.cases(after, limit).await?;
            let next = page.last().map(|(user, _)| *user).filter(|_| page.len() == limit);
            (page, next)
        }
    };
    let mut found = Vec::new();
    for (user, case) in cases {
        let wanted = |drift: &&Drift| attribute.is_none_or(|attribute| drift.attribute == attribute);
        let drifted: Vec<&Drift> = case.drift.iter().filter(wanted).collect();
        if drifted.is_empty() {
            continue;
        }
        let name = name_of(&ours, user).await?;
        for drift in drifted {
            let mut one = json!({ "user": user, "userName": name });
            if let (Value::Object(one), Value::Object(drift)) = (&mut one, json!(drift)) {
                one.extend(drift);
            }
            found.push(one);
        }
    }
    Ok(Json(json!({ "drift": found, "next": next })))
}

fn named(attributes: &BTreeSet<Attribute>) -> Result<(), ApiError> {
    match attributes.is_empty() {
        true => Err(ApiError::invalid("say which attributes")),
        false => Ok(()),
    }
}

fn refusal(attribute: Attribute, why: String) -> Value {
    json!({ "attribute": attribute, "why": why })
}

async fn accept(State(ours): Ours, Sent(asked): Sent<DriftRequest>) -> Answer<Value> {
    let DriftRequest { user, attributes, by: name } = asked;
    named(&attributes)?;
    let by = by(&ours, name)?;
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for attribute in attributes {
        match ours.store.accept_drift(user, attribute, by.clone(), ours.clock.now()).await? {
            Ok(()) => accepted.push(attribute),
            Err(why) => refused.push(refusal(attribute, why)),
        }
    }
    Ok(Json(json!({ "user": user, "accepted": accepted, "refused": refused })))
}

async fn revert(State(ours): Ours, Sent(asked): Sent<DriftRequest>) -> Answer<Value> {
    let DriftRequest { user, attributes, by: name } = asked;
    named(&attributes)?;
    let by = by(&ours, name)?;
    let case = ours.store.case(user).await?.unwrap_or_default();
    let (mut ordered, mut refused) = (BTreeSet::new(), Vec::new());
    for attribute in attributes {
        match why_not(user, &case.drift, attribute) {
            None => drop(ordered.insert(attribute)),
            Some(why) => refused.push(refusal(attribute, why)),
        }
    }
    let mut batch = None;
    if !ordered.is_empty() {
        let at = ours.clock.now();
        let id = new_batch(at, &ours.random.secret());
        let task = Task::Revert { attributes: ordered.clone() };
        let work = Work { batch: id.clone(), by, at, expires_at: later(at, ORDERS_LAST), task };
        ours.store.order(vec![(user, work)], at).await?;
        batch = Some(id);
    }
    Ok(Json(json!({ "user": user, "batch": batch, "ordered": ordered, "refused": refused })))
}

fn why_not(user: UserId, known: &[Drift], attribute: Attribute) -> Option<String> {
    match known.iter().find(|drift| drift.attribute == attribute) {
        Some(drift) => drift.not_revertible(),
        None => Some(format!("user {user} has no drift in {attribute}; `drift list` shows what there is")),
    }
}
