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
/// both. Most are sent in one piece, every fourth is interactive; every eighth is a row at one of the two, committed in
/// one phase.
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
        Self::after(&Ledger::default(), coordinator, workers)
    }

    /// The same with rows behind those of an earlier load.
    ///
    /// # Panics
    /// When it is no address.
    #[must_use]
    pub fn after(earlier: &Ledger, coordinator: &str, workers: usize) -> Self {
        let first = earlier.0.last_key_value().map_or(0, |(number, _)| number + 1);
        let client = Client::connect(Options::new([coordinator])).expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let next = Arc::new(AtomicUsize::new(first));
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
    /// Takes in what a later load was told.
    pub fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

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
        let rows: Vec<BTreeSet<usize>> = (0..2).map(|at| numbers(system, at, "row/")).collect();
        let single: Vec<_> = rows[0].symmetric_difference(&rows[1]).collect();
        assert!(single.is_empty(), "rows at one participant of two: {single:?}\n{}", system.logs());
        let solo: Vec<BTreeSet<usize>> = (0..2).map(|at| numbers(system, at, "solo/")).collect();
        let all = || rows[0].iter().chain(&solo[0]).chain(&solo[1]);
        let there: BTreeSet<&usize> = all().collect();
        assert_eq!(there.len(), all().count(), "a row is where it was not put");
        for (number, told) in &self.0 {
            match told {
                Told::Committed => assert!(there.contains(number), "{number} was told committed\n{}", system.logs()),
                Told::Nothing => assert!(!there.contains(number), "{number} was told aborted\n{}", system.logs()),
                Told::Unknown => {}
            }
        }
        let strange: Vec<_> = there.iter().filter(|number| !self.0.contains_key(number)).collect();
        assert!(strange.is_empty(), "rows that nobody asked for: {strange:?}");
        let sum = |at: usize| -> i64 {
            let values = system.scan(&system.participants[at], "sum/");
            values.iter().map(|line| line["value"].as_i64().expect("an integer")).sum()
        };
        let moved = i64::try_from(rows[0].len()).expect("a number");
        assert_eq!((sum(0), sum(1)), (-moved, moved), "each row moved one unit");
    }
}

/// The numbers of the rows under a prefix.
fn numbers(system: &System, participant: usize, prefix: &str) -> BTreeSet<usize> {
    let number = |row: &serde_json::Value| row["key"].as_str()?.strip_prefix(prefix)?.parse().ok();
    let rows = system.scan(&system.participants[participant], prefix);
    rows.iter().map(|row| number(row).expect("a row of the load")).collect()
}

async fn work(client: Client, next: Arc<AtomicUsize>, stopped: Arc<AtomicBool>) -> Vec<(usize, Told)> {
    let mut all = Vec::new();
    while !stopped.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let told = match number % 8 {
            0 | 4 => interactive(&client, number).await,
            3 => settle(&client, solo(number), number).await,
            _ => settle(&client, transfer(number), number).await,
        };
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

fn transfer(number: usize) -> Transaction {
    let operations = |delta| {
        let (row, sum) = keys(number);
        vec![
            Operation::Add(Add { key: sum, delta, min: None, max: None }),
            Operation::Put(Put { key: row, value: Value::Integer(1) }),
        ]
    };
    Transaction::new().branch("p0", operations(-1)).branch("p1", operations(1))
}

fn solo(number: usize) -> Transaction {
    let key = format!("solo/{number:06}");
    let participant = if number % 16 == 3 { "p0" } else { "p1" };
    Transaction::new().branch(participant, vec![Operation::Put(Put { key, value: Value::Integer(1) })])
}

async fn settle(client: &Client, transaction: Transaction, number: usize) -> Told {
    match client.submit(transaction, deadline(number)).await {
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
