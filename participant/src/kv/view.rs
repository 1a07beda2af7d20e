//! What the engine reads: a snapshot of the file, taken anew after each batch.

use std::sync::Arc;

use handfast_common::operation::Value;
use handfast_common::storage::{Space, StorageError, protect};
use redb::{ReadTransaction, ReadableDatabase};

use super::engine::{Values, View};
use super::store::File;

/// Values on disk, and room on it.
pub(super) struct Snapshot {
    file: File,
    /// Kept over many reads: to begin one costs more than to look up a key.
    txn: ReadTransaction,
    space: Arc<Space>,
}

impl Snapshot {
    pub(super) fn take(file: File, space: Arc<Space>) -> Result<Self, StorageError> {
        let txn = begin(&file)?;
        Ok(Self { file, txn, space })
    }

    /// A panic of redb becomes an error here, and an error ends the use of the store, as with its own methods.
    fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let read = protect(self.file.store.file(), || work(&self.txn));
        read.or_else(|error| self.file.store.read(|_| Err(error)))
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("file", &self.file).finish_non_exhaustive()
    }
}

impl View for Snapshot {
    fn value(&self, key: &str) -> Result<Option<Value>, StorageError> {
        self.read(|txn| self.file.value(txn, key))
    }

    fn values(&self, from: &str) -> Result<Values<'_>, StorageError> {
        Ok(Box::new(Rows { snapshot: self, next: Some(from.as_bytes().to_vec()), rows: Vec::new().into_iter() }))
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        self.txn = begin(&self.file)?;
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.space.refresh()
    }
}

fn begin(file: &File) -> Result<ReadTransaction, StorageError> {
    // Through the store, so that one that was shut stays so.
    file.store.read(|_| {
        let begun = file.store.database().begin_read();
        begun.map_err(|error| StorageError::from_redb(file.store.file(), "begin to read", error))
    })
}

/// Rows in portions: a page of a listing needs few, and all of them would not fit into memory.
struct Rows<'a> {
    snapshot: &'a Snapshot,
    /// Where the next portion begins; nothing after the last one, or an error.
    next: Option<Vec<u8>>,
    rows: std::vec::IntoIter<(String, Value)>,
}

/// At most 4 MiB of the largest values.
const PORTION: usize = 64;

impl Iterator for Rows<'_> {
    type Item = Result<(String, Value), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.rows.next() {
            return Some(Ok(row));
        }
        let from = self.next.take()?;
        match self.snapshot.read(|txn| self.snapshot.file.values(txn, &from, PORTION)) {
            Ok(rows) => {
                if let Some((last, _)) = rows.get(PORTION - 1) {
                    // The least key behind it.
                    self.next = Some([last.as_bytes(), b"\0"].concat());
                }
                self.rows = rows.into_iter();
                self.rows.next().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}
