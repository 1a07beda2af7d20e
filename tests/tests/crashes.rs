//! Real processes under kill -9 and SIGSTOP.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use handfast_tests::processes::{
    System, copy_folder, json_lines, pause, resume, spread_transfer, terminate, transfer, wait_until,
};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
/// Promise L1.
const IN_DOUBT_ENDS: Duration = Duration::from_secs(5);

/// Checks that what was told committed is at both participants, what was told aborted at neither, and that the sums of
/// both are opposite.
fn check_rows(system: &System, told: &BTreeMap<usize, String>) {
    let rows: Vec<Vec<String>> = system
        .participants
        .iter()
        .map(|node| {
            system.scan(node, "row/").iter().map(|row| row["key"].as_str().expect("a key").to_owned()).collect()
        })
        .collect();
    for (number, outcome) in told {
        let row = format!("row/{number:06}");
        let at = rows.iter().filter(|rows| rows.contains(&row)).count();
        match outcome.as_str() {
            "committed" => assert_eq!(at, 2, "{row} was told committed\n{}", system.logs()),
            "aborted" => assert_eq!(at, 0, "{row} was told aborted\n{}", system.logs()),
            _ => assert!(at == 0 || at == 2, "{row} is at one participant of two\n{}", system.logs()),
        }
    }
    let sum = |index: usize| -> i64 {
        let values = system.scan(&system.participants[index], "sum");
        values.iter().map(|line| line["value"].as_i64().expect("an integer")).sum()
    };
    assert_eq!(sum(0) + sum(1), 0, "money was made or lost\n{}", system.logs());
}

fn told(lines: &[Value], from: usize) -> BTreeMap<usize, String> {
    lines
        .iter()
        .map(|line| {
            let number = line["line"].as_u64().expect("a number") as usize;
            (from + number - 1, line["outcome"].as_str().expect("an outcome").to_owned())
        })
        .collect()
}

#[test]
fn everything_killed_at_once_ten_times_over_and_nothing_is_lost() {
    let mut system = System::start(PROGRAM, 2);
    let mut all = BTreeMap::new();
    for round in 0..10usize {
        let lines: Vec<String> = (0..3_000).map(|line| spread_transfer(round * 3_000 + line, "p0", "p1")).collect();
        let submitting = system.begin_submit(&lines, &["--concurrency", "64", "--deadline", "20000"]);
        std::thread::sleep(Duration::from_millis(150 + 37 * round as u64));
        system.coordinator.kill().expect("killed");
        for node in &mut system.participants {
            node.kill().expect("killed");
        }
        for node in &mut system.participants {
            node.start().expect("a participant starts again");
        }
        system.coordinator.start().expect("the coordinator starts again");
        let last_ready = Instant::now();
        let mut kinds = 0;
        wait_until("no branch in doubt that was there before the last ready line", IN_DOUBT_ENDS, || {
            // Branches of transactions begun since then come and go: only old ones count.
            let old = |line: &Value| {
                let since = Duration::from_millis(line["since_ms"].as_u64().expect("milliseconds"));
                since > last_ready.elapsed()
            };
            let open = system.participants.iter().flat_map(|node| system.in_doubt(node)).filter(old).count();
            kinds = kinds.max(open);
            open == 0
        });
        let output = submitting.wait_with_output().expect("submit ends");
        all.extend(told(&json_lines(&output.stdout), round * 3_000));
    }
    wait_until("nothing in doubt", IN_DOUBT_ENDS, || {
        system.participants.iter().all(|node| system.in_doubt(node).is_empty())
    });
    assert!(all.len() > 1_000, "only {} lines were answered", all.len());
    check_rows(&system, &all);
}

#[test]
fn a_stopped_participant_stalls_only_its_own_transactions() {
    let system = System::start(PROGRAM, 3);
    pause(&system.participants[2]);
    let stuck: Vec<String> = (0..400).map(|line| spread_transfer(line, "p0", "p2")).collect();
    let stuck = system.begin_submit(&stuck, &["--concurrency", "400", "--deadline", "8000"]);
    std::thread::sleep(Duration::from_millis(300));
    // Others go on, and none of them needs as much as a prepare timeout.
    let others: Vec<String> = (1_000..1_500).map(others_line).collect();
    let began = Instant::now();
    let answers = system.submit(&others);
    let took = began.elapsed();
    let committed = answers.iter().filter(|line| line["outcome"] == "committed").count();
    assert_eq!(committed, others.len(), "{answers:?}");
    assert!(took < Duration::from_secs(8), "500 transactions beside a stopped participant took {took:?}");
    resume(&system.participants[2]);
    let output = stuck.wait_with_output().expect("submit ends");
    assert_eq!(json_lines(&output.stdout).len(), 400, "every call ends");
    wait_until("nothing in doubt after the participant woke", IN_DOUBT_ENDS + Duration::from_secs(3), || {
        system.participants.iter().all(|node| system.in_doubt(node).is_empty())
    });
}

/// Over keys that the stuck ones do not hold.
fn others_line(line: usize) -> String {
    spread_transfer(line, "p0", "p1").replace("sum/", "other/")
}

