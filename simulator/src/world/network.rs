//! The network: what becomes of a message.

use std::collections::BTreeMap;
use std::time::Duration;

use handfast_common::messages::Order;
use handfast_participant::protocol as p;

use super::{Body, Event, LOG, World, steps};
use crate::matrix::{Kind, Step};
use crate::plan::{Host, MS, Mishap};

/// Rules that are in force until their time.
#[derive(Clone, Default, Debug)]
pub(super) struct Network {
    pub(super) cuts: Vec<(Host, Host, u64)>,
    pub(super) clogs: Vec<(Host, Host, u64)>,
    pub(super) loss: Option<(u64, u64)>,
    pub(super) double: Option<(u64, u64)>,
    pub(super) delay: Option<(u64, u64)>,
    /// By number of the message.
    pub(super) mishaps: BTreeMap<u64, Mishap>,
    /// By step of the message, the next one.
    pub(super) awaited: Vec<(Step, Mishap)>,
}

impl Network {
    fn rule(rules: &[(Host, Host, u64)], from: Host, to: Host, now: u64) -> Option<u64> {
        rules.iter().filter(|rule| (rule.0, rule.1) == (from, to) && rule.2 > now).map(|rule| rule.2).max()
    }
}

impl World {
    /// One message in so many, while a rule is in force.
    fn strikes(&mut self, rule: Option<(u64, u64)>) -> bool {
        rule.is_some_and(|(one_in, until)| self.now < until && self.dice.one_in(one_in))
    }

    /// A message goes its way.
    pub(super) fn send(&mut self, from: Host, to: Host, body: Body) {
        if self.is_caught(from, to, &body) {
            return;
        }
        self.summary.sent += 1;
        let mishap = self.network.mishaps.remove(&self.summary.sent).or_else(|| self.awaited_mishap(to, &body));
        self.summary.injected += u64::from(mishap.is_some());
        match mishap {
            Some(Mishap::Lost) => {
                self.hit_message(to, &body, Kind::Lost);
                return self.lost(from, to, &body);
            }
            Some(Mishap::Late(after)) => {
                self.hit_message(to, &body, Kind::Reordered);
                return self.at(after, Event::Message { from, to, body: Box::new(body) });
            }
            Some(Mishap::Again(after)) => {
                self.hit_message(to, &body, Kind::Reordered);
                self.at(after, Event::Message { from, to, body: Box::new(body.clone()) });
            }
            Some(Mishap::Twice) => {
                self.hit_message(to, &body, Kind::Reordered);
                self.at(1, Event::Message { from, to, body: Box::new(body.clone()) });
            }
            Some(Mishap::Cut(length)) => self.network.cuts.push((from, to, self.until_at_most(length))),
            Some(Mishap::Held(length)) => self.network.clogs.push((from, to, self.until_at_most(length))),
            None => {}
        }
        if Network::rule(&self.network.cuts, from, to, self.now).is_some() {
            self.hit_message(to, &body, Kind::Partition);
            return self.lost(from, to, &body);
        }
        if self.strikes(self.network.loss) {
            self.hit_message(to, &body, Kind::Lost);
            return self.lost(from, to, &body);
        }
        let held = Network::rule(&self.network.clogs, from, to, self.now).map_or(0, |until| until - self.now);
        if held > 0 {
            self.hit_message(to, &body, Kind::Slow);
        }
        if self.strikes(self.network.double) {
            self.hit_message(to, &body, Kind::Reordered);
            let after = held + self.net_delay(to, &body);
            self.at(after, Event::Message { from, to, body: Box::new(body.clone()) });
        }
        let after = held + self.net_delay(to, &body);
        self.at(after, Event::Message { from, to, body: Box::new(body) });
    }

    /// What a plan wants to happen to the next message of this one's steps.
    fn awaited_mishap(&mut self, to: Host, body: &Body) -> Option<Mishap> {
        if self.network.awaited.is_empty() {
            return None;
        }
        let steps = self.steps_of(to, body);
        let at = self.network.awaited.iter().position(|(step, _)| steps.contains(step))?;
        Some(self.network.awaited.remove(at).1)
    }

