//! What can happen to one branch, and how the effects of it are put together.

use std::time::Duration;

use handfast_common::ids::{Age, ContentHash, Key, Name, Xid};
use handfast_common::messages::{
    Answer, Enlisted, ExecuteResult, OnePhaseResult, OperationId, PeerAnswer, Refusal, Seen, Task, Unsaid,
};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};

use super::error::{Illegal, Kind};
use super::record::{OnePhaseDone, Prepared};
use super::{Config, Effect, Effects, Execution, ReplyTo, Timer};

/// An event of one branch.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Event {
    /// The coordinator says Prepare.
    Prepare(PrepareOrder),
    /// The resource manager votes.
    WorkPrepared(Vote),
    /// The coordinator says Release.
    Release(ReplyTo),
    /// The decision, from whoever waits for an answer to it, or as the answer to an inquiry.
    Commit(Option<ReplyTo>),
    /// The same.
    Abort(Option<ReplyTo>),
    /// The resource manager has committed, or found nothing to commit.
    BranchCommitted {
        /// Whether the branch was there.
        found: bool,
    },
    /// The resource manager has undone.
    BranchAborted,
    /// The coordinator says `CommitOnePhase`.
    OnePhase(OnePhaseOrder),
    /// The coordinator asks what became of it.
    AskOnePhase(ReplyTo),
    /// The resource manager has ended a one-phase commit.
    OnePhaseEnded(OnePhaseResult),
    /// The transaction that does the same key has ended.
    LeaderEnded(OnePhaseResult),
    /// Work has waited long enough for locks.
    LockWaitOver,
    /// A branch that only read has held its locks long enough.
    HoldOver,
    /// An operation of an interactive branch.
    Execute(ExecuteOrder),
    /// The resource manager has ended an operation.
    OperationEnded(Execution),
    /// The coordinator answered that the branch is on its list, or why not.
    EnlistAnswered(Enlisted),
    /// Time to enlist again, or to report.
    EnlistDue,
    /// A participant in doubt asks.
    PeerInquired(PeerQuestion),
    /// Another participant can't say.
    PeerCantSay(Name, Unsaid),
    /// The coordinator answers an inquiry: not decided yet.
    Undecided,
    /// Time to ask about a branch in doubt.
    InquiryDue,
    /// The connection to the coordinator broke.
    CoordinatorLost,
    /// A newer epoch of the coordinator has said Hello.
    Replaced(Seen),
    /// The mark covers the transaction.
    MarkPassed,
    /// A prepare record was found in the store.
    FoundPrepared(Prepared),
    /// A done-marker was found in the store.
    FoundDone(Option<OnePhaseDone>),
}

/// A Prepare, as far as its branch is concerned.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct PrepareOrder {
    pub(super) reply: ReplyTo,
    pub(super) age: Age,
    pub(super) wait: Duration,
    pub(super) record: Prepared,
    pub(super) task: Task,
}

/// A one-phase commit, as far as its branch is concerned.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct OnePhaseOrder {
    pub(super) reply: ReplyTo,
    pub(super) age: Age,
    pub(super) wait: Duration,
    pub(super) key: Key,
    pub(super) hash: ContentHash,
    pub(super) task: Task,
    pub(super) elsewhere: Elsewhere,
}

/// An operation, as far as its branch is concerned.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct ExecuteOrder {
    pub(super) reply: ReplyTo,
    pub(super) coordinator: String,
    pub(super) id: OperationId,
    pub(super) digest: ContentHash,
    pub(super) work: Payload,
    pub(super) wait: Duration,
}

/// Another participant's question.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PeerQuestion {
    pub(super) reply: ReplyTo,
    /// Whether this very start is meant.
    pub(super) exact: bool,
    /// Whether the coordinator's start that began the transaction, or a later one, has been greeted here: else nothing
    /// of it can have come, and no mark would end the memory of a refusal.
    pub(super) greeted: bool,
}

/// What other transactions have made of the same key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Elsewhere {
    /// Nothing.
    Nothing,
    /// One is doing it just now.
    Working(Xid),
    /// One has done it, and read this.
    Done(Payload),
    /// The key stands for something else.
    OtherContent,
}

