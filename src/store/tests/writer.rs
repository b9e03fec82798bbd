//! The writer thread from outside: shared commits, failures, and the end.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use futures_util::future::join_all;
use redb::{ReadableTableMetadata as _, StorageBackend};

use super::faulty::Faulty;
use super::script::open_on;
use super::support::*;
use crate::domain::queue::{Reason, State};
use crate::domain::user::UserId;
use crate::store::{Error, Options, Store, disk::Disk, open, tables};
use crate::telemetry::Metrics;

/// A disk whose syncs wait while the gate is shut.
#[derive(Clone, Debug, Default)]
struct Gated {
    disk: Memory,
    shut: Arc<(Mutex<bool>, Condvar)>,
    n_waiting: Arc<(Mutex<usize>, Condvar)>,
}

impl Gated {
    fn set_shut(&self, shut: bool) {
        *self.shut.0.lock().unwrap() = shut;
        self.shut.1.notify_all();
    }

    /// Blocks until the writer stands at the gate.
    fn wait_for_the_writer(&self) {
        let n_waiting = self.n_waiting.0.lock().unwrap();
        drop(self.n_waiting.1.wait_while(n_waiting, |n| *n == 0).unwrap());
    }
}

impl StorageBackend for Gated {
    fn len(&self) -> io::Result<u64> {
        StorageBackend::len(&self.disk)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.set_len(len)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(offset, data)
    }
    fn sync_data(&self) -> io::Result<()> {
        *self.n_waiting.0.lock().unwrap() += 1;
        self.n_waiting.1.notify_all();
        let shut = self.shut.0.lock().unwrap();
        drop(self.shut.1.wait_while(shut, |shut| *shut).unwrap());
        *self.n_waiting.0.lock().unwrap() -= 1;
        Ok(())
    }
}

fn n_commits(metrics: &Metrics) -> u64 {
    let page = metrics.encode();
    let line = page.lines().find_map(|line| line.strip_prefix("cxone_sync_store_commit_seconds_count "));
    line.unwrap().parse().unwrap()
}

async fn n_records(store: &Store) -> u64 {
    store.read("counting", |tx| Ok(tx.open_table(tables::JOURNAL)?.len()?)).await.unwrap()
}

#[tokio::test]
async fn what_is_accepted_during_a_commit_shares_the_next_one() {
    let gate = Gated::default();
    let metrics = Metrics::new();
    let store = Store::open_on(gate.clone(), at(0), metrics.clone()).unwrap();
    assert_eq!(n_commits(&metrics), 0);
    gate.set_shut(true);
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.accept(vec![news(0)], at(1)).await }
    });
    tokio::task::yield_now().await;
    gate.wait_for_the_writer();
    let rest = join_all((1..=50).map(|n| store.accept(vec![news(n)], at(1))));
    // The first poll of `join` hands all fifty over, the second branch then opens the gate.
    let (answers, ()) = tokio::join!(rest, async { gate.set_shut(false) });
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    first.await.unwrap().unwrap();
    assert_eq!(n_commits(&metrics), 2);
    assert_eq!(n_records(&store).await, 2);
    store.claim(0, at(2)).await.unwrap();
    assert_eq!(store.depth(at(2)).await.unwrap().due, 51);
}

#[tokio::test]
async fn what_changes_nothing_is_not_committed() {
    let metrics = Metrics::new();
    let store = Store::open_on(Memory::default(), at(0), metrics.clone()).unwrap();
    store.accept(vec![], at(1)).await.unwrap();
    assert!(store.claim(9, at(1)).await.unwrap().is_empty());
    assert!(store.claim_chores(at(1)).await.unwrap().is_empty());
    assert!(!store.prune(at(1), 9).await.unwrap());
    assert_eq!(n_commits(&metrics), 0);
    store.ready(at(1)).await.unwrap();
    assert_eq!(n_commits(&metrics), 1);
}

