//! The network, the clients' patience, and what goes wrong.

use std::time::Duration;

use handfast_common::ids::{Key, Ticket};
use handfast_common::messages::{FromParticipant, ToParticipant};
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;

use super::client::Known;
use super::nodes::{Asker, Waiter};
use super::{Event, LOG, MS, PARTICIPANTS, World};

/// How long a fault holds a message back at most.
pub(super) const LONGEST_DELAY: u64 = 2_500 * MS;

impl World {
    /// Whether something goes wrong just now: once in `n` times, more seldom in a mild world, never in a healed one.
    pub(super) fn trouble(&mut self, n: u64) -> bool {
        !self.healed && self.dice.one_in(if self.mild { 10 * n } else { n })
    }

    pub(super) fn disk_delay(&mut self) -> u64 {
        if self.trouble(40) { 200 * MS } else { self.dice.between(200, 4 * MS) }
    }

    fn net_delay(&mut self) -> u64 {
        if self.trouble(40) {
            self.dice.between(50 * MS, LONGEST_DELAY)
        } else if self.healed {
            self.dice.between(100, MS)
        } else {
            self.dice.between(100, 6 * MS)
        }
    }

    pub(super) fn jittered(&mut self, after: Duration, jitter: bool) -> u64 {
        let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        if jitter { after - self.dice.below(after / 4 + 1) } else { after }
    }

    /// A message of its own connection: it may be lost, late, or come twice.
    pub(super) fn deliver(&mut self, event: Event) {
        if self.trouble(15) {
            return;
        }
        if self.trouble(15) {
            let after = self.net_delay();
            self.at(after, event.clone());
        }
        let after = self.net_delay();
        self.at(after, event);
    }

    /// From a participant to the coordinator, over a connection of its own.
    pub(super) fn call_coordinator(&mut self, n: usize, event: Event) {
        if self.healed || self.participants[n].unheard_until <= self.now {
            self.deliver(event);
        }
    }

    /// An order over the coordinator's connection. If it is lost, the connection is, a little later. A copy may sit in an
    /// old connection for long.
    pub(super) fn send(&mut self, n: usize, message: ToParticipant) {
        let Some(connection) = self.participants[n].connection else { return };
        self.over_connection(n, connection, Event::ToParticipant(n, connection, message));
    }

    pub(super) fn answer(&mut self, n: usize, connection: u64, message: FromParticipant) {
        self.over_connection(n, connection, Event::FromParticipant(n, connection, message));
    }

    fn over_connection(&mut self, n: usize, connection: u64, event: Event) {
        if self.trouble(40) {
            let after = self.dice.between(10, 400) * MS;
            return self.at(after, Event::Break(n, connection));
        }
        if self.trouble(20) {
            let after = self.net_delay();
            self.at(after, event.clone());
        }
        let after = self.net_delay();
        self.at(after, event);
    }

    pub(super) fn dial(&mut self, n: usize, after_ms: u64) {
        let node = &mut self.participants[n];
        if node.dialled && !node.dialling && node.connection.is_none() {
            node.dialling = true;
            self.at(after_ms * MS, Event::Connect(n));
        }
    }

    pub(super) fn on_connect(&mut self, n: usize) {
        self.participants[n].dialling = false;
        if self.participants[n].connection.is_some() || !self.coordinator.is_ready() {
            return;
        }
        if self.participants[n].machine.is_none() {
            return self.dial(n, 50);
        }
        self.participants[n].connection = Some(self.events);
        let name = self.participants[n].name();
        self.coordinate(c::Input::PeerConnected { name });
    }

    pub(super) fn on_break(&mut self, n: usize, connection: u64) {
        if self.participants[n].connection != Some(connection) {
            return;
        }
        self.summary.breaks += 1;
        self.participants[n].connection = None;
        let name = self.participants[n].name();
        self.coordinate(c::Input::PeerDisconnected { name });
        self.participate(n, p::Input::CoordinatorLost { log: LOG });
        let after = self.dice.between(1, 250);
        self.dial(n, after);
    }

    /// Also what was sent over an older connection, or by an older start of the coordinator; its answer goes nowhere.
    pub(super) fn on_order(&mut self, n: usize, connection: u64, message: ToParticipant) {
        let reply = p::ReplyTo(self.events);
        self.events += 1;
        let node = &mut self.participants[n];
        if node.machine.is_some() {
            node.answers.insert(reply, Waiter::Coordinator(connection));
            self.participate(n, p::Input::OrderReceived { reply, message });
        }
    }

