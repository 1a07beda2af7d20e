//! Open branches of interactive transactions: operations come one after another, and their vote is over all of them.
//!
//! What an operation locks stays locked to the end of the branch, also where the operation came to nothing: it was told
//! what it saw. What it writes stands in the branch alone. So the record of its prepare can name every lock and every
//! write as if all of it had been done at once.

use std::collections::BTreeMap;

use handfast_common::ids::{Age, Xid};
use handfast_common::limits::{MAX_OPERATIONS, MAX_TRANSACTION_BYTES};
use handfast_common::messages::OnePhaseResult;
use handfast_common::operation::{Operation, Value};
use handfast_common::outcome::{Payload, Reason, ReasonKind};
use handfast_common::storage::StorageError;

use super::branch::{Branch, Ending, Then, Waiting, lost, refusal};
use super::{Ended, Engine, View};
use crate::kv::locks::Mode;
use crate::kv::record::{Held, Write};
use crate::kv::work::{Executed, bytes_of, decode_operations, locks_of};
use crate::resource::{Execution, Work};

/// What a branch holds and would write, so far.
#[derive(Debug)]
pub(super) struct Open {
    age: Age,
    keys: BTreeMap<String, Staged>,
    /// Of all keys, and of all values that would be written.
    bytes: usize,
}

#[derive(Debug)]
struct Staged {
    mode: Mode,
    write: Option<Write>,
}

impl<V: View> Engine<V> {
    /// Carries out operations as one: all of them or none. The first of a transaction opens its branch, whatever comes of
    /// it. Ends with [`Ended::Execute`].
    ///
    /// # Errors
    /// Those of the [`View`].
    ///
    /// # Panics
    /// When an operation of the branch still waits: it could not be told whose answer is whose.
    pub fn execute(&mut self, work: &Work) -> Result<(), StorageError> {
        let xid = work.xid;
        let open = match self.branches.remove(&xid) {
            Some(Branch::Open(open)) => open,
            Some(Branch::Waiting(waiting)) if matches!(waiting.then, Then::Execute(_)) => {
                panic!("{xid:?} is told to execute while it does")
            }
            Some(voted) => {
                self.branches.insert(xid, voted);
                self.end(Ended::Execute(xid, Execution::Doomed(lost("the branch has been asked for its vote"))));
                return Ok(());
            }
            None if self.has_ended(xid) => {
                self.end(Ended::Execute(xid, Execution::Doomed(lost("the branch has ended here"))));
                return Ok(());
            }
            None => Open { age: work.age, keys: BTreeMap::new(), bytes: 0 },
        };
        let payload = work.payload.as_ref().expect("an operation carries what to do");
        let wanted = decode_operations(payload).and_then(|operations| Ok((open.wants(&operations)?, operations)));
        match wanted {
            Ok((locks, operations)) => {
                let (age, then) = (open.age, Then::Execute(open));
                self.proceed(xid, Box::new(Waiting { age, operations, locks, held: 0, then }))?;
            }
            Err(reason) => self.stay_open(xid, open, Execution::Failed(reason)),
        }
        self.settle()
    }

    /// Operations of an open branch have all their locks and came to something.
    pub(super) fn executed(
        &mut self,
        xid: Xid,
        mut open: Open,
        locks: Vec<(String, Mode)>,
        executed: Result<Executed, Reason>,
    ) {
        open.hold(locks);
        let execution = match executed {
            // Here and not only at the vote: what can't be prepared need not be waited for.
            Ok(Executed { writes, .. }) if !writes.is_empty() && !self.has_room() => {
                return self.refuse(xid, &Then::Execute(open), disk_full());
            }
            Ok(Executed { reads, writes }) => {
                open.stage(writes).map_or_else(Execution::Failed, |()| Execution::Done(reads))
            }
            Err(reason) => Execution::Failed(reason),
        };
        self.stay_open(xid, open, execution);
    }

    fn stay_open(&mut self, xid: Xid, open: Open, execution: Execution) {
        self.branches.insert(xid, Branch::Open(open));
        self.end(Ended::Execute(xid, execution));
    }

