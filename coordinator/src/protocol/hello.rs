//! Hello, and what a participant has to answer before anything else is said to it.
//!
//! It lets us in only if we name the start of ours that it has seen last; else it says which that is: one of this log's
//! line, and Hello is said again, or more than the log has, and the process stops. Its Welcome shows whether its store is
//! the one that is registered, and what it committed in one phase that an earlier start may not have written.

use handfast_common::ids::{Epoch, LogId, Name, Nonce, TxnId};
use handfast_common::messages::{Addressee, Identity, KnownStart, Order, Refusal, Seen, Welcome};
use handfast_common::mutants::{self, Mutant};

use super::machine::{Effects, Start};
use super::peers::{Peer, PeerState, older_store, way_out};
use super::table::Phase;
use super::transaction::BranchState;
use super::voting::restarted;
use super::{Coordinator, Effect};

impl Coordinator {
    /// What begins every connection. Until a participant has said which start of ours it has seen last, that is taken to be
    /// the last one before this.
    pub(super) fn hello(&self, name: &Name) -> Order {
        let registered = self.registry.get(name).map(|(known, _)| known);
        let known =
            registered.and_then(|known| Some(KnownStart { incarnation: known.incarnation?, sequence: known.sequence }));
        let after = self.peers.get(name).and_then(|peer| peer.seen).or_else(|| self.start_before());
        Order::Hello { name: name.clone(), coordinator: self.config.name.clone(), known, after }
    }

    fn start_before(&self) -> Option<Seen> {
        let seen = |start: &Start| Seen { epoch: start.epoch, nonce: start.nonce, decisions: start.decisions };
        self.line.last().map(seen)
    }

    pub(super) fn on_welcome(&mut self, name: &Name, from: &Identity, welcome: Welcome, out: &mut Effects) {
        let Some(peer) = self.peers.get(name) else { return };
        let who = Addressee { name: name.clone(), store: from.store, incarnation: from.incarnation };
        let first = match &peer.state {
            PeerState::Greeting => true,
            // The rest of its list; anything else is a second copy of what has been heard.
            PeerState::Ready(ready) if peer.asked_for_rest && *ready == who => false,
            PeerState::Ready(_) | PeerState::Disconnected | PeerState::Writing(_) | PeerState::Refused => return,
        };
        if first && let Some(why) = self.why_refused(name, from, welcome.remembers) {
            if let Some(peer) = self.peers.get_mut(name) {
                peer.state = PeerState::Refused;
                peer.refusal = Some((from.incarnation, why.clone()));
            }
            out.push(Effect::HangUp { name: name.clone(), why });
            return;
        }
        self.enroll(name, from, out);
        self.raise_sequence(name, from.store, from.sequence);
        let reported = welcome.unconfirmed.iter().map(|report| report.xid.txn).max();
        for report in welcome.unconfirmed {
            self.on_unconfirmed(name, report, out);
        }
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.refusal = None;
        peer.greeted = true;
        peer.asked_for_rest = false;
        peer.listed |= welcome.complete;
        peer.reported = peer.reported.max(reported);
        if peer.listed {
            self.guards.remove(name);
        }
        let Some(peer) = self.peers.get_mut(name) else { return };
        if first {
            peer.state = PeerState::Writing(who);
            self.on_welcome_written(name, out);
        } else {
            self.ask_for_the_rest(name, out);
        }
    }

    /// Goes on with a participant that welcomed us, once its registration is on disk. What it reported need not be: the
    /// mark stays below it.
    pub(super) fn on_welcome_written(&mut self, name: &Name, out: &mut Effects) {
        if self.registering.contains_key(name) {
            return;
        }
        let Some(peer) = self.peers.get_mut(name) else { return };
        let PeerState::Writing(who) = peer.state.clone() else { return };
        peer.state = PeerState::Ready(who);
        for txn in self.transactions_at(name) {
            self.resume_at(txn, name, out);
        }
        self.ask_for_the_rest(name, out);
    }

    /// A list that was cut short: Hello again, once the mark has come past what was reported, because only then does the
    /// participant go on to what follows. Work goes on meanwhile; a mark that is held up must not hold up everything.
    pub(super) fn ask_for_the_rest(&mut self, name: &Name, out: &mut Effects) {
        let Some(peer) = self.peers.get(name) else { return };
        let due = !peer.listed && !peer.asked_for_rest && peer.ready().is_some();
        if !due || !peer.reported.is_some_and(|reported| self.mark_for(name).covers(reported)) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(name) {
            peer.asked_for_rest = true;
        }
        self.send(name, self.hello(name), out);
    }

