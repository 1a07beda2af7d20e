//! The coordinator's pure machine: what it does on every input, and nothing of how.
//!
//! It holds no clock, channel, randomness or disk. **Force, then speak**: nothing that depends on a record leaves
//! before the input `RecordsForced` says that the record is on disk.
//!
//! Call order: [`Coordinator::recover`] once, with all records of the log; its effects force the new epoch. Until
//! `RecordsForced` has come for it, [`Coordinator::is_ready`] is false and no other input may be given. Then
//! [`Coordinator::step`] for every fact, in any order.

#![deny(clippy::unwrap_used)]

mod enlist;
mod hello;
mod history;
mod inquiry;
mod interactive;
mod machine;
mod mark;
mod one_phase;
mod operator;
mod peers;
mod phase_two;
mod record;
mod recovery;
mod silence;
mod submit;
pub mod table;
mod transaction;
mod view;
mod voting;

#[cfg(test)]
mod tests;

pub use machine::{Config, Coordinator, Guard};
pub use record::{Commit, Numbered, OnePhaseOutcome, OperatorAct, Record, Registration, Updating};
pub use recovery::RecoveryError;

use std::time::Duration;

use handfast_common::ids::{ContentHash, Name, RecordNumber, TxnId, Xid};
use handfast_common::messages::{
    self, AskOutcome, Begin, Begun, Enlist, Enlisted, FromParticipant, Inquiry, InquiryAnswer, Register, Registered,
    RegistryAnswer, RegistryOrder, Submit, ToParticipant, Told,
};

/// Whom to answer: the driver's token for a request, worth nothing after a restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReplyTo(pub u64);

/// A fact.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// A client submitted a transaction.
    TransactionSubmitted {
        /// Whom to answer.
        reply: ReplyTo,
        /// What is asked for.
        request: Submit,
        /// Digest of its branches.
        hash: ContentHash,
    },
    /// A client asked for an outcome.
    OutcomeAsked {
        /// Whom to answer.
        reply: ReplyTo,
        /// What is asked.
        question: AskOutcome,
    },
    /// A client opened an interactive transaction.
    BeginRequested {
        /// Whom to answer.
        reply: ReplyTo,
        /// What is asked for.
        begin: Begin,
    },
    /// A client wants its interactive transaction decided.
    CommitRequested {
        /// Whom to answer.
        reply: ReplyTo,
        /// What is asked for.
        commit: messages::Commit,
    },
    /// A client gave its interactive transaction up.
    RollbackRequested {
        /// Whom to answer.
        reply: ReplyTo,
        /// Which.
        xid: Xid,
    },
    /// A participant takes part, or still works, in an interactive transaction.
    BranchEnlisted {
        /// Whom to answer.
        reply: ReplyTo,
        /// Who and in what.
        enlist: Enlist,
    },
    /// An operator ordered something about a participant.
    RegistryOrdered {
        /// Whom to answer.
        reply: ReplyTo,
        /// What.
        order: RegistryOrder,
    },
    /// A participant made itself known.
    ParticipantRegistered {
        /// Whom to answer.
        reply: ReplyTo,
        /// Who and where.
        register: Register,
    },
    /// An operator gave a participant's address by hand.
    AddressGiven {
        /// Whose.
        name: Name,
        /// Where.
        address: String,
    },
    /// A participant in doubt asked for a decision.
    DecisionInquired {
        /// Whom to answer.
        reply: ReplyTo,
        /// What is asked.
        inquiry: Inquiry,
    },
    /// The connection to a participant stands.
    PeerConnected {
        /// Which.
        name: Name,
    },
    /// It broke; answers to what was sent over it will not come.
    PeerDisconnected {
        /// Which.
        name: Name,
    },
    /// A participant answered.
    AnswerReceived {
        /// Over whose connection.
        name: Name,
        /// What it said.
        message: FromParticipant,
    },
    /// Every record up to this one is on disk.
    RecordsForced {
        /// The last of them.
        upto: RecordNumber,
    },
    /// Free disk space fell below the reserve, or is back.
    SpaceChanged {
        /// Whether there is room for new work.
        room: bool,
    },
    /// A timer ran out. One that has lost its point is no error.
    TimerFired(Timer),
}

/// An order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Answer a client.
    Reply {
        /// Which request.
        to: ReplyTo,
        /// With what.
        told: Told,
    },
    /// Answer a client that opened a transaction.
    ReplyBegun {
        /// Which request.
        to: ReplyTo,
        /// With what.
        begun: Begun,
    },
    /// Answer a participant that enlisted.
    ReplyEnlisted {
        /// Which request.
        to: ReplyTo,
        /// With what.
        answer: Enlisted,
    },
    /// Answer an operator.
    ReplyRegistry {
        /// Which request.
        to: ReplyTo,
        /// With what.
        answer: RegistryAnswer,
    },
    /// Say this to the operator, in the log.
    Say {
        /// One line.
        line: String,
    },
    /// Answer a registration.
    ReplyRegistered {
        /// Which request.
        to: ReplyTo,
        /// With what.
        answer: Registered,
    },
    /// Answer an inquiry.
    ReplyInquiry {
        /// Which request.
        to: ReplyTo,
        /// With what.
        answer: InquiryAnswer,
    },
    /// Send to a participant. If no connection stands the message is lost, like any other.
    Send {
        /// To whom.
        to: Name,
        /// What.
        message: ToParticipant,
    },
    /// Write a record, and erase others in the same write. Order is kept.
    Append {
        /// Its number.
        number: RecordNumber,
        /// The record.
        record: Record,
        /// What it makes superfluous.
        erase: Vec<RecordNumber>,
        /// Whether something waits for it; if not it rides with the next batch.
        force: bool,
    },
    /// Start a timer. The driver adds jitter where `jitter` says so: retries must not march in step.
    SetTimer {
        /// Which.
        timer: Timer,
        /// After how long.
        after: Duration,
        /// Whether the driver may shorten it by up to a quarter.
        jitter: bool,
    },
    /// Keep a connection to this participant at this address, redialling for ever.
    Dial {
        /// Whom.
        name: Name,
        /// Where.
        address: String,
    },
    /// Drop the connection and dial again: what the peer said shows that it is not whom we greeted.
    HangUp {
        /// Whom.
        name: Name,
        /// Why, for the log line.
        why: String,
    },
    /// Drop the connection and dial no more: an operator took it out of the registry.
    Forget {
        /// Whom.
        name: Name,
    },
    /// Stop the process with exit code 9: going on would break a promise.
    Stop {
        /// One line: what, why, what to do.
        why: String,
    },
}

/// The coordinator's timers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Votes have been waited for long enough.
    Prepare(TxnId),
    /// Time to repeat what has not been acknowledged.
    Resend(TxnId),
    /// A participant that an inquiry needs has been waited for long enough.
    Guard(Name),
    /// An interactive transaction has been without work for long enough.
    Idle(TxnId),
    /// It has been open for long enough.
    Total(TxnId),
    /// Time to see who has stopped answering.
    Silence,
    /// Another stretch of running time is over.
    Retention,
}
