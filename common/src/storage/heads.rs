//! The table of heads: what each other table of the store must contain, and the number and seal of the last commit.
//!
//! A row per table holds its batch number, last key, count and sum of the live records. The commit row, rewritten by
//! every commit, seals all of them, and the commit before. So a record, a whole table, or a head that is missing is
//! noticed by what is left. All heads share one page, hence cost one page per commit.

use std::path::Path;

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};
use uuid::Uuid;

use super::error::StorageError;
use super::record::{self, FrameError, RECORD_VERSION};

const HEADS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new(HEADS_NAME);
const HEADS_NAME: &str = "hf.heads";
/// Name of the commit row; tables have names that are not empty.
const COMMIT_ROW: &str = "";

/// What a table must contain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// Batches that changed the table.
    pub batch: u64,
    /// Highest key ever used; 0 before the first (always 0 for a table with keys of bytes).
    pub last_key: u64,
    /// Live records.
    pub count: u64,
    /// Sum of their checksums.
    pub sum: u64,
}

/// A commit of the store: numbered from 1, which is its creation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commit {
    /// Its number.
    pub number: u64,
    /// Checksum over all heads and the seal before: two histories do not have it in common.
    pub seal: u32,
}

impl Head {
    pub(crate) fn add(&mut self, checksum: u32) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(u64::from(checksum));
    }

    /// `None` when there was no record to take away: then the head is wrong.
    pub(crate) fn remove(&mut self, checksum: u32) -> Option<()> {
        self.count = self.count.checked_sub(1)?;
        self.sum = self.sum.wrapping_sub(u64::from(checksum));
        Some(())
    }

    fn encode(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (part, value) in bytes.chunks_exact_mut(8).zip([self.batch, self.last_key, self.count, self.sum]) {
            part.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (parts, rest) = bytes.as_chunks::<8>();
        let [batch, last_key, count, sum] = parts else { return None };
        let [batch, last_key, count, sum] = [batch, last_key, count, sum].map(|part| u64::from_le_bytes(*part));
        rest.is_empty().then_some(Self { batch, last_key, count, sum })
    }
}

/// The heads inside a write transaction.
pub(crate) struct Heads<'txn> {
    table: Table<'txn, &'static str, &'static [u8]>,
    file: &'txn Path,
}

impl<'txn> Heads<'txn> {
    pub(crate) fn open(txn: &'txn WriteTransaction, file: &'txn Path) -> Result<Self, StorageError> {
        let table = txn.open_table(HEADS).map_err(|e| StorageError::from_redb(file, "open the heads", e))?;
        Ok(Self { table, file })
    }

    pub(crate) fn get(&self, name: &str) -> Result<Option<Head>, StorageError> {
        head_of(&self.table, name, self.file)
    }

    pub(crate) fn put(&mut self, name: &str, head: Head) -> Result<(), StorageError> {
        self.insert(name, &head.encode()).map(drop)
    }

    /// Writes the commit row: the last thing inside every commit.
    pub(crate) fn seal(&mut self) -> Result<Commit, StorageError> {
        let before = commit_of(&self.table, self.file)?;
        let rows = seal_of_rows(&self.table, self.file)?;
        let number = before.map_or(1, |commit| commit.number + 1);
        let mut payload = [0; COMMIT_BYTES];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        payload[8..12].copy_from_slice(&before.map_or(0, |commit| commit.seal).to_le_bytes());
        payload[12..].copy_from_slice(&rows.to_le_bytes());
        let seal = self.insert(COMMIT_ROW, &payload)?;
        Ok(Commit { number, seal })
    }

    /// Returns the frame's checksum.
    fn insert(&mut self, name: &str, payload: &[u8]) -> Result<u32, StorageError> {
        let bytes = record::frame(HEADS_NAME, name.as_bytes(), Uuid::nil(), payload);
        let (_, checksum) = bytes.split_last_chunk().expect("a frame ends with its checksum");
        self.table.insert(name, bytes.as_slice()).map_err(|e| StorageError::from_redb(self.file, "write a head", e))?;
        Ok(u32::from_le_bytes(*checksum))
    }
}

