//! Files that are damaged, cut short or not ours: they are opened complete, or refused in words that
//! help. Nothing is ever repaired into an empty store.

use super::faulty::Faulty;
use super::script::{Content, content, open_on, run};
use super::support::*;
use crate::store::{ChainKey, OpenError, Store, open};
use crate::telemetry::Metrics;

/// Where redb keeps the bit that says which commit counts.
const GOD_BYTE: usize = 9;

/// How the last process ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Killed,
}

/// The bytes of a store at the end of the script, and what is in it.
async fn whole(end: End) -> (Vec<u8>, Content) {
    let disk = Faulty::default();
    let mut bytes = Vec::new();
    run(&disk, || {}, || bytes = disk.after_kill()).await;
    if let End::Closed = end {
        bytes = disk.after_kill();
    }
    let store = open_on(&Faulty::holding(bytes.clone())).unwrap();
    let content = content(&store).unwrap();
    (bytes, content)
}

/// `Some(true)`: opened and complete. `Some(false)`: opened and something is missing. `None`: refused.
fn try_to_open(bytes: Vec<u8>, expected: &Content) -> Option<bool> {
    match open_on(&Faulty::holding(bytes)) {
        Ok(store) => Some(content(&store).is_ok_and(|found| found == *expected)),
        Err(OpenError::Damaged { .. } | OpenError::NotAStore { .. } | OpenError::Io { .. }) => None,
        Err(error) => panic!("refused for a strange reason: {error:?}"),
    }
}

#[tokio::test]
async fn flipped_bytes_are_harmless_or_refused() {
    flip_bytes(End::Closed).await;
}

#[tokio::test]
async fn bytes_flipped_after_a_crash_are_harmless_or_refused() {
    flip_bytes(End::Killed).await;
}

async fn flip_bytes(end: End) {
    let (bytes, content) = whole(end).await;
    let mut random = fastrand::Rng::with_seed(3);
    let in_header = (0..512).flat_map(|offset| [(offset, 0x01), (offset, 0xFF)]);
    let anywhere: Vec<_> =
        (0..700).map(|_| (random.usize(512..bytes.len()), random.u8(1..=u8::MAX))).collect();
    let (mut n_opened, mut n_refused) = (0, 0);
    for (offset, flip) in in_header.chain(anywhere) {
        // One bit of the file says which of the two commits in the header is the last, and no checksum
        // covers it. After a crash the other one may be whole as well, so this flip goes back by one
        // commit; nothing in the file could tell it from a crash a moment earlier.
        if let (End::Killed, GOD_BYTE, 0x01) = (end, offset, flip) {
            continue;
        }
        let mut damaged = bytes.clone();
        damaged[offset] ^= flip;
        match try_to_open(damaged, &content) {
            Some(true) => n_opened += 1,
            Some(false) => panic!("byte {offset} flipped by {flip:#x}: opened, but not complete"),
            None => n_refused += 1,
        }
    }
    assert!(n_opened > 100 && n_refused > 100, "{n_opened} opened, {n_refused} refused");
}

#[tokio::test]
async fn a_file_cut_short_is_refused() {
    let (bytes, content) = whole(End::Closed).await;
    let mut random = fastrand::Rng::with_seed(4);
    let pages = (1..bytes.len() / 4096).map(|page| page * 4096);
    let anywhere: Vec<_> = (0..100).map(|_| random.usize(1..bytes.len())).collect();
    for n_bytes in pages.chain(anywhere) {
        let opened = try_to_open(bytes[..n_bytes].to_vec(), &content);
        assert_ne!(opened, Some(false), "cut to {n_bytes} of {} bytes", bytes.len());
    }
}

#[tokio::test]
async fn a_zeroed_page_is_harmless_or_refused() {
    let (bytes, content) = whole(End::Closed).await;
    for page in 0..bytes.len() / 4096 {
        let mut damaged = bytes.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0);
        assert_ne!(try_to_open(damaged, &content), Some(false), "page {page}");
    }
}

#[test]
fn a_newer_schema_is_refused_by_number() {
    let memory = Memory::default();
    let migration: open::Migration = |_| Ok(());
    let key = ChainKey::new([0; 32]);
    drop(open::open_on(memory.clone(), 1 << 20, &key, &[migration, migration, migration], at(1)).unwrap());
    let error = Store::open_on(memory, at(2), Metrics::new()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 4, known: 3 }));
    assert_eq!(
        error.to_string(),
        "the store was written by a newer version of this program (schema 4, this one knows up to 3): run that \
         version or a later one"
    );
}

#[tokio::test]
async fn an_older_schema_is_brought_up_in_one_transaction() {
    use crate::store::meta::{memo, set_memo};
    use crate::store::transaction::Writing;
    fn second(tx: &Writing) -> Result<(), crate::store::Fault> {
        let old = memo(tx, "dialect")?.unwrap_or_default();
        set_memo(tx, "dialect", &format!("{old}, seen by 3"))
    }
    fn third(tx: &Writing) -> Result<(), crate::store::Fault> {
        let old = memo(tx, "dialect")?.unwrap_or_default();
        set_memo(tx, "dialect", &format!("{old} and 4"))
    }
    let migrations: &[open::Migration] = &[|_| Ok(()), |_| Ok(()), second, third];
    let key = ChainKey::new([0; 32]);
    let first = Faulty::default();
    let store = open_on(&first).unwrap();
    store.set_memo("dialect", "put").await.unwrap();
    store.close().await;
    let old = first.after_kill();

    // It is interrupted at every single operation, and always either the old version or the last.
    for n_succeed in 0.. {
        let disk = Faulty::holding(old.clone());
        disk.fail_after(n_succeed, std::io::ErrorKind::Other);
        let opened = open::open_on(disk.clone(), 1 << 20, &key, migrations, at(1));
        let whole = opened.is_ok() && !disk.has_failed();
        drop(opened);
        let again =
            open::open_on(Faulty::holding(disk.after_kill()), 1 << 20, &key, migrations, at(2)).unwrap();
        let store = Store::start(
            again,
            crate::store::Disk::boundless(),
            &crate::store::Options::at(""),
            Metrics::new(),
        )
        .unwrap();
        let found = store.memo("dialect").await.unwrap();
        assert_eq!(found.as_deref(), Some("put, seen by 3 and 4"), "after {n_succeed} operations");
        if whole {
            assert!(n_succeed > 5);
            return;
        }
    }
}

#[test]
fn a_redb_file_that_is_not_ours_is_refused_and_left_alone() {
    let memory = Memory::default();
    drop(redb::Builder::new().create_with_backend(memory.clone()).unwrap());
    let error = Store::open_on(memory.clone(), at(1), Metrics::new()).unwrap_err();
    assert!(matches!(error, OpenError::NotAStore { .. }), "{error:?}");
    assert!(Store::open_on(memory, at(1), Metrics::new()).is_err());
}
