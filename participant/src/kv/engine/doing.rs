//! From work to vote: taking locks, carrying out the operations, and handing what came of it to the log.

use std::sync::Arc;

use handfast_common::ids::{Age, ContentHash, Key, Xid};
use handfast_common::messages::OnePhaseResult;
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};
use handfast_common::storage::{StorageError, Urgency};

use super::branch::{Branch, Ending, Handed, Then, Voted, Waiting, lost, refusal};
use super::open::disk_full;
use super::{Ended, Engine, View};
use crate::kv::locks::{Acquired, Woken};
use crate::kv::record::{Held, Item, PrepareRecord, Write, encode_done};
use crate::kv::work::{Executed, Stopped, decode_operations, execute, locks_of};
use crate::protocol::{Done, OnePhaseDone, Prepared};
use crate::resource::Work;

impl<V: View> Engine<V> {
    /// Does the work and prepares it; ends with [`Ended::Prepare`]. Asked again it ends with the same vote; that it is
    /// the same work the protocol has made sure of. Work that was executed before must be here, all of it at rest.
    ///
    /// # Errors
    /// Those of the [`View`].
    ///
    /// # Panics
    /// When the transaction commits here in one phase: any answer would be wrong.
    pub fn prepare(&mut self, work: &Work, record: Prepared) -> Result<(), StorageError> {
        let xid = work.xid;
        let vote = match self.branches.get(&xid) {
            Some(Branch::Open(_)) => return self.close(work, Then::Prepare(record)),
            Some(Branch::Waiting(waiting)) => match waiting.then {
                Then::Execute(_) => return self.close(work, Then::Prepare(record)),
                Then::Prepare(_) => return Ok(()),
                Then::OnePhase(..) => panic!("{xid:?} is told to prepare while it commits in one phase"),
            },
            Some(Branch::Preparing(_)) => return Ok(()),
            Some(Branch::Prepared(voted)) => Vote::Yes(voted.reads.clone()),
            Some(Branch::ReadOnly(reads)) => Vote::ReadOnly(reads.clone()),
            Some(Branch::OnePhase(_)) => panic!("{xid:?} is told to prepare while it commits in one phase"),
            None if self.has_ended(xid) => Vote::No(lost("the branch has ended here")),
            None => return self.begin(work, Then::Prepare(record)),
        };
        self.end(Ended::Prepare(xid, vote));
        Ok(())
    }

    /// Does the work and commits it; ends with [`Ended::OnePhase`]. Done already, it ends with what was done.
    ///
    /// # Errors
    /// Those of the [`View`].
    ///
    /// # Panics
    /// When the transaction is prepared here, or was: any answer would be wrong.
    pub fn commit_one_phase(&mut self, work: &Work, key: Key, hash: ContentHash) -> Result<(), StorageError> {
        let xid = work.xid;
        if let Some(marker) = self.done.get(&xid).filter(|_| !mutants::is(Mutant::WorkRunsAgain)) {
            let done = marker.one_phase.as_ref();
            let reads = done.expect("what committed in two phases is not told to commit in one").reads.clone();
            self.end(Ended::OnePhase(xid, OnePhaseResult::Committed(reads)));
            return Ok(());
        }
        match self.branches.get(&xid) {
            Some(Branch::Open(_)) => self.close(work, Then::OnePhase(key, hash)),
            Some(Branch::Waiting(waiting)) => match waiting.then {
                Then::Execute(_) => self.close(work, Then::OnePhase(key, hash)),
                Then::OnePhase(..) => Ok(()),
                Then::Prepare(_) => panic!("{xid:?} is told to commit in one phase while it prepares"),
            },
            Some(Branch::OnePhase(_)) => Ok(()),
            Some(Branch::Preparing(_) | Branch::Prepared(_) | Branch::ReadOnly(_)) => {
                panic!("{xid:?} is told to commit in one phase after it has voted")
            }
            None if self.has_ended(xid) => {
                self.end(Ended::OnePhase(xid, self.ended_in_one_phase(xid)));
                Ok(())
            }
            None => self.begin(work, Then::OnePhase(key, hash)),
        }
    }

