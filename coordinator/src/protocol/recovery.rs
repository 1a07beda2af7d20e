//! From the records of a log to a running machine, over the same table that made them.

use std::collections::{BTreeMap, VecDeque};

use handfast_common::ids::{Age, Epoch, LogId, Name, Nonce, RecordNumber, StoreId, TxnId, Xid};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::Outcome;

use super::history::{Ended, History};
use super::machine::{Awaited, Config, Coordinator, Effects, Start};
use super::operator::Removal;
use super::record::{Commit, Numbered, OnePhaseOutcome, OperatorAct, Record, Registration};
use super::table::{Event, Phase, next};
use super::transaction::{Branch, BranchState, Transaction};
use super::{Effect, peers::Peer};

/// A log that can't have been written by this machine. Nothing is guessed: the process stops.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("record {} ({kind}): {why}", number.0)]
pub struct RecoveryError {
    /// Which record.
    pub number: RecordNumber,
    /// Its kind.
    pub kind: &'static str,
    /// What is wrong with it, naming the state it was found in.
    pub why: String,
}

impl Coordinator {
    /// Reads a log and begins the next epoch: the effects force it, and after `RecordsForced` for it the machine is
    /// ready. `last_number` is the highest record number ever used, also of records erased since; `nonce` is random.
    ///
    /// # Errors
    /// When a record is illegal in the state that those before it left.
    pub fn recover(
        config: Config,
        log: LogId,
        nonce: Nonce,
        records: Vec<Numbered>,
        last_number: RecordNumber,
    ) -> Result<(Self, Vec<Effect>), RecoveryError> {
        let mut machine = Self::empty(config, log, nonce);
        for (number, record) in records {
            let kind = record.kind();
            machine.replay(number, record).map_err(|why| RecoveryError { number, kind, why })?;
            machine.last_number = number;
        }
        machine.check_registered()?;
        machine.last_number = machine.last_number.max(last_number);
        let mut out = Effects::new();
        machine.begin_epoch(&mut out)?;
        Ok((machine, out))
    }

    fn empty(config: Config, log: LogId, nonce: Nonce) -> Self {
        Self {
            config,
            log,
            epoch: Epoch(0),
            nonce,
            line: Vec::new(),
            ready: false,
            stopped: false,
            room: true,
            now_ms: 0,
            sequence: 0,
            clock: Age(0),
            decisions: 0,
            decisions_forced: 0,
            last_number: RecordNumber(0),
            awaited: BTreeMap::new(),
            live: BTreeMap::new(),
            undecided: 0,
            open: 0,
            keys: BTreeMap::new(),
            history: History::default(),
            ticks: VecDeque::new(),
            registry: BTreeMap::new(),
            peers: BTreeMap::new(),
            guards: BTreeMap::new(),
            silence_armed: false,
            registering: BTreeMap::new(),
            removed: Vec::new(),
        }
    }

    fn begin_epoch(&mut self, out: &mut Effects) -> Result<(), RecoveryError> {
        let epoch = Epoch(self.line.last().map_or(1, |start| start.epoch.0 + 1));
        if epoch.0 > TxnId::MAX_EPOCH {
            let why = "this log has been started as often as its ids can count; make a new one".to_owned();
            return Err(RecoveryError { number: self.last_number, kind: "Epoch", why });
        }
        if let Some(last) = self.line.last_mut() {
            last.decisions = self.decisions;
        }
        self.epoch = epoch;
        self.decisions_forced = self.decisions;
        let record = Record::Epoch { epoch, nonce: self.nonce, decisions: self.decisions };
        self.append(record, Vec::new(), Some(Awaited::Epoch), true, out);
        if mutants::is(Mutant::SpeaksBeforeItsEpoch) {
            self.on_epoch_forced(out);
        }
        Ok(())
    }

    /// Whoever voted was registered before, on disk, or an operator has removed it since. Without the registration a
    /// Commit would never be told to it.
    fn check_registered(&self) -> Result<(), RecoveryError> {
        for transaction in self.live.values() {
            let unknown = transaction.branches.iter().find(|(name, branch)| {
                let is_it = |known: &Registration| {
                    known.name == **name && branch.store.is_none_or(|store| store == known.store)
                };
                let registered = self.registry.get(*name).is_some_and(|(known, _)| is_it(known));
                !registered && !self.removed.iter().any(|removal| is_it(&removal.registration))
            });
            if let Some((name, _)) = unknown {
                let number = transaction.records.first().copied().unwrap_or_default();
                let why = format!("participant '{name}' has no record of its registration");
                return Err(RecoveryError { number, kind: "Commit", why });
            }
        }
        Ok(())
    }

