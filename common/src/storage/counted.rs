//! A plain key-value table with the protection of a journal: every value framed under its key, and a head that counts
//! and sums the live records.
//!
//! A single `get` can't tell a lost key from one that never was; [`Counted::verify`], run at every start, can.

use std::path::Path;
use std::sync::Arc;

use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, TableError, WriteTransaction,
};
use uuid::Uuid;

use super::error::StorageError;
use super::heads::{self, Head, Heads, bad_frame};
use super::record;

/// A table from bytes to bytes. It holds no data: handles made twice are the same table.
#[derive(Clone, Debug)]
pub struct Counted {
    table: String,
    file: Arc<Path>,
}

/// A stored value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// The transaction that wrote it; nil where there is none.
    pub txn: Uuid,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Counted {
    pub(crate) fn new(name: &str, file: Arc<Path>) -> Self {
        Self { table: format!("data.{name}"), file }
    }

    /// Lets `work` change the table, then writes the head to match. Once per table and transaction: the table stays
    /// open for all of it.
    ///
    /// # Errors
    /// Those of `work`, and `Damaged`, and those of redb. The transaction must then not be committed.
    pub fn change<T>(
        &self,
        txn: &WriteTransaction,
        work: impl FnOnce(&mut Changing<'_>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut heads = Heads::open(txn, &self.file)?;
        let table = txn.open_table(self.definition()).map_err(|e| self.wrong("open a table", e))?;
        let rows = table.len().map_err(|e| self.wrong("count a table", e))?;
        let head = self.checked(heads.get(&self.table)?, rows)?;
        let mut changing = Changing { counted: self, table, head };
        let value = work(&mut changing)?;
        let mut head = changing.head;
        head.batch += 1;
        heads.put(&self.table, head)?;
        Ok(value)
    }

    /// The value of a key; `None` when it has none.
    ///
    /// # Errors
    /// `Damaged` when there is one and it is not sound; those of redb.
    pub fn get(&self, txn: &ReadTransaction, key: &[u8]) -> Result<Option<Value>, StorageError> {
        match self.open(txn)? {
            Some(table) => self.get_from(&table, key),
            None => Ok(None),
        }
    }

    /// Up to `limit` keys that begin with `prefix`, from `from` on (itself included), in order, with their values. For
    /// the next page, pass the last key with a zero byte behind it.
    ///
    /// # Errors
    /// `Damaged` at the first value that is not sound; those of redb.
    pub fn range(
        &self,
        txn: &ReadTransaction,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Value)>, StorageError> {
        let Some(table) = self.open(txn)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let rows = table.range::<&[u8]>(prefix.max(from)..).map_err(|e| self.wrong("read a table", e))?;
        for row in rows.take(limit) {
            let (key, bytes) = row.map_err(|e| self.wrong("read a table", e))?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let (value, _) = self.value(key.value(), bytes.value())?;
            found.push((key.value().to_vec(), value));
        }
        Ok(found)
    }

    /// Reads the whole table and compares it with its head. Returns how many records it has.
    ///
    /// # Errors
    /// `Damaged` naming the record or the table; those of redb.
    pub fn verify(&self, txn: &ReadTransaction) -> Result<u64, StorageError> {
        let table = self.open(txn)?;
        let rows = table.as_ref().map_or(Ok(0), ReadableTableMetadata::len);
        let rows = rows.map_err(|e| self.wrong("count a table", e))?;
        let stated = self.checked(heads::head(txn, &self.table, &self.file)?, rows)?;
        let mut found = Head::default();
        if let Some(table) = table {
            for row in table.iter().map_err(|e| self.wrong("read a table", e))? {
                let (key, bytes) = row.map_err(|e| self.wrong("read a table", e))?;
                found.add(self.value(key.value(), bytes.value())?.1);
            }
        }
        if (stated.count, stated.sum) != (found.count, found.sum) {
            let why = format!(
                "{} records with sum {:x} were written, {} with sum {:x} are there",
                stated.count, stated.sum, found.count, found.sum
            );
            return Err(StorageError::damaged_record(&self.file, &self.table, why));
        }
        Ok(found.count)
    }

    fn definition(&self) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
        TableDefinition::new(&self.table)
    }

    fn open(&self, txn: &ReadTransaction) -> Result<Option<Rows>, StorageError> {
        match txn.open_table(self.definition()) {
            Ok(table) => Ok(Some(table)),
            // Without a table there must be nothing to find in it.
            Err(TableError::TableDoesNotExist(_)) => {
                self.checked(heads::head(txn, &self.table, &self.file)?, 0).map(|_| None)
            }
            Err(error) => Err(self.wrong("open a table", error)),
        }
    }

    fn get_from(
        &self,
        table: &impl ReadableTable<&'static [u8], &'static [u8]>,
        key: &[u8],
    ) -> Result<Option<Value>, StorageError> {
        let row = table.get(key).map_err(|e| self.wrong("read a value", e))?;
        row.map(|row| Ok(self.value(key, row.value())?.0)).transpose()
    }

    /// The value and its checksum.
    fn value(&self, key: &[u8], bytes: &[u8]) -> Result<(Value, u32), StorageError> {
        let frame = record::unframe(&self.table, key, bytes).map_err(|e| bad_frame(&self.file, self.record(key), e))?;
        Ok((Value { txn: frame.txn, bytes: frame.payload.to_vec() }, frame.checksum))
    }

    fn checked(&self, head: Option<Head>, rows: u64) -> Result<Head, StorageError> {
        let head = head.unwrap_or_default();
        if head.count != rows {
            let why = format!("{} records are counted, {rows} are there", head.count);
            return Err(StorageError::damaged_record(&self.file, &self.table, why));
        }
        Ok(head)
    }

    fn record(&self, key: &[u8]) -> String {
        format!("{} '{}'", self.table, key.escape_ascii())
    }

    fn wrong(&self, doing: &'static str, error: impl Into<redb::Error>) -> StorageError {
        StorageError::from_redb(&self.file, doing, error)
    }
}