    /// The vote, or the commit in one phase, of a branch that is open here.
    pub(super) fn close(&mut self, work: &Work, then: Then) -> Result<(), StorageError> {
        let xid = work.xid;
        match self.branches.remove(&xid) {
            Some(Branch::Open(open)) if work.payload.is_none() => {
                let only_read = open.keys.values().all(|staged| staged.write.is_none());
                if only_read && matches!(then, Then::OnePhase(..)) {
                    self.remember(xid, Ending::OnlyRead);
                }
                let age = open.age;
                self.vote(xid, age, open.into_held(), Payload::default(), then);
            }
            Some(Branch::Open(_)) => {
                let reason = Reason::new(ReasonKind::BadWork, "work came with the order, and the branch is open");
                self.refuse(xid, &then, reason);
            }
            Some(Branch::Waiting(waiting)) => {
                self.end(refusal(xid, &waiting.then, lost("the branch was asked for its vote meanwhile")));
                self.refuse(xid, &then, lost("an operation of the branch still waits"));
            }
            Some(Branch::Preparing(_) | Branch::Prepared(_) | Branch::ReadOnly(_) | Branch::OnePhase(_)) | None => {
                unreachable!("{xid:?} is not open")
            }
        }
        self.settle()
    }

    /// What a repeated one-phase commit of an ended branch is told.
    pub(super) fn ended_in_one_phase(&self, xid: Xid) -> OnePhaseResult {
        match self.ended.get(&xid) {
            Some(Ending::OnlyRead) => OnePhaseResult::Committed(Payload::default()),
            Some(Ending::Nothing) | None => OnePhaseResult::Aborted(lost("the branch has ended here")),
        }
    }
}

impl Open {
    /// What the branch itself would write to a key.
    pub(super) fn staged(&self, key: &str) -> Option<&Write> {
        self.keys.get(key)?.write.as_ref()
    }

    /// The locks that operations need beyond those held; refused before any is taken when they would be too many, or
    /// operations that fail could gather locks without end.
    fn wants(&self, operations: &[Operation]) -> Result<Vec<(String, Mode)>, Reason> {
        let (mut keys, mut bytes) = (self.keys.len(), self.bytes);
        let mut locks = Vec::new();
        for (key, mode) in locks_of(operations) {
            match self.keys.get(key) {
                Some(held) if held.mode >= mode => continue,
                Some(_) => {}
                None => (keys, bytes) = (keys + 1, bytes + key.len()),
            }
            locks.push((key.to_owned(), mode));
        }
        if keys > MAX_OPERATIONS {
            return Err(too_large(format!("{keys} keys, and {MAX_OPERATIONS} is the limit")));
        }
        within_bytes(bytes)?;
        Ok(locks)
    }

    fn hold(&mut self, locks: Vec<(String, Mode)>) {
        for (key, mode) in locks {
            match self.keys.get_mut(&key) {
                Some(held) => held.mode = mode,
                None => {
                    self.bytes += key.len();
                    self.keys.insert(key, Staged { mode, write: None });
                }
            }
        }
    }

    /// Takes over writes of keys that are held: all of them, or none.
    fn stage(&mut self, writes: BTreeMap<String, Option<Value>>) -> Result<(), Reason> {
        let bytes = writes.iter().fold(self.bytes, |bytes, (key, value)| {
            let before = self.staged(key).and_then(Write::value).map_or(0, bytes_of);
            bytes - before + value.as_ref().map_or(0, bytes_of)
        });
        within_bytes(bytes)?;
        self.bytes = bytes;
        for (key, value) in writes {
            let staged = self.keys.get_mut(&key).expect("what is written was locked");
            staged.write = Some(value.map_or(Write::Delete, Write::Put));
        }
        Ok(())
    }

    fn into_held(self) -> Vec<Held> {
        self.keys.into_iter().map(|(key, Staged { mode, write })| Held { key, mode, write }).collect()
    }
}

fn within_bytes(bytes: usize) -> Result<(), Reason> {
    if bytes > MAX_TRANSACTION_BYTES {
        return Err(too_large(format!("{bytes} bytes, and {MAX_TRANSACTION_BYTES} is the limit")));
    }
    Ok(())
}

fn too_large(why: String) -> Reason {
    Reason::new(ReasonKind::BadWork, format!("the branch would hold {why}"))
}

pub(super) fn disk_full() -> Reason {
    Reason::new(ReasonKind::DiskFull, "free space is below the reserve")
}
