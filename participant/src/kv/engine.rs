//! The branches: from work to vote to effect, without a disk, a clock or a thread.
//!
//! The engine is told facts by its methods and orders [`Output`]s: what to hand to the log, and whom to answer. What it
//! hands over is numbered, and [`Engine::durable`] says how far the log has come. A store drives it in production, a
//! simulator with a disk of its own elsewhere.
//!
//! When what becomes visible, and what would break otherwise:
//! - A prepared branch that commits takes effect, and lets go, when it is *handed over*: the decision is on disk at the
//!   coordinator, the prepare record here, and whoever builds on it comes later in the same log. It is *answered* when
//!   effect and done-marker are on disk, for with the answer goes the coordinator's duty to tell it again.
//! - A one-phase commit takes effect, and lets go, only when it is on disk: nobody else has decided it, so a reader would
//!   see what a crash takes back (timeline 4f).
//! - Data is read with own writes first, then effects on their way to the disk, then the disk.
//! - What an open branch writes stands in that branch alone until its vote, and is gone with it.
//!
//! A branch that has ended here never begins again in this start: its effect by its marker, one without effect by memory,
//! and below a mark nothing begins at all. So a message that comes late does nothing, whoever lets it through.
//!
//! Every method that may fail ends the engine when it does: nobody may be answered from it any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use handfast_common::ids::{LogId, Nonce, TxnId, Xid};
use handfast_common::messages::{Mark, OnePhaseResult};
use handfast_common::mutants::{self, Mutant};
use handfast_common::operation::Value;
use handfast_common::outcome::{Reason, ReasonKind, Vote};
use handfast_common::storage::{StorageError, Urgency};
use uuid::Uuid;

use super::locks::{LockTable, Mode, Woken};
use super::record::{Found, Held, Item, PrepareRecord, encode_done};
use crate::protocol::{Done, Line};
use crate::resource::{Committed, Execution};

mod branch;
mod doing;
mod open;
mod page;

use branch::{Branch, Ending, Handed, Marker, Voted, refusal};

/// All branches of one store.
#[derive(Debug)]
pub struct Engine<V> {
    view: V,
    locks: LockTable,
    branches: BTreeMap<Xid, Branch>,
    /// Branches that took effect, until the mark covers them.
    done: BTreeMap<Xid, Marker>,
    /// Branches that ended without one, until the mark covers them: they don't begin again.
    ended: BTreeMap<Xid, Ending>,
    /// The highest mark of each coordinator: nothing below it begins.
    marks: BTreeMap<LogId, Mark>,
    /// Aborts that are on their way to the disk.
    aborting: BTreeSet<Xid>,
    /// Effects on their way to the disk, each with the number of the item that carries it.
    applied: BTreeMap<String, (u64, Option<Value>)>,
    /// What was handed over and is not known to be on disk, in order.
    handed: VecDeque<(u64, Handed)>,
    /// Number of the last item handed over.
    number: u64,
    /// Waits that have ended and were not looked at yet. A queue, not a recursion: one end may end many others.
    woken: VecDeque<Woken>,
    outputs: Vec<Output>,
}

/// The durable side, as the engine sees it.
pub trait View {
    /// The value of a key on disk.
    ///
    /// # Errors
    /// When that can't be told. Unreadable is never absent.
    fn value(&self, key: &str) -> Result<Option<Value>, StorageError>;

    /// All values from this key on, in order.
    ///
    /// # Errors
    /// When they can't be read.
    fn values(&self, from: &str) -> Result<Values<'_>, StorageError>;

    /// From now on shows at least all that the log has reported.
    ///
    /// # Errors
    /// When it can't.
    fn advance(&mut self) -> Result<(), StorageError>;

    /// Whether there is room for new work, over what phase two of the old will need.
    fn has_room(&self) -> bool;
}

/// Keys and values in order of key.
pub type Values<'a> = Box<dyn Iterator<Item = Result<(String, Value), StorageError>> + 'a>;

/// An order.
#[derive(PartialEq, Eq, Debug)]
pub enum Output {
    /// Hand this to the log, behind all that went before.
    Log {
        /// Its number: one more than that of the item before.
        number: u64,
        /// What.
        item: Item,
        /// How soon.
        urgency: Urgency,
    },
    /// Answer whoever waits for it.
    Ended(Ended),
}

