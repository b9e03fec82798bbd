//! Reads of users made at the same moment travel together.
//!
//! The first caller starts a collector; it lets everybody who is ready come aboard, then sends:
//! one waiting call as a plain GET, several as a `$batch` of at most 20. While as many are under way
//! as may be, callers gather for the next one, so batches grow with the load. Within a batch every
//! answer stands for itself: one item that is throttled or fails spoils no other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::selection::Selection;
use super::users::{READ_USER, read_user};
use super::{Error, Graph, wire};
use crate::domain::observed::Observed;
use crate::domain::user::{SourceUser, UserId};
use crate::outbound::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, retry_after,
};

/// Source: Microsoft Graph, "Combine multiple HTTP requests using JSON batching".
const LARGEST: usize = 20;
const MOST_UNDER_WAY: usize = 4;

type Answer = Result<Observed<SourceUser>, Error>;

#[derive(Debug)]
pub(super) struct Batch {
    waiting: Mutex<Waiting>,
    under_way: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Waiting {
    asked: VecDeque<Asked>,
    collecting: bool,
}

#[derive(Debug)]
struct Asked {
    id: UserId,
    /// Callers that travel together may want different attributes: settings are exchanged while we
    /// run.
    selection: Arc<Selection>,
    reply: oneshot::Sender<Answer>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { waiting: Mutex::default(), under_way: Arc::new(Semaphore::new(MOST_UNDER_WAY)) }
    }
}

impl Batch {
    /// The next to be sent together; empty when nobody waits, and then the collector must end.
    fn board(&self) -> Vec<Asked> {
        let mut waiting = self.waiting.lock().expect("no panic while callers wait");
        // Who has given up meanwhile needs no seat.
        waiting.asked.retain(|asked| !asked.reply.is_closed());
        let seats = waiting.asked.len().min(LARGEST);
        waiting.collecting = seats > 0;
        waiting.asked.drain(..seats).collect()
    }
}

impl Graph {
    pub(super) async fn read_in_batch(&self, id: UserId) -> Answer {
        let (reply, answer) = oneshot::channel();
        let collect = {
            let mut waiting = self.inner.batch.waiting.lock().expect("no panic while callers wait");
            waiting.asked.push_back(Asked { id, selection: self.selection.clone(), reply });
            !std::mem::replace(&mut waiting.collecting, true)
        };
        if collect {
            let graph = self.clone();
            self.inner.tasks.spawn(async move { graph.collect().await });
        }
        answer.await.unwrap_or(Err(Error::Interrupted { doing: READ_USER }))
    }

    async fn collect(self) {
        loop {
            let slot = self.inner.batch.under_way.clone().acquire_owned().await.expect("it is never closed");
            // Everybody who is ready to run gets to ask before the doors close.
            tokio::task::yield_now().await;
            let aboard = self.inner.batch.board();
            if aboard.is_empty() {
                return;
            }
            let graph = self.clone();
            self.inner.tasks.spawn(async move { graph.travel(aboard, slot).await });
        }
    }

    async fn travel(self, aboard: Vec<Asked>, _slot: OwnedSemaphorePermit) {
        let answers = match aboard.as_slice() {
            [asked] => vec![self.read_alone(asked).await],
            several => self.read_together(several).await,
        };
        for (asked, answer) in aboard.into_iter().zip(answers) {
            // A caller who has given up does not care.
            asked.reply.send(answer).ok();
        }
    }

    async fn read_alone(&self, Asked { id, selection, .. }: &Asked) -> Answer {
        let url = self.url(["users", &id.to_string()], selection.query());
        let response = self.get(READ_USER, url).await?;
        read_user(selection, &response, Some(*id))
    }

    /// One answer for each, in the order of `aboard`.
    async fn read_together(&self, aboard: &[Asked]) -> Vec<Answer> {
        let answer = match self.ask_together(aboard).await {
            Ok(answer) => answer,
            Err(error) => return aboard.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut answers: HashMap<String, Option<wire::BatchResponse>> = HashMap::new();
        for response in answer.responses {
            // Two answers to one question: neither can be believed.
            let id = response.id.clone();
            answers.entry(id).and_modify(|slot| *slot = None).or_insert(Some(response));
        }
        let inner: Vec<Result<Response, Error>> =
            (0..aboard.len()).map(|n| read_inner(answers.remove(&n.to_string()).flatten())).collect();
        let throttled = self.tell_of_throttling(&inner);
        let one = |(response, asked): (Result<Response, Error>, &Asked)| {
            let response = response?;
            match (&throttled, asks_to_wait(&response, self.inner.clock.now())) {
                (Some(error), true) => Err(error.clone()),
                _ => read_user(&asked.selection, &response, Some(asked.id)),
            }
        };
        inner.into_iter().zip(aboard).map(one).collect()
    }

    async fn ask_together(&self, aboard: &[Asked]) -> Result<wire::BatchAnswer, Error> {
        let request = |(n, Asked { id, selection, .. }): (usize, &Asked)| wire::BatchRequest {
            id: n.to_string(),
            method: "GET",
            url: format!("/users/{id}?{}", selection.query()),
        };
        let requests = aboard.iter().enumerate().map(request).collect();
        let body = serde_json::to_vec(&wire::Batch { requests }).expect("strings can be written as JSON");
        let request = Request::new(Method::POST, self.url(["$batch"], "")).body("application/json", body);
        let response = self.call(READ_USER, request).await?;
        if response.status != StatusCode::OK {
            return Err(Error::refusal(READ_USER, &response));
        }
        serde_json::from_slice(&response.body)
            .map_err(|_| Error::malformed(READ_USER, "the answer is not that of a batch"))
    }

    /// The whole API waits for as long as the item that was told to wait longest.
    fn tell_of_throttling(&self, inner: &[Result<Response, Error>]) -> Option<Error> {
        let now = self.inner.clock.now();
        let throttled = inner.iter().flatten().filter(|response| asks_to_wait(response, now));
        let longest = throttled.map(|response| retry_after(&response.headers, now)).max()?;
        Some(Error::outbound(READ_USER, self.api().throttled(longest)))
    }
}

/// The same that `outbound` takes for a request to wait.
fn asks_to_wait(response: &Response, now: jiff::Timestamp) -> bool {
    match response.status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => retry_after(&response.headers, now).is_some(),
        _ => false,
    }
}

/// An item of the batch as if it had come alone.
fn read_inner(item: Option<wire::BatchResponse>) -> Result<Response, Error> {
    let item = item.ok_or_else(|| Error::malformed(READ_USER, "the batch has no single answer for it"))?;
    let status = StatusCode::from_u16(item.status)
        .map_err(|_| Error::malformed(READ_USER, "an answer in the batch has no status"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in item.headers.unwrap_or_default() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&text)) {
            headers.insert(name, value);
        }
    }
    let body = item.body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.get().as_bytes()));
    Ok(Response { status, headers, body })
}

#[cfg(test)]
mod tests;
