//! What comes to a participant: orders, operations, answers, questions of others; and that it registers.

use handfast_common::ids::{Key, Xid};
use handfast_common::messages::{Execute, InquiryAnswer, PeerAnswer, PeerInquiry, PeerTold, Register, ToParticipant};
use handfast_participant::protocol as p;

use super::participant::Waiter;
use super::steps;
use super::{Body, Event, LOG, World};
use crate::matrix::Kind;
use crate::oracles::Fencing;
use crate::plan::{Host, MS};

impl World {
    /// Also what was sent over an older connection, or by an older start of the coordinator; its answer goes nowhere.
    pub(super) fn on_order(&mut self, n: usize, connection: u64, message: ToParticipant) {
        let node = &mut self.participants[n];
        let reply = node.expect(Waiter::Coordinator(connection));
        let Some(machine) = &node.machine else { return };
        let (epoch, seen) = (message.from.epoch, machine.seen(LOG));
        let replaced = seen.is_some_and(|seen| epoch < seen.epoch) || self.oracles.fencing.is_stale(n, epoch);
        let stale = replaced.then(|| steps::of_order(&message.order));
        self.note_order(n, &message, replaced);
        let Some(machine) = &mut self.participants[n].machine else { return };
        let effects = machine.step(p::Input::OrderReceived { reply, message });
        let verdict = Fencing::obeyed(n, replaced, &effects);
        self.judge("fencing", verdict);
        if let Some(step) = stale {
            self.hit(step, Kind::Identity);
        }
        self.obey(n, effects);
    }

    pub(super) fn on_inquiry_answered(&mut self, n: usize, start: u64, xid: Xid, answer: InquiryAnswer) {
        self.summary.inquiries += u64::from(matches!(answer, InquiryAnswer::Decided(_)));
        self.note_inquiry_answer(xid, &answer);
        self.participate_if(n, start, p::Input::InquiryAnswered { xid, answer });
    }

    pub(super) fn on_peer_inquiry(&mut self, n: usize, asker: usize, start: u64, inquiry: PeerInquiry) {
        if self.participants[n].is_up() {
            self.note_peer_inquiry(n, &inquiry);
            let reply = self.participants[n].expect(Waiter::Peer(asker, start, inquiry.xid));
            self.participate(n, p::Input::PeerInquired { reply, inquiry });
        }
    }

    pub(super) fn on_peer_told(&mut self, n: usize, start: u64, xid: Xid, told: PeerTold) {
        self.summary.peers_told += u64::from(matches!(told.answer, PeerAnswer::Decided(_)));
        let PeerTold { from, answer } = told;
        self.participate_if(n, start, p::Input::PeerAnswered { xid, from, answer });
    }

    pub(super) fn on_execute(&mut self, n: usize, key: Key, execute: Execute) {
        if self.participants[n].is_up() {
            self.note_operation(n, execute.xid);
            let reply = self.participants[n].expect(Waiter::Client(key, execute.operation));
            self.participate(n, p::Input::OperationReceived { reply, execute });
        }
    }

    pub(super) fn on_register_due(&mut self, n: usize, start: u64) {
        let node = &self.participants[n];
        let (true, Some(from)) = (node.start == start, node.identity()) else { return };
        // It registers on every new connection, and then every two seconds.
        let Some(coordinator) = self.coordinator.machine.as_ref().filter(|machine| machine.is_ready()) else {
            return self.at(20 * MS, Event::RegisterDue(n, start));
        };
        let (log, ..) = coordinator.standing();
        let seen = node.machine.as_ref().and_then(|machine| machine.seen(log));
        let register = Register { from, address: format!("host:{n}"), seen };
        self.send(Host::Participant(n), Host::Coordinator, Body::Register(start, register));
        self.at(2_000 * MS, Event::RegisterDue(n, start));
    }
}