    /// A participant is ready: everything that waited for it goes on.
    fn resume_at(&mut self, txn: TxnId, name: &Name, out: &mut Effects) {
        let Some(transaction) = self.live.get(&txn) else { return };
        let Some(branch) = transaction.branches.get(name) else { return };
        let now = self.peers.get(name).and_then(Peer::ready);
        let replaced = branch.sent_to.is_some() && branch.sent_to.as_ref() != now;
        match transaction.phase {
            Phase::Active if replaced && !mutants::is(Mutant::RestartTakesOver) => self.fail(txn, restarted(name), out),
            Phase::Gathering => self.gather(txn, out),
            // What it read is no longer locked: another transaction may have changed it.
            Phase::Preparing | Phase::Releasing
                if branch.state == BranchState::ReadOnly && replaced && !mutants::is(Mutant::ReleaseIsNotAwaited) =>
            {
                self.fail(txn, restarted(name), out);
            }
            Phase::Releasing | Phase::Committing | Phase::Asking => self.repeat_to(txn, name, out),
            Phase::Active | Phase::Preparing | Phase::Deciding | Phase::OnePhase | Phase::Recording | Phase::Ended => {}
        }
    }

    fn why_refused(&self, name: &Name, from: &Identity, remembers: bool) -> Option<String> {
        if from.name != *name {
            return Some(format!("dialled '{name}', '{}' answered: check the address", from.name));
        }
        let (known, _) = self.registry.get(name).filter(|_| !mutants::is(Mutant::ForgetfulStoreIsTrusted))?;
        if known.store != from.store {
            return Some(format!(
                "participant '{name}' has another store than the one registered ({} instead of {}): what it prepared is \
                 missing; start it on its own data folder; {}",
                from.store.0,
                known.store.0,
                way_out(name)
            ));
        }
        if from.sequence < known.sequence {
            return Some(older_store(name, from.sequence, known.sequence));
        }
        let forgotten = known.incarnation.filter(|_| !remembers)?;
        Some(format!(
            "store {} of participant '{name}' does not remember its start {:016x} up to sequence {}: it is a copy, or \
             went back in time, and what it prepared since is missing; start it on its newest data folder; {}",
            from.store.0,
            forgotten.0,
            known.sequence,
            way_out(name)
        ))
    }

    /// Stops if a participant knows our name by another log, and is one of ours: presumed abort out of this log would
    /// be told to branches that only that log can end.
    fn on_other_log(&mut self, name: &Name, from: &Identity, known: LogId, out: &mut Effects) {
        let stranger = self.registry.get(name).is_some_and(|(registered, _)| registered.store != from.store);
        if from.name != *name || stranger || known == self.log {
            let why = format!(
                "'{}' answered, and knows this coordinator's name by another log: check the address",
                from.name
            );
            out.push(Effect::HangUp { name: name.clone(), why });
            return;
        }
        let own = &self.config.name;
        self.stop(
            out,
            format!(
                "participant '{name}' knows coordinator '{own}' by log {}, this one is log {}: the log was wiped or \
                 replaced, or two coordinators share a name. It still holds branches that only log {} can end: start \
                 the coordinator on the data folder with that log, or give this one a name of its own with --name",
                known.0, self.log.0, known.0
            ),
        );
    }

    /// Whether somebody has seen what this log does not have.
    pub(super) fn is_beyond(&self, seen: Seen) -> bool {
        let known = self.decisions_of(seen.epoch, seen.nonce);
        known.is_none_or(|decisions| seen.decisions > decisions) && !mutants::is(Mutant::SecondStartIsLetIn)
    }

    pub(super) fn on_refused(&mut self, name: &Name, from: &Identity, refusal: &Refusal, out: &mut Effects) {
        match refusal {
            Refusal::Fenced(seen) | Refusal::ForeignNonce(seen) | Refusal::SeenBefore(seen)
                if self.is_beyond(*seen) =>
            {
                self.stop_replaced(name, *seen, out);
            }
            Refusal::SeenBefore(seen) => self.on_seen_before(name, *seen, out),
            Refusal::OtherLog(known) => self.on_other_log(name, from, *known, out),
            // Fenced by this very log: it was said to an earlier start of it.
            Refusal::Fenced(_)
            | Refusal::ForeignNonce(_)
            | Refusal::HelloFirst
            | Refusal::WrongAddressee
            | Refusal::OtherContent
            | Refusal::BelowMark => {
                out.push(Effect::HangUp { name: name.clone(), why: format!("it refused an order: {refusal:?}") });
            }
        }
    }

    /// It has seen another start of ours last than Hello said, one that this log knows: Hello again, after that one.
    fn on_seen_before(&mut self, name: &Name, seen: Seen, out: &mut Effects) {
        // As far as this log knows it: an order of that start may be on its way still, with a decision more.
        let Some(decisions) = self.decisions_of(seen.epoch, seen.nonce) else { return };
        let before = self.start_before();
        let Some(peer) = self.peers.get_mut(name).filter(|peer| peer.state == PeerState::Greeting) else { return };
        let said = peer.seen.or(before);
        if said.is_some_and(|said| said.epoch == seen.epoch && said.nonce == seen.nonce) {
            // Said already. Never again and again over one connection; the next one begins anew.
            let why = format!("it wants Hello after epoch {}, and got that", seen.epoch.0);
            out.push(Effect::HangUp { name: name.clone(), why });
            return;
        }
        peer.seen = Some(Seen { decisions, ..seen });
        self.send(name, self.hello(name), out);
    }

    /// Somebody has seen a start of this coordinator that this log does not know of: another copy of it has run.
    pub(super) fn stop_replaced(&mut self, name: &Name, seen: Seen, out: &mut Effects) {
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
}
