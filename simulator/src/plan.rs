//! What goes wrong in a run, and when: a list, so that a failing run can be shortened by leaving things out.

use std::fmt;

use crate::dice::Dice;
use crate::disk::{Loss, Trouble};
use crate::matrix::Step;

/// Virtual microseconds of a millisecond.
pub const MS: u64 = 1_000;

/// Somebody of the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Host {
    /// The coordinator.
    Coordinator,
    /// A participant, by number.
    Participant(usize),
    /// All clients.
    Clients,
}

/// One thing that goes wrong. Times are in virtual microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The process dies, or its machine loses power, and comes back after `down`.
    Crash {
        /// Whose.
        host: Host,
        /// What of the unsynced writes survives; `None`: only the process dies.
        power: Option<Loss>,
        /// For how long it is away.
        down: u64,
    },
    /// The process dies in the middle of a step: before the effect with this number from now on.
    CrashAtEffect {
        /// Whose.
        host: Host,
        /// How many effects are still carried out.
        effects: u32,
        /// For how long it is away.
        down: u64,
    },
    /// The process dies at its first effect that belongs to a step from now on.
    CrashAtStep {
        /// Whose.
        host: Host,
        /// At which.
        step: Step,
        /// Once it is carried out, not before.
        after: bool,
        /// For how long it is away.
        down: u64,
    },
    /// Something happens to its disk at the operation with this number from now on.
    Disk {
        /// Whose.
        host: Host,
        /// Counted from 1.
        operation: u64,
        /// What.
        trouble: Trouble,
        /// For how long the process is away then.
        down: u64,
    },
    /// It does nothing, and then goes on as if nothing had been.
    Pause {
        /// Who.
        host: Host,
        /// For how long.
        length: u64,
    },
    /// All of its timers run out at once.
    Leap {
        /// Whose.
        host: Host,
    },
    /// Every write takes long.
    SlowDisk {
        /// Whose.
        host: Host,
        /// For how long.
        length: u64,
    },
    /// Free space is below the reserve.
    NoRoom {
        /// Whose.
        host: Host,
        /// For how long.
        length: u64,
    },
    /// Messages from one to another are lost.
    Cut {
        /// From whom.
        from: Host,
        /// To whom.
        to: Host,
        /// For how long.
        length: u64,
        /// Whether the other way too.
        both: bool,
    },
    /// Messages from one to another wait until it is over.
    Clog {
        /// From whom.
        from: Host,
        /// To whom.
        to: Host,
        /// For how long.
        length: u64,
    },
    /// One message in so many is lost.
    Loss {
        /// In how many.
        one_in: u64,
        /// For how long.
        length: u64,
    },
    /// One message in so many comes twice.
    Double {
        /// In how many.
        one_in: u64,
        /// For how long.
        length: u64,
    },
    /// One message in so many comes late, some of them seconds.
    Delay {
        /// In how many.
        one_in: u64,
        /// For how long.
        length: u64,
    },
    /// Something happens to the message with this number.
    Message {
        /// Counted from 1, over the whole run.
        number: u64,
        /// What.
        mishap: Mishap,
    },
    /// An operator copies its folder.
    Copy {
        /// Whose.
        host: Host,
    },
    /// The process dies, and its folder is replaced by the copy: it has to be found out, or to have lost nothing.
    Restore {
        /// Whose.
        host: Host,
        /// For how long it is away.
        down: u64,
    },
    /// The coordinator's connection to a participant breaks.
    Break {
        /// To which.
        participant: usize,
    },
}

/// What may become of a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mishap {
    /// It is lost.
    Lost,
    /// A second copy comes at once.
    Twice,
    /// A second copy comes after so long.
    Again(u64),
    /// It comes after so long.
    Late(u64),
}

/// A fault and its time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Planned {
    /// When, in virtual microseconds.
    pub at: u64,
    /// What.
    pub fault: Fault,
}

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
