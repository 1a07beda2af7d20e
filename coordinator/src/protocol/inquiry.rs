//! Answers to participants in doubt, and the guard against having lost one's memory.
//!
//! "No record" means abort only if nobody is there who would know better: a log that lost its tail would presume
//! aborted what others have committed. So before an older epoch is presumed upon, the transaction's participants have
//! answered Hello, which shows what they have seen of this log.

use std::fmt;

use handfast_common::ids::{Key, Name, TxnId, Xid};
use handfast_common::limits::GUARD_WAIT;
use handfast_common::messages::{Inquiry, InquiryAnswer};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Decision, Outcome};

use super::machine::{Effects, Guard};
use super::table::Phase;
use super::{Coordinator, Effect, ReplyTo, Timer};

/// Names that nobody has registered under, of which it is remembered that they were waited for.
const MAX_GUARDS: usize = 4_096;

/// How the wait for a participant stands, in one epoch.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Wait {
    pub(super) state: GuardState,
    /// Whether somebody needs the whole list of what it committed alone, however long it takes.
    listing: bool,
    /// What waited for it first.
    about: About,
    /// Whether an operator has been told.
    said: bool,
}

/// How long it is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum GuardState {
    /// Somebody's question needs it; the timer runs, or did and the guard is strict.
    Waiting,
    /// It has been waited for long enough in this epoch.
    Excused,
    /// An operator said so.
    Released,
}

/// What waits, for the operator's line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum About {
    Txn(TxnId),
    Key(Key),
    /// Nothing: it was released before anything waited.
    Nothing,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Txn(txn) => write!(f, "the outcome of transaction {txn}"),
            Self::Key(key) => write!(f, "the outcome of key {key}"),
            Self::Nothing => f.write_str("the outcome of a transaction"),
        }
    }
}

impl Coordinator {
    pub(super) fn on_decision_inquired(&mut self, reply: ReplyTo, inquiry: &Inquiry, out: &mut Effects) {
        self.hear_clock(inquiry.from.clock);
        let answer = self.answer_inquiry(inquiry, out);
        out.push(Effect::ReplyInquiry { to: reply, answer });
    }

    fn answer_inquiry(&mut self, inquiry: &Inquiry, out: &mut Effects) -> InquiryAnswer {
        let Xid { log, txn, nonce } = inquiry.xid;
        let foreign_store =
            self.registry.get(&inquiry.from.name).is_some_and(|(known, _)| known.store != inquiry.from.store);
        if log != self.log || self.decisions_of(txn.epoch(), nonce).is_none() || foreign_store {
            return InquiryAnswer::NotMine;
        }
        if let Some(transaction) = self.live.get(&txn) {
            return match transaction.phase {
                Phase::Committing => InquiryAnswer::Decided(Decision::Commit),
                Phase::Preparing | Phase::Deciding if mutants::is(Mutant::AbortsWhileVoting) => {
                    InquiryAnswer::Decided(Decision::Abort)
                }
                // The vote is still on, or the decision is not on disk: presuming abort here would be a second verdict.
                Phase::Active
                | Phase::Gathering
                | Phase::Preparing
                | Phase::Releasing
                | Phase::Deciding
                | Phase::OnePhase
                | Phase::Asking
                | Phase::Recording
                | Phase::Ended => InquiryAnswer::Undecided,
            };
        }
        if let Some(ended) = self.history.ended.get(&txn) {
            return match ended.outcome {
                Outcome::Committed(_) => InquiryAnswer::Decided(Decision::Commit),
                Outcome::Aborted(_) => InquiryAnswer::Decided(Decision::Abort),
                // A heuristic is never an answer to a peer.
                Outcome::HeuristicMixed | Outcome::Forgotten | Outcome::NotFound => InquiryAnswer::Undecided,
            };
        }
        // In this epoch nothing can have been lost: no live entry and no record is an abort. What was trimmed had been
        // acknowledged by all, so nobody can be in doubt about it but for an abort.
        let everyone: Vec<Name>;
        let members = if inquiry.members.is_empty() {
            everyone = self.everyone();
            &everyone
        } else {
            &inquiry.members
        };
        if txn.epoch() == self.epoch || self.guard_holds(members, About::Txn(txn), out) {
            let commits = mutants::is(Mutant::PresumesCommit);
            InquiryAnswer::Decided(if commits { Decision::Commit } else { Decision::Abort })
        } else {
            InquiryAnswer::Undecided
        }
    }

