//! Counts what arrives under another identity than the present one: of an older epoch, of an earlier start, or meant for
//! somebody who is no more.

use handfast_common::ids::{Epoch, Ticket, Xid};
use handfast_common::messages::{
    Answer, Enlist, FromParticipant, Inquiry, InquiryAnswer, Order, PeerInquiry, ToParticipant,
};

use handfast_common::outcome::{Decision, Vote};

use super::{LOG, World};
use crate::matrix::{Kind, Step};

impl World {
    /// A client speaks of what it had from an earlier start of the coordinator.
    pub(super) fn note_ticket(&mut self, step: Step, ticket: Ticket) {
        let present = self.present_epoch();
        self.note(present.is_some_and(|epoch| ticket.epoch < epoch), step);
    }

    /// An operation of a transaction that began in an epoch older than the one the participant has seen.
    pub(super) fn note_operation(&mut self, n: usize, xid: Xid) {
        let seen = self.participants[n].machine.as_ref().and_then(|machine| machine.seen(LOG));
        self.note(seen.is_some_and(|seen| xid.txn.epoch() < seen.epoch), Step::Lib1);
    }

    /// A participant that was started anew since, or in a transaction of an older epoch.
    pub(super) fn note_enlist(&mut self, n: usize, enlist: &Enlist) {
        let older = self.present_epoch().is_some_and(|epoch| enlist.xid.txn.epoch() < epoch);
        let own = self.participants[n].identity().map(|identity| identity.incarnation);
        self.note(older || own.is_some_and(|own| own != enlist.from.incarnation), Step::Co2);
    }

    pub(super) fn note_inquiry(&mut self, inquiry: &Inquiry) {
        let older = self.present_epoch().is_some_and(|epoch| inquiry.xid.txn.epoch() < epoch);
        self.note(older, Step::Co11);
    }

    /// A participant is greeted in another start of its own while votes are collected.
    pub(super) fn note_answer(&mut self, message: &FromParticipant) {
        self.note_vote(&message.answer);
        let Answer::Welcome(_) = &message.answer else { return };
        let from = &message.from;
        let before = self.greeted.insert(from.name.clone(), from.incarnation);
        let votes = self.coordinator.machine.as_ref().is_some_and(|machine| machine.load().1 > 0);
        self.note(votes && before.is_some_and(|before| before != from.incarnation), Step::Co4);
    }

    /// An order, before it is obeyed.
    pub(super) fn note_order(&mut self, n: usize, message: &ToParticipant, stale: bool) {
        let in_doubt = self.participants[n].machine.as_ref().is_some_and(|machine| {
            let older = |xid: Xid| xid.txn.epoch() < message.from.epoch;
            machine.branches().any(|branch| branch.state == "in-doubt" && older(branch.xid))
        });
        self.note_decide(n, &message.order);
        match &message.order {
            Order::Hello { .. } => self.note(in_doubt, Step::Kv4),
            Order::Prepare(_) => self.note(stale, Step::Kv3),
            Order::Release { .. } | Order::Decide { .. } | Order::CommitOnePhase(_) | Order::AskOnePhase { .. } => {}
        }
    }

    /// The coordinator answers in another epoch than the one in which the transaction began.
    pub(super) fn note_inquiry_answer(&mut self, xid: Xid, answer: &InquiryAnswer) {
        if *answer == InquiryAnswer::Decided(Decision::Abort) {
            self.sometimes("an abort that is presumed");
        }
        let decided = matches!(answer, InquiryAnswer::Decided(_));
        let older = self.present_epoch().is_some_and(|epoch| xid.txn.epoch() < epoch);
        self.note(decided && older, Step::Kv8);
    }

    /// Another participant asks for a start that is no more.
    pub(super) fn note_peer_inquiry(&mut self, n: usize, inquiry: &PeerInquiry) {
        let own = self.participants[n].identity().map(|identity| identity.incarnation);
        self.note(own.is_some_and(|own| own != inquiry.to.incarnation), Step::Kv8);
    }

    /// A transaction of an older epoch gets its end record.
    pub(super) fn note_end(&mut self, epoch: Epoch) {
        let present = self.present_epoch();
        self.note(present.is_some_and(|present| epoch < present), Step::Co9);
    }

    /// A decision is made by one of two coordinators that run on copies of one log.
    pub(super) fn note_decision(&mut self) {
        let twins = self.stage.as_ref().is_some_and(|stage| stage.has_twins());
        self.note(twins, Step::Co5);
    }

    /// A vote comes when the transaction is aborted already.
    pub(super) fn note_vote(&mut self, answer: &Answer) {
        if let Answer::Voted { xid, vote: Vote::Yes(_) } = answer
            && self.oracles.stable_decision.of(*xid) == Some(Decision::Abort)
        {
            self.sometimes("a late yes");
        }
    }

    /// A decision comes to a participant, or sets out to it.
    pub(super) fn note_decide(&mut self, n: usize, order: &Order) {
        let Order::Decide { xid, decision: Decision::Commit, .. } = order else { return };
        let state = self.participants[n]
            .machine
            .as_ref()
            .and_then(|machine| machine.branches().find(|branch| branch.xid == *xid).map(|branch| branch.ended));
        if state == Some(true) {
            self.sometimes("a commit that comes again");
        }
        if self.present_epoch().is_some_and(|epoch| xid.txn.epoch() < epoch) {
            self.sometimes("a commit of an older epoch");
        }
    }

    pub(super) fn sometimes(&mut self, what: &'static str) {
        *self.summary.sometimes.entry(what).or_default() += 1;
    }

    fn present_epoch(&self) -> Option<Epoch> {
        self.coordinator.machine.as_ref().map(|machine| machine.standing().1)
    }

    fn note(&mut self, is_so: bool, step: Step) {
        if is_so {
            self.summary.cells.hit(step, Kind::Identity);
        }
    }
}
