//! What can be done on a page: each is one request to the admin API, made by a form of ours.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Dashboard, Notice, Ours, Refused, SignedIn, form, local, to};
use crate::web::wire::{ApiError, Query};

pub fn not_ours() -> ApiError {
    let message = "this form is from another session: go back, load the page again and repeat it";
    ApiError::new(StatusCode::FORBIDDEN, "stale_form", message)
}

/// Does one thing and shows on the page it came from what came of it.
pub async fn act(State(ours): Ours, Path(action): Path<String>, request: Request) -> Response {
    let who = match ours.signed_in(request.headers(), false, "/") {
        Ok(who) => who,
        Err(door) => return *door,
    };
    const FIELDS: [&str; 7] = ["form_token", "back", "user", "set", "attribute", "subscription", "state"];
    let form = match form(request.into_body(), &FIELDS).await {
        Ok(form) => form,
        Err(error) => return error.into_response(),
    };
    if !who.made(form.text("form_token").unwrap_or_default()) {
        return not_ours().into_response();
    }
    let notice = match done(&ours, &who, &action, &form).await {
        Ok(words) => Notice { good: true, words },
        Err(Refused { words, .. }) => Notice { good: false, words },
    };
    ours.sessions.leave_notice(&who, notice);
    to(local(form.text("back")))
}

/// What was done, as a sentence.
async fn done(ours: &Dashboard, who: &SignedIn, action: &str, form: &Query) -> Result<String, Refused> {
    let missing = |what: &str| Refused::new(StatusCode::BAD_REQUEST, format!("the form names no {what}"));
    let field = |name: &'static str| form.text(name).ok_or_else(|| missing(name));
    let n = |answer: &Value| answer["users"].as_u64().unwrap_or_default();
    match action {
        "retry" => {
            let asked = match (form.text("user"), form.text("state")) {
                (Some(user), _) => json!({ "users": [user] }),
                (None, Some(state)) => json!({ "states": [state] }),
                (None, None) => return Err(missing("user")),
            };
            match n(&ours.post("/api/v1/queue/retry", asked).await?) {
                0 => Ok("There was nothing left to try again.".to_owned()),
                1 => Ok("One job is tried again now.".to_owned()),
                n => Ok(format!("{n} jobs are tried again now.")),
            }
        }
        "replay" => {
            ours.post("/api/v1/queue/replay", json!({ "users": [field("user")?] })).await?;
            Ok("Replayed: the user is looked at again.".to_owned())
        }
        "sync" => {
            ours.post("/api/v1/sync", json!({ "user": field("user")? })).await?;
            Ok("Marked: the user is looked at now.".to_owned())
        }
        "approve" | "reject" => {
            let mut asked = json!({ "set": field("set")?, "by": who.name });
            if let Some(user) = form.text("user") {
                asked["users"] = json!([user]);
            }
            let answer = ours.post(&format!("/api/v1/held/{action}"), asked).await?;
            let done = if action == "approve" { "Approved" } else { "Rejected" };
            Ok(format!("{done} what was held of {} users, exactly as shown.", n(&answer)))
        }
        "lift" => {
            let path = format!("/api/v1/held/{}/lift", field("user")?);
            let answer = ours.post(&path, json!({ "by": who.name })).await?;
            Ok(format!("Lifted {} bans.", answer["lifted"].as_u64().unwrap_or_default()))
        }
        "accept" | "revert" => {
            let (user, attribute) = (field("user")?, field("attribute")?);
            let asked = json!({ "user": user, "attributes": [attribute], "by": who.name });
            let answer = ours.post(&format!("/api/v1/drift/{action}"), asked).await?;
            if let Some(why) = answer["refused"][0]["why"].as_str() {
                return Err(Refused::new(StatusCode::CONFLICT, why));
            }
            Ok(match action {
                "accept" => format!("Accepted: what CXone shows of {attribute} is the baseline now."),
                _ => format!("Ordered: {attribute} is written back, unless the guard holds it."),
            })
        }
        "renew" => {
            let path = format!("/api/v1/subscriptions/{}/renew", field("subscription")?);
            ours.post(&path, json!({})).await?;
            Ok("Renewed.".to_owned())
        }
        _ => Err(Refused::new(StatusCode::NOT_FOUND, "that cannot be done here")),
    }
}
