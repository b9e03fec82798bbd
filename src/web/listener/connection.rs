//! One connection, from the accept to its end, and the clock that runs while the client makes us
//! wait.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use futures_util::FutureExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};
use tower::ServiceExt;

use super::{Limits, Place, Socket};
use crate::shutdown::Shutdown;
use crate::web::body::TimedOut;

/// How much hyper may hold of what a client sent and we have not read.
const BUFFER_BYTES: usize = 64 << 10;
const MOST_HEADERS: usize = 64;

/// What a connection is doing, and since when. For all but `Serving` it is the client's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepted, and not a byte seen.
    Fresh,
    Head,
    Body,
    /// The request is complete; it is our turn.
    Serving,
    /// The answer is being made and sent.
    Answering,
    /// The last byte of the answer is on its way.
    Flushing,
    Idle,
}

/// What the accept loop sees of a connection.
#[derive(Debug)]
pub(super) struct Seat {
    phase: Mutex<(Phase, Instant)>,
    leave: Notify,
}

impl Default for Seat {
    fn default() -> Self {
        Self { phase: Mutex::new((Phase::Fresh, Instant::now())), leave: Notify::new() }
    }
}

impl Seat {
    /// Since when the client has owed us a request or the rest of one.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let (phase, since) = self.now();
        matches!(phase, Phase::Fresh | Phase::Head | Phase::Body | Phase::Idle).then_some(since)
    }

    pub(super) fn leave(&self) {
        self.leave.notify_one();
    }

    fn now(&self) -> (Phase, Instant) {
        *self.phase.lock().expect("no panic while the phase is held")
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock().expect("no panic while the phase is held") = (phase, Instant::now());
    }

    /// Enters `next` if the phase is one of `from`.
    fn pass(&self, from: &[Phase], next: Phase) {
        let mut now = self.phase.lock().expect("no panic while the phase is held");
        if from.contains(&now.0) {
            *now = (next, Instant::now());
        }
    }

    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let (phase, since) = self.now();
        let patience = match phase {
            Phase::Fresh | Phase::Head => limits.head,
            Phase::Idle => limits.idle,
            Phase::Answering | Phase::Flushing => limits.write,
            // `TimedBody` watches the body, so that the client can be told; the handler watches itself.
            Phase::Body | Phase::Serving => return None,
        };
        Some(since + patience)
    }
}

/// Serves one connection to its end.
pub(super) async fn run<S: Socket>(
    socket: S,
    place: Place,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) {
    let seat = place.seat.clone();
    let accepted_at = Instant::now();
    let greeted = tokio::select! {
        biased;
        () = shutdown.requested() => return,
        () = seat.leave.notified() => return,
        greeted = tokio::time::timeout_at(accepted_at + limits.head, socket.greet()) => greeted,
    };
    let stream = match greeted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "turned a connection away");
            return;
        }
        Err(_) => return,
    };
    let service = {
        let (seat, shutdown) = (seat.clone(), shutdown.clone());
        service_fn(move |request: Request<Incoming>| {
            let (router, seat, shutdown) = (router.clone(), seat.clone(), shutdown.clone());
            async move {
                let answer = answer(router, request, &seat, &limits).await;
                let last = shutdown.is_requested() || accepted_at.elapsed() >= limits.age;
                Ok::<_, Infallible>(if last { closing(answer) } else { answer })
            }
        })
    };
    let stream = Watched { stream, seat: seat.clone() };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Our own clock is stricter; hyper's would also run while a connection is rightly idle.
        .header_read_timeout(limits.idle + limits.head)
        .max_buf_size(BUFFER_BYTES)
        .max_header_size(limits.head_bytes)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut asked_to_stop = pin!(shutdown.requested());
    let mut told_to_leave = pin!(seat.leave.notified());
    let mut alarm = pin!(tokio::time::sleep_until(accepted_at + limits.head));
    let mut stopping = false;
    poll_fn(|cx| {
        if !stopping && asked_to_stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            // Ends an idle connection at once, any other after its answer.
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke off");
            }
            return Poll::Ready(());
        }
        if told_to_leave.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // The phase only changes while the connection is polled, which just happened: the alarm is
        // set anew here and cannot miss an earlier deadline.
        match seat.deadline(&limits) {
            Some(deadline) => {
                if alarm.deadline() != deadline {
                    alarm.as_mut().reset(deadline);
                }
                alarm.as_mut().poll(cx)
            }
            None => Poll::Pending,
        }
    })
    .await;
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    seat: &Arc<Seat>,
    limits: &Limits,
) -> Response<Body> {
    seat.enter(if request.body().is_end_stream() { Phase::Serving } else { Phase::Body });
    let deadline = Instant::now() + limits.body;
    let request = request.map(|body| Body::new(TimedBody::new(body, deadline, seat.clone())));
    let answered = AssertUnwindSafe(router.oneshot(request)).catch_unwind().await;
    let answer = answered.unwrap_or_else(|_| {
        // The panic itself was reported by the hook.
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Ok(closing(answer))
    });
    let Ok(answer) = answer;
    seat.enter(Phase::Answering);
    answer.map(|body| Body::new(Answer { body, seat: seat.clone() }))
}

fn closing(mut answer: Response<Body>) -> Response<Body> {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// A stream that notes when bytes arrive, leave, and have left.
struct Watched<S> {
    stream: S,
    seat: Arc<Seat>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            // Not from `Fresh`: the first head is timed from the accept.
            self.seat.pass(&[Phase::Idle], Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.seat.pass(&[Phase::Answering], Phase::Answering);
            self.seat.pass(&[Phase::Flushing], Phase::Flushing);
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.seat.pass(&[Phase::Flushing], Phase::Idle);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A request's body that fails when it takes too long, however busily it dribbles.
struct TimedBody {
    body: Incoming,
    alarm: Pin<Box<Sleep>>,
    seat: Arc<Seat>,
}

impl TimedBody {
    fn new(body: Incoming, deadline: Instant, seat: Arc<Seat>) -> Self {
        Self { body, alarm: Box::pin(tokio::time::sleep_until(deadline)), seat }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if frame.is_none() || self.body.is_end_stream() {
                self.seat.pass(&[Phase::Body], Phase::Serving);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.alarm.as_mut().poll(cx));
        Poll::Ready(Some(Err(TimedOut.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body that notes when hyper is done with it.
struct Answer {
    body: Body,
    seat: Arc<Seat>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.seat.pass(&[Phase::Answering], Phase::Flushing);
    }
}
