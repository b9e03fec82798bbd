//! The one thread that writes, and the group commit.
//!
//! Requests queue up while a commit runs; when it has ended, all of them go into the next one. So a
//! commit is never waited for by design, only shared: one caller pays the latency of the disk, a
//! thousand callers pay it together. Everything accepted in a batch becomes one journal record.
//!
//! The first error ends it: redb's handle cannot be trusted after one, and a failed commit is
//! ambiguous, not absent. The error is kept, every waiter and every later call gets it, and the
//! process is expected to end and to open the file anew.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tracing::{Instrument as _, Span, debug, debug_span, error, warn};

use super::disk::Disk;
use super::error::{Error, Fault};
use super::journal::RECORD_ITEMS;
use super::log::ChainKey;
use super::record::EncodedPart;
use super::transaction::Writing;
use crate::telemetry::Metrics;

/// Requests taken into one commit at most, so that no reply waits behind an endless batch.
const BATCH: usize = 4096;

/// What the façade, the writer thread and running reads have in common.
pub(super) struct Shared {
    /// `None` once the store is closed. Reads and batches hold the read lock while they run.
    engine: RwLock<Option<Database>>,
    chain: ChainKey,
    failure: OnceLock<Error>,
    /// Somebody waits for the end of the reads in progress.
    closing: AtomicBool,
    pub disk: Disk,
    pub changed: Notify,
    metrics: Arc<Metrics>,
}

/// A change to be made in a write transaction, with its waiter.
trait Change: Send {
    fn doing(&self) -> &'static str;
    fn run(&mut self, tx: &Writing) -> Result<(), Fault>;
    /// Tells the waiter, after the commit.
    fn reply(self: Box<Self>);
}

struct Work<F, T> {
    doing: &'static str,
    work: Option<F>,
    result: Option<T>,
    waiter: oneshot::Sender<Result<T, Error>>,
}

impl<F, T> Change for Work<F, T>
where
    F: FnOnce(&Writing) -> Result<T, Fault> + Send,
    T: Send,
{
    fn doing(&self) -> &'static str {
        self.doing
    }

    fn run(&mut self, tx: &Writing) -> Result<(), Fault> {
        let work = self.work.take().expect("a change is run once");
        self.result = Some(work(tx)?);
        Ok(())
    }

    fn reply(self: Box<Self>) {
        let result = self.result.expect("a change is run before it is replied to");
        // A waiter that went away is no concern of ours: what it asked for is done.
        self.waiter.send(Ok(result)).ok();
    }
}

/// Notifications of one call, ready to be joined to those of the others.
struct Accept {
    parts: Vec<(EncodedPart, usize)>,
    waiter: oneshot::Sender<Result<(), Error>>,
    /// Room among the notifications that wait; given back with the reply.
    room: OwnedSemaphorePermit,
}

/// The wait for a commit, as whoever asked for it sees it. What is done in no trace begins none here.
fn commit_span(doing: &'static str) -> Span {
    if Span::current().is_none() { Span::none() } else { debug_span!("store.commit", doing) }
}

enum Request {
    Accept(Accept),
    Change(Box<dyn Change>),
    Close(oneshot::Sender<()>),
}

/// The hand-off to the writer thread. Clones may outlive the store: what they send then is dropped.
#[derive(Clone)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    requests: Sender<Request>,
}

