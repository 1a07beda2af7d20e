//! Seeded worlds: nothing that their faults do breaks a promise. More of them by `HANDFAST_SEEDS=n`; one of them, with all
//! that happens, by `HANDFAST_SEED=n cargo test -p handfast-simulator --test worlds one_seed -- --nocapture`.

use std::str::FromStr;

use handfast_simulator::matrix::Cells;
use handfast_simulator::plan::Nemesis;
use handfast_simulator::run::{Choice, narrate, run};
use handfast_simulator::workload::Workload;

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn choice() -> Choice {
    let workload = variable::<String>("HANDFAST_WORKLOAD").and_then(|name| Workload::named(&name));
    let nemeses = variable::<String>("HANDFAST_NEMESES").unwrap_or_default();
    Choice { workload, nemeses: nemeses.split(',').filter_map(Nemesis::named).collect() }
}

#[test]
fn seeded_worlds_keep_their_promises() {
    let seeds = variable("HANDFAST_SEEDS").unwrap_or(100);
    let first = variable("HANDFAST_FIRST_SEED").unwrap_or(0);
    let (mut transactions, mut committed, mut aborted, mut faults, mut restarts) = (0, 0, 0, 0, 0);
    let (mut nested, mut in_doubt, mut inquiries, mut slowest) = (0, 0, 0, (0, 0));
    let mut cells = Cells::default();
    for seed in first..first + seeds {
        let summary = run(seed, &choice()).unwrap_or_else(|report| panic!("{report}"));
        transactions += summary.transactions;
        committed += summary.committed;
        aborted += summary.aborted;
        faults += summary.faults;
        restarts += summary.restarts;
        nested += summary.nested;
        in_doubt += summary.in_doubt;
        inquiries += summary.inquiries;
        slowest = slowest.max((summary.doubt_ended, seed));
        cells.add(&summary.cells);
    }
    println!("{seeds} seeds: {transactions} transactions, {committed} committed, {aborted} aborted");
    println!("{faults} faults, {restarts} restarts, {nested} crashes inside a recovery");
    println!("{in_doubt} branches found in doubt, {inquiries} inquiries decided");
    println!("the slowest doubt ended {:.3} s after the healing, in seed {}", slowest.0 as f64 / 1e6, slowest.1);
    println!("{cells}");
    // A world in which nothing happens keeps every promise.
    assert!(
        committed > seeds * 10 && aborted > seeds * 3 && faults > seeds * 20 && restarts > seeds,
        "too little happened"
    );
    assert!(in_doubt > seeds / 10 && inquiries > seeds / 10 && nested > 0, "nobody was in doubt");
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in [1, 7, 42, 99] {
        let once = run(seed, &choice()).unwrap_or_else(|report| panic!("{report}"));
        let twice = run(seed, &choice()).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(once, twice, "seed {seed}");
        assert_ne!(once.trace, run(seed + 1, &choice()).map(|summary| summary.trace).unwrap_or(0));
    }
}

#[test]
fn one_seed() {
    let Some(seed) = variable("HANDFAST_SEED") else { return };
    match narrate(seed, &choice()) {
        Ok(summary) => println!("{summary:#?}"),
        Err(failed) => {
            failed.story.iter().for_each(|line| println!("{line}"));
            panic!("{}", failed.violation);
        }
    }
}
