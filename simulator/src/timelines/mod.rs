//! Timelines: each is a sequence that ended in a broken promise under rules that looked right, in an earlier draft of the
//! protocol, played here step by step; and the sequences that held, to keep holding.
//!
//! A scenario fails unless its dangerous moment really comes: it waits for it in so many words. Then all heals, and every
//! promise is looked at as in any other run of the world; or, where somebody's folder was damaged or replaced, the script
//! ends with that being found out. `docs/timelines.md` says which mutant breaks which of them, and what is not played.

mod copies;
mod disks;
mod held;
mod interactive;
mod keys;
mod late;
mod locks;
mod one_phase;
mod peers;
pub mod script;

use handfast_coordinator::protocol::Guard;

use crate::run::attempt;
use crate::workload::Workload;
use crate::world::{Failed, Options, Summary, World};
use script::{Act, Fact};

/// One sequence.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// As its test is called.
    pub name: &'static str,
    /// What happens; everybody has been greeted before.
    pub acts: Vec<Act>,
    /// Whether the script ends with something being found out that only an operator can mend.
    pub found_out: bool,
    /// Outcomes that the coordinator keeps.
    pub keeps: u64,
    /// Whether it waits for every participant before it presumes.
    pub guard: Guard,
}

/// All of them, in order.
#[must_use]
pub fn all() -> Vec<Timeline> {
    let mut all = [
        locks::all(),
        peers::all(),
        disks::all(),
        one_phase::all(),
        late::all(),
        copies::all(),
        keys::all(),
        interactive::all(),
        held::all(),
    ]
    .concat();
    all.sort_by_key(|timeline| timeline.name);
    all
}

/// The one of this name.
#[must_use]
pub fn named(name: &str) -> Option<Timeline> {
    all().into_iter().find(|timeline| timeline.name == name)
}

impl Timeline {
    /// In the end all is well.
    fn sound(name: &'static str, acts: Vec<Act>) -> Self {
        Self { name, acts, found_out: false, keeps: 100_000, guard: Guard::Reachable }
    }

    /// In the end it is found out what is wrong.
    fn found_out(name: &'static str, acts: Vec<Act>) -> Self {
        Self { found_out: true, ..Self::sound(name, acts) }
    }

    /// With a coordinator that keeps so few outcomes.
    fn keeping(self, keeps: u64) -> Self {
        Self { keeps, ..self }
    }

    /// With a coordinator that waits for everybody.
    fn strictly(self) -> Self {
        Self { guard: Guard::Strict, ..self }
    }

    /// Plays it. The seed draws only how long messages and disks take.
    ///
    /// # Errors
    /// When its moment did not come, something is not as the script says, or a promise was broken.
    pub fn play(&self, seed: u64) -> Result<Summary, Box<Failed>> {
        attempt(self.world(seed))
    }

    /// The world in which it is played.
    #[must_use]
    pub fn world(&self, seed: u64) -> World {
        let options = Options {
            seed,
            workload: Workload::Counters,
            transactions: 0,
            participants: 3,
            interactive: 0,
            cancels: 0,
            chaos: u64::MAX / 4,
            plan: Vec::new(),
            script: Vec::new(),
            retention: self.keeps,
            foresee: Vec::new(),
        };
        let acts = std::iter::once(Act::Until(Fact::Greeted)).chain(self.acts.clone()).collect();
        World::staged(options, acts, self.found_out, self.guard)
    }
}
