//! Interactive transactions against real servers: cancelled at each await, killed at each step, and checked for what
//! they leave behind.

use std::future::poll_fn;
use std::io::{BufRead, BufReader};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::{Duration, Instant};

use handfast_client::{Client, Filter, OperationError, TransactError, Tx};
use handfast_common::messages::Select;
use handfast_common::operation::Value;
use handfast_tests::servers::Servers;

/// Nothing stays locked for longer by a client that is gone.
const IDLE: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(10);
/// What both accounts of a pair hold together.
const TOGETHER: i64 = 1_000;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn number(tx: &Tx, participant: &str, key: &str) -> Result<i64, OperationError> {
    match tx.get(participant, key).await? {
        Some(Value::Integer(number)) => Ok(number),
        None => Ok(0),
        Some(Value::Text(text)) => panic!("{key} holds '{text}'"),
    }
}

/// Moves one unit from p0 to p1, with two reads and two writes.
async fn transfer(client: &Client, pair: &str) -> Result<(), TransactError<OperationError>> {
    client
        .transact(|tx| async move {
            let left = number(&tx, "p0", pair).await?;
            let right = number(&tx, "p1", pair).await?;
            tx.put("p0", pair, left - 1).await?;
            tx.put("p1", pair, right + 1).await
        })
        .await
}

