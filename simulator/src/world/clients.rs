//! What clients do: submit, give up, send again, ask, and try once more under a new key.

use handfast_common::ids::{Key, Ticket};
use handfast_common::messages::Told;
use handfast_coordinator::protocol as c;

use super::coordinator::Asker;
use super::{Body, Event, Scripted, World};
use crate::clients::{Known, content_hash};
use crate::matrix::{Kind, Step};
use crate::plan::{Host, MS};
use crate::workload::{appends, mark_writers};

/// How often a transaction is tried again.
const ATTEMPTS: u32 = 3;

impl World {
    pub(super) fn on_new_transaction(&mut self, earlier: Option<Key>) {
        // A client has its ticket from a connection; without a coordinator it waits.
        let Some(machine) = self.coordinator.machine.as_ref().filter(|machine| machine.is_ready()) else {
            return self.at(20 * MS, Event::NewTransaction(earlier));
        };
        let (log, epoch, nonce, sequence) = machine.standing();
        let ticket = Ticket { log, epoch, nonce, sequence };
        let before = earlier.and_then(|key| self.ledger.get(key)).and_then(|wanted| match &wanted.known {
            Known::Aborted(_, age) => Some((*age, wanted.attempt + 1)),
            _ => None,
        });
        let names = self.names();
        let branches = self.options.workload.draw(&mut self.dice, &names, self.ledger.next_key());
        let key = self.ledger.enter(branches, ticket, before, self.now);
        let must = self.ledger.get(key).is_some_and(|wanted| appends(&wanted.branches));
        if self.dice.below(100) < self.options.interactive || must {
            return self.open(key);
        }
        self.send(Host::Clients, Host::Coordinator, Body::Submit(key));
        if self.dice.below(100) < self.options.cancels {
            self.hit(Step::Lib2, Kind::Cancelled);
            self.ledger.cancel(key);
        }
        // Impatient ones send it again.
        if self.dice.one_in(4) {
            let after = self.dice.below(200 * MS);
            self.at(after, Event::Resubmit(key));
        }
        let after = self.dice.between(20, 2_000) * MS;
        self.at(after, Event::AskDue(key));
    }

    /// One of the script.
    pub(super) fn on_scripted(&mut self, number: usize) {
        let Some(machine) = self.coordinator.machine.as_ref().filter(|machine| machine.is_ready()) else {
            return self.at(20 * MS, Event::Scripted(number));
        };
        let (log, epoch, nonce, sequence) = machine.standing();
        let ticket = Ticket { log, epoch, nonce, sequence };
        let Scripted { mut branches, again, asks, .. } = self.options.script[number].clone();
        mark_writers(&mut branches, self.ledger.next_key());
        let key = self.ledger.enter(branches, ticket, None, self.now);
        self.send(Host::Clients, Host::Coordinator, Body::Submit(key));
        if let Some(after) = again {
            self.at(after, Event::Resubmit(key));
        }
        if let Some(after) = asks {
            self.at(after, Event::AskDue(key));
        }
    }

    pub(super) fn on_submit(&mut self, key: Key) {
        let Some(wanted) = self.ledger.get(key) else { return };
        let (request, hash) = (wanted.request.clone(), content_hash(&wanted.request));
        if self.coordinator.is_ready() {
            self.note_ticket(Step::Lib2, request.ticket);
            let reply = self.coordinator.expect(Asker::Client(key, true));
            self.coordinate(c::Input::TransactionSubmitted { reply, request, hash });
        }
    }

    /// A client asks until it knows, and now and then once more: it has to hear the same.
    pub(super) fn on_ask_due(&mut self, key: Key) {
        let Some(wanted) = self.ledger.get(key) else { return };
        if wanted.is_known() && !self.dice.one_in(3) {
            return;
        }
        self.send(Host::Clients, Host::Coordinator, Body::Ask(key));
        let after = self.dice.between(100, 500) * MS;
        self.at(after, Event::AskDue(key));
    }

    pub(super) fn on_ask(&mut self, key: Key) {
        let Some(question) = self.ledger.question(key) else { return };
        if self.coordinator.is_ready() {
            question.ticket.into_iter().for_each(|ticket| self.note_ticket(Step::Lib3, ticket));
            let reply = self.coordinator.expect(Asker::Client(key, false));
            self.coordinate(c::Input::OutcomeAsked { reply, question });
        }
    }

    pub(super) fn on_told(&mut self, key: Key, submitted: bool, told: &Told) {
        self.told_on_stage(key, told);
        let Some(wanted) = self.ledger.get(key) else { return };
        if submitted && wanted.cancelled {
            return;
        }
        let (knew, attempt) = (wanted.is_known(), wanted.attempt);
        let verdict = self.ledger.hear(key, told, self.now);
        self.judge("stable decision", verdict);
        let retries = matches!(self.ledger.get(key).map(|wanted| &wanted.known), Some(Known::Aborted(true, _)));
        let scripted = !self.options.script.is_empty() || self.stage.is_some();
        if !knew && retries && !scripted && attempt < ATTEMPTS && self.healed.is_none() {
            let after = self.dice.between(1, 50) * MS;
            self.at(after, Event::NewTransaction(Some(key)));
        }
    }
}
