//! Tells operators what needs one: events go into the store's outbox, and from there to the receivers.
//!
//! The rest of the worker only says what happened ([`Worker::tell`]) and never waits. A receiver that is
//! slow, down or gone holds up nothing but its own deliveries, which are few ([`WAITING_AT_MOST`]).

mod letter;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use jiff::Timestamp;
use secrecy::SecretSlice;
use serde::Serialize;
use serde_json::{Value as Json, json};
use tracing::{debug, info, warn};

use crate::clock::{Clock, later, until};
use crate::domain::event::{self, Event, Kind, Next, Tried, WAITING_AT_MOST, What};
use crate::domain::queue::{HELD, Job, Outcome, Settlement};
use crate::outbound::{
    self, Api, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Transport, Url, retry_after,
};
use crate::store::{self, Hearer, Outgoing, ReceiverId};
use crate::telemetry::{Metrics, ResultLabel};

use super::Worker;
use super::failure::words;

/// Deliveries to one receiver before the others get their turn.
const AT_ONCE: usize = 20;
/// After a failure a receiver is left alone until that delivery is tried again, but not longer, unless it
/// asked for it.
const LONGEST_REST: Duration = Duration::from_secs(300);
const LONGEST_SAID: Duration = Duration::from_secs(27 * 3600);
/// What is shown of the answer to a test.
const SHOWN_BYTES: usize = 200;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Standard,
    Slack,
}

/// Who is told.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Follows from the address, so that a restart knows whose the deliveries are.
    pub id: ReceiverId,
    pub url: Url,
    /// All sign.
    pub secrets: Vec<SecretSlice<u8>>,
    pub format: Format,
    pub window: Duration,
    pub kinds: BTreeSet<Kind>,
}

/// A receiver with the way to it and how it has behaved.
#[derive(Debug)]
struct Line {
    receiver: Receiver,
    api: Api,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// It said 410.
    gone: bool,
    resting_until: Option<Timestamp>,
    delivered_at: Option<Timestamp>,
    last_error: Option<String>,
}

/// All receivers. Exchanged as a whole when the configuration is read again.
#[derive(Debug, Default)]
pub struct Receivers(Mutex<Arc<Vec<Arc<Line>>>>);

/// What one receiver answered to a test.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    receiver: String,
    ok: bool,
    status: Option<u16>,
    body: Option<String>,
    problem: Option<String>,
    took_ms: u64,
}

impl Receivers {
    pub fn new(
        receivers: Vec<Receiver>,
        transport: &Transport,
        clock: &Clock,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let all = Self::default();
        all.exchange(receivers, transport, clock, metrics);
        all
    }

    /// Takes others. Whoever stays is remembered to have said that it wants no more.
    pub fn exchange(
        &self,
        receivers: Vec<Receiver>,
        transport: &Transport,
        clock: &Clock,
        metrics: &Arc<Metrics>,
    ) {
        let before = self.all();
        let line = |receiver: Receiver| {
            let known = before.iter().find(|line| line.receiver.id == receiver.id);
            let state = known.map(|line| line.state().clone()).unwrap_or_default();
            let (transport, clock, metrics) = (transport.clone(), clock.clone(), metrics.clone());
            let api = Api::new("events", receiver.url.clone(), transport, 1, clock, metrics);
            Arc::new(Line { receiver, api, state: Mutex::new(state) })
        };
        let lines = receivers.into_iter().map(line).collect();
        *self.0.lock().expect("no panic while the receivers are held") = Arc::new(lines);
    }

    fn all(&self) -> Arc<Vec<Arc<Line>>> {
        self.0.lock().expect("no panic while the receivers are held").clone()
    }

    fn hearers(&self, wanted: impl Fn(&Receiver) -> bool) -> Vec<Hearer> {
        let lines = self.all();
        let open = lines.iter().filter(|line| !line.state().gone && wanted(&line.receiver));
        open.map(|line| Hearer { receiver: line.receiver.id, window: line.receiver.window }).collect()
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the state is held")
    }

    /// For people: the host alone, for in the path of some there is a secret.
    fn name(&self) -> String {
        self.receiver.url.host_str().unwrap_or("a receiver").to_owned()
    }

    async fn post(&self, event: &Event, now: Timestamp) -> Result<Response, outbound::Error> {
        let body = match self.receiver.format {
            Format::Standard => letter::standard(event),
            Format::Slack => letter::slack(event),
        };
        let (body, id) = (body.to_string(), letter::id(event));
        let mut request = Request::new(Method::POST, self.receiver.url.clone());
        let signature = letter::signature(&self.receiver.secrets, &id, now, body.as_bytes());
        let headers = [
            ("webhook-id", id),
            // Of this try, and not of the event: receivers refuse what is older than some minutes.
            ("webhook-timestamp", now.as_second().to_string()),
            ("webhook-signature", signature),
        ];
        for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
            let value = HeaderValue::from_str(&value).expect("ids, digits and base64 are ASCII");
            request = request.header(HeaderName::from_static(name), value);
        }
        self.api.send(request.body("application/json", body)).await
    }

    async fn send(&self, event: &Event, clock: &Clock) -> Tried {
        let now = clock.now();
        judge(self.post(event, now).await, clock.now())
    }
}

