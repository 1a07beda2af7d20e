//! A table of records under ever growing numbers: what a log is made of.
//!
//! Recovery reads a journal in one scan. Next to the checksum of each record, the journal's head (batch number, last
//! key ever used, count and sum of the live records) says what such a scan must find. Less, more, or other records are
//! damage: a verdict comes from a complete scan only.

use std::path::Path;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTableMetadata, TableDefinition, TableError, WriteTransaction};
use uuid::Uuid;

use super::error::StorageError;
use super::heads::{self, Head, Heads, bad_frame};
use super::record;
use crate::mutants::{self, Mutant};

/// A journal of a store. It holds no data: clones and handles made twice are the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    table: String,
    file: Arc<Path>,
}

/// A record, as it was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number.
    pub key: u64,
    /// The transaction it belongs to; nil where there is none.
    pub txn: Uuid,
    /// Its content.
    pub payload: Vec<u8>,
}

impl Journal {
    pub(crate) fn new(name: &str, file: Arc<Path>) -> Self {
        Self { table: format!("journal.{name}"), file }
    }

    /// Puts and deletes records, and writes the head to match; all of it is durable with the transaction's commit.
    ///
    /// Keys begin at 1, are given in rising order, and are above every key this journal ever had, also deleted ones.
    /// Deletes come after puts.
    ///
    /// # Errors
    /// `Damaged` when a key that is to be deleted is not there, or one above the last is; those of redb.
    ///
    /// # Panics
    /// When a key is not above the last one: the numbering is ours, and a reused number would be a second history.
    pub fn append(
        &self,
        txn: &WriteTransaction,
        puts: &[(u64, Uuid, Vec<u8>)],
        deletes: &[u64],
    ) -> Result<Head, StorageError> {
        let mut heads = Heads::open(txn, &self.file)?;
        let mut table = txn.open_table(self.definition()).map_err(|e| self.wrong("open a journal", e))?;
        let rows = table.len().map_err(|e| self.wrong("count a journal", e))?;
        let mut head = self.checked(heads.get(&self.table)?, rows)?;
        for (key, id, payload) in puts {
            assert!(*key > head.last_key, "record {key} of {} comes after {}", self.table, head.last_key);
            let bytes = record::frame(&self.table, &key.to_be_bytes(), *id, payload);
            let before = table.insert(key, bytes.as_slice()).map_err(|e| self.wrong("write a record", e))?;
            if before.is_some() {
                return Err(self.damaged(*key, "it was there before it was written"));
            }
            head.last_key = *key;
            head.add(checksum_of(&bytes));
        }
        for key in deletes {
            let gone = table.remove(key).map_err(|e| self.wrong("delete a record", e))?;
            let gone = gone.ok_or_else(|| self.damaged(*key, "it was to be deleted and is missing"))?;
            let frame = record::unframe(&self.table, &key.to_be_bytes(), gone.value());
            let frame = frame.map_err(|e| bad_frame(&self.file, self.record(*key), e))?;
            head.remove(frame.checksum).ok_or_else(|| self.damaged(*key, "the head counts fewer records"))?;
        }
        head.batch += 1;
        heads.put(&self.table, head)?;
        Ok(head)
    }

    /// Reads everything, in the order of keys.
    ///
    /// # Errors
    /// `Damaged` naming the record, or the journal when the records are not those that the head counts; those of redb.
    pub fn scan(&self, txn: &ReadTransaction) -> Result<Vec<Entry>, StorageError> {
        let mut entries = Vec::new();
        self.visit(txn, |key, txn, payload| entries.push(Entry { key, txn, payload: payload.to_vec() }))?;
        Ok(entries)
    }