impl Writer {
    /// Starts the thread. `next_journal` is the number of the next journal record.
    pub fn start(
        engine: Database,
        chain: ChainKey,
        next_journal: u64,
        disk: Disk,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(Shared {
            engine: RwLock::new(Some(engine)),
            chain,
            failure: OnceLock::new(),
            closing: AtomicBool::new(false),
            disk,
            changed: Notify::new(),
            metrics,
        });
        let (requests, received) = channel();
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn({
            let shared = shared.clone();
            move || run(&shared, &received, next_journal)
        })?;
        Ok((Self { shared, requests }, thread))
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs `work` in the next commit. `Ok` comes after it.
    pub async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Writing) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let reply = self.send_work(doing, work)?.instrument(commit_span(doing));
        reply.await.unwrap_or_else(|_| Err(self.shared.gone()))
    }

    /// Like [`Writer::write`], for those who cannot wait.
    pub fn send_work<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Writing) -> Result<T, Fault> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, Error>>, Error> {
        let (waiter, reply) = oneshot::channel();
        self.send(Request::Change(Box::new(Work { doing, work: Some(work), result: None, waiter })))?;
        Ok(reply)
    }

    pub async fn accept(
        &self,
        parts: Vec<(EncodedPart, usize)>,
        room: OwnedSemaphorePermit,
    ) -> Result<(), Error> {
        let (waiter, reply) = oneshot::channel();
        self.send(Request::Accept(Accept { parts, waiter, room }))?;
        let reply = reply.instrument(commit_span("accepting notifications"));
        reply.await.unwrap_or_else(|_| Err(self.shared.gone()))
    }

    /// Returns when everything sent before is committed and the file is closed.
    pub async fn close(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        let (waiter, closed) = oneshot::channel();
        if self.send_even_if_failed(Request::Close(waiter)) {
            closed.await.ok();
        }
    }

    /// Like [`Writer::close`], for those who cannot wait: the thread ends soon.
    pub fn end(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.send_even_if_failed(Request::Close(oneshot::channel().0));
    }

    /// Runs `work` in a read transaction, off the async threads.
    pub async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.shared.usable()?;
        let shared = self.shared.clone();
        let reading = tokio::task::spawn_blocking(move || shared.read(doing, work));
        match reading.await {
            Ok(result) => result,
            Err(ended) if ended.is_panic() => {
                Err(self.shared.fail(doing, Fault::panicked(ended.into_panic().as_ref())))
            }
            // The runtime is going down.
            Err(_) => Err(Error::Closed),
        }
    }

    fn send(&self, request: Request) -> Result<(), Error> {
        self.shared.usable()?;
        self.requests.send(request).map_err(|_| self.shared.gone())
    }

    fn send_even_if_failed(&self, request: Request) -> bool {
        self.requests.send(request).is_ok()
    }
}

impl Shared {
    /// The store is being closed: what reads for long should give up.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn usable(&self) -> Result<(), Error> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Why a request was dropped without a reply.
    pub fn gone(&self) -> Error {
        self.failure.get().cloned().unwrap_or(Error::Closed)
    }

    pub fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        let Some(engine) = engine.as_ref() else { return Err(self.gone()) };
        let result = engine.begin_read().map_err(Fault::from).and_then(|transaction| work(&transaction));
        result.map_err(|fault| self.fail(doing, fault))
    }

    /// Keeps the first failure and wakes everybody, so that whoever ends the process hears of it.
    fn fail(&self, doing: &'static str, fault: Fault) -> Error {
        if fault.is_full() && self.disk.give_up_ballast() {
            warn!(
                "the disk is full: gave the ballast file up, so that the queue can be drained after a restart"
            );
        }
        let failure = Error::Failed { doing, source: Arc::new(fault) };
        if self.failure.set(failure.clone()).is_ok() {
            error!(error = &failure as &dyn std::error::Error, "the store failed while {doing}");
        }
        self.changed.notify_waiters();
        self.gone()
    }
}

