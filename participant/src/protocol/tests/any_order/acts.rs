//! What may happen in the world of arbitrary interleavings.

use handfast_common::messages::{Enlisted, InquiryAnswer, PeerAnswer, PeerInquiry, Unsaid};
use proptest::prelude::*;

use super::super::*;
use super::{Asked, Txn, World};

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Prepare,
    OnePhase,
    /// An operation of an open transaction or of a new one; its number.
    Execute(u8, u8),
    /// The coordinator answers an `Enlist`.
    AnswerEnlist(u8),
    /// The client commits an open transaction: in one phase, or in two and perhaps counting exactly.
    Commit(u8, u8),
    /// Another participant asks, or answers.
    PeerAsks(u8),
    PeerAnswers(u8),
    /// Decide, or release, whichever the vote of one of the open transactions allows.
    Decide(u8, Decision),
    Ask(u8),
    Hello,
    /// A copy of any message that was ever sent: f26.
    Again(u16),
    Register,
    EndJob(u8, u8),
    Fire(u8),
    AnswerInquiry(u8),
    LoseConnection,
    RestartCoordinator,
    CrashParticipant(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Prepare),
        4 => Just(Act::OnePhase),
        10 => (any::<u8>(), 0..4_u8).prop_map(|(n, number)| Act::Execute(n, number)),
        8 => any::<u8>().prop_map(Act::AnswerEnlist),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(n, how)| Act::Commit(n, how)),
        3 => any::<u8>().prop_map(Act::PeerAsks),
        2 => any::<u8>().prop_map(Act::PeerAnswers),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(n, yes)| {
            Act::Decide(n, if yes { Decision::Commit } else { Decision::Abort })
        }),
        2 => any::<u8>().prop_map(Act::Ask),
        2 => Just(Act::Hello),
        8 => any::<u16>().prop_map(Act::Again),
        1 => Just(Act::Register),
        14 => (any::<u8>(), any::<u8>()).prop_map(|(n, how)| Act::EndJob(n, how)),
        3 => any::<u8>().prop_map(Act::Fire),
        3 => any::<u8>().prop_map(Act::AnswerInquiry),
        1 => Just(Act::LoseConnection),
        1 => Just(Act::RestartCoordinator),
        1 => any::<u32>().prop_map(Act::CrashParticipant),
    ]
}

/// What happens, whether a message sent by it arrives at once, and whether the answers are heard.
pub(super) fn acts() -> impl Strategy<Value = Vec<(Act, bool, bool)>> {
    prop::collection::vec((act(), prop::bool::weighted(0.8), prop::bool::weighted(0.8)), 1..150)
}

impl World {
    pub(super) fn act(&mut self, act: Act, heard: bool) {
        match (act, self.greeted) {
            (Act::Prepare, Some(incarnation)) => {
                let xid = self.begin(false);
                self.txn(xid).to = Some(incarnation);
                let Order::Prepare(order) = prepare(xid) else { unreachable!() };
                self.send(Order::Prepare(Prepare { to: Addressee { incarnation, ..to() }, ..order }), heard);
            }
            (Act::OnePhase, Some(incarnation)) => {
                let xid = self.begin(true);
                let Order::CommitOnePhase(order) = one_phase(xid, xid.txn.0.as_u128()) else { unreachable!() };
                self.send(Order::CommitOnePhase(OnePhase { to: Addressee { incarnation, ..to() }, ..order }), heard);
            }
            (Act::Decide(which, wish), Some(incarnation)) => {
                let Some((xid, txn)) = self.pick(which, |_, txn| !txn.one_phase) else { return };
                self.decide(xid, &txn, wish, incarnation, heard);
            }
            (Act::Ask(which), Some(incarnation)) => {
                let epoch = Epoch(self.epoch);
                let open = |xid: &Xid, txn: &Txn| txn.one_phase && !txn.over && xid.txn.epoch() == epoch;
                let Some((xid, _)) = self.pick(which, open) else { return };
                self.send(Order::AskOnePhase { to: Addressee { incarnation, ..to() }, xid }, heard);
            }
            (Act::Execute(which, number), Some(_)) => self.execute(which, number),
            (Act::Commit(which, how), Some(_)) => self.commit(which, how, heard),
            (
                Act::Prepare
                | Act::OnePhase
                | Act::Execute(..)
                | Act::Commit(..)
                | Act::Decide(..)
                | Act::Ask(_)
                | Act::Hello,
                _,
            ) => self.send(hello(), heard),
            (Act::AnswerEnlist(which), _) => self.answer_enlist(which.into()),
            (Act::PeerAsks(which), _) => self.peer_asks(which),
            (Act::PeerAnswers(which), _) => self.peer_answers(which.into()),
            (Act::Again(which), _) => {
                if !self.sent.is_empty() {
                    self.deliver(self.sent[usize::from(which) % self.sent.len()].clone(), heard);
                }
            }
            (Act::Register, _) => self.step(Input::StampReceived(self.stamp()), heard),
            (Act::EndJob(which, how), _) => {
                if let Some(input) = self.model.end_one(which.into(), how) {
                    self.step(input, heard);
                }
            }
            (Act::Fire(which), _) => {
                let timer = self.timers.iter().nth(usize::from(which) % self.timers.len().max(1)).copied();
                if let Some(timer) = timer {
                    self.timers.remove(&timer);
                    self.step(Input::TimerFired(timer), heard);
                }
            }
            (Act::AnswerInquiry(which), _) => self.answer_inquiry(which.into()),
            (Act::LoseConnection, _) => self.step(Input::CoordinatorLost { log: LOG }, heard),
            (Act::RestartCoordinator, _) => self.restart_coordinator(),
            (Act::CrashParticipant(luck), _) => self.crash_participant(luck),
        }
    }

