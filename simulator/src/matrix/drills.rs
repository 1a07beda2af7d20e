//! A drill for a cell of the matrix: a small world in which this one fault strikes at this one step.

use super::{Kind, MATRIX, Step};
use crate::disk::{Loss, Trouble};
use crate::plan::{Fault, Host, MS, Mishap, Planned, Strike};
use crate::workload::Workload;
use crate::world::Options;

/// For how long whoever is killed is away.
const DOWN: u64 = 60 * MS;
/// How long things go wrong.
const CHAOS: u64 = 2_000 * MS;
/// When the fault is there to strike: by then there is work under way.
const STRIKES: u64 = 600 * MS;

/// The world of a cell's drill; `None` where its fault is none of the simulator's.
#[must_use]
pub fn drill(step: Step, kind: Kind, seed: u64) -> Option<Options> {
    let mut plan = faults(step, kind, seed)?;
    plan.extend(preparations(step, kind));
    plan.sort_by_key(|planned| planned.at);
    Some(Options {
        seed,
        workload: Workload::Counters,
        transactions: 60,
        participants: 3,
        interactive: 50,
        cancels: 30,
        chaos: CHAOS,
        plan,
        script: Vec::new(),
        retention: 100_000,
        foresee: Vec::new(),
    })
}

/// All cells of which there is a drill.
#[must_use]
pub fn drilled() -> Vec<(u16, Step, Kind)> {
    let mut all = Vec::new();
    for (step, _, cells) in MATRIX {
        for cell in cells.split(' ') {
            let kind = Kind::ALL.into_iter().find(|kind| cell.starts_with(kind.letter()));
            if let (Some(kind), Ok(number)) = (kind, cell[1..].parse()) {
                all.push((number, step, kind));
            }
        }
    }
    all.retain(|(_, step, kind)| drill(*step, *kind, 0).is_some());
    all
}

fn faults(step: Step, kind: Kind, seed: u64) -> Option<Vec<Planned>> {
    let host = host_of(step)?;
    let strike = |strike| Some(vec![planned(STRIKES, Fault::AtStep { host, step, strike })]);
    let message = |mishap| Some(vec![planned(STRIKES, Fault::MessageAt { step, mishap })]);
    let is_clients = matches!(step, Step::Lib1 | Step::Lib2 | Step::Lib3);
    let loss = Loss::ten(seed)[usize::try_from(seed % 10).unwrap_or(0)];
    match kind {
        Kind::Kill if is_clients => Some(vec![planned(STRIKES, Fault::Crash { host, power: None, down: DOWN })]),
        Kind::Kill if matches!(step, Step::Co10 | Step::Kv7) && seed.is_multiple_of(2) => {
            while_starting(host, Trouble::Kill)
        }
        Kind::Kill if step == Step::Op3 => Some(restored(host, Some(Strike::Kill(DOWN)))),
        Kind::Kill => strike(Strike::Kill(DOWN)),
        Kind::Power if matches!(step, Step::Co10 | Step::Kv7) => while_starting(host, Trouble::PowerLoss(loss)),
        Kind::Power => strike(Strike::Power(loss, DOWN)),
        Kind::Disk if matches!(step, Step::Co10 | Step::Kv7) => while_starting(host, Trouble::Error(loss)),
        Kind::Disk if step == Step::Kv1 => Some(vec![planned(STRIKES, Fault::NoRoom { host, length: 300 * MS })]),
        Kind::Disk if seed.is_multiple_of(2) => strike(Strike::Disk(Trouble::Full, DOWN)),
        Kind::Disk => strike(Strike::Disk(Trouble::Error(loss), DOWN)),
        Kind::Lost => message(Mishap::Lost),
        Kind::Partition => message(Mishap::Cut(400 * MS)),
        Kind::Reordered if seed.is_multiple_of(2) => message(Mishap::Again(300 * MS)),
        Kind::Reordered => message(Mishap::Late(300 * MS)),
        Kind::Slow if is_clients || matches!(step, Step::Co6 | Step::Kv8) => message(Mishap::Held(400 * MS)),
        Kind::Slow => strike(Strike::Pause(400 * MS)),
        Kind::Time => strike(Strike::Leap),
        // A client that gives up, and a handler that is dropped.
        Kind::Cancelled => (!is_clients).then(|| strike(Strike::Cancel))?,
        Kind::Identity if matches!(step, Step::Op3 | Step::Kv7) => Some(restored(host, None)),
        Kind::Hostile => Some(vec![planned(STRIKES, Fault::Hostile { host })]),
        // Damage to closed files and what comes under another identity are no strikes.
        Kind::Rot | Kind::Identity => None,
    }
}

