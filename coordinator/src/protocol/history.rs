//! Outcomes of ended transactions: what a key is answered with, and when it may be forgotten.
//!
//! Kept until a number of newer ones exist, a stretch of the coordinator's own running time has passed, or what they read
//! takes more room than it may. What is trimmed raises the *floor*: a ticket below it is answered `Forgotten`, never with a guess.

use std::collections::BTreeMap;

use handfast_common::ids::{Age, ContentHash, Key, RecordNumber, TxnId};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::Outcome;

use super::machine::Effects;
use super::record::Record;
use super::{Coordinator, Effect, Timer};

/// Most outcomes trimmed in one write: a larger one would hold up the commits behind it.
const TRIM_AT_ONCE: u64 = 1_024;

/// Outcomes of ended transactions, by transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct History {
    pub(super) ended: BTreeMap<TxnId, Ended>,
    /// Bytes of all that they read: an outcome itself is small.
    pub(super) bytes: u64,
    /// The highest transaction trimmed, and the record that says so.
    pub(super) floor: Option<(TxnId, RecordNumber)>,
}

/// What remains of a transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ended {
    pub(super) key: Key,
    /// `None`: the key was only asked about, whatever it stood for.
    pub(super) hash: Option<ContentHash>,
    pub(super) age: Age,
    pub(super) outcome: Outcome,
    /// Its records in the log, to be erased with it.
    pub(super) records: Vec<RecordNumber>,
}

impl Ended {
    fn bytes(&self) -> u64 {
        match &self.outcome {
            Outcome::Committed(reads) => reads.iter().map(|reads| reads.reads.0.len() as u64).sum(),
            Outcome::Aborted(_) | Outcome::Forgotten | Outcome::NotFound | Outcome::HeuristicMixed => 0,
        }
    }
}

impl History {
    pub(super) fn insert(&mut self, txn: TxnId, ended: Ended) {
        self.bytes += ended.bytes();
        if let Some(before) = self.ended.insert(txn, ended) {
            self.bytes -= before.bytes();
        }
    }

    fn pop_oldest(&mut self, reach: Option<TxnId>) -> Option<(TxnId, Ended)> {
        let entry = self.ended.first_entry().filter(|entry| reach.is_none_or(|reach| *entry.key() <= reach))?;
        let (txn, ended) = entry.remove_entry();
        self.bytes -= ended.bytes();
        Some((txn, ended))
    }

    /// How many of the oldest are to go so that the rest is back within `keep` bytes, with some room to spare, or every
    /// outcome would be a trim of its own. The newest stays whatever its size: it has just been told, and may be asked
    /// for again.
    fn surplus_by_bytes(&self, keep: u64) -> u64 {
        if self.bytes <= keep {
            return 0;
        }
        let (mut left, mut surplus) = (self.bytes, 0);
        for ended in self.ended.values().take(self.ended.len() - 1) {
            if left <= keep - keep / 64 {
                break;
            }
            left -= ended.bytes();
            surplus += 1;
        }
        surplus
    }

    /// Whether a key first sent when the coordinator stood at (`epoch`, `sequence`) may have been forgotten: its
    /// transaction, had there been one, may lie at or below the floor.
    pub(super) fn may_have_forgotten(&self, epoch: u64, sequence: u64) -> bool {
        let below = |floor: TxnId| (epoch, sequence) < (floor.epoch().0, floor.sequence());
        self.floor.is_some_and(|(floor, _)| below(floor)) && !mutants::is(Mutant::ForgottenKeyRuns)
    }

    /// Whether the outcome of `txn` has been trimmed.
    pub(super) fn has_trimmed(&self, txn: TxnId) -> bool {
        self.floor.is_some_and(|(floor, _)| txn <= floor)
    }
}

impl Coordinator {
    /// Files an ended transaction and trims what has become too much.
    pub(super) fn file(&mut self, txn: TxnId, ended: Ended, out: &mut Effects) {
        self.history.insert(txn, ended);
        let keep = self.config.retention_count;
        let slack = (keep / 64).clamp(1, TRIM_AT_ONCE);
        let count = self.history.ended.len() as u64;
        let by_count = if count >= keep + slack { count - keep } else { 0 };
        let surplus = by_count.max(self.history.surplus_by_bytes(self.config.retention_bytes));
        if surplus > 0 {
            self.settle_registry(out);
            self.trim(surplus, None, out);
        }
    }

    pub(super) fn on_retention(&mut self, out: &mut Effects) {
        let number = self.ticks.back().map_or(1, |(number, _, _)| number + 1);
        let upto = TxnId::new(self.log, self.epoch, self.sequence, self.nonce);
        let mut expired = None;
        let mut erase = Vec::new();
        while let Some((first, reach, record)) = self.ticks.front().copied() {
            if number - first < self.config.retention_ticks {
                break;
            }
            expired = Some(reach);
            erase.push(record);
            self.ticks.pop_front();
        }
        let record = self.append(Record::Tick { number, upto }, erase, None, false, out);
        self.ticks.push_back((number, upto, record));
        let old = |history: &History, reach| history.ended.first_key_value().is_some_and(|(txn, _)| *txn <= reach);
        if expired.is_some_and(|reach| old(&self.history, reach)) {
            self.settle_registry(out);
        }
        while let Some(reach) = expired.filter(|reach| old(&self.history, *reach)) {
            self.trim(TRIM_AT_ONCE, Some(reach), out);
        }
        out.push(Effect::SetTimer { timer: Timer::Retention, after: self.config.retention_tick, jitter: false });
    }

    /// Commit and End records hold store sequences. The registry takes them over before any of them is erased: a log
    /// that ends between the two says some of it twice, never too little.
    fn settle_registry(&mut self, out: &mut Effects) {
        let names: Vec<_> = self.registry.keys().cloned().collect();
        for name in names {
            self.rewrite_registration(&name, out);
        }
    }

    /// Trims at most `surplus` of the oldest outcomes, none beyond `reach`. Their records and the floor are one write:
    /// half of it would be a lie.
    fn trim(&mut self, surplus: u64, reach: Option<TxnId>, out: &mut Effects) {
        let mut erase = Vec::new();
        let mut floor = self.history.floor.map(|(floor, _)| floor);
        for _ in 0..surplus.min(TRIM_AT_ONCE) {
            let Some((txn, ended)) = self.history.pop_oldest(reach) else { break };
            floor = floor.max(Some(txn));
            erase.extend(ended.records);
            if self.keys.get(&ended.key) == Some(&txn) {
                self.keys.remove(&ended.key);
            }
        }
        let Some(floor) = floor else { return };
        erase.extend(self.history.floor.map(|(_, record)| record));
        let decisions = if mutants::is(Mutant::FloorForgetsDecisions) { 0 } else { self.decisions };
        let record = Record::Floor { floor, decisions };
        let number = self.append(record, erase, None, false, out);
        self.history.floor = Some((floor, number));
    }
}
