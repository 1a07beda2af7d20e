//! The embedded store without a thread, a channel or a clock: engine and writer, driven by hand.
//!
//! For simulators: whoever drives it says when a batch is written and when the engine hears of it, so a crash can be put
//! between any two of its steps. What it writes and reads is what [`KvStore`](super::KvStore) writes and reads.

use std::sync::Arc;

use handfast_common::ids::{ContentHash, Incarnation, Key, StoreId, Xid};
use handfast_common::messages::{AskValues, ValuePage};
use handfast_common::outcome::Reason;
use handfast_common::storage::{BatchWriter, Space, StorageError, Store, Urgency};

use super::Opened;
use super::engine::{Ended, Engine, Output};
use super::record::Item;
use super::store::{Receipt, Writer};
use super::view::Snapshot;
use crate::protocol::{Line, Prepared, Recovered};
use crate::resource::Work;

/// An open store. After any error it must be dropped: nobody may be answered from it any more.
pub struct InlineStore {
    engine: Engine<Snapshot>,
    writer: Writer,
    queued: Vec<(u64, Item)>,
    /// Whether somebody waits for one of them.
    forced: bool,
    ended: Vec<Ended>,
    outputs: Vec<Output>,
    sequence: u64,
    recovered: Recovered,
    identity: StoreId,
}

/// A batch that is on disk, and of which the engine has not heard.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub struct Written(Receipt);

impl std::fmt::Debug for InlineStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InlineStore").field("identity", &self.identity).field("queued", &self.queued).finish()
    }
}

impl InlineStore {
    /// As [`KvStore::over`](super::KvStore::over): when this returns, every lock of every branch in doubt is held again
    /// and the incarnation is on disk.
    ///
    /// # Errors
    /// Every [`StorageError`].
    pub fn open(store: Store, space: Arc<Space>, incarnation: Incarnation) -> Result<Self, StorageError> {
        let Opened { engine, writer, recovered, identity, sequence } = Opened::begin(store, space, incarnation)?;
        Ok(Self {
            engine,
            writer,
            queued: Vec::new(),
            forced: false,
            ended: Vec::new(),
            outputs: Vec::new(),
            sequence,
            recovered,
            identity,
        })
    }

    /// Drawn when the store was made.
    #[must_use]
    pub fn identity(&self) -> StoreId {
        self.identity
    }

    /// All that was found when it was opened.
    #[must_use]
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// The highest store sequence that the engine has heard of as forced.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// As the engine's.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn execute(&mut self, work: &Work) -> Result<(), StorageError> {
        self.engine.execute(work)?;
        self.take_outputs();
        Ok(())
    }

    /// As the engine's.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn prepare(&mut self, work: &Work, record: Prepared) -> Result<(), StorageError> {
        self.engine.prepare(work, record)?;
        self.take_outputs();
        Ok(())
    }

    /// As the engine's.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn commit_one_phase(&mut self, work: &Work, key: Key, hash: ContentHash) -> Result<(), StorageError> {
        self.engine.commit_one_phase(work, key, hash)?;
        self.take_outputs();
        Ok(())
    }

    /// As the engine's.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn cancel(&mut self, xid: Xid, reason: Reason) -> Result<(), StorageError> {
        self.engine.cancel(xid, reason)?;
        self.take_outputs();
        Ok(())
    }

    /// As the engine's.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn commit(&mut self, xid: Xid) -> Result<(), StorageError> {
        self.engine.commit(xid)?;
        self.take_outputs();
        Ok(())
    }

    /// As the engine's.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn abort(&mut self, xid: Xid) -> Result<(), StorageError> {
        self.engine.abort(xid)?;
        self.take_outputs();
        Ok(())
    }

    /// As the engine's.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn release(&mut self, xid: Xid) -> Result<(), StorageError> {
        self.engine.release(xid)?;
        self.take_outputs();
        Ok(())
    }

    /// Forces a coordinator's line; ends with [`Ended::Force`] of the number returned.
    pub fn force(&mut self, line: Line) -> u64 {
        let number = self.engine.force(line);
        self.take_outputs();
        number
    }

    /// Writes a coordinator's line with the next batch.
    pub fn note(&mut self, line: Line) {
        self.engine.note(line);
        self.take_outputs();
    }

    /// What waits for the disk: how many items, and whether somebody waits for one of them.
    #[must_use]
    pub fn queued(&self) -> (usize, bool) {
        (self.queued.len(), self.forced)
    }

    /// What waits for the disk, in order.
    pub fn queued_items(&self) -> impl Iterator<Item = &Item> {
        self.queued.iter().map(|(_, item)| item)
    }

    /// Writes all that is queued as one batch, on disk when it returns. The engine hears of it by [`Self::report`].
    ///
    /// # Errors
    /// Any: nothing is known of the batch then.
    pub fn write_batch(&mut self) -> Result<Option<Written>, StorageError> {
        if self.queued.is_empty() {
            return Ok(None);
        }
        self.forced = false;
        self.writer.write(std::mem::take(&mut self.queued)).map(|receipt| Some(Written(receipt)))
    }

    /// The engine hears of a batch, and goes on.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn report(&mut self, written: Written) -> Result<(), StorageError> {
        self.sequence = written.0.sequence;
        self.engine.durable(written.0.through)?;
        self.take_outputs();
        Ok(())
    }

    /// What has ended since the last time, in order.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Somebody who waits for one that is not younger, and the key: for oracles.
    #[must_use]
    pub fn younger_waiter(&self) -> Option<(Xid, &str)> {
        self.engine.younger_waiter()
    }

    /// Last committed values.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn values(&self, question: &AskValues) -> Result<ValuePage, StorageError> {
        self.engine.values(question)
    }

    fn take_outputs(&mut self) {
        self.engine.take_outputs(&mut self.outputs);
        for output in self.outputs.drain(..) {
            match output {
                Output::Log { number, item, urgency } => {
                    self.queued.push((number, item));
                    self.forced |= urgency == Urgency::Force;
                }
                Output::Ended(ended) => self.ended.push(ended),
            }
        }
    }
}