/// What it takes so that a step is come to.
fn preparations(step: Step, kind: Kind) -> Vec<Planned> {
    let crash = |at, host, down| planned(at, Fault::Crash { host, power: None, down });
    let begins =
        !matches!(kind, Kind::Power | Kind::Disk) && !matches!((step, kind), (Step::Kv7 | Step::Co10, Kind::Kill));
    match step {
        Step::Co1 => vec![crash(STRIKES + MS, Host::Coordinator, DOWN)],
        Step::Co10 if begins => vec![crash(STRIKES + MS, Host::Coordinator, DOWN)],
        Step::Kv7 if begins => vec![crash(STRIKES + MS, ONE, DOWN)],
        // Whoever is in doubt asks once the coordinator is gone.
        Step::Co11 | Step::Kv8 | Step::Kv4 => (0..4)
            .map(|n| {
                planned(
                    STRIKES + n * 200 * MS,
                    Fault::AtStep { host: Host::Coordinator, step: Step::Co7, strike: Strike::Kill(DOWN) },
                )
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The participant that is struck.
const ONE: Host = Host::Participant(1);

fn host_of(step: Step) -> Option<Host> {
    match step {
        Step::Lib1 | Step::Lib2 | Step::Lib3 => Some(Host::Coordinator),
        Step::Co1
        | Step::Co2
        | Step::Co3
        | Step::Co4
        | Step::Co5
        | Step::Co6
        | Step::Co7
        | Step::Co8
        | Step::Co9
        | Step::Co10
        | Step::Co11
        | Step::Co12
        | Step::Op3 => Some(Host::Coordinator),
        Step::Kv1 | Step::Kv2 | Step::Kv3 | Step::Kv4 | Step::Kv5 | Step::Kv6 | Step::Kv7 | Step::Kv8 => Some(ONE),
        Step::Co13
        | Step::Pg1
        | Step::Pg2
        | Step::Pg3
        | Step::Pg4
        | Step::My1
        | Step::My2
        | Step::My3
        | Step::My4
        | Step::Op1
        | Step::Op2
        | Step::Op4
        | Step::Op5
        | Step::Srv1
        | Step::Srv2
        | Step::Srv3 => None,
    }
}

/// The power goes, and something happens to the disk while its process starts again.
fn while_starting(host: Host, trouble: Trouble) -> Option<Vec<Planned>> {
    let crash = Fault::Crash { host, power: Some(Loss::Nothing), down: DOWN };
    let again = Fault::Disk { host, operation: 1, trouble, down: DOWN };
    Some(vec![planned(STRIKES, crash), planned(STRIKES + MS, again)])
}

/// An older copy of the folder takes its place; `strike` comes as soon as that is started.
fn restored(host: Host, strike: Option<Strike>) -> Vec<Planned> {
    let copy = planned(300 * MS, Fault::Copy { host });
    let restore = planned(STRIKES, Fault::Restore { host, down: DOWN });
    let struck = strike.map(|strike| planned(STRIKES + MS, Fault::AtStep { host, step: Step::Co1, strike }));
    [copy, restore].into_iter().chain(struck).collect()
}

fn planned(at: u64, fault: Fault) -> Planned {
    Planned { at, fault }
}
