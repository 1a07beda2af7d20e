//! A drain is an optimisation: whatever happens while a coordinator drains, a kill at that moment would have been as good.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use handfast_tests::processes::{System, json_lines, pause, resume, spread_transfer, terminate, wait_until};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
/// A drain waits two seconds for what is undecided, and a loaded machine takes its time.
const DRAINED: Duration = Duration::from_secs(5);

fn lines(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|number| spread_transfer(number, "p0", "p1")).collect()
}

/// A coordinator that is draining, and can't end because `p1` stands still; and the client that waits for it.
fn draining(system: &System) -> std::process::Child {
    pause(&system.participants[1]);
    let client = system.begin_submit(&lines(1_000, 200), &["--concurrency", "200", "--deadline", "12000"]);
    // What goes to p1 hangs there; p0 has voted.
    wait_until("branches wait at p0", Duration::from_secs(10), || system.in_doubt(&system.participants[0]).len() >= 50);
    terminate(&system.coordinator);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!system.coordinator.log().contains("drained"), "it has something to wait for");
    client
}

/// Each row is at both participants or at neither, those that were told committed are there, and no money was made.
fn check(system: &System, answers: &[Value], from: usize) {
    wait_until("nothing in doubt", Duration::from_secs(10), || !system.is_in_doubt());
    let rows = |number: usize| -> BTreeSet<String> {
        let rows = system.scan(&system.participants[number], "row/");
        rows.iter().map(|row| row["key"].as_str().expect("a key").to_owned()).collect()
    };
    let (here, there) = (rows(0), rows(1));
    assert_eq!(here, there, "half of something happened\n{}", system.logs());
    for answer in answers.iter().filter(|answer| answer["outcome"] == "committed") {
        let number = from + usize::try_from(answer["line"].as_u64().expect("a number")).expect("a small one") - 1;
        assert!(here.contains(&format!("row/{number:06}")), "{answer} is not there\n{}", system.logs());
    }
    let sum = |number: usize| -> i64 {
        let sums = system.scan(&system.participants[number], "sum/");
        sums.iter().map(|sum| sum["value"].as_i64().expect("an integer")).sum()
    };
    assert_eq!(sum(0) + sum(1), 0, "money was made or lost\n{}", system.logs());
}

#[test]
fn a_kill_in_the_middle_of_a_drain_loses_nothing() {
    let mut system = System::start(PROGRAM, 2);
    let client = draining(&system);
    system.coordinator.kill().expect("killed");
    resume(&system.participants[1]);
    system.coordinator.start().expect("it starts again");
    let output = client.wait_with_output().expect("submit ends");
    let answers = json_lines(&output.stdout);
    assert_eq!(answers.len(), 200, "every call ends");
    check(&system, &answers, 1_000);
}

#[test]
fn a_client_that_vanishes_in_a_drain_does_not_hold_it_up() {
    let mut system = System::start(PROGRAM, 2);
    let mut client = draining(&system);
    client.kill().expect("killed");
    client.wait().expect("it ends");
    resume(&system.participants[1]);
    let status = system.coordinator.wait_exit(DRAINED).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", system.coordinator.log());
    system.coordinator.start().expect("it starts again");
    check(&system, &[], 0);
}

#[test]
fn a_stopped_participant_does_not_hold_up_a_drain_beyond_its_limit() {
    let mut system = System::start(PROGRAM, 2);
    let began = Instant::now();
    let client = draining(&system);
    let status = system.coordinator.wait_exit(DRAINED).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", system.coordinator.log());
    assert!(began.elapsed() > Duration::from_secs(1), "it did not wait at all");
    resume(&system.participants[1]);
    system.coordinator.start().expect("it starts again");
    let output = client.wait_with_output().expect("submit ends");
    check(&system, &json_lines(&output.stdout), 1_000);
}

#[test]
fn what_comes_in_a_drain_is_refused_as_not_executed() {
    let mut system = System::start(PROGRAM, 2);
    let client = draining(&system);
    let late = system.begin_submit(&lines(5_000, 400), &["--concurrency", "400", "--deadline", "600"]);
    let output = late.wait_with_output().expect("submit ends");
    let answers = json_lines(&output.stdout);
    assert!(answers.iter().all(|answer| answer["outcome"] != "committed"), "{answers:?}");
    let status = system.coordinator.wait_exit(DRAINED).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", system.coordinator.log());
    resume(&system.participants[1]);
    system.coordinator.start().expect("it starts again");
    let output = client.wait_with_output().expect("submit ends");
    check(&system, &json_lines(&output.stdout), 1_000);
    let rows = system.scan(&system.participants[0], "row/005");
    assert!(rows.is_empty(), "what was refused was carried out: {rows:?}");
}
