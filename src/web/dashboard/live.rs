//! Tells an open page when there may be something new to see (server-sent events).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::{Dashboard, Ours};

/// A busy service is not looked at more often than this.
const PAUSE: Duration = Duration::from_secs(1);
/// Without any change too: ages and times left go on. It also shows the listener that the browser is
/// still there.
const AT_LEAST: Duration = Duration::from_secs(5);
/// Then the browser comes again by itself, and has to show its cookie again.
const LONGEST: Duration = Duration::from_secs(300);

pub async fn stream(State(ours): Ours, request: Request) -> Response {
    if ours.session(request.headers(), true).is_none() {
        // No way to the door: a script asks.
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Ok(place) = ours.streams.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "30")]).into_response();
    };
    let ends_at = tokio::time::Instant::now() + LONGEST;
    let first = Some((ours, place, ends_at, true));
    let events = stream::unfold(first, |state| async move {
        let (ours, place, ends_at, is_first) = state?;
        if !is_first && !changed(&ours, ends_at).await {
            return None;
        }
        let event = Ok::<_, Infallible>(Bytes::from_static(b"retry: 5000\ndata: look\n\n"));
        Some((event, Some((ours, place, ends_at, false))))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

/// Waits until it is worth looking again; `false` when the stream is to end.
async fn changed(ours: &Arc<Dashboard>, ends_at: tokio::time::Instant) -> bool {
    let change = ours.ours.store.changed();
    let stop = ours.ours.shutdown.requested();
    tokio::select! {
        () = stop => return false,
        () = tokio::time::sleep_until(ends_at) => return false,
        () = async {
            tokio::time::sleep(PAUSE).await;
            tokio::time::timeout(AT_LEAST - PAUSE, change).await.ok();
        } => {}
    }
    true
}
