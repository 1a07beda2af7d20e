//! `handfast demo`: a bank on three participants, transfers, and kill -9 in between. Conserves money, or says how not.

mod bank;
mod load;
mod report;
mod system;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::LocalSet;

use crate::output::Format;
use bank::{Bank, Transfers};
use load::Load;
use report::Report;
use system::System;

/// How long everything may take to become quiet after the last transfer; promise L1 says 5 s.
const QUIET: Duration = Duration::from_secs(30);
/// Without a transfer ending for so long the system is stuck, and the demo says so instead of waiting for ever.
const STUCK: Duration = Duration::from_secs(60);

/// Starts a coordinator and participants of its own, moves money and kills processes, and checks the books.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Participants to start.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=16))]
    participants: u32,
    /// Accounts, spread over them.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    accounts: u32,
    /// Transfers to run at the least.
    #[arg(long, default_value_t = 20_000)]
    transfers: u64,
    /// Processes to kill at the least.
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// Transfers under way at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: u32,
    /// Time between two kills, for example 500ms or 2s.
    #[arg(long, default_value = "500ms", value_parser = crate::duration::parse)]
    kill_every: Duration,
    /// Draws the same transfers and victims again.
    #[arg(long)]
    seed: Option<u64>,
    /// Keeps everything in this folder instead of a temporary one.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Runs the demo and prints its report. The exit code: 0 well, 9 money not conserved, 5 something left in doubt, 1 other.
pub(crate) fn run(args: &DemoArgs, format: Format) -> anyhow::Result<u8> {
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, play(args, seed))?;
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => report.print_json(&mut out)?,
        Format::Table => report.print_table(&mut out)?,
    }
    out.flush()?;
    if !report.conserved || report.wrong.is_some() {
        eprintln!("The same transfers and victims again: handfast demo --seed {seed}");
        return Ok(9);
    }
    Ok(if report.in_doubt_left > 0 { 5 } else { 0 })
}

async fn play(args: &DemoArgs, seed: u64) -> anyhow::Result<Report> {
    let mut system = System::start(args, seed).await?;
    let bank = Bank { participants: system.names(), accounts: args.accounts as usize };
    let load = Rc::new(Load::new(system.client()?, Transfers::new(bank.clone(), seed)));
    load.open(&bank).await?;

    let began = Instant::now();
    let bar = progress(args.transfers);
    let workers: Vec<_> = (0..args.concurrency)
        .map(|_| {
            let load = Rc::clone(&load);
            tokio::task::spawn_local(async move { load.work().await })
        })
        .collect();
    let mut next_kill = Instant::now() + args.kill_every;
    let mut moved = (load.ran(), Instant::now());
    while load.ran() < args.transfers || system.kills() < args.kills || !system.both_roles_killed(args.kills) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        system.watch_doubts().await;
        if load.ran() != moved.0 {
            moved = (load.ran(), Instant::now());
        } else if moved.1.elapsed() > STUCK {
            bail!("no transfer has ended for {} s; --keep DIR keeps the servers' logs", STUCK.as_secs());
        }
        bar.set_position(load.ran().min(args.transfers));
        bar.set_message(format!("{} committed, {} kills", load.committed(), system.kills()));
        if Instant::now() >= next_kill && (system.kills() < args.kills || load.ran() < args.transfers) {
            system.kill_one().await?;
            next_kill = Instant::now() + args.kill_every;
        }
    }
    load.stop();
    for worker in workers {
        worker.await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    bar.set_message("waiting until nothing is in doubt");
    load.settle().await;
    let in_doubt_left = system.wait_until_quiet(QUIET).await?;
    bar.finish_and_clear();

    let found = system.read_books().await?;
    let ledger = load.ledger();
    let checked = bank.check(&found, &ledger);
    let count = |verdict| ledger.values().filter(|(_, told)| *told == verdict).count() as u64;
    let ran = ledger.len() as u64;
    Ok(Report {
        schema_version: 1,
        seed,
        transfers: ran,
        committed: count(bank::Verdict::Committed),
        aborted: count(bank::Verdict::Aborted),
        unknown_resolved: load.resolved(),
        kills: system.kills_by_role(),
        total_before: bank.total(),
        total_after: found.total,
        conserved: found.total == bank.total() && checked.is_ok(),
        in_doubt_left,
        longest_in_doubt_ms: system.longest_doubt_ms(),
        tps: count(bank::Verdict::Committed) as f64 / seconds,
        seconds,
        wrong: checked.err(),
    })
}

fn progress(transfers: u64) -> ProgressBar {
    let bar = ProgressBar::new(transfers);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} transfers, {msg}") {
        bar.set_style(style);
    }
    bar
}

/// What a ledger maps a transfer's key to.
type Ledger = BTreeMap<uuid::Uuid, (bank::Transfer, bank::Verdict)>;
