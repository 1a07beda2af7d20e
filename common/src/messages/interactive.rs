//! Interactive transactions: begun by a client, worked in at participants by whoever has the context, committed by the
//! client. And a participant's word to the coordinator that it takes part.

use serde::{Deserialize, Serialize};

use super::client::Told;
use super::stamp::{Identity, Micros};
use crate::codec;
use crate::ids::{Age, Key, Name, Ticket, Xid};
use crate::limits::MAX_BRANCHES;
use crate::outcome::{Payload, Reason};

/// Client to coordinator: opens a transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Begin {
    /// The idempotency key: under it the outcome is asked for.
    pub key: Key,
    /// Where the coordinator stood when the key was first sent; the same on every resend.
    pub ticket: Ticket,
    /// The age of an earlier attempt, so that a retry does not start as the youngest again.
    pub age: Option<Age>,
    /// The highest transaction age that the client has heard of, from whatever coordinator.
    pub clock: Age,
    /// How long it may last; cut to the coordinator's own limit.
    pub total: Micros,
}

/// The answer to [`Begin`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Begun {
    /// Open. Sent again for a key whose transaction is still open.
    Open {
        /// Its identity: what operations at participants name.
        xid: Xid,
        /// Its age, for a retry.
        age: Age,
        /// What is left of its time.
        total: Micros,
    },
    /// The key stands for something that is not open any more, or nothing was begun.
    Told(Told),
}

/// Client to coordinator: no more work comes, decide. Answered with [`Told`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// Which.
    pub xid: Xid,
    /// How many operations the client has seen answered, by participant: fewer executed there is a No.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub counts: Vec<Count>,
    /// Whether anybody else was given the context: then participants may know of more operations, and of branches that
    /// the client does not know of.
    pub shared: bool,
    /// What is left of the client's deadline.
    pub wait: Micros,
}

/// How many operations were answered at a participant.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Count {
    /// Where.
    pub participant: Name,
    /// How many.
    pub operations: u64,
}

/// Participant to coordinator: takes part in a transaction, from before the first operation. Sent again while it works in
/// it: that keeps the transaction from being taken for idle, and tells a participant that missed the end.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Enlist {
    /// Who: the branch belongs to this incarnation and no other.
    pub from: Identity,
    /// In which transaction.
    pub xid: Xid,
    /// Whether there was work since the last time.
    pub active: bool,
}

/// The answer to [`Enlist`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Enlisted {
    /// The branch is on the coordinator's list; the transaction can't commit without it.
    Accepted {
        /// The transaction's age, for wait-die.
        age: Age,
        /// After so long without work it is aborted.
        idle: Micros,
    },
    /// Hello has not been exchanged with this start of the participant yet. Ask again.
    NotYet,
    /// Commit has begun or the transaction has ended: the branch may do nothing.
    Over(Reason),
}

/// Names an operation within its transaction, over resends. Chosen by the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct OperationId {
    /// Drawn once by each of those who work in the transaction: two services may number alike.
    pub caller: u64,
    /// Counts from 1.
    pub number: u64,
}

/// Client or service to participant: an operation of an open transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Execute {
    /// Whom it is for.
    pub to: Name,
    /// In which transaction.
    pub xid: Xid,
    /// Where its coordinator is: a hint, the log identity decides.
    pub coordinator: String,
    /// Which operation: run at most once, however often it arrives.
    pub operation: OperationId,
    /// What is left for waiting for locks.
    pub wait: Micros,
    /// The highest transaction age that the caller has heard of.
    pub clock: Age,
    /// What to do, in the resource manager's own form.
    pub work: Payload,
}

/// The answer to [`Execute`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Executed {
    /// Who answers: another incarnation than before means that earlier work is lost.
    pub from: Identity,
    /// What came of it.
    pub result: ExecuteResult,
}

/// What came of an operation.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ExecuteResult {
    /// Done; visible in this transaction only, its locks are held.
    Done(Payload),
    /// It did nothing, and the transaction may go on.
    Failed(Reason),
    /// The branch holds nothing, and the transaction can't commit any more.
    Doomed(Reason),
    /// Nothing was done: this participant has not heard from this start of the coordinator yet. Send it again.
    NotYet,
    /// Nothing was done: this is another participant than the one named.
    WrongAddressee,
}

/// Where a participant was last heard of.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Located {
    /// Its address, if it is registered and has told one.
    pub address: Option<String>,
    /// A few names that are registered, for the error line.
    #[serde(deserialize_with = "codec::bounded::<_, _, 16>")]
    pub known: Vec<Name>,
}
