//! The decision log: what the machine hands over, on disk, in order.
//!
//! [`DecisionLog`] is what any log must do, [`conformance`] the suite that shows it does, [`RedbLog`] the one in use,
//! [`LogWorker`] the thread that writes whatever has queued up as one batch.

pub mod conformance;
mod redb_log;
mod worker;

#[cfg(test)]
mod tests;

pub use redb_log::{LogOptions, RedbLog};
pub use worker::LogWorker;

use handfast_common::ids::{LogId, RecordNumber};
use handfast_common::storage::StorageError;

use crate::protocol::{Numbered, Record};

/// One write: a record, and what it makes superfluous. Both or neither.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number; grows from entry to entry.
    pub number: RecordNumber,
    /// The record.
    pub record: Record,
    /// Records erased in the same write.
    pub erase: Vec<RecordNumber>,
}

/// What was found when the log was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The log's identity, for ever.
    pub log: LogId,
    /// All records, in order of number.
    pub records: Vec<Numbered>,
    /// The highest number ever used, also by records erased since.
    pub last_number: RecordNumber,
}

/// A log that keeps what it says it keeps.
///
/// - `write` returns Ok only when all of the batch is on disk. A batch is atomic.
/// - After an error nothing is known about the batch: the log must not be used again, and the process stops. It never
///   guesses.
/// - What is read back is exactly what was written and not erased; anything else is [`StorageError::Damaged`].
pub trait DecisionLog: Send + 'static {
    /// Writes a batch and waits until it is on disk.
    ///
    /// # Errors
    /// Whatever the disk said; see above.
    fn write(&mut self, batch: &[Entry]) -> Result<(), StorageError>;

    /// Reads everything, verifying all of it.
    ///
    /// # Errors
    /// When anything is missing or damaged.
    fn read_all(&mut self) -> Result<Recovered, StorageError>;
}
