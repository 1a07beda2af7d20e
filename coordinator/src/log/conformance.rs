//! What any [`DecisionLog`] must pass: the redb log, one on a simulated disk, one over a network.
//!
//! Each check gets a way to open the same log again and again, as restarts would, and panics with what is broken.

use handfast_common::ids::{Epoch, LogId, Nonce, RecordNumber, TxnId};

use super::{DecisionLog, Entry, Recovered};
use crate::protocol::Record;

/// Opens the log under test; each call is a restart. The one opened before has been dropped.
pub trait Reopen {
    /// The log.
    type Log: DecisionLog;
    /// Opens it.
    fn reopen(&mut self) -> Self::Log;
}

impl<L: DecisionLog, F: FnMut() -> L> Reopen for F {
    type Log = L;
    fn reopen(&mut self) -> L {
        self()
    }
}

/// Runs every check, each on a log of its own.
///
/// # Panics
/// When the log breaks its contract.
pub fn check_all<R: Reopen>(mut fresh: impl FnMut() -> R) {
    a_new_log_is_empty_and_has_an_identity(fresh());
    what_was_written_is_read_back_in_order(fresh());
    erased_records_stay_erased_and_numbers_are_not_used_again(fresh());
    a_batch_that_returned_is_there_after_any_restart(fresh());
}

fn a_new_log_is_empty_and_has_an_identity(mut log: impl Reopen) {
    let first = read(&mut log);
    assert_eq!(first.records, Vec::new(), "a new log has records");
    assert_eq!(first.last_number, RecordNumber(0), "a new log has used numbers");
    assert_eq!(read(&mut log).log, first.log, "the identity changed over a restart");
}

fn what_was_written_is_read_back_in_order(mut log: impl Reopen) {
    let batch: Vec<Entry> = (1..=50).map(|number| entry(number, &[])).collect();
    log.reopen().write(&batch).expect("a write");
    let expected: Vec<_> = batch.iter().map(|entry| (entry.number, entry.record.clone())).collect();
    assert_eq!(read(&mut log).records, expected, "what was written is not what is read");
}

fn erased_records_stay_erased_and_numbers_are_not_used_again(mut log: impl Reopen) {
    let mut open = log.reopen();
    open.write(&[entry(1, &[]), entry(2, &[]), entry(3, &[])]).expect("a write");
    // A record erased by one of the same batch, and one of an earlier batch, the highest of all among them.
    open.write(&[entry(4, &[]), entry(5, &[4, 2])]).expect("a write");
    open.write(&[entry(6, &[5]), entry(7, &[6, 3])]).expect("a write");
    drop(open);
    let recovered = read(&mut log);
    let numbers: Vec<u64> = recovered.records.iter().map(|(number, _)| number.0).collect();
    assert_eq!(numbers, [1, 7], "erased records came back, or others went with them");
    assert_eq!(recovered.last_number, RecordNumber(7), "the last number was forgotten");
}

fn a_batch_that_returned_is_there_after_any_restart(mut log: impl Reopen) {
    for batch in 1..=20u64 {
        log.reopen().write(&[entry(2 * batch - 1, &[]), entry(2 * batch, &[])]).expect("a write");
        assert_eq!(read(&mut log).records.len() as u64, 2 * batch, "a batch is missing after restart {batch}");
    }
}

fn read<R: Reopen>(log: &mut R) -> Recovered {
    log.reopen().read_all().expect("a sound log")
}

fn entry(number: u64, erase: &[u64]) -> Entry {
    let record = if number.is_multiple_of(2) {
        let txn = TxnId::new(LogId(uuid::Uuid::nil()), Epoch(1), number, Nonce(7));
        Record::End { txn, acknowledged: vec![number; 3] }
    } else {
        Record::Epoch { epoch: Epoch(number), nonce: Nonce(number), decisions: number }
    };
    Entry { number: RecordNumber(number), record, erase: erase.iter().copied().map(RecordNumber).collect() }
}
