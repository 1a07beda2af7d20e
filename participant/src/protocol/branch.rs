//! What is known of one branch. `table.rs` says how one state follows another.
//!
//! Two states are never stored: `Unknown` (no trace, above the mark) and `Past` (no trace, below it).

use std::collections::BTreeSet;

use handfast_common::ids::{ContentHash, Key, Xid};
use handfast_common::outcome::{Reason, Vote};

use super::ReplyTo;
use super::in_doubt::InDoubt;
use super::open::{Active, Dropping, Enlisting};
use super::record::{OnePhaseDone, Prepared};

/// The state of a branch.
///
/// An interactive branch stands in `Enlisting` and `Active` before it is `Working`, and in `Dropping` when it never comes
/// to that. A one-shot branch begins as `Working`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum State {
    /// No trace, and the mark does not cover it.
    Unknown,
    /// No trace, and the mark covers it: it has ended, whatever it was.
    Past,
    /// The first operation of an interactive branch waits for the coordinator to put the branch on its list.
    Enlisting(Enlisting),
    /// Operations run, nothing is promised.
    Active(Active),
    /// It was open and is being undone.
    Dropping(Dropping),
    /// The resource manager does the work, or its prepare record is on the way to disk.
    Working(Work),
    /// In doubt: voted Yes, and only the decision ends it (A3).
    Prepared(InDoubt),
    /// Decided Commit, not durable yet.
    Committing(Applying),
    /// Decided Abort, not undone yet.
    Aborting(Undoing),
    /// Voted `ReadOnly`; its locks are held.
    Held(Voted),
    /// Voted `ReadOnly` and let go before `Release` came.
    GivenUp(Voted),
    /// Voted `ReadOnly` and let go because `Release` came.
    Released(Voted),
    /// Took effect. What was voted, unless an earlier incarnation did.
    Committed(Option<Voted>),
    /// Voted No, or voted and then undone.
    Aborted(Voted),
    /// Refused from now on, in whatever form it arrives: an abort or a question came before any work (f22, t04a), or
    /// its work was dropped.
    Barred(Barred),
    /// A one-phase commit is on its way.
    OnePhase(OnePhaseWork),
    /// A one-phase commit whose key another transaction is just doing: it gets that one's result.
    Following(Following),
    /// A one-phase commit is done, here or under another transaction with the same key.
    OnePhaseDone(OnePhaseDone),
    /// A one-phase commit did nothing, and never will.
    OnePhaseAborted(OnePhaseAborted),
}

/// Work before its vote.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Work {
    /// The record it will force; `reads` is empty.
    pub(super) record: Prepared,
    /// Requests that wait for the vote.
    pub(super) waiting: Vec<ReplyTo>,
    /// Whether it has been cancelled: once is enough.
    pub(super) cancelled: bool,
    /// What is to become of it when the resource manager is through.
    pub(super) fate: Fate,
    /// How the work came.
    pub(super) kind: WorkKind,
    /// Participants in doubt that asked meanwhile, each with whether it means this very start: what is perhaps in the log
    /// already is answered when that is known (t02e).
    pub(super) asked: Vec<(ReplyTo, bool)>,
}

/// How the work of a branch came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum WorkKind {
    /// With the Prepare: it may wait for locks.
    Carried,
    /// Operation by operation, before. `exact`: all locks of the transaction exist by now, so a branch that only read
    /// lets go at its vote; else an operation that its client knows nothing of may still be on its way (t10f).
    Ran { exact: bool },
}

/// What happened to a branch while it was still working.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Fate {
    /// Nothing: its vote counts.
    Open,
    /// Its coordinator was replaced: a Yes stays prepared and asks, nobody waits for anything else.
    Replaced,
    /// Its abort was heard: even a Yes is undone.
    Aborted,
}

/// A branch that is being committed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Applying {
    /// What is on disk.
    pub(super) record: Prepared,
    /// Requests that wait for the acknowledgement.
    pub(super) waiting: Vec<ReplyTo>,
}

