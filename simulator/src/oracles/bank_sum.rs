//! The bank: money moves, and the sum over all accounts is 0, in every audit and at the end.

use handfast_common::operation::Value;

use super::{End, Verdict};
use crate::clients::Known;
use crate::workload::ACCOUNT;

pub(super) fn nothing_is_lost(end: &End<'_>) -> Verdict {
    if !end.workload.moves_money() {
        return Ok(());
    }
    let accounts = end.values.values().flatten().filter(|(key, _)| key.starts_with(ACCOUNT));
    let sum: i64 = accounts.map(|(_, value)| amount(Some(value))).sum();
    if sum != 0 {
        return Err(format!("the sum of all accounts is {sum}"));
    }
    for (key, wanted) in end.ledger.iter() {
        let Known::Committed(reads) = &wanted.known else { continue };
        // One that did not wait for its last look has not seen all.
        let seen = reads.values().map(Vec::len).sum::<usize>() == wanted.branches.values().map(Vec::len).sum::<usize>();
        let is_audit = wanted.only_reads() && wanted.branches.len() == end.names.len() && seen;
        let accounts = reads.values().flatten().filter(|read| read.key.starts_with(ACCOUNT));
        let sum: i64 = accounts.map(|read| amount(read.value.as_ref())).sum();
        if is_audit && sum != 0 {
            return Err(format!("audit {key} saw a sum of {sum}: {reads:?}"));
        }
    }
    Ok(())
}

fn amount(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::Integer(amount)) => *amount,
        Some(Value::Text(_)) | None => 0,
    }
}