fn run(shared: &Shared, requests: &Receiver<Request>, mut next_journal: u64) {
    let mut closing = None;
    while closing.is_none()
        && let Ok(first) = requests.recv()
    {
        let mut batch = Batch::default();
        let mut request = Some(first);
        while let Some(next) = request.take() {
            match next {
                Request::Accept(accept) => batch.accepts.push(accept),
                Request::Change(change) => batch.changes.push(change),
                Request::Close(waiter) => {
                    closing = Some(waiter);
                    break;
                }
            }
            if batch.accepts.len() + batch.changes.len() < BATCH {
                request = requests.try_recv().ok();
            }
        }
        // After a failure what is in the batch is dropped, and its waiters read the failure.
        if shared.usable().is_ok() {
            batch.refuse_news_without_room(&shared.disk);
            // The batch outlives a panic: its waiters must not find their replies dropped before the
            // failure is there to be read.
            match catch_unwind(AssertUnwindSafe(|| batch.commit(shared, next_journal))) {
                Ok(Some(next)) => next_journal = next,
                Ok(None) => {}
                Err(payload) => {
                    shared.fail("writing", Fault::panicked(payload.as_ref()));
                }
            }
        }
    }
    // Waits for the reads in progress.
    let engine = shared.engine.write().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Err(source)) = engine.map(Database::close) {
        // Everything answered is durable all the same; the next start repairs the file.
        warn!(error = &source as &dyn std::error::Error, "could not close the store in good order");
    }
    if let Some(waiter) = closing {
        waiter.send(()).ok();
    }
}

#[derive(Default)]
struct Batch {
    accepts: Vec<Accept>,
    changes: Vec<Box<dyn Change>>,
}

impl Batch {
    fn refuse_news_without_room(&mut self, disk: &Disk) {
        if !self.accepts.is_empty()
            && let Some(free_bytes) = disk.too_little_room()
        {
            for accept in self.accepts.drain(..) {
                accept.waiter.send(Err(Error::NoRoom { free_bytes })).ok();
            }
        }
    }

    /// Runs, commits, replies. The number of the next journal record, or `None` after a failure: the
    /// waiters then find their replies dropped and read the failure.
    fn commit(&mut self, shared: &Shared, next_journal: u64) -> Option<u64> {
        let engine = shared.engine.read().unwrap_or_else(PoisonError::into_inner);
        let engine = engine.as_ref()?;
        let begun = Instant::now();
        let mut doing = "beginning a transaction";
        let (n_accepts, n_changes) = (self.accepts.len(), self.changes.len());
        let written = engine.begin_write().map_err(Fault::from).and_then(|transaction| {
            let tx = Writing::new(transaction, shared.chain.clone(), next_journal);
            for change in &mut self.changes {
                doing = change.doing();
                change.run(&tx)?;
            }
            doing = "writing the journal";
            self.journal(&tx)?;
            doing = "committing";
            let (next, news, counted) = (tx.next_journal(), tx.has_news(), tx.counted());
            Ok((tx.finish()?, next, news, counted))
        });
        match written {
            Ok((committed, next, news, (added, retried))) => {
                if committed {
                    let took = begun.elapsed();
                    shared.metrics.store_commit.observe(took.as_secs_f64());
                    shared.metrics.workqueue_adds.inc_by(added);
                    shared.metrics.workqueue_retries.inc_by(retried);
                    debug!(n_accepts, n_changes, duration_ms = took.as_millis(), "store.commit");
                }
                for Accept { waiter, room, .. } in self.accepts.drain(..) {
                    drop(room);
                    waiter.send(Ok(())).ok();
                }
                for change in self.changes.drain(..) {
                    change.reply();
                }
                if news {
                    shared.changed.notify_waiters();
                }
                Some(next)
            }
            Err(fault) => {
                shared.fail(doing, fault);
                None
            }
        }
    }

    /// One record for all that was accepted; more only beyond [`RECORD_ITEMS`], so that folding a
    /// record stays one short step.
    fn journal(&mut self, tx: &Writing) -> Result<(), Fault> {
        let mut record = Vec::new();
        let mut n_in_record = 0;
        for (part, n_items) in self.accepts.iter_mut().flat_map(|accept| accept.parts.drain(..)) {
            if n_in_record > 0 && n_in_record + n_items > RECORD_ITEMS {
                tx.journal(&record)?;
                record.clear();
                n_in_record = 0;
            }
            record.push(part);
            n_in_record += n_items;
        }
        if record.is_empty() { Ok(()) } else { tx.journal(&record) }
    }
}
