//! The coordinator dies right after the decision, before anybody but the client has heard of it. Nothing is lost.
//!
//! A coordinator and two participants run as processes of their own (this program again, called as the command
//! `handfast`). The wires between them are slow, so that the moment between "decided" and "heard" is long enough to be
//! hit: there the wires are cut and the coordinator is killed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use handfast_client::{Client, Filter, Options, Transaction};
use handfast_common::messages::{Select, ValueLine};
use handfast_common::operation::{Add, Operation, Put, Value};
use handfast_examples::processes::{Remote, called_as_a_server, node};

const DEADLINE: Duration = Duration::from_secs(10);
/// How long a message takes.
const SLOW: Duration = Duration::from_millis(60);

fn main() -> anyhow::Result<std::process::ExitCode> {
    if let Some(code) = called_as_a_server() {
        return Ok(code);
    }
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(crash_and_recover(folder.path()))?;
    Ok(std::process::ExitCode::SUCCESS)
}

async fn crash_and_recover(folder: &Path) -> anyhow::Result<()> {
    let mut coordinator = node(folder, "coordinator", "coordinator", &[])?;
    coordinator.start()?;
    let bank_a = Remote::start(folder, "bank-a", coordinator.address(), SLOW).await?;
    let bank_b = Remote::start(folder, "bank-b", coordinator.address(), SLOW).await?;
    let client = Client::connect(Options::new([coordinator.address()]))?;
    open_accounts(&client).await?;
    println!("alice has 150 at bank-a, bob has 0 at bank-b");

    let transfer = Transaction::new().branch("bank-a", [add("alice", -100)]).branch("bank-b", [add("bob", 100)]);
    let report = client.submit(transfer, DEADLINE).await?;
    // The decision is on the coordinator's disk, and on slow wires to the banks. Those are cut.
    bank_a.wire.cut();
    bank_b.wire.cut();
    coordinator.kill()?;
    println!("alice pays bob 100: the client is told '{}'", report.outcome);
    println!("the coordinator is killed before either bank has heard of it");
    ensure!(report.is_committed(), "the transfer was to commit");

    for bank in [&bank_a, &bank_b] {
        ensure!(in_doubt(bank).await? == 1, "{} knows the decision: the wire was not cut in time", bank.node.name());
        let line = account(bank).await?;
        println!("{}: in doubt. {} still shows {}, and is locked", bank.node.name(), line.key, number(&line)?);
        ensure!(line.locked_by.is_some(), "what is in doubt is locked");
    }
    // Each asks the other. Both voted yes, neither knows more: nobody guesses.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(in_doubt(&bank_a).await? + in_doubt(&bank_b).await? == 2, "a bank decided by itself");
    println!("two seconds later: they have asked each other, neither knows, both wait");

    bank_a.wire.mend();
    bank_b.wire.mend();
    let began = Instant::now();
    coordinator.start()?;
    println!("the coordinator is started again and reads its log");
    while in_doubt(&bank_a).await? + in_doubt(&bank_b).await? > 0 {
        ensure!(began.elapsed() < Duration::from_secs(10), "still in doubt");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (alice, bob) = (number(&account(&bank_a).await?)?, number(&account(&bank_b).await?)?);
    println!("{} ms later: alice has {alice}, bob has {bob}", began.elapsed().as_millis());
    ensure!((alice, bob) == (50, 100), "money was made or lost");

    let again = client.outcome(report.key, report.ticket, Vec::new(), DEADLINE).await?;
    println!("asked again, the coordinator says what it said before: '{}'", again.outcome);
    ensure!(again.is_committed());
    Ok(())
}

async fn in_doubt(bank: &Remote) -> anyhow::Result<usize> {
    let branches = bank.client.branches(Filter::default(), DEADLINE).await?;
    Ok(branches.iter().filter(|branch| branch.state == "in-doubt").count())
}

/// The only account of a bank.
async fn account(bank: &Remote) -> anyhow::Result<ValueLine> {
    let mut lines = bank.client.values(Select::Prefix(String::new()), DEADLINE).await?;
    lines.pop().context("no account")
}

fn number(line: &ValueLine) -> anyhow::Result<i64> {
    match line.value {
        Some(Value::Integer(number)) => Ok(number),
        _ => anyhow::bail!("{} holds no number", line.key),
    }
}

/// Participants make themselves known within moments of their start; until then the coordinator does not know them.
async fn open_accounts(client: &Client) -> anyhow::Result<()> {
    let put = |key: &str, value| Operation::Put(Put { key: key.to_owned(), value: Value::Integer(value) });
    let opening = Transaction::new().branch("bank-a", [put("alice", 150)]).branch("bank-b", [put("bob", 0)]);
    for _ in 0..100 {
        match client.submit(opening.clone(), DEADLINE).await {
            Ok(report) if report.is_committed() => {
                // Until both have heard of it.
                tokio::time::sleep(4 * SLOW).await;
                return Ok(());
            }
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    anyhow::bail!("the participants have not registered")
}

fn add(key: &str, delta: i64) -> Operation {
    Operation::Add(Add { key: key.to_owned(), delta, min: Some(0), max: None })
}
