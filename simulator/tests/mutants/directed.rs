//! Small worlds in which a moment comes that seeds seldom hit: what is wanted is written down, who dies, is slow or is cut
//! off is planned, and the seed draws only the order of what is left.

use std::collections::BTreeMap;

use handfast_common::ids::Name;
use handfast_common::operation::{Add, OnKey, Operation};
use handfast_simulator::crash::scenarios::all;
use handfast_simulator::disk::Loss;
use handfast_simulator::matrix::Step;
use handfast_simulator::plan::{Fault, Host, MS, Planned};
use handfast_simulator::world::{Options, Scripted};

/// A world by its name.
pub(crate) fn directed(name: &str, seed: u64) -> Options {
    let (chaos, script, plan) = match name {
        "a reader restarts" => reader_restarts(),
        "a branch that also read restarts" => shared_lock_restarts(),
        "whoever only read is asked" => no_trace(),
        "a Prepare is slower than a peer" => promised_abort(),
        "a peer asks while the disk is slow" => asked_while_forcing(),
        "an old copy is asked first" => old_copy_is_asked(),
        "the epoch is lost" => epoch_is_lost(),
        "a decision is lost" => decision_is_lost(),
        "the line is lost" => line_is_lost(),
        other => panic!("no world is called '{other}'"),
    };
    let plan = plan.into_iter().map(|(at, fault)| Planned { at, fault }).collect();
    let scenario = all().into_iter().next().expect("there are scenarios");
    Options { seed, chaos, plan, script, ..scenario.options }
}

type World = (u64, Vec<Scripted>, Vec<(u64, Fault)>);

/// When clients begin: by then everybody has registered.
const BEGIN: u64 = 60 * MS;
const C: Host = Host::Coordinator;
const P0: Host = Host::Participant(0);
const P1: Host = Host::Participant(1);
const P2: Host = Host::Participant(2);

/// What is sent to p1 waits until p0 has lost its locks and somebody else has got them; then both come to p1 at once.
fn behind_a_restart(first: &[(Host, Vec<Operation>)]) -> World {
    let both = [(P0, change(0)), (P1, change(0))];
    let plan =
        vec![(BEGIN - MS, Fault::Clog { from: C, to: P1, length: 450 * MS }), (BEGIN + 30 * MS, dies(P0, 5 * MS))];
    (1_500 * MS, vec![wants(BEGIN, first), wants(BEGIN + 380 * MS, &both)], plan)
}

fn reader_restarts() -> World {
    behind_a_restart(&[(P0, vec![get(0)]), (P1, change(0))])
}

fn shared_lock_restarts() -> World {
    let also_reads = [vec![get(0)], change(1)].concat();
    behind_a_restart(&[(P0, also_reads), (P1, vec![get(0)])])
}

/// The coordinator is gone after it has told p0; p1 asks the others, and p2, which only read, has been restarted.
fn no_trace() -> World {
    let first = [(P0, change(0)), (P1, change(0)), (P2, vec![get(0)])];
    let plan = vec![(BEGIN - MS, dies_at(C, Step::Co7, 2_500 * MS)), (BEGIN + 70 * MS, dies(P2, 5 * MS))];
    (2_700 * MS, vec![wants(BEGIN, &first)], plan)
}

/// p0 is cut off from the coordinator after its vote and asks p1, whose Prepare is still on its way.
fn promised_abort() -> World {
    let plan =
        vec![(BEGIN - MS, Fault::Clog { from: C, to: P1, length: 1_700 * MS }), (BEGIN + 25 * MS, cut(P0, 3_000 * MS))];
    (3_500 * MS, vec![wants(BEGIN, &[(P0, change(0)), (P1, change(0))])], plan)
}

