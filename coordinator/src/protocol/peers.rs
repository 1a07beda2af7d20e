//! Participants: the registry, their connections, and what they say.

use handfast_common::ids::{Incarnation, Name, RecordNumber, TxnId};
use handfast_common::messages::{Addressee, Answer, FromParticipant, Identity, Register, Registered};
use handfast_common::outcome::{Reason, ReasonKind};

use super::machine::{Awaited, Effects};
use super::record::{Record, Registration};
use super::table::Phase;
use super::transaction::BranchState;
use super::{Coordinator, Effect, ReplyTo};

/// A participant's connection, as far as the protocol cares.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Peer {
    pub(super) state: PeerState,
    /// Which start of it was refused last, and why, until one is accepted.
    pub(super) refusal: Option<(Incarnation, String)>,
    /// Where an operator said it is; empty if nobody did.
    pub(super) given: String,
    /// Whether it has answered Hello in this epoch, on whatever connection.
    pub(super) greeted: bool,
    /// Whether it has reported, in this epoch, all that it committed in one phase. If not, up to where.
    pub(super) listed: bool,
    pub(super) reported: Option<TxnId>,
    /// Whether a Hello for the rest of that list is out.
    pub(super) asked_for_rest: bool,
    /// Whether it has said anything since the last silence tick.
    pub(super) heard: bool,
    /// Whether something waited for it at the last silence tick.
    pub(super) owed: bool,
    /// Whether it let a whole tick pass while something waited for it.
    pub(super) silent: bool,
}

/// How far the connection is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum PeerState {
    Disconnected,
    /// Hello is out.
    Greeting,
    /// It welcomed us; its registration must be on disk first.
    Writing(Addressee),
    /// Work may be sent to it.
    Ready(Addressee),
    /// It is not whom the registry knows.
    Refused,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            state: PeerState::Disconnected,
            refusal: None,
            given: String::new(),
            greeted: false,
            listed: false,
            reported: None,
            asked_for_rest: false,
            heard: true,
            owed: false,
            silent: false,
        }
    }
}

impl Peer {
    pub(super) fn ready(&self) -> Option<&Addressee> {
        match &self.state {
            PeerState::Ready(who) => Some(who),
            PeerState::Disconnected | PeerState::Greeting | PeerState::Writing(_) | PeerState::Refused => None,
        }
    }
}

/// A registration that is on its way to disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Registering {
    /// The record that it must reach; one that comes before it is not enough.
    upto: RecordNumber,
    /// Who waits for an answer.
    waiting: Vec<ReplyTo>,
}

impl Coordinator {
    pub(super) fn on_participant_registered(&mut self, reply: ReplyTo, register: Register, out: &mut Effects) {
        let Identity { name, store, incarnation, sequence, clock } = register.from;
        self.hear_clock(clock);
        let other_store = self.registry.get(&name).is_some_and(|(known, _)| known.store != store);
        if let Some(seen) = register.seen.filter(|seen| !other_store && self.is_beyond(*seen)) {
            return self.stop_replaced(&name, seen, out);
        }
        let Some((known, _)) = self.registry.get(&name) else {
            let (incarnation, address) = (Some(incarnation), register.address);
            let registration = Registration { name: name.clone(), store, incarnation, sequence, address };
            if self.peers.get(&name).is_none_or(|peer| peer.given.is_empty()) {
                out.push(Effect::Dial { name: name.clone(), address: registration.address.clone() });
            }
            self.peers.entry(name.clone()).or_default();
            self.force_registration(registration, out);
            if let Some(registering) = self.registering.get_mut(&name) {
                registering.waiting.push(reply);
            }
            return;
        };
        if known.store != store {
            let why = format!(
                "participant '{name}' is registered with store {}, this one is {}: start it on its own data folder, or \
                 under a name of its own; {}",
                known.store.0,
                store.0,
                way_out(&name)
            );
            out.push(Effect::ReplyRegistered { to: reply, answer: Registered::Refused(why) });
            return;
        }
        // Nor may an old copy draw the connection to itself. From the start that we talk to, a registration may just
        // have been overtaken by newer answers.
        let present = self.peers.get(&name).and_then(Peer::ready).is_some_and(|who| who.incarnation == incarnation);
        if sequence < known.sequence && !present {
            let why = older_store(&name, sequence, known.sequence);
            out.push(Effect::ReplyRegistered { to: reply, answer: Registered::Refused(why) });
            return;
        }
        // Nor what has been found out at the other door.
        let refusal = self.peers.get(&name).and_then(|peer| peer.refusal.as_ref());
        if let Some((_, why)) = refusal.filter(|(refused, _)| *refused == incarnation) {
            out.push(Effect::ReplyRegistered { to: reply, answer: Registered::Refused(why.clone()) });
            return;
        }
        // An address given by hand stands, whatever the participant believes of itself.
        let by_hand = self.peers.get(&name).is_some_and(|peer| !peer.given.is_empty());
        if known.address != register.address && !by_hand {
            out.push(Effect::Dial { name: name.clone(), address: register.address.clone() });
            if let Some((known, _)) = self.registry.get_mut(&name) {
                known.address = register.address;
            }
            self.rewrite_registration(&name, out);
        }
        match self.registering.get_mut(&name) {
            Some(registering) => registering.waiting.push(reply),
            None => out.push(Effect::ReplyRegistered { to: reply, answer: Registered::Welcome(self.stamp(&name)) }),
        }
    }

    pub(super) fn on_address_given(&mut self, name: Name, address: String, out: &mut Effects) {
        self.peers.entry(name.clone()).or_default().given.clone_from(&address);
        out.push(Effect::Dial { name, address });
    }

