//! A seeded run: everything about it follows from its seed, so a failing one is replayed by its number.
//!
//! When a run fails, faults are left out of its plan one after the other as long as it still breaks a promise: what is
//! printed is the rest, and the end of the story with only that.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::dice::Dice;
use crate::oracles::Violation;
use crate::plan::{MS, Nemesis, Planned, draw};
use crate::workload::Workload;
use crate::world::{Failed, Options, Summary, World};

/// What is left open is drawn from the seed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// What clients want.
    pub workload: Option<Workload>,
    /// Which families of faults; two of all of them if there is none.
    pub nemeses: Vec<Nemesis>,
}

/// A run that broke a promise, made as short as it gets.
#[derive(Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What it was asked for.
    pub choice: Choice,
    /// What was broken.
    pub violation: Violation,
    /// Faults that it takes.
    pub plan: Vec<Planned>,
    /// How many there were.
    pub planned: usize,
    /// The last things that happened.
    pub story: Vec<String>,
}

/// The options of a seed.
#[must_use]
pub fn options(seed: u64, choice: &Choice) -> Options {
    let mut dice = Dice::apart(seed, 0x0071_0035);
    let workload = choice.workload.unwrap_or_else(|| match dice.below(11) {
        0..=2 => Workload::Bank,
        3..=4 => Workload::Counters,
        5 => Workload::HotKey,
        6 => Workload::FanOut,
        7 => Workload::Lists,
        8 => Workload::Registers,
        9 => Workload::Sets,
        _ => Workload::Mixed,
    });
    let mut nemeses = choice.nemeses.clone();
    while nemeses.len() < 2 && choice.nemeses.is_empty() {
        nemeses.push(Nemesis::ALL[dice.index(Nemesis::ALL.len())]);
    }
    let chaos = dice.between(1_500, 4_000) * MS;
    let strikes = if dice.one_in(4) { dice.below(3) } else { dice.between(2, 20) };
    let participants = workload.participants();
    let transactions = match workload {
        Workload::FanOut => dice.between(15, 40),
        Workload::Bank
        | Workload::Counters
        | Workload::HotKey
        | Workload::Lists
        | Workload::Registers
        | Workload::Sets
        | Workload::Mixed => dice.between(40, 120),
    };
    let cancels = if dice.one_in(2) || workload == Workload::Mixed { 30 } else { 0 };
    let interactive = if dice.one_in(2) { dice.between(20, 100) } else { 0 };
    let plan = draw(&mut dice, &nemeses, strikes, participants, chaos);
    Options {
        seed,
        workload,
        transactions,
        participants,
        interactive,
        cancels,
        chaos,
        plan,
        script: Vec::new(),
        retention: 100_000,
        foresee: Vec::new(),
    }
}

/// Runs a seed.
///
/// # Errors
/// What it broke, shortened.
pub fn run(seed: u64, choice: &Choice) -> Result<Summary, Box<Report>> {
    let options = options(seed, choice);
    match attempt(World::new(options.clone())) {
        Ok(summary) => Ok(summary),
        Err(failed) => Err(Box::new(shorten(seed, choice, options, failed.violation))),
    }
}

/// Runs a seed and tells everything that happened, line by line.
///
/// # Errors
/// The same, with the broken promise at the end.
pub fn narrate(seed: u64, choice: &Choice) -> Result<Summary, Box<Failed>> {
    attempt(World::new(options(seed, choice)).narrated())
}

/// A panic of a machine or a store breaks a promise like any other.
///
/// # Errors
/// The first promise that was broken.
pub fn attempt(world: World) -> Result<Summary, Box<Failed>> {
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(result) => result,
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let violation = Violation { oracle: "panic", what: said.unwrap_or_default(), at: 0 };
            Err(Box::new(Failed { violation, story: Vec::new() }))
        }
    }
}

/// How often a failing run is tried again with less.
const TRIES: usize = 200;
/// How much of the story is told.
const STORY: usize = 60;
/// How much of a line of it.
const LINE: usize = 400;

fn shorten(seed: u64, choice: &Choice, mut options: Options, mut violation: Violation) -> Report {
    let planned = options.plan.len();
    let mut tries = 0;
    // Halves first, then quarters, down to one at a time (delta debugging, Zeller 1999).
    let mut part = options.plan.len().div_ceil(2);
    while part > 0 && tries < TRIES {
        let mut at = 0;
        while at < options.plan.len() && tries < TRIES {
            let mut shorter = options.clone();
            shorter.plan.drain(at..(at + part).min(options.plan.len()));
            tries += 1;
            match attempt(World::new(shorter.clone())) {
                Err(failed) => {
                    options = shorter;
                    violation = failed.violation;
                }
                Ok(_) => at += part,
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
    let story = attempt(World::new(options.clone()).narrated()).err().map(|failed| failed.story).unwrap_or_default();
    let story = story[story.len().saturating_sub(STORY)..].to_vec();
    Report { seed, choice: choice.clone(), violation, plan: options.plan, planned, story }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} breaks a promise: {}", self.seed, self.violation)?;
        writeln!(f, "run it again, with all that happens:")?;
        write!(f, "  HANDFAST_SEED={}", self.seed)?;
        if let Some(workload) = self.choice.workload {
            write!(f, " HANDFAST_WORKLOAD={workload}")?;
        }
        if !self.choice.nemeses.is_empty() {
            let names: Vec<_> = self.choice.nemeses.iter().map(|nemesis| nemesis.name()).collect();
            write!(f, " HANDFAST_NEMESES={}", names.join(","))?;
        }
        writeln!(f, " cargo test -p handfast-simulator --test worlds one_seed -- --nocapture")?;
        writeln!(f, "of {} faults it takes these:", self.planned)?;
        for planned in &self.plan {
            writeln!(f, "  {:>10.3} ms  {:?}", planned.at as f64 / MS as f64, planned.fault)?;
        }
        writeln!(f, "the end of the story:")?;
        self.story.iter().try_for_each(|line| writeln!(f, "  {}", line.chars().take(LINE).collect::<String>()))
    }
}
