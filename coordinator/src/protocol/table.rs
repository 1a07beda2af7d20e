//! The one transition table of a transaction at its coordinator, used by running and by recovery alike.
//!
//! ```text
//! (new) -Opened-> Active -NothingDone-> Ended     interactive: its branches enlist one by one
//!                    |
//!                 Frozen
//!                    v
//! (new) -Began-> Gathering -Gathered-> Preparing -AllYes---------------------> Deciding -CommitForced-> Committing
//!                    |                     |                                      ^                         |
//!                    |                     +-AllVotedSomeRead-> Releasing -Held---+                 AllAcknowledged
//!                    |                     |                        +-HeldNoneWrote-> Ended <---------------+
//!                    |                     +-AllLetGo-----------------------------------^
//!                    +-GatheredAlone-> OnePhase -Lost-> Asking
//!                                          +-OnePhaseCommitted-+-> Recording -OutcomeForced-> Ended
//!                                          +-OnePhaseAborted---+-> Ended
//! Active, Gathering, Preparing and Releasing -Failed-> Ended
//! recovery: (new) -FoundCommit-> Committing -FoundEnd-> Ended;  (new) -FoundOutcome-> Ended
//! ```

use std::fmt;

use handfast_common::mutants::{self, Mutant};

/// Where a transaction stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Interactive, and open: participants enlist, operations run. Takes no slot of those in flight.
    Active,
    /// Waits until every participant it names has answered Hello.
    Gathering,
    /// Prepare is out; votes come in.
    Preparing,
    /// All voted, some only read: they must confirm that their locks were held until now.
    Releasing,
    /// The Commit record has been handed to the log. From here no timeout may abort, and nobody may be told.
    Deciding,
    /// The Commit record is on disk. Told until all have acknowledged.
    Committing,
    /// One branch: the participant decides.
    OnePhase,
    /// Its answer was lost; it is asked until it tells.
    Asking,
    /// It committed; our own record of that is on its way to disk, its marker must stay until then.
    Recording,
    /// Over. Only the outcome remains.
    Ended,
}

/// What moves it on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Event {
    /// A client opened it.
    Opened,
    /// Its client wants it committed: the list of its branches is frozen.
    Frozen,
    /// The same, and nobody has enlisted.
    NothingDone,
    /// A client submitted it.
    Began,
    /// All its participants have answered Hello in this epoch.
    Gathered,
    /// The same, and there is one only.
    GatheredAlone,
    /// Every branch voted Yes, or only read and has let go.
    AllYes,
    /// Every branch only read and has let go at its vote: no record, nothing to commit.
    AllLetGo,
    /// Every branch voted, none No, some only read.
    AllVotedSomeRead,
    /// Every branch that only read held its locks until now; others wrote.
    Held,
    /// The same, and nobody wrote: no record, nothing to commit.
    HeldNoneWrote,
    /// A No, a timeout, a lost connection.
    Failed,
    /// The Commit record is on disk.
    CommitForced,
    /// The last acknowledgement came in.
    AllAcknowledged,
    /// The one-phase answer did not come.
    Lost,
    /// The participant committed it.
    OnePhaseCommitted,
    /// The participant did not, and never will.
    OnePhaseAborted,
    /// A participant reported a commit of an earlier start that this log has no record of.
    OnePhaseReported,
    /// The outcome record is on disk.
    OutcomeForced,
    /// Recovery read a Commit record.
    FoundCommit,
    /// Recovery read an End record.
    FoundEnd,
    /// Recovery read a one-phase outcome.
    FoundOutcome,
}

/// An event that has no place in a phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Illegal {
    /// Where the transaction stood; `None`: it was unknown.
    pub phase: Option<Phase>,
    /// What came.
    pub event: Event,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.phase {
            Some(phase) => write!(f, "{:?} has no place in {phase:?}", self.event),
            None => write!(f, "{:?} has no place before the transaction is known", self.event),
        }
    }
}

/// The table.
///
/// # Errors
/// [`Illegal`] for every pair that is not in it.
pub fn next(phase: Option<Phase>, event: Event) -> Result<Phase, Illegal> {
    use Event as E;
    use Phase as P;
    let illegal = Err(Illegal { phase, event });
    let Some(known) = phase else {
        return match event {
            E::Opened => Ok(P::Active),
            E::Began => Ok(P::Gathering),
            E::FoundCommit => Ok(P::Committing),
            E::OnePhaseReported => Ok(P::Recording),
            E::FoundOutcome => Ok(P::Ended),
            E::Frozen
            | E::NothingDone
            | E::Gathered
            | E::GatheredAlone
            | E::AllYes
            | E::AllLetGo
            | E::AllVotedSomeRead
            | E::Held
            | E::HeldNoneWrote
            | E::Failed
            | E::CommitForced
            | E::AllAcknowledged
            | E::Lost
            | E::OnePhaseCommitted
            | E::OnePhaseAborted
            | E::OutcomeForced
            | E::FoundEnd => illegal,
        };
    };
    match (known, event) {
        (P::Active, E::Frozen) => Ok(P::Gathering),
        (P::Active, E::NothingDone) => Ok(P::Ended),
        (P::Gathering, E::Gathered) => Ok(P::Preparing),
        (P::Gathering, E::GatheredAlone) => Ok(P::OnePhase),
        (P::Preparing, E::AllYes) => Ok(P::Deciding),
        (P::Preparing, E::AllLetGo) => Ok(P::Ended),
        (P::Preparing, E::AllVotedSomeRead) => Ok(P::Releasing),
        (P::Releasing, E::Held) => Ok(P::Deciding),
        (P::Releasing, E::HeldNoneWrote) => Ok(P::Ended),
        // After the Commit record is handed over there is no `Failed`: that is promise A2.
        (P::Active | P::Gathering | P::Preparing | P::Releasing, E::Failed) => Ok(P::Ended),
        (P::Deciding, E::Failed) if mutants::is(Mutant::TimeoutUndecides) => Ok(P::Ended),
        (P::Deciding, E::CommitForced) => Ok(P::Committing),
        (P::Committing, E::AllAcknowledged | E::FoundEnd) => Ok(P::Ended),
        // For one branch a lost answer is no `Failed` either: the participant may have committed.
        (P::OnePhase, E::Lost) => Ok(P::Asking),
        (P::OnePhase | P::Asking, E::OnePhaseCommitted) => Ok(P::Recording),
        (P::OnePhase | P::Asking, E::OnePhaseAborted) => Ok(P::Ended),
        (P::Recording, E::OutcomeForced) => Ok(P::Ended),
        (
            P::Active
            | P::Gathering
            | P::Preparing
            | P::Releasing
            | P::Deciding
            | P::Committing
            | P::OnePhase
            | P::Asking
            | P::Recording
            | P::Ended,
            _,
        ) => illegal,
    }
}

impl Phase {
    /// Whether a slot of those in flight is taken: the decision is still open.
    #[must_use]
    pub fn is_undecided(self) -> bool {
        match self {
            Self::Gathering | Self::Preparing | Self::Releasing | Self::Deciding | Self::OnePhase | Self::Asking => {
                true
            }
            // An open one costs memory only; how many there may be is bounded apart.
            Self::Active | Self::Committing | Self::Recording | Self::Ended => false,
        }
    }

    /// The name listings use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active | Self::Gathering | Self::OnePhase => "active",
            Self::Preparing | Self::Releasing | Self::Deciding => "preparing",
            Self::Committing | Self::Recording => "committing",
            Self::Asking => "in-doubt",
            Self::Ended => "ended",
        }
    }
}