    /// Whether all of these have answered Hello in this epoch, or have been waited for long enough.
    pub(super) fn guard_holds(&mut self, names: &[Name], about: About, out: &mut Effects) -> bool {
        if mutants::is(Mutant::GuardIsSkipped) {
            return true;
        }
        let mut holds = true;
        for name in names.iter().filter(|name| !self.is_greeted(name)).collect::<Vec<_>>() {
            if self.is_given_up(name) {
                continue;
            }
            let state = self.guards.get(name).map(|wait| wait.state);
            if (self.config.guard, state) != (Guard::Reachable, Some(GuardState::Excused)) {
                holds = false;
                self.wait_for(name, false, about, out);
            }
        }
        holds
    }

    /// Whether all of these have reported, in this epoch, what they committed alone. No time excuses anybody here.
    pub(super) fn lists_are_in(&mut self, names: &[Name], about: About, out: &mut Effects) -> bool {
        let mut complete = true;
        for name in names.iter().filter(|name| !self.has_listed(name)).collect::<Vec<_>>() {
            if !self.is_given_up(name) {
                complete = false;
                self.wait_for(name, true, about, out);
            }
        }
        complete
    }

    /// Remembers that something waits for `name`, and looks again after a while.
    fn wait_for(&mut self, name: &Name, listing: bool, about: About, out: &mut Effects) {
        // Anybody can make up names; nothing is remembered about too many of them.
        let full = self.guards.len() >= MAX_GUARDS && !self.registry.contains_key(name);
        let looks_again = match self.guards.get_mut(name) {
            // Its time was over for those who do not need its list.
            Some(wait) if listing && !wait.listing => {
                wait.listing = true;
                wait.state == GuardState::Excused
            }
            Some(_) => false,
            None if full => false,
            None => {
                let wait = Wait { state: GuardState::Waiting, listing, about, said: false };
                self.guards.insert(name.clone(), wait);
                true
            }
        };
        if looks_again {
            out.push(Effect::SetTimer { timer: Timer::Guard(name.clone()), after: GUARD_WAIT, jitter: false });
        }
    }

    /// The wait for `name`, for an operator who ends it.
    pub(super) fn release(&mut self, name: Name) {
        let wait = Wait { state: GuardState::Released, listing: false, about: About::Nothing, said: true };
        self.guards.entry(name).or_insert(wait).state = GuardState::Released;
    }

    /// Whether inquiries about an earlier start wait for it.
    pub(super) fn is_waited_for(&self, name: &Name) -> bool {
        self.guards.get(name).is_some_and(|wait| match wait.state {
            GuardState::Waiting => !self.is_greeted(name) || (wait.listing && !self.has_listed(name)),
            GuardState::Excused => wait.listing && !self.has_listed(name),
            GuardState::Released => false,
        })
    }

    pub(super) fn is_greeted(&self, name: &Name) -> bool {
        self.peers.get(name).is_some_and(|peer| peer.greeted)
    }

    pub(super) fn has_listed(&self, name: &Name) -> bool {
        self.peers.get(name).is_some_and(|peer| peer.listed)
    }

    /// The time for a participant is over. Where no time is enough, the operator hears of it, once.
    pub(super) fn on_guard_over(&mut self, name: &Name, out: &mut Effects) {
        let strict = self.config.guard == Guard::Strict;
        let Some(wait) = self.guards.get_mut(name) else { return };
        match wait.state {
            GuardState::Waiting if strict => {}
            GuardState::Waiting => wait.state = GuardState::Excused,
            GuardState::Excused | GuardState::Released => {}
        }
        if !self.is_waited_for(name) {
            return;
        }
        let why = match self.peers.get(name).and_then(|peer| peer.refusal.as_ref()) {
            Some((_, why)) => format!("it was refused: {why}"),
            None => "it has not answered since this coordinator was started".to_owned(),
        };
        if let Some(wait) = self.guards.get_mut(name).filter(|wait| !wait.said) {
            wait.said = true;
            let about = wait.about;
            let line = format!(
                "{about} waits for participant '{name}': {why}. Nothing else waits. If it is gone for good: \
                 handfast registry release {name} --reason TEXT"
            );
            out.push(Effect::Say { line });
        }
    }
}
