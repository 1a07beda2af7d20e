//! Families of faults, and plans that are drawn from them.

use std::fmt;

use super::{Fault, Host, MS, Planned};
use crate::dice::Dice;
use crate::disk::{Loss, Trouble};

/// A family of faults, by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Nemesis {
    /// One process dies, at some effect.
    KillOne,
    /// All die at once.
    KillAll,
    /// Somebody stops for a while.
    Pause,
    /// Somebody's machine loses power, at some operation of its disk.
    PowerLoss,
    /// A disk answers with an error, or that it is full.
    DiskError,
    /// The coordinator reaches nobody.
    IsolateCoordinator,
    /// One participant reaches nobody.
    IsolateParticipant,
    /// Messages are lost in one direction.
    OneWay,
    /// Messages wait and then come all at once; or are lost here and there.
    Clog,
    /// Messages come twice and in another order.
    Duplicates,
    /// Clocks leap: all timers of somebody run out.
    Leap,
    /// Everybody is restarted, one after the other.
    Rolling,
}

impl Nemesis {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::KillOne,
        Self::KillAll,
        Self::Pause,
        Self::PowerLoss,
        Self::DiskError,
        Self::IsolateCoordinator,
        Self::IsolateParticipant,
        Self::OneWay,
        Self::Clog,
        Self::Duplicates,
        Self::Leap,
        Self::Rolling,
    ];

    /// As it is called in commands and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillOne => "kill-one",
            Self::KillAll => "kill-all",
            Self::Pause => "pause",
            Self::PowerLoss => "power-loss",
            Self::DiskError => "disk-error",
            Self::IsolateCoordinator => "isolate-coordinator",
            Self::IsolateParticipant => "isolate-participant",
            Self::OneWay => "one-way",
            Self::Clog => "clog",
            Self::Duplicates => "duplicates",
            Self::Leap => "leap",
            Self::Rolling => "rolling",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|nemesis| nemesis.name() == name)
    }

    /// Adds what it does to a plan: once, at any time before `end`.
    fn strike(self, dice: &mut Dice, participants: usize, end: u64, plan: &mut Vec<Planned>) {
        let at = dice.below(end);
        let someone = |dice: &mut Dice| match dice.index(participants + 1) {
            0 => Host::Coordinator,
            n => Host::Participant(n - 1),
        };
        let (host, length) = (someone(dice), dice.between(50, 1_500) * MS);
        let one = Host::Participant(dice.index(participants));
        let down = dice.between(5, 900) * MS;
        let mut add = |at, fault| plan.push(Planned { at, fault });
        match self {
            Self::KillOne if dice.one_in(4) => add(at, Fault::Crash { host, power: None, down }),
            Self::KillOne => {
                let effects = u32::try_from(dice.below(40)).unwrap_or(0);
                add(at, Fault::CrashAtEffect { host, effects, down });
            }
            Self::KillAll => {
                let power = dice.one_in(2).then(|| Loss::drawn(dice));
                add(at, Fault::Crash { host: Host::Coordinator, power, down });
                for n in 0..participants {
                    add(at, Fault::Crash { host: Host::Participant(n), power, down: dice.between(5, 900) * MS });
                }
            }
            Self::Pause if dice.one_in(3) => add(at, Fault::SlowDisk { host, length }),
            Self::Pause => add(at, Fault::Pause { host, length: dice.between(20, 4_000) * MS }),
            Self::PowerLoss if dice.one_in(4) => add(at, Fault::Crash { host, power: Some(Loss::drawn(dice)), down }),
            Self::PowerLoss => {
                let (operation, trouble) = (dice.between(1, 120), Trouble::PowerLoss(Loss::drawn(dice)));
                add(at, Fault::Disk { host, operation, trouble, down });
            }
            Self::DiskError => {
                let operation = dice.between(1, 120);
                let trouble = match dice.below(3) {
                    0 => Trouble::Full,
                    1 => Trouble::Kill,
                    _ => Trouble::Error(Loss::drawn(dice)),
                };
                match dice.below(4) {
                    0 => add(at, Fault::NoRoom { host, length }),
                    _ => add(at, Fault::Disk { host, operation, trouble, down }),
                }
            }
            Self::IsolateCoordinator => {
                for n in 0..participants {
                    let (from, to) = (Host::Coordinator, Host::Participant(n));
                    add(at, Fault::Cut { from, to, length, both: true });
                }
                if dice.one_in(2) {
                    add(at, Fault::Cut { from: Host::Coordinator, to: Host::Clients, length, both: true });
                }
            }
            Self::IsolateParticipant => {
                add(at, Fault::Cut { from: one, to: Host::Coordinator, length: 3 * length, both: true });
            }
            Self::OneWay => {
                let from = someone(dice);
                let to = if from == Host::Coordinator { one } else { Host::Coordinator };
                add(at, Fault::Cut { from, to, length, both: false });
            }
            Self::Clog if dice.one_in(2) => add(at, Fault::Loss { one_in: dice.between(2, 15), length }),
            Self::Clog => {
                let (from, to) = if dice.one_in(2) { (Host::Coordinator, one) } else { (one, Host::Coordinator) };
                add(at, Fault::Clog { from, to, length });
            }
            Self::Duplicates if dice.one_in(4) => add(at, Fault::Break { participant: dice.index(participants) }),
            Self::Duplicates => {
                add(at, Fault::Double { one_in: dice.between(2, 8), length });
                add(at, Fault::Delay { one_in: dice.between(2, 15), length });
            }
            Self::Leap => add(at, Fault::Leap { host }),
            Self::Rolling => {
                for n in 0..=participants {
                    let host = if n == participants { Host::Coordinator } else { Host::Participant(n) };
                    add(at + n as u64 * 200 * MS, Fault::Crash { host, power: None, down: dice.between(5, 150) * MS });
                }
            }
        }
    }
}

impl fmt::Display for Nemesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Draws so many strikes of these families before `end`.
#[must_use]
pub fn draw(dice: &mut Dice, nemeses: &[Nemesis], strikes: u64, participants: usize, end: u64) -> Vec<Planned> {
    let mut plan = Vec::new();
    if !nemeses.is_empty() {
        for _ in 0..strikes {
            nemeses[dice.index(nemeses.len())].strike(dice, participants, end, &mut plan);
        }
    }
    plan.retain(|planned| planned.at < end);
    plan.sort_by_key(|planned| planned.at);
    plan
}
