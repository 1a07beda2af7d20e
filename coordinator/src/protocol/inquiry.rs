//! Answers to participants in doubt, and the guard against having lost one's memory.
//!
//! "No record" means abort only if nobody is there who would know better: a log that lost its tail would presume
//! aborted what others have committed. So before an older epoch is presumed upon, the transaction's participants have
//! answered Hello, which shows what they have seen of this log.

use handfast_common::ids::{Name, Xid};
use handfast_common::limits::GUARD_WAIT;
use handfast_common::messages::{Inquiry, InquiryAnswer};
use handfast_common::outcome::{Decision, Outcome};

use super::machine::{Effects, Guard};
use super::table::Phase;
use super::{Coordinator, Effect, ReplyTo, Timer};

/// Names that nobody has registered under, of which it is remembered that they were waited for.
const MAX_GUARDS: usize = 4_096;

/// How the wait for a participant that can't be reached stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum GuardState {
    /// Somebody's question needs it; the timer runs.
    Waiting,
    /// It has been waited for long enough in this epoch.
    Excused,
}

impl Coordinator {
    pub(super) fn on_decision_inquired(&mut self, reply: ReplyTo, inquiry: &Inquiry, out: &mut Effects) {
        self.clock = self.clock.max(inquiry.from.clock);
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
                // The vote is still on, or the decision is not on disk: presuming abort here would be a second verdict.
                Phase::Gathering
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
            everyone = self.registry.keys().cloned().collect();
            &everyone
        } else {
            &inquiry.members
        };
        if txn.epoch() == self.epoch || self.guard_holds(members, out) {
            InquiryAnswer::Decided(Decision::Abort)
        } else {
            InquiryAnswer::Undecided
        }
    }

    /// Whether all of these have answered Hello in this epoch, or have been waited for long enough.
    pub(super) fn guard_holds(&mut self, names: &[Name], out: &mut Effects) -> bool {
        let mut holds = true;
        for name in names {
            if self.is_greeted(name) {
                continue;
            }
            match (self.config.guard, self.guards.get(name)) {
                (Guard::Reachable, Some(GuardState::Excused)) => {}
                // Anybody can make up names; nothing is remembered about too many of them.
                (Guard::Reachable, None) if self.guards.len() >= MAX_GUARDS && !self.registry.contains_key(name) => {
                    holds = false;
                }
                (Guard::Reachable, None) => {
                    holds = false;
                    self.guards.insert(name.clone(), GuardState::Waiting);
                    out.push(Effect::SetTimer { timer: Timer::Guard(name.clone()), after: GUARD_WAIT, jitter: false });
                }
                (Guard::Reachable, Some(GuardState::Waiting)) | (Guard::Strict, _) => holds = false,
            }
        }
        holds
    }

    pub(super) fn is_greeted(&self, name: &Name) -> bool {
        self.peers.get(name).is_some_and(|peer| peer.greeted)
    }

    pub(super) fn has_listed(&self, name: &Name) -> bool {
        self.peers.get(name).is_some_and(|peer| peer.listed)
    }

    pub(super) fn on_guard_over(&mut self, name: &Name) {
        if let Some(state) = self.guards.get_mut(name) {
            *state = GuardState::Excused;
        }
    }
}
