//! The participant's pure machine: what it does on every input, and nothing of how.
//!
//! It holds no clock, channel, randomness or disk. **Force, then speak**: an answer that depends on a record leaves
//! only after the input that says the record is on disk.
//!
//! `machine.rs` takes inputs in; `orders.rs`, `hello.rs`, `names.rs`, `interactive.rs` and `peers.rs` say which messages
//! are listened to, `table.rs` and the files below it what every event makes of a branch; `branch.rs`, `open.rs` and
//! `in_doubt.rs` what is known of one.

#![deny(clippy::wildcard_enum_match_arm, clippy::unwrap_used)]

mod branch;
mod config;
mod error;
mod event;
mod hello;
mod in_doubt;
mod interactive;
mod machine;
mod names;
mod open;
mod orders;
mod peers;
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
use handfast_common::messages::{
    Answer, Enlisted, Execute, ExecuteResult, Identity, InquiryAnswer, Member, OnePhaseResult, PeerAnswer, PeerInquiry,
    Stamp, ToParticipant,
};
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
    /// A client, or a service that was called under its transaction, asked for an operation.
    OperationReceived {
        /// Whom to answer.
        reply: ReplyTo,
        /// The operation.
        execute: Execute,
    },
    /// The resource manager has ended an `Execute`.
    OperationEnded {
        /// The transaction.
        xid: Xid,
        /// What came of it.
        execution: Execution,
    },
    /// The coordinator answered an `Enlist`.
    EnlistAnswered {
        /// The transaction.
        xid: Xid,
        /// What it said.
        answer: Enlisted,
    },
    /// Another participant, in doubt, asked what is known here.
    PeerInquired {
        /// Whom to answer.
        reply: ReplyTo,
        /// What is asked.
        inquiry: PeerInquiry,
    },
    /// Another participant answered.
    PeerAnswered {
        /// The transaction.
        xid: Xid,
        /// Who says so.
        from: Identity,
        /// What.
        answer: PeerAnswer,
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

/// What came of an operation of an open branch.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Execution {
    /// Done, for this transaction only; its locks are held. With what it read.
    Done(Payload),
    /// It did nothing, and the branch is as it was before.
    Failed(Reason),
    /// The branch holds nothing any more and has no work.
    Doomed(Reason),
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
    /// Answer an operation. The driver adds who speaks.
    ReplyExecuted {
        /// Which request.
        to: ReplyTo,
        /// With what.
        result: ExecuteResult,
    },
    /// Answer another participant. The driver adds who speaks.
    ReplyPeer {
        /// Which request.
        to: ReplyTo,
        /// With what.
        answer: PeerAnswer,
    },
    /// Carry out one operation of an open branch; ends with `OperationEnded`. One at a time for each branch.
    Execute {
        /// The transaction.
        xid: Xid,
        /// Its age.
        age: Age,
        /// What to do.
        work: Payload,
    },
    /// Tell the coordinator that this participant takes part. If it is lost, the machine asks again.
    Enlist {
        /// The transaction.
        xid: Xid,
        /// Where its coordinator is said to be.
        coordinator: String,
        /// Whether there was work since the last time.
        active: bool,
    },
    /// Do the work and prepare it; ends with `WorkPrepared`.
    Prepare {
        /// The transaction's age.
        age: Age,
        /// The protocol's part of the record to force.
        record: Prepared,
        /// What to do; `None`: all of it was executed before.
        work: Option<Payload>,
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
        /// What to do; `None`: all of it was executed before.
        work: Option<Payload>,
    },
    /// Work that still waits ends now, with No; an operation that waits ends as doomed; work handed to the log goes on.
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
    /// Undo a branch, prepared or open; an operation of it that still runs ends as doomed before. Ends with
    /// `BranchAborted`.
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
    /// Ask another participant of a transaction in doubt. If it is lost, the machine asks again.
    InquirePeer {
        /// The transaction.
        xid: Xid,
        /// Whom, as the prepare record names it.
        member: Member,
    },
    /// Say this to the operator, in the log.
    Say {
        /// The transaction, where it is about one.
        xid: Option<Xid>,
        /// One line.
        line: String,
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
    /// Time to enlist once more: the first time, or to tell that the branch is still worked in.
    Enlist(Xid),
}
