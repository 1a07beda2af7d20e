//! Phase one: Prepare, votes, Release, and the decision.

use handfast_common::ids::{Name, TxnId, Xid};
use handfast_common::messages::{Addressee, Identity, Member, Order, Prepare, Task, ToParticipant, Told};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Decision, Outcome, Payload, Reason, ReasonKind, Vote};

use super::history::Ended;
use super::machine::{Awaited, Effects};
use super::peers::Peer;
use super::record::{Commit, Record, Updating};
use super::table::{Event, Phase};
use super::transaction::{BranchState, Transaction};
use super::{Coordinator, Effect};

/// Longest explanation of an abort, in bytes.
const MAX_DETAIL: usize = 512;

impl Coordinator {
    /// Sends the work out, if every participant has answered Hello: a Prepare names them all by incarnation.
    pub(super) fn gather(&mut self, txn: TxnId, out: &mut Effects) {
        let Some(transaction) = self.live.get(&txn) else { return };
        let members: Option<Vec<Member>> = transaction.branches.keys().map(|name| self.member(name)).collect();
        let Some(members) = members else { return };
        let enlisted = transaction.branches.values().zip(&members);
        let mut replaced =
            enlisted.filter(|(branch, member)| branch.sent_to.as_ref().is_some_and(|to| *to != member.who));
        if let Some((_, member)) = replaced.next().filter(|_| !mutants::is(Mutant::RestartTakesOver)) {
            let reason = restarted(&member.who.name);
            return self.fail(txn, reason, out);
        }
        if let [alone] = members.as_slice() {
            let who = alone.who.clone();
            if self.advance(txn, Event::GatheredAlone, out).is_some() {
                self.send_one_phase(txn, who, out);
            }
        } else if self.advance(txn, Event::Gathered, out).is_some() {
            self.send_prepares(txn, &members, out);
        }
    }

    fn member(&self, name: &Name) -> Option<Member> {
        let who = self.peers.get(name).and_then(Peer::ready)?.clone();
        let address = self.registry.get(name).map(|(known, _)| known.address.clone()).unwrap_or_default();
        Some(Member { who, address })
    }

    fn send_prepares(&mut self, txn: TxnId, members: &[Member], out: &mut Effects) {
        let stamps: Vec<_> = members.iter().map(|member| self.stamp(&member.who.name)).collect();
        let Some(transaction) = self.live.get_mut(&txn) else { return };
        let both = members.iter().zip(stamps);
        for ((member, stamp), (name, branch)) in both.zip(&mut transaction.branches) {
            branch.state = BranchState::Asked;
            branch.sent_to = Some(member.who.clone());
            let order = Order::Prepare(Prepare {
                to: member.who.clone(),
                xid: transaction.xid,
                age: transaction.age,
                wait: transaction.wait,
                coordinator: self.config.address.clone(),
                members: members.to_vec(),
                task: branch.task.take().unwrap_or_else(|| Task::Carried(Payload::default())),
            });
            let message = ToParticipant { from: stamp, order };
            out.push(Effect::Send { to: name.clone(), message });
        }
    }

    pub(super) fn on_voted(&mut self, name: &Name, from: &Identity, xid: Xid, vote: Vote, out: &mut Effects) {
        let Some(transaction) = self.live.get_mut(&xid.txn).filter(|transaction| transaction.xid == xid) else {
            return self.on_late_vote(name, from, xid, &vote, out);
        };
        let (phase, exact) = (transaction.phase, transaction.exact || mutants::is(Mutant::SharedReaderLetsGo));
        let Some(branch) = transaction.branches.get_mut(name) else { return };
        if phase != Phase::Preparing
            || branch.state != BranchState::Asked
            || branch.incarnation() != Some(from.incarnation)
        {
            return;
        }
        match vote {
            Vote::No(reason) => {
                branch.state = BranchState::No;
                let detail = format!("'{name}' voted No: {}", reason.detail);
                return self.fail(xid.txn, Reason::new(reason.kind, detail), out);
            }
            Vote::Yes(reads) => {
                branch.state = BranchState::Yes;
                branch.reads = reads;
            }
            Vote::ReadOnly(reads) => {
                // With all locks of the transaction in existence nothing of others can come between: it has let go.
                branch.state = if exact { BranchState::Released } else { BranchState::ReadOnly };
                branch.reads = reads;
            }
        }
        branch.store = Some(from.store);
        branch.sequence = from.sequence;
        if !transaction.any(BranchState::Asked) {
            self.on_all_voted(xid.txn, out);
        }
    }