/// What has ended.
#[derive(PartialEq, Eq, Debug)]
pub enum Ended {
    /// An `execute`.
    Execute(Xid, Execution),
    /// A `prepare`.
    Prepare(Xid, Vote),
    /// A `commit_one_phase`.
    OnePhase(Xid, OnePhaseResult),
    /// A `commit`.
    Commit(Xid, Committed),
    /// An `abort`.
    Abort(Xid),
    /// A `force`, by the number that it gave.
    Force(u64),
}

/// Two prepare records that can't both be true.
#[derive(Debug, thiserror::Error)]
#[error("two branches in doubt, {} and another, hold the key '{key}'", xid.txn)]
pub struct HeldTwice {
    /// The later one.
    pub xid: Xid,
    /// The key.
    pub key: String,
}

impl<V: View> Engine<V> {
    /// An engine that holds every lock of every branch found in doubt.
    ///
    /// # Errors
    /// When two of them hold one key against each other.
    pub fn new(view: V, found: &Found) -> Result<Self, HeldTwice> {
        let mut engine = Self {
            view,
            locks: LockTable::default(),
            branches: BTreeMap::new(),
            done: BTreeMap::new(),
            ended: BTreeMap::new(),
            marks: found.lines.iter().filter_map(|line| Some((line.log, line.mark.clone()?))).collect(),
            aborting: BTreeSet::new(),
            applied: BTreeMap::new(),
            handed: VecDeque::new(),
            number: 0,
            woken: VecDeque::new(),
            outputs: Vec::new(),
        };
        for PrepareRecord { prepared, age, held } in &found.prepared {
            let xid = prepared.xid;
            let shared = !mutants::is(Mutant::SharedLocksAreLost);
            let rebuilt = held.iter().filter(|held| shared || held.mode == Mode::Exclusive);
            for Held { key, mode, .. } in rebuilt.filter(|_| !mutants::is(Mutant::LocksAreNotRebuilt)) {
                if !engine.locks.hold_recovered(xid, *age, key, *mode) {
                    return Err(HeldTwice { xid, key: key.clone() });
                }
            }
            let voted = Voted { held: Arc::clone(held), reads: prepared.reads.clone() };
            engine.branches.insert(xid, Branch::Prepared(voted));
        }
        for Done { xid, one_phase } in &found.done {
            engine.done.insert(*xid, Marker { durable: true, one_phase: one_phase.clone() });
        }
        Ok(engine)
    }

    /// Somebody who waits for one that is not younger, and the key: see [`LockTable::younger_waiter`].
    #[must_use]
    pub fn younger_waiter(&self) -> Option<(Xid, &str)> {
        self.locks.younger_waiter()
    }

    /// Gives out the orders since the last time, in order.
    pub fn take_outputs(&mut self, into: &mut Vec<Output>) {
        into.append(&mut self.outputs);
    }

    /// Ends work that waits, with this reason; all other work goes on.
    ///
    /// # Errors
    /// Those of the [`View`]: others may get its locks, and run.
    pub fn cancel(&mut self, xid: Xid, reason: Reason) -> Result<(), StorageError> {
        if let Some(Branch::Waiting(waiting)) = self.branches.get(&xid) {
            self.end(refusal(xid, &waiting.then, reason));
            self.give_up(xid);
        }
        if mutants::is(Mutant::YesLetsLocksGo) {
            self.woken.extend(self.locks.release_all(xid));
        }
        self.settle()
    }

    /// Makes a prepared branch take effect; ends with [`Ended::Commit`].
    ///
    /// # Errors
    /// Those of the [`View`].
    pub fn commit(&mut self, xid: Xid) -> Result<(), StorageError> {
        match self.branches.get(&xid) {
            Some(Branch::Prepared(voted)) => {
                let held = Arc::clone(&voted.held);
                self.apply(xid, held);
                return self.settle();
            }
            Some(
                Branch::Open(_) | Branch::Waiting(_) | Branch::Preparing(_) | Branch::ReadOnly(_) | Branch::OnePhase(_),
            )
            | None => {}
        }
        match self.done.get(&xid) {
            Some(marker) if marker.durable => self.end(Ended::Commit(xid, Committed::Done)),
            Some(_) => {} // Ends with the first one.
            None => self.end(Ended::Commit(xid, Committed::LostBranch)),
        }
        Ok(())
    }

