//! Transactions of one branch: the participant decides.
//!
//! No timeout and no lost connection is an abort here, because the participant may have committed. It is asked until
//! it tells, and asking fences: what had not reached its log by then never will.

use handfast_common::ids::{Name, TxnId, Xid};
use handfast_common::messages::{Addressee, Identity, OnePhase, OnePhaseResult, Order, Task, Unconfirmed};
use handfast_common::outcome::{BranchReads, Outcome, Payload, Reason, ReasonKind};

use super::Coordinator;
use super::machine::{Awaited, Effects};
use super::record::{OnePhaseOutcome, Record};
use super::table::{Event, next};
use super::transaction::{Branch, BranchState, Transaction};

impl Coordinator {
    pub(super) fn send_one_phase(&mut self, txn: TxnId, who: Addressee, out: &mut Effects) {
        let Some(transaction) = self.live.get_mut(&txn) else { return };
        let Some(branch) = transaction.branches.get_mut(&who.name) else { return };
        branch.state = BranchState::Asked;
        branch.sent_to = Some(who.clone());
        let name = who.name.clone();
        let order = Order::CommitOnePhase(OnePhase {
            to: who,
            xid: transaction.xid,
            age: transaction.age,
            wait: transaction.wait,
            key: transaction.key,
            hash: transaction.hash,
            task: branch.task.take().unwrap_or_else(|| Task::Carried(Payload::default())),
        });
        self.send(&name, order, out);
    }

    /// The answer did not come: from now on it is asked for.
    pub(super) fn lose_one_phase(&mut self, txn: TxnId, out: &mut Effects) {
        if self.advance(txn, Event::Lost, out).is_some() {
            self.repeat(txn, out);
            self.arm_resend(txn, out);
        }
    }

    pub(super) fn on_one_phase_ended(&mut self, from: &Identity, xid: Xid, result: OnePhaseResult, out: &mut Effects) {
        let name = &from.name;
        let asked = self.live.get(&xid.txn).is_some_and(|transaction| {
            transaction.xid == xid
                // What another store under this name says is about nothing that was asked.
                && transaction.branches.get(name).is_some_and(|branch| branch.bound_to() == Some(from.store))
                && next(Some(transaction.phase), Event::OnePhaseCommitted).is_ok()
        });
        if !asked {
            return;
        }
        match result {
            OnePhaseResult::Committed(reads) => {
                self.record_one_phase(xid.txn, name, reads, out);
            }
            OnePhaseResult::Aborted(reason) => {
                if self.advance(xid.txn, Event::OnePhaseAborted, out).is_some() {
                    // Fenced by our own question: it never arrived, and may well succeed another time.
                    let kind = if reason.kind == ReasonKind::Fenced { ReasonKind::Lost } else { reason.kind };
                    let reason = Reason::new(kind, format!("'{name}' refused it: {}", reason.detail));
                    self.end(xid.txn, Some(Outcome::Aborted(reason)), out);
                }
            }
        }
    }

    /// The participant committed: the client may know at once, its marker answers until our record is on disk.
    fn record_one_phase(&mut self, txn: TxnId, name: &Name, reads: Payload, out: &mut Effects) {
        if self.advance(txn, Event::OnePhaseCommitted, out).is_none() {
            return;
        }
        if let Some(branch) = self.live.get_mut(&txn).and_then(|transaction| transaction.branches.get_mut(name)) {
            branch.state = BranchState::Acknowledged;
            branch.reads = reads;
        }
        self.tell_committed(txn, out);
        self.append_outcome(txn, name, out);
    }

    fn append_outcome(&mut self, txn: TxnId, name: &Name, out: &mut Effects) {
        let Some(transaction) = self.live.get(&txn) else { return };
        let record = Record::OnePhase(OnePhaseOutcome {
            xid: transaction.xid,
            key: transaction.key,
            hash: transaction.hash,
            reads: BranchReads {
                participant: name.clone(),
                reads: transaction.branches.get(name).map(|branch| branch.reads.clone()).unwrap_or_default(),
            },
        });
        let number = self.append(record, Vec::new(), Some(Awaited::Outcome(txn)), false, out);
        if let Some(transaction) = self.live.get_mut(&txn) {
            transaction.records.push(number);
        }
    }

    pub(super) fn on_outcome_forced(&mut self, txn: TxnId, out: &mut Effects) {
        if self.advance(txn, Event::OutcomeForced, out).is_some() {
            self.end(txn, None, out);
        }
        let cut_short = self.peers.iter().filter(|(_, peer)| !peer.listed);
        let names: Vec<Name> = cut_short.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.ask_for_the_rest(&name, out);
        }
    }

    /// A participant reports a one-phase commit that no mark has covered. If this log does not know of it, the record
    /// was lost with an earlier start: it is made up for before a mark that covers it reaches the participant.
    pub(super) fn on_unconfirmed(&mut self, name: &Name, report: Unconfirmed, out: &mut Effects) {
        let Xid { log, txn, nonce } = report.xid;
        if log != self.log {
            return;
        }
        if self.decisions_of(txn.epoch(), nonce).is_none() {
            let why = format!(
                "participant '{name}' has committed transaction {txn} for a start of this log that the log does not \
                 know of: the log is an old or a second copy. Start the newest copy only"
            );
            return self.stop(out, why);
        }
        if let Some(live) = self.live.get(&txn) {
            if next(Some(live.phase), Event::OnePhaseCommitted).is_ok() {
                self.record_one_phase(txn, name, report.reads, out);
            }
            return;
        }
        if let Some(ended) = self.history.ended.get(&txn) {
            if matches!(ended.outcome, Outcome::Aborted(_)) {
                self.stop(out, format!("transaction {txn}: told aborted, but '{name}' has committed it in one phase"));
            }
            return;
        }
        // Of this start everything was known, and it has been trimmed. Of earlier ones the floor says nothing: it may
        // have passed a transaction that nobody here ever heard of, and may not be on disk itself.
        if txn.epoch() == self.epoch {
            return;
        }
        let phase = match next(None, Event::OnePhaseReported) {
            Ok(phase) => phase,
            Err(illegal) => return self.stop(out, format!("transaction {txn}: {illegal}")),
        };
        let branches = [(name.clone(), Branch::past(BranchState::Acknowledged, report.reads))].into();
        let transaction = Transaction {
            age: self.clock,
            since_ms: self.now_ms,
            ..Transaction::new(report.xid, report.key, report.hash, phase, branches)
        };
        self.live.insert(txn, transaction);
        self.keys.entry(report.key).or_insert(txn);
        self.append_outcome(txn, name, out);
    }
}
