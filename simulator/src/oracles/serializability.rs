//! A7: there is an order of all committed transactions in which each reads what those before it wrote, and that agrees
//! with real time.
//!
//! Whoever changes a counter reads the number of its change, so the order of all changes of a counter is known (as with
//! the appended lists of Kingsbury and Alvaro, "Elle", VLDB 2020) and every dependency can be read off: from a change to
//! the next, from a change to those that read it, from those to the next change. A cycle is what no order explains.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::ids::{Key, Name};
use handfast_common::operation::{Operation, Value};

use super::{End, Verdict};
use crate::clients::{Known, Wanted};
use crate::workload::COUNTER;

pub(super) fn has_an_order(end: &End<'_>) -> Verdict {
    let mut counters: BTreeMap<(&Name, &str), Counter> = BTreeMap::new();
    let committed: Vec<(Key, &Wanted)> = end.ledger.iter().map(|(key, wanted)| (*key, wanted)).collect();
    for (key, wanted) in &committed {
        let Known::Committed(reads) = &wanted.known else { continue };
        for (name, reads) in reads {
            for read in reads.iter().filter(|read| read.key.starts_with(COUNTER)) {
                let version = match read.value {
                    Some(Value::Integer(version)) => version,
                    Some(Value::Text(_)) | None => 0,
                };
                let counter = counters.entry((name, &read.key)).or_default();
                if changes(wanted, name, &read.key) {
                    if let Some(other) = counter.writers.insert(version, *key) {
                        return Err(format!("{key} and {other} both made change {version} of {name} {}", read.key));
                    }
                } else {
                    counter.readers.push((version, *key));
                }
            }
        }
    }
    let mut edges = Edges::default();
    counters.values().for_each(|counter| counter.depend(&mut edges));
    real_time(&committed, &mut edges);
    edges.cycle().map_or(Ok(()), |cycle| Err(format!("no order explains {cycle:?}")))
}

/// What is known of one counter.
#[derive(Default)]
struct Counter {
    writers: BTreeMap<i64, Key>,
    readers: Vec<(i64, Key)>,
}

impl Counter {
    /// Changes of which no client knows leave gaps; the order over them holds all the same.
    fn depend(&self, edges: &mut Edges) {
        for ((_, one), (_, next)) in self.writers.iter().zip(self.writers.iter().skip(1)) {
            edges.add(*one, *next);
        }
        for (version, reader) in &self.readers {
            if let Some((_, before)) = self.writers.range(..=*version).next_back() {
                edges.add(*before, *reader);
            }
            if let Some((_, after)) = self.writers.range(version + 1..).next() {
                edges.add(*reader, *after);
            }
        }
    }
}

fn changes(wanted: &Wanted, name: &Name, key: &str) -> bool {
    let writes = |operation: &Operation| operation.is_write() && operation.key() == key;
    wanted.branches.get(name).is_some_and(|operations| operations.iter().any(writes))
}

/// What was known before another began comes before it.
fn real_time(all: &[(Key, &Wanted)], edges: &mut Edges) {
    let committed = |wanted: &Wanted| matches!(wanted.known, Known::Committed(_));
    for (one, before) in all.iter().filter(|(_, wanted)| committed(wanted)) {
        let Some(known) = before.known_at else { continue };
        for (other, after) in all.iter().filter(|(_, wanted)| committed(wanted)) {
            if known < after.begun {
                edges.add(*one, *other);
            }
        }
    }
}

/// Who must come before whom.
#[derive(Default)]
struct Edges(BTreeMap<Key, BTreeSet<Key>>);

impl Edges {
    fn add(&mut self, from: Key, to: Key) {
        if from != to {
            self.0.entry(from).or_default().insert(to);
        }
    }

    /// Takes away what nothing comes before, until nothing is left, or only what hangs on a cycle.
    fn cycle(&self) -> Option<Vec<Key>> {
        let mut before: BTreeMap<Key, usize> = BTreeMap::new();
        for (from, to) in &self.0 {
            before.entry(*from).or_default();
            for to in to {
                *before.entry(*to).or_default() += 1;
            }
        }
        let mut free: Vec<Key> = before.iter().filter(|(_, count)| **count == 0).map(|(key, _)| *key).collect();
        while let Some(key) = free.pop() {
            before.remove(&key);
            for to in self.0.get(&key).into_iter().flatten() {
                if let Some(count) = before.get_mut(to) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(*to);
                    }
                }
            }
        }
        (!before.is_empty()).then(|| before.into_keys().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn key(n: u128) -> Key {
        Key(Uuid::from_u128(n))
    }

    fn cycle(edges: &[(u128, u128)]) -> Option<Vec<Key>> {
        let mut found = Edges::default();
        edges.iter().for_each(|(from, to)| found.add(key(*from), key(*to)));
        found.cycle()
    }

    #[test]
    fn a_cycle_is_found_and_an_order_is_none() {
        assert_eq!(cycle(&[(1, 2), (2, 3), (1, 3)]), None);
        assert_eq!(cycle(&[(1, 2), (2, 3), (3, 2)]), Some(vec![key(2), key(3)]));
    }

    #[test]
    fn t01_a_reader_between_two_changes_of_one_transaction_is_a_cycle() {
        // 2 changes a and b; 1 reads a before it and b after it.
        let mut edges = Edges::default();
        let a = Counter { writers: [(1, key(2))].into(), readers: vec![(0, key(1))] };
        let b = Counter { writers: [(1, key(2))].into(), readers: vec![(1, key(1))] };
        a.depend(&mut edges);
        b.depend(&mut edges);
        assert_eq!(edges.cycle(), Some(vec![key(1), key(2)]));
    }
}
