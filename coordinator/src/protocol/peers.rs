//! Participants: registry, Hello, and who has stopped answering.

use handfast_common::ids::{Epoch, Name, Nonce, RecordNumber, TxnId};
use handfast_common::limits::{SILENCE_TICK, SILENT_SHARE};
use handfast_common::messages::{
    Addressee, Answer, FromParticipant, Identity, Order, Refusal, Register, Registered, Seen, Welcome,
};
use handfast_common::outcome::{Reason, ReasonKind};

use super::machine::{Awaited, Effects};
use super::record::{Record, Registration};
use super::table::Phase;
use super::transaction::BranchState;
use super::{Coordinator, Effect, ReplyTo, Timer};

/// A participant's connection, as far as the protocol cares.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Peer {
    pub(super) state: PeerState,
    /// Where an operator said it is; empty if nobody did.
    pub(super) given: String,
    /// Whether it has answered Hello in this epoch, on whatever connection.
    pub(super) greeted: bool,
    /// Whether it has said anything since the last silence tick.
    pub(super) heard: bool,
    /// Whether it let a whole tick pass while something waited for it.
    pub(super) silent: bool,
}

/// How far the connection is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum PeerState {
    Disconnected,
    /// Hello is out.
    Greeting,
    /// It welcomed us; something of what it said must be on disk first. With what is to follow.
    Writing {
        upto: RecordNumber,
        complete: bool,
        who: Addressee,
    },
    /// Work may be sent to it.
    Ready(Addressee),
    /// It is not whom the registry knows; the reason.
    Refused(String),
}

impl Default for Peer {
    fn default() -> Self {
        Self { state: PeerState::Disconnected, given: String::new(), greeted: false, heard: true, silent: false }
    }
}

impl Peer {
    pub(super) fn ready(&self) -> Option<&Addressee> {
        match &self.state {
            PeerState::Ready(who) => Some(who),
            PeerState::Disconnected | PeerState::Greeting | PeerState::Writing { .. } | PeerState::Refused(_) => None,
        }
    }
}

impl Coordinator {
    pub(super) fn on_participant_registered(&mut self, reply: ReplyTo, register: Register, out: &mut Effects) {
        let Identity { name, store, clock, .. } = register.from;
        self.clock = self.clock.max(clock);
        let Some((known, _)) = self.registry.get(&name) else {
            let registration = Registration { name: name.clone(), store, sequence: 0, address: register.address };
            if self.peers.get(&name).is_none_or(|peer| peer.given.is_empty()) {
                out.push(Effect::Dial { name: name.clone(), address: registration.address.clone() });
            }
            self.register(registration, out);
            self.registering.entry(name).or_default().push(reply);
            return;
        };
        if known.store != store {
            let why = format!(
                "participant '{name}' is registered with store {}, this one is {}: start it on its own data folder, or \
                 under a name of its own",
                known.store.0, store.0
            );
            out.push(Effect::ReplyRegistered { to: reply, answer: Registered::Refused(why) });
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
            Some(waiting) => waiting.push(reply),
            None => out.push(Effect::ReplyRegistered { to: reply, answer: Registered::Welcome(self.stamp()) }),
        }
    }

    pub(super) fn on_address_given(&mut self, name: Name, address: String, out: &mut Effects) {
        self.peers.entry(name.clone()).or_default().given.clone_from(&address);
        out.push(Effect::Dial { name, address });
    }

    /// Forces a new entry of the registry: before the first Prepare to it, or a wiped store could come back unnoticed.
    fn register(&mut self, registration: Registration, out: &mut Effects) -> RecordNumber {
        let name = registration.name.clone();
        let record = Record::Participant(registration.clone());
        let number = self.append(record, Vec::new(), Some(Awaited::Registration(name.clone())), true, out);
        self.registering.insert(name.clone(), Vec::new());
        self.peers.entry(name.clone()).or_default();
        self.registry.insert(name, (registration, number));
        number
    }

    /// Replaces the record of a registration by its present state, lazily.
    pub(super) fn rewrite_registration(&mut self, name: &Name, out: &mut Effects) {
        if let Some((registration, old)) = self.registry.get(name).cloned() {
            let record = Record::Participant(registration.clone());
            let number = self.append(record, vec![old], None, false, out);
            self.registry.insert(name.clone(), (registration, number));
        }
    }

    pub(super) fn on_registration_forced(&mut self, name: &Name, out: &mut Effects) {
        for to in self.registering.remove(name).unwrap_or_default() {
            out.push(Effect::ReplyRegistered { to, answer: Registered::Welcome(self.stamp()) });
        }
        self.on_welcome_written(name, out);
    }

    pub(super) fn on_peer_connected(&mut self, name: Name, out: &mut Effects) {
        self.peers.entry(name.clone()).or_default().state = PeerState::Greeting;
        self.send(&name, Order::Hello { name: name.clone() }, out);
    }

