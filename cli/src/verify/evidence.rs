//! What each side's file says, transaction by transaction.

use std::collections::BTreeMap;

use handfast_common::ids::{Epoch, Key, LogId, Name, Nonce, StoreId, TxnId, Xid};
use handfast_common::messages::{Mark, Seen};
use handfast_coordinator::protocol::Registration;

/// A decision log.
#[derive(Clone, Debug)]
pub(super) struct CoordinatorLog {
    /// As findings name it.
    pub(super) label: String,
    pub(super) log: LogId,
    /// Every start, with the last decision known of it.
    pub(super) starts: Vec<Seen>,
    /// The registry, and what an operator took out of it.
    pub(super) registry: BTreeMap<Name, Registration>,
    pub(super) removed: Vec<Registration>,
    /// Everything up to here has been trimmed.
    pub(super) floor: Option<TxnId>,
    pub(super) decided: BTreeMap<Xid, Decided>,
}

/// What a decision log knows of a transaction.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    pub(super) key: Key,
    pub(super) how: How,
}

/// How it was committed.
#[derive(Clone, Debug)]
pub(super) enum How {
    /// By a Commit record.
    TwoPhase {
        /// Its branches.
        branches: Vec<DecidedBranch>,
        /// Whether an End record says that all have acknowledged.
        ended: bool,
    },
    /// By its only participant.
    OnePhase(Name),
}

/// A branch of a Commit record.
#[derive(Clone, Debug)]
pub(super) struct DecidedBranch {
    pub(super) participant: Name,
    pub(super) store: StoreId,
    /// The store must never be seen before this sequence again: that of its vote, or of its acknowledgement.
    pub(super) sequence: u64,
}

/// A participant's store.
#[derive(Clone, Debug)]
pub(super) struct ParticipantStore {
    /// As findings name it.
    pub(super) label: String,
    pub(super) name: Name,
    pub(super) store: StoreId,
    pub(super) sequence: u64,
    /// What it has heard of each coordinator.
    pub(super) heard: BTreeMap<LogId, Heard>,
    pub(super) branches: BTreeMap<Xid, Trace>,
}

/// What a participant has heard of a coordinator.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) seen: Seen,
    pub(super) mark: Option<Mark>,
}

/// A branch's trace in a store.
#[derive(Clone, Debug)]
pub(super) enum Trace {
    /// In doubt. With all members of the transaction.
    Prepared(Vec<Name>),
    /// Took effect, in two phases.
    Done,
    /// Took effect, in one phase, under this key.
    DoneAlone(Key),
}

impl CoordinatorLog {
    /// The last decision of a start that this log knows.
    pub(super) fn decisions_of(&self, epoch: Epoch, nonce: Nonce) -> Option<u64> {
        self.starts.iter().find(|start| start.epoch == epoch && start.nonce == nonce).map(|start| start.decisions)
    }

    /// Whether an operator gave this store up.
    pub(super) fn has_removed(&self, store: StoreId) -> bool {
        self.removed.iter().any(|removed| removed.store == store)
    }
}

impl ParticipantStore {
    /// Whether the mark has passed a transaction: its trace may be gone.
    pub(super) fn is_past(&self, xid: Xid) -> bool {
        self.heard.get(&xid.log).and_then(|heard| heard.mark.as_ref()).is_some_and(|mark| mark.covers(xid.txn))
    }
}
