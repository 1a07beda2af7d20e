//! Moves money between two banks: either both hear of it, or neither.
//!
//! A coordinator and two participants run inside this program, each on a thread of its own, on files in a temporary
//! folder.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use handfast_client::{Client, Options, Outcome, ParticipantClient, Transaction};
use handfast_common::messages::Select;
use handfast_common::operation::{Add, Operation, Put, Value};
use handfast_examples::servers::{start_coordinator, start_participant};

const DEADLINE: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let coordinator = start_coordinator(folder.path())?;
    let bank_a = start_participant(folder.path(), "bank-a", coordinator)?;
    let bank_b = start_participant(folder.path(), "bank-b", coordinator)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(transfer(coordinator, bank_a, bank_b))
}

async fn transfer(coordinator: SocketAddr, bank_a: SocketAddr, bank_b: SocketAddr) -> anyhow::Result<()> {
    let client = Client::connect(Options::new([coordinator.to_string()]))?;

    let opening = Transaction::new().branch("bank-a", [put("alice", 150)]).branch("bank-b", [put("bob", 0)]);
    open_accounts(&client, opening).await?;

    // Enough money: both branches take effect.
    let report = client.submit(pay(100), DEADLINE).await?;
    println!("alice pays bob 100: {}", report.outcome);
    ensure!(report.is_committed());

    // Not enough any more: the debit votes No, and the credit does not happen either.
    let report = client.submit(pay(100), DEADLINE).await?;
    println!("alice pays bob 100 again: {}", report.outcome);
    ensure!(matches!(report.outcome, Outcome::Aborted(_)));

    let (alice, bob) = (balance(bank_a, "alice").await?, balance(bank_b, "bob").await?);
    println!("alice has {alice}, bob has {bob}");
    ensure!((alice, bob) == (50, 100), "money was made or lost");
    Ok(())
}

/// A debit at one bank and a credit at the other.
fn pay(amount: i64) -> Transaction {
    Transaction::new().branch("bank-a", [add("alice", -amount, Some(0))]).branch("bank-b", [add("bob", amount, None)])
}

/// Participants make themselves known within moments of their start; until then the coordinator does not know them.
async fn open_accounts(client: &Client, opening: Transaction) -> anyhow::Result<()> {
    for _ in 0..100 {
        match client.submit(opening.clone(), DEADLINE).await {
            Ok(report) if report.is_committed() => return Ok(()),
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    anyhow::bail!("the participants have not registered")
}

async fn balance(bank: SocketAddr, account: &str) -> anyhow::Result<i64> {
    let client = ParticipantClient::connect(bank.to_string())?;
    let lines = client.values(Select::Key(account.to_owned()), DEADLINE).await?;
    match lines.first().and_then(|line| line.value.clone()) {
        Some(Value::Integer(balance)) => Ok(balance),
        other => anyhow::bail!("{account} holds {other:?}"),
    }
}

fn put(key: &str, value: i64) -> Operation {
    Operation::Put(Put { key: key.to_owned(), value: Value::Integer(value) })
}

fn add(key: &str, delta: i64, min: Option<i64>) -> Operation {
    Operation::Add(Add { key: key.to_owned(), delta, min, max: None })
}
