//! The decision log on one redb file.

use uuid::Uuid;

use handfast_common::codec;
use handfast_common::failpoints;
use handfast_common::ids::{LogId, RecordNumber};
use handfast_common::mutants::{self, Mutant};
use handfast_common::storage::{CommitMode, Folder, Journal, Options, StorageError, Store};

use super::{DecisionLog, Entry, Recovered};
use crate::protocol::{Numbered, Record};

/// Name of the file, and of the journal in it.
const STORE: &str = "coordinator";
const JOURNAL: &str = "decisions";

/// How the log is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOptions {
    /// How commits reach the disk.
    pub commit: CommitMode,
    /// Bytes of redb's page cache.
    pub cache_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { commit: CommitMode::TwoPhase, cache_bytes: Options::DEFAULTS.cache_bytes }
    }
}

/// A [`DecisionLog`] on redb: each record is a row of a journal, framed with its transaction and a checksum.
#[derive(Debug)]
pub struct RedbLog {
    pub(super) store: Store,
    pub(super) journal: Journal,
}

impl RedbLog {
    /// Opens the log of a locked folder; makes it, with `identity`, if there is none.
    ///
    /// # Errors
    /// When it is damaged, of another kind or name, or the disk fails.
    pub fn open(folder: &Folder, options: LogOptions, identity: impl FnOnce() -> Uuid) -> Result<Self, StorageError> {
        let options = Options { commit: options.commit, cache_bytes: options.cache_bytes, ..Options::DEFAULTS };
        Ok(Self::over(Store::open(folder, STORE, options, identity)?))
    }

    /// The log in a store that is open already: on a simulated disk, say.
    #[must_use]
    pub fn over(store: Store) -> Self {
        let journal = store.journal(JOURNAL);
        Self { store, journal }
    }

    fn decode(&self, number: u64, txn: Uuid, payload: &[u8]) -> Result<Numbered, StorageError> {
        let damaged = |why: String| StorageError::damaged_record(self.store.file(), format!("decision {number}"), why);
        let record: Record = codec::decode(payload).map_err(|error| damaged(error.to_string()))?;
        if txn_of(&record) != txn {
            return Err(damaged(format!("its frame names transaction {txn}, its content does not")));
        }
        Ok((RecordNumber(number), record))
    }
}

/// Where a process under test may end around the write of a batch.
struct Points([bool; KINDS.len()]);

/// Whether a record is of a kind, and the points before its write, before its commit, and behind it.
type Kind = (fn(&Record) -> bool, [&'static str; 3]);

/// What a batch may hold.
const KINDS: [Kind; 6] = [
    (|record| matches!(record, Record::Commit(_)), ["co5.before_begin_write", "co5.before_commit", "co5.after_commit"]),
    (|record| matches!(record, Record::End { .. }), ["co9.before_end", "co9.before_end_commit", "co9.after_end"]),
    (|record| matches!(record, Record::Floor { .. }), ["co9.before_trim", "co9.before_trim_commit", "co9.after_trim"]),
    (
        |record| matches!(record, Record::OnePhase(_)),
        ["co12.before_outcome", "co12.before_outcome_commit", "co12.after_outcome"],
    ),
    (
        |record| matches!(record, Record::Epoch { .. }),
        ["co1.before_epoch", "co1.before_epoch_commit", "co1.after_epoch"],
    ),
    (
        |record| matches!(record, Record::Participant(_)),
        ["co2.before_registration", "co2.before_registration_commit", "co2.after_registration"],
    ),
];

impl Points {
    fn of(batch: &[Entry]) -> Self {
        let holds = |(wanted, _): (fn(&Record) -> bool, _)| {
            failpoints::ENABLED && batch.iter().any(|entry| wanted(&entry.record))
        };
        Self(KINDS.map(holds))
    }

    fn reach(&self, place: usize) {
        for ((_, points), _) in KINDS.iter().zip(self.0).filter(|(_, holds)| *holds) {
            failpoints::reach(points[place]);
        }
    }
}

fn txn_of(record: &Record) -> Uuid {
    record.txn().map_or(Uuid::nil(), |txn| txn.0)
}

impl DecisionLog for RedbLog {
    fn write(&mut self, batch: &[Entry]) -> Result<(), StorageError> {
        let mut puts = Vec::with_capacity(batch.len());
        let mut deletes = Vec::new();
        for entry in batch {
            let payload = codec::encode(&entry.record).map_err(|error| {
                let record = format!("decision {}", entry.number.0);
                StorageError::damaged_record(self.store.file(), record, format!("can't be encoded: {error}"))
            })?;
            puts.push((entry.number.0, txn_of(&entry.record), payload));
            deletes.extend(entry.erase.iter().map(|number| number.0));
        }
        let points = Points::of(batch);
        points.reach(0);
        let written = self.store.write(|txn| {
            let appended = self.journal.append(txn, &puts, &deletes);
            points.reach(1);
            appended
        });
        if written.is_ok() {
            points.reach(2);
        }
        if mutants::is(Mutant::GoesOnAfterAnError) { Ok(()) } else { written.map(drop) }
    }

    fn read_all(&mut self) -> Result<Recovered, StorageError> {
        let (entries, head) = self.store.read(|txn| Ok((self.journal.scan(txn)?, self.journal.head(txn)?)))?;
        let records: Result<Vec<Numbered>, StorageError> =
            entries.into_iter().map(|entry| self.decode(entry.key, entry.txn, &entry.payload)).collect();
        Ok(Recovered { log: LogId(self.store.identity()), records: records?, last_number: RecordNumber(head.last_key) })
    }
}
