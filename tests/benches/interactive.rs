//! Interactive transfers per second: `cargo bench -p handfast-tests --bench interactive`.
//!
//! Each begins, reads an account at either of two participants, writes both, and commits. Real processes on loopback and
//! real files, one client. Medians of five; the machine is asked to do nothing else meanwhile.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use handfast_client::{Client, OperationError, Options, Tx};
use handfast_common::operation::Value;
use handfast_tests::figures::{least, median, most};
use handfast_tests::processes::System;

/// The command, built with the same profile as this benchmark.
const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
const REPEATS: usize = 5;
const ACCOUNTS: usize = 2_000;

fn main() -> ExitCode {
    // `cargo test --benches` asks whether it is there; it has no tests.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return ExitCode::SUCCESS;
    }
    println!("interactive transfers (2 reads, 2 writes, commit) between two participants, medians of {REPEATS}:");
    for (concurrency, transfers) in [(1, 1_000), (16, 6_000), (64, 15_000), (256, 20_000)] {
        let rates: Vec<f64> = (0..REPEATS).map(|_| transfers_per_second(concurrency, transfers)).collect();
        println!("  c={concurrency:<4} {:>8.0}/s   (from {:.0} to {:.0})", median(&rates), least(&rates), most(&rates));
    }
    ExitCode::SUCCESS
}

/// One run on fresh stores.
fn transfers_per_second(concurrency: usize, transfers: usize) -> f64 {
    let system = System::start(PROGRAM, 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = Options::new([system.coordinator.address()]);
    let took = runtime.block_on(async {
        let client = Client::connect(options).expect("a client");
        tokio::task::LocalSet::new().run_until(load(client, concurrency, transfers)).await
    });
    transfers as f64 / took.as_secs_f64()
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
                    let key = format!("account/{:06}", number % ACCOUNTS);
                    client.transact(|tx| transfer(tx, key.clone())).await.expect("it commits");
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("a worker");
    }
    began.elapsed()
}

async fn transfer(tx: Tx, key: String) -> Result<(), OperationError> {
    let left = balance(&tx, "p0", &key).await?;
    let right = balance(&tx, "p1", &key).await?;
    tx.put("p0", &key, left - 1).await?;
    tx.put("p1", &key, right + 1).await
}

async fn balance(tx: &Tx, participant: &str, key: &str) -> Result<i64, OperationError> {
    Ok(match tx.get(participant, key).await? {
        Some(Value::Integer(balance)) => balance,
        Some(Value::Text(_)) | None => 0,
    })
}