fn judge(answer: Result<Response, outbound::Error>, now: Timestamp) -> Tried {
    match answer {
        Ok(response) if response.status.is_success() => Tried::Delivered,
        Ok(response) if response.status == StatusCode::GONE => Tried::Gone,
        Ok(response) => {
            let error = format!("the receiver answered {}", response.status.as_u16());
            Tried::Failed { error, wait: retry_after(&response.headers, now) }
        }
        Err(error) => {
            let wait = match &error {
                outbound::Error::Throttled { until: opens, .. } => Some(until(now, *opens)),
                _ => None,
            };
            Tried::Failed { error: words(&error), wait }
        }
    }
}

impl Worker {
    /// Has operators told, unless nobody wants to know. Never waits: what is told is with the store when
    /// this returns, and on disk with its next commit.
    pub fn tell(&self, what: What) {
        let kind = what.kind();
        let hearers = self.receivers.hearers(|receiver| receiver.kinds.contains(&kind));
        if hearers.is_empty() {
            return;
        }
        let now = self.clock.now();
        let event = Event { id: self.random.guid(), at: now, what, suppressed: 0 };
        let (heard, worker) = (self.store.hear(event, hearers, now), self.clone());
        self.tasks.spawn(async move {
            // A store that failed ends the process by those who wait for it.
            if let Ok(given_up) = heard.await {
                worker.tell_of_given_up(given_up);
                worker.running.told.notify_one();
            }
        });
    }

    /// What a run came to, if a person has to look at it.
    pub(super) fn tell_of_run(&self, job: &Job, outcome: &Outcome) {
        if let Settlement::Park { code, .. } = &outcome.settlement {
            self.tell(What::UserParked { code: (*code).to_owned(), users: vec![job.user] });
        }
        // What is held once more is no news: the history has no remark of it.
        if let Some(Some(held)) = &outcome.case.held
            && outcome.remarks.iter().any(|remark| remark.code == HELD)
        {
            for (guarded, _) in held.spend.iter() {
                self.tell(What::GuardTripped { guarded, users: vec![job.user] });
            }
        }
    }

    /// Takes other receivers; whoever is not among them is owed nothing any more.
    pub async fn exchange_receivers(
        &self,
        receivers: Vec<Receiver>,
        transport: &Transport,
    ) -> Result<(), store::Error> {
        self.receivers.exchange(receivers, transport, &self.clock, &self.metrics);
        self.keep_receivers().await?;
        self.running.told.notify_one();
        Ok(())
    }

    async fn keep_receivers(&self) -> Result<(), store::Error> {
        let open = self.receivers.hearers(|_| true);
        self.store.keep_receivers(open.iter().map(|hearer| hearer.receiver).collect()).await
    }

    /// Delivers what is in the outbox until shutdown. An error of the store ends it.
    pub async fn keep_telling(self) -> anyhow::Result<()> {
        self.keep_receivers().await.context("cannot keep the outbox")?;
        while !self.shutdown.is_requested() {
            let told = self.running.told.notified();
            let next = tokio::select! {
                next = self.deliver() => next.context("cannot work off the outbox")?,
                // What is under way is sent once more after the next start, under the same id.
                () = self.shutdown.requested() => break,
            };
            tokio::select! {
                () = told => {}
                () = self.clock.sleep_until(next) => {}
                () = self.shutdown.requested() => {}
            }
        }
        Ok(())
    }

    /// Delivers what is due. When there is more to do.
    async fn deliver(&self) -> Result<Timestamp, store::Error> {
        let hearers = self.receivers.hearers(|_| true);
        if hearers.is_empty() {
            return Ok(Timestamp::MAX);
        }
        let (window_ends, given_up) = self.store.end_quiet_windows(hearers, self.clock.now()).await?;
        self.tell_of_given_up(given_up);
        let lines = self.receivers.all();
        let mut next = window_ends.unwrap_or(Timestamp::MAX);
        for more in join_all(lines.iter().map(|line| self.deliver_to(line))).await {
            next = next.min(more?);
        }
        Ok(next)
    }

