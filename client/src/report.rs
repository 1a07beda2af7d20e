//! What a client is told of a transaction.

use std::fmt;
use std::time::Duration;

use handfast_common::codec::{self, CodecError};
use handfast_common::ids::{Age, Key, Name, Ticket, TxnId};
use handfast_common::limits::MAX_OPERATIONS;
use handfast_common::operation::{Read, Value};
use handfast_common::outcome::{self, BranchReads, Reason};
use serde::Deserialize;

/// A transaction's end, as far as it is known.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "it may not have committed"]
pub struct Report {
    /// The key of the last attempt: the outcome is this key's.
    pub key: Key,
    /// The ticket it was first sent with, and is to be asked with. None only where the asker had none.
    pub ticket: Option<Ticket>,
    /// The transaction, where one was begun and its number is known.
    pub txn: Option<TxnId>,
    /// What became of it.
    pub outcome: Outcome,
    /// Its age: a later attempt under a new key keeps it, so that it does not start as the youngest again.
    pub age: Option<Age>,
    /// How many keys were tried.
    pub attempts: u32,
    /// From the call to this report.
    pub latency: Duration,
}

/// What became of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every branch took effect, or is held until its participant has heard. With what the branches read.
    Committed(Vec<BranchReads>),
    /// Nothing happened, and nothing will under this key.
    Aborted(Reason),
    /// No answer came. It may have committed, or may still; ask again. With what was in the way.
    Unknown(String),
    /// It was known once, or may have been: the coordinator keeps it no longer, or has another log.
    Forgotten,
    /// Never seen, or forgotten. Only to a question without a ticket.
    NotFound,
    /// A branch was decided by hand against the decision.
    HeuristicMixed,
}

/// What one `get` read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadAt {
    /// Where.
    pub participant: Name,
    /// The key.
    pub key: String,
    /// Its value; `None` when absent.
    pub value: Option<Value>,
}

impl Report {
    /// Whether it is certain that every branch takes effect.
    #[must_use]
    pub const fn is_committed(&self) -> bool {
        matches!(self.outcome, Outcome::Committed(_))
    }

    /// What a committed transaction read from embedded stores, branch by branch in the order of the `get`s; nothing
    /// of any other.
    ///
    /// # Errors
    /// When a branch's reads are not those of an embedded store. The outcome stands all the same.
    pub fn reads(&self) -> Result<Vec<ReadAt>, CodecError> {
        let Outcome::Committed(branches) = &self.outcome else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for BranchReads { participant, reads } in branches.iter().filter(|branch| !branch.reads.0.is_empty()) {
            let ReadList(reads) = codec::decode(&reads.0)?;
            all.extend(reads.into_iter().map(|Read { key, value }| ReadAt {
                participant: participant.clone(),
                key,
                value,
            }));
        }
        Ok(all)
    }
}

/// What a participant sends: the length is bounded before anything is set aside for it.
#[derive(Deserialize)]
struct ReadList(#[serde(deserialize_with = "codec::bounded::<_, _, MAX_OPERATIONS>")] Vec<Read>);

impl Outcome {
    /// Its name: `committed`, `aborted`, `unknown`, `forgotten`, `not-found` or `heuristic-mixed`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Committed(_) => "committed",
            Self::Aborted(_) => "aborted",
            Self::Unknown(_) => "unknown",
            Self::Forgotten => "forgotten",
            Self::NotFound => "not-found",
            Self::HeuristicMixed => "heuristic-mixed",
        }
    }
}

impl From<outcome::Outcome> for Outcome {
    fn from(told: outcome::Outcome) -> Self {
        match told {
            outcome::Outcome::Committed(reads) => Self::Committed(reads),
            outcome::Outcome::Aborted(reason) => Self::Aborted(reason),
            outcome::Outcome::Forgotten => Self::Forgotten,
            outcome::Outcome::NotFound => Self::NotFound,
            outcome::Outcome::HeuristicMixed => Self::HeuristicMixed,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted(reason) => write!(f, "aborted ({reason})"),
            Self::Unknown(why) => write!(f, "unknown ({why})"),
            other => f.write_str(other.name()),
        }
    }
}