/// The same, and p1 has handed its record to a slow disk.
fn asked_while_forcing() -> World {
    let plan = vec![
        (BEGIN - MS, Fault::SlowDisk { host: P1, length: 300 * MS }),
        (BEGIN + 25 * MS, cut(P0, 1_500 * MS)),
        (BEGIN + 26 * MS, Fault::Break { participant: 0 }),
    ];
    (2_500 * MS, vec![wants(BEGIN, &[(P0, change(0)), (P1, change(0))])], plan)
}

/// The coordinator has told p0 the decision and is put back to before it; p1, which has not heard of it, asks first.
fn old_copy_is_asked() -> World {
    let plan = vec![
        (BEGIN - 5 * MS, Fault::Copy { host: C }),
        (BEGIN - MS, dies_at(C, Step::Co7, 90 * MS)),
        (BEGIN + 60 * MS, Fault::Restore { host: C, down: 90 * MS }),
        (BEGIN + 70 * MS, dies(P0, 600 * MS)),
    ];
    (1_500 * MS, vec![wants(BEGIN, &[(P0, change(0)), (P1, change(0))])], plan)
}

/// The power goes while the coordinator's first record waits for a slow disk.
fn epoch_is_lost() -> World {
    let plan = vec![(0, Fault::SlowDisk { host: C, length: 300 * MS }), (90 * MS, loses_all(C))];
    (1_000 * MS, vec![wants(500 * MS, &[(P0, change(0)), (P1, change(0))])], plan)
}

/// The power goes while a decision waits for a slow disk, and other messages have been sent meanwhile.
fn decision_is_lost() -> World {
    let first = wants(BEGIN, &[(P0, change(0)), (P1, change(0))]);
    let second = wants(BEGIN + 40 * MS, &[(P0, change(1)), (P2, change(1))]);
    let plan = vec![(BEGIN, Fault::SlowDisk { host: C, length: 300 * MS }), (BEGIN + 70 * MS, loses_all(C))];
    (1_000 * MS, vec![first, second], plan)
}

/// The coordinator is restarted and says Hello to p0, which dies before its slow disk has the new epoch; then late orders
/// of the old one come.
fn line_is_lost() -> World {
    let wish = |n: u64| wants(BEGIN + n * 4 * MS, &[(P0, change(n)), (P1, change(n))]);
    let plan = vec![
        (BEGIN + 10 * MS, Fault::Delay { one_in: 2, length: 40 * MS }),
        (BEGIN + 50 * MS, dies(C, 5 * MS)),
        (BEGIN + 53 * MS, Fault::SlowDisk { host: P0, length: 300 * MS }),
        (BEGIN + 90 * MS, dies(P0, 5 * MS)),
    ];
    (2_500 * MS, (0..6).map(wish).collect(), plan)
}

fn wants(at: u64, branches: &[(Host, Vec<Operation>)]) -> Scripted {
    let named = |(host, operations): &(Host, Vec<Operation>)| {
        let Host::Participant(n) = host else { panic!("{host:?} has no branches") };
        (Name::new(format!("p{n}")).expect("a plain name"), operations.clone())
    };
    let branches: BTreeMap<_, _> = branches.iter().map(named).collect();
    Scripted { at, branches, again: None, asks: Some(250 * MS) }
}

/// Changes a counter and reads the number of the change.
fn change(n: u64) -> Vec<Operation> {
    let add = Add { key: format!("counter/{n}"), delta: 1, min: None, max: None };
    vec![Operation::Add(add), get(n)]
}

fn get(n: u64) -> Operation {
    Operation::Get(OnKey { key: format!("counter/{n}") })
}

fn dies(host: Host, down: u64) -> Fault {
    Fault::Crash { host, power: None, down }
}

/// After its first effect of a step.
fn dies_at(host: Host, step: Step, down: u64) -> Fault {
    Fault::CrashAtStep { host, step, after: true, down }
}

fn loses_all(host: Host) -> Fault {
    Fault::Crash { host, power: Some(Loss::Nothing), down: 10 * MS }
}

fn cut(to: Host, length: u64) -> Fault {
    Fault::Cut { from: C, to, length, both: true }
}
