//! What a coordinator keeps durably: its decision log.

use serde::{Deserialize, Serialize};

use handfast_common::codec;
use handfast_common::ids::{ContentHash, Epoch, Incarnation, Key, Name, Nonce, RecordNumber, StoreId, TxnId, Xid};
use handfast_common::limits::MAX_BRANCHES;
use handfast_common::outcome::BranchReads;

/// One record. Numbers grow; a record is erased only in the write that makes it superfluous.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Record {
    /// A start of the coordinator; forced before anything is said in it. All of them together are the line.
    Epoch {
        /// One more than the last.
        epoch: Epoch,
        /// Random.
        nonce: Nonce,
        /// The last decision sequence before it: peers that have seen more know of decisions this log has lost.
        decisions: u64,
    },
    /// A participant of the registry; forced before the first Prepare to it. A newer one replaces an older.
    Participant(Registration),
    /// The decision to commit. There is no record of an abort: absence means abort.
    Commit(Commit),
    /// All branches have acknowledged; written lazily.
    End {
        /// The transaction.
        txn: TxnId,
        /// The store sequence that came with each acknowledgement, in the order of the Commit record's branches.
        #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
        acknowledged: Vec<u64>,
    },
    /// A participant committed this alone; written lazily, the participant's marker answers until it is on disk.
    OnePhase(OnePhaseOutcome),
    /// Outcomes up to here have been trimmed, in this same write. A newer one replaces an older.
    Floor {
        /// The highest transaction trimmed.
        floor: TxnId,
        /// The highest decision sequence so far: the record that bore it may be among those trimmed.
        decisions: u64,
    },
    /// A stretch of the coordinator's own running time is over.
    Tick {
        /// How many there have been.
        number: u64,
        /// Everything up to here began before it was over.
        upto: TxnId,
    },
    /// What an operator did about a participant; forced before it has an effect, and kept for ever.
    Operator {
        /// What.
        act: OperatorAct,
        /// Why, in the operator's words.
        reason: String,
    },
}

/// What an operator did.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum OperatorAct {
    /// Took a participant out of the registry, in the same write that erases its entry.
    Removed(Registration),
    /// Let inquiries go on without it, in this epoch.
    Released {
        /// Which.
        name: Name,
        /// In which epoch.
        epoch: Epoch,
    },
}

/// A participant as the registry knows it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Registration {
    /// Its name.
    pub name: Name,
    /// Its store; another store under this name is refused.
    pub store: StoreId,
    /// The last start of it that was greeted, at first the one that registered: a store that does not remember it is a
    /// copy. Forced before the first Prepare to that start.
    pub incarnation: Option<Incarnation>,
    /// The highest store sequence heard of when this was written; a lower one later is a store gone back in time.
    pub sequence: u64,
    /// Where it was last heard of.
    pub address: String,
}

/// The decision to commit, and all that is needed to carry it out and to answer for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// The transaction.
    pub xid: Xid,
    /// The number of this decision in the whole life of the log.
    pub decision: u64,
    /// The client's key.
    pub key: Key,
    /// What it stands for.
    pub hash: ContentHash,
    /// The branches that voted Yes: who must hear of it.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub branches: Vec<Updating>,
    /// What was read, for the same answer to the same key.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub reads: Vec<BranchReads>,
}

/// A branch that voted Yes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Updating {
    /// Who holds it.
    pub participant: Name,
    /// In which store: a Commit to another one would be lost.
    pub store: StoreId,
    /// The store sequence that came with the vote: the store must never be seen before it again.
    pub sequence: u64,
}

/// The outcome of a one-phase commit.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct OnePhaseOutcome {
    /// The transaction.
    pub xid: Xid,
    /// The client's key.
    pub key: Key,
    /// What it stands for.
    pub hash: ContentHash,
    /// What was read.
    pub reads: BranchReads,
}

impl Record {
    /// The transaction the record is about, if it is about one: it stands in the record's frame.
    #[must_use]
    pub fn txn(&self) -> Option<TxnId> {
        match self {
            Self::Commit(commit) => Some(commit.xid.txn),
            Self::OnePhase(outcome) => Some(outcome.xid.txn),
            Self::End { txn, .. } => Some(*txn),
            Self::Floor { floor, .. } => Some(*floor),
            Self::Tick { upto, .. } => Some(*upto),
            Self::Epoch { .. } | Self::Participant(_) | Self::Operator { .. } => None,
        }
    }

    /// Bytes of what was read that it carries: the only part of a record that can be large.
    #[must_use]
    pub fn reads_bytes(&self) -> usize {
        match self {
            Self::Commit(commit) => commit.reads.iter().map(|reads| reads.reads.0.len()).sum(),
            Self::OnePhase(outcome) => outcome.reads.reads.0.len(),
            Self::Epoch { .. }
            | Self::Participant(_)
            | Self::End { .. }
            | Self::Floor { .. }
            | Self::Tick { .. }
            | Self::Operator { .. } => 0,
        }
    }

    /// Its kind, for error lines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Epoch { .. } => "Epoch",
            Self::Participant(_) => "Participant",
            Self::Commit(_) => "Commit",
            Self::End { .. } => "End",
            Self::OnePhase(_) => "OnePhase",
            Self::Floor { .. } => "Floor",
            Self::Tick { .. } => "Tick",
            Self::Operator { .. } => "Operator",
        }
    }
}

/// A stored record with its number.
pub type Numbered = (RecordNumber, Record);