    /// A Yes for a transaction that is over: its branch waits for a decision, and that is an abort unless we know better.
    fn on_late_vote(&self, name: &Name, from: &Identity, xid: Xid, vote: &Vote, out: &mut Effects) {
        let holds = match vote {
            Vote::Yes(_) | Vote::ReadOnly(_) => true,
            Vote::No(_) => false,
        };
        let committed = matches!(
            self.history.ended.get(&xid.txn).map(|ended| &ended.outcome),
            Some(Outcome::Committed(_) | Outcome::HeuristicMixed)
        );
        // A copy of a vote may be so late that the outcome is trimmed; who is in doubt asks by itself.
        let unknown = committed || self.history.has_trimmed(xid.txn);
        if holds && !unknown && xid.log == self.log && xid.nonce == self.nonce {
            let to = Addressee { name: name.clone(), store: from.store, incarnation: from.incarnation };
            self.send(name, Order::Decide { to, xid, decision: Decision::Abort }, out);
        }
    }

    fn on_all_voted(&mut self, txn: TxnId, out: &mut Effects) {
        let Some(transaction) = self.live.get(&txn) else { return };
        let (bytes, limit) = (transaction.reads_bytes(), self.config.max_transaction_bytes);
        if bytes > limit {
            let why = format!("{bytes} bytes were read, the limit is {limit}");
            return self.fail(txn, Reason::new(ReasonKind::BadWork, why), out);
        }
        if transaction.any(BranchState::ReadOnly) {
            if self.advance(txn, Event::AllVotedSomeRead, out).is_some() {
                self.repeat(txn, out);
            }
        } else if transaction.any(BranchState::Yes) {
            self.decide(txn, Event::AllYes, out);
        } else if self.advance(txn, Event::AllLetGo, out).is_some() {
            self.end(txn, None, out);
        }
    }

    pub(super) fn on_released(&mut self, name: &Name, from: &Identity, xid: Xid, held: bool, out: &mut Effects) {
        let Some(transaction) = self.live.get_mut(&xid.txn).filter(|transaction| transaction.xid == xid) else {
            return;
        };
        let phase = transaction.phase;
        let Some(branch) = transaction.branches.get_mut(name) else { return };
        if phase != Phase::Releasing || branch.state != BranchState::ReadOnly {
            return;
        }
        branch.state = BranchState::Released;
        let lost = !held || branch.incarnation() != Some(from.incarnation);
        if lost && !mutants::is(Mutant::ReleaseIsNotAwaited) {
            let why = format!("'{name}' gave up what it had read before all votes were in");
            return self.fail(xid.txn, Reason::new(ReasonKind::Lost, why), out);
        }
        if transaction.any(BranchState::ReadOnly) {
            return;
        }
        if transaction.any(BranchState::Yes) {
            self.decide(xid.txn, Event::Held, out);
        } else if self.advance(xid.txn, Event::HeldNoneWrote, out).is_some() {
            // Nobody wrote: no record, and nobody has to hear of it.
            self.end(xid.txn, None, out);
        }
    }

    /// Hands the Commit record to the log. From here on nothing is said and nothing can be undone until it is on disk.
    fn decide(&mut self, txn: TxnId, event: Event, out: &mut Effects) {
        if self.advance(txn, event, out).is_none() {
            return;
        }
        self.decisions += 1;
        let decision = self.decisions;
        let Some(transaction) = self.live.get(&txn) else { return };
        let branches = transaction.branches.iter().filter(|(_, branch)| branch.state == BranchState::Yes);
        let branches = branches
            .filter_map(|(name, branch)| {
                let store = branch.store?;
                Some(Updating { participant: name.clone(), store, sequence: branch.sequence })
            })
            .collect();
        let record = Record::Commit(Commit {
            xid: transaction.xid,
            decision,
            key: transaction.key,
            hash: transaction.hash,
            branches,
            reads: transaction.reads(),
        });
        let number = self.append(record, Vec::new(), Some(Awaited::Decision(txn, decision)), true, out);
        if let Some(transaction) = self.live.get_mut(&txn) {
            transaction.records.push(number);
        }
        if mutants::is(Mutant::TellsBeforeForce) {
            self.tell_committed(txn, out);
        }
        if mutants::is(Mutant::OrdersBeforeForce) && self.awaited.remove(&number).is_some() {
            self.advance(txn, Event::CommitForced, out);
            self.repeat(txn, out);
        }
    }

    pub(super) fn on_decision_forced(&mut self, txn: TxnId, out: &mut Effects) {
        if self.advance(txn, Event::CommitForced, out).is_none() {
            return;
        }
        // The client first: it need not wait for phase two.
        self.tell_committed(txn, out);
        self.repeat(txn, out);
        self.arm_resend(txn, out);
    }