    /// Undoes a branch, open or prepared; what of it still waits ends before, with [`Ended::Abort`] behind it. One that
    /// is not there is taken for one that comes later: it will be refused.
    ///
    /// # Errors
    /// Those of the [`View`].
    ///
    /// # Panics
    /// When the branch has committed here: there are two decisions, and no answer is right.
    pub fn abort(&mut self, xid: Xid) -> Result<(), StorageError> {
        assert!(!self.done.contains_key(&xid), "{xid:?} is told to abort after it has committed");
        match self.branches.get(&xid) {
            Some(Branch::OnePhase(_)) => panic!("{xid:?} is told to abort while it commits in one phase"),
            Some(Branch::Prepared(_)) => self.forget(xid),
            Some(Branch::Preparing(_)) => {
                self.end(Ended::Prepare(xid, Vote::No(Reason::new(ReasonKind::Lost, "it was aborted"))));
                self.forget(xid);
            }
            Some(Branch::Waiting(waiting)) => {
                self.end(refusal(xid, &waiting.then, Reason::new(ReasonKind::Lost, "it was aborted")));
                self.end(Ended::Abort(xid));
            }
            Some(Branch::Open(_) | Branch::ReadOnly(_)) => self.end(Ended::Abort(xid)),
            None if self.aborting.contains(&xid) => {} // Ends with the first one.
            None => self.end(Ended::Abort(xid)),
        }
        self.give_up(xid);
        self.settle()
    }

    /// Lets go of what a branch holds that only read.
    ///
    /// # Errors
    /// Those of the [`View`].
    pub fn release(&mut self, xid: Xid) -> Result<(), StorageError> {
        if let Some(Branch::ReadOnly(_)) = self.branches.get(&xid) {
            self.give_up(xid);
        }
        self.settle()
    }

    /// Forces a coordinator's line; ends with [`Ended::Force`] of the number given.
    pub fn force(&mut self, line: Line) -> u64 {
        self.trim(&line);
        let spoken = mutants::is(Mutant::EpochStaysInMemory);
        self.hand(Item::Line(line), Urgency::Force, (!spoken).then_some(Handed::Force));
        if spoken {
            self.end(Ended::Force(self.number));
        }
        self.number
    }

    /// Writes a coordinator's line with the next batch.
    pub fn note(&mut self, line: Line) {
        self.trim(&line);
        self.hand(Item::Line(line), Urgency::Ride, None);
    }

    /// The log has written everything up to and with this number.
    ///
    /// # Errors
    /// Those of the [`View`].
    pub fn durable(&mut self, through: u64) -> Result<(), StorageError> {
        // First the view, then the effects on their way: the other way round a value would be gone for a moment.
        self.view.advance()?;
        while self.handed.front().is_some_and(|(number, _)| *number <= through) {
            let Some((number, handed)) = self.handed.pop_front() else { break };
            match handed {
                Handed::Prepare(xid) => self.prepared(xid),
                Handed::OnePhase(xid) => self.done_in_one_phase(xid),
                Handed::Commit(xid, held) => self.applied(xid, number, &held),
                Handed::Abort(xid) => {
                    self.aborting.remove(&xid);
                    self.end(Ended::Abort(xid));
                }
                Handed::Force => self.end(Ended::Force(number)),
            }
        }
        self.settle()
    }

    /// The effect of a prepared branch: visible from here on.
    fn apply(&mut self, xid: Xid, held: Arc<[Held]>) {
        let number = self.number + 1;
        for Held { key, write, .. } in held.iter() {
            if let Some(write) = write {
                self.applied.insert(key.clone(), (number, write.value().cloned()));
            }
        }
        let done = encode_done(&Done { xid, one_phase: None }).expect("a marker of fixed size can be encoded");
        let item = Item::Apply { xid, held: Arc::clone(&held), done, prepared: true };
        self.hand(item, Urgency::Ride, Some(Handed::Commit(xid, held)));
        self.done.insert(xid, Marker { durable: false, one_phase: None });
        self.let_go(xid);
    }

