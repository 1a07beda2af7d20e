//! `handfast verify` over the files of a system that was killed in the middle of its work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use handfast_tests::processes::{System, copy_folder, json_lines, replace_folder, stop};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");

/// Every file of these folders, with its content.
fn image(folders: &[&Path]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(&file).expect("a file"))).collect()
}

fn verify(system: &System, more: &[&str]) -> Output {
    let data = |node: &handfast::nodes::Node| node.data().display().to_string();
    let (coordinator, p0, p1) =
        (data(&system.coordinator), data(&system.participants[0]), data(&system.participants[1]));
    let mut arguments = vec!["verify", "--coordinator", &coordinator, "--participant", &p0, &p1, "-o", "json"];
    arguments.extend(more);
    system.run(&arguments)
}

/// The last line: the summary.
fn summary(output: &Output) -> Value {
    json_lines(&output.stdout).pop().expect("a summary")
}

fn start_all(system: &mut System) {
    for node in &mut system.participants {
        node.start().expect("it starts again");
    }
    system.coordinator.start().expect("it starts again");
}

#[test]
fn what_a_kill_leaves_is_proved_whole_and_not_a_byte_changes() {
    let mut system = System::start(PROGRAM, 2);
    let running = verify(&system, &[]);
    assert_eq!(running.status.code(), Some(6), "{}", String::from_utf8_lossy(&running.stderr));
    let mut in_doubt = 0;
    for round in 0..4 {
        system.kill_under_load((round + 1) * 50_000);
        let folders: Vec<PathBuf> = std::iter::once(&system.coordinator)
            .chain(&system.participants)
            .map(|node| node.data().to_owned())
            .collect();
        let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
        let before = image(&folders);
        let scratch = system.folder().display().to_string();
        for more in [&[][..], &["--all", "--scratch", &scratch]] {
            let verified = verify(&system, more);
            assert_eq!(verified.status.code(), Some(0), "{verified:?}");
            let summary = summary(&verified);
            assert_eq!(summary["findings"], 0, "{summary}");
            in_doubt += summary["in_doubt"].as_u64().expect("a number");
        }
        assert!(before == image(&folders), "looking has changed a file");
        start_all(&mut system);
    }
    assert!(in_doubt > 0, "no kill left anything in doubt");
}

#[test]
fn t06_t09_an_older_copy_of_either_side_is_a_counterexample() {
    let mut system = System::start(PROGRAM, 2);
    let old = |system: &System, name: &str| system.folder().join(format!("{name}.old"));
    stop(&mut system.coordinator);
    stop(&mut system.participants[1]);
    copy_folder(system.coordinator.data(), &old(&system, "coordinator"));
    copy_folder(system.participants[1].data(), &old(&system, "p1"));
    system.participants[1].start().expect("it starts again");
    system.coordinator.start().expect("it starts again");
    system.kill_under_load(50_000);
    assert_eq!(summary(&verify(&system, &[]))["findings"], 0);
    for (data, name) in [(system.coordinator.data(), "coordinator"), (system.participants[1].data(), "p1")]
        .map(|(d, n)| (d.to_owned(), n))
    {
        let newest = system.folder().join(format!("{name}.newest"));
        copy_folder(&data, &newest);
        replace_folder(&data, &old(&system, name));
        let verified = verify(&system, &[]);
        assert_eq!(verified.status.code(), Some(9), "{name}: {verified:?}");
        let lines = json_lines(&verified.stdout);
        assert!(lines.iter().any(|line| line["promise"] == "A9"), "{name}: {lines:?}");
        replace_folder(&data, &newest);
    }
    assert_eq!(summary(&verify(&system, &[]))["findings"], 0);
}