async fn open_pairs(client: &Client, pairs: &[String]) {
    let latest = Instant::now() + DEADLINE;
    for (pair, (participant, value)) in pairs.iter().flat_map(|pair| [(pair, ("p0", TOGETHER)), (pair, ("p1", 0))]) {
        let opened = || client.transact(|tx| async move { tx.put(participant, pair, value).await });
        // Participants make themselves known within moments.
        while let Err(error) = opened().await {
            assert!(Instant::now() < latest, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Both sides of a pair, once nothing of it is in doubt any more.
async fn both(servers: &Servers, pair: &str) -> (i64, i64) {
    let mut sides = [0; 2];
    for (number, side) in sides.iter_mut().enumerate() {
        let latest = Instant::now() + DEADLINE;
        loop {
            let lines = servers.at(number).values(Select::Key(pair.to_owned()), DEADLINE).await.expect("an answer");
            match (&lines[0].value, lines[0].locked_by) {
                (Some(Value::Integer(value)), None) => break *side = *value,
                other => assert!(Instant::now() < latest, "{pair} at p{number}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    (sides[0], sides[1])
}

async fn open_branches(servers: &Servers) -> usize {
    let mut open = 0;
    for number in 0..servers.participants.len() {
        open += servers.at(number).branches(Filter::default(), DEADLINE).await.expect("an answer").len();
    }
    open + servers.client().list(Filter::default(), DEADLINE).await.expect("an answer").len()
}

/// Waits until neither coordinator nor participants have anything that has not ended.
async fn until_quiet(servers: &Servers, since: Instant, within: Duration) {
    while open_branches(servers).await > 0 {
        assert!(since.elapsed() < within, "something is still open after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Polls a future so many times, then drops it; how often it was polled, if it ended before that.
async fn poll_and_drop<F: Future>(future: F, polls: usize) -> Option<usize> {
    let mut future = pin!(future);
    let mut done = 0;
    poll_fn(|context| {
        if done == polls {
            return Poll::Ready(None);
        }
        done += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(Some(done)),
            Poll::Pending if done == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[test]
fn f28_a_body_that_is_cancelled_at_any_await_leaves_nothing_behind_500_times() {
    let servers = Servers::start(2, IDLE);
    runtime().block_on(async {
        let client = servers.client();
        let pair = "pair".to_owned();
        open_pairs(&client, std::slice::from_ref(&pair)).await;
        let whole = poll_and_drop(transfer(&client, &pair), usize::MAX).await.expect("it ends");
        assert!(whole > 5, "a transfer is over after {whole} polls");
        for round in 0..500 {
            let ended = poll_and_drop(transfer(&client, &pair), 1 + round % (whole + 2)).await;
            let dropped = Instant::now();
            if round % 10 == 9 || ended.is_some() {
                // The next one gets the locks at once: what was dropped rolled itself back.
                transfer(&client, &pair).await.expect("nothing is in the way");
                assert!(dropped.elapsed() < IDLE, "locked for {:?}", dropped.elapsed());
            }
        }
        until_quiet(&servers, Instant::now(), IDLE).await;
        let (left, right) = both(&servers, &pair).await;
        assert_eq!(left + right, TOGETHER, "half of a transfer was done");
    });
}

#[test]
fn f28_a_client_killed_at_any_step_leaves_nothing_locked_beyond_the_idle_limit_500_times() {
    const BATCH: usize = 100;
    const STEPS: usize = 8;
    let servers = Servers::start(2, IDLE);
    runtime().block_on(async {
        let client = servers.client();
        let pairs: Vec<String> = (0..BATCH).map(|number| format!("pair-{number:03}")).collect();
        open_pairs(&client, &pairs).await;
        let coordinator = servers.coordinator.to_string();
        for batch in 0..5 {
            for (number, pair) in pairs.iter().enumerate() {
                kill_at(&coordinator, pair, 1 + (number + batch) % STEPS);
            }
            // In time for every one of them, for all were killed before.
            until_quiet(&servers, Instant::now(), IDLE + Duration::from_secs(1)).await;
        }
        for pair in &pairs {
            let (left, right) = both(&servers, pair).await;
            assert_eq!(left + right, TOGETHER, "half of a transfer was done at {pair}");
            assert!((0..=5).contains(&right), "{pair}: {right} of five transfers");
        }
    });
}

/// Starts a client and kills it when it has said so many steps.
fn kill_at(coordinator: &str, pair: &str, step: usize) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_transfer-under-test"))
        .args([coordinator, &format!("p0/{pair}"), &format!("p1/{pair}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the client starts");
    let out = child.stdout.take().expect("a pipe");
    let said = BufReader::new(out).lines().take(step).count();
    child.kill().expect("killed");
    child.wait().expect("it ends");
    assert_eq!(said, step, "it ended by itself");
}

#[test]
fn a_dropped_handle_rolls_back_and_an_idle_one_ends_by_the_limit() {
    let servers = Servers::start(2, IDLE);
    runtime().block_on(async {
        let client = servers.client();
        open_pairs(&client, &["pair".to_owned()]).await;
        both(&servers, "pair").await;
        let tx = client.begin(DEADLINE).await.expect("begun");
        tx.put("p0", "pair", 7).await.expect("written");
        assert_eq!(number(&tx, "p0", "pair").await, Ok(7), "own writes are seen");
        let dropped = Instant::now();
        drop(tx);
        transfer(&client, "pair").await.expect("nothing is in the way");
        assert!(dropped.elapsed() < IDLE / 2, "locked for {:?}", dropped.elapsed());

        let idle = client.begin(Duration::from_secs(60)).await.expect("begun");
        idle.put("p0", "pair", 7).await.expect("written");
        let last = Instant::now();
        until_quiet(&servers, last, IDLE + Duration::from_millis(500)).await;
        assert!(last.elapsed() > IDLE / 2, "idle for {:?} only", last.elapsed());
        assert!(idle.put("p1", "pair", 7).await.is_err(), "it has ended");
        assert_eq!(both(&servers, "pair").await, (TOGETHER - 1, 1));
    });
}

#[test]
fn an_idle_limit_does_not_end_what_is_worked_in() {
    let servers = Servers::start(2, IDLE);
    runtime().block_on(async {
        let client = servers.client();
        open_pairs(&client, &["pair".to_owned()]).await;
        // A participant may still be about to unlock them when the client hears that all is committed.
        both(&servers, "pair").await;
        let tx = client.begin(Duration::from_secs(60)).await.expect("begun");
        tx.put("p0", "pair", 7).await.expect("written");
        // Only at p1 for three times the limit: p0's branch stays open all the same.
        for value in 0..12 {
            tokio::time::sleep(IDLE / 4).await;
            tx.put("p1", "pair", value).await.expect("it is worked in");
        }
        tx.commit().await.expect("committed");
        assert_eq!(both(&servers, "pair").await, (7, 11));
    });
}

#[test]
fn t10a_a_transaction_over_a_restart_of_its_participant_is_doomed_and_its_body_runs_again() {
    // Processes, because a thread can't be killed.
    let mut system = handfast_tests::processes::System::start(env!("CARGO_BIN_EXE_handfast-under-test"), 2);
    let client = Client::connect(handfast_client::Options::new([system.coordinator.address()])).expect("an address");
    let mut restart = Some(&mut system.participants[0]);
    runtime().block_on(async {
        let mut runs = 0;
        client
            .transact(|tx| {
                runs += 1;
                let restarted = restart.take();
                async move {
                    let before = number(&tx, "p0", "count").await?;
                    if let Some(node) = restarted {
                        node.kill().expect("killed");
                        node.start().expect("it starts again");
                    }
                    tx.put("p0", "count", before + 1).await?;
                    tx.put("p1", "count", before + 1).await
                }
            })
            .await
            .expect("it commits in the end");
        assert!(runs > 1, "half a branch was committed");
        let seen = client.transact(|tx| async move { number(&tx, "p0", "count").await }).await;
        assert_eq!(seen, Ok(1));
    });
}

#[test]
fn only_reading_at_several_participants_leaves_no_record() {
    let mut system = handfast_tests::processes::System::start(env!("CARGO_BIN_EXE_handfast-under-test"), 2);
    let client = Client::connect(handfast_client::Options::new([system.coordinator.address()])).expect("an address");
    runtime().block_on(async {
        for _ in 0..50 {
            let read = client.transact(|tx| async move {
                number(&tx, "p0", "ready").await?;
                number(&tx, "p1", "ready").await
            });
            assert_eq!(read.await, Ok(1));
        }
    });
    handfast_tests::processes::stop(&mut system.coordinator);
    let log = system.coordinator.log();
    let records = log.lines().filter(|line| line.contains("drained")).map(records_of).next_back().expect("a last line");
    // The epoch, two participants and what the start's transactions left; not one for each of the fifty.
    assert!(records < 25, "{records} records\n{log}");
}

fn records_of(line: &str) -> u64 {
    let line: serde_json::Value = serde_json::from_str(line).expect("a line of the log");
    line["fields"]["records"].as_u64().expect("a number")
}
