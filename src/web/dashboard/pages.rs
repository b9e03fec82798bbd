//! The pages: what the admin API answers, put into the words of a template.
//!
//! A page asked for with `live` is one that a script compares with what it shows; it leaves out what
//! would ask Graph or CXone, and it does not keep the session alive.

mod frame;
mod home;
mod person;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::show::{Text, ago, lag, moment, span};
use super::{Dashboard, Notice, Ours, Refused, SignedIn, local, page, to};
use crate::clock::until;
use crate::domain::case::{Approval, HeldItem, Restraint};
use crate::domain::codes::{Place, meaning};
use crate::domain::drift::Drift;
use crate::domain::queue::{Change, Job, State as JobState, Write, WriteResult};
use crate::domain::user::{Attribute, UserId};
use crate::web::wire::{Query, user_name};
use frame::Frame;
pub use home::overview;
pub use person::user;

/// Rows on one page of a list.
const ROWS: usize = 100;

/// One request for a page, by somebody who is signed in.
struct Visit {
    ours: Arc<Dashboard>,
    who: SignedIn,
    query: Query,
    /// Path and query, to come back to.
    here: String,
    live: bool,
    now: Timestamp,
}

/// Answers a request with the page that `make` makes for it.
async fn answer<T: Template>(
    ours: Arc<Dashboard>,
    request: Request,
    known: &[&str],
    make: impl AsyncFnOnce(&Visit) -> Result<T, Refused>,
) -> Response {
    let visit = match Visit::begin(ours, &request, known) {
        Ok(visit) => visit,
        Err(door) => return *door,
    };
    match make(&visit).await {
        Ok(made) => page(StatusCode::OK, &made),
        Err(why) => visit.failed(why),
    }
}

impl Visit {
    fn begin(ours: Arc<Dashboard>, request: &Request, known: &[&str]) -> Result<Self, Box<Response>> {
        let uri = request.uri();
        let known: Vec<&str> = known.iter().copied().chain(["live"]).collect();
        // What is asked for wrongly is not asked for.
        let query = Query::read(uri.query(), &known).unwrap_or_default();
        let live = query.text("live").is_some();
        let pairs = uri.query().unwrap_or_default().split('&');
        let pairs: Vec<&str> = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("live=")).collect();
        let query_of = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
        let here = local(Some(&format!("{}{query_of}", uri.path()))).to_owned();
        let who = ours.signed_in(request.headers(), live, &here)?;
        let now = ours.ours.clock.now();
        Ok(Self { ours, who, query, here, live, now })
    }

    fn frame(&self, title: &str) -> Frame {
        let notice = if self.live { None } else { self.ours.sessions.take_notice(&self.who) };
        Frame::new(title, self, notice)
    }

    /// A page that could not be made says why.
    fn failed(&self, why: Refused) -> Response {
        let Refused { status, words } = why;
        let frame = self.frame("It did not work");
        page(status, &Failed { frame, words: Text::of(&words) })
    }

    /// How people call these users, as far as it is known here.
    async fn names(&self, users: Vec<UserId>) -> Result<BTreeMap<UserId, Text>, Refused> {
        let mut names = BTreeMap::new();
        for user in users {
            if let Entry::Vacant(place) = names.entry(user) {
                let known = crate::web::api::name_of(&self.ours.ours, user).await;
                let known = known.map_err(|error| Refused::new(error.status, error.message))?;
                place.insert(Text::of(&known.unwrap_or_else(|| user.to_string())));
            }
        }
        Ok(names)
    }
}

#[derive(Template)]
#[template(path = "failed.html")]
struct Failed {
    frame: Frame,
    words: Text,
}

/// Reads a part of an answer of our own API.
fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, Refused> {
    T::deserialize(answer).map_err(|error| {
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer could not be read: {error}"))
    })
}

/// A user in a row: the name, and the page about them.
struct Whom {
    id: UserId,
    name: Text,
}

impl Whom {
    fn of(id: UserId, names: &BTreeMap<UserId, Text>) -> Self {
        Self { id, name: names.get(&id).cloned().unwrap_or_else(|| Text::of(&id.to_string())) }
    }
}

/// One attribute that changes.
struct ChangeRow {
    attribute: Attribute,
    before: Text,
    after: Text,
}

fn changes(changes: &[Change]) -> Vec<ChangeRow> {
    let row = |change: &Change| ChangeRow {
        attribute: change.attribute,
        before: Text::held(change.before.as_ref()),
        after: Text::held(change.after.as_ref()),
    };
    changes.iter().map(row).collect()
}