    fn replay(&mut self, number: RecordNumber, record: Record) -> Result<(), String> {
        if number <= self.last_number {
            return Err(format!("its number does not come after {}", self.last_number.0));
        }
        match record {
            Record::Epoch { epoch, nonce, decisions } => self.replay_epoch(epoch, nonce, decisions),
            Record::Participant(registration) => {
                let name = registration.name.clone();
                self.peers.insert(name.clone(), Peer::default());
                match self.registry.insert(name.clone(), (registration, number)) {
                    Some(_) => Err(format!("participant '{name}' is registered twice")),
                    None => Ok(()),
                }
            }
            Record::Commit(commit) => self.replay_commit(number, commit),
            Record::End { txn, acknowledged } => self.replay_end(number, txn, &acknowledged),
            Record::OnePhase(outcome) => self.replay_one_phase(number, outcome),
            Record::Floor { floor, decisions } => {
                if decisions < self.decisions {
                    return Err(format!("it counts {decisions} decisions, but there were {}", self.decisions));
                }
                self.decisions = self.decisions.max(decisions);
                match self.history.floor.replace((floor, number)) {
                    Some((other, _)) => Err(format!("there is a floor already, at {other}")),
                    None => Ok(()),
                }
            }
            Record::Operator { act: OperatorAct::Removed(registration), reason } => {
                if let Some((known, _)) = self.registry.get(&registration.name) {
                    return Err(format!(
                        "participant '{}' was removed and is registered by an older record",
                        known.name
                    ));
                }
                self.leave_to_nobody(&registration.name, registration.store);
                self.removed.push(Removal { registration, reason });
                Ok(())
            }
            // It held for that start only.
            Record::Operator { act: OperatorAct::Released { .. }, reason: _ } => Ok(()),
            Record::Tick { number: tick, upto } => {
                let grows = self.ticks.back().is_none_or(|(last, _, _)| *last < tick);
                self.ticks.push_back((tick, upto, number));
                if grows { Ok(()) } else { Err(format!("tick {tick} does not come after the one before")) }
            }
        }
    }

    fn replay_epoch(&mut self, epoch: Epoch, nonce: Nonce, decisions: u64) -> Result<(), String> {
        if self.line.last().is_some_and(|last| last.epoch >= epoch) {
            return Err(format!("epoch {} does not come after the one before", epoch.0));
        }
        if decisions < self.decisions {
            return Err(format!("it counts {decisions} decisions, but there were {}", self.decisions));
        }
        self.decisions = decisions;
        if let Some(last) = self.line.last_mut() {
            last.decisions = decisions;
        }
        self.line.push(Start { epoch, nonce, decisions });
        Ok(())
    }

    /// Whether the transaction is one of this log, begun in a start that the line knows.
    fn check_xid(&self, xid: Xid) -> Result<(), String> {
        let known = self.line.iter().any(|start| start.epoch == xid.txn.epoch() && start.nonce == xid.nonce);
        if xid.log == self.log && known {
            Ok(())
        } else {
            Err(format!("transaction {} belongs to no start of this log", xid.txn))
        }
    }

    fn phase_of(&self, txn: TxnId) -> Option<Phase> {
        let ended = self.history.ended.contains_key(&txn).then_some(Phase::Ended);
        self.live.get(&txn).map(|transaction| transaction.phase).or(ended)
    }

