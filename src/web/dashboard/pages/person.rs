//! The page about one user: what is known here, and what both sides show now.

use askama::Template;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::frame::Frame;
use super::{
    ChangeRow, DriftRow, JobRow, Ours, Refused, SaidRow, Text, Visit, Whom, WriteRow, ago, answer, changes,
    drift_row, job_row, moment, read, said, write_rows,
};
use crate::domain::case::{HeldItem, Restraint};
use crate::domain::codes::{Place, meaning};
use crate::domain::drift::Drift;
use crate::domain::link::Link;
use crate::domain::plan::set_hash;
use crate::domain::queue::{Change, Job, Write};
use crate::domain::user::UserId;

struct Kept {
    scim_id: Text,
    confirmed: String,
    by_us: bool,
}

struct HeldNow {
    operation: &'static str,
    since: String,
    changes: Vec<ChangeRow>,
    evidence: Text,
    words: Text,
    set: String,
}

struct AttributeRow {
    name: Text,
    entra: Text,
    cxone: Text,
    owner: Text,
    decision: Text,
    code: Text,
    meaning: &'static str,
}

/// What `explain` says; it looks at both sides.
struct Explained {
    sentence: Text,
    code: Text,
    meaning: &'static str,
    evidence: Text,
    error: Text,
    changes: Vec<ChangeRow>,
    attributes: Vec<AttributeRow>,
    source: Vec<(Text, Text)>,
    groups: Vec<Text>,
    complete: bool,
    roles: Vec<RoleRow>,
    news: Vec<(String, Text)>,
}

struct RoleRow {
    role: Text,
    group: Text,
    given: bool,
    held: bool,
    meaning: &'static str,
}

enum Look {
    /// A script asked for the page: nothing is read from outside for it.
    NotAsked,
    Failed(Text),
    Done(Box<Explained>),
}

#[derive(Template)]
#[template(path = "user.html")]
struct Person {
    frame: Frame,
    whom: Whom,
    job: Option<JobRow>,
    link: Option<Kept>,
    held: Option<HeldNow>,
    order: Text,
    restraints: Vec<SaidRow>,
    drift: Vec<DriftRow>,
    writes: Vec<WriteRow>,
    look: Look,
}

pub async fn user(State(ours): Ours, Path(user): Path<String>, request: Request) -> Response {
    let make = async |visit: &Visit| {
        let user = crate::web::wire::user_id(&user);
        made(visit, user.map_err(|error| Refused::new(error.status, error.message))?).await
    };
    answer(ours, request, &[], make).await
}

async fn made(visit: &Visit, user: UserId) -> Result<Person, Refused> {
    let now = visit.now;
    let entry = visit.ours.get(&format!("/api/v1/queue/{user}")).await?;
    let about = visit.ours.get(&format!("/api/v1/held/{user}")).await?;
    let names = visit.names(vec![user]).await?;
    let whom = || Whom::of(user, &names);
    let (job, link): (Option<Job>, Option<Link>) = (read(&entry["job"])?, read(&entry["link"])?);
    let writes: Vec<Write> = read(&entry["history"])?;
    let (held, restraints): (Option<HeldItem>, Vec<Restraint>) =
        (read(&about["held"])?, read(&about["restraints"])?);
    let drift: Vec<Drift> = read(&about["drift"])?;
    let held = held.map(|item| HeldNow {
        operation: item.operation.name(),
        since: ago(now, item.since),
        changes: changes(&item.changes),
        evidence: Text::of(&item.evidence.as_ref().map(|it| it.sentence()).unwrap_or_default()),
        words: Text::of(&item.words),
        set: set_hash([(user, item.plan.as_str())]),
    });
    let order = match about["order"]["task"]["task"].as_str() {
        Some(task) => format!("{task}, by {}", about["order"]["by"].as_str().unwrap_or("somebody")),
        None => String::new(),
    };
    let look = match visit.live {
        true => Look::NotAsked,
        false => match visit.ours.get(&format!("/api/v1/explain/{user}")).await {
            Ok(explained) => Look::Done(Box::new(explanation(&explained, now)?)),
            Err(why) => Look::Failed(Text::of(&why.words)),
        },
    };
    Ok(Person {
        frame: visit.frame(&whom().name.to_string()),
        whom: whom(),
        job: job.map(|job| job_row(&job, &names, now)),
        link: link.map(|link| Kept {
            scim_id: Text::of(&link.scim_id.0),
            confirmed: ago(now, link.confirmed_at),
            by_us: link.deactivated_by_us,
        }),
        held,
        order: Text::of(&order),
        restraints: restraints.iter().map(|restraint| said(whom(), restraint)).collect(),
        drift: drift.iter().map(|drift| drift_row(whom(), drift, now)).collect(),
        writes: write_rows(&writes, &names, now),
        look,
    })
}

#[derive(Deserialize)]
struct News {
    at: Timestamp,
    reason: String,
}

fn explanation(answer: &Value, now: Timestamp) -> Result<Explained, Refused> {
    let plan = &answer["plan"];
    let code = plan["reason"].as_str().unwrap_or_default();
    let attribute = |it: &Value| AttributeRow {
        name: Text::json(&it["attribute"]),
        entra: Text::json(&it["source"]),
        cxone: Text::json(&it["target"]),
        owner: Text::json(&it["owner"]),
        decision: Text::json(&it["decision"]),
        code: Text::json(&it["reason"]),
        meaning: meaning(Place::Attribute, it["reason"].as_str().unwrap_or_default()).unwrap_or_default(),
    };
    let role = |it: &Value| RoleRow {
        role: Text::json(&it["role"]),
        group: Text::json(&it["group"]),
        given: it["given"] == true,
        held: it["held"] == true,
        meaning: meaning(Place::Role, it["code"].as_str().unwrap_or_default()).unwrap_or_default(),
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut source: Vec<(Text, Text)> = Vec::new();
    for (name, value) in answer["source"].as_object().into_iter().flatten() {
        match value.as_object() {
            Some(properties) => {
                source.extend(properties.iter().map(|(name, value)| (Text::of(name), Text::json(value))));
            }
            None => source.push((Text::of(name), Text::json(value))),
        }
    }
    let membership = &answer["membership"];
    let changes_found: Vec<Change> = read(&plan["changes"])?;
    let news: Vec<News> = read(&answer["news"])?;
    Ok(Explained {
        sentence: Text::json(&plan["sentence"]),
        code: Text::of(code),
        meaning: meaning(Place::Plan, code).unwrap_or_default(),
        evidence: Text::of(plan["evidence"].as_str().unwrap_or_default()),
        error: Text::of(plan["error"].as_str().unwrap_or_default()),
        changes: changes(&changes_found),
        attributes: list(&plan["attributes"]).iter().map(attribute).collect(),
        source,
        groups: list(&membership["groups"]).iter().map(|it| Text::json(&it["group"])).collect(),
        complete: membership["complete"] == true,
        roles: list(&answer["roles"]).iter().map(role).collect(),
        news: news
            .iter()
            .map(|news| (format!("{} UTC ({})", moment(news.at), ago(now, news.at)), Text::of(&news.reason)))
            .collect(),
    })
}
