//! Participant to coordinator: answers to orders.

use serde::{Deserialize, Serialize};

use super::stamp::{Identity, Seen};
use crate::codec;
use crate::ids::{ContentHash, Key, LogId, Xid};
use crate::limits::MAX_UNCONFIRMED;
use crate::outcome::{Payload, Reason, Vote};

/// Participant to coordinator.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct FromParticipant {
    /// Who speaks.
    pub from: Identity,
    /// What it says.
    pub answer: Answer,
}

/// A participant's answers. Each names its transaction, so it can be understood alone.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To Hello.
    Welcome(Welcome),
    /// To Prepare.
    Voted {
        /// The transaction.
        xid: Xid,
        /// The vote, the same however often it is asked for.
        vote: Vote,
    },
    /// To Release: whether the locks were held until now by the incarnation that voted.
    Released {
        /// The transaction.
        xid: Xid,
        /// `false` is a No.
        held: bool,
    },
    /// To a Commit: applied and durable.
    Acknowledged {
        /// The transaction.
        xid: Xid,
    },
    /// To an Abort: received. Says nothing about disk, and nobody waits for it.
    Received,
    /// To `CommitOnePhase` and `AskOnePhase`: final.
    OnePhaseEnded {
        /// The transaction.
        xid: Xid,
        /// What became of it.
        result: OnePhaseResult,
    },
    /// The message was not looked at.
    Refused(Refusal),
}

/// How a one-phase commit ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum OnePhaseResult {
    /// Done and durable; what it read.
    Committed(Payload),
    /// Nothing happened, and this participant refuses it from now on.
    Aborted(Reason),
}

/// The answer to Hello: the epoch is on this participant's disk, and nothing it had seen before is unknown to whoever was
/// let in.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// One-phase commits that no mark has covered yet.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_UNCONFIRMED>")]
    pub unconfirmed: Vec<Unconfirmed>,
    /// Whether that is all of them; if not, say Hello again when these are written.
    pub complete: bool,
    /// Whether this store remembers the start that Hello named, and at least as much of it: if not, it is a copy, or
    /// went back in time. True where Hello named none.
    pub remembers: bool,
}

/// A one-phase commit whose outcome the coordinator may not have written.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// The transaction.
    pub xid: Xid,
    /// The client's key.
    pub key: Key,
    /// What it stands for.
    pub hash: ContentHash,
    /// What it read.
    pub reads: Payload,
}

/// Why a message was not looked at.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// No Hello in this epoch yet.
    HelloFirst,
    /// A higher epoch has been seen: the sender has been replaced and must stop.
    Fenced(Seen),
    /// This epoch has been seen with another nonce: two coordinators with one identity.
    ForeignNonce(Seen),
    /// The name, store or incarnation addressed is not this one.
    WrongAddressee,
    /// The same transaction with other content.
    OtherContent,
    /// Below the mark: it has ended, whatever it was.
    BelowMark,
    /// This participant knows a coordinator of this name by another log: this one was wiped, or needs a name of its own.
    OtherLog(LogId),
    /// To Hello of a newer epoch that names another start than the last one seen, or less of it. Nothing has changed here.
    /// Say it again, naming this one, if it is known; if not, another copy has run and the sender must stop.
    SeenBefore(Seen),
}