    fn forget(&mut self, xid: Xid) {
        self.aborting.insert(xid);
        self.hand(Item::Forget { xid }, Urgency::Ride, Some(Handed::Abort(xid)));
    }

    fn prepared(&mut self, xid: Xid) {
        // An abort may have come before: then it is answered already.
        let Some(Branch::Preparing(voted)) = self.branches.remove(&xid) else { return };
        if !mutants::is(Mutant::YesBeforeForce) {
            self.end(Ended::Prepare(xid, Vote::Yes(voted.reads.clone())));
        }
        self.branches.insert(xid, Branch::Prepared(voted));
    }

    fn done_in_one_phase(&mut self, xid: Xid) {
        let Some(Branch::OnePhase(marker)) = self.branches.remove(&xid) else { return };
        let reads = marker.reads.clone();
        self.done.insert(xid, Marker { durable: true, one_phase: Some(marker) });
        self.end(Ended::OnePhase(xid, OnePhaseResult::Committed(reads)));
        self.let_go(xid);
    }

    fn applied(&mut self, xid: Xid, number: u64, held: &[Held]) {
        for Held { key, .. } in held {
            // A later effect of the same key is still on its way.
            if self.applied.get(key).is_some_and(|(latest, _)| *latest == number) {
                self.applied.remove(key);
            }
        }
        if let Some(marker) = self.done.get_mut(&xid) {
            marker.durable = true;
        }
        self.end(Ended::Commit(xid, Committed::Done));
    }

    /// Forgets the markers that a mark covers, as the log will in the write that stores the line. Never a branch in
    /// doubt: only a decision ends that.
    fn trim(&mut self, line: &Line) {
        let Some(mark) = &line.mark else { return };
        for xid in covered(&self.done, line.log, mark) {
            self.done.remove(&xid);
        }
        for xid in covered(&self.ended, line.log, mark) {
            self.ended.remove(&xid);
        }
        self.marks.insert(line.log, mark.clone());
    }

    /// Whether a marker, memory or the mark says that there is nothing to begin any more.
    fn has_ended(&self, xid: Xid) -> bool {
        let ended = self.done.contains_key(&xid) || self.ended.contains_key(&xid) || self.is_below_mark(xid);
        ended && !mutants::is(Mutant::WorkRunsAgain)
    }

    fn is_below_mark(&self, xid: Xid) -> bool {
        self.marks.get(&xid.log).is_some_and(|mark| mark.covers(xid.txn)) && !mutants::is(Mutant::LatePrepareRuns)
    }

    fn has_room(&self) -> bool {
        self.view.has_room() || mutants::is(Mutant::WorksWithoutRoom)
    }

    fn remember(&mut self, xid: Xid, ending: Ending) {
        // Below the mark nothing would ever trim it, and nothing begins there anyway.
        let forgets = mutants::is(Mutant::NoIsForgotten) || mutants::is(Mutant::DroppedBranchBeginsAfresh);
        if !self.is_below_mark(xid) && !forgets {
            self.ended.insert(xid, ending);
        }
    }

    fn hand(&mut self, item: Item, urgency: Urgency, then: Option<Handed>) {
        self.number += 1;
        if let Some(then) = then {
            self.handed.push_back((self.number, then));
        }
        self.outputs.push(Output::Log { number: self.number, item, urgency });
    }

    fn end(&mut self, ended: Ended) {
        self.outputs.push(Output::Ended(ended));
    }
}

/// The transactions of one coordinator that a mark covers, among the keys of a map.
pub(crate) fn covered<T>(map: &BTreeMap<Xid, T>, log: LogId, mark: &Mark) -> Vec<Xid> {
    let least = |txn| Xid { log, txn, nonce: Nonce(0) };
    let below = map.range(least(TxnId(Uuid::nil()))..least(mark.low));
    below.map(|(xid, _)| *xid).filter(|xid| mark.covers(xid.txn)).collect()
}

#[cfg(test)]
mod tests;
