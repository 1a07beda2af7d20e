//! The soak itself, for some seconds: that it runs, and that it ends with an error when a promise is broken.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use handfast_tests::processes::wait_until;
use rustix::process::{Pid, Signal, kill_process};

const SOAK: &str = env!("CARGO_BIN_EXE_soak");
// Built beside it, where it looks.
const _: &str = env!("CARGO_BIN_EXE_handfast-under-test");

fn soak(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("soak"));
    command.args(arguments).env("HANDFAST_SOAK", SOAK).env("TMPDIR", folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn left_in(folder: &Path) -> usize {
    folder.read_dir().expect("a folder").count()
}

#[test]
fn a_short_soak_keeps_every_promise_says_a_line_a_round_and_cleans_up() {
    let folder = tempfile::tempdir().expect("a folder");
    // Seed 6 is the round of kills and broken links.
    let output = soak(folder.path(), &["--hours", "0.002", "--seed", "6"]).output().expect("it runs");
    let (out, errors) = texts(&output);
    assert!(output.status.success(), "{out}\n{errors}");
    let line =
        out.lines().find(|line| line.contains("round 0 seed 6: Kill+Links: ")).unwrap_or_else(|| panic!("{out}"));
    assert!(!line.contains(" 0 committed") && !line.contains(" 0 kills"), "{line}");
    assert!(out.ends_with("1 rounds, every promise kept\n"), "{out}");
    assert_eq!(left_in(folder.path()), 0, "something was left in the temporary folder");
    println!("{out}");
}

#[test]
fn a_broken_promise_ends_a_soak_with_an_error_and_its_seed() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = soak(folder.path(), &["--hours", "0.001", "--seed", "7", "--spoil"]).output().expect("it runs");
    let (out, errors) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}\n{errors}");
    assert!(errors.contains("rows at one participant of two: [999999]"), "{errors}");
    assert!(out.contains("VIOLATION in round 0 seed 7"), "{out}");
    assert_eq!(left_in(folder.path()), 0, "something was left in the temporary folder");
}

#[test]
fn a_signal_ends_a_soak_early_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = soak(folder.path(), &["--hours", "1"]).spawn().expect("it runs");
    let began = Instant::now();
    wait_until("a system is running", Duration::from_secs(20), || left_in(folder.path()) > 0);
    std::thread::sleep(Duration::from_secs(1));
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process number")).expect("a process number");
    kill_process(pid, Signal::TERM).expect("a signal");
    let output = child.wait_with_output().expect("it ends");
    let (out, errors) = texts(&output);
    assert_eq!(output.status.code(), Some(130), "{out}\n{errors}");
    assert!(began.elapsed() < Duration::from_secs(40), "it has taken its time");
    assert_eq!(left_in(folder.path()), 0, "something was left in the temporary folder");
}

#[test]
fn wrong_usage_is_said_so() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [&[][..], &["--hours", "many"], &["--hours", "-1"]] {
        let output = soak(folder.path(), arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