#[tokio::test]
async fn the_first_failure_answers_every_waiter_and_every_later_call() {
    let disk = Faulty::default();
    let store = open_on(&disk).unwrap();
    store.mark(vec![mark(1, Reason::Delta, 1)], at(1)).await.unwrap();
    let claim = store.claim(1, at(1)).await.unwrap().pop().unwrap();
    disk.fail_after(0, io::ErrorKind::Other);
    let mut woken = std::pin::pin!(store.changed());
    woken.as_mut().enable();
    let waiters = join_all((1..9).map(|n| store.accept(vec![news(n)], at(1)))).await;
    let first = waiters[0].clone().unwrap_err();
    assert!(matches!(&first, Error::Failed { .. }));
    assert!(first.is_fatal() && !first.is_full());
    woken.await;
    for waiter in waiters {
        assert_eq!(waiter.unwrap_err().to_string(), first.to_string());
    }
    assert_eq!(store.ready(at(2)).await.unwrap_err().to_string(), first.to_string());
    assert_eq!(store.next_due(at(2)).await.unwrap_err().to_string(), first.to_string());
    assert!(store.settle(claim, done(), at(2)).await.is_err());
    store.close().await;
    assert_eq!(store.job(user(1)).await.unwrap_err().to_string(), first.to_string());
}

#[tokio::test]
async fn a_failure_says_what_was_being_done_and_why() {
    use std::error::Error as _;
    let disk = Faulty::default();
    let store = open_on(&disk).unwrap();
    disk.fail_after(0, io::ErrorKind::StorageFull);
    let error = store.ready(at(1)).await.unwrap_err();
    assert!(error.is_full());
    assert_eq!(error.to_string(), "the store failed while committing");
    assert_eq!(error.source().unwrap().to_string(), "I/O error: no storage space");
}

#[tokio::test]
async fn a_panic_in_the_writer_or_in_a_read_is_a_failure() {
    let store = fresh();
    let error = store.write::<()>("testing", |_| panic!("out of {}", "luck")).await.unwrap_err();
    assert!(error.is_fatal());
    let Error::Failed { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "it panicked: out of luck");
    assert!(store.ready(at(1)).await.is_err());

    let store = fresh();
    let error = store.read::<()>("testing", |_| panic!("bad")).await.unwrap_err();
    assert_eq!(error.to_string(), "the store failed while testing");
    assert!(store.ready(at(1)).await.is_err());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_a_failure_not_an_absence() {
    let store = fresh();
    let garble = |tx: &crate::store::transaction::Writing| {
        tx.write(tables::JOBS)?.insert(user(1).as_bytes(), b"{}".as_slice())?;
        Ok(())
    };
    store.write("garbling", garble).await.unwrap();
    let error = store.job(user(1)).await.unwrap_err();
    let Error::Failed { source, .. } = error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "a stored job cannot be read");
}

#[tokio::test]
async fn after_the_end_everything_says_closed() {
    let store = fresh();
    let other = store.clone();
    store.mark(vec![mark(1, Reason::Delta, 1)], at(1)).await.unwrap();
    let claim = store.claim(1, at(1)).await.unwrap().pop().unwrap();
    store.close().await;
    store.close().await;
    assert!(matches!(other.ready(at(1)).await, Err(Error::Closed)));
    assert!(matches!(other.accept(vec![news(1)], at(1)).await, Err(Error::Closed)));
    assert!(matches!(other.links_count().await, Err(Error::Closed)));
    assert!(matches!(other.settle(claim, done(), at(1)).await, Err(Error::Closed)));
}

#[tokio::test]
async fn what_was_sent_before_the_end_is_done() {
    let memory = Memory::default();
    let store = open(&memory);
    let accepts = join_all((0..20).map(|n| store.accept(vec![news(n)], at(1))));
    let (answers, ()) = tokio::join!(accepts, store.close());
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    let store = crate::store::tests::support::open(&memory);
    store.claim(0, at(2)).await.unwrap();
    assert_eq!(store.depth(at(2)).await.unwrap().due, 20);
}

