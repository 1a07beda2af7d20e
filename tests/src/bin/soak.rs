//! Runs a soak for hours: a line a round, and the end at the first promise that is broken. `tests/soak` builds and
//! starts it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use handfast_tests::soak::{PAIRS, Soak};
use tokio::signal::unix::{SignalKind, signal};

/// A round, hence a line.
const ROUND: Duration = Duration::from_secs(60);
/// Rounds of a system: what it has stored is read after each.
const LIFE: u64 = 5;
/// Nothing can be said of a round that is shorter.
const SHORTEST: Duration = Duration::from_secs(3);
/// The exit code after a signal, as a shell has it.
const INTERRUPTED: u8 = 130;

/// A load on real processes, two nemeses at a time, round after round.
#[derive(Parser)]
struct Arguments {
    /// How long; fractions are fine.
    #[arg(long, value_parser = hours)]
    hours: Duration,
    /// Seed of the first round; each next round has the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Breaks a promise in the first round, to see that it is noticed.
    #[arg(long)]
    spoil: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let interrupted = Arc::new(AtomicBool::new(false));
    watch_signals(Arc::clone(&interrupted));
    let (began, mut number, mut system) = (Instant::now(), 0, None);
    while let Some(left) = arguments.hours.checked_sub(began.elapsed()).filter(|left| number == 0 || *left >= SHORTEST)
    {
        let seed = arguments.seed.wrapping_add(number);
        let pair = PAIRS[(seed % PAIRS.len() as u64) as usize];
        // A life ends before the next one begins: two systems would be in each other's way.
        if number.is_multiple_of(LIFE) {
            system = None;
        }
        let round = catch_unwind(AssertUnwindSafe(|| {
            let soak = system.get_or_insert_with(|| Soak::start(&program()));
            if arguments.spoil {
                soak.spoil();
            }
            soak.round(pair, seed, ROUND.min(left), &interrupted)
        }));
        if interrupted.load(Ordering::Relaxed) {
            println!("interrupted in round {number}; {number} rounds kept every promise");
            return INTERRUPTED.into();
        }
        match round {
            Ok(Some(round)) => println!("{} round {number} seed {seed}: {round}", clock(began)),
            Ok(None) | Err(_) => {
                println!(
                    "{} VIOLATION in round {number} seed {seed}, see above; again from there: tests/soak --hours 0.02 --seed {seed}",
                    clock(began)
                );
                return ExitCode::FAILURE;
            }
        }
        number += 1;
    }
    println!("{} {number} rounds, every promise kept", clock(began));
    ExitCode::SUCCESS
}

fn hours(text: &str) -> Result<Duration, String> {
    let hours: f64 = text.parse().map_err(|_| "a number of hours, such as 8 or 0.01")?;
    Duration::try_from_secs_f64(hours * 3_600.0).map_err(|error| error.to_string())
}

/// The servers' program, which is built beside this one.
fn program() -> String {
    let own = std::env::current_exe().expect("this program is somewhere");
    own.with_file_name("handfast-under-test").to_string_lossy().into_owned()
}

fn clock(began: Instant) -> String {
    let seconds = began.elapsed().as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// The servers end with the round, and so does what they have stored: a signal must not end this process before.
fn watch_signals(interrupted: Arc<AtomicBool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let handler = |kind| signal(kind).expect("a signal's handler");
        (handler(SignalKind::interrupt()), handler(SignalKind::terminate()))
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        interrupted.store(true, Ordering::Relaxed);
    });
}
