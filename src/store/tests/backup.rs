//! Backups: whole, of one moment, and put back without acting on what is old.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
use tempfile::TempDir;

use super::faulty::Faulty;
use super::log::{begin, intent, settle, work};
use super::script::{content, open_on, rows, run};
use super::support::*;
use crate::domain::case::{Approval, CaseChange, HeldItem, Preapproval};
use crate::domain::evidence::{FirstSight, RemovedReason};
use crate::domain::queue::{Chore, Mark, Operation, Outcome, Reason, Settlement, State, WriteResult, Wrote};
use crate::domain::subscription::Resource;
use crate::domain::user::{Attributes, GroupMembers};
use crate::store::restore::Step;
use crate::store::{
    ChainKey, OpenError, Options, PageNext, PageRecord, Replaced, RestoreError, Restoring, Ruling,
    SnapshotError, Store, Verdict, inspect, tables,
};
use crate::telemetry::Metrics;

const KEY: ChainKey = ChainKey::new([7; 32]);

/// A directory with a store, and a backup of it.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("sync.redb")
    }

    fn backup(&self) -> PathBuf {
        self.path("backup.redb")
    }

    fn open(&self) -> Result<Store, OpenError> {
        self.open_at(0)
    }

    fn open_at(&self, second: i64) -> Result<Store, OpenError> {
        let options = Options {
            ballast_bytes: 1 << 16,
            cache_bytes: 1 << 20,
            history_key: KEY,
            ..Options::at(self.store())
        };
        Store::open(options, at(second), Metrics::new())
    }

    fn prepare(&self) -> Result<Restoring, RestoreError> {
        Restoring::prepare(&self.backup(), &self.store(), Some(&KEY))
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

async fn save(store: &Store, to: &Path) {
    let mut snapshot = store.snapshot(at(5)).await.unwrap();
    let mut bytes = Vec::new();
    snapshot.file.rewind().unwrap();
    snapshot.file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, snapshot.n_bytes);
    fs::write(to, bytes).unwrap();
}

async fn is_due(store: &Store, n: u8) -> bool {
    store.job(user(n)).await.unwrap().is_some_and(|job| job.state == State::Due)
}

#[tokio::test]
async fn a_backup_holds_every_row_there_is() {
    let disk = Faulty::default();
    run(&disk, || {}, || {}).await;
    let store = open_on(&disk).unwrap();
    let place = Place::new();
    save(&store, &place.backup()).await;
    let expected = content(&store).unwrap();
    let n_tables = expected.iter().map(|(table, ..)| table).collect::<BTreeSet<_>>().len();
    assert!(n_tables > 15, "the script fills {n_tables} tables only");
    let copy = redb::Database::open(place.backup()).unwrap();
    assert!(rows(&copy.begin_read().unwrap()).unwrap() == expected);
    drop(copy);
    let found = inspect(&place.backup()).unwrap();
    assert_eq!((found.schema, found.taken_at, found.links), (3, Some(at(5)), 1));
    assert_eq!(found.head, store.history_head().await.unwrap());
}

#[tokio::test]
async fn a_table_that_no_backup_would_hold_is_noticed() {
    let store = fresh();
    let forgotten = redb::TableDefinition::<u64, u64>::new("forgotten");
    store.write("making a table", move |tx| tx.write(forgotten).map(drop)).await.unwrap();
    let error = store.snapshot(at(1)).await.unwrap_err();
    assert!(matches!(&error, SnapshotError::Incomplete { table } if table == "forgotten"), "{error}");
    store.ready(at(1)).await.expect("that is no failure of the store");
}

#[tokio::test]
async fn only_one_is_taken_at_a_time_and_it_leaves_nothing_behind() {
    let place = Place::new();
    let store = place.open().unwrap();
    let before = place.names();
    let first = store.snapshot(at(1)).await.unwrap();
    assert!(matches!(store.snapshot(at(1)).await, Err(SnapshotError::UnderWay)));
    assert_eq!(place.names(), before, "it has no name");
    drop(first);
    store.snapshot(at(2)).await.unwrap();
    store.close().await;
    assert!(matches!(store.snapshot(at(2)).await, Err(SnapshotError::Store(_))));
}