    pub(super) fn on_fault(&mut self) {
        if self.healed {
            return;
        }
        match self.dice.below(10) {
            0..=2 => self.crash_coordinator(),
            3..=5 => {
                let n = usize::try_from(self.dice.below(PARTICIPANTS as u64)).unwrap_or(0);
                self.crash_participant(n);
            }
            7 | 8 => {
                // One way only: what it asks the coordinator is lost, what the coordinator tells it is not.
                let n = usize::try_from(self.dice.below(PARTICIPANTS as u64)).unwrap_or(0);
                self.participants[n].unheard_until = self.now + self.dice.between(200, 2_000) * MS;
                if let Some(connection) = self.participants[n].connection {
                    self.at(0, Event::Break(n, connection));
                }
            }
            6 => {
                // Everybody at once.
                self.crash_coordinator();
                for n in 0..PARTICIPANTS {
                    self.crash_participant(n);
                }
            }
            _ => {
                let n = usize::try_from(self.dice.below(PARTICIPANTS as u64)).unwrap_or(0);
                if let Some(connection) = self.participants[n].connection {
                    self.at(0, Event::Break(n, connection));
                }
            }
        }
    }

    pub(super) fn crash_coordinator(&mut self) {
        if self.coordinator.machine.is_none() {
            return;
        }
        self.summary.crashes.0 += 1;
        self.forget_coordinator();
        for n in 0..PARTICIPANTS {
            let node = &mut self.participants[n];
            node.dialled = false;
            if node.connection.take().is_some() {
                self.participate(n, p::Input::CoordinatorLost { log: LOG });
            }
        }
        let after = self.dice.between(5, 600) * MS;
        self.at(after, Event::StartCoordinator);
    }

    fn crash_participant(&mut self, n: usize) {
        if self.participants[n].machine.is_none() {
            return;
        }
        self.summary.crashes.1 += 1;
        self.forget_participant(n);
        if let Some(connection) = self.participants[n].connection {
            let after = self.dice.below(20 * MS);
            self.at(after, Event::Break(n, connection));
        }
        let after = self.dice.between(5, 900) * MS;
        self.at(after, Event::StartParticipant(n));
    }

    /// The end of all faults: everybody is up, nothing is lost or late any more.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.start_coordinator();
        for n in 0..PARTICIPANTS {
            self.start_participant(n);
            // Connections that have lost something are dropped when a call on them has waited too long.
            if let Some(connection) = self.participants[n].connection {
                self.at(0, Event::Break(n, connection));
            }
        }
        let open: Vec<Key> = self.clients.wanted.keys().copied().collect();
        for key in open {
            self.at(0, Event::Ask(key));
        }
    }

    pub(super) fn on_new_transaction(&mut self) {
        // A client has a ticket from its connection; without a coordinator it waits.
        let Some(machine) = self.coordinator.machine.as_ref().filter(|machine| machine.is_ready()) else {
            return self.at(20 * MS, Event::NewTransaction);
        };
        let (log, epoch, nonce, sequence) = machine.standing();
        let names = self.names();
        let key = self.clients.draw(&mut self.dice, &names, Ticket { log, epoch, nonce, sequence });
        self.deliver(Event::Submit(key));
        // Impatient ones send it again, and ask.
        if self.dice.one_in(3) {
            self.deliver(Event::Submit(key));
        }
        let after = self.dice.between(100, 3_000) * MS;
        self.at(after, Event::Ask(key));
    }

    pub(super) fn on_submit(&mut self, key: Key) {
        let request = self.clients.wanted[&key].request.clone();
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(key.0.as_bytes());
        let hash = handfast_common::ids::ContentHash(bytes);
        self.ask_coordinator(Asker::Client(key), |reply| c::Input::TransactionSubmitted { reply, request, hash });
    }

    /// Asks until it is known.
    pub(super) fn on_ask(&mut self, key: Key) {
        match self.clients.known(key) {
            Known::Open | Known::Rejected => {}
            // Now and then somebody asks again, and has to hear the same.
            Known::Committed | Known::Aborted if self.dice.one_in(3) => {}
            Known::Committed | Known::Aborted | Known::Forgotten => return,
        }
        let question = self.clients.question(key);
        self.ask_coordinator(Asker::Client(key), |reply| c::Input::OutcomeAsked { reply, question });
        let after = self.dice.between(100, 500) * MS;
        self.at(after, Event::Ask(key));
    }
}
