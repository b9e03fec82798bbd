//! What was done and decided: the history, its remarks, and whether it is whole.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Answer, MOST, Ours, USUAL};
use crate::store::Wanted;
use crate::web::private::PrivateState;
use crate::web::wire::{ApiError, Query, Writes};

pub fn router() -> Router<Arc<PrivateState>> {
    Router::new()
        .route("/history", get(history))
        .route("/history/verify", get(verify))
        .route("/remarks", get(remarks))
}

const WANTED: [&str; 5] = ["user", "since", "before", "batch", "limit"];

fn wanted(query: &Query) -> Result<Wanted, ApiError> {
    let (since, before) = (query.time("since")?, query.time("before")?);
    if let (Some(since), Some(before)) = (since, before)
        && since >= before
    {
        return Err(ApiError::invalid("since must be earlier than before"));
    }
    Ok(Wanted { user: query.user("user")?, since, before, batch: query.text("batch").map(str::to_owned) })
}

async fn history(State(ours): Ours, RawQuery(query): RawQuery) -> Answer<Writes> {
    let query = Query::read(query.as_deref(), &WANTED)?;
    let limit = query.limit(USUAL, MOST)?;
    Ok(Json(Writes { writes: ours.store.writes(wanted(&query)?, limit).await? }))
}

async fn remarks(State(ours): Ours, RawQuery(query): RawQuery) -> Answer<Value> {
    let query = Query::read(query.as_deref(), &WANTED)?;
    let limit = query.limit(USUAL, MOST)?;
    Ok(Json(json!({ "remarks": ours.store.wanted_remarks(wanted(&query)?, limit).await? })))
}

/// Checks every seal. `number` and `seal`: an entry as it was told earlier.
async fn verify(State(ours): Ours, RawQuery(query): RawQuery) -> Answer<Value> {
    let query = Query::read(query.as_deref(), &["number", "seal"])?;
    let number = query.get::<u64>("number", "the number of an entry")?;
    let expected = match (number, query.text("seal")) {
        (Some(number), Some(seal)) => Some((number, seal.to_owned())),
        (None, None) => None,
        _ => return Err(ApiError::invalid("number and seal belong together")),
    };
    Ok(Json(json!(ours.store.verify_history(expected).await?)))
}
