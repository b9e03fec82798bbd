//! The accept loop below both simulators: it can close a connection without an answer, break an
//! answer off, and tell a test when a request is about to be, or has just been, worked on.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use futures_util::stream::{self, StreamExt};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::clock::SimClock;
use super::dice::Dice;
use super::faults::{Engine, RetryAfter, What};

/// Records beyond these are not kept, so that a simulator can be left running.
const KEPT_RECORDS: usize = 200_000;
/// Between the first half of a truncated answer and the end of the connection, so that it is sent.
const BEFORE_BREAKING_OFF: Duration = Duration::from_millis(5);

/// When a hook is called: before any work is done for a request, or after the work and before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Before,
    After,
}

/// Called with method, path (without the query) and phase.
pub type Hook = Box<dyn Fn(&str, &str, Phase) + Send + Sync>;

/// One request as it came in. `status` is `None` when no answer was sent, or none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    /// Whether it came inside a batch, and not by itself.
    pub in_batch: bool,
    pub status: Option<u16>,
}

/// How hard the simulator is and was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub connections: usize,
    pub most_connections: usize,
    pub requests: usize,
    pub most_requests: usize,
    pub total_requests: u64,
}

/// What a simulator knows about the requests it gets, whatever they ask for.
pub(super) struct Traffic {
    pub(super) dice: Dice,
    pub(super) clock: SimClock,
    pub(super) stop: CancellationToken,
    /// An error answer in the words of the API, for a status given by a fault.
    refuse: fn(StatusCode) -> Response<Body>,
    engine: Mutex<Engine>,
    hook: Mutex<Option<Arc<Hook>>>,
    load: Mutex<Load>,
    records: Mutex<Vec<RequestRecord>>,
}

const HELD: &str = "no panic while the traffic is held";

impl Traffic {
    pub(super) fn new(seed: u64, clock: SimClock, refuse: fn(StatusCode) -> Response<Body>) -> Self {
        Self {
            dice: Dice::new(seed),
            clock,
            stop: CancellationToken::new(),
            refuse,
            engine: Mutex::default(),
            hook: Mutex::default(),
            load: Mutex::default(),
            records: Mutex::default(),
        }
    }

    pub(super) fn with_engine<T>(&self, with: impl FnOnce(&mut Engine) -> T) -> T {
        with(&mut self.engine.lock().expect(HELD))
    }

    pub(super) fn set_hook(&self, hook: Option<Hook>) {
        *self.hook.lock().expect(HELD) = hook.map(Arc::new);
    }

    pub(super) fn load(&self) -> Load {
        *self.load.lock().expect(HELD)
    }

    pub(super) fn records(&self) -> Vec<RequestRecord> {
        self.records.lock().expect(HELD).clone()
    }

    pub(super) fn record(&self, record: RequestRecord) {
        let mut records = self.records.lock().expect(HELD);
        if records.len() < KEPT_RECORDS {
            records.push(record);
        }
    }

    fn call_hook(&self, method: &str, path: &str, phase: Phase) {
        let hook = self.hook.lock().expect(HELD).clone();
        if let Some(hook) = hook {
            hook(method, path, phase);
        }
    }

    /// What goes wrong with a request inside a batch, which has no connection of its own.
    pub(super) fn strike_inside(&self, method: &str, path: &str) -> Option<What> {
        self.with_engine(|engine| {
            let possible = |what: &What| matches!(what, What::Status(..)) || what.is_untrue();
            engine.strike(method, path, &self.dice, possible)
        })
    }

    pub(super) fn refusal(&self, code: u16, retry_after: Option<&RetryAfter>) -> Response<Body> {
        let mut answer = (self.refuse)(StatusCode::from_u16(code).expect("a fault gives a status code"));
        if let Some(wait) = retry_after {
            let value = match wait {
                RetryAfter::Seconds(seconds) => seconds.to_string(),
                RetryAfter::Date(seconds) => http_date(self.clock.now() + Duration::from_secs(*seconds)),
            };
            let value = HeaderValue::from_str(&value).expect("digits and dates are header values");
            answer.headers_mut().insert(header::RETRY_AFTER, value);
        }
        answer
    }

    fn note(&self, request: &Request<Incoming>) -> Under<'_> {
        let mut load = self.load.lock().expect(HELD);
        load.requests += 1;
        load.total_requests += 1;
        load.most_requests = load.most_requests.max(load.requests);
        let uri = request.uri();
        let record = RequestRecord {
            method: request.method().to_string(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            in_batch: false,
            status: None,
        };
        Under { traffic: self, record: Some(record) }
    }
}

/// A request under way: counted while it lives, recorded when it ends, however it ends.
struct Under<'a> {
    traffic: &'a Traffic,
    record: Option<RequestRecord>,
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.traffic.load.lock().expect(HELD).requests -= 1;
        if let Some(record) = self.record.take() {
            self.traffic.record(record);
        }
    }
}

