//! Single facts: what the file says of itself, and the memos of other modules.

use jiff::Timestamp;
use redb::ReadableTable;

use super::error::Fault;
use super::tables::{MEMOS, META, meta};
use super::transaction::{Reading, Writing};

/// The memo of when the last full compare came to its end, as an RFC 3339 timestamp.
pub const FULL_COMPARE_MEMO: &str = "full_compare_at";

/// The memo of [`crate::domain::coverage::Coverage`], as JSON.
pub const COVERAGE_MEMO: &str = "coverage";

/// A number among the facts of the file; absent is 0.
pub(super) fn number(tx: &impl Reading, key: &'static [u8]) -> Result<u64, Fault> {
    let value = tx.read(META)?.get(key)?.map(|value| value.value().try_into().unwrap_or_default());
    Ok(value.map_or(0, u64::from_be_bytes))
}

pub(super) fn set_number(tx: &Writing, key: &'static [u8], number: u64) -> Result<(), Fault> {
    tx.write(META)?.insert(key, number.to_be_bytes().as_slice())?;
    Ok(())
}

pub(super) fn text(tx: &impl Reading, key: &'static [u8]) -> Result<Option<String>, Fault> {
    Ok(tx.read(META)?.get(key)?.map(|value| String::from_utf8_lossy(value.value()).into_owned()))
}

pub(super) fn set_text(tx: &Writing, key: &'static [u8], text: &str) -> Result<(), Fault> {
    tx.write(META)?.insert(key, text.as_bytes())?;
    Ok(())
}

pub(super) fn forget(tx: &Writing, key: &'static [u8]) -> Result<(), Fault> {
    tx.write(META)?.remove(key)?;
    Ok(())
}

pub(super) fn memo(tx: &impl Reading, key: &str) -> Result<Option<String>, Fault> {
    let memos = tx.read(MEMOS)?;
    let value = memos.get(key.as_bytes())?;
    Ok(value.map(|value| String::from_utf8_lossy(value.value()).into_owned()))
}

pub(super) fn set_memo(tx: &Writing, key: &str, value: &str) -> Result<(), Fault> {
    tx.write(MEMOS)?.insert(key.as_bytes(), value.as_bytes())?;
    Ok(())
}

/// A change that is worth nothing, to see that a commit succeeds.
pub(super) fn touch(tx: &Writing, now: Timestamp) -> Result<(), Fault> {
    set_text(tx, meta::READY, &now.to_string())
}
