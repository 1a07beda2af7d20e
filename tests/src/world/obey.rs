//! How a participant's effects are carried out.

use handfast_common::ids::Xid;
use handfast_common::messages::{
    Answer, Enlist, FromParticipant, Inquiry, Member, PeerAnswer, PeerInquiry, PeerTold, Register,
};
use handfast_common::outcome::{Decision, Vote};
use handfast_participant::protocol as p;

use super::nodes::Waiter;
use super::store::Next;
use super::{Event, MS, PARTICIPANTS, World};

impl World {
    /// One step of a participant, if it is still this start of it.
    pub(super) fn participate_if(&mut self, n: usize, start: u64, input: p::Input) {
        if self.participants[n].start == start {
            self.participate(n, input);
        }
    }

    pub(super) fn participate(&mut self, n: usize, input: p::Input) {
        let Some(machine) = &mut self.participants[n].machine else { return };
        let effects = machine.step(input);
        self.obey(n, effects);
    }

    pub(super) fn obey(&mut self, n: usize, effects: Vec<p::Effect>) {
        let start = self.participants[n].start;
        for effect in effects {
            match effect {
                p::Effect::Reply { to, answer } => {
                    self.check_answer(n, &answer);
                    let node = &mut self.participants[n];
                    let message = FromParticipant { from: node.identity(), answer };
                    if let Some(Waiter::Coordinator(connection)) = node.answers.remove(&to) {
                        self.answer(n, connection, message);
                    }
                }
                p::Effect::ReplyExecuted { to, result } => {
                    if let Some(Waiter::Caller(key, caller, step)) = self.participants[n].answers.remove(&to) {
                        self.deliver(Event::Executed(key, caller, step, result));
                    }
                }
                p::Effect::ReplyPeer { to, answer } => {
                    if let Some(Waiter::Peer(asker, start, xid)) = self.participants[n].answers.remove(&to) {
                        self.check_peer_answer(n, xid, answer);
                        let told = PeerTold { from: self.participants[n].identity(), answer };
                        self.deliver(Event::PeerTold(asker, start, xid, told));
                    }
                }
                p::Effect::Enlist { xid, active, .. } => {
                    let enlist = Enlist { from: self.participants[n].identity(), xid, active };
                    self.call_coordinator(n, Event::Enlist(n, start, enlist));
                }
                p::Effect::InquirePeer { xid, member } => self.inquire_peer(n, xid, member),
                p::Effect::Say { .. } => self.participants[n].said += 1,
                p::Effect::Inquire { xid, members, .. } => {
                    let inquiry = Inquiry { from: self.participants[n].identity(), xid, members };
                    self.call_coordinator(n, Event::Inquiry(n, start, inquiry));
                }
                p::Effect::SetTimer { timer, after, jitter } => {
                    let after = self.jittered(after, jitter);
                    let number = self.events + 1;
                    self.participants[n].timers.0.insert(timer, number);
                    self.at(after, Event::ParticipantTimer(n, start, timer, number));
                }
                p::Effect::Stop { why } => panic!("p{n} stops: {why}"),
                other => {
                    let (next, input) = self.participants[n].store.take(other);
                    self.go_on(n, next, input);
                }
            }
        }
    }

    /// To where the record says that the other one was last heard of. Somebody else may be there by now (t02b).
    fn inquire_peer(&mut self, n: usize, xid: Xid, member: Member) {
        let to = self.number_of(&member.who.name);
        assert_eq!(member.address, format!("host:{to}"), "where another participant was last heard of");
        let to = if self.trouble(20) { (to + 1) % PARTICIPANTS } else { to };
        let inquiry = PeerInquiry { from: self.participants[n].identity(), to: member.who, xid };
        let start = self.participants[n].start;
        self.summary.peers_asked += 1;
        self.deliver(Event::PeerInquiry(to, n, start, inquiry));
    }

