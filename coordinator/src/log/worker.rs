//! The thread that writes the log: whatever has queued up is one batch.

use std::sync::Arc;

use handfast_common::ids::RecordNumber;
use handfast_common::storage::StorageError;
use handfast_common::storage::worker::{BatchWriter, Caps, Counters, Submitter, Urgency, Worker};

use super::{DecisionLog, Entry};

/// Rough size of an entry beside its reads: what batches are bounded by need not be exact.
const ENTRY_BYTES: usize = 256;

/// The queue is not capped, like the participant's: the machine counts on every entry it hands over, and one that was
/// given back would be missed later, when it is erased. What can be queued is bounded where transactions begin.
const CAPS: Caps = Caps { queued_items: usize::MAX, ..Caps::DEFAULTS };

/// A running log. Dropping it writes what is queued and ends the thread.
pub struct LogWorker {
    submitter: Submitter<Entry>,
    /// Kept for its drop.
    _worker: Arc<dyn Send + Sync>,
}

impl std::fmt::Debug for LogWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWorker").finish_non_exhaustive()
    }
}

impl LogWorker {
    /// Starts the thread. `on_forced` is told the last number of each batch that is on disk; `on_fatal` the first
    /// error, after which nothing is ever written or told again.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn<L: DecisionLog>(
        log: L,
        on_forced: impl FnMut(RecordNumber) + Send + 'static,
        on_fatal: impl FnOnce(StorageError) + Send + 'static,
    ) -> Result<Self, StorageError> {
        let worker = Worker::spawn("decision-log", Writer(log), CAPS, on_forced, on_fatal)?;
        Ok(Self { submitter: worker.submitter(), _worker: Arc::new(std::sync::Mutex::new(worker)) })
    }

    /// Hands an entry over. With `force` somebody waits for it; without, it rides with the next batch. Order is kept.
    ///
    /// An entry that is not taken (the thread has ended: its error has been told) is lost, and never reported forced.
    pub fn append(&self, entry: Entry, force: bool) {
        let urgency = if force { Urgency::Force } else { Urgency::Ride };
        if let Err(refused) = self.submitter.submit(entry, urgency) {
            tracing::error!(%refused, "a record was not taken by the log; nothing that depends on it will be said");
        }
    }

    /// What has been written so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.submitter.counters()
    }
}

struct Writer<L>(L);

impl<L: DecisionLog> BatchWriter for Writer<L> {
    type Item = Entry;
    type Receipt = RecordNumber;

    fn write(&mut self, items: Vec<Entry>) -> Result<RecordNumber, StorageError> {
        self.0.write(&items)?;
        Ok(items.last().map(|entry| entry.number).unwrap_or_default())
    }

    fn bytes(entry: &Entry) -> usize {
        ENTRY_BYTES + entry.record.reads_bytes()
    }
}
