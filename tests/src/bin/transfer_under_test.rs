//! A client that moves one unit between two accounts, step by step, and says before each step that it comes: whoever
//! started it kills it at one of them. `COORDINATOR FROM TO`, accounts being `participant/key`.

use std::io::Write;
use std::time::Duration;

use handfast_client::{Client, Options, Tx};
use handfast_common::operation::Value;

/// What killers count.
fn step(name: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name}").and_then(|()| out.flush()).expect("somebody listens");
    // Time to be killed in.
    std::thread::sleep(Duration::from_millis(1));
}

async fn balance(tx: &Tx, (participant, key): (&str, &str)) -> Result<i64, Box<dyn std::error::Error>> {
    match tx.get(participant, key).await? {
        Some(Value::Integer(balance)) => Ok(balance),
        other => Err(format!("{participant}/{key} holds {other:?}").into()),
    }
}

async fn transfer(coordinator: &str, from: (&str, &str), to: (&str, &str)) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(Options::new([coordinator]))?;
    step("begin");
    let tx = client.begin(Duration::from_secs(10)).await?;
    step("read the first");
    let left = balance(&tx, from).await?;
    step("read the second");
    let right = balance(&tx, to).await?;
    step("write the first");
    tx.put(from.0, from.1, left - 1).await?;
    step("write the second");
    tx.put(to.0, to.1, right + 1).await?;
    step("commit");
    let committing = tokio::spawn(tx.commit());
    step("committing");
    committing.await??;
    step("committed");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, coordinator, from, to] = arguments.as_slice() else { return Err("COORDINATOR FROM TO".into()) };
    let account = |text: &'static str| text.split_once('/').ok_or("participant/key");
    let (from, to): (&'static str, &'static str) = (from.clone().leak(), to.clone().leak());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(transfer(coordinator, account(from)?, account(to)?))
}
