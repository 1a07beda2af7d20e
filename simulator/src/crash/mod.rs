//! Exhaustive failure: a scenario is run once to count what it does, and then once more for everything that it does, with
//! that one thing failing.
//!
//! - Every operation of every disk: the power goes there, under ten ways of losing what was not synced; the process is
//!   killed there; the disk answers with an error, or that it is full.
//! - Every operation of the recovery that follows a loss of power: the power goes again (depth two).
//! - Every message: lost, twice, once more much later, late.
//! - Every effect of every machine: the process dies before it.
//!
//! Each of these runs must keep every promise, like any other run of the world.

pub mod scenarios;

use std::collections::BTreeSet;
use std::fmt;

use crate::disk::{Loss, Trouble};
use crate::matrix::Cells;
use crate::oracles::Violation;
use crate::plan::{Fault, Host, MS, Mishap, Planned};
use crate::run::attempt;
use crate::world::{Options, Summary, World};
use scenarios::Scenario;

/// What an exhaustive run came to.
#[derive(Clone, Default, Debug)]
pub struct Found {
    /// Runs, all of them.
    pub runs: u64,
    /// Operations of disks, messages, and effects of the scenario itself.
    pub operations: u64,
    /// The same for messages.
    pub messages: u64,
    /// The same for effects.
    pub effects: u64,
    /// Losses of power that left different images, each opened by a recovery.
    pub images: u64,
    /// Losses of power inside such a recovery.
    pub nested: u64,
    /// What was hit of the matrix.
    pub cells: Cells,
}

/// A run of a scenario that broke a promise.
#[derive(Debug)]
pub struct Broken {
    /// Which scenario.
    pub scenario: &'static str,
    /// What was added to its plan.
    pub added: Vec<Planned>,
    /// What was broken.
    pub violation: Violation,
    /// The end of the story.
    pub story: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scenario {} breaks a promise: {}", self.scenario, self.violation)?;
        writeln!(f, "with {:?}", self.added)?;
        self.story.iter().try_for_each(|line| writeln!(f, "  {}", line.chars().take(400).collect::<String>()))
    }
}

/// How thorough it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stride {
    /// One of so many operations, messages and effects fails; 1 is all of them.
    pub first: usize,
    /// The same for the second failure, inside the recovery.
    pub second: usize,
    /// Whether messages and effects fail too, or only disks.
    pub all: bool,
}

/// Fails everything that a scenario does.
///
/// # Errors
/// The first run that broke a promise.
pub fn exhaust(scenario: &Scenario, stride: Stride) -> Result<Found, Box<Broken>> {
    let mut search = Search { scenario, found: Found::default() };
    let whole = search.run(&[], &[])?;
    search.found.operations = whole.operations.iter().sum();
    search.found.messages = whole.sent;
    search.found.effects = whole.effects.iter().sum();
    for (number, (operations, effects)) in whole.operations.iter().zip(&whole.effects).enumerate() {
        let host = if number == 0 { Host::Coordinator } else { Host::Participant(number - 1) };
        for operation in (1..=*operations).step_by(stride.first) {
            search.fail_operation(host, operation, stride.second)?;
        }
        for effect in (0..*effects).step_by(stride.first).filter(|_| stride.all) {
            let effects = u32::try_from(effect).unwrap_or(u32::MAX);
            search.run(&[now(Fault::CrashAtEffect { host, effects, down: DOWN })], &[])?;
        }
    }
    for number in (1..=whole.sent).step_by(stride.first).filter(|_| stride.all) {
        for mishap in [Mishap::Lost, Mishap::Twice, Mishap::Again(300 * MS), Mishap::Late(120 * MS)] {
            search.run(&[now(Fault::Message { number, mishap })], &[])?;
        }
    }
    Ok(search.found)
}

/// For how long a process is away.
const DOWN: u64 = 20 * MS;

struct Search<'a> {
    scenario: &'a Scenario,
    found: Found,
}

impl Search<'_> {
    fn run(&mut self, added: &[Planned], foresee: &[Loss]) -> Result<Summary, Box<Broken>> {
        self.found.runs += 1;
        let mut options: Options = self.scenario.options.clone();
        options.plan.extend_from_slice(added);
        options.foresee = foresee.to_vec();
        match attempt(World::new(options.clone())) {
            Ok(summary) => {
                self.found.cells.add(&summary.cells);
                Ok(summary)
            }
            Err(failed) => {
                let story = attempt(World::new(options).narrated()).err().map(|failed| failed.story);
                let story = story.unwrap_or_default();
                let story = story[story.len().saturating_sub(40)..].to_vec();
                let violation = failed.violation;
                Err(Box::new(Broken { scenario: self.scenario.name, added: added.to_vec(), violation, story }))
            }
        }
    }

    fn fail_operation(&mut self, host: Host, operation: u64, second: usize) -> Result<(), Box<Broken>> {
        let at = |operation, trouble| now(Fault::Disk { host, operation, trouble, down: DOWN });
        let ten = Loss::ten(operation);
        // The first of them tells what the others would leave: where that is the same image there is nothing to learn.
        let first = self.run(&[at(operation, Trouble::PowerLoss(ten[0]))], &ten)?;
        let mut seen = BTreeSet::new();
        let different = ten.iter().zip(&first.foreseen).filter(|(_, image)| seen.insert(**image));
        let different: Vec<Loss> = different.map(|(loss, _)| *loss).collect();
        // Depth two begins from one of them; they take turns, and so do the other ways to fail.
        let turn = usize::try_from(operation).unwrap_or(0);
        let deeper = turn % different.len().max(1);
        let mut recovered = first.recovered;
        for (number, loss) in different.iter().enumerate() {
            self.found.images += 1;
            if number > 0 {
                let summary = self.run(&[at(operation, Trouble::PowerLoss(*loss))], &ten[..1])?;
                recovered = if number == deeper { summary.recovered } else { recovered };
            }
        }
        let trouble = [Trouble::Kill, Trouble::Error(ten[4]), Trouble::Full][turn % 3];
        self.run(&[at(operation, trouble)], &[])?;
        let (Some(loss), Some(recovered)) = (different.get(deeper), recovered) else { return Ok(()) };
        // Not always the same ones of a recovery.
        for again in (operation + 1 + operation % second as u64..=recovered).step_by(second) {
            let other = Loss::ten(again)[usize::try_from(again).unwrap_or(0) % 10];
            let both = [at(operation, Trouble::PowerLoss(*loss)), at(again, Trouble::PowerLoss(other))];
            self.run(&both, &[])?;
            self.found.nested += 1;
        }
        Ok(())
    }
}

fn now(fault: Fault) -> Planned {
    Planned { at: 0, fault }
}