    pub(super) fn on_peer_disconnected(&mut self, name: &Name, out: &mut Effects) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.state = PeerState::Disconnected;
        for txn in self.transactions_at(name) {
            let Some(transaction) = self.live.get(&txn) else { continue };
            let asked = transaction.branches.get(name).is_some_and(|branch| branch.state == BranchState::Asked);
            match transaction.phase {
                Phase::Preparing if asked => {
                    let why = format!("the connection to '{name}' broke before its vote");
                    self.fail(txn, Reason::new(ReasonKind::Unreachable, why), out);
                }
                Phase::OnePhase => self.lose_one_phase(txn, out),
                Phase::Gathering
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
        self.clock = self.clock.max(from.clock);
        if let Answer::Welcome(welcome) = answer {
            self.on_welcome(name, &from, welcome, out);
            return;
        }
        if let Answer::Refused(refusal) = answer {
            self.on_refused(name, &refusal, out);
            return;
        }
        let same = peer
            .ready()
            .is_some_and(|who| who.name == from.name && who.store == from.store && who.incarnation == from.incarnation);
        if !same {
            out.push(Effect::HangUp { name: name.clone(), why: "an answer from another start of it".into() });
            return;
        }
        if let Some((registration, _)) = self.registry.get_mut(name) {
            registration.sequence = registration.sequence.max(from.sequence);
        }
        match answer {
            Answer::Voted { xid, vote } => self.on_voted(name, &from, xid, vote, out),
            Answer::Released { xid, held } => self.on_released(name, &from, xid, held, out),
            Answer::Acknowledged { xid } => self.on_acknowledged(name, &from, xid, out),
            Answer::OnePhaseEnded { xid, result } => self.on_one_phase_ended(name, xid, result, out),
            Answer::Received | Answer::Welcome(_) | Answer::Refused(_) => {}
        }
    }

    fn on_welcome(&mut self, name: &Name, from: &Identity, welcome: Welcome, out: &mut Effects) {
        if self.peers.get(name).map(|peer| &peer.state) != Some(&PeerState::Greeting) {
            return;
        }
        if let Some(seen) = welcome.seen
            && self.decisions_of(seen.epoch, seen.nonce).is_none_or(|decisions| seen.decisions > decisions)
        {
            self.stop_replaced(name, seen, out);
            return;
        }
        if let Some(why) = self.why_refused(name, from) {
            if let Some(peer) = self.peers.get_mut(name) {
                peer.state = PeerState::Refused(why.clone());
            }
            out.push(Effect::HangUp { name: name.clone(), why });
            return;
        }
        let who = Addressee { name: name.clone(), store: from.store, incarnation: from.incarnation };
        let mut upto = None;
        if !self.registry.contains_key(name) {
            let address = self.peers.get(name).map(|peer| peer.given.clone()).unwrap_or_default();
            let registration = Registration { name: name.clone(), store: from.store, sequence: from.sequence, address };
            upto = Some(self.register(registration, out));
        } else if self.registering.contains_key(name) {
            upto = self.registry.get(name).map(|(_, number)| *number);
        }
        if let Some((registration, _)) = self.registry.get_mut(name) {
            registration.sequence = registration.sequence.max(from.sequence);
        }
        for report in welcome.unconfirmed {
            upto = self.on_unconfirmed(name, report, out).max(upto);
        }
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.state = PeerState::Writing { upto: upto.unwrap_or_default(), complete: welcome.complete, who };
        self.on_welcome_written(name, out);
    }

    /// Goes on with a participant that welcomed us, once nothing of what it said still waits for the disk.
    pub(super) fn on_welcome_written(&mut self, name: &Name, out: &mut Effects) {
        let Some(PeerState::Writing { upto, complete, who }) = self.peers.get(name).map(|peer| peer.state.clone())
        else {
            return;
        };
        // One-phase reports only have to be written before a mark covers them; a registration, or a list that was cut
        // short, before anything else is said.
        let must_wait = self.registering.contains_key(name) || !complete;
        if must_wait && self.awaited.keys().next().is_some_and(|first| *first <= upto) {
            return;
        }
        if !complete {
            self.on_peer_connected(name.clone(), out);
            return;
        }
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.state = PeerState::Ready(who);
        peer.greeted = true;
        self.guards.remove(name);
        for txn in self.transactions_at(name) {
            self.resume_at(txn, name, out);
        }
    }

    /// A participant is ready: everything that waited for it goes on.
    fn resume_at(&mut self, txn: TxnId, name: &Name, out: &mut Effects) {
        let Some(transaction) = self.live.get(&txn) else { return };
        let Some(branch) = transaction.branches.get(name) else { return };
        let now = self.peers.get(name).and_then(Peer::ready).map(|who| who.incarnation);
        let restarted = branch.incarnation().is_some() && branch.incarnation() != now;
        match transaction.phase {
            Phase::Gathering => self.gather(txn, out),
            // What it read is no longer locked: another transaction may have changed it.
            Phase::Preparing | Phase::Releasing if branch.state == BranchState::ReadOnly && restarted => {
                let why = format!("'{name}' was restarted and lost its locks");
                self.fail(txn, Reason::new(ReasonKind::Lost, why), out);
            }
            Phase::Releasing | Phase::Committing | Phase::Asking => self.repeat_to(txn, name, out),
            Phase::Preparing | Phase::Deciding | Phase::OnePhase | Phase::Recording | Phase::Ended => {}
        }
    }

    fn why_refused(&self, name: &Name, from: &Identity) -> Option<String> {
        if from.name != *name {
            return Some(format!("dialled '{name}', '{}' answered: check the address", from.name));
        }
        let (known, _) = self.registry.get(name)?;
        if known.store != from.store {
            return Some(format!(
                "participant '{name}' has another store than the one registered ({} instead of {}): what it prepared is \
                 missing; start it on its own data folder",
                from.store.0, known.store.0
            ));
        }
        (from.sequence < known.sequence).then(|| {
            format!(
                "the store of participant '{name}' is older than what it acknowledged (sequence {} instead of {} or \
                 more): an old copy? Start it on its newest data folder",
                from.sequence, known.sequence
            )
        })
    }

    fn on_refused(&mut self, name: &Name, refusal: &Refusal, out: &mut Effects) {
        match refusal {
            Refusal::Fenced(seen) | Refusal::ForeignNonce(seen) => self.stop_replaced(name, *seen, out),
            Refusal::HelloFirst | Refusal::WrongAddressee | Refusal::OtherContent | Refusal::BelowMark => {
                out.push(Effect::HangUp { name: name.clone(), why: format!("it refused an order: {refusal:?}") });
            }
        }
    }

    /// Somebody has seen a start of this coordinator that this log does not know of: another copy of it has run.
    fn stop_replaced(&mut self, name: &Name, seen: Seen, out: &mut Effects) {
        let (Epoch(epoch), Nonce(nonce)) = (seen.epoch, seen.nonce);
        self.stop(
            out,
            format!(
                "participant '{name}' has heard of epoch {epoch} (nonce {nonce:016x}, decision {}) of log {}, this one \
                 is at epoch {} (nonce {:016x}, decision {}): the log is an old or a second copy. Start the newest copy \
                 only",
                seen.decisions, self.log.0, self.epoch.0, self.nonce.0, self.decisions_forced
            ),
        );
    }

    /// Transactions with a branch at `name`.
    pub(super) fn transactions_at(&self, name: &Name) -> Vec<TxnId> {
        self.live
            .iter()
            .filter(|(_, transaction)| transaction.branches.contains_key(name))
            .map(|(txn, _)| *txn)
            .collect()
    }

    /// How many transactions wait for `name` to say something.
    fn waiting_for(&self, name: &Name) -> usize {
        self.live.values().filter(|transaction| transaction.waits_for(name)).count()
    }

    /// Whether a participant that does not answer already holds its share of what may be in flight.
    pub(super) fn holds_its_share(&self, name: &Name) -> bool {
        let answers = self.peers.get(name).is_some_and(|peer| peer.ready().is_some() && !peer.silent);
        !answers && self.waiting_for(name) >= self.config.max_in_flight / SILENT_SHARE
    }

    pub(super) fn arm_silence(&mut self, out: &mut Effects) {
        if !self.silence_armed {
            self.silence_armed = true;
            out.push(Effect::SetTimer { timer: Timer::Silence, after: SILENCE_TICK, jitter: false });
        }
    }

    /// Looks who let a whole tick pass in silence while something waited for it, and takes back slots beyond its share.
    pub(super) fn on_silence(&mut self, out: &mut Effects) {
        self.silence_armed = false;
        let names: Vec<Name> = self.peers.keys().cloned().collect();
        for name in names {
            let waiting = self.waiting_for(&name);
            let Some(peer) = self.peers.get_mut(&name) else { continue };
            peer.silent = waiting > 0 && !peer.heard;
            peer.heard = false;
            if peer.silent {
                self.shed_at(&name, waiting, out);
            }
        }
        if !self.live.is_empty() {
            self.arm_silence(out);
        }
    }

    fn shed_at(&mut self, name: &Name, waiting: usize, out: &mut Effects) {
        let surplus = waiting.saturating_sub(self.config.max_in_flight / SILENT_SHARE);
        let newest: Vec<TxnId> = self
            .live
            .iter()
            .rev()
            .filter(|(_, transaction)| {
                matches!(transaction.phase, Phase::Gathering | Phase::Preparing) && transaction.waits_for(name)
            })
            .map(|(txn, _)| *txn)
            .take(surplus)
            .collect();
        for txn in newest {
            let why = format!("'{name}' has stopped answering and holds its share of the transactions in flight");
            self.fail(txn, Reason::new(ReasonKind::Overloaded, why), out);
        }
    }
}
