//! `handfast simulate`: seeded worlds in which disks, network, clocks and processes fail, on all processors.
//!
//! What runs in them are the machines, the log and the store of this very program. Everything about a world follows from its
//! seed.

mod report;
#[cfg(test)]
mod tests;
mod worlds;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use handfast_simulator::plan::Nemesis;
use handfast_simulator::run::{Choice, Report, narrate, run as run_world};
use handfast_simulator::workload::Workload;
use handfast_simulator::world::Summary;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::errors::{Failure, exit};
use crate::output::Format;
use report::{Total, print_broken};
use worlds::{WORLD, in_all_threads};

/// Worlds that are run if neither a number nor a seed is given: well below a minute on two cores.
const RUNS: u64 = 1_000;

/// Runs seeded worlds in which everything fails that can, and checks every promise in each of them.
#[derive(Args, Clone, Debug)]
pub(crate) struct SimulateArgs {
    /// The first seed; drawn if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds, from the first one on: 1 if --seed is given, otherwise 1000.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "trace")]
    runs: Option<u64>,
    /// Families of faults; two of all of them are drawn in each world if none is given.
    #[arg(long = "nemesis", value_name = "NAME,...", value_delimiter = ',')]
    nemeses: Vec<String>,
    /// What clients want; drawn in each world if it is not given.
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Tells everything that happens in one world, line by line.
    #[arg(long)]
    trace: bool,
}

/// Runs them and prints what they came to. The exit code: 0 well, 9 a broken promise, 1 not all were run.
pub(crate) fn run(args: &SimulateArgs, format: Format) -> Result<u8, Failure> {
    let choice = args.choice()?;
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    quiet_worlds();
    let mut out = io::stdout().lock();
    if args.trace {
        return written(trace(seed, &choice, format, &mut out));
    }
    let by_default = if args.seed.is_some() { 1 } else { RUNS };
    let runs = args.runs.unwrap_or(by_default);
    let stop = Arc::new(AtomicBool::new(false));
    stop_at_interrupt(Arc::clone(&stop))?;
    written(play((seed, runs), &|seed| run_world(seed, &choice), &stop, format, &mut out))
}

impl SimulateArgs {
    fn choice(&self) -> Result<Choice, Failure> {
        let workload = match &self.workload {
            Some(name) => {
                let there_are = Workload::ALL.map(Workload::name);
                Some(Workload::named(name).ok_or_else(|| unknown("workload", name, &there_are))?)
            }
            None => None,
        };
        let there_are = Nemesis::ALL.map(Nemesis::name);
        let named = |name: &String| Nemesis::named(name).ok_or_else(|| unknown("nemesis", name, &there_are));
        Ok(Choice { workload, nemeses: self.nemeses.iter().map(named).collect::<Result<_, _>>()? })
    }
}

fn unknown(what: &str, name: &str, there_are: &[&str]) -> Failure {
    let why = format!("there are: {}", there_are.join(", "));
    Failure::new("HF0602", exit::USAGE, format!("no {what} '{name}'"), why)
}

/// How one seed is run.
type RunSeed<'a> = &'a (dyn Fn(u64) -> Result<Summary, Box<Report>> + Sync);

/// Runs so many seeds from the first one on, until one breaks a promise or it is told to stop.
fn play(
    (seed, runs): (u64, u64),
    run: RunSeed<'_>,
    stop: &AtomicBool,
    format: Format,
    out: &mut impl Write,
) -> io::Result<u8> {
    let (began, bar) = (Instant::now(), progress(runs));
    let mut total = Total::new(seed, runs);
    let mut broken = Vec::new();
    in_all_threads((seed, runs), run, stop, |seed, ran| {
        match ran {
            Ok(summary) => total.add(seed, &summary),
            Err(report) => {
                // The others end the world that they are in.
                stop.store(true, Ordering::Relaxed);
                broken.push(report);
            }
        }
        bar.set_position(total.ran());
        bar.set_message(format!("{} transactions, {} faults", total.transactions(), total.faults()));
    });
    bar.finish_and_clear();
    // Which one is found first depends on the processors.
    broken.sort_by_key(|report| report.seed);
    broken.iter().try_for_each(|report| print_broken(report, format, out))?;
    total.end(broken.len() as u64, began.elapsed());
    total.print(format, out)?;
    Ok(total.exit_code())
}

/// Tells everything of one world.
fn trace(seed: u64, choice: &Choice, format: Format, out: &mut impl Write) -> io::Result<u8> {
    let began = Instant::now();
    let told = narrate(seed, choice);
    for line in &told.story {
        match format {
            Format::Json => writeln!(out, "{}", serde_json::json!({ "line": line }))?,
            Format::Table => writeln!(out, "{line}")?,
        }
    }
    let mut total = Total::new(seed, 1);
    match told.ended {
        Ok(summary) => total.add(seed, &summary),
        Err(violation) => {
            let (plan, story, planned) = (Vec::new(), Vec::new(), 0);
            let (choice, again) = (choice.clone(), choice.command(seed));
            print_broken(&Report { seed, choice, violation, plan, planned, story, again }, format, out)?;
            total.end(1, began.elapsed());
            return Ok(total.exit_code());
        }
    }
    total.end(0, began.elapsed());
    total.print(format, out)?;
    Ok(total.exit_code())
}

/// Whoever reads may have seen enough.
fn written(written: io::Result<u8>) -> Result<u8, Failure> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(exit::OTHER),
        written => written.map_err(Failure::other),
    }
}

/// A panic inside of a world is a finding of the run, and comes up to hundreds of times while that is shortened.
fn quiet_worlds() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some(WORLD) {
            usual(panic);
        }
    }));
}

/// The first Ctrl-C lets worlds that have begun end, and the summary of all that was run is printed; the second one does not.
fn stop_at_interrupt(stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    let interrupts = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(Failure::other)?
    };
    std::thread::spawn(move || {
        let mut interrupts = interrupts;
        runtime.block_on(interrupts.recv());
        stop.store(true, Ordering::Relaxed);
        eprintln!("interrupted: worlds that have begun end first");
        runtime.block_on(interrupts.recv());
        std::process::exit(i32::from(exit::OTHER));
    });
    Ok(())
}

fn progress(runs: u64) -> ProgressBar {
    let bar = ProgressBar::new(runs);
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {msg}") {
        bar.set_style(style);
    }
    bar
}
