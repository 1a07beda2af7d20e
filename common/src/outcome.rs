//! Votes, decisions, outcomes, and the reasons behind them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::ids::Name;

/// Work for a resource manager, or what it gave back. The protocol carries it and never looks inside.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, Default)]
pub struct Payload(#[serde(with = "codec::bytes")] pub Vec<u8>);

/// A participant's answer to Prepare.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Vote {
    /// The prepare record is forced; the branch is in doubt from now on and waits for the decision. With what it read.
    Yes(Payload),
    /// The branch did nothing and holds nothing.
    No(Reason),
    /// The branch only read and has no record; its locks are held until `Release`. With what it read.
    ReadOnly(Payload),
}

/// Made once per transaction, never changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Decision {
    /// All branches take effect.
    Commit,
    /// None does.
    Abort,
}

/// What one branch read, by participant.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct BranchReads {
    /// Who read.
    pub participant: Name,
    /// What, in the resource manager's own form.
    pub reads: Payload,
}

/// What a client is told. `Unknown` is the client's own word for "no answer came" and is never sent.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// All branches take effect.
    Committed(Vec<BranchReads>),
    /// Nothing happened and nothing will under this key.
    Aborted(Reason),
    /// It was known once; the coordinator has trimmed it, or its log is another one.
    Forgotten,
    /// Never seen, or forgotten. Only to a question without a ticket.
    NotFound,
    /// A branch was decided by hand against the decision. Recorded now so that formats need not change.
    HeuristicMixed,
}

/// Why a vote was No or a transaction aborted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// For programs.
    pub kind: ReasonKind,
    /// For people; who said it and what about. May be empty.
    pub detail: String,
}

impl Reason {
    /// A reason with its detail.
    pub fn new(kind: ReasonKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { write!(f, "{}", self.kind) } else { write!(f, "{}: {}", self.kind, self.detail) }
    }
}

/// The kinds of [`Reason`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ReasonKind {
    /// Wait-die: an older transaction is in the way. Run it again with the same age.
    Conflict,
    /// A lock did not come in time.
    LockTimeout,
    /// A `check`, a `min` or a `max` did not hold.
    CheckFailed,
    /// The work could not be understood or carried out: wrong type, overflow, too large.
    BadWork,
    /// Free space is below the reserve.
    DiskFull,
    /// A participant could not be reached, or its connection broke before its vote.
    Unreachable,
    /// A vote did not come in time.
    PrepareTimeout,
    /// The participant was restarted, or gave the branch up, before the decision.
    Lost,
    /// An earlier start of the coordinator never decided it: presumed abort.
    Presumed,
    /// The key was asked about before it arrived, so it may not run any more.
    Fenced,
    /// The coordinator or a participant has too much on its hands.
    Overloaded,
    /// Its client rolled it back, or let go of it.
    RolledBack,
    /// An interactive transaction was idle, or open, for too long.
    Expired,
}

impl ReasonKind {
    /// Whether running the same work again, under a new key and the same age, may well succeed.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Conflict
            | Self::LockTimeout
            | Self::DiskFull
            | Self::Unreachable
            | Self::PrepareTimeout
            | Self::Lost
            | Self::Presumed
            | Self::Overloaded => true,
            Self::CheckFailed | Self::BadWork | Self::Fenced | Self::RolledBack | Self::Expired => false,
        }
    }
}

impl fmt::Display for ReasonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "conflict",
            Self::LockTimeout => "lock timeout",
            Self::CheckFailed => "check failed",
            Self::BadWork => "bad work",
            Self::DiskFull => "disk full",
            Self::Unreachable => "unreachable",
            Self::PrepareTimeout => "prepare timeout",
            Self::Lost => "branch lost",
            Self::Presumed => "presumed abort",
            Self::Fenced => "fenced by an earlier question",
            Self::Overloaded => "overloaded",
            Self::RolledBack => "rolled back",
            Self::Expired => "expired",
        })
    }
}
