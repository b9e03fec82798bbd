//! Putting a backup in the place of the store.
//!
//! The file that is restored is only read: a copy of it beside the store is what is checked, page by
//! page, and put in place. What was there is moved aside and never deleted, and a crash leaves the one
//! or the other. Nobody can open or make a store here meanwhile. That the store is older than the world
//! is dealt with when it is opened, see `restored`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use redb::{
    Database, Key, ReadTransaction, ReadableDatabase, ReadableTableMetadata as _, TableDefinition,
    TableError, Value,
};
use uuid::Uuid;

use super::disk::{sync_directory_of, with_suffix};
use super::error::{Fault, OpenError, RestoreError};
use super::log::{ChainKey, Verification};
use super::open::{Identity, MIGRATIONS, Place};
use super::tables::{JOBS, LINKS, LOG, META, meta};
use super::{log, meta as facts};

/// Memory for pages while a file is checked.
const CACHE_BYTES: usize = 16 << 20;

/// What a file says of itself, found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    pub schema: u64,
    pub identity: Uuid,
    /// When it was taken; `None` of what is no backup but an old copy.
    pub taken_at: Option<Timestamp>,
    pub links: u64,
    pub jobs: u64,
    /// The entries of the history, and the number and the seal of the last one.
    pub entries: u64,
    pub head: (u64, String),
}

/// Checks that the file is a whole store of a schema that this program knows. Opens it to write, which
/// finishes what a crash may have left open.
pub fn inspect(file: &Path) -> Result<Inspected, RestoreError> {
    // The seals are not looked at.
    let chain = ChainKey::new([0; 32]);
    let at = Place::of(file, &chain);
    let looked = looked_into(&at).and_then(|(found, engine)| {
        engine.close().map_err(|error| at.refused(error.into()))?;
        Ok(found)
    });
    looked.map_err(|error| RestoreError::of(error, file))
}

fn looked_into(at: &Place<'_>) -> Result<(Inspected, Database), OpenError> {
    let engine = at.existing(CACHE_BYTES)?;
    let tx = engine.begin_read().map_err(|error| at.refused(error.into()))?;
    let (schema, Identity { id, .. }) = at.recognise(&tx)?;
    let known = MIGRATIONS.len() as u64 + 1;
    if schema > known {
        return Err(OpenError::Newer { found: schema, known });
    }
    let found = counted(&tx, schema, id).map_err(|fault| at.refused(fault))?;
    drop(tx);
    Ok((found, engine))
}

fn counted(tx: &ReadTransaction, schema: u64, identity: Uuid) -> Result<Inspected, Fault> {
    Ok(Inspected {
        schema,
        identity,
        taken_at: facts::text(tx, meta::TAKEN_AT)?.and_then(|at| at.parse().ok()),
        links: n_in(tx, LINKS)?,
        jobs: n_in(tx, JOBS)?,
        entries: n_in(tx, LOG)?,
        head: log::head(tx)?,
    })
}

/// A file of an older schema need not have every table.
fn n_in<K: Key + 'static, V: Value + 'static>(
    tx: &ReadTransaction,
    table: TableDefinition<'static, K, V>,
) -> Result<u64, Fault> {
    match tx.open_table(table) {
        Ok(table) => Ok(table.len()?),
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Whose place the backup takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    Nothing,
    /// Another state of the same store, or what is left of it.
    Itself,
    /// Another store, by its identity, or one of which that cannot be told.
    Another,
}

/// A backup that was copied beside the store and found whole. Nothing of the store has changed yet;
/// dropped, nothing will.
#[derive(Debug)]
pub struct Restoring {
    store: PathBuf,
    draft: Draft,
    pub found: Inspected,
    pub replaced: Replaced,
    /// What the key makes of the seals of its history. `None`: there was no key to try.
    pub verified: Option<Verification>,
    held: Held,
}

impl Restoring {
    /// Copies and checks. `chain` is what seals the history of this place, if it is known.
    pub fn prepare(backup: &Path, store: &Path, chain: Option<&ChainKey>) -> Result<Self, RestoreError> {
        let held = Held::of(store)?;
        let draft = Draft::of(backup, store)?;
        let no_key = ChainKey::new([0; 32]);
        let key = chain.unwrap_or(&no_key);
        let at = Place::of(&draft.0, key);
        let looked = looked_into(&at).and_then(|(found, engine)| {
            let verified = made_known(&engine, &found, chain).map_err(|fault| at.refused(fault))?;
            engine.close().map_err(|error| at.refused(error.into()))?;
            Ok((found, verified))
        });
        let (found, verified) = looked.map_err(|error| RestoreError::of(error, backup))?;
        let synced = File::open(&draft.0).and_then(|file| file.sync_all());
        synced.map_err(|source| OpenError::Io { doing: "sync", path: draft.0.clone(), source })?;
        let replaced = match (Place::of(store, key).read_side_file(), held.store.is_some()) {
            (Ok(Some(Identity { id, .. })), _) if id == found.identity => Replaced::Itself,
            (Ok(None), false) => Replaced::Nothing,
            _ => Replaced::Another,
        };
        Ok(Self { store: store.into(), draft, found, replaced, verified, held })
    }

    /// Moves what is there aside and puts the backup in its place. What was moved is now at these paths.
    pub fn put_in_place(self, now: Timestamp) -> Result<Vec<PathBuf>, RestoreError> {
        let mut moved = Vec::new();
        for step in self.steps(now) {
            step.take().map_err(|source| step.failed(source))?;
            moved.extend(step.aside());
        }
        Ok(moved)
    }

    /// What is to be done, in an order in which the store can be opened after each step.
    pub(super) fn steps(&self, now: Timestamp) -> Vec<Step> {
        let store = &self.store;
        let aside = with_suffix(store, &format!(".before-{}", now.strftime("%Y%m%dT%H%M%SZ")));
        let side_file = with_suffix(store, ".id");
        let mut steps = Vec::new();
        if self.held.store.is_some() {
            steps.push(Step::SetAside { from: store.clone(), to: aside.clone() });
        }
        if self.replaced == Replaced::Another && side_file.exists() {
            // Without it the store that is still there opens; with it the new one would not.
            steps.push(Step::MoveAside { from: side_file, to: with_suffix(&aside, ".id") });
        }
        steps.push(Step::Replace { draft: self.draft.0.clone(), store: store.clone() });
        steps
    }
}

/// One step on the way; each is on disk when it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The store gets a second name: it stays under its own until the backup takes that.
    SetAside {
        from: PathBuf,
        to: PathBuf,
    },
    MoveAside {
        from: PathBuf,
        to: PathBuf,
    },
    Replace {
        draft: PathBuf,
        store: PathBuf,
    },
}

