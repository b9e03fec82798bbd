//! A backup: the whole store as it is at one moment, in a file of its own.
//!
//! The copy is read in one transaction, so it is consistent however much is written meanwhile, and it
//! is made at once, beside the store and without a name: whoever takes long to fetch it keeps nothing
//! in the store from being reused. What is wrong with the copy never is a failure of the store.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, Key, ReadTransaction, ReadableTable, TableDefinition, TableHandle, Value,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::disk::Disk;
use super::error::{Error, Fault};
use super::tables::{self, EachTable, META, meta};

/// What is copied in one commit of the copy, so that its memory is bounded.
const STEP_BYTES: usize = 8 << 20;
/// Memory for pages of the copy.
const CACHE_BYTES: usize = 16 << 20;

/// A copy to be read from its beginning. It takes its room on the disk until it is dropped, and no
/// other is made meanwhile.
#[derive(Debug)]
pub struct Snapshot {
    pub file: File,
    pub n_bytes: u64,
    _only_one: OwnedMutexGuard<()>,
}

/// Why there is no copy. The store goes on, but for [`SnapshotError::Store`].
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("another backup is being taken: wait for its end")]
    UnderWay,
    #[error(
        "the copy that a backup is sent from needs {needed_bytes} bytes beside the store for a while, and \
         {free_bytes} are free: make room"
    )]
    NoRoom { needed_bytes: u64, free_bytes: u64 },
    #[error("cannot write the copy that a backup is sent from")]
    Copy(#[source] redb::Error),
    #[error("the copy would not hold the table {table}: that is a fault of this program")]
    Incomplete { table: String },
    #[error(transparent)]
    Store(#[from] Error),
}

/// Where copies are made, one at a time.
#[derive(Debug)]
pub(super) struct Darkroom {
    /// `None`: the store is not a file.
    store: Option<PathBuf>,
    one_at_a_time: Arc<Mutex<()>>,
}

impl Darkroom {
    pub fn of(store: Option<PathBuf>) -> Self {
        Self { store, one_at_a_time: Arc::default() }
    }

    pub fn enter(&self) -> Result<OwnedMutexGuard<()>, SnapshotError> {
        self.one_at_a_time.clone().try_lock_owned().map_err(|_| SnapshotError::UnderWay)
    }

    /// A file that is gone with its handle, where there is room for the whole store once more.
    pub fn blank(&self, disk: &Disk) -> Result<File, SnapshotError> {
        let Some(store) = &self.store else { return tempfile::tempfile().map_err(io) };
        let needed_bytes = std::fs::metadata(store).map_err(io)?.len();
        disk.room_for(needed_bytes)
            .map_err(|free_bytes| SnapshotError::NoRoom { needed_bytes, free_bytes })?;
        tempfile::tempfile_in(super::disk::directory_of(store)).map_err(io)
    }
}

fn io(error: std::io::Error) -> SnapshotError {
    SnapshotError::Copy(error.into())
}

/// Copies all there is in `tx` to `file`, which is empty. The outer error is one of the store's.
pub(super) fn copy(
    tx: &ReadTransaction,
    file: File,
    only_one: OwnedMutexGuard<()>,
    disk: &Disk,
    at: Timestamp,
    is_over: &dyn Fn() -> bool,
) -> Result<Result<Snapshot, SnapshotError>, Fault> {
    match develop(tx, &file, disk, at, is_over) {
        Ok(n_bytes) => Ok(Ok(Snapshot { file, n_bytes, _only_one: only_one })),
        Err(Stop::Source(fault)) => Err(fault),
        Err(Stop::Copy(error)) => Ok(Err(error)),
    }
}

enum Stop {
    Source(Fault),
    Copy(SnapshotError),
}

fn source(error: impl Into<Fault>) -> Stop {
    Stop::Source(error.into())
}

fn target(error: impl Into<redb::Error>) -> Stop {
    Stop::Copy(SnapshotError::Copy(error.into()))
}

fn develop(
    tx: &ReadTransaction,
    file: &File,
    disk: &Disk,
    at: Timestamp,
    is_over: &dyn Fn() -> bool,
) -> Result<u64, Stop> {
    let backend = FileBackend::new(file.try_clone().map_err(target)?).map_err(target)?;
    let copy = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(target)?;
    let mut copying = Copying { tx, copy: &copy, disk, is_over, names: Vec::new() };
    tables::each(&mut copying)?;
    let copied = copying.names;
    for table in tx.list_tables().map_err(source)? {
        // It would be lost with a restore, and nobody would know.
        if !copied.iter().any(|name| name == table.name()) {
            return Err(Stop::Copy(SnapshotError::Incomplete { table: table.name().to_owned() }));
        }
    }
    let write = copy.begin_write().map_err(target)?;
    {
        let mut facts = write.open_table(META).map_err(target)?;
        facts.insert(meta::TAKEN_AT, at.to_string().as_bytes()).map_err(target)?;
    }
    write.commit().map_err(target)?;
    // Closed in good order, a file can be told from one that was cut short.
    copy.close().map_err(target)?;
    Ok(file.metadata().map_err(target)?.len())
}

struct Copying<'a> {
    tx: &'a ReadTransaction,
    copy: &'a Database,
    disk: &'a Disk,
    /// The store is being closed: whoever closes it waits for this.
    is_over: &'a dyn Fn() -> bool,
    names: Vec<String>,
}

impl EachTable for Copying<'_> {
    type Error = Stop;

    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), Stop> {
        self.names.push(table.name().to_owned());
        let from = self.tx.open_table(table).map_err(source)?;
        let mut entries = from.iter().map_err(source)?;
        let mut more = true;
        while more {
            if (self.is_over)() {
                return Err(Stop::Copy(SnapshotError::Store(Error::Closed)));
            }
            self.disk.room_for(STEP_BYTES as u64).map_err(|free_bytes| {
                Stop::Copy(SnapshotError::NoRoom { needed_bytes: STEP_BYTES as u64, free_bytes })
            })?;
            let mut write = self.copy.begin_write().map_err(target)?;
            // The last commit makes all of them durable.
            write.set_durability(Durability::None).map_err(target)?;
            {
                let mut to = write.open_table(table).map_err(target)?;
                let mut n_bytes = 0;
                while n_bytes < STEP_BYTES {
                    let Some(entry) = entries.next() else {
                        more = false;
                        break;
                    };
                    let (key, value) = entry.map_err(source)?;
                    n_bytes += K::as_bytes(&key.value()).as_ref().len();
                    n_bytes += V::as_bytes(&value.value()).as_ref().len();
                    to.insert(key.value(), value.value()).map_err(target)?;
                }
            }
            write.commit().map_err(target)?;
        }
        Ok(())
    }
}