impl Event {
    /// For error lines.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Prepare(_) => "Prepare",
            Self::WorkPrepared(Vote::Yes(_)) => "WorkPrepared(Yes)",
            Self::WorkPrepared(Vote::No(_)) => "WorkPrepared(No)",
            Self::WorkPrepared(Vote::ReadOnly(_)) => "WorkPrepared(ReadOnly)",
            Self::Release(_) => "Release",
            Self::Commit(_) => "Decide(Commit)",
            Self::Abort(_) => "Decide(Abort)",
            Self::BranchCommitted { found: true } => "BranchCommitted",
            Self::BranchCommitted { found: false } => "BranchCommitted(not found)",
            Self::BranchAborted => "BranchAborted",
            Self::OnePhase(_) => "CommitOnePhase",
            Self::AskOnePhase(_) => "AskOnePhase",
            Self::OnePhaseEnded(OnePhaseResult::Committed(_)) => "OnePhaseEnded(Committed)",
            Self::OnePhaseEnded(OnePhaseResult::Aborted(_)) => "OnePhaseEnded(Aborted)",
            Self::LeaderEnded(_) => "LeaderEnded",
            Self::LockWaitOver => "LockWait",
            Self::HoldOver => "ReadOnlyHold",
            Self::Execute(_) => "Execute",
            Self::OperationEnded(_) => "OperationEnded",
            Self::EnlistAnswered(_) => "EnlistAnswered",
            Self::EnlistDue => "Enlist",
            Self::PeerInquired(_) => "PeerInquired",
            Self::PeerCantSay(..) => "PeerAnswered",
            Self::Undecided => "Undecided",
            Self::InquiryDue => "Inquire",
            Self::CoordinatorLost => "CoordinatorLost",
            Self::Replaced(_) => "Hello of a newer epoch",
            Self::MarkPassed => "mark",
            Self::FoundPrepared(_) => "a prepare record",
            Self::FoundDone(None) => "a done-marker",
            Self::FoundDone(Some(_)) => "a one-phase done-marker",
        }
    }
}

/// One branch's transition: which branch it is, and where its effects go.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) xid: Xid,
    pub(super) config: &'a Config,
    pub(super) out: &'a mut Effects,
    /// Event and state that have met, for error lines.
    pub(super) event: &'static str,
    pub(super) was: &'static str,
}

impl Context<'_> {
    /// The event is illegal for the state it has met.
    pub(super) fn illegal(&self, kind: Kind) -> Illegal {
        Illegal { kind, txn: self.xid.txn, event: self.event, state: self.was }
    }

    pub(super) fn reply(&mut self, to: ReplyTo, answer: Answer) {
        self.out.push(Effect::Reply { to, answer });
    }

    pub(super) fn refuse(&mut self, to: ReplyTo, refusal: Refusal) {
        self.reply(to, Answer::Refused(refusal));
    }

    pub(super) fn vote(&mut self, waiting: Vec<ReplyTo>, vote: &Vote) {
        for to in waiting {
            self.reply(to, Answer::Voted { xid: self.xid, vote: vote.clone() });
        }
    }

    pub(super) fn released(&mut self, to: ReplyTo, held: bool) {
        self.reply(to, Answer::Released { xid: self.xid, held });
    }

    pub(super) fn acknowledge(&mut self, waiting: impl IntoIterator<Item = ReplyTo>) {
        for to in waiting {
            self.reply(to, Answer::Acknowledged { xid: self.xid });
        }
    }

    pub(super) fn received(&mut self, to: Option<ReplyTo>) {
        if let Some(to) = to {
            self.reply(to, Answer::Received);
        }
    }

    pub(super) fn one_phase(&mut self, waiting: impl IntoIterator<Item = ReplyTo>, result: &OnePhaseResult) {
        for to in waiting {
            self.reply(to, Answer::OnePhaseEnded { xid: self.xid, result: result.clone() });
        }
    }

    pub(super) fn executed(&mut self, waiting: impl IntoIterator<Item = ReplyTo>, result: &ExecuteResult) {
        for to in waiting {
            self.out.push(Effect::ReplyExecuted { to, result: result.clone() });
        }
    }

    pub(super) fn tell_peer(&mut self, to: ReplyTo, answer: PeerAnswer) {
        self.out.push(Effect::ReplyPeer { to, answer });
    }

    /// Whoever waits for an epoch that has been replaced is told so: a coordinator that has been left behind must not
    /// count a late Yes (t19).
    pub(super) fn fence(&mut self, waiting: &mut Vec<ReplyTo>, seen: Seen) {
        if mutants::is(Mutant::ZombieHearsVotes) {
            return;
        }
        for to in std::mem::take(waiting) {
            self.refuse(to, Refusal::Fenced(seen));
        }
    }

    pub(super) fn timer(&mut self, timer: Timer, after: Duration, jitter: bool) {
        self.out.push(Effect::SetTimer { timer, after, jitter });
    }

    pub(super) fn release(&mut self) {
        self.out.push(Effect::Release { xid: self.xid });
    }

    /// Cancels, but only once: the resource manager has heard it.
    pub(super) fn cancel(&mut self, cancelled: &mut bool, kind: ReasonKind, detail: &str) {
        if !std::mem::replace(cancelled, true) {
            self.out.push(Effect::Cancel { xid: self.xid, reason: Reason::new(kind, detail) });
        }
    }
}
