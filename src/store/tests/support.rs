//! What the tests of the store have in common: short words for ids, times, marks and outcomes, and a
//! disk in memory that outlives the store on it.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use redb::StorageBackend;

use crate::domain::queue::{Mark, News, Outcome, Reason, Settlement};
use crate::domain::seen::SeenState;
use crate::domain::user::{GroupId, UserId, Value};
use crate::store::Store;
use crate::telemetry::Metrics;

pub fn user(n: u8) -> UserId {
    UserId::from_bytes([n; 16])
}

pub fn group(n: u8) -> GroupId {
    GroupId::from_bytes([n; 16])
}

/// So many seconds after the beginning of the test.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub fn mark(n: u8, reason: Reason, second: i64) -> Mark {
    Mark { user: user(n), reason, news_at: at(second), urgent: false, removed: None }
}

pub fn news(n: u8) -> News {
    News::User { id: user(n), deleted: false }
}

pub fn done() -> Outcome {
    Outcome::of(Settlement::Done { recheck_at: None })
}

pub fn recheck(second: i64) -> Outcome {
    Outcome::of(Settlement::Done { recheck_at: Some(at(second)) })
}

pub fn again(second: i64) -> Outcome {
    Outcome::of(Settlement::Again { due_at: at(second), counts: true, error: "503".to_owned() })
}

pub fn park() -> Outcome {
    Outcome::of(Settlement::Park { code: "refused", error: "400 invalidValue".to_owned() })
}

pub fn hold() -> Outcome {
    Outcome::of(Settlement::Hold { code: "conflict_held", error: "both changed".to_owned() })
}

/// A state that differs from others by its properties.
pub fn seen(second: i64, mail: &str) -> SeenState {
    SeenState {
        at: at(second),
        enabled: true,
        properties: [("mail".to_owned(), Value::text(mail))].into(),
        unset: BTreeSet::new(),
        groups: BTreeSet::new(),
        complete: true,
        scope_read: None,
        gone: None,
        target: None,
        scim_id: None,
    }
}

/// An empty list of users, by their numbers.
pub const NOBODY: [u8; 0] = [];

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const DAY: Duration = Duration::from_secs(86_400);

/// Bytes that stay when the store on them is closed.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub Arc<Mutex<Vec<u8>>>);

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let found = bytes.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.0.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

pub fn open(memory: &Memory) -> Store {
    Store::open_on(memory.clone(), at(0), Metrics::new()).unwrap()
}

/// A store that is gone with its handle.
pub fn fresh() -> Store {
    open(&Memory::default())
}
