//! Whole copies of what is kept: the backup, for this program, and the export, for others.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Ours;
use crate::domain::user::UserId;
use crate::store::{self, Recorded, Store};
use crate::web::pieces::{LINES, copy};
use crate::web::private::PrivateState;
use crate::web::wire::{ApiError, Nothing, Sent};

/// What the lines of an export look like. Fields may be added; what changes their meaning raises it.
const EXPORT_SCHEMA: u32 = 1;
/// Entries read at once.
const PAGE: usize = 500;

pub fn router() -> Router<Arc<PrivateState>> {
    Router::new().route("/backup", post(backup)).route("/export", get(export))
}

/// The bytes of a file that `restore` takes.
async fn backup(State(ours): Ours, Sent(Nothing {}): Sent<Nothing>) -> Result<Response, ApiError> {
    let snapshot = ours.store.snapshot(ours.clock.now()).await?;
    tracing::info!(n_bytes = snapshot.n_bytes, "an operator takes a backup");
    Ok(copy(snapshot))
}

/// Links, jobs, cases, subscriptions and the history, a line each. The first line says what it is, and
/// the last how many there were: without it, some are missing.
///
/// Read in pages, so that a slow reader keeps nothing from being reused: what changes meanwhile is there
/// as it was, or as it is.
async fn export(State(ours): Ours) -> Result<Response, ApiError> {
    let begin = json!({
        "schema": EXPORT_SCHEMA, "program": env!("CARGO_PKG_VERSION"), "at": ours.clock.now(),
    });
    let state = (ours.store.clone(), Some(Part::Begin(begin)), 0_u64);
    let pages = stream::try_unfold(state, |(store, part, n_lines)| async move {
        let Some(part) = part else { return Ok(None) };
        let (page, next) = part.read(&store, n_lines).await.inspect_err(|error| {
            tracing::error!(error = error as &dyn std::error::Error, "an export broke off");
        })?;
        let n_lines = n_lines + page.n_lines;
        Ok::<_, store::Error>(Some((Bytes::from(page.text), (store, next, n_lines))))
    });
    let kind = HeaderValue::from_static(LINES);
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(pages)).into_response())
}

/// Where an export stands: what is read next.
enum Part {
    Begin(Value),
    Links(Option<UserId>),
    Jobs(Option<UserId>),
    Cases(Option<UserId>),
    Subscriptions,
    History(u64),
    End,
}

#[derive(Default)]
struct Page {
    text: Vec<u8>,
    n_lines: u64,
}

impl Page {
    fn line(&mut self, kind: &str, user: Option<UserId>, what: impl Serialize) {
        let mut line = Map::new();
        line.insert("kind".to_owned(), kind.into());
        line.extend(user.map(|user| ("user".to_owned(), json!(user))));
        if let Value::Object(what) = json!(what) {
            line.extend(what);
        }
        self.text.extend(Value::Object(line).to_string().into_bytes());
        self.text.push(b'\n');
        self.n_lines += 1;
    }
}

impl Part {
    async fn read(self, store: &Store, n_lines: u64) -> store::Result<(Page, Option<Self>)> {
        let mut page = Page::default();
        let next = match self {
            Self::Begin(begin) => {
                page.line("export", None, begin);
                Self::Links(None)
            }
            Self::Links(after) => {
                let links = store.links(after, PAGE).await?;
                let last = links.last().map(|(user, _)| *user);
                links.iter().for_each(|(user, link)| page.line("link", Some(*user), link));
                last.map_or(Self::Jobs(None), |last| Self::Links(Some(last)))
            }
            Self::Jobs(after) => {
                let jobs = store.jobs(None, PAGE, after).await?;
                jobs.iter().for_each(|job| page.line("job", None, job));
                jobs.last().map_or(Self::Cases(None), |job| Self::Jobs(Some(job.user)))
            }
            Self::Cases(after) => {
                let cases = store.cases(after, PAGE).await?;
                let last = cases.last().map(|(user, _)| *user);
                cases.iter().for_each(|(user, case)| page.line("case", Some(*user), case));
                last.map_or(Self::Subscriptions, |last| Self::Cases(Some(last)))
            }
            Self::Subscriptions => {
                let subscriptions = store.subscriptions().await?;
                subscriptions.iter().for_each(|it| page.line("subscription", None, it));
                Self::History(0)
            }
            Self::History(after) => {
                let entries = store.entries(after, PAGE).await?;
                for recorded in &entries.recorded {
                    match recorded {
                        Recorded::Write(write) => page.line("write", None, write),
                        Recorded::Remark { number, remark } => {
                            page.line("remark", None, json!({ "number": number, "remark": remark }));
                        }
                    }
                }
                entries.after.map_or(Self::End, Self::History)
            }
            Self::End => {
                page.line("end", None, json!({ "lines": n_lines }));
                return Ok((page, None));
            }
        };
        Ok((page, Some(next)))
    }
}