    fn replay_commit(&mut self, number: RecordNumber, commit: Commit) -> Result<(), String> {
        let xid = commit.xid;
        self.check_xid(xid)?;
        let phase = next(self.phase_of(xid.txn), Event::FoundCommit)
            .map_err(|illegal| format!("transaction {}: {illegal}", xid.txn))?;
        if commit.decision <= self.decisions {
            return Err(format!("decision {} does not come after {}", commit.decision, self.decisions));
        }
        if commit.branches.is_empty() {
            return Err(format!("transaction {} is committed, but no branch of it is named", xid.txn));
        }
        self.decisions = commit.decision;
        let mut branches: BTreeMap<_, _> = BTreeMap::new();
        for branch in commit.branches {
            self.raise_sequence(&branch.participant, branch.store, branch.sequence);
            branches.insert(branch.participant, Branch::prepared(branch.store, branch.sequence));
        }
        for reads in commit.reads {
            match branches.get_mut(&reads.participant) {
                Some(branch) => branch.reads = reads.reads,
                None => drop(branches.insert(reads.participant, Branch::past(BranchState::Released, reads.reads))),
            }
        }
        let transaction =
            Transaction { records: vec![number], ..Transaction::new(xid, commit.key, commit.hash, phase, branches) };
        self.take_key(&transaction)?;
        self.live.insert(xid.txn, transaction);
        Ok(())
    }

    fn replay_end(&mut self, number: RecordNumber, txn: TxnId, acknowledged: &[u64]) -> Result<(), String> {
        let illegal = |illegal| format!("transaction {txn}: {illegal}");
        next(self.phase_of(txn), Event::FoundEnd).map_err(illegal)?;
        let Some(mut transaction) = self.live.remove(&txn) else {
            return Err(format!("transaction {txn} is not live"));
        };
        let updating = transaction.branches.iter().filter(|(_, branch)| branch.state == BranchState::Yes);
        if acknowledged.len() != transaction.branches.values().filter(|branch| branch.state == BranchState::Yes).count()
        {
            return Err(format!("transaction {txn}: {} acknowledgements for its branches", acknowledged.len()));
        }
        let raises: Vec<_> = updating
            .zip(acknowledged.iter().copied())
            .filter_map(|((name, branch), sequence)| Some((name.clone(), branch.store?, sequence)))
            .collect();
        for (name, store, sequence) in raises {
            self.raise_sequence(&name, store, sequence);
        }
        transaction.records.push(number);
        self.file_replayed(transaction);
        Ok(())
    }

    fn replay_one_phase(&mut self, number: RecordNumber, outcome: OnePhaseOutcome) -> Result<(), String> {
        let xid = outcome.xid;
        self.check_xid(xid)?;
        let phase = next(self.phase_of(xid.txn), Event::FoundOutcome)
            .map_err(|illegal| format!("transaction {}: {illegal}", xid.txn))?;
        let branch = Branch::past(BranchState::Acknowledged, outcome.reads.reads);
        let branches = [(outcome.reads.participant, branch)].into();
        let transaction =
            Transaction { records: vec![number], ..Transaction::new(xid, outcome.key, outcome.hash, phase, branches) };
        // A key may have been done by a participant alone, for a start that lost the record of it, and then have come
        // again under another ticket before that was reported. The participant did it once; both records say so.
        self.keys.entry(transaction.key).or_insert(xid.txn);
        self.file_replayed(transaction);
        Ok(())
    }

    fn take_key(&mut self, transaction: &Transaction) -> Result<(), String> {
        let Some(other) = self.keys.get(&transaction.key).copied() else {
            self.keys.insert(transaction.key, transaction.xid.txn);
            return Ok(());
        };
        // One record: committed in one phase. See `replay_one_phase` for how such a key can come twice.
        match self.history.ended.get(&other) {
            Some(ended) if ended.records.len() == 1 => Ok(()),
            Some(_) | None => Err(format!("key {} belongs to transaction {other} already", transaction.key)),
        }
    }

    fn file_replayed(&mut self, transaction: Transaction) {
        let outcome = Outcome::Committed(transaction.reads());
        let ended = Ended {
            key: transaction.key,
            hash: Some(transaction.hash),
            age: transaction.age,
            outcome,
            records: transaction.records,
        };
        self.history.insert(transaction.xid.txn, ended);
    }

    /// The store of `name` must never be seen before this sequence again. What an older store under that name has said
    /// does not count for the one that is registered now.
    pub(super) fn raise_sequence(&mut self, name: &Name, store: StoreId, sequence: u64) {
        let known = self.registry.get_mut(name).filter(|(registration, _)| registration.store == store);
        if let Some((registration, _)) = known {
            registration.sequence = registration.sequence.max(sequence);
        }
    }
}
