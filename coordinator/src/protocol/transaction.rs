//! One transaction as its coordinator holds it until it has ended.

use std::collections::BTreeMap;

use handfast_common::ids::{Age, ContentHash, Incarnation, Key, Name, RecordNumber, StoreId, Xid};
use handfast_common::messages::{Addressee, Micros, Reads, Task};
use handfast_common::outcome::{BranchReads, Payload};

use super::ReplyTo;
use super::table::Phase;

/// A transaction that has not ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Transaction {
    pub(super) xid: Xid,
    pub(super) key: Key,
    pub(super) hash: ContentHash,
    pub(super) age: Age,
    pub(super) phase: Phase,
    /// What its work may spend on waiting for locks.
    pub(super) wait: Micros,
    /// How long it may stay open, if it is interactive.
    pub(super) total: Micros,
    /// Whether all locks exist before the first Prepare goes out: then a branch that only read lets go at its vote.
    pub(super) exact: bool,
    /// Branches by participant: the order in which everything about them is said and stored.
    pub(super) branches: BTreeMap<Name, Branch>,
    /// Clients that wait for the outcome.
    pub(super) waiters: Vec<ReplyTo>,
    /// Its records in the log, erased when its outcome is forgotten.
    pub(super) records: Vec<RecordNumber>,
    /// How often its messages of this phase were repeated: backoff, and what makes it an exception of the mark.
    pub(super) attempts: u32,
    /// When it entered its phase, as the driver told the time; for listings only.
    pub(super) since_ms: u64,
}

/// A branch of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Branch {
    pub(super) state: BranchState,
    /// The work, until it is sent. It is sent once only: a Prepare that is lost with its connection aborts.
    pub(super) task: Option<Task>,
    /// Whom the work was sent to, or who enlisted: only this incarnation's vote counts.
    pub(super) sent_to: Option<Addressee>,
    /// What it read.
    pub(super) reads: Payload,
    /// The store it voted from, where a vote or a record says so.
    pub(super) store: Option<StoreId>,
    /// The store sequence that came with its vote, later with its acknowledgement.
    pub(super) sequence: u64,
}

/// How far a branch is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum BranchState {
    /// Enlisted: operations run there, locks are held. Not asked to prepare yet.
    Open,
    /// Not asked yet.
    Waiting,
    /// Asked to prepare, or to commit in one phase.
    Asked,
    /// Voted Yes; in a Committing transaction: has not acknowledged yet.
    Yes,
    /// Voted No; holds nothing, need not hear of the abort.
    No,
    /// Only read; holds its locks until released.
    ReadOnly,
    /// Only read; its locks were held until all votes were in.
    Released,
    /// Has acknowledged the Commit.
    Acknowledged,
    /// Has not answered, and never will: an operator took its participant out of the registry. Nobody is told any more,
    /// least of all another store under that name.
    Removed,
}

impl Branch {
    pub(super) fn waiting(work: Payload) -> Self {
        Self { task: Some(Task::Carried(work)), ..Self::in_state(BranchState::Waiting) }
    }

    /// A branch that `who` has enlisted.
    pub(super) fn open(who: Addressee) -> Self {
        Self { sent_to: Some(who), ..Self::in_state(BranchState::Open) }
    }

    /// A branch known from a Commit record: voted Yes, has not acknowledged as far as is known.
    pub(super) fn prepared(store: StoreId, sequence: u64) -> Self {
        Self { store: Some(store), sequence, ..Self::in_state(BranchState::Yes) }
    }

    /// A branch of which nothing but its part in an outcome is known.
    pub(super) fn past(state: BranchState, reads: Payload) -> Self {
        Self { reads, ..Self::in_state(state) }
    }

    fn in_state(state: BranchState) -> Self {
        Self { state, task: None, sent_to: None, reads: Payload::default(), store: None, sequence: 0 }
    }

    /// The store it is bound to, once it is known: no other one is ever told or believed about it.
    pub(super) fn bound_to(&self) -> Option<StoreId> {
        self.store.or_else(|| self.sent_to.as_ref().map(|to| to.store))
    }

    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.sent_to.as_ref().map(|to| to.incarnation)
    }
}

impl Transaction {
    /// A transaction without a time, an age, records or anybody who waits.
    pub(super) fn new(xid: Xid, key: Key, hash: ContentHash, phase: Phase, branches: BTreeMap<Name, Branch>) -> Self {
        Self {
            xid,
            key,
            hash,
            age: Age(0),
            phase,
            wait: Micros(0),
            total: Micros(0),
            exact: false,
            branches,
            waiters: Vec::new(),
            records: Vec::new(),
            attempts: 0,
            since_ms: 0,
        }
    }

    /// What all branches read, for the client.
    pub(super) fn reads(&self) -> Reads {
        self.branches
            .iter()
            .filter(|(_, branch)| !branch.reads.0.is_empty())
            .map(|(name, branch)| BranchReads { participant: name.clone(), reads: branch.reads.clone() })
            .collect()
    }

    pub(super) fn reads_bytes(&self) -> usize {
        self.branches.values().map(|branch| branch.reads.0.len()).sum()
    }

    /// Whether somebody is still expected to answer. If not, it stays as it is for ever: those who did not answer are
    /// gone.
    pub(super) fn is_at_rest(&self) -> bool {
        let may_rest = match self.phase {
            Phase::Committing | Phase::Asking => true,
            Phase::Active
            | Phase::Gathering
            | Phase::Preparing
            | Phase::Releasing
            | Phase::Deciding
            | Phase::OnePhase
            | Phase::Recording
            | Phase::Ended => false,
        };
        may_rest && self.any(BranchState::Removed) && !self.branches.keys().any(|name| self.waits_for(name))
    }

    pub(super) fn any(&self, state: BranchState) -> bool {
        self.branches.values().any(|branch| branch.state == state)
    }

    /// Whether it waits for this participant to say something.
    pub(super) fn waits_for(&self, name: &Name) -> bool {
        self.branches.get(name).is_some_and(|branch| match (self.phase, branch.state) {
            (_, BranchState::Waiting | BranchState::Asked) => true,
            (Phase::Committing, BranchState::Yes)
            | (Phase::Releasing, BranchState::ReadOnly)
            | (Phase::Gathering, BranchState::Open) => true,
            (
                _,
                BranchState::Open
                | BranchState::Removed
                | BranchState::Yes
                | BranchState::No
                | BranchState::ReadOnly
                | BranchState::Released
                | BranchState::Acknowledged,
            ) => false,
        })
    }
}
