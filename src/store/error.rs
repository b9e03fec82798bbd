//! What can go wrong in the store, and what the caller must do then.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a call to the store failed.
///
/// After [`Error::Failed`] nothing works any more: every later call answers with the same error.
/// What the failed call was to write may be there or not after the store is opened again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("the store failed while {doing}")]
    Failed {
        doing: &'static str,
        #[source]
        source: Arc<Fault>,
    },
    /// Nothing was written. Only [`accept`](super::Store::accept) is refused, so that the rest of
    /// the disk is left for finishing the work that is already queued.
    #[error("only {free_bytes} bytes are free on the disk of the store: no more news is accepted")]
    NoRoom { free_bytes: u64 },
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// The disk is full, or nearly so.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Failed { source, .. } => source.is_full(),
            Self::NoRoom { .. } => true,
            Self::Closed => false,
        }
    }

    /// The process must end: the store answers nothing any more.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::NoRoom { .. })
    }
}

/// What the engine, or a record in it, did wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Engine(redb::Error),
    #[error("a stored {kind} cannot be read")]
    Record {
        kind: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("a stored {kind} has version {found}, which this program does not know")]
    Version { kind: &'static str, found: u16 },
    #[error("it panicked: {0}")]
    Panicked(String),
}

impl Fault {
    pub(super) fn is_full(&self) -> bool {
        let Self::Engine(redb::Error::Io(error)) = self else { return false };
        is_full(error)
    }

    /// The message of a caught panic.
    pub(super) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Self::Panicked(text.unwrap_or_else(|| "without a message".to_owned()))
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

macro_rules! engine_errors {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                Self::Engine(error.into())
            }
        }
    )*};
}
engine_errors!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// Why the store could not be opened. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store {path} is in use by another process: stop that one, or talk to it")]
    InUse { path: PathBuf },
    #[error(
        "the store was written by a newer version of this program (schema {found}, this one knows up to \
         {known}): run that version or a later one"
    )]
    Newer { found: u64, known: u64 },
    #[error(
        "the store is damaged: keep the file for analysis, restore a backup, or move it and its .id file \
         away to begin anew from the directory"
    )]
    Damaged {
        #[source]
        source: Fault,
    },
    #[error(
        "{path} is not a store of this program ({reason}): it was left as it is; choose another path or move it away"
    )]
    NotAStore { path: PathBuf, reason: &'static str },
    #[error(
        "the store {path} is gone, but {side_file} says that there was one: restore it, or remove that file to begin \
         anew from the directory"
    )]
    Gone { path: PathBuf, side_file: PathBuf },
    #[error(
        "the store {path} is not the one that {side_file} names: put the right file back, or remove that file to go \
         on with this one"
    )]
    Foreign { path: PathBuf, side_file: PathBuf },
    #[error("cannot {doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// The disk is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full(source),
            Self::Damaged { source } => source.is_full(),
            _ => false,
        }
    }
}

/// Why a backup was not restored, or a file is none. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{path} is damaged or was cut short, and is no backup any more: take another")]
    Damaged {
        path: PathBuf,
        #[source]
        source: Fault,
    },
    #[error("{path} is not a backup of this program ({reason})")]
    NotABackup { path: PathBuf, reason: &'static str },
    #[error("cannot read the backup {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] OpenError),
}

impl RestoreError {
    /// What a file that cannot be opened as a store is as a backup.
    pub(super) fn of(error: OpenError, path: &std::path::Path) -> Self {
        match error {
            OpenError::Damaged { source } => Self::Damaged { path: path.into(), source },
            OpenError::NotAStore { reason, .. } => Self::NotABackup { path: path.into(), reason },
            error => Self::Store(error),
        }
    }
}
