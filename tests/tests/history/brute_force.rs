//! Small random histories against the definition itself: try every order.

use std::collections::BTreeMap;

use handfast_tests::history::{Fate, History, Operation, Transaction};
use handfast_tests::world::dice::Dice;

/// Whether some serial order of the committed transactions, and of any of the unknown ones, gives what was read.
fn is_serializable(history: &History) -> bool {
    let taking_part: Vec<&Transaction> =
        history.transactions.iter().filter(|transaction| transaction.fate != Fate::Aborted).collect();
    let mut used = vec![false; taking_part.len()];
    try_on(&taking_part, &mut used, &BTreeMap::new(), &history.finally)
}

type State = BTreeMap<String, Vec<u64>>;

fn try_on(all: &[&Transaction], used: &mut [bool], state: &State, finally: &[Operation]) -> bool {
    let done = all.iter().zip(used.iter()).all(|(transaction, used)| *used || transaction.fate == Fate::Unknown);
    if done && run(finally, state).is_some() {
        return true;
    }
    for next in 0..all.len() {
        if used[next] {
            continue;
        }
        if let Some(after) = run(&all[next].operations, state) {
            used[next] = true;
            if try_on(all, used, &after, finally) {
                return true;
            }
            used[next] = false;
        }
    }
    false
}

/// The state after these operations, if they would read what they did.
fn run(operations: &[Operation], state: &State) -> Option<State> {
    let mut state = state.clone();
    for operation in operations {
        match operation {
            Operation::Append { key, element } | Operation::Write { key, value: element } => {
                state.entry(key.clone()).or_default().push(*element);
            }
            Operation::ReadList { key, list } if state.get(key).map_or(&[][..], Vec::as_slice) == list => {}
            Operation::Read { key, value } if state.get(key).and_then(|list| list.last().copied()) == *value => {}
            Operation::ReadList { .. } | Operation::Read { .. } => return None,
        }
    }
    Some(state)
}

/// A few transactions over two keys that read whatever the dice say, prefixes of what is there at the end.
fn draw(dice: &mut Dice, lists: bool) -> History {
    let mut history = History::default();
    let mut written: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut element = 0;
    let transactions = 2 + dice.below(4);
    for number in 0..transactions {
        let fate = match dice.below(8) {
            0 => Fate::Unknown,
            1 => Fate::Aborted,
            _ => Fate::Committed,
        };
        let mut operations = Vec::new();
        for _ in 0..1 + dice.below(3) {
            let name = if dice.one_in(2) { "x" } else { "y" };
            let key = name.to_owned();
            if dice.one_in(2) {
                element += 1;
                if fate == Fate::Committed || (fate == Fate::Unknown && dice.one_in(2)) {
                    written.entry(name).or_default().push(element);
                }
                operations.push(if lists {
                    Operation::Append { key, element }
                } else {
                    Operation::Write { key, value: element }
                });
            } else {
                operations.push(Operation::ReadList { key, list: Vec::new() });
            }
        }
        history.transactions.push(Transaction { label: format!("T{number}"), fate, operations });
    }
    // Any order of versions, then any read of them.
    for list in written.values_mut() {
        for at in (1..list.len()).rev() {
            list.swap(at, usize::try_from(dice.below(at as u64 + 1)).expect("small"));
        }
    }
    for transaction in &mut history.transactions {
        for operation in &mut transaction.operations {
            let Operation::ReadList { key, .. } = operation else { continue };
            let list = written.get(key.as_str()).map_or(&[][..], Vec::as_slice);
            let seen = &list[..usize::try_from(dice.below(list.len() as u64 + 1)).expect("small")];
            *operation = if lists {
                Operation::ReadList { key: key.clone(), list: seen.to_vec() }
            } else {
                Operation::Read { key: key.clone(), value: seen.last().copied() }
            };
        }
    }
    if lists {
        let last = |(key, list): (&&str, &Vec<u64>)| Operation::ReadList { key: (*key).to_owned(), list: list.clone() };
        history.finally = written.iter().map(last).collect();
    }
    history
}

#[test]
fn with_lists_read_at_the_end_the_check_is_right_both_ways() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..15_000 {
        let history = draw(&mut Dice::new(seed), true);
        let (checked, truth) = (history.check(), is_serializable(&history));
        if let Err(anomalies) = &checked {
            assert!(!truth, "seed {seed}: a false alarm:\n{anomalies}{history:#?}");
        }
        assert!(checked.is_err() || truth, "seed {seed}: overlooked: {history:#?}");
        good += u32::from(truth);
        bad += u32::from(!truth);
    }
    assert!(good > 1_000 && bad > 1_000, "{good} good, {bad} bad");
}

#[test]
fn with_lists_that_nobody_read_at_the_end_there_is_no_false_alarm() {
    let (mut good, mut found) = (0, 0);
    for seed in 0..15_000 {
        let mut history = draw(&mut Dice::new(seed), true);
        history.finally.clear();
        match (history.check(), is_serializable(&history)) {
            (Err(anomalies), true) => panic!("seed {seed}: a false alarm:\n{anomalies}{history:#?}"),
            (Err(_), false) => found += 1,
            (Ok(_), true) => good += 1,
            // The order of what nobody has read is not known.
            (Ok(_), false) => {}
        }
    }
    assert!(good > 1_000 && found > 1_000, "{good} good, {found} found");
}

#[test]
fn with_registers_there_is_no_false_alarm() {
    let (mut good, mut found) = (0, 0);
    for seed in 0..15_000 {
        let history = draw(&mut Dice::new(seed), false);
        match (history.check(), is_serializable(&history)) {
            (Err(anomalies), true) => panic!("seed {seed}: a false alarm:\n{anomalies}{history:#?}"),
            (Err(_), false) => found += 1,
            (Ok(_), true) => good += 1,
            // Where somebody wrote without reading first, the order is not known.
            (Ok(_), false) => {}
        }
    }
    assert!(good > 1_000 && found > 1_000, "{good} good, {found} found");
}