/// The head of one table, for readers.
pub(crate) fn head(txn: &ReadTransaction, name: &str, file: &Path) -> Result<Option<Head>, StorageError> {
    head_of(&open(txn, file)?, name, file)
}

/// Checks that the commit row seals exactly the heads that are there.
pub(crate) fn verify(txn: &ReadTransaction, file: &Path) -> Result<Commit, StorageError> {
    let table = open(txn, file)?;
    let missing = || StorageError::damaged_record(file, format!("{HEADS_NAME} commit row"), "it is missing");
    let (commit, sealed) = commit_row(&table, file)?.ok_or_else(missing)?;
    if seal_of_rows(&table, file)? != sealed {
        let record = format!("{HEADS_NAME} commit row");
        return Err(StorageError::damaged_record(file, record, "the heads are not those it was written with"));
    }
    Ok(commit)
}

/// Turns a frame that is not sound into the error that names it.
pub(crate) fn bad_frame(file: &Path, record: impl Into<String>, error: FrameError) -> StorageError {
    match error {
        FrameError::Version(found) => {
            let (found, known) = (u32::from(found), u32::from(RECORD_VERSION));
            StorageError::UnknownFormat { file: file.to_owned(), found, known }
        }
        error => StorageError::damaged_record(file, record, error.to_string()),
    }
}

const COMMIT_BYTES: usize = 8 + 4 + 4;

type Rows = redb::ReadOnlyTable<&'static str, &'static [u8]>;

fn open(txn: &ReadTransaction, file: &Path) -> Result<Rows, StorageError> {
    txn.open_table(HEADS).map_err(|error| match error {
        // It is written with the store's identity, so there is no honest store without it.
        TableError::TableDoesNotExist(_) => StorageError::damaged(file, "the table of heads is missing"),
        error => StorageError::from_redb(file, "open the heads", error),
    })
}

fn head_of(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
    file: &Path,
) -> Result<Option<Head>, StorageError> {
    let row = table.get(name).map_err(|e| StorageError::from_redb(file, "read a head", e))?;
    let Some(row) = row else { return Ok(None) };
    let record = || format!("{HEADS_NAME} '{name}'");
    let frame = record::unframe(HEADS_NAME, name.as_bytes(), row.value()).map_err(|e| bad_frame(file, record(), e))?;
    let head = Head::decode(frame.payload);
    head.map(Some).ok_or_else(|| StorageError::damaged_record(file, record(), "it is no head"))
}

fn commit_of(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    file: &Path,
) -> Result<Option<Commit>, StorageError> {
    Ok(commit_row(table, file)?.map(|(commit, _)| commit))
}

/// The commit, and the checksum of the heads that it was written with.
fn commit_row(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    file: &Path,
) -> Result<Option<(Commit, u32)>, StorageError> {
    let row = table.get(COMMIT_ROW).map_err(|e| StorageError::from_redb(file, "read the commit row", e))?;
    let Some(row) = row else { return Ok(None) };
    let record = || format!("{HEADS_NAME} commit row");
    let frame =
        record::unframe(HEADS_NAME, COMMIT_ROW.as_bytes(), row.value()).map_err(|e| bad_frame(file, record(), e))?;
    let payload: &[u8; COMMIT_BYTES] =
        frame.payload.try_into().map_err(|_| StorageError::damaged_record(file, record(), "it has another length"))?;
    let (number, rest) = payload.split_at(8);
    let number = number.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let rows = rest[4..].iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    Ok(Some((Commit { number, seal: frame.checksum }, rows)))
}

fn seal_of_rows(table: &impl ReadableTable<&'static str, &'static [u8]>, file: &Path) -> Result<u32, StorageError> {
    let wrong = |e| StorageError::from_redb(file, "read the heads", e);
    let mut hasher = crc32fast::Hasher::new();
    for row in table.iter().map_err(wrong)? {
        let (name, bytes) = row.map_err(wrong)?;
        if name.value() == COMMIT_ROW {
            continue;
        }
        for part in [name.value().as_bytes(), bytes.value()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(hasher.finalize())
}