impl Step {
    pub fn take(&self) -> io::Result<()> {
        match self {
            Self::SetAside { from, to } => match fs::hard_link(from, to) {
                // Not every file system has links. Killed before the next step, the store seems gone:
                // its side file tells that, and nothing is begun anew.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                    ) && !to.try_exists()? =>
                {
                    fs::rename(from, to)?;
                }
                linked => linked?,
            },
            Self::MoveAside { from, to } | Self::Replace { draft: from, store: to } => fs::rename(from, to)?,
        }
        let (Self::SetAside { to, .. } | Self::MoveAside { to, .. } | Self::Replace { store: to, .. }) = self;
        sync_directory_of(to)
    }

    fn aside(&self) -> Option<PathBuf> {
        match self {
            Self::SetAside { to, .. } | Self::MoveAside { to, .. } => Some(to.clone()),
            Self::Replace { .. } => None,
        }
    }

    fn failed(&self, source: io::Error) -> OpenError {
        match self {
            Self::SetAside { to, .. } | Self::MoveAside { to, .. } => {
                OpenError::Io { doing: "move what is there aside to", path: to.clone(), source }
            }
            Self::Replace { store, .. } => {
                OpenError::Io { doing: "put the backup in the place of", path: store.clone(), source }
            }
        }
    }
}

/// Notes in the copy that it is older than the world, and checks its history.
fn made_known(
    engine: &Database,
    found: &Inspected,
    chain: Option<&ChainKey>,
) -> Result<Option<Verification>, Fault> {
    if found.taken_at.is_none() {
        let tx = engine.begin_write()?;
        tx.open_table(META)?.insert(meta::TAKEN_AT, b"".as_slice())?;
        tx.commit()?;
    }
    // Before the second schema there was no chain.
    let Some(chain) = chain.filter(|_| found.schema > 1) else { return Ok(None) };
    log::verify(&engine.begin_read()?, chain, None).map(Some)
}

/// The place of the store, in which nobody opens or makes one as long as this is there.
#[derive(Debug)]
struct Held {
    making: PathBuf,
    _making: File,
    /// `None`: no store is there.
    store: Option<File>,
}

impl Held {
    fn of(store: &Path) -> Result<Self, OpenError> {
        let making = with_suffix(store, ".new");
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { doing, path, source }
        };
        let locked = |file: &File| match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: store.into() }),
            Err(TryLockError::Error(source)) => Err(io("lock", store)(source)),
        };
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&making);
        let file = file.map_err(io("create", &making))?;
        locked(&file)?;
        let mut held = Self { making, _making: file, store: None };
        match File::open(store) {
            Ok(file) => {
                locked(&file)?;
                held.store = Some(file);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io("open", store)(source)),
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever finds it left behind takes it for that of a crash.
        fs::remove_file(&self.making).ok();
    }
}

/// The copy of the backup beside the store, until it is put in place.
#[derive(Debug)]
struct Draft(PathBuf);

impl Draft {
    fn of(backup: &Path, store: &Path) -> Result<Self, RestoreError> {
        let read = |source| RestoreError::Read { path: backup.into(), source };
        let mut from = File::open(backup).map_err(read)?;
        if from.metadata().map_err(read)?.is_dir() {
            return Err(read(io::ErrorKind::IsADirectory.into()));
        }
        let draft = Self(with_suffix(store, ".restore"));
        let mut options = OpenOptions::new();
        let made = options.write(true).create(true).truncate(true).mode(0o600).open(&draft.0);
        made.and_then(|mut to| io::copy(&mut from, &mut to)).map_err(|source| OpenError::Io {
            doing: "copy the backup to",
            path: draft.0.clone(),
            source,
        })?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After it was put in place there is none.
        fs::remove_file(&self.0).ok();
    }
}
