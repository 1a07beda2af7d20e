//! The participant.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::ids::{Age, Incarnation, Key, LogId, Nonce, TxnId, Xid};
use handfast_common::messages::{InquiryAnswer, Mark, OnePhaseResult, Seen, Stamp};
use handfast_common::outcome::Decision;
use uuid::Uuid;

use super::branch::State;
use super::error::{Halt, Illegal};
use super::event::{Context, Event};
use super::hello::Coordinator;
use super::table;
use super::{Config, Effect, Effects, Input, Timer};

/// A participant: what it has promised, and what it still remembers.
///
/// Call [`recover`](Self::recover) once, with all that was found in the store and an incarnation that no start before
/// has had; carry its effects out; then [`step`](Self::step) on every input, in the order they come, and carry out the
/// effects of each in their order. Every request gets exactly one reply, at once or later. After
/// [`Effect::Stop`] nothing more comes out: going on would break a promise.
///
/// Requests and timers may come twice, late, or in any order; completions of the resource manager come once for each
/// order. Whatever is only remembered goes when the coordinator's mark passes it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Participant {
    pub(super) config: Config,
    pub(super) coordinators: BTreeMap<LogId, Coordinator>,
    pub(super) branches: BTreeMap<Xid, State>,
    /// Keys of one-phase commits that are done or on their way, by transaction: a key is done once, under whatever
    /// transaction it comes.
    pub(super) keys: BTreeSet<(Key, Xid)>,
    /// Earlier starts that the store remembers, with the sequence each came to.
    pub(super) starts: BTreeMap<Incarnation, u64>,
    pub(super) clock: Age,
    pub(super) stopped: bool,
}

impl Participant {
    /// Takes one input in and says what has to be done.
    #[must_use]
    pub fn step(&mut self, input: Input) -> Effects {
        if self.stopped {
            return Effects::new();
        }
        let mut out = Effects::new();
        match self.on_input(input, &mut out) {
            Ok(()) => out,
            // Nothing of this step is carried out: it might be an answer.
            Err(error) => {
                self.stopped = true;
                vec![Effect::Stop { why: error.to_string() }]
            }
        }
    }

    /// The highest transaction age heard of.
    #[must_use]
    pub fn clock(&self) -> Age {
        self.clock
    }

    /// What has been heard of a coordinator since its Hello was answered.
    #[must_use]
    pub fn seen(&self, log: LogId) -> Option<Seen> {
        self.coordinators.get(&log)?.line.as_ref().map(|line| line.seen)
    }

    /// The mark of a coordinator as it was last heard: nothing below it runs any more.
    #[must_use]
    pub fn mark_of(&self, log: LogId) -> Option<&Mark> {
        self.coordinators.get(&log)?.mark()
    }

