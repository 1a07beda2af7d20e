//! What can happen to one branch, and how the effects of it are put together.

use std::time::Duration;

use handfast_common::ids::{Age, ContentHash, Key, Xid};
use handfast_common::messages::{Answer, OnePhaseResult, Refusal, Seen};
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};

use super::branch::{Fate, Following, InDoubt, OnePhaseWork, State, Work};
use super::record::{OnePhaseDone, Prepared};
use super::{Config, Effect, Effects, ReplyTo, Timer};

/// Inquiries that have to run by the timer between two that a broken connection hurries: a connection that breaks again
/// and again must not turn asking into a storm (f47).
const REST: u8 = 10;

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
    pub(super) work: Payload,
}

/// A one-phase commit, as far as its branch is concerned.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct OnePhaseOrder {
    pub(super) reply: ReplyTo,
    pub(super) age: Age,
    pub(super) wait: Duration,
    pub(super) key: Key,
    pub(super) hash: ContentHash,
    pub(super) work: Payload,
    pub(super) elsewhere: Elsewhere,
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
}

impl Context<'_> {
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

    /// Whoever waits for an epoch that has been replaced is told so: a coordinator that has been left behind must not
    /// count a late Yes (t19).
    pub(super) fn fence(&mut self, waiting: &mut Vec<ReplyTo>, seen: Seen) {
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

    /// Starts the work of a branch. The timer bounds the wait for locks and nothing after the record is handed over.
    pub(super) fn start(&mut self, order: PrepareOrder) -> State {
        let PrepareOrder { reply, age, wait, record, work } = order;
        self.out.push(Effect::Prepare { age, record: record.clone(), work: Some(work) });
        self.timer(Timer::LockWait(self.xid), wait.min(self.config.lock_wait), false);
        State::Working(Work { record, waiting: vec![reply], cancelled: false, fate: Fate::Open })
    }

    /// Starts a one-phase commit, unless its key is taken.
    pub(super) fn start_one_phase(&mut self, order: OnePhaseOrder) -> State {
        let OnePhaseOrder { reply, age, wait, key, hash, work, elsewhere } = order;
        match elsewhere {
            Elsewhere::Nothing => {
                self.out.push(Effect::CommitOnePhase { xid: self.xid, age, key, hash, work: Some(work) });
                self.timer(Timer::LockWait(self.xid), wait.min(self.config.lock_wait), false);
                let (waiting, followers) = (vec![reply], std::collections::BTreeSet::new());
                State::OnePhase(OnePhaseWork { key, hash, waiting, cancelled: false, followers })
            }
            Elsewhere::Working(leader) => State::Following(Following { leader, key, hash, waiting: vec![reply] }),
            Elsewhere::Done(reads) => self.end_one_phase(key, hash, vec![reply], OnePhaseResult::Committed(reads)),
            Elsewhere::OtherContent => {
                let reason = Reason::new(ReasonKind::BadWork, "this key was used for other work");
                self.end_one_phase(key, hash, vec![reply], OnePhaseResult::Aborted(reason))
            }
        }
    }

    /// Answers all who wait, and keeps the result for those who ask later.
    pub(super) fn end_one_phase(
        &mut self,
        key: Key,
        hash: ContentHash,
        waiting: Vec<ReplyTo>,
        result: OnePhaseResult,
    ) -> State {
        self.one_phase(waiting, &result);
        match result {
            OnePhaseResult::Committed(reads) => State::OnePhaseDone(OnePhaseDone { key, hash, reads }),
            OnePhaseResult::Aborted(reason) => {
                State::OnePhaseAborted(super::branch::OnePhaseAborted { key, hash, reason })
            }
        }
    }

    /// Asks about a branch in doubt, and sets the timer for the next time. The timer has the branch's name, and a new
    /// one takes the place of the old: there is never a second chain of them.
    pub(super) fn inquire(&mut self, mut branch: InDoubt, hurried: bool) -> State {
        let members = branch.record.members.iter().map(|member| member.who.name.clone()).collect();
        let coordinator = branch.record.coordinator.clone();
        self.out.push(Effect::Inquire { xid: self.xid, coordinator, members });
        self.timer(Timer::Inquire(self.xid), branch.pause, true);
        branch.pause = branch.pause.saturating_mul(2).min(self.config.retry_cap);
        branch.rest = if hurried { REST } else { branch.rest.saturating_sub(1) };
        State::Prepared(branch)
    }
}
