//! The participant's pure machine: what it does on every input, and nothing of how.
//!
//! It holds no clock, channel, randomness or disk. **Force, then speak**: an answer that depends on a record leaves
//! only after the input that says the record is on disk.
//!
//! `machine.rs` takes inputs in, `orders.rs` and `hello.rs` say which messages are listened to, `table.rs` what every
//! event makes of a branch, `branch.rs` what is known of one.

#![deny(clippy::wildcard_enum_match_arm, clippy::unwrap_used)]

mod branch;
mod config;
mod error;
mod event;
mod hello;
mod machine;
mod orders;
mod record;
mod recovery;
mod table;
#[cfg(test)]
mod tests;
mod view;

pub use config::Config;
pub use error::RecoveryError;
pub use machine::Participant;
pub use record::{Done, Line, OnePhaseDone, Prepared, Recovered};
pub use view::BranchView;

use std::time::Duration;

use handfast_common::ids::{Age, ContentHash, Key, LogId, Name, Xid};
use handfast_common::messages::{Answer, InquiryAnswer, OnePhaseResult, Stamp, ToParticipant};
use handfast_common::outcome::{Payload, Reason, Vote};

/// Whom to answer: the driver's token for a request, worth nothing after a restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReplyTo(pub u64);

/// A fact.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// A coordinator's message arrived.
    OrderReceived {
        /// Whom to answer.
        reply: ReplyTo,
        /// The message.
        message: ToParticipant,
    },
    /// The resource manager has ended a `Prepare`; after Yes its record is on disk.
    WorkPrepared {
        /// The transaction.
        xid: Xid,
        /// Its vote.
        vote: Vote,
    },
    /// The resource manager has ended a `CommitOnePhase`; after Committed it is on disk.
    OnePhaseEnded {
        /// The transaction.
        xid: Xid,
        /// How.
        result: OnePhaseResult,
    },
    /// The resource manager has ended a `Commit`.
    BranchCommitted {
        /// The transaction.
        xid: Xid,
        /// Whether the branch was there; durable if it was.
        found: bool,
    },
    /// The resource manager has ended an `Abort`.
    BranchAborted {
        /// The transaction.
        xid: Xid,
    },
    /// What `ForceLine` asked for is on disk, and all that was handed over before it.
    LineForced {
        /// The coordinator's log.
        log: LogId,
    },
    /// The coordinator answered an inquiry.
    InquiryAnswered {
        /// The transaction.
        xid: Xid,
        /// What it said.
        answer: InquiryAnswer,
    },
    /// The connection to a coordinator broke: what it has not decided here may be asked for now.
    CoordinatorLost {
        /// Its log.
        log: LogId,
    },
    /// A coordinator answered a registration; its mark may be taken over.
    StampReceived(Stamp),
    /// A timer ran out. One that has lost its point is no error.
    TimerFired(Timer),
}

/// What has to be carried out after one step, in this order.
pub type Effects = Vec<Effect>;

/// An order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Answer a request. The driver adds who speaks.
    Reply {
        /// Which.
        to: ReplyTo,
        /// With what.
        answer: Answer,
    },
    /// Do the work and prepare it; ends with `WorkPrepared`.
    Prepare {
        /// The transaction's age.
        age: Age,
        /// The protocol's part of the record to force.
        record: Prepared,
        /// What to do.
        work: Payload,
    },
    /// Do the work and commit it; ends with `OnePhaseEnded`.
    CommitOnePhase {
        /// The transaction.
        xid: Xid,
        /// Its age.
        age: Age,
        /// The client's key.
        key: Key,
        /// What it stands for.
        hash: ContentHash,
        /// What to do.
        work: Payload,
    },
    /// Work that still waits ends now, with No; work handed to the log goes on.
    Cancel {
        /// The transaction.
        xid: Xid,
        /// Why.
        reason: Reason,
    },
    /// Make a prepared branch take effect; ends with `BranchCommitted`.
    Commit {
        /// The transaction.
        xid: Xid,
    },
    /// Undo a prepared branch; ends with `BranchAborted`.
    Abort {
        /// The transaction.
        xid: Xid,
    },
    /// Let go of a branch that only read.
    Release {
        /// The transaction.
        xid: Xid,
    },
    /// Force what is known of a coordinator; ends with `LineForced`.
    ForceLine(Line),
    /// Write the same lazily, trimming what its mark covers.
    NoteLine(Line),
    /// Ask the coordinator about a branch in doubt.
    Inquire {
        /// The transaction.
        xid: Xid,
        /// Where its coordinator was last heard of.
        coordinator: String,
        /// All of its branches.
        members: Vec<Name>,
    },
    /// Start a timer; one of the same name that still runs is replaced, or two chains of inquiries would run side by
    /// side (f47). The driver adds jitter where `jitter` says so: retries must not march in step.
    SetTimer {
        /// Which.
        timer: Timer,
        /// After how long.
        after: Duration,
        /// Whether the driver may shorten it by up to a quarter.
        jitter: bool,
    },
    /// Stop the process with exit code 9: going on would break a promise.
    Stop {
        /// One line: what, why, what to do.
        why: String,
    },
}

/// The participant's timers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Work has waited long enough for its locks.
    LockWait(Xid),
    /// A branch that only read has held its locks long enough.
    ReadOnlyHold(Xid),
    /// Time to ask about a branch in doubt.
    Inquire(Xid),
}
