//! Stores under the world: the embedded one, or one's own.
//!
//! The world drives a store step by step, and kills it between any two of them. [`SteppedStore`] is what it asks of an open
//! store, [`Stores`] is how it gets one at each start of a participant. [`Embedded`] is the embedded store; [`polled`] makes
//! one of anything that implements [`ResourceManager`](handfast_participant::resource::ResourceManager) and
//! [`ParticipantLog`](handfast_participant::resource::ParticipantLog). docs/simulate.md shows how to begin.

mod embedded;
mod ground;
mod polled;

use std::fmt;

use handfast_common::ids::{ContentHash, Key, StoreId, Xid};
use handfast_common::messages::{AskValues, ValuePage};
use handfast_common::outcome::Reason;
use handfast_common::storage::StorageError;
use handfast_participant::kv::engine::Ended;
use handfast_participant::protocol::{Line, Prepared, Recovered};
use handfast_participant::resource::Work;

use crate::disk::Disk;
use crate::matrix::Step;

pub use embedded::Embedded;
pub use ground::{Ground, Turn};
pub(crate) use ground::{RESERVE, ROOM};
pub use polled::{Polled, PolledStores, polled};

/// Where the stores of one world come from.
///
/// All that a store keeps stands on the disk that it is given, or in something that belongs to this value: a world gets
/// one of its own, so nothing of one run is seen in the next.
pub trait Stores {
    /// The disk of a participant before its first start: an empty one, unless a store was made on it before.
    fn disk(&mut self, participant: usize) -> Disk {
        let _ = participant;
        Disk::default()
    }

    /// Opens a participant's store, as each start does, and makes it if there is none. The one before is gone. When this
    /// returns, every lock of every branch in doubt is held again and the incarnation is on disk.
    ///
    /// # Errors
    /// Any: the process does not start. Unless something happened to its disk, that is a finding.
    fn open(&mut self, ground: Ground) -> Result<Box<dyn SteppedStore>, StorageError>;

    /// The process of a participant is gone, and its store was dropped; with `power`, so is what was not synced. The disk
    /// knows this by itself: it is for those who keep something elsewhere.
    fn crashed(&mut self, participant: usize, power: bool) {
        let _ = (participant, power);
    }
}

/// An open store, driven by hand. It is dropped when its process dies, and after any error.
///
/// What is begun ends when [`Self::take_ended`] says so, at once or after a batch was written: the rules are those of
/// [`ResourceManager`](handfast_participant::resource::ResourceManager). What waits for the disk is written by
/// [`Self::write_batch`], and whoever waits for it hears of it by [`Self::report`]: between the two the process may die.
pub trait SteppedStore {
    /// Drawn when the store was made, and kept for ever.
    fn identity(&self) -> StoreId;

    /// All that was found when it was opened.
    fn recovered(&self) -> Recovered;

    /// The highest store sequence that is forced, and may be told.
    fn sequence(&self) -> u64;

    /// Begins an operation of an open branch; ends with [`Ended::Execute`].
    ///
    /// # Errors
    /// Those of the disk.
    fn execute(&mut self, work: Work) -> Result<(), StorageError>;

    /// Begins to prepare; ends with [`Ended::Prepare`].
    ///
    /// # Errors
    /// Those of the disk.
    fn prepare(&mut self, work: Work, record: Prepared) -> Result<(), StorageError>;

    /// Begins to commit in one phase; ends with [`Ended::OnePhase`].
    ///
    /// # Errors
    /// Those of the disk.
    fn commit_one_phase(&mut self, work: Work, key: Key, hash: ContentHash) -> Result<(), StorageError>;

    /// Work that waits ends with this reason.
    ///
    /// # Errors
    /// Those of the disk.
    fn cancel(&mut self, xid: Xid, reason: Reason) -> Result<(), StorageError>;

    /// Begins to commit a prepared branch; ends with [`Ended::Commit`].
    ///
    /// # Errors
    /// Those of the disk.
    fn commit(&mut self, xid: Xid) -> Result<(), StorageError>;

    /// Begins to undo a branch; ends with [`Ended::Abort`].
    ///
    /// # Errors
    /// Those of the disk.
    fn abort(&mut self, xid: Xid) -> Result<(), StorageError>;

    /// Lets go of what a branch holds that only read.
    ///
    /// # Errors
    /// Those of the disk.
    fn release(&mut self, xid: Xid) -> Result<(), StorageError>;

    /// Begins to force a coordinator's line; ends with [`Ended::Force`] of the number returned.
    ///
    /// # Errors
    /// Those of the disk.
    fn force(&mut self, line: Line) -> Result<u64, StorageError>;

    /// Writes a coordinator's line with the next batch.
    ///
    /// # Errors
    /// Those of the disk.
    fn note(&mut self, line: Line) -> Result<(), StorageError>;

    /// How much waits for the disk, and whether somebody waits for any of it.
    fn queued(&self) -> (usize, bool);

    /// The steps of the matrix that belong to what waits for the disk.
    fn queued_steps(&self) -> Vec<Step>;

    /// Writes all that waits, on disk when it returns.
    ///
    /// # Errors
    /// Any: nothing is known of the batch then.
    fn write_batch(&mut self) -> Result<(), StorageError>;

    /// Whoever waited for the last batch hears that it is on disk.
    ///
    /// # Errors
    /// Those of the disk.
    fn report(&mut self) -> Result<(), StorageError>;

    /// What has ended since the last time, in order.
    fn take_ended(&mut self) -> Vec<Ended>;

    /// Last committed values, by keys as clients know them.
    ///
    /// # Errors
    /// One line, when they can't be told.
    fn values(&self, question: &AskValues) -> Result<ValuePage, String>;

    /// New work that waits for the disk: a store that refuses it while there is no room is held to that.
    fn new_work(&self) -> Vec<Xid> {
        Vec::new()
    }

    /// Somebody who waits for one that is not younger, and the key: a store that locks by wait-die is held to that.
    fn younger_waiter(&self) -> Option<(Xid, &str)> {
        None
    }
}

impl fmt::Debug for dyn SteppedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteppedStore").field("identity", &self.identity()).field("queued", &self.queued()).finish()
    }
}

impl fmt::Debug for dyn Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stores")
    }
}
