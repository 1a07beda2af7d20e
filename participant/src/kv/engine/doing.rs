//! From work to vote: taking locks, carrying out the operations, and handing what came of it to the log.

use std::sync::Arc;

use handfast_common::ids::{Age, Xid};
use handfast_common::messages::OnePhaseResult;
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};
use handfast_common::storage::{StorageError, Urgency};

use super::branch::{Branch, Handed, Then, Voted, Waiting, refusal};
use super::{Ended, Engine, View};
use crate::kv::locks::{Acquired, Woken};
use crate::kv::record::{Held, Item, PrepareRecord, Write, encode_done};
use crate::kv::work::{Executed, Stopped, decode_operations, execute, locks_of};
use crate::protocol::{Done, OnePhaseDone, Prepared};
use crate::resource::Work;

impl<V: View> Engine<V> {
    pub(super) fn begin(&mut self, work: &Work, then: Then) -> Result<(), StorageError> {
        let xid = work.xid;
        let payload = work.payload.as_ref().expect("one-shot work rides on its order");
        match decode_operations(payload) {
            Ok(operations) => {
                let locks = locks_of(&operations).into_iter().map(|(key, mode)| (key.to_owned(), mode)).collect();
                let waiting = Waiting { age: work.age, operations, locks, held: 0, then };
                self.proceed(xid, Box::new(waiting))?;
            }
            Err(reason) => self.end(refusal(xid, &then, reason)),
        }
        self.settle()
    }

    /// Takes locks as far as they come, in the order of their keys, and does the work when it has all.
    fn proceed(&mut self, xid: Xid, mut waiting: Box<Waiting>) -> Result<(), StorageError> {
        while let Some((key, mode)) = waiting.locks.get(waiting.held) {
            match self.locks.acquire(xid, waiting.age, key, *mode) {
                Acquired::Granted => waiting.held += 1,
                Acquired::Waiting => {
                    self.branches.insert(xid, Branch::Waiting(waiting));
                    return Ok(());
                }
                Acquired::Die => {
                    let reason = conflict(key);
                    self.refuse(xid, &waiting.then, reason);
                    return Ok(());
                }
            }
        }
        let (view, applied) = (&self.view, &self.applied);
        let executed = execute(&waiting.operations, |key| match applied.get(key) {
            Some((_, value)) => Ok(value.clone()),
            None => view.value(key),
        });
        match executed {
            Ok(executed) => self.vote(xid, *waiting, executed),
            Err(Stopped::Refused(reason)) => self.refuse(xid, &waiting.then, reason),
            Err(Stopped::Failed(error)) => return Err(error),
        }
        Ok(())
    }

    fn vote(&mut self, xid: Xid, waiting: Waiting, executed: Executed) {
        let Waiting { age, locks, then, .. } = waiting;
        let Executed { reads, mut writes } = executed;
        if writes.is_empty() {
            match then {
                Then::Prepare(_) => {
                    self.branches.insert(xid, Branch::ReadOnly(reads.clone()));
                    self.end(Ended::Prepare(xid, Vote::ReadOnly(reads)));
                }
                // All it holds it held at one moment, and no other branch is to come: nothing to keep, on disk or off.
                Then::OnePhase(..) => {
                    self.end(Ended::OnePhase(xid, OnePhaseResult::Committed(reads)));
                    self.let_go(xid);
                }
            }
            return;
        }
        if !self.view.has_room() {
            let reason = Reason::new(ReasonKind::DiskFull, "free space is below the reserve");
            return self.refuse(xid, &then, reason);
        }
        let held = locks.into_iter().map(|(key, mode)| {
            let write = writes.remove(&key).map(|value| value.map_or(Write::Delete, Write::Put));
            Held { key, mode, write }
        });
        let held: Arc<[Held]> = held.collect();
        match then {
            Then::Prepare(prepared) => self.hand_prepare(xid, age, prepared, held, reads),
            Then::OnePhase(key, hash) => self.hand_one_phase(xid, held, OnePhaseDone { key, hash, reads }),
        }
    }

    fn hand_prepare(&mut self, xid: Xid, age: Age, prepared: Prepared, held: Arc<[Held]>, reads: Payload) {
        let record = PrepareRecord { prepared: Prepared { reads, ..prepared }, age, held };
        match record.encode() {
            Ok(bytes) => {
                let voted = Voted { held: record.held, reads: record.prepared.reads };
                self.branches.insert(xid, Branch::Preparing(voted));
                self.hand(Item::Prepare { xid, record: bytes }, Urgency::Force, Some(Handed::Prepare(xid)));
            }
            Err(error) => {
                let reason = Reason::new(ReasonKind::BadWork, format!("its record is {error}"));
                self.refuse(xid, &Then::Prepare(record.prepared), reason);
            }
        }
    }

    fn hand_one_phase(&mut self, xid: Xid, held: Arc<[Held]>, marker: OnePhaseDone) {
        let done = Done { xid, one_phase: Some(marker) };
        let bytes = encode_done(&done);
        let Some(marker) = done.one_phase else { return };
        match bytes {
            Ok(done) => {
                self.branches.insert(xid, Branch::OnePhase(marker));
                let item = Item::Apply { xid, held, done, prepared: false };
                self.hand(item, Urgency::Force, Some(Handed::OnePhase(xid)));
            }
            Err(error) => {
                let reason = Reason::new(ReasonKind::BadWork, format!("its record is {error}"));
                self.refuse(xid, &Then::OnePhase(marker.key, marker.hash), reason);
            }
        }
    }

    fn refuse(&mut self, xid: Xid, then: &Then, reason: Reason) {
        self.end(refusal(xid, then, reason));
        self.let_go(xid);
    }

    /// Ends a branch here: locks go, and those who waited for them are looked at by [`Self::settle`].
    pub(super) fn let_go(&mut self, xid: Xid) {
        self.branches.remove(&xid);
        self.woken.extend(self.locks.release_all(xid));
    }

    /// Goes on with all whose waiting has ended, until nobody's has.
    pub(super) fn settle(&mut self) -> Result<(), StorageError> {
        while let Some(Woken { xid, granted }) = self.woken.pop_front() {
            let Some(Branch::Waiting(mut waiting)) = self.branches.remove(&xid) else {
                unreachable!("{xid:?} waited for a lock and is not waiting");
            };
            if granted {
                waiting.held += 1;
                self.proceed(xid, waiting)?;
            } else {
                let reason = conflict(&waiting.locks[waiting.held].0);
                self.refuse(xid, &waiting.then, reason);
            }
        }
        Ok(())
    }
}

fn conflict(key: &str) -> Reason {
    Reason::new(ReasonKind::Conflict, format!("an older transaction has '{key}'"))
}