/// A branch that is being undone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Undoing {
    /// What is on disk.
    pub(super) record: Prepared,
    /// What this incarnation said to Prepare.
    pub(super) vote: Vote,
}

/// What this incarnation said to Prepare, for repeating it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Voted {
    /// Digest of the work.
    pub(super) work: ContentHash,
    /// The vote.
    pub(super) vote: Vote,
}

/// A branch that is refused from now on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Barred {
    /// Why.
    pub(super) reason: Reason,
    /// Whether its coordinator has decided so. What this start has refused by itself says nothing about another start of
    /// this participant, which may have voted (t02).
    pub(super) decided: bool,
}

/// A one-phase commit on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct OnePhaseWork {
    /// The client's key.
    pub(super) key: Key,
    /// What it stands for.
    pub(super) hash: ContentHash,
    /// Requests that wait for the result.
    pub(super) waiting: Vec<ReplyTo>,
    /// Whether it has been cancelled.
    pub(super) cancelled: bool,
    /// Whether its work rides on it and may wait for locks.
    pub(super) carried: bool,
    /// Other transactions with the same key, which get the same result.
    pub(super) followers: BTreeSet<Xid>,
}

/// A one-phase commit that waits for another one's result.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Following {
    /// Which one.
    pub(super) leader: Xid,
    /// The client's key.
    pub(super) key: Key,
    /// What it stands for.
    pub(super) hash: ContentHash,
    /// Requests that wait for the result.
    pub(super) waiting: Vec<ReplyTo>,
}

/// A one-phase commit that did nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct OnePhaseAborted {
    /// The client's key.
    pub(super) key: Key,
    /// What it stands for.
    pub(super) hash: ContentHash,
    /// Why.
    pub(super) reason: Reason,
}

impl Barred {
    /// By its coordinator's decision.
    pub(super) fn decided(reason: Reason) -> Self {
        Self { reason, decided: true }
    }

    /// By this participant.
    pub(super) fn here(reason: Reason) -> Self {
        Self { reason, decided: false }
    }
}

impl Voted {
    pub(super) fn yes(record: Prepared) -> Self {
        Self { work: record.work, vote: Vote::Yes(record.reads) }
    }
}

