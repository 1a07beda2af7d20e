//! The figures of docs/performance.md, from one run: `cargo bench -p handfast-tests --bench foundation`.
//!
//! Real processes on loopback and real files. Medians of five; the machine is asked to do nothing else meanwhile.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use handfast_client::{Client, Options, Transaction};
use handfast_common::operation::{Add, Operation};
use handfast_tests::figures::{last_number, least, median, most};
use handfast_tests::processes::{System, terminate};

/// The command, built with the same profile as this benchmark.
const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
const REPEATS: usize = 5;
const ACCOUNTS: usize = 2_000;

fn main() -> ExitCode {
    // `cargo test --benches` asks whether it is there; it has no tests.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return ExitCode::SUCCESS;
    }
    println!("two-branch transfers, a coordinator and two participants as processes, medians of {REPEATS}:");
    for (concurrency, transfers) in [(1, 2_000), (16, 15_000), (64, 40_000), (256, 60_000)] {
        let rates: Vec<f64> = (0..REPEATS).map(|_| transfers_per_second(concurrency, transfers).0).collect();
        println!("  c={concurrency:<4} {:>8.0}/s   (from {:.0} to {:.0})", median(&rates), least(&rates), most(&rates));
    }
    let (_, commits) = transfers_per_second(64, 40_000);
    println!("commits per transaction and log at c=64:");
    for (name, per_transaction) in commits {
        println!("  {name:<12} {per_transaction:.3}");
    }
    ExitCode::SUCCESS
}

/// One run on fresh stores: the rate, and commits per transaction of each log.
fn transfers_per_second(concurrency: usize, transfers: usize) -> (f64, Vec<(String, f64)>) {
    let mut system = System::start(PROGRAM, 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = Options::new([system.coordinator.address()]);
    let took = runtime.block_on(async {
        let client = Client::connect(options).expect("a client");
        tokio::task::LocalSet::new().run_until(load(client, concurrency, transfers)).await
    });
    let mut commits = Vec::new();
    for node in std::iter::once(&mut system.coordinator).chain(&mut system.participants) {
        terminate(node);
        node.wait_exit(Duration::from_secs(20)).expect("it drains");
        let written = last_number(&node.log(), "\"commits\":").unwrap_or(f64::NAN);
        commits.push((node.name().to_owned(), written / transfers as f64));
    }
    (transfers as f64 / took.as_secs_f64(), commits)
}

async fn load(client: Client, concurrency: usize, transfers: usize) -> Duration {
    let next = Rc::new(Cell::new(0));
    let began = Instant::now();
    let workers: Vec<_> = (0..concurrency)
        .map(|_| {
            let (client, next) = (client.clone(), Rc::clone(&next));
            tokio::task::spawn_local(async move {
                while next.get() < transfers {
                    let number = next.replace(next.get() + 1);
                    let add = |delta| {
                        let key = format!("account/{:06}", number % ACCOUNTS);
                        vec![Operation::Add(Add { key, delta, min: None, max: None })]
                    };
                    let transaction = Transaction::new().branch("p0", add(-1)).branch("p1", add(1));
                    let report = client.submit(transaction, Duration::from_secs(20)).await.expect("an outcome");
                    assert!(report.is_committed(), "{}", report.outcome);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("a worker");
    }
    began.elapsed()
}
