//! Seeded worlds: nothing that their faults do breaks a promise. Other numbers of them by `HANDFAST_SEEDS=n`; one of them,
//! with all that happens, by `HANDFAST_SEED=n cargo test -p handfast-simulator --test worlds one_seed -- --nocapture`.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use handfast_simulator::matrix::Cells;
use handfast_simulator::plan::Nemesis;
use handfast_simulator::run::{Choice, narrate, run};
use handfast_simulator::workload::Workload;
use handfast_simulator::world::{SOMETIMES, Summary};

/// Seeds of the gate.
const SEEDS: u64 = 1_300;
/// What they have to come to, at the least.
const TRANSACTIONS: u64 = 100_000;
/// See there.
const FAULTS: u64 = 100_000;

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
    let seeds = variable("HANDFAST_SEEDS").unwrap_or(SEEDS);
    let first = variable("HANDFAST_FIRST_SEED").unwrap_or(0);
    let (next, total) = (AtomicU64::new(first), Mutex::new(Total::default()));
    // A world has one thread; worlds share the processors.
    let broken: Vec<String> = thread::scope(|scope| {
        let worker = || {
            let mut broken = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + seeds || !broken.is_empty() {
                    return broken;
                }
                match run(seed, &choice()) {
                    Ok(summary) => total.lock().expect("no worker panics").add(seed, &summary),
                    Err(report) => broken.push(report.to_string()),
                }
            }
        };
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it does not panic")).collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let total = total.into_inner().expect("no worker panics");
    total.tell(seeds);
    // A world in which nothing happens keeps every promise.
    assert!(total.committed > seeds * 10 && total.aborted > seeds * 3 && total.restarts > seeds, "too little happened");
    assert!(total.in_doubt > seeds / 10 && total.inquiries > seeds / 10 && total.nested > 0, "nobody was in doubt");
    if seeds >= SEEDS {
        for moment in SOMETIMES {
            assert!(total.sometimes.contains_key(moment), "never {moment}");
        }
        assert!(total.transactions >= TRANSACTIONS, "only {} transactions", total.transactions);
        assert!(total.faults >= FAULTS, "only {} faults", total.faults);
    }
}

#[derive(Default)]
struct Total {
    transactions: u64,
    committed: u64,
    aborted: u64,
    interactive: u64,
    faults: u64,
    planned: u64,
    injected: u64,
    restarts: u64,
    nested: u64,
    in_doubt: u64,
    inquiries: u64,
    slowest: (u64, u64),
    sometimes: BTreeMap<&'static str, u64>,
    cells: Cells,
}

impl Total {
    fn add(&mut self, seed: u64, summary: &Summary) {
        self.transactions += summary.transactions;
        self.committed += summary.committed;
        self.aborted += summary.aborted;
        self.interactive += summary.interactive;
        self.faults += summary.faults;
        self.planned += summary.planned;
        self.injected += summary.injected;
        self.restarts += summary.restarts;
        self.nested += summary.nested;
        self.in_doubt += summary.in_doubt;
        self.inquiries += summary.inquiries;
        self.slowest = self.slowest.max((summary.doubt_ended, seed));
        for (moment, times) in &summary.sometimes {
            *self.sometimes.entry(moment).or_default() += times;
        }
        self.cells.add(&summary.cells);
    }

    fn tell(&self, seeds: u64) {
        println!("{seeds} seeds: {} transactions, {} committed", self.transactions, self.committed);
        println!("{} of these interactive, {} aborted", self.interactive, self.aborted);
        println!("{} faults, {} restarts, {} crashes inside a recovery", self.faults, self.restarts, self.nested);
        println!("{} entries of plans, {} of which came to nothing", self.planned, self.planned - self.injected);
        println!("{} branches found in doubt, {} inquiries decided", self.in_doubt, self.inquiries);
        let (slowest, seed) = self.slowest;
        println!("the slowest doubt ended {:.3} s after the healing, in seed {seed}", slowest as f64 / 1e6);
        self.sometimes.iter().for_each(|(moment, times)| println!("{moment}: {times}"));
        println!("{}", self.cells);
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for workload in Workload::ALL {
        for seed in [1, 7, 42, 99] {
            let choice = Choice { workload: Some(workload), nemeses: Vec::new() };
            let once = run(seed, &choice).unwrap_or_else(|report| panic!("{report}"));
            let twice = run(seed, &choice).unwrap_or_else(|report| panic!("{report}"));
            assert_eq!(once, twice, "seed {seed} of {workload}");
            assert_ne!(once.trace, run(seed + 1, &choice).map(|summary| summary.trace).unwrap_or(0));
        }
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
