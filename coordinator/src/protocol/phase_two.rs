//! Phase two: the decision is repeated until every branch has acknowledged it.

use handfast_common::ids::{Name, TxnId, Xid};
use handfast_common::messages::{Identity, Order};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::Decision;

use super::Coordinator;
use super::machine::Effects;
use super::peers::Peer;
use super::record::Record;
use super::table::{Event, Phase};
use super::transaction::BranchState;

impl Coordinator {
    /// Says again, to everyone who has not answered, what the transaction's phase has to say.
    pub(super) fn repeat(&self, txn: TxnId, out: &mut Effects) {
        let Some(transaction) = self.live.get(&txn) else { return };
        for name in transaction.branches.keys() {
            self.repeat_to(txn, name, out);
        }
    }

    pub(super) fn repeat_to(&self, txn: TxnId, name: &Name, out: &mut Effects) {
        let Some(transaction) = self.live.get(&txn) else { return };
        let Some(branch) = transaction.branches.get(name) else { return };
        let Some(to) = self.peers.get(name).and_then(Peer::ready).cloned() else { return };
        // A Commit belongs to the store that voted, a question to the one that was asked; another one under the same
        // name has nothing to commit, and nothing to say.
        if branch.bound_to().is_some_and(|store| store != to.store) {
            return;
        }
        let xid = transaction.xid;
        let order = match (transaction.phase, branch.state) {
            (Phase::Releasing, BranchState::ReadOnly) => Order::Release { to, xid },
            (Phase::Committing, BranchState::Yes) => Order::Decide { to, xid, decision: Decision::Commit },
            (Phase::Asking, BranchState::Asked) => Order::AskOnePhase { to, xid },
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
            ) => return,
        };
        self.send(name, order, out);
    }

    pub(super) fn on_resend(&mut self, txn: TxnId, out: &mut Effects) {
        let Some(transaction) = self.live.get_mut(&txn) else { return };
        match transaction.phase {
            Phase::Committing | Phase::Asking => {
                transaction.attempts = transaction.attempts.saturating_add(1);
                self.repeat(txn, out);
                self.arm_resend(txn, out);
            }
            Phase::Active
            | Phase::Gathering
            | Phase::Preparing
            | Phase::Releasing
            | Phase::Deciding
            | Phase::OnePhase
            | Phase::Recording
            | Phase::Ended => {}
        }
    }

    pub(super) fn on_acknowledged(&mut self, name: &Name, from: &Identity, xid: Xid, out: &mut Effects) {
        let Some(transaction) = self.live.get_mut(&xid.txn).filter(|transaction| transaction.xid == xid) else {
            return;
        };
        if transaction.phase != Phase::Committing {
            return;
        }
        let Some(branch) = transaction.branches.get_mut(name) else { return };
        // An acknowledgement from another store says nothing about the one that voted.
        if branch.state != BranchState::Yes || branch.store != Some(from.store) {
            return;
        }
        branch.state = BranchState::Acknowledged;
        branch.sequence = from.sequence;
        // Whoever was removed never acknowledges: such a Commit stays listed for ever.
        let unheard = transaction.any(BranchState::Yes) && !mutants::is(Mutant::EndsAtFirstAcknowledgement);
        if unheard || transaction.any(BranchState::Removed) {
            return;
        }
        let acknowledged = transaction
            .branches
            .values()
            .filter(|branch| branch.state == BranchState::Acknowledged)
            .map(|branch| branch.sequence)
            .collect();
        if self.advance(xid.txn, Event::AllAcknowledged, out).is_none() {
            return;
        }
        // Lazily: if it is lost, the Commit is sent once more and acknowledged once more.
        let end = self.append(Record::End { txn: xid.txn, acknowledged }, Vec::new(), None, false, out);
        if let Some(transaction) = self.live.get_mut(&xid.txn) {
            transaction.records.push(end);
        }
        self.end(xid.txn, None, out);
    }
}
