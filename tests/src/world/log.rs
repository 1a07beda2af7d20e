//! A coordinator's log in memory, with a part that is on disk and a part that a crash may lose.

use std::collections::BTreeMap;

use handfast_common::ids::{RecordNumber, TxnId};
use handfast_coordinator::protocol::{Numbered, Record};

use super::dice::Dice;

/// All writes in order.
#[derive(Clone, Default, Debug)]
pub struct Log {
    writes: Vec<(RecordNumber, Record, Vec<RecordNumber>)>,
    /// How many of them are on disk, as far as anybody was told.
    forced: usize,
}

impl Log {
    /// Takes a write.
    pub fn append(&mut self, number: RecordNumber, record: Record, erase: Vec<RecordNumber>) {
        assert!(self.writes.last().is_none_or(|(last, ..)| *last < number), "record numbers grow");
        self.writes.push((number, record, erase));
    }

    /// Everything up to this record is on disk.
    pub fn force(&mut self, upto: RecordNumber) {
        self.forced = self.forced.max(self.writes.partition_point(|(number, ..)| *number <= upto));
    }

    /// The last record handed over.
    #[must_use]
    pub fn last(&self) -> RecordNumber {
        self.writes.last().map(|(number, ..)| *number).unwrap_or_default()
    }

    /// Whether there is a Commit record of `txn`, and if so whether it is on disk.
    #[must_use]
    pub fn commit_of(&self, txn: TxnId) -> Option<bool> {
        let is_it = |record: &Record| matches!(record, Record::Commit(commit) if commit.xid.txn == txn);
        self.writes.iter().position(|(_, record, _)| is_it(record)).map(|at| at < self.forced)
    }

    /// How many decisions it has ever had.
    #[must_use]
    pub fn decisions(&self) -> u64 {
        let decision = |record: &Record| if let Record::Commit(commit) = record { commit.decision } else { 0 };
        self.writes.iter().map(|(_, record, _)| decision(record)).max().unwrap_or(0)
    }

    /// How many starts it knows.
    #[must_use]
    pub fn epochs(&self) -> u64 {
        self.writes.iter().filter(|(_, record, _)| matches!(record, Record::Epoch { .. })).count() as u64
    }

    /// What a copy of the folder has, taken now: what is on disk for sure.
    #[must_use]
    pub fn on_disk(&self) -> Self {
        Self { writes: self.writes[..self.forced].to_vec(), forced: self.forced }
    }

    /// Loses some of what nobody was told about: a write may have reached the disk unreported.
    pub fn crash(&mut self, dice: &mut Dice) {
        let unsure = (self.writes.len() - self.forced) as u64;
        self.writes.truncate(self.forced + usize::try_from(dice.below(unsure + 1)).unwrap_or(0));
        self.forced = self.writes.len();
    }

    /// What a start finds.
    #[must_use]
    pub fn records(&self) -> Vec<Numbered> {
        let mut found = BTreeMap::new();
        for (number, record, erase) in &self.writes {
            found.insert(*number, record.clone());
            for erased in erase {
                assert!(found.remove(erased).is_some(), "record {} is erased twice", erased.0);
            }
        }
        found.into_iter().collect()
    }
}