    /// [`Journal::scan`] without the copies. What was visited counts only once this returned `Ok`.
    ///
    /// # Errors
    /// As for [`Journal::scan`].
    pub fn visit(&self, txn: &ReadTransaction, mut each: impl FnMut(u64, Uuid, &[u8])) -> Result<Head, StorageError> {
        let stated = self.head(txn)?;
        let mut found = Head { batch: stated.batch, last_key: stated.last_key, ..Head::default() };
        if let Some(table) = self.open(txn)? {
            for row in table.range(0..).map_err(|e| self.wrong("read a journal", e))? {
                let (key, bytes) = row.map_err(|e| self.wrong("read a journal", e))?;
                let key = key.value();
                let frame = record::unframe(&self.table, &key.to_be_bytes(), bytes.value());
                if frame.is_err() && mutants::is(Mutant::UnreadableIsAbsent) {
                    continue;
                }
                let frame = frame.map_err(|e| bad_frame(&self.file, self.record(key), e))?;
                if key > stated.last_key {
                    let last = stated.last_key;
                    return Err(self.damaged(key, &format!("it lies beyond the last one ever written, {last}")));
                }
                found.add(frame.checksum);
                each(key, frame.txn, frame.payload);
            }
        }
        self.compare(stated, found)?;
        Ok(stated)
    }

    /// One record; `None` when it was deleted or never written.
    ///
    /// # Errors
    /// `Damaged` when it is there and not sound; those of redb.
    pub fn get(&self, txn: &ReadTransaction, key: u64) -> Result<Option<Entry>, StorageError> {
        let Some(table) = self.open(txn)? else {
            return self.compare(self.head(txn)?, Head::default()).map(|()| None);
        };
        let row = table.get(key).map_err(|e| self.wrong("read a record", e))?;
        let Some(row) = row else { return Ok(None) };
        let frame = record::unframe(&self.table, &key.to_be_bytes(), row.value());
        let frame = frame.map_err(|e| bad_frame(&self.file, self.record(key), e))?;
        Ok(Some(Entry { key, txn: frame.txn, payload: frame.payload.to_vec() }))
    }

    /// What the journal must contain; all zero before its first batch.
    ///
    /// # Errors
    /// `Damaged`; those of redb.
    pub fn head(&self, txn: &ReadTransaction) -> Result<Head, StorageError> {
        let head = heads::head(txn, &self.table, &self.file)?;
        let rows = match self.open(txn)? {
            Some(table) => table.len().map_err(|e| self.wrong("count a journal", e))?,
            None => 0,
        };
        self.checked(head, rows)
    }

    fn definition(&self) -> TableDefinition<'_, u64, &'static [u8]> {
        TableDefinition::new(&self.table)
    }

    fn open(&self, txn: &ReadTransaction) -> Result<Option<redb::ReadOnlyTable<u64, &'static [u8]>>, StorageError> {
        match txn.open_table(self.definition()) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.wrong("open a journal", error)),
        }
    }

    /// A head and redb's own count must agree before anything is built on them.
    fn checked(&self, head: Option<Head>, rows: u64) -> Result<Head, StorageError> {
        let head = head.unwrap_or_default();
        if head.count != rows {
            let why = format!("{} records are counted, {rows} are there", head.count);
            return Err(StorageError::damaged_record(&self.file, &self.table, why));
        }
        Ok(head)
    }

    fn compare(&self, stated: Head, found: Head) -> Result<(), StorageError> {
        let same = (stated.count, stated.sum) == (found.count, found.sum);
        if same || mutants::is(Mutant::UnreadableIsAbsent) {
            return Ok(());
        }
        let why = format!(
            "{} records with sum {:x} were written, {} with sum {:x} are there",
            stated.count, stated.sum, found.count, found.sum
        );
        Err(StorageError::damaged_record(&self.file, &self.table, why))
    }

    fn record(&self, key: u64) -> String {
        format!("{} #{key}", self.table)
    }

    fn damaged(&self, key: u64, why: &str) -> StorageError {
        StorageError::damaged_record(&self.file, self.record(key), why)
    }

    fn wrong(&self, doing: &'static str, error: impl Into<redb::Error>) -> StorageError {
        StorageError::from_redb(&self.file, doing, error)
    }
}

fn checksum_of(frame: &[u8]) -> u32 {
    frame.last_chunk().map_or(0, |checksum| u32::from_le_bytes(*checksum))
}