#[tokio::test]
async fn a_caller_that_gives_up_waiting_loses_no_job() {
    let gate = Gated::default();
    let store = Store::open_on(gate.clone(), at(0), Metrics::new()).unwrap();
    store.mark(vec![mark(1, Reason::Delta, 1)], at(1)).await.unwrap();
    gate.set_shut(true);
    {
        let mut claiming = Box::pin(store.claim(1, at(2)));
        assert!(futures_util::poll!(&mut claiming).is_pending());
        gate.wait_for_the_writer();
    }
    gate.set_shut(false);
    // The claim was made, found nobody to give it to, and was put back.
    let mut claims = Vec::new();
    while claims.is_empty() {
        let mut changed = std::pin::pin!(store.changed());
        changed.as_mut().enable();
        claims = store.claim(1, at(3)).await.unwrap();
        if claims.is_empty() {
            changed.await;
        }
    }
    assert_eq!(claims[0].job.attempts, 2);
}

#[tokio::test]
async fn news_beyond_the_room_waits_for_its_turn() {
    let gate = Gated::default();
    let store = Store::open_on(gate.clone(), at(0), Metrics::new()).unwrap();
    let body = |n: u8| {
        let ids = (0..20_000_u32).map(move |item| {
            let mut id = [n; 16];
            id[..4].copy_from_slice(&item.to_be_bytes());
            UserId::from_bytes(id)
        });
        ids.map(|id| crate::domain::queue::News::User { id, deleted: false }).collect::<Vec<_>>()
    };
    gate.set_shut(true);
    let free = store.0.room.available_permits();
    let mut waiting: Vec<_> = (0..16).map(|n| Box::pin(store.accept(body(n), at(1)))).collect();
    for accept in &mut waiting {
        assert!(futures_util::poll!(accept).is_pending());
    }
    assert!(store.0.room.available_permits() < free / 10, "not all of these fit");
    gate.set_shut(false);
    for accept in waiting {
        accept.await.unwrap();
    }
    assert_eq!(store.0.room.available_permits(), free);
    assert!(n_records(&store).await >= 16 * 20);
}

#[tokio::test]
async fn a_full_disk_costs_the_ballast() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let disk = Disk::beside(&path, 4096);
    disk.lay_ballast();
    let ballast = directory.path().join("store.ballast");
    assert_eq!(ballast.metadata().unwrap().len(), 4096);

    let faulty = Faulty::default();
    let opened =
        open::open_on(faulty.clone(), 1 << 20, &crate::store::ChainKey::new([0; 32]), &[], at(0)).unwrap();
    let store = Store::start(opened, disk, &Options::at(path), Metrics::new()).unwrap();
    store.accept(vec![news(1)], at(1)).await.unwrap();
    faulty.fail_after(3, io::ErrorKind::StorageFull);
    let error = store.accept(vec![news(2)], at(2)).await.unwrap_err();
    assert!(error.is_full() && error.is_fatal());
    assert!(!ballast.exists());

    // The room it gave lets the next start finish what was accepted.
    drop(store);
    let store = open_on(&Faulty::holding(faulty.after_kill())).unwrap();
    let claims = store.claim(9, at(3)).await.unwrap();
    assert!(claims.iter().any(|claim| claim.job.user == user(1) && claim.job.state == State::Running));
}

#[tokio::test]
async fn with_too_little_room_news_is_refused_and_work_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let opened =
        open::open_on(Memory::default(), 1 << 20, &crate::store::ChainKey::new([0; 32]), &[], at(0)).unwrap();
    // So large a ballast that a quarter of it is never free.
    let store =
        Store::start(opened, Disk::beside(&path, u64::MAX), &Options::at(path), Metrics::new()).unwrap();
    let error = store.accept(vec![news(1)], at(1)).await.unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }) && error.is_full() && !error.is_fatal());
    store.mark(vec![mark(1, Reason::Delta, 1)], at(1)).await.unwrap();
    assert_eq!(store.claim(9, at(3)).await.unwrap().len(), 1);
    assert_eq!(n_records(&store).await, 0);
}
