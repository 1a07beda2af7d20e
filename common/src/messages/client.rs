//! Clients and the coordinator: a transaction, a question about one, and what becomes known of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::stamp::Micros;
use crate::codec;
use crate::ids::{Age, Key, Name, Ticket, TxnId};
use crate::limits::MAX_BRANCHES;
use crate::outcome::{BranchReads, Outcome, Payload};

/// One branch's work, as a client asks for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct BranchWork {
    /// Who is to do it.
    pub participant: Name,
    /// What, in the resource manager's own form.
    pub work: Payload,
}

/// A one-shot transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Submit {
    /// The idempotency key.
    pub key: Key,
    /// Where the coordinator stood when the key was first sent; the same on every resend.
    pub ticket: Ticket,
    /// The age of an earlier attempt under another key, so that a retry does not start as the youngest again.
    pub age: Option<Age>,
    /// The highest transaction age that the client has heard of, from whatever coordinator: or the transactions of a
    /// coordinator that counts more slowly would always be the older ones.
    pub clock: Age,
    /// What is left of the client's deadline.
    pub wait: Micros,
    /// One per participant.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub branches: Vec<BranchWork>,
}

/// The answer to [`Submit`] and [`AskOutcome`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Told {
    /// The outcome, for good.
    Outcome {
        /// Which transaction it was, where one was begun.
        txn: Option<TxnId>,
        /// Its age, for a retry.
        age: Age,
        /// What became of it.
        outcome: Outcome,
    },
    /// Not known yet. Ask again.
    Pending {
        /// Which transaction, where one was begun.
        txn: Option<TxnId>,
    },
    /// Not begun, nothing is remembered under the key, and nothing happened.
    Rejected(Rejection),
}

/// Why a request was not begun.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Rejection {
    /// No such participant has registered.
    UnknownParticipant {
        /// The name asked for.
        name: Name,
        /// A few that are known, for the error line.
        #[serde(deserialize_with = "codec::bounded::<_, _, 16>")]
        known: Vec<Name>,
    },
    /// The request itself is wrong.
    Invalid(String),
    /// The key stands for something else already.
    KeyReused,
    /// Too much in flight. Nothing was begun: send it again a little later, the same key will do.
    Overloaded(String),
    /// The coordinator's disk is nearly full. Nothing was begun.
    DiskFull,
}

impl Rejection {
    /// Whether sending the same thing again, a little later, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded(_) | Self::DiskFull => true,
            Self::UnknownParticipant { .. } | Self::Invalid(_) | Self::KeyReused => false,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownParticipant { name, known } if known.is_empty() => {
                write!(f, "participant '{name}' is unknown here: none has registered with this coordinator yet")
            }
            Self::UnknownParticipant { name, known } => {
                let known: Vec<&str> = known.iter().map(Name::as_str).collect();
                write!(f, "participant '{name}' is unknown here; registered: {}", known.join(", "))
            }
            Self::Invalid(why) => f.write_str(why),
            Self::KeyReused => f.write_str("this key was used for another transaction; take a new key"),
            Self::DiskFull => {
                f.write_str("the coordinator's disk is nearly full; free some space, it resumes by itself")
            }
            Self::Overloaded(what) => write!(f, "overloaded: {what}; send it again a little later"),
        }
    }
}

/// A client's question about a key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AskOutcome {
    /// The key.
    pub key: Key,
    /// Its first ticket. With one the question fences the key; without one it only looks.
    pub ticket: Option<Ticket>,
    /// Who held its branches, where the asker knows; fewer to wait for. Of an interactive transaction: those where
    /// operations were answered, or nobody if others worked in it too. A name too many turns a branch that may have
    /// committed alone into one of several.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub participants: Vec<Name>,
}

/// Reads of all branches of a committed transaction.
pub type Reads = Vec<BranchReads>;
