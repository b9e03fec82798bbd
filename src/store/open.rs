//! Opening: make the file, or recognise it as ours, whole and of a version we know; or refuse.
//!
//! A new file is made under another name, gets its first commit and only then its own name: a crash
//! leaves either no store or a good one. Beside it stands `<path>.id`, which names the store and
//! counts its openings. Together they tell a first start from a store that has vanished, was
//! exchanged, or was restored from an old copy: nothing is ever begun anew in silence. A backup says
//! itself that it is one, so that it is known for what it is however it was put back.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, Key, ReadTransaction, ReadableDatabase, StorageBackend, TableDefinition, TableError,
    Value,
};
use tracing::warn;
use uuid::Uuid;

use super::disk::{Disk, network_share, sync_directory_of, with_suffix};
use super::error::{Fault, OpenError};
use super::log::ChainKey;
use super::tables::{self, EachTable, meta};
use super::transaction::Writing;
use super::{chores, journal, log, meta as facts, migrate, queue, restored};

/// A change of the tables' meaning, made in the opening transaction of the first program that knows
/// it.
pub(super) type Migration = fn(&Writing) -> Result<(), Fault>;

/// The step from schema 1 to 2 comes first. Never change one that was released.
pub(super) const MIGRATIONS: &[Migration] = &[migrate::into_the_chain, migrate::index_orders];

/// What every file of redb begins with.
const MAGIC: &[u8] = b"redb";

pub(super) struct Opened {
    pub engine: Database,
    pub next_journal: u64,
}

/// What `<path>.id` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub id: Uuid,
    /// Raised at every opening, in the store first.
    pub epoch: u64,
}

/// Opens or makes the store at `path`.
pub(super) fn open(
    path: &Path,
    disk: &Disk,
    cache_bytes: usize,
    chain: &ChainKey,
    now: Timestamp,
) -> Result<Opened, OpenError> {
    let opened = match try_open(path, cache_bytes, chain, now) {
        Err(error) if error.is_full() && disk.give_up_ballast() => {
            warn!("the disk is full: gave the ballast file up to be able to start");
            try_open(path, cache_bytes, chain, now)
        }
        opened => opened,
    }?;
    disk.lay_ballast();
    if let Some(share) = network_share(path) {
        warn!(
            "the store is on a network share ({share}): its lock may not keep a second process out, and a commit may \
             not survive a power cut; put store.path on a disk of this host"
        );
    }
    Ok(opened)
}

fn try_open(path: &Path, cache_bytes: usize, chain: &ChainKey, now: Timestamp) -> Result<Opened, OpenError> {
    let at = Place::of(path, chain);
    let remembered = at.read_side_file()?;
    let exists = path.try_exists().map_err(at.io("look for"))?;
    let (opened, identity) = match (exists, remembered) {
        (false, Some(_)) => return Err(OpenError::Gone { path: path.into(), side_file: at.side_file }),
        (false, None) => at.create(cache_bytes, now)?,
        (true, remembered) => at.open_existing(cache_bytes, remembered, now)?,
    };
    at.write_side_file(identity)?;
    Ok(opened)
}

/// Opens or makes a store on any storage, such as one that fails on purpose.
pub(super) fn open_on(
    backend: impl StorageBackend,
    cache_bytes: usize,
    chain: &ChainKey,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<Opened, OpenError> {
    let at = Place { path: Path::new("in memory"), side_file: PathBuf::new(), chain };
    let empty = backend.len().map_err(at.io("read"))? == 0;
    let engine = at.engine(backend, cache_bytes)?;
    let (opened, _) = at.prepare(engine, empty, None, migrations, now)?;
    Ok(opened)
}

/// A file and what stands beside it.
pub(super) struct Place<'a> {
    path: &'a Path,
    side_file: PathBuf,
    chain: &'a ChainKey,
}

impl<'a> Place<'a> {
    pub fn of(path: &'a Path, chain: &'a ChainKey) -> Self {
        Self { path, side_file: with_suffix(path, ".id"), chain }
    }

