//! The check of histories: it must find every anomaly, and cry wolf never.

mod anomalies;
mod brute_force;
mod random;

use handfast_tests::history::{Fate, History, Operation, Transaction};

/// A history from a few words: `C` committed, `A` aborted, `?` unknown; `a x 1` appends, `l x 1,2` reads a list, `w x 1`
/// writes, `r x 1` and `r x -` read a register.
fn history(lines: &[&str]) -> History {
    let mut history = History::default();
    for (number, line) in lines.iter().enumerate() {
        let (fate, operations) = line.split_at(1);
        let fate = match fate {
            "C" => Fate::Committed,
            "A" => Fate::Aborted,
            "?" => Fate::Unknown,
            "E" => {
                history.finally = operations_of(operations);
                continue;
            }
            other => panic!("no fate: {other}"),
        };
        let operations = operations_of(operations);
        history.transactions.push(Transaction { label: format!("T{}", number + 1), fate, operations });
    }
    history
}

fn operations_of(text: &str) -> Vec<Operation> {
    let words = text.split(';').map(|operation| operation.split_whitespace().collect::<Vec<_>>());
    words
        .map(|words| {
            let (key, what) = (words[1].to_owned(), words[2]);
            match words[0] {
                "a" => Operation::Append { key, element: what.parse().expect("a number") },
                "l" => {
                    let what = if what == "-" { "" } else { what };
                    Operation::ReadList { key, list: handfast_tests::history::text_to_list(what).expect("a list") }
                }
                "w" => Operation::Write { key, value: what.parse().expect("a number") },
                "r" => Operation::Read { key, value: what.parse().ok() },
                other => panic!("no operation: {other}"),
            }
        })
        .collect()
}