    pub(super) fn tell_committed(&mut self, txn: TxnId, out: &mut Effects) {
        let Some(transaction) = self.live.get_mut(&txn) else { return };
        let waiters = std::mem::take(&mut transaction.waiters);
        let reads = transaction.reads();
        tell(txn, transaction, waiters, &Outcome::Committed(reads), out);
    }

    pub(super) fn on_prepare_timeout(&mut self, txn: TxnId, out: &mut Effects) {
        let Some(transaction) = self.live.get(&txn) else { return };
        let missing: Vec<&str> = transaction
            .branches
            .iter()
            .filter(|(name, _)| match transaction.phase {
                Phase::Gathering => self.peers.get(*name).and_then(Peer::ready).is_none(),
                Phase::Active
                | Phase::Preparing
                | Phase::Releasing
                | Phase::Deciding
                | Phase::Committing
                | Phase::OnePhase
                | Phase::Asking
                | Phase::Recording
                | Phase::Ended => transaction.waits_for(name),
            })
            .map(|(name, _)| name.as_str())
            .collect();
        let missing = missing.join(", ");
        match transaction.phase {
            Phase::Gathering => {
                let why = format!("not reachable: {missing}");
                self.fail(txn, Reason::new(ReasonKind::Unreachable, why), out);
            }
            Phase::Deciding if mutants::is(Mutant::TimeoutUndecides) => {
                self.fail(txn, Reason::new(ReasonKind::PrepareTimeout, "undecided again"), out);
            }
            Phase::Preparing | Phase::Releasing => {
                let why = format!("no vote in time from: {missing}");
                self.fail(txn, Reason::new(ReasonKind::PrepareTimeout, why), out);
            }
            Phase::OnePhase => self.lose_one_phase(txn, out),
            // Not asked yet; or handed to the log, or decided: a timeout changes nothing any more.
            Phase::Active | Phase::Deciding | Phase::Committing | Phase::Asking | Phase::Recording | Phase::Ended => {}
        }
    }

    /// Aborts. Whoever may hold something is told once; if that is lost, it asks.
    pub(super) fn fail(&mut self, txn: TxnId, reason: Reason, out: &mut Effects) {
        if self.advance(txn, Event::Failed, out).is_none() {
            return;
        }
        let Some(transaction) = self.live.get(&txn) else { return };
        let xid = transaction.xid;
        let told: Vec<Addressee> = transaction
            .branches
            .values()
            .filter(|branch| match branch.state {
                BranchState::Open | BranchState::Asked | BranchState::Yes | BranchState::ReadOnly => true,
                BranchState::Waiting
                | BranchState::No
                | BranchState::Released
                | BranchState::Acknowledged
                | BranchState::Removed => false,
            })
            .filter_map(|branch| branch.sent_to.clone())
            // Over a connection that has not been greeted it would be refused.
            .filter(|to| self.peers.get(&to.name).and_then(Peer::ready).is_some_and(|now| now.store == to.store))
            .collect();
        self.end(txn, Some(Outcome::Aborted(reason)), out);
        for to in told {
            let name = to.name.clone();
            self.send(&name, Order::Decide { to, xid, decision: Decision::Abort }, out);
        }
    }

    /// Takes an ended transaction out of the living, tells who still waits, and files its outcome; `None`: committed.
    pub(super) fn end(&mut self, txn: TxnId, outcome: Option<Outcome>, out: &mut Effects) {
        let Some(mut transaction) = self.live.remove(&txn) else { return };
        let mut outcome = outcome.unwrap_or_else(|| Outcome::Committed(transaction.reads()));
        if let Outcome::Aborted(reason) = &mut outcome
            && reason.detail.len() > MAX_DETAIL
        {
            // It is kept for long, and most of it came from elsewhere.
            let whole = (0..=MAX_DETAIL).rev().find(|at| reason.detail.is_char_boundary(*at));
            reason.detail.truncate(whole.unwrap_or(0));
        }
        let waiters = std::mem::take(&mut transaction.waiters);
        tell(txn, &transaction, waiters, &outcome, out);
        let ended = Ended {
            key: transaction.key,
            hash: Some(transaction.hash),
            age: transaction.age,
            outcome,
            records: transaction.records,
        };
        self.file(txn, ended, out);
    }
}

/// Why a transaction can't go on at a participant that is not the start any more that it worked at.
pub(super) fn restarted(name: &Name) -> Reason {
    Reason::new(ReasonKind::Lost, format!("'{name}' was restarted and lost its locks"))
}

fn tell(txn: TxnId, transaction: &Transaction, waiters: Vec<super::ReplyTo>, outcome: &Outcome, out: &mut Effects) {
    for to in waiters {
        let told = Told::Outcome { txn: Some(txn), age: transaction.age, outcome: outcome.clone() };
        out.push(Effect::Reply { to, told });
    }
}
