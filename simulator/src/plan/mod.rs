//! What goes wrong in a run, and when: a list, so that a failing run can be shortened by leaving things out.

mod nemesis;

use crate::disk::{Loss, Trouble};
use crate::matrix::Step;

pub use nemesis::{Nemesis, draw};

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
    /// It is struck when it next comes to a step, also if it is started anew before that.
    AtStep {
        /// Who.
        host: Host,
        /// At which.
        step: Step,
        /// By what.
        strike: Strike,
    },
    /// Something happens to the next message that belongs to a step.
    MessageAt {
        /// To which.
        step: Step,
        /// What.
        mishap: Mishap,
    },
    /// Somebody who is none of us sends bytes of his own making, and messages about what does not exist.
    Hostile {
        /// To whom.
        host: Host,
    },
}

/// What may strike somebody at a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Strike {
    /// The process dies, and is away for so long.
    Kill(u64),
    /// Its machine loses power, and is away for so long.
    Power(Loss, u64),
    /// The next operation of its disk fails; then the process is away for so long.
    Disk(Trouble, u64),
    /// It stands still for so long.
    Pause(u64),
    /// Its clock jumps: all timers run out.
    Leap,
    /// All handlers that wait for an answer are dropped, as by clients and connections that are gone. What they have
    /// asked for goes on.
    Cancel,
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
    /// It is the first that is lost; for so long nothing goes its way.
    Cut(u64),
    /// For so long everything that goes its way is held up.
    Held(u64),
}

/// A fault and its time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Planned {
    /// When, in virtual microseconds.
    pub at: u64,
    /// What.
    pub fault: Fault,
}