impl State {
    /// For error lines.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Past => "below the mark",
            Self::Enlisting(_) => "enlisting",
            Self::Active(_) => "open",
            Self::Dropping(_) => "being dropped",
            Self::Working(work) if work.fate == Fate::Aborted => "working and aborted",
            Self::Working(_) => "working",
            Self::Prepared(_) => "prepared",
            Self::Committing(_) => "committing",
            Self::Aborting(_) => "aborting",
            Self::Held(_) => "read-only and held",
            Self::GivenUp(_) => "read-only and given up",
            Self::Released(_) => "read-only and released",
            Self::Committed(_) => "committed",
            Self::Aborted(_) => "aborted",
            Self::Barred(_) => "refused for good",
            Self::OnePhase(_) => "one-phase working",
            Self::Following(_) => "one-phase waiting for its key",
            Self::OnePhaseDone(_) => "one-phase committed",
            Self::OnePhaseAborted(_) => "one-phase aborted",
        }
    }

    /// Whether the resource manager still owes an answer that decides what the branch becomes: a new epoch waits for it.
    pub(super) fn is_working(&self) -> bool {
        matches!(self, Self::Working(_) | Self::OnePhase(_) | Self::Following(_))
    }

    /// Whether the branch is only remembered: it holds nothing, and nothing is on its way.
    pub(super) fn is_ended(&self) -> bool {
        match self {
            Self::Enlisting(_)
            | Self::Active(_)
            | Self::Dropping(_)
            | Self::Working(_)
            | Self::Prepared(_)
            | Self::Committing(_)
            | Self::Aborting(_)
            | Self::Held(_)
            | Self::OnePhase(_)
            | Self::Following(_) => false,
            Self::Unknown
            | Self::Past
            | Self::GivenUp(_)
            | Self::Released(_)
            | Self::Committed(_)
            | Self::Aborted(_)
            | Self::Barred(_)
            | Self::OnePhaseDone(_)
            | Self::OnePhaseAborted(_) => true,
        }
    }

    /// What this incarnation says to Prepare, once it is known.
    pub(super) fn vote(&self) -> Option<Vote> {
        match self {
            Self::Prepared(InDoubt { record, .. }) | Self::Committing(Applying { record, .. }) => {
                Some(Vote::Yes(record.reads.clone()))
            }
            Self::Aborting(undoing) => Some(undoing.vote.clone()),
            Self::Held(voted) | Self::GivenUp(voted) | Self::Released(voted) | Self::Aborted(voted) => {
                Some(voted.vote.clone())
            }
            Self::Committed(voted) => voted.as_ref().map(|voted| voted.vote.clone()),
            Self::Barred(barred) | Self::Dropping(Dropping { barred, .. }) => Some(Vote::No(barred.reason.clone())),
            Self::Unknown
            | Self::Past
            | Self::Enlisting(_)
            | Self::Active(_)
            | Self::Working(_)
            | Self::OnePhase(_)
            | Self::Following(_)
            | Self::OnePhaseDone(_)
            | Self::OnePhaseAborted(_) => None,
        }
    }

    /// Digest of the work that a Prepare brought, where it is known.
    pub(super) fn work(&self) -> Option<ContentHash> {
        match self {
            Self::Working(Work { record, .. })
            | Self::Prepared(InDoubt { record, .. })
            | Self::Committing(Applying { record, .. })
            | Self::Aborting(Undoing { record, .. }) => Some(record.work),
            Self::Held(voted) | Self::GivenUp(voted) | Self::Released(voted) | Self::Aborted(voted) => Some(voted.work),
            Self::Committed(voted) => voted.as_ref().map(|voted| voted.work),
            Self::Unknown
            | Self::Past
            | Self::Enlisting(_)
            | Self::Active(_)
            | Self::Dropping(_)
            | Self::Barred(_)
            | Self::OnePhase(_)
            | Self::Following(_)
            | Self::OnePhaseDone(_)
            | Self::OnePhaseAborted(_) => None,
        }
    }

    /// Key and hash of a one-phase commit.
    pub(super) fn request(&self) -> Option<(Key, ContentHash)> {
        match self {
            Self::OnePhase(work) => Some((work.key, work.hash)),
            Self::Following(following) => Some((following.key, following.hash)),
            Self::OnePhaseDone(done) => Some((done.key, done.hash)),
            Self::OnePhaseAborted(aborted) => Some((aborted.key, aborted.hash)),
            Self::Unknown
            | Self::Past
            | Self::Enlisting(_)
            | Self::Active(_)
            | Self::Dropping(_)
            | Self::Working(_)
            | Self::Prepared(_)
            | Self::Committing(_)
            | Self::Aborting(_)
            | Self::Held(_)
            | Self::GivenUp(_)
            | Self::Released(_)
            | Self::Committed(_)
            | Self::Aborted(_)
            | Self::Barred(_) => None,
        }
    }

    /// The key that may not be done again while this branch is here.
    pub(super) fn claims(&self) -> Option<Key> {
        match self {
            Self::OnePhase(_) | Self::OnePhaseDone(_) => self.request().map(|(key, _)| key),
            Self::Unknown
            | Self::Past
            | Self::Enlisting(_)
            | Self::Active(_)
            | Self::Dropping(_)
            | Self::Working(_)
            | Self::Prepared(_)
            | Self::Committing(_)
            | Self::Aborting(_)
            | Self::Held(_)
            | Self::GivenUp(_)
            | Self::Released(_)
            | Self::Committed(_)
            | Self::Aborted(_)
            | Self::Barred(_)
            | Self::Following(_)
            | Self::OnePhaseAborted(_) => None,
        }
    }
}
