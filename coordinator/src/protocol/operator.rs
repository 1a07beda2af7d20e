//! An operator's way out when a participant is gone for good: taking it out of the registry, or letting inquiries go on
//! without it.
//!
//! Both are recorded for ever before they have an effect, because they replace knowledge by the operator's word: that
//! nobody will come back who knows better. What a removed participant still owes stays listed for ever, and is never
//! told to another store under its name.

use handfast_common::ids::{Name, RecordNumber, StoreId, TxnId};
use handfast_common::limits::MAX_REASON_BYTES;
use handfast_common::messages::{RegistryAct, RegistryAnswer, RegistryOrder};
use handfast_common::outcome::{Reason, ReasonKind};

use super::inquiry::GuardState;
use super::machine::{Awaited, Effects};
use super::record::{OperatorAct, Record, Registration};
use super::table::{Event, Phase};
use super::transaction::{Branch, BranchState};
use super::{Coordinator, Effect, ReplyTo};

/// A participant that was taken out of the registry.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Removal {
    /// As it was known.
    pub(super) registration: Registration,
    /// Why, in the operator's words.
    pub(super) reason: String,
}

impl Coordinator {
    pub(super) fn on_registry_ordered(&mut self, reply: ReplyTo, order: RegistryOrder, out: &mut Effects) {
        let answer = match self.why_not(&order) {
            Some(why) => RegistryAnswer::Refused(why),
            None => match (order.act, self.registry.get(&order.name).cloned()) {
                (RegistryAct::Remove, Some((registration, number))) => {
                    return self.remove(reply, registration, number, order.reason, out);
                }
                (RegistryAct::Release, known) if known.is_some() || self.guards.contains_key(&order.name) => {
                    let RegistryOrder { name, reason, .. } = order;
                    let act = OperatorAct::Released { name: name.clone(), epoch: self.epoch };
                    let awaited = Awaited::Release(name, reply);
                    self.append(Record::Operator { act, reason }, Vec::new(), Some(awaited), true, out);
                    return;
                }
                (RegistryAct::Remove | RegistryAct::Release, _) => RegistryAnswer::NotFound,
            },
        };
        out.push(Effect::ReplyRegistry { to: reply, answer });
    }

    /// What speaks against an order.
    fn why_not(&self, order: &RegistryOrder) -> Option<String> {
        let RegistryOrder { act, name, reason, force } = order;
        if reason.trim().is_empty() {
            return Some("say why: the reason is kept in the log".to_owned());
        }
        if reason.len() > MAX_REASON_BYTES {
            return Some(format!("a reason of {} bytes is over the limit of {MAX_REASON_BYTES}", reason.len()));
        }
        match act {
            RegistryAct::Release => None,
            RegistryAct::Remove if self.registering.contains_key(name) => {
                Some(format!("the registration of '{name}' is just being written; try again"))
            }
            RegistryAct::Remove if *force || !self.registry.contains_key(name) => None,
            RegistryAct::Remove => self.why_needed(name),
        }
    }

    /// Why a participant should stay registered.
    fn why_needed(&self, name: &Name) -> Option<String> {
        if self.peers.get(name).is_some_and(|peer| peer.ready().is_some() && !peer.silent) {
            return Some(format!("participant '{name}' is connected and well: stop it first, or say --force"));
        }
        let owed = self.owed_by(name);
        (owed > 0).then(|| {
            format!(
                "participant '{name}' has not answered for {owed} transactions that may be committed: without it they \
                 stay listed for ever and their effects there are lost; start it on its newest data folder, or say --force"
            )
        })
    }

