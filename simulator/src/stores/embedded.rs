//! The embedded store under the world.

use handfast_common::ids::{ContentHash, Key, StoreId, Xid};
use handfast_common::messages::{AskValues, ValuePage};
use handfast_common::outcome::Reason;
use handfast_common::storage::{Kind as Role, StorageError, Store};
use handfast_participant::kv::engine::Ended;
use handfast_participant::kv::inline::{InlineStore, Written};
use handfast_participant::kv::record::Item;
use handfast_participant::protocol::{Line, Prepared, Recovered};
use handfast_participant::resource::Work;
use uuid::Uuid;

use super::{Ground, SteppedStore, Stores};
use crate::disk::Disk;
use crate::matrix::Step;
use crate::world::{STORE, new_store};

/// Embedded stores, each in one redb file.
#[derive(Clone, Copy, Default, Debug)]
pub struct Embedded;

impl Stores for Embedded {
    fn disk(&mut self, participant: usize) -> Disk {
        new_store(Role::Participant, &format!("p{participant}"), Uuid::from_u128(0x50 + participant as u128))
    }

    fn open(&mut self, ground: Ground) -> Result<Box<dyn SteppedStore>, StorageError> {
        let (disk, name) = (ground.disk.clone(), ground.name.as_str());
        let store = Store::open_over(disk.clone(), Some(disk.hint()), name, (Role::Participant, name), STORE)?;
        let store = InlineStore::open(store, ground.space()?, ground.incarnation)?;
        Ok(Box::new(Open { store, written: None }))
    }
}

struct Open {
    store: InlineStore,
    /// A batch that is on disk, and of which nobody has heard.
    written: Option<Written>,
}

impl SteppedStore for Open {
    fn identity(&self) -> StoreId {
        self.store.identity()
    }

    fn recovered(&self) -> Recovered {
        self.store.recovered().clone()
    }

    fn sequence(&self) -> u64 {
        self.store.sequence()
    }

    fn execute(&mut self, work: Work) -> Result<(), StorageError> {
        self.store.execute(&work)
    }

    fn prepare(&mut self, work: Work, record: Prepared) -> Result<(), StorageError> {
        self.store.prepare(&work, record)
    }

    fn commit_one_phase(&mut self, work: Work, key: Key, hash: ContentHash) -> Result<(), StorageError> {
        self.store.commit_one_phase(&work, key, hash)
    }

    fn cancel(&mut self, xid: Xid, reason: Reason) -> Result<(), StorageError> {
        self.store.cancel(xid, reason)
    }

    fn commit(&mut self, xid: Xid) -> Result<(), StorageError> {
        self.store.commit(xid)
    }

    fn abort(&mut self, xid: Xid) -> Result<(), StorageError> {
        self.store.abort(xid)
    }

    fn release(&mut self, xid: Xid) -> Result<(), StorageError> {
        self.store.release(xid)
    }

    fn force(&mut self, line: Line) -> Result<u64, StorageError> {
        Ok(self.store.force(line))
    }

    fn note(&mut self, line: Line) -> Result<(), StorageError> {
        self.store.note(line);
        Ok(())
    }

    fn queued(&self) -> (usize, bool) {
        self.store.queued()
    }

    fn queued_steps(&self) -> Vec<Step> {
        let step = |item: &Item| match item {
            Item::Prepare { .. } => Step::Kv2,
            Item::Apply { .. } | Item::Forget { .. } => Step::Kv5,
            Item::Line(_) => Step::Kv7,
        };
        self.store.queued_items().map(step).collect()
    }

    fn write_batch(&mut self) -> Result<(), StorageError> {
        self.written = self.store.write_batch()?;
        Ok(())
    }

    fn report(&mut self) -> Result<(), StorageError> {
        match self.written.take() {
            Some(written) => self.store.report(written),
            None => Ok(()),
        }
    }

    fn take_ended(&mut self) -> Vec<Ended> {
        self.store.take_ended()
    }

    fn values(&self, question: &AskValues) -> Result<ValuePage, String> {
        self.store.values(question).map_err(|error| error.to_string())
    }

    fn new_work(&self) -> Vec<Xid> {
        let new = |item: &Item| match item {
            Item::Prepare { xid, .. } | Item::Apply { xid, prepared: false, .. } => Some(*xid),
            Item::Apply { .. } | Item::Forget { .. } | Item::Line(_) => None,
        };
        self.store.queued_items().filter_map(new).collect()
    }

    fn younger_waiter(&self) -> Option<(Xid, &str)> {
        self.store.younger_waiter()
    }
}
