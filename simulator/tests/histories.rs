//! The check of histories finds what it is there for: rules about locks are undone, and lists, registers and sets show it.
#![cfg(feature = "mutants")]

use handfast_common::mutants::{Mutant, with};
use handfast_simulator::run::{Choice, run};
use handfast_simulator::workload::Workload;

/// So many seeds are tried.
const SEEDS: u64 = 200;

fn is_noticed(mutant: Mutant, workload: Workload) {
    let choice = Choice { workload: Some(workload), nemeses: Vec::new() };
    let notices = |seed: &u64| {
        let broken = with(mutant, || run(*seed, &choice));
        broken.is_err_and(|report| report.violation.oracle == "serializability")
    };
    let seed = (0..SEEDS).find(notices).unwrap_or_else(|| panic!("{mutant:?} escapes {workload}"));
    run(seed, &choice).unwrap_or_else(|report| panic!("without {mutant:?}: {report}"));
}

#[test]
fn a_write_under_a_read_lock_is_seen_in_lists() {
    is_noticed(Mutant::WritesUnderSharedLocks, Workload::Lists);
}

#[test]
fn a_write_under_a_read_lock_is_seen_in_registers() {
    is_noticed(Mutant::WritesUnderSharedLocks, Workload::Registers);
}

#[test]
fn t01_a_reader_that_lets_go_early_is_seen_in_sets() {
    is_noticed(Mutant::ReaderLetsGoEarly, Workload::Sets);
}