/// Held by the handles of a simulator: the last one to go stops it.
pub(super) struct Running(pub(super) CancellationToken);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Binds `listen` and serves until the traffic is stopped. Must be called within a runtime.
pub(super) fn start(listen: SocketAddr, router: Router, traffic: Arc<Traffic>) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = traffic.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            // A connection that was gone before we took it is nobody's trouble.
            if let Ok((stream, _)) = accepted {
                tokio::spawn(serve(stream, router.clone(), Arc::clone(&traffic)));
            }
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream, router: Router, traffic: Arc<Traffic>) {
    // Small answers must not wait for each other's acknowledgement.
    stream.set_nodelay(true).ok();
    {
        let mut load = traffic.load.lock().expect(HELD);
        load.connections += 1;
        load.most_connections = load.most_connections.max(load.connections);
    }
    let service = service_fn(|request| handle(request, router.clone(), &traffic));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = traffic.stop.cancelled() => {}
        // An error here is a fault we made, or a client that left.
        _ = connection => {}
    }
    traffic.load.lock().expect(HELD).connections -= 1;
}

async fn handle(
    request: Request<Incoming>,
    router: Router,
    traffic: &Traffic,
) -> Result<Response<Body>, io::Error> {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    if path == "/state" {
        return Ok(work(request, router).await);
    }
    let mut under = traffic.note(&request);
    traffic.call_hook(&method, &path, Phase::Before);
    let mut fault = traffic.with_engine(|engine| engine.strike(&method, &path, &traffic.dice, |_| true));
    while let Some(What::Until(gate, then)) = fault {
        gate.acquire().await.ok();
        fault = Some(*then);
    }
    let mut answer = match fault {
        Some(What::Status(code, retry_after)) => traffic.refusal(code, retry_after.as_ref()),
        Some(What::Html(code)) => html(code),
        Some(What::ResetDelta) => reset(&request, (traffic.refuse)(StatusCode::GONE)),
        Some(What::DropBeforeWork) => return Err(dropped()),
        Some(What::Until(..)) => unreachable!("it has been waited for"),
        Some(What::Hang) => std::future::pending().await,
        Some(What::Delay(time)) => {
            tokio::time::sleep(time).await;
            work(request, router).await
        }
        Some(What::DropAfterWork) => {
            work(request, router).await;
            traffic.call_hook(&method, &path, Phase::After);
            return Err(dropped());
        }
        Some(What::Truncate) => truncated(work(request, router).await).await?,
        Some(what @ (What::StripProperty(_) | What::SetProperty(..) | What::OtherId | What::EmptyList)) => {
            untrue(work(request, router).await, &what).await
        }
        None => work(request, router).await,
    };
    // Its own time, which need not be that of this host.
    let date = HeaderValue::from_str(&http_date(traffic.clock.now())).expect("a date is a header value");
    answer.headers_mut().entry(header::DATE).or_insert(date);
    traffic.call_hook(&method, &path, Phase::After);
    if let Some(record) = &mut under.record {
        record.status = Some(answer.status().as_u16());
    }
    Ok(answer)
}

async fn work(request: Request<Incoming>, router: Router) -> Response<Body> {
    match router.oneshot(request.map(Body::new)).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

fn dropped() -> io::Error {
    io::Error::other("a fault closes this connection")
}

async fn truncated(answer: Response<Body>) -> Result<Response<Body>, io::Error> {
    let (mut head, body) = answer.into_parts();
    let whole = to_bytes(body, usize::MAX).await.map_err(io::Error::other)?;
    let half = whole.slice(..whole.len() / 2);
    head.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    let end = stream::once(async {
        tokio::time::sleep(BEFORE_BREAKING_OFF).await;
        Err(dropped())
    });
    let frames = stream::once(async move { Ok(Frame::data(half)) }).chain(end);
    Ok(Response::from_parts(head, Body::new(StreamBody::new(frames))))
}

/// The answer, falsified if it is JSON and says yes.
pub(super) async fn untrue(answer: Response<Body>, what: &What) -> Response<Body> {
    if !answer.status().is_success() {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let mut whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    if let Ok(mut json) = serde_json::from_slice(&whole) {
        what.falsify(&mut json);
        whole = json.to_string().into();
        head.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    }
    Response::from_parts(head, Body::from(whole))
}

fn html(code: u16) -> Response<Body> {
    let page = format!("<html><head><title>{code}</title></head><body><h1>{code}</h1></body></html>");
    Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        .body(Body::from(page))
        .expect("a fault gives a status code")
}

/// 410, with the same address and an empty delta token as the place to start again from.
fn reset(request: &Request<Incoming>, mut answer: Response<Body>) -> Response<Body> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let location = format!("http://{host}{}?$deltatoken=", request.uri().path());
    if let Ok(location) = HeaderValue::from_str(&location) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

fn http_date(instant: jiff::Timestamp) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&instant)
        .expect("this century has years of four digits")
}
