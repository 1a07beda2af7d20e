//! The network: what becomes of a message.

use std::collections::BTreeMap;
use std::time::Duration;

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
        let step = steps::of_message(&body);
        if self.is_caught(from, to, &body) {
            return;
        }
        self.summary.sent += 1;
        match self.network.mishaps.remove(&self.summary.sent) {
            Some(Mishap::Lost) => {
                self.hit(step, Kind::Lost);
                return self.lost(from, to, &body);
            }
            Some(Mishap::Late(after)) => {
                self.hit(step, Kind::Reordered);
                return self.at(after, Event::Message { from, to, body: Box::new(body) });
            }
            Some(Mishap::Again(after)) => {
                self.hit(step, Kind::Reordered);
                self.at(after, Event::Message { from, to, body: Box::new(body.clone()) });
            }
            Some(Mishap::Twice) => {
                self.hit(step, Kind::Reordered);
                self.at(1, Event::Message { from, to, body: Box::new(body.clone()) });
            }
            None => {}
        }
        if Network::rule(&self.network.cuts, from, to, self.now).is_some() {
            self.hit(step, Kind::Partition);
            return self.lost(from, to, &body);
        }
        if self.strikes(self.network.loss) {
            self.hit(step, Kind::Lost);
            return self.lost(from, to, &body);
        }
        let held = Network::rule(&self.network.clogs, from, to, self.now).map_or(0, |until| until - self.now);
        if held > 0 {
            self.hit(step, Kind::Slow);
        }
        if self.strikes(self.network.double) {
            self.hit(step, Kind::Reordered);
            let after = held + self.net_delay(step);
            self.at(after, Event::Message { from, to, body: Box::new(body.clone()) });
        }
        let after = held + self.net_delay(step);
        self.at(after, Event::Message { from, to, body: Box::new(body) });
    }

    fn net_delay(&mut self, step: Step) -> u64 {
        if self.strikes(self.network.delay) {
            self.hit(step, Kind::Reordered);
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
        if !self.participants[n].is_up() || paused || !way(here, there) || !way(there, here) {
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