    /// The start of a participant that has welcomed us is in the registry, on disk, before the first Prepare to it: or a
    /// wiped or older store could come back unnoticed.
    pub(super) fn enroll(&mut self, name: &Name, from: &Identity, out: &mut Effects) {
        let registration = match self.registry.get(name) {
            Some((known, _)) if known.incarnation == Some(from.incarnation) => return,
            Some((known, _)) => Registration {
                incarnation: Some(from.incarnation),
                sequence: known.sequence.max(from.sequence),
                ..known.clone()
            },
            None => Registration {
                name: name.clone(),
                store: from.store,
                incarnation: Some(from.incarnation),
                sequence: from.sequence,
                address: self.peers.get(name).map(|peer| peer.given.clone()).unwrap_or_default(),
            },
        };
        self.force_registration(registration, out);
    }

    /// Writes an entry of the registry, in the place of an older one, and waits for it to be on disk.
    fn force_registration(&mut self, registration: Registration, out: &mut Effects) {
        let name = registration.name.clone();
        let erase = self.registry.get(&name).map(|(_, old)| *old).into_iter().collect();
        let record = Record::Participant(registration.clone());
        let upto = self.append(record, erase, Some(Awaited::Registration(name.clone())), true, out);
        self.registry.insert(name.clone(), (registration, upto));
        self.registering.entry(name).or_insert(Registering { upto, waiting: Vec::new() }).upto = upto;
    }

    /// Replaces the record of a registration by its present state, lazily.
    pub(super) fn rewrite_registration(&mut self, name: &Name, out: &mut Effects) {
        if let Some((registration, old)) = self.registry.get(name).cloned() {
            let record = Record::Participant(registration.clone());
            let number = self.append(record, vec![old], None, false, out);
            self.registry.insert(name.clone(), (registration, number));
        }
    }

    pub(super) fn on_registration_forced(&mut self, name: &Name, number: RecordNumber, out: &mut Effects) {
        if self.registering.get(name).is_none_or(|registering| registering.upto != number) {
            return;
        }
        let waiting = self.registering.remove(name).map(|registering| registering.waiting).unwrap_or_default();
        for to in waiting {
            out.push(Effect::ReplyRegistered { to, answer: Registered::Welcome(self.stamp(name)) });
        }
        self.on_welcome_written(name, out);
    }

    pub(super) fn on_peer_connected(&mut self, name: Name, out: &mut Effects) {
        let peer = self.peers.entry(name.clone()).or_default();
        peer.state = PeerState::Greeting;
        peer.asked_for_rest = false;
        self.send(&name, self.hello(&name), out);
    }

    pub(super) fn on_peer_disconnected(&mut self, name: &Name, out: &mut Effects) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.state = PeerState::Disconnected;
        peer.asked_for_rest = false;
        for txn in self.transactions_at(name) {
            let Some(transaction) = self.live.get(&txn) else { continue };
            let asked = transaction.branches.get(name).is_some_and(|branch| branch.state == BranchState::Asked);
            match transaction.phase {
                Phase::Preparing if asked => {
                    let why = format!("the connection to '{name}' broke before its vote");
                    self.fail(txn, Reason::new(ReasonKind::Unreachable, why), out);
                }
                Phase::OnePhase => self.lose_one_phase(txn, out),
                // An open one goes on over the next connection, if its participant is the same start then.
                Phase::Active
                | Phase::Gathering
                | Phase::Preparing
                | Phase::Releasing
                | Phase::Deciding
                | Phase::Committing
                | Phase::Asking
                | Phase::Recording
                | Phase::Ended => {}
            }
        }
    }

    pub(super) fn on_answer_received(&mut self, name: &Name, message: FromParticipant, out: &mut Effects) {
        let FromParticipant { from, answer } = message;
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.heard = true;
        peer.silent = false;
        let ready = peer.ready().cloned();
        self.hear_clock(from.clock);
        if let Answer::Welcome(welcome) = answer {
            self.on_welcome(name, &from, welcome, out);
            return;
        }
        if let Answer::Refused(refusal) = answer {
            self.on_refused(name, &from, &refusal, out);
            return;
        }
        let same = ready
            .is_some_and(|who| who.name == from.name && who.store == from.store && who.incarnation == from.incarnation);
        if !same {
            out.push(Effect::HangUp { name: name.clone(), why: "an answer from another start of it".into() });
            return;
        }
        self.raise_sequence(name, from.store, from.sequence);
        match answer {
            Answer::Voted { xid, vote } => self.on_voted(name, &from, xid, vote, out),
            Answer::Released { xid, held } => self.on_released(name, &from, xid, held, out),
            Answer::Acknowledged { xid } => self.on_acknowledged(name, &from, xid, out),
            Answer::OnePhaseEnded { xid, result } => self.on_one_phase_ended(&from, xid, result, out),
            Answer::Received | Answer::Welcome(_) | Answer::Refused(_) => {}
        }
    }

    /// Transactions with a branch at `name`.
    pub(super) fn transactions_at(&self, name: &Name) -> Vec<TxnId> {
        self.live
            .iter()
            .filter(|(_, transaction)| transaction.branches.contains_key(name))
            .map(|(txn, _)| *txn)
            .collect()
    }
}

pub(super) fn older_store(name: &Name, is: u64, known: u64) -> String {
    format!(
        "the store of participant '{name}' is older than what it acknowledged (sequence {is} instead of {known} or \
         more): an old copy? Start it on its newest data folder; {}",
        way_out(name)
    )
}

/// What to do when a participant's store is lost. Only an operator can say that it is.
pub(super) fn way_out(name: &Name) -> String {
    format!("if that is gone for good: handfast registry remove {name} --reason TEXT")
}