#[test]
fn f21_a_stopped_coordinator_whose_copy_ran_changes_nothing_and_stops() {
    let mut system = System::start(PROGRAM, 2);
    let answers = system.submit(&(0..20).map(|line| transfer(line, "p0", "p1")).collect::<Vec<_>>());
    assert!(answers.iter().all(|line| line["outcome"] == "committed"), "{answers:?}");
    pause(&system.coordinator);
    let copy = system.folder().join("copy");
    copy_folder(system.coordinator.data(), &copy);
    let mut second = system.other_coordinator(&copy, "copy.log");
    second.start().expect("the copy starts");
    // It greets both participants: they are in its registry.
    wait_until("the copy is known to both participants", Duration::from_secs(10), || {
        let line = transfer(900, "p0", "p1");
        let mut command = system.command(&["submit", "--coordinator", second.address()]);
        let file = system.folder().join("line.json");
        fs::write(&file, line + "\n").expect("a file");
        let output = command.arg("--file").arg(&file).output().expect("submit runs");
        json_lines(&output.stdout).first().is_some_and(|line| line["outcome"] == "committed")
    });
    let before: Vec<Vec<Value>> = system.participants.iter().map(|node| system.scan(node, "")).collect();
    resume(&system.coordinator);
    let status = system.coordinator.wait_exit(Duration::from_secs(15)).expect("the old one stops by itself");
    assert_eq!(status.code(), Some(9), "{}", system.coordinator.log());
    let after: Vec<Vec<Value>> = system.participants.iter().map(|node| system.scan(node, "")).collect();
    assert_eq!(before, after, "the old coordinator changed something");
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let system = System::start(PROGRAM, 1);
    let mut second = system.other_coordinator(system.coordinator.data(), "second.log");
    let refused = second.start().expect_err("it must not start");
    assert!(refused.to_string().contains("exit status: 6"), "{refused}");
}

#[test]
fn sigterm_drains_and_exits_0_and_a_restart_has_everything() {
    let mut system = System::start(PROGRAM, 2);
    let lines: Vec<String> = (0..200).map(|line| spread_transfer(line, "p0", "p1")).collect();
    let answers = system.submit(&lines);
    for node in std::iter::once(&mut system.coordinator).chain(&mut system.participants) {
        terminate(node);
        let status = node.wait_exit(Duration::from_secs(10)).expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", node.log());
        node.start().expect("it starts again");
    }
    check_rows(&system, &told(&answers, 0));
}

#[test]
fn one_phase_transactions_under_kills_are_answered_exactly() {
    let mut system = System::start(PROGRAM, 1);
    let line = |number: usize| {
        format!(
            r#"{{"branches":[{{"participant":"p0","ops":[{{"add":{{"key":"sum","delta":1}}}},{{"put":{{"key":"row/{number:06}","value":1}}}}]}}]}}"#
        )
    };
    let mut committed = 0;
    for round in 0..6usize {
        let lines: Vec<String> = (0..1_000).map(|number| line(round * 1_000 + number)).collect();
        let submitting = system.begin_submit(&lines, &["--concurrency", "32", "--deadline", "20000"]);
        std::thread::sleep(Duration::from_millis(120 + 50 * round as u64));
        let node = if round % 2 == 0 { &mut system.participants[0] } else { &mut system.coordinator };
        node.kill().expect("killed");
        node.start().expect("it starts again");
        let output = submitting.wait_with_output().expect("submit ends");
        let answers = json_lines(&output.stdout);
        assert_eq!(answers.len(), 1_000, "{}", String::from_utf8_lossy(&output.stderr));
        committed += answers.iter().filter(|line| line["outcome"] == "committed").count();
        assert!(answers.iter().all(|line| line["outcome"] != "unknown"), "an outcome stayed unknown");
    }
    let sum = &system.scan(&system.participants[0], "sum")[0]["value"];
    assert_eq!(sum.as_u64(), Some(committed as u64), "each committed one is there exactly once\n{}", system.logs());
    assert_eq!(system.scan(&system.participants[0], "row/").len(), committed);
}

#[test]
fn t06_an_old_copy_of_a_participant_stays_refused_however_often_it_is_started() {
    let mut system = System::start(PROGRAM, 2);
    let copy = system.folder().join("copy");
    terminate(&system.participants[0]);
    system.participants[0].wait_exit(Duration::from_secs(10)).expect("it ends");
    copy_folder(system.participants[0].data(), &copy);
    system.participants[0].start().expect("it starts again");
    let lines: Vec<String> = (0..20).map(|line| transfer(line, "p0", "p1")).collect();
    assert!(system.submit(&lines).iter().all(|line| line["outcome"] == "committed"));

    system.participants[0].kill().expect("killed");
    let data = system.participants[0].data().to_owned();
    fs::remove_dir_all(&data).expect("a folder");
    copy_folder(&copy, &data);
    // Longer than its own patience and the coordinator's: starts and Hellos must not make it look newer.
    for _ in 0..4 {
        system.participants[0].start().expect("it starts");
        let submitting = system.begin_submit(&[transfer(900, "p0", "p1")], &["--deadline", "2500"]);
        let answers = json_lines(&submitting.wait_with_output().expect("submit ends").stdout);
        assert!(answers.iter().all(|line| line["outcome"] != "committed"), "{answers:?}\n{}", system.logs());
        system.participants[0].kill().expect("killed");
    }
    assert!(system.coordinator.log().contains("older"), "{}", system.coordinator.log());
}
