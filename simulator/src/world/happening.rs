//! Everything that happens: to whom, and what they make of it.

use handfast_participant::protocol as p;

use super::{Body, Event, World};
use crate::plan::Host;

impl World {
    /// Until when whoever an event happens to is paused.
    pub(super) fn paused(&self, event: &Event) -> Option<u64> {
        let host = match event {
            Event::Message { to, .. } => *to,
            Event::CoordinatorTimer(..) | Event::Forced(..) => Host::Coordinator,
            Event::ParticipantTimer(n, ..) | Event::BatchDone(n, _) | Event::RegisterDue(n, _) => Host::Participant(*n),
            Event::Write(host, _) => *host,
            Event::Connect(_) | Event::Break(..) => Host::Coordinator,
            Event::NewTransaction(_)
            | Event::Scripted(_)
            | Event::StepDue(..)
            | Event::Resubmit(_)
            | Event::AskDue(_)
            | Event::Fault(_)
            | Event::RoomBack(_)
            | Event::Start(_) => return None,
        };
        if let Some(until) = self.stands_still(host, event) {
            return Some(until);
        }
        let until = match host {
            Host::Coordinator => self.coordinator.paused_until,
            Host::Participant(n) => self.participants[n].paused_until,
            Host::Clients => 0,
        };
        (until > self.now).then_some(until)
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Message { from, to, body } => self.arrive(from, to, *body),
            Event::Connect(n) => self.on_connect(n),
            Event::Break(n, connection) => self.on_break(n, connection),
            Event::CoordinatorTimer(start, timer, number) => self.on_coordinator_timer(start, timer, number),
            Event::ParticipantTimer(n, start, timer, number) => self.on_participant_timer(n, start, timer, number),
            Event::Write(Host::Participant(n), start) => self.write_batch(n, start),
            Event::Write(_, start) => self.write_log(start),
            Event::Forced(start, upto) => self.on_forced(start, upto),
            Event::BatchDone(n, start) => self.on_batch_done(n, start),
            Event::RegisterDue(n, start) => self.on_register_due(n, start),
            Event::NewTransaction(earlier) => self.on_new_transaction(earlier),
            Event::StepDue(key, number) => self.on_step_due(key, number),
            Event::Scripted(number) => self.on_scripted(number),
            Event::Resubmit(key) => self.send(Host::Clients, Host::Coordinator, Body::Submit(key)),
            Event::AskDue(key) => self.on_ask_due(key),
            Event::Fault(number) => self.on_fault(number),
            Event::RoomBack(host) => self.on_room_back(host),
            Event::Start(Host::Participant(n)) => self.start_participant(n),
            Event::Start(_) => self.start_coordinator(),
        }
    }

    fn arrive(&mut self, from: Host, to: Host, body: Body) {
        self.note_arrival(from, to, &body);
        match (from, to, body) {
            (_, Host::Participant(n), Body::Order(connection, message)) => self.on_order(n, connection, message),
            (Host::Participant(n), _, Body::Answer(connection, message)) => self.on_answer(n, connection, message),
            (Host::Participant(n), _, Body::Inquiry(start, inquiry)) => self.on_inquiry(n, start, inquiry),
            (Host::Participant(n), _, Body::Register(start, register)) => self.on_register(n, start, register),
            (_, Host::Participant(n), Body::InquiryAnswer(start, xid, answer)) => {
                self.on_inquiry_answered(n, start, xid, answer);
            }
            (_, Host::Participant(n), Body::Registered(start, stamp)) => {
                self.participate_if(n, start, p::Input::StampReceived(stamp));
            }
            (Host::Participant(n), _, Body::Enlist(start, enlist)) => self.on_enlist(n, start, enlist),
            (_, Host::Participant(n), Body::EnlistAnswer(start, xid, answer)) => {
                self.participate_if(n, start, p::Input::EnlistAnswered { xid, answer });
            }
            (Host::Participant(asker), Host::Participant(n), Body::PeerInquiry(start, inquiry)) => {
                self.on_peer_inquiry(n, asker, start, inquiry);
            }
            (_, Host::Participant(n), Body::PeerTold(start, xid, told)) => self.on_peer_told(n, start, xid, told),
            (_, Host::Participant(n), Body::Execute(key, execute)) => self.on_execute(n, key, execute),
            (_, _, Body::Begin(key)) => self.on_begin(key),
            (_, _, Body::Begun(key, begun)) => self.on_begun(key, begun),
            (_, _, Body::Executed(key, operation, executed)) => self.on_executed(key, operation, executed),
            (_, _, Body::Commit(key, commit)) => self.on_commit(key, commit),
            (_, _, Body::Rollback(xid)) => self.on_rollback(xid),
            (_, _, Body::Submit(key)) => self.on_submit(key),
            (_, _, Body::Ask(key)) => self.on_ask(key),
            (_, _, Body::Told(key, submitted, told)) => self.on_told(key, submitted, &told),
            (from, to, body) => unreachable!("{body:?} from {from:?} to {to:?}"),
        }
    }
}
