//! `submit` is killed and goes on with `--resume`: every line happens exactly once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use handfast_tests::processes::{System, json_lines, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
const LINES: usize = 3_000;

struct Files {
    input: PathBuf,
    out: PathBuf,
}

fn files(system: &System) -> Files {
    let input = system.folder().join("input.json");
    let lines: String = (0..LINES)
        .map(|number| {
            let ops = |participant: &str| {
                format!(
                    r#"{{"participant":"{participant}","ops":[{{"add":{{"key":"sum/{}","delta":1}}}},{{"add":{{"key":"row/{number:06}","delta":1}}}}]}}"#,
                    number % 100
                )
            };
            format!(r#"{{"branches":[{},{}]}}"#, ops("p0"), ops("p1")) + "\n"
        })
        .collect();
    fs::write(&input, lines).expect("a file");
    Files { input, out: system.folder().join("out.json") }
}

/// Starts a run whose stdout is appended to a file, as a shell would.
fn start(system: &System, files: &Files, stdout: &Path, resume: bool) -> Child {
    let stdout = File::options().create(true).append(true).open(stdout).expect("a file");
    let mut command = system.command(&["submit", "--concurrency", "64", "--deadline", "20000", "--file"]);
    command.arg(&files.input).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
    if resume {
        command.arg("--resume").arg(&files.out);
    }
    command.spawn().expect("submit starts")
}

/// Every line took effect exactly once, at both participants.
fn check(system: &System) {
    for node in &system.participants {
        let rows = system.scan(node, "row/");
        assert_eq!(rows.len(), LINES, "lines are missing at {}", node.name());
        let twice = rows.iter().filter(|row| row["value"] != 1).count();
        assert_eq!(twice, 0, "lines took effect twice at {}", node.name());
    }
}

#[test]
fn t07b_a_killed_submit_goes_on_and_no_line_runs_twice() {
    let mut system = System::start(PROGRAM, 2);
    let files = files(&system);
    // A plain first run, killed; then runs that are killed as well, once together with the coordinator.
    for round in 0..4u64 {
        // Into the same file, and once to somewhere else: OUT grows all the same.
        let elsewhere = system.folder().join("elsewhere.json");
        let stdout = if round == 2 { &elsewhere } else { &files.out };
        let mut submitting = start(&system, &files, stdout, round > 0);
        // A run that was killed before it had a name can't be taken up; it has done nothing either.
        wait_until("OUT has its first line", Duration::from_secs(20), || {
            fs::read(&files.out).is_ok_and(|out| out.contains(&b'\n'))
        });
        std::thread::sleep(Duration::from_millis(20 + 70 * round));
        submitting.kill().expect("killed");
        submitting.wait().expect("gone");
        if round == 1 {
            system.coordinator.kill().expect("killed");
            system.coordinator.start().expect("it starts again");
        }
    }
    let status = start(&system, &files, &files.out, true).wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", system.logs());
    check(&system);
    let again = start(&system, &files, &files.out, true).wait().expect("it ends");
    assert_eq!(again.code(), Some(0));
    check(&system);
}

#[test]
fn an_output_of_another_input_or_none_at_all_is_refused() {
    let system = System::start(PROGRAM, 2);
    let files = files(&system);
    let status = start(&system, &files, &files.out, false).wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert_eq!(json_lines(&fs::read(&files.out).expect("a file")).len(), LINES);

    let other = fs::read_to_string(&files.input).expect("a file").replace("\"delta\":1", "\"delta\":2");
    fs::write(&files.input, other).expect("a file");
    let status = start(&system, &files, &files.out, true).wait().expect("it ends");
    assert_eq!(status.code(), Some(6), "an output of another input");
    check(&system);

    let missing = Files { out: system.folder().join("mistyped.json"), ..files };
    let status = start(&system, &missing, &system.folder().join("elsewhere.json"), true).wait().expect("it ends");
    assert_eq!(status.code(), Some(1), "an output that is not there");
    check(&system);
}
