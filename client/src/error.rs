//! Errors, classed by what is known of the effect.

use std::fmt;

use handfast_common::ids::{Key, Ticket};
use handfast_common::messages::Rejection;

/// Why a call gave no outcome. That no answer came to what *was* sent is not an error but
/// [`Outcome::Unknown`](crate::Outcome::Unknown).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The request can't be sent as it is. Nothing was.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// Nothing of this call left this process before the deadline. (A key that the caller fixed may have been sent by
    /// an earlier call.)
    #[error("nothing was sent: {why}")]
    NotSent {
        /// The key it would have gone under.
        key: Key,
        /// Its ticket, if the caller gave one.
        ticket: Option<Ticket>,
        /// Why no coordinator could be reached.
        why: NoCoordinator,
    },
    /// The coordinator did not begin it, and remembers nothing of it.
    #[error("{rejection}")]
    Rejected {
        /// The key it was sent under.
        key: Key,
        /// Its ticket.
        ticket: Ticket,
        /// The coordinator's reason.
        rejection: Rejection,
    },
    /// A question that has no effect got no answer.
    #[error("no answer: {0}")]
    NoAnswer(NoCoordinator),
}

/// Why no coordinator, or participant, could be talked to: one reason per address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoCoordinator(pub Vec<Unreached>);

/// Why one address was of no use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreached {
    /// The address.
    pub address: String,
    /// What kind of obstacle it is.
    pub obstacle: Obstacle,
    /// One line; names the address.
    pub why: String,
}

/// Kinds of obstacles. All but the first do not go away by trying again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Obstacle {
    /// Nobody answers there, or not in time.
    Down,
    /// Another protocol version.
    Version,
    /// Something else than Handfast.
    NotHandfast,
    /// A participant where a coordinator was wanted, or the reverse.
    OtherRole,
    /// A coordinator with another log than the ticket names: what the key means there is not what it means here.
    OtherLog,
}

impl Error {
    /// Whether calling again with the same arguments is safe and may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) => false,
            Self::NotSent { why, .. } | Self::NoAnswer(why) => !why.is_hopeless(),
            Self::Rejected { rejection, .. } => rejection.is_retryable(),
        }
    }

    /// Whether the caller knows what became of what it asked about. Only a question without an answer leaves it open.
    #[must_use]
    pub const fn is_outcome_known(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::NotSent { .. } | Self::Rejected { .. } => true,
            Self::NoAnswer(_) => false,
        }
    }

    /// Whether it is certain that this call had and will have no effect.
    #[must_use]
    pub const fn nothing_happened(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::NotSent { .. } | Self::Rejected { .. } | Self::NoAnswer(_) => true,
        }
    }
}

impl NoCoordinator {
    /// For a reason that has nothing to do with an address.
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self(vec![Unreached { address: String::new(), obstacle: Obstacle::Down, why: why.into() }])
    }

    /// Whether trying again is of no use: every address answers, and none rightly.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        !self.0.iter().any(|unreached| unreached.obstacle == Obstacle::Down)
    }
}

impl fmt::Display for NoCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, unreached) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{}", unreached.why)?;
        }
        Ok(())
    }
}
