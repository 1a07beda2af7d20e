//! Coordinator to participant.

use serde::{Deserialize, Serialize};

use super::stamp::{Addressee, Member, Micros, Seen, Stamp};
use crate::codec;
use crate::ids::{Age, ContentHash, Incarnation, Key, Name, Xid};
use crate::limits::MAX_BRANCHES;
use crate::outcome::{Decision, Payload};

/// Coordinator to participant.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ToParticipant {
    /// Who speaks.
    pub from: Stamp,
    /// What it says.
    pub order: Order,
}

/// What a coordinator asks of a participant.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Before anything else in an epoch, and on every new connection. The only order to a participant whose
    /// incarnation is not known yet.
    Hello {
        /// The name it is expected to have.
        name: Name,
        /// The coordinator's own name: another log under it is another coordinator, or one that was wiped.
        coordinator: Name,
        /// The last start of the participant that the registry knows of. A store that does not remember it is a copy.
        known: Option<KnownStart>,
        /// The start of this coordinator that the participant has seen last before this one, as far as the sender knows,
        /// and up to which decision the sender knows it. Who has seen another one, or more of it, does not take a newer
        /// epoch in: a copy that is behind leaves no trace.
        after: Option<Seen>,
    },
    /// Do the work, force a prepare record, vote.
    Prepare(Prepare),
    /// All votes are in: a branch that only read may let go.
    Release {
        /// Whom it is for.
        to: Addressee,
        /// The transaction.
        xid: Xid,
    },
    /// The decision.
    Decide {
        /// Whom it is for.
        to: Addressee,
        /// The transaction.
        xid: Xid,
        /// Made once.
        decision: Decision,
    },
    /// Work, decide and commit in one phase.
    CommitOnePhase(OnePhase),
    /// What became of that? Asking fences: what has not reached the log never will.
    AskOnePhase {
        /// Whom it is for.
        to: Addressee,
        /// The transaction.
        xid: Xid,
    },
}

/// The order to prepare.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Prepare {
    /// Whom it is for.
    pub to: Addressee,
    /// The transaction.
    pub xid: Xid,
    /// Its age, for wait-die.
    pub age: Age,
    /// What is left for waiting for locks; bounds nothing after the prepare record is handed over.
    pub wait: Micros,
    /// Where to ask for the decision: a hint, the log identity decides.
    pub coordinator: String,
    /// All branches, this one too.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub members: Vec<Member>,
    /// What to do, or what was done.
    pub task: Task,
}

/// What a branch consists of.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Task {
    /// One-shot: the work rides on the order.
    Carried(Payload),
    /// Interactive: it ran before.
    Ran {
        /// How many operations the client has seen answered: fewer executed is a No.
        operations: u64,
        /// Whether nobody but the client worked in the transaction. Then more executed is a No too, all locks of the
        /// transaction exist by now, and a branch that only read drops out at its vote.
        exact: bool,
    },
}

/// A start of a participant, as far as its coordinator knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct KnownStart {
    /// Which.
    pub incarnation: Incarnation,
    /// The highest store sequence that was heard from it.
    pub sequence: u64,
}

/// The order to commit in one phase.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct OnePhase {
    /// Whom it is for.
    pub to: Addressee,
    /// The transaction.
    pub xid: Xid,
    /// Its age, for wait-die.
    pub age: Age,
    /// What is left for waiting for locks.
    pub wait: Micros,
    /// The client's key: done once, whatever arrives.
    pub key: Key,
    /// What the key stands for.
    pub hash: ContentHash,
    /// What to do, or what was done.
    pub task: Task,
}

impl Task {
    /// Digest of it: the same transaction with another task is an error.
    #[must_use]
    pub fn digest(&self) -> ContentHash {
        match self {
            Self::Carried(work) => ContentHash::of(&[&work.0]),
            Self::Ran { operations, exact } => {
                ContentHash::of(&[b"ran", &operations.to_le_bytes(), &[u8::from(*exact)]])
            }
        }
    }
}