    fn begin(&mut self, work: &Work, then: Then) -> Result<(), StorageError> {
        let xid = work.xid;
        let nothing = || lost("no work of the branch is here");
        match work.payload.as_ref().ok_or_else(nothing).and_then(decode_operations) {
            Ok(operations) => {
                let locks = locks_of(&operations).into_iter().map(|(key, mode)| (key.to_owned(), mode)).collect();
                let waiting = Waiting { age: work.age, operations, locks, held: 0, then };
                self.proceed(xid, Box::new(waiting))?;
            }
            Err(reason) => self.refuse(xid, &then, reason),
        }
        self.settle()
    }

    /// Takes locks as far as they come, in the order of their keys, and does the work when it has all.
    pub(super) fn proceed(&mut self, xid: Xid, mut waiting: Box<Waiting>) -> Result<(), StorageError> {
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
        let Waiting { age, operations, locks, then, .. } = *waiting;
        let own = |key: &str| match &then {
            Then::Execute(open) => open.staged(key),
            Then::Prepare(_) | Then::OnePhase(..) => None,
        };
        let executed = execute(&operations, |key| match (own(key), self.applied.get(key)) {
            (Some(write), _) => Ok(write.value().cloned()),
            (None, Some((_, value))) => Ok(value.clone()),
            (None, None) => self.view.value(key),
        });
        let executed = match executed {
            Ok(executed) => Ok(executed),
            Err(Stopped::Refused(reason)) => Err(reason),
            Err(Stopped::Failed(error)) => return Err(error),
        };
        match (then, executed) {
            (Then::Execute(open), executed) => self.executed(xid, open, locks, executed),
            (then, Ok(Executed { reads, mut writes })) => {
                let held = locks.into_iter().map(|(key, mode)| {
                    let write = writes.remove(&key).map(|value| value.map_or(Write::Delete, Write::Put));
                    Held { key, mode, write }
                });
                self.vote(xid, age, held.collect(), reads, then);
            }
            (then, Err(reason)) => self.refuse(xid, &then, reason),
        }
        Ok(())
    }

    /// All work is done and all that it locked is held.
    pub(super) fn vote(&mut self, xid: Xid, age: Age, held: Vec<Held>, reads: Payload, then: Then) {
        let only_read = held.iter().all(|held| held.write.is_none());
        match then {
            Then::Execute(_) => unreachable!("{xid:?} votes over an operation"),
            Then::Prepare(_) if only_read => {
                self.branches.insert(xid, Branch::ReadOnly(reads.clone()));
                self.end(Ended::Prepare(xid, Vote::ReadOnly(reads)));
            }
            // All it holds it held at one moment, and no other branch is to come: nothing to keep, on disk or off.
            Then::OnePhase(..) if only_read => {
                self.end(Ended::OnePhase(xid, OnePhaseResult::Committed(reads)));
                self.let_go(xid);
            }
            Then::Prepare(_) | Then::OnePhase(..) if !self.has_room() => self.refuse(xid, &then, disk_full()),
            Then::Prepare(prepared) => self.hand_prepare(xid, age, prepared, held.into(), reads),
            Then::OnePhase(key, hash) => self.hand_one_phase(xid, held.into(), OnePhaseDone { key, hash, reads }),
        }
    }

    fn hand_prepare(&mut self, xid: Xid, age: Age, prepared: Prepared, held: Arc<[Held]>, reads: Payload) {
        let record = PrepareRecord { prepared: Prepared { reads, ..prepared }, age, held };
        match record.encode() {
            Ok(bytes) => {
                let voted = Voted { held: record.held, reads: record.prepared.reads };
                if mutants::is(Mutant::YesBeforeForce) {
                    self.end(Ended::Prepare(xid, Vote::Yes(voted.reads.clone())));
                }
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
                if mutants::is(Mutant::OnePhaseLetsGoEarly) {
                    self.woken.extend(self.locks.release_all(xid));
                }
            }
            Err(error) => {
                let reason = Reason::new(ReasonKind::BadWork, format!("its record is {error}"));
                self.refuse(xid, &Then::OnePhase(marker.key, marker.hash), reason);
            }
        }
    }

    pub(super) fn refuse(&mut self, xid: Xid, then: &Then, reason: Reason) {
        self.end(refusal(xid, then, reason));
        self.give_up(xid);
    }

    /// Ends a branch without effect, for good: it does not begin again.
    pub(super) fn give_up(&mut self, xid: Xid) {
        self.let_go(xid);
        self.remember(xid, Ending::Nothing);
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
