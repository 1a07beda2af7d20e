//! The guard against lost memory, over real files: whoever is older than what others have heard, wiped or copied is
//! refused with a line that says what to do, nothing is presumed meanwhile, and what the line says works.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use handfast_tests::processes::{
    System, copy_folder, json_lines, pause, replace_folder, spread_transfer, stop, transfer, wait_until,
};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
const SOON: Duration = Duration::from_secs(10);

fn committed(answers: &[Value]) -> usize {
    answers.iter().filter(|line| line["outcome"] == "committed").count()
}

fn lines(range: std::ops::Range<usize>, from: &str, to: &str) -> Vec<String> {
    range.map(|number| spread_transfer(number, from, to)).collect()
}

fn rows(system: &System, participant: usize) -> usize {
    system.scan(&system.participants[participant], "row/").len()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Some kills leave nothing in doubt: until one has. The participants are up then, the coordinator is not.
fn kill_until_in_doubt(system: &mut System) {
    for round in 1.. {
        system.kill_under_load(round * 50_000);
        for node in &mut system.participants {
            node.start().expect("a participant starts again");
        }
        // They ask each other: what one of them knows is settled first.
        std::thread::sleep(Duration::from_secs(2));
        if system.is_in_doubt() {
            return;
        }
        assert!(round < 10, "no kill leaves anything in doubt");
        system.coordinator.start().expect("it starts again");
    }
}

#[test]
fn f10_t09a_a_coordinator_log_from_before_the_last_100_commits_is_refused_and_nothing_is_presumed() {
    let mut system = System::start(PROGRAM, 2);
    assert_eq!(committed(&system.submit(&lines(0..20, "p0", "p1"))), 20);
    let (old, newest) = (system.folder().join("old"), system.folder().join("newest"));
    stop(&mut system.coordinator);
    copy_folder(system.coordinator.data(), &old);
    system.coordinator.start().expect("it starts again");
    assert_eq!(committed(&system.submit(&lines(20..140, "p0", "p1"))), 120);
    kill_until_in_doubt(&mut system);
    let in_doubt = || -> Vec<Vec<Value>> {
        let txns = |lines: Vec<Value>| lines.into_iter().map(|line| line["txn"].clone()).collect();
        system.participants.iter().map(|node| txns(system.in_doubt(node))).collect()
    };
    let before = in_doubt();
    assert!(!before.iter().all(Vec::is_empty), "the kill left nothing in doubt");

    let data = system.coordinator.data().to_owned();
    copy_folder(&data, &newest);
    replace_folder(&data, &old);
    system.coordinator.start().expect("the old copy comes up");
    let status = system.coordinator.wait_exit(SOON).expect("the old copy stops by itself");
    assert_eq!(status.code(), Some(9), "{}", system.coordinator.log());
    let log = system.coordinator.log();
    assert!(log.contains("an old or a second copy") && log.contains("Start the newest copy"), "{log}");
    assert!(log.contains("participant 'p"), "the line says who has seen more: {log}");
    // However often it is started.
    for _ in 0..3 {
        if system.coordinator.start().is_ok() {
            let status = system.coordinator.wait_exit(SOON).expect("it stops again");
            assert_eq!(status.code(), Some(9), "{}", system.coordinator.log());
        }
    }
    let system_in_doubt: Vec<Vec<Value>> = system
        .participants
        .iter()
        .map(|node| system.in_doubt(node).into_iter().map(|line| line["txn"].clone()).collect())
        .collect();
    assert_eq!(before, system_in_doubt, "the old copy has ended something\n{}", system.logs());

    // The way out: the newest copy.
    replace_folder(&data, &newest);
    system.coordinator.start().expect("the newest copy starts");
    wait_until("nothing in doubt", SOON, || !system.is_in_doubt());
    assert_eq!(rows(&system, 0), rows(&system, 1), "half a transaction\n{}", system.logs());
    assert!(rows(&system, 0) >= 140);
    assert_eq!(committed(&system.submit(&lines(9_000..9_010, "p0", "p1"))), 10);
}

#[test]
fn t08_a_coordinator_that_was_wiped_is_refused_while_its_branches_are_in_doubt() {
    let mut system = System::start(PROGRAM, 2);
    let data = system.coordinator.data().to_owned();
    let kept = system.folder().join("kept");
    kill_until_in_doubt(&mut system);
    fs::rename(&data, &kept).expect("moved away");
    system.coordinator.start().expect("an empty folder is a new coordinator");
    let status = system.coordinator.wait_exit(SOON).expect("the wiped one stops by itself");
    assert_eq!(status.code(), Some(9), "{}", system.coordinator.log());
    assert!(system.coordinator.log().contains("--name"), "the line has the ways out: {}", system.coordinator.log());
    assert!(system.is_in_doubt(), "the wiped one has ended something");

    fs::remove_dir_all(&data).expect("a folder");
    fs::rename(&kept, &data).expect("moved back");
    system.coordinator.start().expect("its own folder starts");
    wait_until("nothing in doubt", SOON, || !system.is_in_doubt());
    assert_eq!(rows(&system, 0), rows(&system, 1), "half a transaction\n{}", system.logs());
}

#[test]
fn t06_a_wiped_participant_is_refused_until_an_operator_removes_it_and_nothing_else_waits() {
    let mut system = System::start(PROGRAM, 3);
    assert_eq!(committed(&system.submit(&lines(0..20, "p0", "p1"))), 20);
    stop(&mut system.participants[1]);
    let data = system.participants[1].data().to_owned();
    let kept = system.folder().join("kept");
    fs::rename(&data, &kept).expect("moved away");
    system.participants[1].start().expect("an empty folder is a new participant");

    wait_until("it is listed as refused", SOON, || system.registered("p1")[0]["state"] == "refused");
    let line = &system.registered("p1")[0];
    let why = line["why"].as_str().expect("a reason");
    assert!(why.contains("another store") && why.contains("handfast registry remove p1"), "{why}");
    // The others do not wait for it.
    let began = Instant::now();
    assert_eq!(committed(&system.submit(&lines(100..200, "p0", "p2"))), 100);
    assert!(began.elapsed() < Duration::from_secs(5), "100 transactions took {:?}", began.elapsed());
    let refused = system.begin_submit(&lines(300..301, "p0", "p1"), &["--deadline", "2000"]);
    let refused = json_lines(&refused.wait_with_output().expect("it ends").stdout);
    assert_eq!(committed(&refused), 0, "{refused:?}");

    // One way out: its own folder.
    stop(&mut system.participants[1]);
    let wiped = system.folder().join("wiped");
    fs::rename(&data, &wiped).expect("moved away");
    fs::rename(&kept, &data).expect("moved back");
    system.participants[1].start().expect("its own folder starts");
    wait_until("it is ready", SOON, || system.registered("p1")[0]["state"] == "ready");
    assert_eq!(committed(&system.submit(&lines(400..410, "p0", "p1"))), 10);

    // A participant that is well is not removed by a slip.
    let slip = system.run(&["registry", "remove", "p1", "--reason", "a slip"]);
    assert_eq!(slip.status.code(), Some(6), "{}", text(&slip));
    assert!(text(&slip).contains("--force"), "{}", text(&slip));

    // The other way out, when it is gone for good.
    wait_until("it owes nothing", SOON, || system.registered("p1")[0]["unacknowledged"] == 0);
    stop(&mut system.participants[1]);
    fs::remove_dir_all(&data).expect("a folder");
    wait_until("it is gone", SOON, || system.registered("p1")[0]["state"] == "disconnected");
    let removed = system.run(&["registry", "remove", "p1", "--reason", "its disk is broken"]);
    assert!(removed.status.success(), "{}", text(&removed));
    system.participants[1].start().expect("a new store under the old name");
    wait_until("it registers", SOON, || system.registered("p1").iter().any(|line| line["state"] == "ready"));
    assert_eq!(committed(&system.submit(&lines(500..510, "p0", "p1"))), 10);

    // Recorded, also after a restart.
    stop(&mut system.coordinator);
    system.coordinator.start().expect("it starts again");
    let recorded = system.registered("p1");
    let removed: Vec<&Value> = recorded.iter().filter(|line| line["state"] == "removed").collect();
    assert_eq!(removed.len(), 1, "{recorded:?}");
    assert_eq!(removed[0]["why"], "its disk is broken");
    let unknown = system.run(&["registry", "remove", "p9", "--reason", "never was"]);
    assert_eq!(unknown.status.code(), Some(3), "{}", text(&unknown));
}

#[test]
fn t06_a_participant_with_commits_to_hear_is_removed_only_by_force_and_they_stay_listed() {
    let mut system = System::start(PROGRAM, 2);
    // Killed under load, with decisions that it has not heard, and its folder lost.
    let mut owed = 0;
    for round in 1.. {
        let first = round * 40_000;
        let mut load = system.begin_submit(&lines(first..first + 20_000, "p0", "p1"), &[]);
        system.wait_for_row(1, first + 200);
        // It has voted, and does not hear what is decided.
        pause(&system.participants[1]);
        std::thread::sleep(Duration::from_millis(150));
        system.participants[1].kill().expect("killed");
        load.kill().expect("the client ends");
        load.wait().expect("the client ends");
        // Until what was under way is decided, one way or the other.
        std::thread::sleep(Duration::from_millis(2_500));
        owed = system.registered("p1")[0]["unacknowledged"].as_u64().expect("a number");
        if owed > 0 {
            break;
        }
        assert!(round < 20, "no kill leaves a commit to be heard");
        system.participants[1].start().expect("it starts again");
        wait_until("it is ready", SOON, || system.registered("p1")[0]["state"] == "ready");
    }
    fs::remove_dir_all(system.participants[1].data()).expect("a folder");
    let refused = system.run(&["registry", "remove", "p1", "--reason", "its disk is broken"]);
    assert_eq!(refused.status.code(), Some(6), "{}", text(&refused));
    assert!(text(&refused).contains("--force") && text(&refused).contains(&owed.to_string()), "{}", text(&refused));
    let forced = system.run(&["registry", "remove", "p1", "--force", "--reason", "its disk is broken"]);
    assert!(forced.status.success(), "{}", text(&forced));
    let committing = |system: &System| {
        let output = system.run(&["txn", "list", "--state", "committing", "-o", "json"]);
        json_lines(&output.stdout).len() as u64
    };
    assert_eq!(committing(&system), owed, "what was given up stays listed");
    system.participants[1].start().expect("a new store under the old name");
    wait_until("it registers", SOON, || system.registered("p1").iter().any(|line| line["state"] == "ready"));
    let answers = system.submit(&lines(90_000..90_010, "p0", "p1"));
    assert_eq!(committed(&answers), 10, "{answers:?}");
    // No commit of the old store is told to the new one, and none is forgotten over a restart.
    stop(&mut system.coordinator);
    system.coordinator.start().expect("it starts again");
    wait_until("it is ready", SOON, || system.registered("p1").iter().any(|line| line["state"] == "ready"));
    assert_eq!(committing(&system), owed, "what was given up stays listed");
    assert_eq!(rows(&system, 1), 10, "only what the new store did");
}

#[test]
fn t06_a_participant_that_went_back_in_time_is_refused_and_may_be_removed() {
    let mut system = System::start(PROGRAM, 2);
    let (old, newest) = (system.folder().join("old"), system.folder().join("newest"));
    stop(&mut system.participants[1]);
    let data = system.participants[1].data().to_owned();
    copy_folder(&data, &old);
    system.participants[1].start().expect("it starts again");
    assert_eq!(committed(&system.submit(&lines(0..30, "p0", "p1"))), 30);
    system.participants[1].kill().expect("killed");
    copy_folder(&data, &newest);
    replace_folder(&data, &old);
    for _ in 0..3 {
        system.participants[1].start().expect("the old copy starts");
        wait_until("it is listed as refused", SOON, || system.registered("p1")[0]["state"] == "refused");
        let why = system.registered("p1")[0]["why"].as_str().expect("a reason").to_owned();
        assert!(why.contains("newest") && why.contains("handfast registry remove p1"), "{why}");
        system.participants[1].kill().expect("killed");
    }
    replace_folder(&data, &newest);
    system.participants[1].start().expect("the newest starts");
    wait_until("it is ready", SOON, || system.registered("p1")[0]["state"] == "ready");
    wait_until("nothing in doubt", SOON, || !system.is_in_doubt());
    assert_eq!(rows(&system, 1), 30);
}

#[test]
fn t06_a_copy_that_another_coordinator_made_newer_is_refused_by_the_one_that_knows_more() {
    let mut system = System::start(PROGRAM, 2);
    let mut other = system.coordinator_called("other", &system.folder().join("other"), "other.log");
    other.start().expect("a second coordinator starts");
    let copy = system.folder().join("copy");
    // Both count on p1.
    let address = system.participants[1].address().to_owned();
    stop(&mut system.participants[1]);
    let data = system.participants[1].data().to_owned();
    copy_folder(&data, &copy);
    let at_other = |system: &System, number: usize| {
        let line = format!(
            r#"{{"branches":[{{"participant":"p1","ops":[{{"put":{{"key":"other/{number:03}","value":1}}}}]}}]}}"#
        );
        let file = system.folder().join("line.json");
        fs::write(&file, line + "\n").expect("a file");
        let mut command = system.command(&["submit", "--coordinator", other.address(), "--deadline", "8000"]);
        committed(&json_lines(&command.arg("--file").arg(&file).output().expect("submit runs").stdout))
    };
    system.participants[1].start().expect("it starts again");
    assert_eq!(address, system.participants[1].address(), "the port is kept");
    assert_eq!(committed(&system.submit(&lines(0..5, "p0", "p1"))), 5);
    system.participants[1].kill().expect("killed");
    // The copy works for the other coordinator until it has counted further than the original.
    let newest = system.folder().join("newest");
    copy_folder(&data, &newest);
    replace_folder(&data, &copy);
    system.participants[1].add_arguments(&["--coordinator", other.address()]);
    system.participants[1].start().expect("the copy starts");
    wait_until("the other coordinator knows it", SOON, || at_other(&system, 0) == 1);
    for number in 1..30 {
        assert_eq!(at_other(&system, number), 1);
    }
    let line = &system.registered("p1")[0];
    assert_eq!(line["state"], "refused", "{line}\n{}", system.logs());
    let refused = system.begin_submit(&[transfer(900, "p0", "p1")], &["--deadline", "2000"]);
    let answers = json_lines(&refused.wait_with_output().expect("it ends").stdout);
    assert_eq!(committed(&answers), 0, "{answers:?}");
}

#[test]
fn t09a_strict_waits_for_every_participant_until_an_operator_releases_it_and_nothing_else_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("strict.toml");
    fs::write(&config, "guard = \"strict\"\n").expect("a file");
    let arguments = ["--config".to_owned(), config.display().to_string()];
    let mut system = System::start_with(folder, PROGRAM, 3, &arguments);
    // p0 votes yes, p1 never does: nothing is decided when all of it ends.
    pause(&system.participants[1]);
    let mut load = system.begin_submit(&[transfer(1, "p0", "p1")], &[]);
    wait_until("p0 has voted", SOON, || !system.in_doubt(&system.participants[0]).is_empty());
    system.coordinator.kill().expect("killed");
    system.participants[1].kill().expect("killed");
    load.kill().expect("the client ends");
    load.wait().expect("the client ends");
    system.coordinator.start().expect("it starts again");

    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(system.in_doubt(&system.participants[0]).len(), 1, "presumed without p1's word\n{}", system.logs());
    let line = &system.registered("p1")[0];
    assert_eq!(line["waited_for"], true, "{line}");
    assert!(system.coordinator.log().contains("handfast registry release p1"), "{}", system.coordinator.log());
    // Nothing else waits.
    assert_eq!(
        committed(&system.submit(
            &lines(100..150, "p0", "p2").iter().map(|line| line.replace("sum/", "other/")).collect::<Vec<_>>()
        )),
        50
    );

    let released = system.run(&["registry", "release", "p1", "--reason", "its machine burnt down"]);
    assert!(released.status.success(), "{}", text(&released));
    wait_until("p0's branch ends", SOON, || system.in_doubt(&system.participants[0]).is_empty());
    assert!(record_of(system.coordinator.data()), "the release is recorded");
    // Back after all, p1 agrees: it had not voted.
    system.participants[1].start().expect("it starts again");
    wait_until("it is ready", SOON, || system.registered("p1")[0]["state"] == "ready");
    assert_eq!((rows(&system, 0), rows(&system, 1)), (50, 0));
}

/// Whether the operator's reason is in the decision log.
fn record_of(data: &Path) -> bool {
    let log = fs::read(data.join("coordinator.redb")).expect("the log");
    let reason = b"its machine burnt down";
    log.windows(reason.len()).any(|window| window == reason)
}
