//! One transaction as its coordinator holds it until it has ended.

use std::collections::BTreeMap;

use handfast_common::ids::{Age, ContentHash, Incarnation, Key, Name, RecordNumber, StoreId, Xid};
use handfast_common::messages::{Addressee, Micros, Reads};
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
    pub(super) work: Option<Payload>,
    /// Whom the work was sent to: only this incarnation's vote counts.
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
}

impl Branch {
    pub(super) fn waiting(work: Payload) -> Self {
        Self {
            state: BranchState::Waiting,
            work: Some(work),
            sent_to: None,
            reads: Payload::default(),
            store: None,
            sequence: 0,
        }
    }

    /// A branch known from a Commit record: voted Yes, has not acknowledged as far as is known.
    pub(super) fn prepared(store: StoreId, sequence: u64) -> Self {
        Self {
            state: BranchState::Yes,
            work: None,
            sent_to: None,
            reads: Payload::default(),
            store: Some(store),
            sequence,
        }
    }

    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.sent_to.as_ref().map(|to| to.incarnation)
    }
}

impl Transaction {
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

    pub(super) fn any(&self, state: BranchState) -> bool {
        self.branches.values().any(|branch| branch.state == state)
    }

    /// Whether it waits for this participant to say something.
    pub(super) fn waits_for(&self, name: &Name) -> bool {
        self.branches.get(name).is_some_and(|branch| match (self.phase, branch.state) {
            (_, BranchState::Waiting | BranchState::Asked) => true,
            (Phase::Committing, BranchState::Yes) | (Phase::Releasing, BranchState::ReadOnly) => true,
            (
                _,
                BranchState::Yes
                | BranchState::No
                | BranchState::ReadOnly
                | BranchState::Released
                | BranchState::Acknowledged,
            ) => false,
        })
    }
}