struct WriteRow {
    at: String,
    ago: String,
    whom: Whom,
    operation: &'static str,
    changes: Vec<ChangeRow>,
    good: bool,
    result: &'static str,
    error: Text,
    lag: String,
    reason: &'static str,
    by: Text,
}

fn write_rows(writes: &[Write], names: &BTreeMap<UserId, Text>, now: Timestamp) -> Vec<WriteRow> {
    let row = |write: &Write| {
        let (good, result, error) = match &write.result {
            WriteResult::Applied => (true, "applied", ""),
            WriteResult::NotApplied => (false, "CXone said yes and shows something else", ""),
            WriteResult::Unknown { error } => (false, "not known", error.as_str()),
            WriteResult::Refused { error } => (false, "refused", error.as_str()),
            WriteResult::Pending => (true, "under way", ""),
        };
        WriteRow {
            at: moment(write.at),
            ago: ago(now, write.at),
            whom: Whom::of(write.user, names),
            operation: write.operation.name(),
            changes: changes(&write.changes),
            good,
            result,
            error: Text::of(error),
            lag: if matches!(write.result, WriteResult::Applied) {
                lag(write.lag_ms)
            } else {
                "–".to_owned()
            },
            reason: write.reason.name(),
            by: Text::of(write.approved_by.as_deref().unwrap_or_default()),
        }
    };
    writes.iter().map(row).collect()
}

struct JobRow {
    whom: Whom,
    state: &'static str,
    since: String,
    first_news: String,
    due: String,
    attempts: u32,
    code: Text,
    /// What the code means and what to do about it.
    meaning: &'static str,
    words: Text,
    can_retry: bool,
}

fn job_row(job: &Job, names: &BTreeMap<UserId, Text>, now: Timestamp) -> JobRow {
    let code = job.stopped.as_deref().unwrap_or_default();
    JobRow {
        whom: Whom::of(job.user, names),
        state: job.state.name(),
        since: ago(now, job.changed_at),
        first_news: ago(now, job.first_news_at),
        due: match job.state {
            JobState::Waiting => format!("in {}", span(until(now, job.due_at))),
            JobState::Due => "now".to_owned(),
            JobState::Running | JobState::Parked | JobState::Held => "–".to_owned(),
        },
        attempts: job.attempts,
        code: Text::of(code),
        meaning: meaning(Place::Job, code).or_else(|| meaning(Place::Plan, code)).unwrap_or_default(),
        words: Text::of(job.last_error.as_deref().unwrap_or_default()),
        can_retry: matches!(job.state, JobState::Waiting | JobState::Parked | JobState::Held),
    }
}

struct Filter {
    state: &'static str,
    n: u64,
    is_on: bool,
}

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    frame: Frame,
    filters: Vec<Filter>,
    total: u64,
    state: Option<&'static str>,
    jobs: Vec<JobRow>,
    /// Where the next page begins.
    next: Option<UserId>,
}

pub async fn queue(State(ours): Ours, request: Request) -> Response {
    answer(ours, request, &["state", "after"], queue_page).await
}

async fn queue_page(visit: &Visit) -> Result<QueuePage, Refused> {
    let state = visit.query.state().unwrap_or_default();
    let after = visit.query.user("after").unwrap_or_default();
    let stats = visit.ours.get("/api/v1/queue/stats").await?;
    let n = |state: JobState| stats[state.name()].as_u64().unwrap_or_default();
    let filters =
        JobState::ALL.map(|each| Filter { state: each.name(), n: n(each), is_on: state == Some(each) });
    let mut path = format!("/api/v1/queue?limit={ROWS}");
    if let Some(state) = state {
        path += &format!("&state={}", state.name());
    }
    if let Some(after) = after {
        path += &format!("&after={after}");
    }
    let jobs: Vec<Job> = read(&visit.ours.get(&path).await?["jobs"])?;
    let names = visit.names(jobs.iter().map(|job| job.user).collect()).await?;
    Ok(QueuePage {
        frame: visit.frame("Queue"),
        total: filters.iter().map(|filter| filter.n).sum(),
        filters: filters.into(),
        state: state.map(JobState::name),
        next: jobs.last().map(|job| job.user).filter(|_| jobs.len() == ROWS),
        jobs: jobs.iter().map(|job| job_row(job, &names, visit.now)).collect(),
    })
}

/// What the API lists about a user, with whom it is about.
#[derive(Deserialize)]
struct About<T> {
    user: UserId,
    #[serde(rename = "userName")]
    name: Option<String>,
    #[serde(flatten)]
    is: T,
}

impl<T> About<T> {
    fn whom(&self) -> Whom {
        let name = self.name.clone().unwrap_or_else(|| self.user.to_string());
        Whom { id: self.user, name: Text::of(&name) }
    }
}

