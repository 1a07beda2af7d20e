//! A thread of a server stands still for good, as in a deadlock: the process says which one and ends, and nothing is
//! lost. One that was only stopped for as long goes on.
//!
//! To be built with `--features handfast-tests/failpoints`: a fail point is where it stands.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use handfast::nodes::Node;
use handfast_common::{failpoints, watchdog};
use handfast_tests::ledger::{IN_DOUBT_ENDS, Ledger, Load, Told};
use handfast_tests::processes::{System, pause, resume};

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
/// The limit of the servers here, in seconds.
const LIMIT: u64 = 2;
/// SIGABRT.
const ABORTED: i32 = 6;
/// From a start to the load at the point, and what a busy machine takes beside the limit.
const ALLOWANCE: Duration = Duration::from_secs(15);

/// Where a thread stands, and what the watchdog calls it.
const STALLS: [(&str, &str); 4] = [
    ("co6.before_reply", "the coordinator's owner task"),
    ("co5.before_commit", "the thread decision-log"),
    ("kv5.before_apply", "the owner task of participant p1"),
    ("kv2.before_commit", "the thread participant-log"),
];

fn start_again(node: &mut Node, environment: &[(&str, &str)]) {
    node.set_environment(environment);
    node.kill().expect("killed");
    node.start().expect("it starts again");
}

#[test]
fn a_thread_that_stands_still_is_named_and_nothing_is_lost() {
    let mut system = System::start(PROGRAM, 2);
    let (limit, mut ledger) = (LIMIT.to_string(), Ledger::default());
    for (point, name) in STALLS {
        let armed = format!("{point}=stall");
        let load = Load::after(&ledger, system.coordinator.address(), 8);
        let node = if point.starts_with("co") { &mut system.coordinator } else { &mut system.participants[1] };
        start_again(node, &[(failpoints::VARIABLE, &armed), (watchdog::VARIABLE, &limit)]);
        let began = Instant::now();
        let status = node.wait_exit(Duration::from_secs(LIMIT) + ALLOWANCE);
        let status = status.unwrap_or_else(|error| panic!("{point}: {error}\n{}", node.log()));
        assert_eq!(status.signal(), Some(ABORTED), "{point}: {status}\n{}", node.log());
        assert!(began.elapsed() >= Duration::from_secs(LIMIT), "{point}: it was given no time");
        let line = format!("watchdog: {name} has stood still for {LIMIT} s; the process ends here\n");
        assert!(node.log().contains(&line), "{point}\n{}", node.log());
        node.set_environment(&[]);
        node.start().expect("it starts again");
        let last_ready = Instant::now();
        ledger.extend(load.stop());
        ledger.check(&system, IN_DOUBT_ENDS.saturating_sub(last_ready.elapsed()));
    }
    assert!(ledger.count(Told::Committed) > 10, "hardly anything commits");
}

#[test]
fn a_process_that_was_stopped_for_longer_than_the_limit_goes_on() {
    let mut system = System::start(PROGRAM, 2);
    let limit = LIMIT.to_string();
    let System { coordinator, participants, .. } = &mut system;
    for node in std::iter::once(coordinator).chain(participants) {
        start_again(node, &[(watchdog::VARIABLE, &limit)]);
    }
    system.wait_until_usable();
    let load = Load::start(system.coordinator.address(), 8);
    let nodes = || std::iter::once(&system.coordinator).chain(&system.participants);
    nodes().for_each(pause);
    std::thread::sleep(Duration::from_secs(2 * LIMIT));
    nodes().for_each(resume);
    // Long enough for a limit that goes on counting.
    std::thread::sleep(Duration::from_secs(LIMIT + 1));
    load.stop().check(&system, IN_DOUBT_ENDS);
    assert!(!system.logs().contains("watchdog"), "{}", system.logs());
}
