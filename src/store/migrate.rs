//! From the tables of an older schema to those of the next. Never change a step that was released.

use std::collections::BTreeMap;

use jiff::Timestamp;
use redb::{ReadableTable, TableDefinition};

use super::error::Fault;
use super::record::decode;
use super::transaction::{Reading, Writing};
use super::{cases, guard, log};
use crate::domain::guard::{DAY, Guarded};
use crate::domain::queue::{Operation, Write, WriteResult};

type Old<K> = TableDefinition<'static, K, &'static [u8]>;
/// `time · user · number` → `Write`
const HISTORY: Old<&[u8; 33]> = TableDefinition::new("history");
const HISTORY_OF_USER: Old<&[u8; 33]> = TableDefinition::new("history_of_user");
const APPLIED: Old<&[u8; 34]> = TableDefinition::new("applied");

/// 1 → 2: the history becomes a chain of sealed entries, and the guard keeps a ledger of its own. The
/// deactivations of the last day of the history count as if they were made just now.
pub(super) fn into_the_chain(tx: &Writing) -> Result<(), Fault> {
    // Tables that are not there are made, empty: a store of schema 1 always had them.
    tx.write(HISTORY)?;
    let mut writes: Vec<Write> = Vec::new();
    for entry in tx.read(HISTORY)?.iter()? {
        writes.push(decode(entry?.1.value())?);
    }
    let newest = writes.last().map_or(Timestamp::MIN, |write| write.at);
    let day_ago = newest.checked_sub(DAY).unwrap_or(Timestamp::MIN);
    let mut spent = BTreeMap::new();
    for write in writes {
        let happened = !matches!(write.result, WriteResult::Refused { .. });
        if write.operation == Operation::Deactivate && happened && write.at >= day_ago {
            *spent.entry(Guarded::Deactivations).or_default() += 1;
        }
        log::adopt(tx, write)?;
    }
    for (guarded, n) in spent {
        guard::adopt(tx, guarded, n)?;
    }
    tx.delete(HISTORY)?;
    tx.delete(HISTORY_OF_USER)?;
    tx.delete(APPLIED)
}

/// 2 → 3: what belongs to an order, and the remarks about a user, are found without reading everything.
pub(super) fn index_orders(tx: &Writing) -> Result<(), Fault> {
    log::index_all(tx)?;
    cases::index_all(tx)
}
