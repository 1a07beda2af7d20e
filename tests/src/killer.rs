//! Kills and stops of a system's processes, drawn from a seed.

use std::time::{Duration, Instant};

use handfast::nodes::Node;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::processes::{System, pause, resume};

/// Draws victims and moments. The same seed draws the same ones; what they meet differs from run to run.
#[derive(Debug)]
pub struct Killer {
    dice: StdRng,
    /// What it has done so far.
    pub done: Done,
}

/// What was done to the processes.
#[derive(Clone, Default, Debug)]
pub struct Done {
    /// Kills of the coordinator.
    pub coordinator_kills: usize,
    /// Kills of participants.
    pub participant_kills: usize,
    /// Stops, each for a moment.
    pub stops: usize,
    /// The longest time from a start to its ready line.
    pub slowest_start: Duration,
}

impl Done {
    /// Kills of either role.
    #[must_use]
    pub const fn kills(&self) -> usize {
        self.coordinator_kills + self.participant_kills
    }
}

impl Killer {
    /// A killer of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { dice: StdRng::seed_from_u64(seed), done: Done::default() }
    }

    /// Waits for a moment; then it kills one, two or all three, and starts them again, or only stops them now and then.
    ///
    /// # Panics
    /// When one of them does not start again.
    pub fn strike(&mut self, system: &mut System) {
        self.wait();
        if self.dice.random_bool(0.15) { self.stop_some(system) } else { self.kill_some(system) }
    }

    /// The same with kills only.
    ///
    /// # Panics
    /// When one of them does not start again.
    pub fn kill(&mut self, system: &mut System) {
        self.wait();
        self.kill_some(system);
    }

    /// The same with stops only.
    ///
    /// # Panics
    /// When one of them does not run.
    pub fn stop(&mut self, system: &mut System) {
        self.wait();
        self.stop_some(system);
    }

    fn wait(&mut self) {
        std::thread::sleep(Duration::from_millis(self.dice.random_range(20..250)));
    }

    fn victims<'s>(&mut self, system: &'s mut System) -> Vec<&'s mut Node> {
        let count = [1, 1, 2, 2, 3][self.dice.random_range(0..5)];
        let mut victims = vec![&mut system.coordinator];
        victims.extend(&mut system.participants);
        victims.shuffle(&mut self.dice);
        victims.truncate(count);
        victims
    }

    fn stop_some(&mut self, system: &mut System) {
        let victims = self.victims(system);
        let time = Duration::from_millis(self.dice.random_range(50..400));
        self.stop_for_a_moment(&victims, time);
    }

    fn stop_for_a_moment(&mut self, nodes: &[&mut Node], time: Duration) {
        nodes.iter().for_each(|node| pause(node));
        std::thread::sleep(time);
        nodes.iter().for_each(|node| resume(node));
        self.done.stops += nodes.len();
    }

    /// All of them end before the first one starts again.
    fn kill_some(&mut self, system: &mut System) {
        let mut victims = self.victims(system);
        // Stopped first now and then: then what it has not read is lost with it, as when a host dies.
        if self.dice.random_bool(0.2) {
            self.stop_for_a_moment(&victims, Duration::from_millis(20));
        }
        for node in &mut victims {
            if node.role() == "coordinator" {
                self.done.coordinator_kills += 1;
            } else {
                self.done.participant_kills += 1;
            }
            node.kill().expect("killed");
        }
        std::thread::sleep(Duration::from_millis(self.dice.random_range(0..60)));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for node in victims {
                scope.spawn(|| node.start().expect("it starts again"));
            }
        });
        self.done.slowest_start = self.done.slowest_start.max(began.elapsed());
    }
}