    /// All steps that a message belongs to: where it is sent, where it is missed.
    fn steps_of(&self, to: Host, body: &Body) -> Vec<Step> {
        let mut all = vec![steps::of_message(body)];
        all.extend(steps::at_the_other_end(body));
        if let (Body::Order(_, message), Host::Participant(n)) = (body, to)
            && let Order::Decide { xid, .. } = &message.order
            && let Some(machine) = &self.participants[n].machine
            && machine.branches().any(|branch| branch.xid == *xid && branch.state == "in-doubt")
        {
            all.push(Step::Kv4);
        }
        all
    }

    fn hit_message(&mut self, to: Host, body: &Body, kind: Kind) {
        let steps = self.steps_of(to, body);
        self.hit_all(&steps, kind);
    }

    /// A fault that is one at all these steps.
    pub(super) fn hit_all(&mut self, steps: &[Step], kind: Kind) {
        self.summary.faults += 1;
        steps.iter().for_each(|step| self.summary.cells.hit(*step, kind));
    }

    fn net_delay(&mut self, to: Host, body: &Body) -> u64 {
        if self.strikes(self.network.delay) {
            self.hit_message(to, body, Kind::Reordered);
            return self.dice.between(50, 2_500) * MS;
        }
        let most = if self.healed.is_some() { MS } else { 6 * MS };
        self.dice.between(100, most)
    }

    /// A connection that has lost something is dropped when the call on it has waited for too long.
    fn lost(&mut self, from: Host, to: Host, body: &Body) {
        self.say(|| format!("lost from {from:?} to {to:?}: {body:?}"));
        let (Body::Order(connection, _) | Body::Answer(connection, _)) = body else { return };
        let ((Host::Participant(n), _) | (_, Host::Participant(n))) = (from, to) else { return };
        let after = self.dice.between(10, 5_000) * MS;
        self.at(after, Event::Break(n, *connection));
    }

    pub(super) fn jittered(&mut self, after: Duration, jitter: bool) -> u64 {
        let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX / 4);
        if jitter { after - self.dice.below(after / 4 + 1) } else { after }
    }

    /// Dials a participant, unless that is under way or done.
    pub(super) fn dial(&mut self, n: usize, after: u64) {
        let node = &mut self.participants[n];
        if node.dialled && !node.dialling && node.connection.is_none() {
            node.dialling = true;
            self.at(after, Event::Connect(n));
        }
    }

    pub(super) fn on_connect(&mut self, n: usize) {
        self.participants[n].dialling = false;
        if self.participants[n].connection.is_some() || !self.coordinator.is_ready() {
            return;
        }
        let (here, there) = (Host::Coordinator, Host::Participant(n));
        let way = |from, to| Network::rule(&self.network.cuts, from, to, self.now).is_none();
        let paused = self.participants[n].paused_until > self.now;
        if !way(here, there) || !way(there, here) {
            // Seen again at every try: it is one fault.
            self.summary.cells.hit(Step::Co10, Kind::Partition);
            return self.dial(n, 50 * MS);
        }
        if !self.participants[n].is_up() || paused {
            return self.dial(n, 50 * MS);
        }
        self.events += 1;
        self.participants[n].connection = Some(self.events);
        let name = self.participants[n].name();
        self.coordinate(handfast_coordinator::protocol::Input::PeerConnected { name });
    }

    pub(super) fn on_break(&mut self, n: usize, connection: u64) {
        if self.participants[n].connection != Some(connection) {
            return;
        }
        self.participants[n].connection = None;
        let name = self.participants[n].name();
        self.coordinate(handfast_coordinator::protocol::Input::PeerDisconnected { name });
        self.participate(n, p::Input::CoordinatorLost { log: LOG });
        let after = self.dice.between(1, 250) * MS;
        self.dial(n, after);
    }

    /// A fault was injected at a step.
    pub(super) fn hit(&mut self, step: Step, kind: Kind) {
        self.summary.faults += 1;
        self.summary.cells.hit(step, kind);
    }
}
