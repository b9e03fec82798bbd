//! Answers that are made while they are sent: a copy of the store, and work that tells how far it has
//! come.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::{Interval, MissedTickBehavior};

use super::wire::ApiError;
use crate::store::Snapshot;
use crate::telemetry::Progress;

/// One JSON value a line.
pub const LINES: &str = "application/x-ndjson";

/// How often it is told how far something has come. A client that hears nothing for long is taken for
/// gone.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// What is read of a copy at once.
const PIECE_BYTES: u64 = 256 << 10;

/// Sends a copy of the store. Its length is said first, so that one that broke off is known to be.
pub fn copy(snapshot: Snapshot) -> Response {
    let n_bytes = snapshot.n_bytes;
    let pieces = stream::try_unfold((snapshot, None), |(snapshot, file)| async move {
        let mut file = match file {
            Some(file) => file,
            None => {
                let mut file = tokio::fs::File::from_std(snapshot.file.try_clone()?);
                file.rewind().await?;
                file
            }
        };
        let mut piece = Vec::new();
        (&mut file).take(PIECE_BYTES).read_to_end(&mut piece).await?;
        let next = (!piece.is_empty()).then(|| (Bytes::from(piece), (snapshot, Some(file))));
        Ok::<_, io::Error>(next)
    });
    let kind = HeaderValue::from_static("application/octet-stream");
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_LENGTH, HeaderValue::from(n_bytes))];
    (headers, Body::from_stream(pieces)).into_response()
}

/// Whether the client wants to hear how far it has come.
fn wants_lines(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|accepted| accepted == LINES)
}

type Working = Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send>>;

/// The answer to some work, which is given where to note how far it has come; for who wants lines, how far that is until then.
///
/// A line is `{"progress": {"doing", "done", "of"}}`, and the last one `{"answer": …}`, or
/// `{"error": …, "status"}` as it would have been without lines.
pub async fn told<W>(headers: &HeaderMap, work: impl FnOnce(Arc<Progress>) -> W) -> Result<Response, ApiError>
where
    W: Future<Output = Result<Value, ApiError>> + Send + 'static,
{
    let progress = Arc::<Progress>::default();
    let work = work(progress.clone());
    if !wants_lines(headers) {
        return Ok(Json(work.await?).into_response());
    }
    let mut clock = tokio::time::interval(TELL_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let open = Some((Box::pin(work) as Working, clock, progress));
    let lines = stream::unfold(open, |open| async move {
        let (mut work, mut clock, progress) = open?;
        let (line, open) = match ended(&mut work, &mut clock).await {
            Some(Ok(answer)) => (json!({ "answer": answer }), None),
            Some(Err(error)) => (error.told(), None),
            None => (json!({ "progress": progress.now() }), Some((work, clock, progress))),
        };
        Some((Ok::<_, io::Error>(Bytes::from(format!("{line}\n"))), open))
    });
    let kind = HeaderValue::from_static(LINES);
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response())
}

/// How the work ended; `None` when it is time to tell that it has not.
async fn ended(work: &mut Working, clock: &mut Interval) -> Option<Result<Value, ApiError>> {
    tokio::select! {
        biased;
        answer = poll_fn(|cx| work.as_mut().poll(cx)) => Some(answer),
        _ = clock.tick() => None,
    }
}
