//! What the rules of the store see of the engine: tables to read, tables to write, the journal's
//! next number, and a note whether anything changed.

use std::cell::Cell;

use redb::{Key, ReadTransaction, ReadableTable, Table, TableDefinition, Value, WriteTransaction};

use super::error::Fault;
use super::log::ChainKey;
use super::record::{EncodedPart, joined};
use super::tables::JOURNAL;

/// Tables to read, in a transaction of either kind.
pub(super) trait Reading {
    fn read<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<impl ReadableTable<K, V>, Fault>;
}

impl Reading for ReadTransaction {
    fn read<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<impl ReadableTable<K, V>, Fault> {
        Ok(self.open_table(table)?)
    }
}

/// The one write transaction of a batch.
pub(super) struct Writing {
    engine: WriteTransaction,
    chain: ChainKey,
    next_journal: Cell<u64>,
    dirty: Cell<bool>,
    news: Cell<bool>,
    /// Jobs that became due, and runs that are to be repeated.
    counted: Cell<(u64, u64)>,
}

impl Reading for Writing {
    fn read<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<impl ReadableTable<K, V>, Fault> {
        Ok(self.engine.open_table(table)?)
    }
}

impl Writing {
    pub fn new(mut engine: WriteTransaction, chain: ChainKey, next_journal: u64) -> Self {
        // Two phases: the file may hold text from outside, and redb advises them for that. Quick
        // repair: a start after a crash need not walk the whole file for its free pages.
        engine.set_two_phase_commit(true);
        engine.set_quick_repair(true);
        Self {
            engine,
            chain,
            next_journal: Cell::new(next_journal),
            dirty: Cell::new(false),
            news: Cell::new(false),
            counted: Cell::new((0, 0)),
        }
    }

    /// A table to write. Opening it is taken as a change: a batch that opened none is not committed.
    pub fn write<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<Table<'_, K, V>, Fault> {
        self.dirty.set(true);
        Ok(self.engine.open_table(table)?)
    }

    /// What seals the history.
    pub fn chain(&self) -> &ChainKey {
        &self.chain
    }

    /// Removes a table that no later schema has.
    pub fn delete<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), Fault> {
        self.dirty.set(true);
        self.engine.delete_table(table)?;
        Ok(())
    }

    /// Adds one record to the journal.
    pub fn journal(&self, parts: &[EncodedPart]) -> Result<(), Fault> {
        let number = self.next_journal.get();
        self.write(JOURNAL)?.insert(number, joined(parts).as_slice())?;
        self.next_journal.set(number + 1);
        self.announce();
        Ok(())
    }

    /// There is something to do that was not there before: sleepers are woken after the commit.
    pub fn announce(&self) {
        self.news.set(true);
    }

    pub fn has_news(&self) -> bool {
        self.news.get()
    }

    /// Counts what is to be told once it is on disk.
    pub fn count(&self, is_added: bool, is_retried: bool) {
        let (added, retried) = self.counted.get();
        self.counted.set((added + u64::from(is_added), retried + u64::from(is_retried)));
    }

    pub fn counted(&self) -> (u64, u64) {
        self.counted.get()
    }

    pub fn next_journal(&self) -> u64 {
        self.next_journal.get()
    }

    /// Commits when anything changed. `false` when there was nothing to commit.
    pub fn finish(self) -> Result<bool, Fault> {
        if self.dirty.get() {
            self.engine.commit()?;
            Ok(true)
        } else {
            self.engine.abort()?;
            Ok(false)
        }
    }
}