    pub(super) fn on_peer_inquiry(&mut self, n: usize, asker: usize, start: u64, inquiry: PeerInquiry) {
        let reply = p::ReplyTo(self.events);
        self.events += 1;
        let node = &mut self.participants[n];
        if node.machine.is_some() {
            node.answers.insert(reply, Waiter::Peer(asker, start, inquiry.xid));
            self.participate(n, p::Input::PeerInquired { reply, inquiry });
        }
    }

    pub(super) fn on_peer_told(&mut self, n: usize, start: u64, xid: Xid, told: PeerTold) {
        self.summary.peers_decided += u32::from(matches!(told.answer, PeerAnswer::Decided(_)));
        self.participate_if(n, start, p::Input::PeerAnswered { xid, from: told.from, answer: told.answer });
    }

    /// A1: what one participant tells another is the decision, or can't be decided otherwise any more.
    fn check_peer_answer(&mut self, n: usize, xid: Xid, answer: PeerAnswer) {
        match answer {
            PeerAnswer::Decided(Decision::Commit) => self.check_commit_is_forced(xid, "a peer says Commit"),
            PeerAnswer::Decided(Decision::Abort) => {
                let commit = self.coordinator.log.commit_of(xid.txn);
                assert_eq!(commit, None, "p{n} tells another that {} aborted", xid.txn);
                self.told_abort.insert(xid);
            }
            PeerAnswer::CantSay(_) => {}
        }
    }

    fn check_answer(&self, n: usize, answer: &Answer) {
        let disk = &self.participants[n].store.disk;
        match answer {
            Answer::Voted { xid, vote: Vote::Yes(_) } => {
                assert!(disk.ever_prepared.contains(xid), "p{n} votes Yes on {} before it is on disk", xid.txn);
            }
            Answer::Acknowledged { xid } => {
                assert!(disk.effects.contains_key(xid), "p{n} acknowledges {} before it is on disk", xid.txn);
            }
            _ => {}
        }
    }

    /// What follows from an order that the store has taken.
    fn go_on(&mut self, n: usize, next: Next, input: Option<p::Input>) {
        let start = self.participants[n].start;
        match next {
            Next::Working(xid) => {
                // Up to more than it may wait for locks.
                let slow = self.trouble(12);
                let after = if slow { self.dice.between(50, 1_500) * MS } else { self.dice.below(8 * MS) };
                self.at(after, Event::WorkDone(n, start, xid));
            }
            Next::Writing => {
                let after = self.disk_delay();
                self.at(after, Event::Written(n, start));
            }
            Next::Nothing => {}
        }
        if let Some(input) = input {
            self.participate(n, input);
        }
    }

    pub(super) fn on_work_done(&mut self, n: usize, start: u64, xid: Xid) {
        if self.participants[n].start == start {
            let (next, input) = self.participants[n].store.work_done(xid);
            self.go_on(n, next, input);
        }
    }

    pub(super) fn on_written(&mut self, n: usize, start: u64) {
        if self.participants[n].start == start {
            let input = self.participants[n].store.written();
            self.go_on(n, Next::Nothing, input);
        }
    }

    pub(super) fn on_register_due(&mut self, n: usize, start: u64) {
        if self.participants[n].start == start && self.participants[n].machine.is_some() {
            // It registers on every new connection, and then every two seconds.
            if !self.coordinator.is_ready() {
                return self.at(20 * MS, Event::RegisterDue(n, start));
            }
            let register = Register { from: self.participants[n].identity(), address: format!("host:{n}"), seen: None };
            self.call_coordinator(n, Event::Register(n, start, register));
            self.at(2_000 * MS, Event::RegisterDue(n, start));
        }
    }

    pub(super) fn forget_participant(&mut self, n: usize) {
        let node = &mut self.participants[n];
        node.machine = None;
        node.timers.0.clear();
        node.answers.clear();
        node.start += 1;
        node.store.crash();
    }
}