    fn create(&self, cache_bytes: usize, now: Timestamp) -> Result<(Opened, Identity), OpenError> {
        let draft = with_suffix(self.path, ".new");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&draft);
        let file = file.map_err(self.io("create"))?;
        // Whoever else is making this store right now holds the draft, or has just renamed it.
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: self.path.into() }),
            Err(TryLockError::Error(source)) => return Err(self.io("lock")(source)),
        }
        if self.path.try_exists().map_err(self.io("look for"))? {
            return Err(OpenError::InUse { path: self.path.into() });
        }
        // What a crash may have left of an earlier attempt.
        file.set_len(0).map_err(self.io("create"))?;
        let engine = self.engine(self.backend(file)?, cache_bytes)?;
        let prepared = self.prepare(engine, true, None, MIGRATIONS, now)?;
        fs::rename(&draft, self.path).map_err(self.io("create"))?;
        sync_directory_of(self.path).map_err(self.io("sync the directory of"))?;
        Ok(prepared)
    }

    fn open_existing(
        &self,
        cache_bytes: usize,
        remembered: Option<Identity>,
        now: Timestamp,
    ) -> Result<(Opened, Identity), OpenError> {
        self.prepare(self.existing(cache_bytes)?, false, remembered, MIGRATIONS, now)
    }

    /// The engine on the file that is there, if that is one of redb's and whole.
    pub fn existing(&self, cache_bytes: usize) -> Result<Database, OpenError> {
        let mut file = OpenOptions::new().read(true).write(true).open(self.path).map_err(self.io("open"))?;
        let mut begin = [0; MAGIC.len()];
        match file.read_exact(&mut begin) {
            Ok(()) if begin == MAGIC => {}
            Ok(()) => return Err(self.not_a_store("it does not begin as one")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.not_a_store("it is empty"));
            }
            Err(source) => return Err(self.io("read")(source)),
        }
        self.engine(self.backend(file)?, cache_bytes)
    }

    fn backend(&self, file: File) -> Result<FileBackend, OpenError> {
        FileBackend::new(file).map_err(|error| self.refused(error.into()))
    }

    fn engine(&self, backend: impl StorageBackend, cache_bytes: usize) -> Result<Database, OpenError> {
        let open = || {
            Builder::new()
                .set_cache_size(cache_bytes)
                // Every page in use is compared with its checksum: a damaged file is refused here,
                // not found out later. It reads the file once, about 2 ms a megabyte.
                .set_check_integrity_on_open(true)
                .create_with_backend(backend)
        };
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(engine)) => Ok(engine),
            Ok(Err(error)) => Err(self.refused(error.into())),
            Err(payload) => Err(OpenError::Damaged { source: Fault::panicked(payload.as_ref()) }),
        }
    }

    /// Recognises the store, brings it up to this version and takes back what was under way. With
    /// `new`, the file is empty and becomes a store.
    fn prepare(
        &self,
        engine: Database,
        new: bool,
        remembered: Option<Identity>,
        migrations: &[Migration],
        now: Timestamp,
    ) -> Result<(Opened, Identity), OpenError> {
        let known = migrations.len() as u64 + 1;
        let prepare = || -> Result<(Opened, Identity), OpenError> {
            let fault = |fault| self.refused(fault);
            let (schema, identity) = if new {
                (known, Identity { id: Uuid::new_v4(), epoch: 0 })
            } else {
                let tx = engine.begin_read().map_err(|error| fault(error.into()))?;
                self.recognise(&tx)?
            };
            if schema > known {
                return Err(OpenError::Newer { found: schema, known });
            }
            if remembered.is_some_and(|remembered| remembered.id != identity.id) {
                return Err(OpenError::Foreign { path: self.path.into(), side_file: self.side_file.clone() });
            }
            let is_older = remembered.is_some_and(|remembered| remembered.epoch > identity.epoch);
            let last = remembered.map_or(identity.epoch, |remembered| remembered.epoch.max(identity.epoch));
            let identity = Identity { epoch: last + 1, ..identity };
            let missing = usize::try_from(schema - 1).unwrap_or(usize::MAX);
            let prepared = engine.begin_write().map_err(Fault::from).and_then(|transaction| {
                let tx = Writing::new(transaction, self.chain.clone(), 0);
                tables::each(&mut &tx)?;
                migrations.iter().skip(missing).try_for_each(|migrate| migrate(&tx))?;
                facts::set_number(&tx, meta::SCHEMA, known)?;
                facts::set_text(&tx, meta::IDENTITY, &identity.id.to_string())?;
                facts::set_number(&tx, meta::EPOCH, identity.epoch)?;
                queue::release_all(&tx)?;
                chores::release_all(&tx)?;
                log::close_all(&tx, now)?;
                let taken_at = facts::text(&tx, meta::TAKEN_AT)?;
                if is_older || taken_at.is_some() {
                    warn!("the store is older than it was at the last start: everybody will be compared");
                    restored::distrust(&tx, taken_at.as_deref(), now)?;
                    facts::forget(&tx, meta::TAKEN_AT)?;
                }
                let next_journal = journal::next_number(&tx)?;
                tx.finish()?;
                Ok(next_journal)
            });
            Ok((Opened { next_journal: prepared.map_err(fault)?, engine }, identity))
        };
        match catch_unwind(AssertUnwindSafe(prepare)) {
            Ok(prepared) => prepared,
            Err(payload) => Err(OpenError::Damaged { source: Fault::panicked(payload.as_ref()) }),
        }
    }

    /// The schema and the identity of the file.
    pub fn recognise(&self, tx: &ReadTransaction) -> Result<(u64, Identity), OpenError> {
        match tx.open_table(tables::META) {
            Ok(_) => {}
            Err(TableError::TableDoesNotExist(_)) => {
                return Err(self.not_a_store("a redb file, but not one of ours, or an empty one"));
            }
            Err(error) => return Err(self.refused(error.into())),
        }
        let read = || {
            let schema = facts::number(tx, meta::SCHEMA)?;
            let id = facts::text(tx, meta::IDENTITY)?.and_then(|id| Uuid::try_parse(&id).ok());
            Ok((schema, id, facts::number(tx, meta::EPOCH)?))
        };
        match read().map_err(|fault| self.refused(fault))? {
            (schema @ 1.., Some(id), epoch) => Ok((schema, Identity { id, epoch })),
            _ => Err(self.not_a_store("it has no schema version or no identity")),
        }
    }

    pub fn read_side_file(&self) -> Result<Option<Identity>, OpenError> {
        let text = match fs::read_to_string(&self.side_file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(OpenError::Io { doing: "read", path: self.side_file.clone(), source });
            }
        };
        let mut words = text.split_whitespace();
        let id = words.next().and_then(|id| Uuid::try_parse(id).ok());
        let epoch = words.next().and_then(|epoch| epoch.parse().ok());
        match (id, epoch) {
            (Some(id), Some(epoch)) => Ok(Some(Identity { id, epoch })),
            _ => Err(OpenError::Foreign { path: self.path.into(), side_file: self.side_file.clone() }),
        }
    }

    fn write_side_file(&self, identity: Identity) -> Result<(), OpenError> {
        let draft = with_suffix(&self.side_file, ".new");
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            writeln!(file, "{} {}", identity.id, identity.epoch)?;
            file.sync_all()?;
            fs::rename(&draft, &self.side_file)?;
            sync_directory_of(&self.side_file)
        };
        write().map_err(|source| OpenError::Io { doing: "write", path: self.side_file.clone(), source })
    }

    pub fn io(&self, doing: &'static str) -> impl FnOnce(io::Error) -> OpenError {
        let path = self.path.into();
        move |source| OpenError::Io { doing, path, source }
    }

    fn not_a_store(&self, reason: &'static str) -> OpenError {
        OpenError::NotAStore { path: self.path.into(), reason }
    }

    /// What an error of the engine means for an operator.
    pub fn refused(&self, fault: Fault) -> OpenError {
        match fault {
            Fault::Engine(redb::Error::DatabaseAlreadyOpen) => OpenError::InUse { path: self.path.into() },
            Fault::Engine(redb::Error::UpgradeRequired(_)) => {
                self.not_a_store("a redb file of a format that we never wrote")
            }
            // Reading past the end, or what cannot be: the file is shorter or other than it says.
            Fault::Engine(redb::Error::Io(source))
                if !matches!(
                    source.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
                ) =>
            {
                OpenError::Io { doing: "open", path: self.path.into(), source }
            }
            fault => OpenError::Damaged { source: fault },
        }
    }
}

/// Every table exists from the first commit on, so that reading never meets a missing one.
impl EachTable for &Writing {
    type Error = Fault;

    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), Fault> {
        self.write(table).map(drop)
    }
}