#[derive(Deserialize)]
struct OtherHold {
    code: Option<String>,
    since: Timestamp,
    words: Option<String>,
}

struct HeldRow {
    whom: Whom,
    since: String,
    operation: &'static str,
    changes: Vec<ChangeRow>,
    evidence: Text,
    words: Text,
    /// The set of just this one, as the API counts it.
    set: String,
}

struct OtherRow {
    whom: Whom,
    since: String,
    code: Text,
    meaning: &'static str,
    words: Text,
}

struct SaidRow {
    whom: Whom,
    what: Text,
    by: Text,
    until: String,
}

#[derive(Template)]
#[template(path = "held.html")]
struct HeldPage {
    frame: Frame,
    set: Option<Text>,
    held: Vec<HeldRow>,
    others: Vec<OtherRow>,
    approvals: Vec<SaidRow>,
    restraints: Vec<SaidRow>,
}

pub async fn held(State(ours): Ours, request: Request) -> Response {
    answer(ours, request, &[], held_page).await
}

async fn held_page(visit: &Visit) -> Result<HeldPage, Refused> {
    let answer = visit.ours.get("/api/v1/held").await?;
    let (held, others): (Vec<About<HeldItem>>, Vec<About<OtherHold>>) =
        (read(&answer["held"])?, read(&answer["jobs"])?);
    let approvals: Vec<About<Approval>> = read(&answer["approvals"])?;
    let restraints: Vec<About<Restraint>> = read(&answer["restraints"])?;
    let now = visit.now;
    let held = held.iter().map(|about| HeldRow {
        whom: about.whom(),
        since: ago(now, about.is.since),
        operation: about.is.operation.name(),
        changes: changes(&about.is.changes),
        evidence: Text::of(&about.is.evidence.as_ref().map(|it| it.sentence()).unwrap_or_default()),
        words: Text::of(&about.is.words),
        set: crate::domain::plan::set_hash([(about.user, about.is.plan.as_str())]),
    });
    let other = |about: &About<OtherHold>| {
        let code = about.is.code.as_deref().unwrap_or_default();
        OtherRow {
            whom: about.whom(),
            since: ago(now, about.is.since),
            code: Text::of(code),
            meaning: meaning(Place::Job, code).or_else(|| meaning(Place::Plan, code)).unwrap_or_default(),
            words: Text::of(about.is.words.as_deref().unwrap_or_default()),
        }
    };
    let approved = |about: &About<Approval>| SaidRow {
        whom: about.whom(),
        what: Text::of("what was shown then"),
        by: Text::of(&about.is.by),
        until: format!("{} UTC", moment(about.is.expires_at)),
    };
    Ok(HeldPage {
        frame: visit.frame("Held"),
        set: answer["set"].as_str().map(Text::of),
        held: held.collect(),
        others: others.iter().map(other).collect(),
        approvals: approvals.iter().map(approved).collect(),
        restraints: restraints.iter().map(|about| said(about.whom(), &about.is)).collect(),
    })
}

fn said(whom: Whom, restraint: &Restraint) -> SaidRow {
    use crate::domain::case::{Forbidden, RestraintReason};
    let what = match &restraint.forbids {
        Forbidden::Value { attribute, value } => {
            let value = value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
            format!("{attribute} = {value}")
        }
        Forbidden::GiveRole { role } => format!("give the role {role}"),
        Forbidden::TakeRole { role } => format!("take the role {role}"),
    };
    let why = match restraint.why {
        RestraintReason::Rejected => "rejected",
        RestraintReason::Undone => "undone",
    };
    let until = format!("{why} {} UTC", moment(restraint.at));
    SaidRow { whom, what: Text::of(&what), by: Text::of(&restraint.by), until }
}

struct DriftRow {
    whom: Whom,
    attribute: Attribute,
    since: String,
    baseline: Text,
    shown: Text,
    entra: Text,
    owner: String,
    meaning: &'static str,
    can_revert: bool,
}

fn drift_row(whom: Whom, drift: &Drift, now: Timestamp) -> DriftRow {
    let why = serde_json::to_value(drift.why).unwrap_or_default();
    let owner = serde_json::to_value(drift.owner).unwrap_or_default();
    DriftRow {
        whom,
        attribute: drift.attribute,
        since: ago(now, drift.since),
        baseline: Text::held(drift.baseline.as_ref()),
        shown: Text::held(drift.shown.as_ref()),
        entra: Text::held(drift.entra.as_ref()),
        owner: owner.as_str().unwrap_or_default().to_owned(),
        meaning: meaning(Place::Attribute, why.as_str().unwrap_or_default()).unwrap_or_default(),
        can_revert: drift.not_revertible().is_none(),
    }
}