    /// Who this is.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn on_input(&mut self, input: Input, out: &mut Effects) -> Result<(), Halt> {
        match input {
            Input::OrderReceived { reply, message } => self.on_order(reply, message, out)?,
            Input::WorkPrepared { xid, vote } => self.feed(xid, Event::WorkPrepared(vote), out)?,
            Input::OnePhaseEnded { xid, result } => self.on_one_phase_ended(xid, result, out)?,
            Input::BranchCommitted { xid, found } => self.feed(xid, Event::BranchCommitted { found }, out)?,
            Input::BranchAborted { xid } => self.feed(xid, Event::BranchAborted, out)?,
            Input::LineForced { log } => self.on_line_forced(log, out)?,
            Input::OperationReceived { reply, execute } => self.on_operation_received(reply, execute, out)?,
            Input::OperationEnded { xid, execution } => self.feed(xid, Event::OperationEnded(execution), out)?,
            Input::EnlistAnswered { xid, answer } => self.on_enlist_answered(xid, answer, out)?,
            Input::PeerInquired { reply, inquiry } => self.on_peer_inquired(reply, inquiry, out)?,
            Input::PeerAnswered { xid, from, answer } => self.on_peer_answered(xid, &from, answer, out)?,
            Input::InquiryAnswered { xid, answer } => self.on_inquiry_answered(xid, answer, out)?,
            Input::CoordinatorLost { log } => self.on_coordinator_lost(log, out)?,
            Input::StampReceived(stamp) => self.on_stamp_received(&stamp, out)?,
            Input::TimerFired(timer) => self.on_timer_fired(timer, out)?,
        }
        Ok(())
    }

    fn on_one_phase_ended(&mut self, xid: Xid, result: OnePhaseResult, out: &mut Effects) -> Result<(), Illegal> {
        let followers = match self.branches.get_mut(&xid) {
            Some(State::OnePhase(work)) => std::mem::take(&mut work.followers),
            Some(_) | None => BTreeSet::new(),
        };
        self.feed(xid, Event::OnePhaseEnded(result.clone()), out)?;
        for follower in followers {
            self.feed(follower, Event::LeaderEnded(result.clone()), out)?;
        }
        Ok(())
    }

    /// To a branch in doubt an answer is as good as an order, but nobody waits for a reply. Whatever is no decision leaves
    /// the timer running: a branch in doubt asks for ever.
    ///
    /// A branch that is not in doubt has its decision, or never asked. What comes then carries no stamp, and may be so
    /// late that the coordinator has trimmed the outcome and presumes an abort: it proves nothing.
    fn on_inquiry_answered(&mut self, xid: Xid, answer: InquiryAnswer, out: &mut Effects) -> Result<(), Illegal> {
        if !matches!(self.branches.get(&xid), Some(State::Prepared(_))) {
            return Ok(());
        }
        match answer {
            InquiryAnswer::Decided(Decision::Commit) => self.feed(xid, Event::Commit(None), out),
            InquiryAnswer::Decided(Decision::Abort) => self.feed(xid, Event::Abort(None), out),
            InquiryAnswer::Undecided => self.feed(xid, Event::Undecided, out),
            // Whoever that was, the coordinator has not answered.
            InquiryAnswer::NotMine => Ok(()),
        }
    }

    fn on_coordinator_lost(&mut self, log: LogId, out: &mut Effects) -> Result<(), Illegal> {
        let in_doubt: Vec<Xid> = self
            .branches_of(log)
            .filter(|(_, state)| matches!(state, State::Prepared(_)))
            .map(|(xid, _)| *xid)
            .collect();
        in_doubt.into_iter().try_for_each(|xid| self.feed(xid, Event::CoordinatorLost, out))
    }

    /// Only a stamp of the very epoch whose Hello was answered: an older one knows less, a newer one must say Hello.
    fn on_stamp_received(&mut self, stamp: &Stamp, out: &mut Effects) -> Result<(), Illegal> {
        let admitted = self.coordinators.get(&stamp.log).is_some_and(|coordinator| coordinator.admit(stamp).is_ok());
        if admitted { self.take_stamp(stamp, out) } else { Ok(()) }
    }

    fn on_timer_fired(&mut self, timer: Timer, out: &mut Effects) -> Result<(), Illegal> {
        match timer {
            Timer::LockWait(xid) => self.feed(xid, Event::LockWaitOver, out),
            Timer::ReadOnlyHold(xid) => self.feed(xid, Event::HoldOver, out),
            Timer::Inquire(xid) => self.feed(xid, Event::InquiryDue, out),
            Timer::Enlist(xid) => self.feed(xid, Event::EnlistDue, out),
        }
    }

    /// Takes over what an admitted stamp says. It is written lazily, but before the orders that come with it: so it is
    /// durable with the first batch that depends on it.
    pub(super) fn take_stamp(&mut self, from: &Stamp, out: &mut Effects) -> Result<(), Illegal> {
        self.hear_clock(from.clock);
        let Some(coordinator) = self.coordinators.get_mut(&from.log) else { return Ok(()) };
        let (changed, moved) = coordinator.hear(from);
        if changed {
            out.extend(coordinator.line.clone().map(Effect::NoteLine));
        }
        if moved { self.forget_covered(from.log, from.mark.low, out) } else { Ok(()) }
    }

    /// Everything that is only remembered goes, or memory would grow with every transaction.
    pub(super) fn forget_covered(&mut self, log: LogId, low: TxnId, out: &mut Effects) -> Result<(), Illegal> {
        let below = first(log)..Xid { log, txn: low, nonce: Nonce(0) };
        let covered: Vec<Xid> =
            self.branches.range(below).map(|(xid, _)| *xid).filter(|xid| self.covers(*xid)).collect();
        covered.into_iter().try_for_each(|xid| self.feed(xid, Event::MarkPassed, out))
    }

    /// Whether the mark of its coordinator covers a transaction.
    pub(super) fn covers(&self, xid: Xid) -> bool {
        self.coordinators.get(&xid.log).and_then(Coordinator::mark).is_some_and(|mark| mark.covers(xid.txn))
    }

    /// All that is known of one coordinator's branches, in the order they began.
    pub(super) fn branches_of(&self, log: LogId) -> impl Iterator<Item = (&Xid, &State)> {
        self.branches.range(first(log)..=last(log))
    }

    /// The transactions that do a key, or have done it.
    pub(super) fn claimants(&self, key: Key) -> impl Iterator<Item = Xid> {
        let all = (key, first(LogId(Uuid::nil())))..=(key, last(LogId(Uuid::max())));
        self.keys.range(all).map(|(_, xid)| *xid)
    }

    /// Every change of a branch goes through here, and through the table.
    pub(super) fn feed(&mut self, xid: Xid, event: Event, out: &mut Effects) -> Result<(), Illegal> {
        let covered = self.covers(xid);
        let none = if covered { State::Past } else { State::Unknown };
        let state = self.branches.remove(&xid).unwrap_or(none);
        let (claimed, was_working) = (state.claims(), state.is_working());
        let mut cx = Context { xid, config: &self.config, out, event: "", was: "" };
        let mut state = table::next(state, event, &mut cx)?;
        if covered {
            state = table::next(state, Event::MarkPassed, &mut cx)?;
        }
        if state.claims() != claimed {
            self.keys.extend(state.claims().map(|key| (key, xid)));
            if let Some(key) = claimed {
                self.keys.remove(&(key, xid));
            }
        }
        let drained = was_working && !state.is_working();
        if !matches!(state, State::Unknown | State::Past) {
            self.branches.insert(xid, state);
        }
        if drained {
            self.on_drained(xid, out);
        }
        Ok(())
    }
}

/// Below every transaction of a log.
fn first(log: LogId) -> Xid {
    Xid { log, txn: TxnId(Uuid::nil()), nonce: Nonce(0) }
}

/// Above every transaction of a log.
fn last(log: LogId) -> Xid {
    Xid { log, txn: TxnId(Uuid::max()), nonce: Nonce(u64::MAX) }
}