    pub(super) fn decide(&mut self, xid: Xid, txn: &Txn, wish: Decision, incarnation: Incarnation, heard: bool) {
        let to = Addressee { incarnation, ..to() };
        let decision = match (txn.decision, &txn.vote) {
            (Some(decision), _) => decision,
            // Committing takes Released first, from the start that voted.
            (None, Some(Vote::ReadOnly(_))) if wish == Decision::Commit => {
                return self.send(Order::Release { to, xid }, heard);
            }
            (None, Some(Vote::Yes(_))) => wish,
            (None, _) => Decision::Abort,
        };
        if matches!(txn.vote, Some(Vote::ReadOnly(_))) && decision == Decision::Commit {
            return;
        }
        let txn = self.txn(xid);
        txn.decision = Some(decision);
        txn.over |= decision == Decision::Abort;
        txn.open = false;
        self.send(Order::Decide { to, xid, decision }, heard);
    }

    pub(super) fn answer_inquiry(&mut self, which: usize) {
        if self.inquiries.is_empty() {
            return;
        }
        let xid = self.inquiries.swap_remove(which % self.inquiries.len());
        let answer = self.txn(xid).decision.map_or(InquiryAnswer::Undecided, InquiryAnswer::Decided);
        self.step(Input::InquiryAnswered { xid, answer }, true);
    }

    fn execute(&mut self, which: u8, number: u8) {
        let open = if which.is_multiple_of(3) { None } else { self.pick(which, |_, txn| txn.open) };
        let xid = open.map_or_else(|| self.begin(false), |(xid, _)| xid);
        self.txn(xid).open = true;
        self.replies += 1;
        let reply = ReplyTo(self.replies);
        self.asking.insert(reply, Asked::Operation(xid, number));
        self.step(Input::OperationReceived { reply, execute: interactive::operation(xid, number.into(), "op") }, true);
    }

    /// One branch may belong to one start only; nothing enlists after commit.
    fn answer_enlist(&mut self, which: usize) {
        if self.enlists.is_empty() {
            return;
        }
        let (xid, start) = self.enlists.swap_remove(which % self.enlists.len());
        let greeted = self.greeted;
        let txn = self.txn(xid);
        let answer = if !txn.open {
            Enlisted::Over(no(ReasonKind::Expired))
        } else if greeted != Some(start) {
            Enlisted::NotYet
        } else if *txn.to.get_or_insert(start) == start {
            interactive::accepted()
        } else {
            (txn.open, txn.over, txn.decision) = (false, true, Some(Decision::Abort));
            Enlisted::Over(no(ReasonKind::Lost))
        };
        // The one that asked may be gone.
        if self.incarnation() == start {
            self.step(Input::EnlistAnswered { xid, answer }, true);
        }
    }

    fn commit(&mut self, which: u8, how: u8, heard: bool) {
        let Some((xid, txn)) = self.pick(which, |_, txn| txn.open) else { return };
        let one = how.is_multiple_of(3);
        let Some(incarnation) = txn.to else {
            let txn = self.txn(xid);
            (txn.open, txn.over, txn.decision) = (false, true, Some(Decision::Abort));
            return;
        };
        let (to, operations) = (Addressee { incarnation, ..to() }, txn.counted.len() as u64);
        let txn = self.txn(xid);
        (txn.open, txn.one_phase) = (false, one);
        let order = if one {
            let Order::CommitOnePhase(order) = interactive::one_phase_ran(xid, operations) else { unreachable!() };
            Order::CommitOnePhase(OnePhase { to, ..order })
        } else {
            let exact = how.is_multiple_of(2);
            txn.exact = exact;
            let Order::Prepare(order) = interactive::prepare_ran(xid, operations, exact) else { unreachable!() };
            Order::Prepare(Prepare { to, ..order })
        };
        self.send(order, heard);
    }

    /// Another participant that was sent the same list is in doubt.
    fn peer_asks(&mut self, which: u8) {
        let Some((xid, txn)) = self.pick(which, |_, txn| !txn.one_phase && !txn.open && txn.to.is_some()) else {
            return;
        };
        self.replies += 1;
        let reply = ReplyTo(self.replies);
        self.asking.insert(reply, Asked::Peer(xid));
        let to = Addressee { incarnation: txn.to.expect("as picked"), ..to() };
        self.step(Input::PeerInquired { reply, inquiry: PeerInquiry { from: peers::other(), to, xid } }, true);
    }

    /// It knows the decision, or is in doubt too.
    fn peer_answers(&mut self, which: usize) {
        if self.peer_inquiries.is_empty() {
            return;
        }
        let xid = self.peer_inquiries.swap_remove(which % self.peer_inquiries.len());
        let in_doubt = PeerAnswer::CantSay(Unsaid::InDoubt);
        let answer = self.txn(xid).decision.map_or(in_doubt, PeerAnswer::Decided);
        self.step(Input::PeerAnswered { xid, from: peers::other(), answer }, true);
    }
}
