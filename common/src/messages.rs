//! What goes over the wire between coordinator, participants and clients.
//!
//! The machines know these types and nothing of the wire under them. Every message of a coordinator carries a
//! [`Stamp`], every message of a participant an [`Identity`]: whatever carries a stale epoch or a foreign identity is
//! refused before it is looked at.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::ids::{Age, ContentHash, Epoch, Incarnation, Key, LogId, Name, Nonce, StoreId, Ticket, TxnId, Xid};
use crate::limits::{MAX_BRANCHES, MAX_MARK_EXCEPTIONS, MAX_PAGE, MAX_UNCONFIRMED};
use crate::outcome::{BranchReads, Decision, Outcome, Payload, Reason, Vote};

/// A duration on the wire, in microseconds: what is left, never a date.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Micros(pub u64);

impl From<std::time::Duration> for Micros {
    fn from(duration: std::time::Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Micros> for std::time::Duration {
    fn from(micros: Micros) -> Self {
        Self::from_micros(micros.0)
    }
}

/// The low-water mark: nothing it covers can commit any more, and every Commit it covers is acknowledged by all.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Every transaction below this one is covered ...
    pub low: TxnId,
    /// ... save these, so that one lost participant does not pin the mark. Sorted.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_MARK_EXCEPTIONS>")]
    pub except: Vec<TxnId>,
}

impl Mark {
    /// Whether `txn` lies below the mark and is no exception.
    #[must_use]
    pub fn covers(&self, txn: TxnId) -> bool {
        txn < self.low && self.except.binary_search(&txn).is_err()
    }

    /// Takes over `newer`. What was covered stays covered, in whatever order messages arrive: a done-marker that has
    /// been trimmed can't come back, so a late copy of an older mark must not ask for it.
    pub fn advance(&mut self, newer: &Self) -> bool {
        if newer.low < self.low {
            return false;
        }
        let except: Vec<TxnId> = newer.except.iter().copied().filter(|txn| !self.covers(*txn)).collect();
        let changed = newer.low != self.low || except != self.except;
        *self = Self { low: newer.low, except };
        changed
    }
}

/// Who speaks, on every message of a coordinator.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// Its log.
    pub log: LogId,
    /// Its epoch: what the fence compares, whatever epoch the transaction is of.
    pub epoch: Epoch,
    /// The nonce of that epoch.
    pub nonce: Nonce,
    /// The highest *forced* decision sequence.
    pub decisions: u64,
    /// Its low-water mark.
    pub mark: Mark,
    /// Its transaction age counter.
    pub clock: Age,
}

/// What a participant has seen of a coordinator's line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Highest epoch.
    pub epoch: Epoch,
    /// Its nonce.
    pub nonce: Nonce,
    /// Highest decision sequence heard of in it.
    pub decisions: u64,
}

/// Whom a message is for: exactly this name, store and start. Another incarnation has forgotten what this one said.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Addressee {
    /// The participant's name.
    pub name: Name,
    /// Its store.
    pub store: StoreId,
    /// Its start.
    pub incarnation: Incarnation,
}

/// A branch of a transaction, as the other branches know it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Who holds the branch.
    pub who: Addressee,
    /// Where it was last heard of: a hint, identity decides.
    pub address: String,
}

/// Who speaks, on every message of a participant.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub name: Name,
    /// Its store.
    pub store: StoreId,
    /// Its start.
    pub incarnation: Incarnation,
    /// Highest *forced* store sequence.
    pub sequence: u64,
    /// The highest transaction age it has heard of.
    pub clock: Age,
}

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
    /// What to do.
    pub work: Payload,
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
    /// What to do.
    pub work: Payload,
}

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

/// The answer to Hello.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// What this participant had seen of the line *before* this Hello.
    pub seen: Option<Seen>,
    /// One-phase commits that no mark has covered yet.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_UNCONFIRMED>")]
    pub unconfirmed: Vec<Unconfirmed>,
    /// Whether that is all of them; if not, say Hello again when these are written.
    pub complete: bool,
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
}

