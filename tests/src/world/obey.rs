//! How a participant's effects are carried out.

use handfast_common::ids::Xid;
use handfast_common::messages::{Answer, FromParticipant, Inquiry, Register};
use handfast_common::outcome::Vote;
use handfast_participant::protocol as p;

use super::store::Next;
use super::{Event, MS, World};

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
                    if let Some(connection) = node.answers.remove(&to) {
                        self.answer(n, connection, message);
                    }
                }
                p::Effect::Inquire { xid, members, .. } => {
                    let inquiry = Inquiry { from: self.participants[n].identity(), xid, members };
                    self.deliver(Event::Inquiry(n, start, inquiry));
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
                let after = if self.trouble(12) { 1_500 * MS } else { self.dice.below(8 * MS) };
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
            self.deliver(Event::Register(n, start, register));
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