type Rows = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The table inside [`Counted::change`].
pub struct Changing<'txn> {
    counted: &'txn Counted,
    table: Table<'txn, &'static [u8], &'static [u8]>,
    head: Head,
}

impl Changing<'_> {
    /// The value as this transaction sees it.
    ///
    /// # Errors
    /// As for [`Counted::get`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, StorageError> {
        self.counted.get_from(&self.table, key)
    }

    /// Sets a value.
    ///
    /// # Errors
    /// `Damaged` when the value before it is not sound; those of redb.
    pub fn put(&mut self, key: &[u8], txn: Uuid, value: &[u8]) -> Result<(), StorageError> {
        let counted = self.counted;
        let bytes = record::frame(&counted.table, key, txn, value);
        let before = self.table.insert(key, bytes.as_slice()).map_err(|e| counted.wrong("write a value", e))?;
        let before = before.map(|before| counted.value(key, before.value())).transpose()?;
        if let Some((_, checksum)) = before {
            self.uncount(key, checksum)?;
        }
        self.head.add(bytes.last_chunk().map_or(0, |checksum| u32::from_le_bytes(*checksum)));
        Ok(())
    }

    /// Takes a key away; says whether it was there.
    ///
    /// # Errors
    /// `Damaged` when its value is not sound; those of redb.
    pub fn remove(&mut self, key: &[u8]) -> Result<bool, StorageError> {
        let counted = self.counted;
        let before = self.table.remove(key).map_err(|e| counted.wrong("remove a value", e))?;
        let before = before.map(|before| counted.value(key, before.value())).transpose()?;
        match before {
            Some((_, checksum)) => self.uncount(key, checksum).map(|()| true),
            None => Ok(false),
        }
    }

    fn uncount(&mut self, key: &[u8], checksum: u32) -> Result<(), StorageError> {
        let counted = self.counted;
        self.head.remove(checksum).ok_or_else(|| {
            StorageError::damaged_record(&counted.file, counted.record(key), "the head counts fewer records")
        })
    }
}