/// An in-doubt participant's question.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Inquiry {
    /// Who asks.
    pub from: Identity,
    /// About which transaction.
    pub xid: Xid,
    /// All of its branches: the guard against lost memory asks them first.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub members: Vec<Name>,
}

/// The answer to an [`Inquiry`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum InquiryAnswer {
    /// Decided, and durable.
    Decided(Decision),
    /// Not decided yet, or not yet safe to say. Ask again.
    Undecided,
    /// Another log, or another start of it: asking here is of no use.
    NotMine,
}

/// A participant makes itself known; repeated on every connection and every 2 s.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Register {
    /// Who.
    pub from: Identity,
    /// Where it listens.
    pub address: String,
}

/// The answer to [`Register`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Registered {
    /// Known, durably. With the coordinator's stamp, whose mark may be taken over.
    Welcome(Stamp),
    /// Refused, with the reason in one line.
    Refused(String),
}

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
    /// Who held its branches, where the asker knows; fewer to wait for.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub participants: Vec<Name>,
}

/// A line of `txn list`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TxnLine {
    /// The transaction.
    pub txn: TxnId,
    /// Its key, where this side knows it.
    pub key: Option<Key>,
    /// `preparing`, `committing`, `in-doubt` and so on: docs/concepts.md lists them.
    pub state: String,
    /// Milliseconds in that state; filled in by the server, the machine has no clock.
    pub since_ms: u64,
    /// Its branches as far as this side knows them.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub branches: Vec<BranchLine>,
}

/// A branch in a [`TxnLine`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct BranchLine {
    /// Who holds it.
    pub participant: Name,
    /// `yes`, `no`, `read-only`, or nothing yet.
    pub vote: Option<String>,
    /// What the branch waits for or has done.
    pub state: String,
}

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TxnPage {
    /// In order of id.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_PAGE>")]
    pub lines: Vec<TxnLine>,
    /// Whether asking again after the last of them gives more.
    pub more: bool,
}

/// What to list.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AskPage {
    /// Only what comes after this one.
    pub after: Option<TxnId>,
    /// Only this one: ids from `first` to `last` (a prefix of a UUID is such a range).
    pub within: Option<(TxnId, TxnId)>,
    /// Ended ones too, as far as they are kept.
    pub ended: bool,
}

/// Reading last committed values of an embedded store, outside any transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AskValues {
    /// Exactly this key, or all with this prefix.
    pub select: Select,
    /// Only keys after this one.
    pub after: Option<String>,
}

/// Which keys.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Select {
    /// One key.
    Key(String),
    /// All that begin so.
    Prefix(String),
}

/// A last committed value.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ValueLine {
    /// The key.
    pub key: String,
    /// Its last committed value.
    pub value: Option<crate::operation::Value>,
    /// The in-doubt transaction that holds it for writing, if one does.
    pub locked_by: Option<TxnId>,
}

/// A page of values.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ValuePage {
    /// In order of key.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_PAGE>")]
    pub lines: Vec<ValueLine>,
    /// Whether asking again after the last of them gives more.
    pub more: bool,
}

/// Reads of all branches of a committed transaction.
pub type Reads = Vec<BranchReads>;

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn txn(n: u64) -> TxnId {
        TxnId::new(LogId(Uuid::nil()), Epoch(1), n, Nonce(0))
    }

    fn mark(low: u64, except: &[u64]) -> Mark {
        Mark { low: txn(low), except: except.iter().copied().map(txn).collect() }
    }

    #[test]
    fn what_a_mark_has_covered_stays_covered() {
        let mut seen = mark(10, &[5]);
        assert!(seen.advance(&mark(10, &[])));
        assert!(seen.covers(txn(5)));
        // The older mark arrives late: 5 does not come back.
        seen.advance(&mark(10, &[5]));
        assert!(seen.covers(txn(5)));
        assert!(!seen.advance(&mark(8, &[])));
        seen.advance(&mark(20, &[5, 15]));
        assert!(seen.covers(txn(5)) && !seen.covers(txn(15)) && !seen.covers(txn(20)));
    }
}