#[derive(Template)]
#[template(path = "drift.html")]
struct DriftPage {
    frame: Frame,
    drift: Vec<DriftRow>,
    next: Option<UserId>,
}

pub async fn drift(State(ours): Ours, request: Request) -> Response {
    answer(ours, request, &["after"], drift_page).await
}

async fn drift_page(visit: &Visit) -> Result<DriftPage, Refused> {
    let after = visit.query.user("after").unwrap_or_default();
    let after = after.map_or_else(String::new, |after| format!("?after={after}"));
    let answer = visit.ours.get(&format!("/api/v1/drift{after}")).await?;
    let drift: Vec<About<Drift>> = read(&answer["drift"])?;
    Ok(DriftPage {
        frame: visit.frame("Drift"),
        drift: drift.iter().map(|about| drift_row(about.whom(), &about.is, visit.now)).collect(),
        next: read(&answer["next"])?,
    })
}

#[derive(Template)]
#[template(path = "history.html")]
struct HistoryPage {
    frame: Frame,
    writes: Vec<WriteRow>,
    /// Where older ones begin.
    before: Option<Timestamp>,
}

pub async fn history(State(ours): Ours, request: Request) -> Response {
    answer(ours, request, &["before"], history_page).await
}

async fn history_page(visit: &Visit) -> Result<HistoryPage, Refused> {
    let before = visit.query.time("before").unwrap_or_default();
    let before = before.map_or_else(String::new, |before| format!("&before={before}"));
    let answer = visit.ours.get(&format!("/api/v1/history?limit={ROWS}{before}")).await?;
    let writes: Vec<Write> = read(&answer["writes"])?;
    let names = visit.names(writes.iter().map(|write| write.user).collect()).await?;
    Ok(HistoryPage {
        frame: visit.frame("History"),
        before: writes.last().map(|write| write.at).filter(|_| writes.len() == ROWS),
        writes: write_rows(&writes, &names, visit.now),
    })
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    resource: String,
    notification_url: String,
    expires_at: Timestamp,
    seconds_left: u64,
    state: String,
}

struct SubscriptionRow {
    id: Text,
    resource: Text,
    url: Text,
    expires: String,
    left: String,
    state: Text,
    meaning: &'static str,
    good: bool,
    is_ours: bool,
}

#[derive(Template)]
#[template(path = "subscriptions.html")]
struct SubscriptionsPage {
    frame: Frame,
    rows: Vec<SubscriptionRow>,
}

pub async fn subscriptions(State(ours): Ours, request: Request) -> Response {
    answer(ours, request, &[], subscriptions_page).await
}

async fn subscriptions_page(visit: &Visit) -> Result<SubscriptionsPage, Refused> {
    let listed: Vec<Listed> = read(&visit.ours.get("/api/v1/subscriptions").await?["subscriptions"])?;
    let row = |listed: Listed| {
        let (meaning, good) = match listed.state.as_str() {
            "ours" => ("Graph tells us of changes; it is renewed by itself.", true),
            "lost" => {
                ("Graph no longer has it. It is made again within 15 minutes, or by `subscribe`.", false)
            }
            _ => ("Made by somebody else with this app registration: delete it if nobody knows it.", false),
        };
        SubscriptionRow {
            id: Text::of(&listed.id),
            resource: Text::of(&listed.resource),
            url: Text::of(&listed.notification_url),
            expires: format!("{} UTC", moment(listed.expires_at)),
            left: span(std::time::Duration::from_secs(listed.seconds_left)),
            is_ours: listed.state == "ours",
            state: Text::of(&listed.state),
            meaning,
            good,
        }
    };
    Ok(SubscriptionsPage { frame: visit.frame("Subscriptions"), rows: listed.into_iter().map(row).collect() })
}

/// The search field: to the page of whoever it names.
pub async fn find(State(ours): Ours, request: Request) -> Response {
    let visit = match Visit::begin(ours, &request, &["user"]) {
        Ok(visit) => visit,
        Err(door) => return *door,
    };
    let asked = visit.query.text("user").unwrap_or_default();
    let name = match user_name(asked) {
        Ok(name) => name,
        Err(error) => return visit.failed(Refused::new(error.status, error.message)),
    };
    let segment = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    match visit.ours.get(&format!("/api/v1/resolve/{segment}")).await {
        Ok(found) => to(&format!("/users/{}", found["user"].as_str().unwrap_or_default())),
        Err(why) => visit.failed(why),
    }
}
