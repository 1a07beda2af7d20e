//! What the participant stops for. Each names the transaction, its state, and what came that may not come then.

use handfast_common::ids::{Key, LogId, TxnId};

/// Why the records found in the store can't be what this participant wrote: the store is damaged, or another program
/// wrote to it. Nothing is served then.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A record of a transaction that another record excludes.
    #[error("transaction {txn}: {record} in the store, but by another record it is {state} already")]
    Excluded {
        /// The transaction.
        txn: TxnId,
        /// The record.
        record: &'static str,
        /// What the records before it say.
        state: &'static str,
    },
    /// A client's key was done twice: an effect happened twice.
    #[error("key {key}: one-phase done-markers of two transactions in the store, {one} and {other}")]
    KeyTwice {
        /// The key.
        key: Key,
        /// One of them.
        one: TxnId,
        /// The other.
        other: TxnId,
    },
    /// There is one line per coordinator's log.
    #[error("coordinator log {}: two line records in the store", .log.0)]
    TwoLines {
        /// The log.
        log: LogId,
    },
    /// One epoch has one nonce; another one was refused when it came.
    #[error(
        "transaction {txn}: its prepare record names epoch {epoch} of coordinator log {} with another nonce than the \
         line record does", .log.0
    )]
    TwoNonces {
        /// The transaction whose prepare record it is.
        txn: TxnId,
        /// The coordinator's log.
        log: LogId,
        /// The epoch.
        epoch: u64,
    },
}

/// Why the process has to stop. The text goes out with [`Effect::Stop`](super::Effect::Stop).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Halt {
    /// Something that its state excludes happened to a branch.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// A force ended that nobody asked for.
    #[error("coordinator log {}: unexpected LineForced: no force is on its way; keep the store and report this", .log.0)]
    UnexpectedForce { log: LogId },
}

/// An event that is illegal for the state it meets.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("transaction {txn}: {kind}: {event} while its branch is {state}: {}", .kind.advice())]
pub(super) struct Illegal {
    pub(super) kind: Kind,
    pub(super) txn: TxnId,
    pub(super) event: &'static str,
    pub(super) state: &'static str,
}

/// What an illegal event means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Kind {
    /// t06: an acknowledgement would let the coordinator forget the only trace of a half that is missing here.
    #[error("lost branch")]
    LostBranch,
    /// A decision that this participant's own vote, or an earlier decision, rules out.
    #[error("contradiction")]
    Contradiction,
    /// Our own resource manager said what can't be.
    #[error("unexpected input")]
    Unexpected,
    /// A stored record that another one excludes.
    #[error("damaged store")]
    Record,
}

impl Kind {
    /// What follows from it, and what to do.
    fn advice(self) -> &'static str {
        match self {
            Self::LostBranch => {
                "half of a committed transaction is missing here, and it was not acknowledged; keep the store and find \
                 out what replaced it or took it back"
            }
            Self::Contradiction => {
                "one side has lost a record, and nothing was acknowledged; keep both logs and compare them"
            }
            Self::Unexpected => "the resource manager breaks its contract; keep the store and report this",
            Self::Record => "the store is damaged; keep it and restore a copy",
        }
    }
}
