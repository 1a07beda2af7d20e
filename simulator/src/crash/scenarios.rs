//! The scenarios whose every operation is made to fail: small, and each with a turn of its own.

use std::collections::BTreeMap;

use handfast_common::ids::Name;
use handfast_common::operation::{Check, Operation};

use crate::matrix::Step;
use crate::plan::{Fault, Host, MS, Mishap, Planned};
use crate::workload::{Workload, changed, counter, get};
use crate::world::{Options, Scripted};

/// A scenario: a script, and what goes wrong in it anyway.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The run without any further fault.
    pub options: Options,
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    vec![
        one("commit_of_one_branch", vec![plain(&[0])], vec![]),
        one("commit_of_two_branches", vec![plain(&[0, 1])], vec![]),
        one("commit_of_three_branches", vec![plain(&[0, 1, 2])], vec![]),
        one("one_no_vote", vec![refused(&[0, 1])], vec![]),
        one("prepare_timeout", vec![plain(&[0, 1])], vec![pause(Host::Participant(1), BEGIN - 5 * MS, 2_600 * MS)]),
        one("participant_crash_after_yes", vec![plain(&[0, 1])], vec![dies(Host::Participant(1), Step::Kv3, true)]),
        one("coordinator_crash_before_decision", vec![plain(&[0, 1])], vec![dies(Host::Coordinator, Step::Co5, false)]),
        one("coordinator_crash_after_decision", vec![plain(&[0, 1])], vec![dies(Host::Coordinator, Step::Co7, false)]),
        one(
            "client_timeout_then_query",
            vec![Scripted { again: Some(30 * MS), asks: Some(8 * MS), ..plain(&[0, 1]) }],
            vec![],
        ),
        one("duplicates_and_reorder", vec![plain(&[0, 1]), plain(&[1, 2])], doubled()),
        one("read_only_and_one_phase", vec![mixed(), plain(&[0]), looks(&[0, 1])], vec![]),
        one("twenty_in_doubt", (0..20).map(in_doubt).collect(), everybody_dies()),
        Scenario { options: collecting(), name: "collection_while_one_branch_is_down" },
    ]
}

/// When clients begin: by then everybody has registered.
const BEGIN: u64 = 60 * MS;
/// When all heals.
const HEAL: u64 = 700 * MS;

fn one(name: &'static str, script: Vec<Scripted>, plan: Vec<Planned>) -> Scenario {
    let chaos = if name == "prepare_timeout" { 3_000 * MS } else { HEAL };
    let options = Options {
        seed: 5,
        workload: Workload::Counters,
        transactions: 0,
        participants: 3,
        interactive: 0,
        cancels: 0,
        chaos,
        plan,
        script,
        retention: 100_000,
        foresee: Vec::new(),
    };
    Scenario { name, options }
}

fn scripted(branches: BTreeMap<Name, Vec<Operation>>) -> Scripted {
    Scripted { at: BEGIN, branches, again: None, asks: Some(250 * MS) }
}

fn name(n: usize) -> Name {
    Name::new(format!("p{n}")).expect("a plain name")
}

/// Changes a counter at each of these.
fn plain(participants: &[usize]) -> Scripted {
    scripted(participants.iter().map(|n| (name(*n), changed(&counter(0)))).collect())
}

/// The same, and the last one refuses.
fn refused(participants: &[usize]) -> Scripted {
    let mut wanted = plain(participants);
    let check = Check { key: "never".to_owned(), exists: true, ..Check::default() };
    if let Some(mut last) = wanted.branches.last_entry() {
        last.get_mut().push(Operation::Check(check));
    }
    wanted
}

fn looks(participants: &[usize]) -> Scripted {
    let branches = participants.iter().map(|n| (name(*n), vec![get(&counter(0))])).collect();
    Scripted { at: BEGIN + 40 * MS, ..scripted(branches) }
}

fn mixed() -> Scripted {
    let mut wanted = plain(&[0, 1]);
    wanted.branches.insert(name(2), vec![get(&counter(0))]);
    wanted
}

/// On keys of its own: all of them are in doubt at a time.
fn in_doubt(number: u64) -> Scripted {
    let branches = (0..2).map(|n| (name(n), changed(&counter(number)))).collect();
    Scripted { at: BEGIN + number * 200, ..scripted(branches) }
}

fn planned(at: u64, fault: Fault) -> Planned {
    Planned { at, fault }
}

fn pause(host: Host, at: u64, length: u64) -> Planned {
    planned(at, Fault::Pause { host, length })
}

fn dies(host: Host, step: Step, after: bool) -> Planned {
    planned(BEGIN - MS, Fault::CrashAtStep { host, step, after, down: 60 * MS })
}

fn doubled() -> Vec<Planned> {
    let mishap = |n: u64| match n % 3 {
        0 => Mishap::Twice,
        1 => Mishap::Again(40 * MS),
        _ => Mishap::Late(15 * MS),
    };
    (10..40).map(|number| planned(0, Fault::Message { number, mishap: mishap(number) })).collect()
}

/// The coordinator's disk is so slow that all have voted before a decision is on it; then everybody dies.
fn everybody_dies() -> Vec<Planned> {
    let crash = |host, at| planned(at, Fault::Crash { host, power: None, down: 40 * MS });
    vec![
        planned(BEGIN - MS, Fault::SlowDisk { host: Host::Coordinator, length: 200 * MS }),
        crash(Host::Participant(0), BEGIN + 60 * MS),
        crash(Host::Participant(1), BEGIN + 70 * MS),
        crash(Host::Coordinator, BEGIN + 80 * MS),
    ]
}

/// One participant is away after its Yes, while outcomes of others are trimmed around its transaction.
fn collecting() -> Options {
    let others = (1..8).map(|n| Scripted { at: BEGIN + n * 25 * MS, ..plain(&[0, 2]) });
    let script = std::iter::once(plain(&[0, 1])).chain(others).collect();
    let away = Fault::CrashAtStep { host: Host::Participant(1), step: Step::Kv3, after: true, down: 400 * MS };
    let scenario = one("", script, vec![planned(BEGIN - MS, away)]);
    Options { retention: 2, ..scenario.options }
}
