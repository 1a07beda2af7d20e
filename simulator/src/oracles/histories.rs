//! A7, over lists, registers and sets: what clients saw and wrote is put together to a history, and that is searched for
//! what no order explains: G0, G1a to G1c, G-single, G2 (see [`crate::history`]).

use handfast_common::ids::{Key, Name};
use handfast_common::operation::{Operation as Asked, Read, Value};

use super::{End, Verdict};
use crate::clients::{Known, Wanted};
use crate::history::{Fate, History, Operation, Transaction, text_to_list};
use crate::workload::{LIST, REGISTER, SET};

pub(super) fn could_have_run_one_after_the_other(end: &End<'_>) -> Verdict {
    if !end.workload.has_a_history() {
        return Ok(());
    }
    history(end)?.check().map(drop).map_err(|anomalies| anomalies.to_string())
}

fn history(end: &End<'_>) -> Result<History, String> {
    let mut history = History::default();
    for (key, wanted) in end.ledger.iter() {
        history.transactions.push(transaction(*key, wanted)?);
    }
    for (name, values) in &end.values {
        for (key, value) in values {
            history.finally.extend(read(name, &Read { key: key.clone(), value: Some(value.clone()) })?);
        }
    }
    Ok(history)
}

fn transaction(key: Key, wanted: &Wanted) -> Result<Transaction, String> {
    let (fate, all) = match &wanted.known {
        Known::Committed(reads) => (Fate::Committed, Some(reads)),
        Known::Aborted(..) => (Fate::Aborted, None),
        Known::Unknown | Known::Forgotten | Known::Rejected => (Fate::Unknown, None),
    };
    let mut operations = Vec::new();
    for (name, asked) in &wanted.branches {
        let mut reads = all.and_then(|all| all.get(name)).into_iter().flatten();
        for asked in asked {
            match asked {
                // Without an outcome nothing counts that was read; and whoever did not wait for it has not read it.
                Asked::Get(_) => {
                    if let Some(seen) = reads.next() {
                        operations.extend(read(name, seen)?);
                    }
                }
                Asked::Put(put) => operations.extend(written(name, &put.key, &put.value)),
                Asked::Add(_) | Asked::Check(_) | Asked::Delete(_) => {}
            }
        }
    }
    Ok(Transaction { label: key.to_string(), fate, operations })
}

fn read(name: &Name, read: &Read) -> Result<Option<Operation>, String> {
    let key = format!("{name}/{}", read.key);
    if read.key.starts_with(LIST) {
        let list = match &read.value {
            None => Vec::new(),
            Some(Value::Text(text)) => text_to_list(text)?,
            Some(Value::Integer(number)) => return Err(format!("{key} is {number}, and no list")),
        };
        return Ok(Some(Operation::ReadList { key, list }));
    }
    if !read.key.starts_with(REGISTER) && !read.key.starts_with(SET) {
        return Ok(None);
    }
    match &read.value {
        None => Ok(Some(Operation::Read { key, value: None })),
        Some(Value::Integer(value)) => Ok(Some(Operation::Read { key, value: u64::try_from(*value).ok() })),
        Some(Value::Text(text)) => Err(format!("{key} is '{text}'")),
    }
}

/// What a client asked to be written. Of an append it names the element alone.
fn written(name: &Name, key: &str, value: &Value) -> Option<Operation> {
    let Value::Integer(number) = value else { return None };
    let (key, number) = (format!("{name}/{key}"), u64::try_from(*number).ok()?);
    Some(if key.contains(LIST) {
        Operation::Append { key, element: number }
    } else {
        Operation::Write { key, value: number }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use handfast_common::ids::{Epoch, Nonce, Ticket};
    use handfast_common::messages::Told;
    use handfast_common::outcome::Outcome;

    use super::*;
    use crate::clients::Ledger;
    use crate::workload::{Workload, get};
    use handfast_common::operation::Put;

    fn name() -> Name {
        Name::new("p0").unwrap()
    }

    /// A client reads a list and appends to it, and is told Committed.
    fn appends(ledger: &mut Ledger, list: &str, element: i64) {
        let put = Asked::Put(Put { key: "list/0".to_owned(), value: Value::Integer(element) });
        let branches = BTreeMap::from([(name(), vec![get("list/0"), put])]);
        let ticket = Ticket { log: crate::world::LOG, epoch: Epoch(1), nonce: Nonce(1), sequence: 0 };
        let key = ledger.enter(branches, ticket, None, 0);
        ledger.open_session(key, false);
        let value = (!list.is_empty()).then(|| Value::Text(list.to_owned()));
        let read = Read { key: "list/0".to_owned(), value };
        ledger.session(key).unwrap().reads.insert(name(), vec![read]);
        let (age, outcome) = (handfast_common::ids::Age(0), Outcome::Committed(Vec::new()));
        ledger.hear(key, &Told::Outcome { txn: None, age, outcome }, 1).unwrap();
    }

    fn verdict(lists: [&str; 2], last: &str) -> Verdict {
        let mut ledger = Ledger::default();
        appends(&mut ledger, lists[0], 1);
        appends(&mut ledger, lists[1], 2);
        let values = BTreeMap::from([("list/0".to_owned(), Value::Text(last.to_owned()))]);
        let values = BTreeMap::from([(name(), values)]);
        could_have_run_one_after_the_other(&End {
            ledger: &ledger,
            workload: Workload::Lists,
            names: vec![name()],
            values,
        })
    }

    #[test]
    fn one_append_after_the_other_has_an_order() {
        assert_eq!(verdict(["", "1"], "1,2"), Ok(()));
    }

    #[test]
    fn a_lost_update_and_an_element_that_is_gone_have_none() {
        let lost = verdict(["", ""], "1,2").expect_err("both read nothing");
        assert!(lost.contains("G-single"), "{lost}");
        let gone = verdict(["", "1"], "1").expect_err("2 was committed");
        assert!(gone.contains("lost write"), "{gone}");
    }
}
