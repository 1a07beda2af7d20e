//! Errors of interactive transactions: one enum for each thing a caller does.
//!
//! Each says two things: whether the outcome is known, and whether doing the same again is safe and may succeed. "The
//! same" is the whole transaction, body and all: after an abort nothing of it has happened.

use handfast_common::codec::CodecError;
use handfast_common::ids::Name;
use handfast_common::messages::{Rejection, Told};
use handfast_common::outcome::Reason;

use crate::error::NoCoordinator;
use crate::report::Report;

/// Why no transaction was begun. Nothing happened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BeginError {
    /// No coordinator answered before the deadline. One that was begun all the same has no work and ends by itself.
    #[error("nothing was begun: {0}")]
    Unreached(NoCoordinator),
    /// The coordinator did not begin it.
    #[error("{0}")]
    Rejected(Rejection),
}

/// Why an operation has no result.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OperationError {
    /// It can't be sent as it is. The transaction may go on.
    #[error("invalid operation: {0}")]
    Invalid(String),
    /// It did nothing. The transaction may go on.
    #[error("{0}")]
    Failed(Reason),
    /// The transaction can't commit any more, and holds nothing at this participant.
    #[error("the transaction can't commit: {0}")]
    Doomed(Reason),
    /// The coordinator knows no such participant. The transaction may go on.
    #[error("{}", unknown(name, known))]
    UnknownParticipant {
        /// The name asked for.
        name: Name,
        /// A few that are known.
        known: Vec<Name>,
    },
    /// It certainly was not carried out: nobody was reached before the deadline.
    #[error("participant '{participant}' was not reached: {why}")]
    NotSent {
        /// Where to.
        participant: Name,
        /// What was in the way.
        why: String,
    },
    /// It may have been carried out: no answer came before the deadline. The transaction will not be committed.
    #[error("participant '{participant}' did not answer: {why}")]
    NoAnswer {
        /// Where to.
        participant: Name,
        /// What was in the way.
        why: String,
    },
    /// It was done, and its result is not that of an embedded store.
    #[error("participant '{participant}' answered something that can't be read: {why}")]
    Unreadable {
        /// Who answered.
        participant: Name,
        /// What is wrong with it.
        why: CodecError,
    },
    /// The transaction was committed or rolled back by another handle.
    #[error("the transaction has ended")]
    Ended,
}

/// Why a transaction was not committed, or may not have been.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing happened, and nothing will.
    #[error("aborted: {0}")]
    Aborted(Reason),
    /// Refused here, and rolled back: the result of an operation at this participant is not known to the caller. It is
    /// still under way in another task, or whoever waited for it let go.
    #[error("rolled back: an operation at participant '{0}' is unanswered")]
    Unanswered(Name),
    /// No answer came: it may have committed. Key and ticket of the report ask again: [`Client::outcome`].
    ///
    /// [`Client::outcome`]: crate::Client::outcome
    #[error("the outcome is not known: {}", .0.outcome)]
    Unknown(Box<Report>),
    /// A branch was decided by hand against the decision.
    #[error("a branch was decided by hand against the decision")]
    Mixed(Box<Report>),
    /// It was committed or rolled back by another handle, which knows what came of it.
    #[error("the transaction has been ended by another handle")]
    Ended,
}

/// Why [`Client::transact`](crate::Client::transact) has no result.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransactError<E> {
    /// It could not be begun. Nothing happened.
    #[error(transparent)]
    Begin(BeginError),
    /// The body returned an error: rolled back, nothing happened.
    #[error("rolled back: {0}")]
    Body(E),
    /// It was not committed, or may not have been; after as many attempts as there are.
    #[error(transparent)]
    Commit(CommitError),
}

/// Why it is not certain that a transaction which somebody else began is aborted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DoomError {
    /// The coordinator did not answer.
    #[error("the coordinator was not told: {0}")]
    NoAnswer(NoCoordinator),
    /// It is being committed, or has been.
    #[error("too late: {0:?}")]
    TooLate(Box<Told>),
}

impl BeginError {
    /// Whether it is known what happened: nothing.
    #[must_use]
    pub const fn is_outcome_known(&self) -> bool {
        true
    }

    /// Whether doing the same again is safe and may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreached(why) => !why.is_hopeless(),
            Self::Rejected(rejection) => rejection.is_retryable(),
        }
    }
}

impl OperationError {
    /// Whether it is known what the operation did.
    #[must_use]
    pub const fn is_outcome_known(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => false,
            Self::Invalid(_)
            | Self::Failed(_)
            | Self::Doomed(_)
            | Self::UnknownParticipant { .. }
            | Self::NotSent { .. }
            | Self::Unreadable { .. }
            | Self::Ended => true,
        }
    }

    /// Whether the transaction as a whole may succeed when it is run again, once this one is rolled back.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Failed(reason) | Self::Doomed(reason) => reason.kind.is_retryable(),
            Self::NotSent { .. } | Self::NoAnswer { .. } => true,
            Self::Invalid(_) | Self::UnknownParticipant { .. } | Self::Unreadable { .. } | Self::Ended => false,
        }
    }
}

impl CommitError {
    /// Whether it is known what happened. If so, it is nothing, save for [`CommitError::Mixed`] and
    /// [`CommitError::Ended`].
    #[must_use]
    pub const fn is_outcome_known(&self) -> bool {
        match self {
            Self::Unknown(_) => false,
            Self::Aborted(_) | Self::Unanswered(_) | Self::Mixed(_) | Self::Ended => true,
        }
    }

    /// Whether doing the same again is safe and may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Aborted(reason) => reason.kind.is_retryable(),
            Self::Unanswered(_) | Self::Unknown(_) | Self::Mixed(_) | Self::Ended => false,
        }
    }
}

impl<E> TransactError<E> {
    /// Whether it is known what happened. If so, it is nothing, save for [`CommitError::Mixed`] and
    /// [`CommitError::Ended`].
    #[must_use]
    pub const fn is_outcome_known(&self) -> bool {
        match self {
            Self::Begin(_) | Self::Body(_) => true,
            Self::Commit(error) => error.is_outcome_known(),
        }
    }

    /// Whether doing the same again is safe and may succeed. Never for an error of the body: only the body knows.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Begin(error) => error.is_retryable(),
            Self::Body(_) => false,
            Self::Commit(error) => error.is_retryable(),
        }
    }
}

impl DoomError {
    /// Whether it is known what becomes of the transaction.
    #[must_use]
    pub fn is_outcome_known(&self) -> bool {
        match self {
            Self::NoAnswer(_) => false,
            Self::TooLate(told) => matches!(**told, Told::Outcome { .. }),
        }
    }

    /// Whether doing the same again is safe and may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoAnswer(why) => !why.is_hopeless(),
            Self::TooLate(_) => false,
        }
    }
}

/// In the coordinator's own words.
fn unknown(name: &Name, known: &[Name]) -> String {
    Rejection::UnknownParticipant { name: name.clone(), known: known.to_vec() }.to_string()
}
