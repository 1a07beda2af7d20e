//! A07: interactive transactions over embedded participants are serializable: reads and writes mixed, 32 at a time, also
//! while processes are killed. Clients record what they did and saw, and the history is searched for cycles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use handfast_client::{Client, CommitError, OperationError, Options, TransactError, Tx};
use handfast_common::operation::Value;
use handfast_tests::history::{Fate, History, Operation, Recorder, Trace, list_to_text, text_to_list};
use handfast_tests::processes::{System, wait_until};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
const CONCURRENCY: usize = 32;
/// Few, so that they are in each other's way.
const KEYS: u64 = 5;
const PARTICIPANTS: u64 = 3;
/// Longest list: beyond it a key is no longer written, for every read shows all of it.
const LONGEST: usize = 400;

/// What a transaction does at one key.
#[derive(Clone, Copy)]
struct Step {
    participant: u64,
    key: u64,
    writes: bool,
}

fn plan(dice: &mut SmallRng) -> Vec<Step> {
    let only_reads = dice.random_range(0..4) == 0;
    let steps = dice.random_range(1..=4);
    let step = |dice: &mut SmallRng| Step {
        participant: dice.random_range(0..PARTICIPANTS),
        key: dice.random_range(0..KEYS),
        writes: !only_reads && dice.random_range(0..2) == 0,
    };
    (0..steps).map(|_| step(dice)).collect()
}

fn label(step: Step) -> String {
    format!("p{}/list-{}", step.participant, step.key)
}

async fn read(tx: &Tx, step: Step) -> Result<Vec<u64>, OperationError> {
    match tx.get(&format!("p{}", step.participant), &format!("list-{}", step.key)).await? {
        None => Ok(Vec::new()),
        Some(Value::Text(text)) => Ok(text_to_list(&text).expect("a list")),
        Some(Value::Integer(number)) => panic!("{} holds {number}", label(step)),
    }
}

/// One attempt; the trace is of this attempt alone.
async fn attempt(tx: &Tx, steps: &[Step], trace: &mut Trace, recorder: &Recorder) -> Result<(), OperationError> {
    for step in steps {
        let mut list = read(tx, *step).await?;
        trace.read_list(&label(*step), list.clone());
        if step.writes && list.len() < LONGEST {
            let element = recorder.fresh();
            trace.append(&label(*step), element);
            list.push(element);
            let (participant, key) = (format!("p{}", step.participant), format!("list-{}", step.key));
            tx.put(&participant, &key, Value::Text(list_to_text(&list))).await?;
        }
    }
    Ok(())
}

/// Works until it is told to end. Every attempt is a transaction of the history.
async fn work(client: Client, recorder: Arc<Recorder>, over: Arc<AtomicBool>, seed: u64, count: Arc<AtomicUsize>) {
    let mut dice = SmallRng::seed_from_u64(seed);
    let mut age = None;
    while !over.load(Ordering::Relaxed) {
        let steps = plan(&mut dice);
        let Ok(tx) = client.begin_again(age, Duration::from_secs(8)).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Whoever lost comes back with the age it had.
        age = Some(tx.age());
        let mut trace = recorder.begin(tx.xid().txn.to_string());
        if attempt(&tx, &steps, &mut trace, &recorder).await.is_err() {
            trace.end(Fate::Aborted);
            tx.rollback().await;
            continue;
        }
        match tx.commit().await {
            Ok(_) => {
                trace.end(Fate::Committed);
                count.fetch_add(1, Ordering::Relaxed);
                age = None;
            }
            Err(CommitError::Unknown(_)) => trace.end(Fate::Unknown),
            Err(_) => trace.end(Fate::Aborted),
        }
    }
}

/// Runs the load, lets `trouble` happen meanwhile, and gives back the history with what is there in the end.
fn run(system: &mut System, seed: u64, trouble: impl FnOnce(&mut System, &AtomicUsize)) -> (History, usize) {
    let recorder = Arc::new(Recorder::default());
    let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let address = system.coordinator.address().to_owned();
    let load = {
        let (recorder, over, count, address) = (recorder.clone(), over.clone(), count.clone(), address.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = Client::connect(Options::new([address])).expect("an address");
                let mut working = JoinSet::new();
                for number in 0..CONCURRENCY as u64 {
                    let seed = seed * 1_000 + number;
                    working.spawn(work(client.clone(), recorder.clone(), over.clone(), seed, count.clone()));
                }
                while let Some(ended) = working.join_next().await {
                    ended.expect("no worker panics");
                }
            });
        })
    };
    trouble(system, &count);
    over.store(true, Ordering::Relaxed);
    load.join().expect("the load ends");
    wait_until("nothing in doubt", Duration::from_secs(10), || !system.is_in_doubt());
    read_finally(&address, &recorder);
    (recorder.history(), count.load(Ordering::Relaxed))
}

fn read_finally(address: &str, recorder: &Recorder) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(Options::new([address])).expect("an address");
        for (participant, key) in (0..PARTICIPANTS).flat_map(|p| (0..KEYS).map(move |k| (p, k))) {
            let step = Step { participant, key, writes: false };
            let read: Result<_, TransactError<OperationError>> =
                client.transact(|tx| async move { read(&tx, step).await }).await;
            recorder.finally(Operation::ReadList { key: label(step), list: read.expect("a quiet system answers") });
        }
    });
}

fn check(history: &History, system: &System) {
    match history.check() {
        // One in which nothing is in anybody's way proves nothing.
        Ok(checked) => assert!(checked.ww > 100 && checked.wr > 100 && checked.rw > 50, "{checked:?}"),
        Err(anomalies) => panic!("{anomalies}\n{}", system.logs()),
    }
}

#[test]
fn a07_interactive_transactions_at_concurrency_32_are_serializable() {
    let mut system = System::start(PROGRAM, PARTICIPANTS as usize);
    let (history, committed) = run(&mut system, 1, |_, count| {
        let began = Instant::now();
        while count.load(Ordering::Relaxed) < 800 && began.elapsed() < Duration::from_secs(40) {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(committed > 500, "{committed} committed");
    check(&history, &system);
}

#[test]
fn a07_interactive_transactions_are_serializable_while_processes_are_killed() {
    let mut system = System::start(PROGRAM, PARTICIPANTS as usize);
    let (history, committed) = run(&mut system, 2, |system, _| {
        let began = Instant::now();
        let mut dice = SmallRng::seed_from_u64(2);
        while began.elapsed() < Duration::from_secs(12) {
            std::thread::sleep(Duration::from_millis(dice.random_range(300..900)));
            let number = dice.random_range(0..=PARTICIPANTS as usize);
            let node = system.participants.get_mut(number).unwrap_or(&mut system.coordinator);
            node.kill().expect("killed");
            std::thread::sleep(Duration::from_millis(dice.random_range(0..300)));
            node.start().expect("it starts again");
        }
        std::thread::sleep(Duration::from_secs(1));
    });
    assert!(committed > 300, "{committed} committed");
    check(&history, &system);
}
