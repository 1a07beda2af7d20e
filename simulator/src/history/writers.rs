//! Who wrote what, and which transactions count as committed.

use std::collections::BTreeMap;

use super::{Fate, History, Operation};

/// What there is to know about everything written.
#[derive(Debug)]
pub(super) struct Writers<'a> {
    /// Numbers of the keys.
    pub(super) keys: BTreeMap<&'a str, usize>,
    /// Their names, by number.
    pub(super) names: Vec<&'a str>,
    /// Whether each is a list.
    pub(super) is_list: Vec<bool>,
    /// By key and element: who wrote it, and whether it was its last word there.
    written: BTreeMap<(usize, u64), (usize, bool)>,
    /// By transaction; what was read finally stands at the end and is.
    committed: Vec<bool>,
}

impl<'a> Writers<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let committed = history.transactions.iter().map(|transaction| transaction.fate == Fate::Committed);
        let mut writers = Self {
            keys: BTreeMap::new(),
            names: Vec::new(),
            is_list: Vec::new(),
            written: BTreeMap::new(),
            committed: committed.chain([true]).collect(),
        };
        for txn in 0..=history.transactions.len() {
            writers.note(txn, history.operations(txn));
        }
        writers.resolve(history);
        writers
    }

    /// Who wrote it, committed or not.
    pub(super) fn author(&self, key: usize, element: u64) -> Option<usize> {
        self.written.get(&(key, element)).map(|(txn, _)| *txn)
    }

    /// Who wrote it, if that one counts as committed.
    pub(super) fn writer(&self, key: usize, element: u64) -> Option<usize> {
        self.author(key, element).filter(|txn| self.is_committed(*txn))
    }

    /// Whether its writer wrote there once more after it.
    pub(super) fn is_intermediate(&self, key: usize, element: u64) -> bool {
        self.written.get(&(key, element)).is_some_and(|(_, last)| !last)
    }

    pub(super) fn is_committed(&self, txn: usize) -> bool {
        self.committed[txn]
    }

    /// All of a key's elements that were written by committed transactions, in no useful order.
    pub(super) fn committed_elements(&self, key: usize) -> impl Iterator<Item = u64> {
        let of_key = self.written.range((key, 0)..=(key, u64::MAX));
        of_key.filter(|(_, (txn, _))| self.is_committed(*txn)).map(|((_, element), _)| *element)
    }

    /// How many transactions count as committed.
    pub(super) fn committed(&self) -> usize {
        self.committed.iter().filter(|committed| **committed).count() - 1
    }

    /// How many of them their clients do not know about.
    pub(super) fn resolved(&self, history: &History) -> usize {
        let unknown = |txn: &usize| history.transactions[*txn].fate == Fate::Unknown;
        (0..history.transactions.len()).filter(unknown).filter(|txn| self.is_committed(*txn)).count()
    }

    fn note(&mut self, txn: usize, operations: &'a [Operation]) {
        let mut last = BTreeMap::new();
        for operation in operations {
            let (list, element) = match operation {
                Operation::Append { element, .. } => (true, Some(*element)),
                Operation::ReadList { .. } => (true, None),
                Operation::Write { value, .. } => (false, Some(*value)),
                Operation::Read { .. } => (false, None),
            };
            let key = self.key(operation.key(), list);
            let Some(element) = element else { continue };
            let before = self.written.insert((key, element), (txn, true));
            assert!(before.is_none(), "{element} is written to {} twice: the history is of no use", operation.key());
            if let Some(earlier) = last.insert(key, element) {
                self.written.insert((key, earlier), (txn, false));
            }
        }
    }

    fn key(&mut self, name: &'a str, list: bool) -> usize {
        let number = *self.keys.entry(name).or_insert(self.names.len());
        if number == self.names.len() {
            self.names.push(name);
            self.is_list.push(list);
        }
        assert_eq!(self.is_list[number], list, "{name} is a list and a register: the history is of no use");
        number
    }

    /// What a committed transaction has read was committed, whatever its client was told; and so on from there.
    fn resolve(&mut self, history: &History) {
        let mut todo: Vec<usize> = (0..self.committed.len()).filter(|txn| self.is_committed(*txn)).collect();
        while let Some(txn) = todo.pop() {
            for operation in history.operations(txn) {
                let read: &[u64] = match operation {
                    Operation::ReadList { list, .. } => list,
                    Operation::Read { value, .. } => value.as_slice(),
                    Operation::Append { .. } | Operation::Write { .. } => &[],
                };
                let key = self.keys[operation.key()];
                for element in read {
                    let Some(author) = self.author(key, *element) else { continue };
                    let unknown = history.transactions[author].fate == Fate::Unknown;
                    if unknown && !std::mem::replace(&mut self.committed[author], true) {
                        todo.push(author);
                    }
                }
            }
        }
    }
}
