//! A load whose client writes down what it was told, outside of the system under test; and the check of a system's rows
//! against that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use handfast_client::{Client, CommitError, OperationError, Options, Outcome, TransactError, Transaction};
use handfast_common::operation::{Add, Operation, Put, Value};

use crate::processes::{System, wait_until};

/// What the client was told of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Told {
    /// Its row is at both participants.
    Committed,
    /// It was aborted, or never begun: its row is nowhere.
    Nothing,
    /// No answer: a call that failed may have had its effect all the same.
    Unknown,
}

/// What the client was told, by row number.
#[derive(Clone, Default, Debug)]
pub struct Ledger(BTreeMap<usize, Told>);

/// A load that runs until it is stopped: transfers of one unit between `p0` and `p1`, each with a row of its own at
/// both. Most are sent in one piece; every fourth is interactive.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Ledger>,
}

/// Keys that transfers share: some meet.
const SUMS: usize = 50;
/// Pause of a worker between transactions: what a run leaves behind has to be read in the end.
const PAUSE: Duration = Duration::from_millis(15);
/// Nothing of the load takes longer than this and a second.
const DEADLINE: Duration = Duration::from_secs(2);
/// Some of the clients are impatient: these give up while the outcome is open.
const IMPATIENT: Duration = Duration::from_millis(30);
/// Promise L1.
pub const IN_DOUBT_ENDS: Duration = Duration::from_secs(5);

impl Load {
    /// Starts so many workers on the coordinator at this address.
    ///
    /// # Panics
    /// When it is no address.
    #[must_use]
    pub fn start(coordinator: &str, workers: usize) -> Self {
        let client = Client::connect(Options::new([coordinator])).expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let next = Arc::new(AtomicUsize::new(0));
                let mut running = tokio::task::JoinSet::new();
                for _ in 0..workers {
                    running.spawn(work(client.clone(), Arc::clone(&next), Arc::clone(&stopped)));
                }
                Ledger(running.join_all().await.into_iter().flatten().collect())
            })
        });
        Self { stop, thread }
    }

    /// Lets what is under way end, and gives what was told.
    ///
    /// # Panics
    /// When a worker panicked.
    #[must_use]
    pub fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load ends")
    }
}

impl Ledger {
    /// How many were told this.
    #[must_use]
    pub fn count(&self, told: Told) -> usize {
        self.0.values().filter(|other| **other == told).count()
    }

    /// Waits until nothing is in doubt, then checks every promise that rows can show.
    ///
    /// # Panics
    /// When something stays in doubt for longer than `within`, or a promise is broken.
    pub fn check(&self, system: &System, within: Duration) {
        wait_until("nothing in doubt", within, || !system.is_in_doubt());
        let rows: Vec<BTreeSet<usize>> = system
            .participants
            .iter()
            .take(2)
            .map(|node| {
                let number = |row: &serde_json::Value| row["key"].as_str()?.strip_prefix("row/")?.parse().ok();
                system.scan(node, "row/").iter().map(|row| number(row).expect("a row of the load")).collect()
            })
            .collect();
        let single: Vec<_> = rows[0].symmetric_difference(&rows[1]).collect();
        assert!(single.is_empty(), "rows at one participant of two: {single:?}\n{}", system.logs());
        for (number, told) in &self.0 {
            match told {
                Told::Committed => assert!(rows[0].contains(number), "row {number} was told committed"),
                Told::Nothing => assert!(!rows[0].contains(number), "row {number} was told to be nowhere"),
                Told::Unknown => {}
            }
        }
        let strange: Vec<_> = rows[0].iter().filter(|number| !self.0.contains_key(number)).collect();
        assert!(strange.is_empty(), "rows that nobody asked for: {strange:?}");
        let sum = |at: usize| -> i64 {
            let values = system.scan(&system.participants[at], "sum/");
            values.iter().map(|line| line["value"].as_i64().expect("an integer")).sum()
        };
        let moved = i64::try_from(rows[0].len()).expect("a number");
        assert_eq!((sum(0), sum(1)), (-moved, moved), "each row moved one unit");
    }
}

async fn work(client: Client, next: Arc<AtomicUsize>, stopped: Arc<AtomicBool>) -> Vec<(usize, Told)> {
    let mut all = Vec::new();
    while !stopped.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let told =
            if number.is_multiple_of(4) { interactive(&client, number).await } else { one_shot(&client, number).await };
        all.push((number, told));
        tokio::time::sleep(PAUSE).await;
    }
    all
}

fn deadline(number: usize) -> Duration {
    if number.is_multiple_of(5) { IMPATIENT } else { DEADLINE }
}

fn keys(number: usize) -> (String, String) {
    (format!("row/{number:06}"), format!("sum/{:03}", number % SUMS))
}

async fn one_shot(client: &Client, number: usize) -> Told {
    let operations = |delta| {
        let (row, sum) = keys(number);
        vec![
            Operation::Add(Add { key: sum, delta, min: None, max: None }),
            Operation::Put(Put { key: row, value: Value::Integer(1) }),
        ]
    };
    let transfer = Transaction::new().branch("p0", operations(-1)).branch("p1", operations(1));
    match client.submit(transfer, deadline(number)).await {
        Ok(report) => match report.outcome {
            Outcome::Committed(_) => Told::Committed,
            Outcome::Aborted(_) => Told::Nothing,
            Outcome::Unknown(_) | Outcome::Forgotten | Outcome::NotFound => Told::Unknown,
            Outcome::HeuristicMixed => panic!("nobody decides anything by hand"),
        },
        Err(error) => {
            assert!(error.nothing_happened(), "{error}");
            Told::Nothing
        }
    }
}

async fn interactive(client: &Client, number: usize) -> Told {
    let (row, sum) = keys(number);
    let (row, sum) = (row.as_str(), sum.as_str());
    let done: Result<(), TransactError<OperationError>> = client
        .transact_within(deadline(number), |tx| async move {
            tx.add("p0", sum, -1).await?;
            tx.add("p1", sum, 1).await?;
            tx.put("p0", row, 1).await?;
            tx.put("p1", row, 1).await
        })
        .await;
    match done {
        Ok(()) => Told::Committed,
        Err(TransactError::Commit(CommitError::Mixed(_))) => panic!("nobody decides anything by hand"),
        Err(error) if error.is_outcome_known() => Told::Nothing,
        Err(_) => Told::Unknown,
    }
}