#[tokio::test]
async fn without_room_for_it_none_is_begun_and_the_store_goes_on() {
    let place = Place::new();
    let options = Options { ballast_bytes: u64::MAX / 4, ..Options::at(place.store()) };
    let store = Store::open(options, at(0), Metrics::new()).unwrap();
    let error = store.snapshot(at(1)).await.unwrap_err();
    assert!(matches!(error, SnapshotError::NoRoom { .. }), "{error}");
    store.ready(at(1)).await.unwrap();
}

/// Marks, claims, writes and settles without end, until it is told to.
async fn keep_writing(store: Store, n: u8, stop: tokio_util::sync::CancellationToken) -> u64 {
    let mut n_rounds = 0;
    while !stop.is_cancelled() {
        let number = begin(&store, intent(n, n_rounds, Operation::Patch)).await;
        store.mark(vec![mark(n, Reason::Operator, n_rounds)], at(n_rounds)).await.unwrap();
        for claim in store.claim(1, at(n_rounds)).await.unwrap() {
            let wrote = Wrote {
                intent: number,
                at: at(n_rounds),
                scim_id: None,
                result: WriteResult::Applied,
                shown: Attributes::new(),
                lag_ms: 1,
            };
            store.settle(claim, Outcome { writes: vec![wrote], ..done() }, at(n_rounds)).await.unwrap();
        }
        n_rounds += 1;
    }
    n_rounds as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_while_all_is_written_is_of_one_moment() {
    let place = Place::new();
    let store = place.open().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let writers: Vec<_> =
        (1..=4).map(|n| tokio::spawn(keep_writing(store.clone(), n, stop.clone()))).collect();
    let mut heads = BTreeSet::new();
    while heads.len() < 5 {
        let backup = place.path(&format!("backup-{}", heads.len()));
        save(&store, &backup).await;
        let other = Place::new();
        let restoring = Restoring::prepare(&backup, &other.store(), Some(&KEY)).unwrap();
        let verified = restoring.verified.clone().unwrap();
        assert_eq!((verified.n_breaks, verified.breaks), (0, vec![]));
        assert_eq!((verified.last, verified.head), restoring.found.head);
        let copy = redb::Database::open(&backup).unwrap();
        let tx = copy.begin_read().unwrap();
        let n_jobs = tx.open_table(tables::JOBS).unwrap().len().unwrap();
        assert_eq!(tx.open_table(tables::JOB_ORDER).unwrap().len().unwrap(), n_jobs, "each has one place");
        if restoring.found.entries > 0 {
            heads.insert(restoring.found.head.0);
        }
    }
    stop.cancel();
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn what_was_lost_comes_back_and_everybody_is_looked_at() {
    let place = Place::new();
    let store = place.open().unwrap();
    store.set_memo("dialect", "put").await.unwrap();
    store.mark(vec![mark(1, Reason::Delta, 1), mark(2, Reason::Delta, 1)], at(1)).await.unwrap();
    store.claim(1, at(1)).await.unwrap().into_iter().for_each(std::mem::forget);
    begin(&store, intent(3, 1, Operation::Patch)).await;
    let head = store.history_head().await.unwrap();
    save(&store, &place.backup()).await;
    store.set_memo("dialect", "cxone").await.unwrap();
    store.close().await;

    let restoring = place.prepare().unwrap();
    assert_eq!(restoring.replaced, Replaced::Itself);
    assert_eq!(restoring.found.head, head);
    let moved = restoring.put_in_place(at(60)).unwrap();
    assert_eq!(moved, [place.path("sync.redb.before-20270115T080100Z")]);
    let mode = fs::metadata(place.store()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let store = place.open_at(70).unwrap();
    assert_eq!(store.memo("dialect").await.unwrap().as_deref(), Some("put"));
    assert!(is_due(&store, 1).await && is_due(&store, 2).await, "what was running is due");
    let chores: Vec<_> = store.chores().await.unwrap().into_iter().map(|entry| entry.chore).collect();
    assert_eq!(chores, [Chore::FullCompare]);
    let writes = store.history(None, None, 9).await.unwrap();
    assert!(matches!(writes[0].result, WriteResult::Unknown { .. }), "{:?}", writes[0].result);
    assert_eq!(store.verify_history(Some(head)).await.unwrap().breaks, vec![]);
    let remarks = store.remarks(None, 9).await.unwrap();
    assert_eq!(remarks.iter().map(|remark| remark.code.as_str()).collect::<Vec<_>>(), ["restored"]);
    assert!(remarks[0].words.contains("a backup of 2027-01-15T08:00:05Z"), "{}", remarks[0].words);
    store.close().await;

    // Only once: from now on it is a store like any other.
    let store = place.open_at(80).unwrap();
    assert_eq!(store.remarks(None, 9).await.unwrap().len(), 1);
    store.close().await;
    // What was moved aside is whole.
    fs::copy(&moved[0], place.path("old")).unwrap();
    assert_eq!(inspect(&place.path("old")).unwrap().taken_at, None);
}

#[tokio::test]
async fn what_is_old_lets_nothing_be_done_without_a_fresh_look() {
    let place = Place::new();
    let store = place.open().unwrap();
    // Memberships, a place in the delta query, first signs that somebody is gone.
    store.set_roots(&BTreeSet::from([group(1)])).await.unwrap();
    let members = GroupMembers { users: [user(1)].into(), groups: BTreeSet::new() };
    store.record_group(group(1), members, at(1)).await.unwrap();
    let page = PageRecord {
        marks: vec![],
        seen: vec![],
        next: PageNext::More("link".to_owned()),
        full: true,
        started_at: at(1),
    };
    store.record_page(Resource::Users, page, at(1)).await.unwrap();
    let removed = Mark { removed: Some(RemovedReason::Deleted), ..mark(2, Reason::Delta, 1) };
    store.mark(vec![removed], at(1)).await.unwrap();
    let claims = store.claim(9, at(1)).await.unwrap();
    for claim in claims {
        let sight = FirstSight { at: at(1), scope: "s".to_owned() };
        let outcome = Outcome {
            absent_since: Some(at(1)),
            out_of_scope: Some(sight),
            ..Outcome::of(Settlement::Again { due_at: at(9), counts: true, error: "503".to_owned() })
        };
        store.settle(claim, outcome, at(1)).await.unwrap();
    }
    // What operators allowed and ordered.
    let held = HeldItem {
        since: at(1),
        plan: "p".to_owned(),
        operation: Operation::Deactivate,
        scim_id: None,
        changes: vec![],
        evidence: None,
        spend: Default::default(),
        words: "over".to_owned(),
    };
    let case = CaseChange { held: Some(Some(held)), ..CaseChange::default() };
    settle(&store, 3, 2, Outcome { case, ..hold() }).await;
    let set = crate::domain::plan::set_hash([(user(3), "p")]);
    let verdict = Verdict::Approve { expires_at: at(86_400) };
    store.rule(Ruling { users: vec![], set, by: "ana".to_owned(), verdict }, at(3)).await.unwrap();
    store.order(vec![(user(4), work("b"))], at(3)).await.unwrap();
    let preapproval = Preapproval {
        id: uuid::Uuid::from_bytes([1; 16]),
        group: group(1),
        users: 1,
        most: 9,
        used: 0,
        by: "ana".to_owned(),
        at: at(3),
        until: at(86_400),
    };
    store.preapprove(preapproval, BTreeSet::from([user(1)])).await.unwrap();
    let approval = store.case(user(3)).await.unwrap().unwrap().approval;
    assert!(matches!(approval, Some(Approval { .. })), "it is there before");
    save(&store, &place.backup()).await;
    store.close().await;
    fs::remove_file(place.store()).unwrap();
    assert!(matches!(place.open().unwrap_err(), OpenError::Gone { .. }));

    place.prepare().unwrap().put_in_place(at(60)).unwrap();
    let store = place.open_at(70).unwrap();
    assert_eq!(store.round(Resource::Users).await.unwrap(), None);
    let membership = store.membership(user(1), [group(1)].into(), [group(1)].into()).await.unwrap();
    assert!(!membership.complete && membership.scope_read_at.is_none(), "{membership:?}");
    assert_eq!(store.set_roots(&BTreeSet::from([group(1)])).await.unwrap(), [group(1)], "it is read again");
    let job = store.job(user(2)).await.unwrap().unwrap();
    assert_eq!((job.removed, job.absent_since, job.out_of_scope), (None, None, None));
    let case = store.case(user(3)).await.unwrap().unwrap();
    assert!(case.held.is_some() && case.approval.is_none(), "held it stays, approved it is not");
    assert_eq!(store.case(user(4)).await.unwrap(), None);
    assert_eq!(store.working_on("b").await.unwrap(), []);
    assert_eq!(store.preapprovals().await.unwrap(), vec![]);
    let told = store.remarks(Some(user(4)), 1).await.unwrap().remove(0);
    assert_eq!((told.code.as_str(), told.words.as_str()), ("skipped", "apply: restored"));
    assert!(
        store.remarks(None, 1).await.unwrap()[0]
            .words
            .ends_with("; 3 approvals, orders and announcements ended")
    );
}

#[tokio::test]
async fn a_backup_that_is_put_back_by_hand_is_known_for_what_it_is() {
    let place = Place::new();
    let store = place.open().unwrap();
    save(&store, &place.backup()).await;
    store.close().await;
    // The epoch alone would not tell: it is the one that was last written.
    fs::copy(place.backup(), place.store()).unwrap();
    let store = place.open().unwrap();
    assert_eq!(store.chores().await.unwrap()[0].chore, Chore::FullCompare);
    assert_eq!(store.remarks(None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_old_copy_of_the_file_is_restored_as_well() {
    let place = Place::new();
    let store = place.open().unwrap();
    store.mark(vec![mark(1, Reason::Delta, 1)], at(1)).await.unwrap();
    store.close().await;
    fs::copy(place.store(), place.backup()).unwrap();
    let restoring = place.prepare().unwrap();
    assert_eq!(restoring.found.taken_at, None);
    restoring.put_in_place(at(60)).unwrap();
    let store = place.open_at(70).unwrap();
    assert_eq!(store.chores().await.unwrap()[0].chore, Chore::FullCompare);
    assert!(store.remarks(None, 1).await.unwrap()[0].words.starts_with("from an older copy; "));
}

#[tokio::test]
async fn a_crash_on_the_way_leaves_the_old_store_or_the_new() {
    // Itself, and another store that has to give its name up.
    for other in [false, true] {
        let mut n_steps = 1;
        let mut seen = BTreeSet::new();
        while seen.len() < n_steps + 1 {
            let place = Place::new();
            let store = place.open().unwrap();
            store.set_memo("which", "the backup").await.unwrap();
            save(&store, &place.backup()).await;
            store.close().await;
            if other {
                fs::remove_file(place.store()).unwrap();
                fs::remove_file(place.path("sync.redb.id")).unwrap();
            }
            let store = place.open().unwrap();
            store.set_memo("which", "the old").await.unwrap();
            store.close().await;

            let restoring = place.prepare().unwrap();
            assert_eq!(restoring.replaced, if other { Replaced::Another } else { Replaced::Itself });
            let steps = restoring.steps(at(60));
            n_steps = steps.len();
            let n_taken = seen.len();
            for step in &steps[..n_taken] {
                step.take().unwrap();
            }
            // The process is gone, and what it held and left lies there.
            std::mem::forget(restoring);
            let copied = Place::new();
            for name in place.names() {
                fs::copy(place.path(&name), copied.path(&name)).unwrap();
            }
            let store = copied.open_at(70).unwrap();
            let expected = if n_taken == n_steps { "the backup" } else { "the old" };
            assert_eq!(
                store.memo("which").await.unwrap().as_deref(),
                Some(expected),
                "after {n_taken} steps"
            );
            store.close().await;
            // And it can be done again.
            let moved = copied.prepare().unwrap().put_in_place(at(61)).unwrap();
            assert!(!moved.is_empty());
            let store = copied.open_at(80).unwrap();
            assert_eq!(store.memo("which").await.unwrap().as_deref(), Some("the backup"));
            seen.insert(n_taken);
        }
        assert_eq!(n_steps, if other { 3 } else { 2 });
    }
}

#[test]
fn what_was_moved_aside_before_is_not_overwritten() {
    let place = Place::new();
    let (from, to) = (place.path("a"), place.path("b"));
    fs::write(&from, "new").unwrap();
    fs::write(&to, "old").unwrap();
    let step = Step::SetAside { from, to: to.clone() };
    assert_eq!(step.take().unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(to).unwrap(), "old");
}

#[tokio::test]
async fn nothing_is_restored_under_a_store_that_is_open_and_none_is_opened_meanwhile() {
    let place = Place::new();
    let store = place.open().unwrap();
    save(&store, &place.backup()).await;
    let in_use = |error| matches!(error, RestoreError::Store(OpenError::InUse { .. }));
    assert!(in_use(place.prepare().unwrap_err()));
    store.close().await;
    let restoring = place.prepare().unwrap();
    assert!(matches!(place.open().unwrap_err(), OpenError::InUse { .. }));
    assert!(in_use(place.prepare().unwrap_err()), "nor is another restored");
    drop(restoring);
    place.open().unwrap().close().await;
    // Nor is one made where none is.
    let empty = Place::new();
    fs::copy(place.backup(), empty.backup()).unwrap();
    let restoring = empty.prepare().unwrap();
    assert_eq!(restoring.replaced, Replaced::Nothing);
    assert!(matches!(empty.open().unwrap_err(), OpenError::InUse { .. }));
    assert_eq!(restoring.put_in_place(at(9)).unwrap(), [] as [PathBuf; 0]);
    empty.open().unwrap();
}

#[tokio::test]
async fn what_is_no_whole_backup_of_ours_is_refused_and_nothing_changes() {
    let place = Place::new();
    let store = place.open().unwrap();
    for n in 0..200 {
        store.mark(vec![mark(n, Reason::Delta, 1)], at(1)).await.unwrap();
    }
    save(&store, &place.backup()).await;
    store.set_memo("which", "the old").await.unwrap();
    store.close().await;
    let whole = fs::read(place.backup()).unwrap();
    let before = (place.names(), fs::read(place.store()).unwrap());
    let refuse = |bytes: &[u8], told: &str| {
        fs::write(place.backup(), bytes).unwrap();
        let error = place.prepare().expect_err(told);
        assert!((place.names(), fs::read(place.store()).unwrap()) == before, "{told}");
        error
    };
    for n_bytes in
        [0, 3, 100, 512, 4096, whole.len() / 3, whole.len() / 2, whole.len() - 4096, whole.len() - 1]
    {
        let error = refuse(&whole[..n_bytes], &format!("cut to {n_bytes}"));
        assert!(
            matches!(error, RestoreError::Damaged { .. } | RestoreError::NotABackup { .. }),
            "cut to {n_bytes}: {error:?}"
        );
        assert!(error.to_string().starts_with(&place.backup().display().to_string()), "{error}");
    }
    let error = refuse(b"a text about redb", "a text");
    assert_eq!(
        error.to_string(),
        format!("{} is not a backup of this program (it does not begin as one)", place.backup().display())
    );
    fs::remove_file(place.backup()).unwrap();
    assert!(matches!(place.prepare().unwrap_err(), RestoreError::Read { .. }));

    // Of a version to come.
    fs::write(place.backup(), &whole).unwrap();
    let engine = redb::Database::open(place.backup()).unwrap();
    let tx = engine.begin_write().unwrap();
    tx.open_table(tables::META)
        .unwrap()
        .insert(tables::meta::SCHEMA, 9_u64.to_be_bytes().as_slice())
        .unwrap();
    tx.commit().unwrap();
    engine.close().unwrap();
    let error = place.prepare().unwrap_err();
    assert!(matches!(error, RestoreError::Store(OpenError::Newer { found: 9, known: 3 })), "{error:?}");
}

#[tokio::test]
async fn another_key_is_noticed_before_anything_is_changed() {
    let place = Place::new();
    let store = place.open().unwrap();
    begin(&store, intent(1, 1, Operation::Patch)).await;
    save(&store, &place.backup()).await;
    store.close().await;
    let verified = |key: Option<&ChainKey>| {
        Restoring::prepare(&place.backup(), &place.store(), key).unwrap().verified.map(|found| found.n_breaks)
    };
    assert_eq!(verified(Some(&KEY)), Some(0));
    assert!(verified(Some(&ChainKey::new([8; 32]))).unwrap() > 0);
    assert_eq!(verified(None), None);
}