    async fn deliver_to(&self, line: &Line) -> Result<Timestamp, store::Error> {
        let State { gone, resting_until, .. } = line.state().clone();
        if gone {
            return Ok(Timestamp::MAX);
        }
        let mut waiting = self.store.outgoing(line.receiver.id).await?;
        if waiting.is_empty() {
            return Ok(Timestamp::MAX);
        }
        let now = self.clock.now();
        if let Some(until) = resting_until.filter(|until| *until > now && *until <= later(now, LONGEST_SAID))
        {
            return Ok(until);
        }
        // What was never tried goes first: one that the receiver cannot take holds up no other.
        waiting.sort_by_key(|outgoing| outgoing.delivery.attempts);
        let mut next = Timestamp::MAX;
        let mut n_sent = 0;
        for outgoing in waiting {
            let now = self.clock.now();
            let due = outgoing.delivery.due(now);
            if due > now || n_sent == AT_ONCE {
                next = next.min(due);
                continue;
            }
            n_sent += 1;
            let tried = line.send(&outgoing.delivery.event, &self.clock).await;
            if let Some(rests_until) = self.after_try(line, outgoing, tried).await? {
                return Ok(rests_until);
            }
        }
        Ok(next)
    }

    /// Keeps what a try came to. Until when the receiver is to be left alone, if it is.
    async fn after_try(
        &self,
        line: &Line,
        outgoing: Outgoing,
        tried: Tried,
    ) -> Result<Option<Timestamp>, store::Error> {
        let (now, name) = (self.clock.now(), line.name());
        let kind = outgoing.delivery.event.what.kind().name();
        let asked = matches!(tried, Tried::Failed { wait: Some(_), .. });
        let count = |result| self.metrics.events.get_or_create(&ResultLabel::of(result)).inc();
        match event::next(&outgoing.delivery, tried, now, self.random.unit()) {
            Next::Done => {
                count("delivered");
                debug!(event.kind = kind, "told {name} of {kind}");
                let state = State { delivered_at: Some(now), ..State::default() };
                *line.state() = state;
                self.store.tried_delivery(outgoing, None).await?;
                Ok(None)
            }
            Next::Disable => {
                count("gone");
                warn!("{name} answered 410 Gone: it is sent no more events until the next start");
                line.state().gone = true;
                self.keep_receivers().await?;
                Ok(Some(Timestamp::MAX))
            }
            Next::Again(again) => {
                count("failed");
                let error = again.last_error.clone().unwrap_or_default();
                warn!(
                    event.kind = kind,
                    job.attempt = again.attempts,
                    error,
                    "{name} could not be told of {kind}"
                );
                let rests_until =
                    if asked { again.due_at } else { again.due_at.min(later(now, LONGEST_REST)) };
                {
                    let mut state = line.state();
                    state.resting_until = Some(rests_until);
                    state.last_error = Some(error);
                }
                self.store.tried_delivery(outgoing, Some(again)).await?;
                Ok(Some(rests_until))
            }
            Next::GiveUp { error } => {
                count("given_up");
                warn!(event.kind = kind, error, "gave up telling {name} of {kind}");
                line.state().last_error = Some(error);
                self.store.tried_delivery(outgoing, None).await?;
                Ok(None)
            }
        }
    }

    fn tell_of_given_up(&self, n: usize) {
        if n > 0 {
            let label = ResultLabel::of("given_up");
            self.metrics.events.get_or_create(&label).inc_by(n as u64);
            warn!(n_events = n, "more than {WAITING_AT_MOST} events wait for a receiver: gave the oldest up");
        }
    }

    /// Sends a test to every receiver at once, past the outbox, and says what each answered.
    pub async fn test_events(&self) -> Json {
        let now = self.clock.now();
        let event = Event { id: self.random.guid(), at: now, what: What::Test, suppressed: 0 };
        let lines = self.receivers.all();
        let ask = async |line: &Arc<Line>| {
            let began = Instant::now();
            let answer = line.post(&event, now).await;
            let took_ms = began.elapsed().as_millis() as u64;
            let shown = answer.as_ref().ok().map(|response| {
                let body = &response.body[..response.body.len().min(SHOWN_BYTES)];
                (response.status.as_u16(), String::from_utf8_lossy(body).trim().to_owned())
            });
            let problem = match judge(answer, now) {
                Tried::Delivered => None,
                Tried::Gone => Some("it answered 410 Gone: it wants no more events".to_owned()),
                Tried::Failed { error, .. } => Some(error),
            };
            let (status, body) = shown.unzip();
            Answer { receiver: line.name(), ok: problem.is_none(), status, body, problem, took_ms }
        };
        let answers = join_all(lines.iter().map(ask)).await;
        info!(n_receivers = answers.len(), "an operator had a test event sent");
        json!({ "receivers": answers })
    }

    /// How it stands with each receiver, for `/status`.
    pub async fn receivers_status(&self) -> Result<Json, store::Error> {
        let mut all = Vec::new();
        for line in self.receivers.all().iter() {
            let waiting = self.store.outgoing(line.receiver.id).await?.len();
            let State { gone, delivered_at, last_error, .. } = line.state().clone();
            all.push(json!({
                "receiver": line.name(), "waiting": waiting, "disabled": gone,
                "deliveredAt": delivered_at, "lastError": last_error,
            }));
        }
        Ok(Json::Array(all))
    }
}
