//! Large random histories: serial ones, and the same with one thing spoiled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use handfast_tests::history::{Anomalies, Class, Fate, History, Operation, Transaction};
use handfast_tests::world::dice::Dice;

const KEYS: u64 = 40;

/// Transactions that did run one after the other, told in another order.
fn serial(dice: &mut Dice, transactions: u64, keys: u64) -> History {
    let mut lists: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut registers: BTreeMap<String, u64> = BTreeMap::new();
    let mut history = History::default();
    let mut fresh = 0;
    for number in 0..transactions {
        let (fate, takes_effect) = match dice.below(10) {
            0 => (Fate::Aborted, false),
            1 => (Fate::Unknown, dice.one_in(2)),
            _ => (Fate::Committed, true),
        };
        // Seen by itself at once, by others when it takes effect.
        let (mut own_lists, mut own_registers) = (BTreeMap::new(), BTreeMap::new());
        let mut operations = Vec::new();
        for _ in 0..1 + dice.below(5) {
            fresh += 1;
            // Lists move on, or the longest would take all memory.
            let key = format!("list-{}", dice.below(keys) + number / 50 * keys);
            let register = format!("register-{}", dice.below(keys));
            let list = || lists.get(&key).cloned().unwrap_or_default();
            operations.push(match dice.below(4) {
                0 => {
                    own_lists.entry(key.clone()).or_insert_with(list).push(fresh);
                    Operation::Append { key, element: fresh }
                }
                1 => Operation::ReadList { list: own_lists.get(&key).cloned().unwrap_or_else(list), key },
                2 => {
                    own_registers.insert(register.clone(), fresh);
                    Operation::Write { key: register, value: fresh }
                }
                _ => {
                    let value = own_registers.get(&register).or_else(|| registers.get(&register)).copied();
                    Operation::Read { value, key: register }
                }
            });
        }
        if takes_effect {
            lists.extend(own_lists);
            registers.extend(own_registers);
        }
        history.transactions.push(Transaction { label: format!("T{number}"), fate, operations });
    }
    history.finally = lists.into_iter().map(|(key, list)| Operation::ReadList { key, list }).collect();
    for at in (1..history.transactions.len()).rev() {
        history.transactions.swap(at, usize::try_from(dice.below(at as u64 + 1)).expect("small"));
    }
    history
}

#[test]
fn what_ran_serially_is_never_an_anomaly() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let transactions = dice.between(1, 400);
        let keys = dice.between(1, KEYS);
        let checked = serial(&mut dice, transactions, keys).check();
        let checked = checked.unwrap_or_else(|anomalies| panic!("seed {seed}: a false alarm:\n{anomalies}"));
        assert!(transactions < 100 || checked.ww > 0 && checked.wr > 0 && checked.rw > 0, "{checked:?}");
    }
}

/// Spoils one thing, so that the history can't be serial any more. `None`: there is nothing of that kind in it.
fn spoil(dice: &mut Dice, history: &mut History, how: u64) -> Option<()> {
    let count = history.transactions.len();
    let start = usize::try_from(dice.below(count as u64)).expect("small");
    for txn in (start..count).chain(0..start) {
        let committed = history.transactions[txn].fate == Fate::Committed;
        if !committed {
            continue;
        }
        // A read of a list that others have written, before any write of its own.
        let operations = &mut history.transactions[txn].operations;
        let foreign = |list: &[u64], operations: &[Operation]| {
            !operations.iter().any(|other| matches!(other, Operation::Append { element, .. } if list.contains(element)))
        };
        let read = operations.iter().position(
            |operation| matches!(operation, Operation::ReadList { list, .. } if list.len() > 2 && foreign(list, operations)),
        );
        let Some(read) = read else { continue };
        let Operation::ReadList { key, list } = &mut operations[read] else { continue };
        match how {
            // One in the middle is missing.
            0 => drop(list.remove(1)),
            // Two in the wrong order.
            1 => list.swap(0, 1),
            // Done twice.
            2 => list.push(list[0]),
            // From nowhere.
            3 => list[0] = u64::MAX,
            // Its writer is told that it aborted.
            4 => {
                let element = list[0];
                let wrote =
                    |operation: &Operation| matches!(operation, Operation::Append { element: e, .. } if *e == element);
                let writer = history.transactions.iter().position(|other| other.operations.iter().any(wrote))?;
                history.transactions[writer].fate = Fate::Aborted;
            }
            // Out of date, and built upon: the last element was there, and is written over.
            5 => {
                let key = key.clone();
                list.pop();
                operations.insert(read + 1, Operation::Append { key, element: u64::MAX - 1 });
            }
            // Gone at the end.
            _ => {
                let (key, element) = (key.clone(), list[0]);
                let last = history.finally.iter_mut().find(|operation| operation.key() == key)?;
                let Operation::ReadList { list, .. } = last else { return None };
                list.retain(|other| *other != element);
            }
        }
        return Some(());
    }
    None
}

#[test]
fn one_thing_spoiled_is_found_wherever_it_is() {
    let expected: [&[Class]; 7] = [
        &[Class::Incompatible],
        &[Class::Incompatible],
        &[Class::Incompatible, Class::Duplicate],
        &[Class::Incompatible, Class::Garbage],
        &[Class::G1a],
        &[Class::Lost, Class::GSingle],
        &[Class::Incompatible, Class::Lost],
    ];
    let mut found = [0; 7];
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let mut history = serial(&mut dice, 200, 4);
        let how = seed % 7;
        let at = usize::try_from(how).expect("small");
        if spoil(&mut dice, &mut history, how).is_none() {
            continue;
        }
        let Err(anomalies) = history.check() else { panic!("seed {seed}: overlooked") };
        let known = |anomalies: &Anomalies| expected[at].iter().any(|class| anomalies.has(*class));
        assert!(known(&anomalies), "seed {seed}: how {how}:\n{anomalies}");
        found[at] += 1;
    }
    assert!(found.iter().all(|times| *times > 20), "{found:?}");
}

#[test]
fn a_hundred_thousand_transactions_are_checked_in_seconds() {
    let history = serial(&mut Dice::new(1), 100_000, 20);
    let before = Instant::now();
    let checked = history.check().unwrap_or_else(|anomalies| panic!("a false alarm:\n{anomalies}"));
    // What grows with the square would take hours; the machine may be busy with other tests.
    assert!(before.elapsed() < Duration::from_secs(120), "{:?}", before.elapsed());
    assert!(checked.committed > 80_000 && checked.rw > 10_000, "{checked:?}");
}

/// All transactions in one great cycle with many shortcuts: the search for the one to show is bounded.
#[test]
fn what_is_wrong_everywhere_is_told_in_seconds_too() {
    let mut history = serial(&mut Dice::new(1), 20_000, 20);
    let mut last = None;
    for transaction in &mut history.transactions {
        for operation in &mut transaction.operations {
            if let Operation::Read { key, value } = operation
                && key == "register-1"
            {
                std::mem::swap(value, &mut last);
            }
        }
    }
    let before = Instant::now();
    let anomalies = history.check().expect_err("reads were shifted by one");
    assert!(before.elapsed() < Duration::from_secs(120), "{:?}", before.elapsed());
    assert!(anomalies.has(Class::GSingle) || anomalies.has(Class::G1c), "{anomalies}");
}