    /// How many decided transactions, and how many that it decides alone, wait for its answer.
    pub(super) fn owed_by(&self, name: &Name) -> u64 {
        let owes = |phase, state| match (phase, state) {
            (Phase::Deciding | Phase::Committing, BranchState::Yes) => true,
            (Phase::OnePhase | Phase::Asking, BranchState::Asked) => true,
            (
                Phase::Active
                | Phase::Gathering
                | Phase::Preparing
                | Phase::Releasing
                | Phase::Deciding
                | Phase::Committing
                | Phase::OnePhase
                | Phase::Asking
                | Phase::Recording
                | Phase::Ended,
                _,
            ) => false,
        };
        let at = |branch: Option<&Branch>, phase| branch.is_some_and(|branch| owes(phase, branch.state));
        self.live.values().filter(|transaction| at(transaction.branches.get(name), transaction.phase)).count() as u64
    }

    /// Takes a participant out. Its entry goes in the write that records the order; what is undecided is aborted and the
    /// connection dropped at once, because both may be done at any time. That nothing waits for it any more holds only
    /// when the record is on disk.
    fn remove(
        &mut self,
        reply: ReplyTo,
        registration: Registration,
        number: RecordNumber,
        reason: String,
        out: &mut Effects,
    ) {
        let (name, store) = (registration.name.clone(), registration.store);
        let record = Record::Operator { act: OperatorAct::Removed(registration.clone()), reason: reason.clone() };
        let awaited = Awaited::Removal(Box::new(Removal { registration, reason }), reply);
        self.append(record, vec![number], Some(awaited), true, out);
        // Before anything ends: a trim rewrites the entries of all who are registered.
        self.registry.remove(&name);
        for txn in self.transactions_at(&name) {
            self.give_up_undecided(txn, &name, out);
        }
        self.leave_to_nobody(&name, store);
        self.peers.remove(&name);
        out.push(Effect::Forget { name });
    }

    fn give_up_undecided(&mut self, txn: TxnId, name: &Name, out: &mut Effects) {
        let Some(phase) = self.live.get(&txn).map(|transaction| transaction.phase) else { return };
        match phase {
            Phase::Active | Phase::Gathering | Phase::Preparing | Phase::Releasing => {
                let why = format!("'{name}' was removed from the registry");
                self.fail(txn, Reason::new(ReasonKind::Lost, why), out);
            }
            // It may have committed that, and nobody is left to ask.
            Phase::OnePhase => {
                self.advance(txn, Event::Lost, out);
            }
            Phase::Deciding | Phase::Committing | Phase::Asking | Phase::Recording | Phase::Ended => {}
        }
    }

    /// No branch that this store owes an answer for is told or asked about any more. Also what recovery does when it
    /// reads of a removal.
    pub(super) fn leave_to_nobody(&mut self, name: &Name, store: StoreId) {
        for transaction in self.live.values_mut() {
            let Some(branch) = transaction.branches.get_mut(name) else { continue };
            let open = matches!(branch.state, BranchState::Yes | BranchState::Asked);
            if open && branch.bound_to() == Some(store) {
                branch.state = BranchState::Removed;
            }
        }
    }

    pub(super) fn on_removal_forced(&mut self, removal: Removal, reply: ReplyTo, out: &mut Effects) {
        self.guards.remove(&removal.registration.name);
        self.removed.push(removal);
        out.push(Effect::ReplyRegistry { to: reply, answer: RegistryAnswer::Done });
    }

    pub(super) fn on_release_forced(&mut self, name: Name, reply: ReplyTo, out: &mut Effects) {
        self.release(name);
        out.push(Effect::ReplyRegistry { to: reply, answer: RegistryAnswer::Done });
    }

    /// Whether an operator has said that nobody waits for this one any more: for good, or in this epoch.
    pub(super) fn is_given_up(&self, name: &Name) -> bool {
        let released = self.guards.get(name).is_some_and(|wait| wait.state == GuardState::Released);
        released || (!self.registry.contains_key(name) && self.was_removed(name))
    }

    fn was_removed(&self, name: &Name) -> bool {
        self.removed.iter().any(|removal| removal.registration.name == *name)
    }
}
