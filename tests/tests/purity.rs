//! The two `protocol` modules are pure: what they are built from, and what they name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the pure machines must not have anywhere below them.
const IMPURE_CRATES: [&str; 3] = ["tokio", "tarpc", "redb"];

/// What their sources must not name: clocks, randomness, tasks, and maps whose order changes from run to run.
const IMPURE_WORDS: [&str; 12] = [
    "HashMap",
    "HashSet",
    "RandomState",
    "Instant",
    "SystemTime",
    "rand",
    "new_v4",
    "async",
    "await",
    "tokio",
    "tarpc",
    "redb",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The machines' own files: those of the folder itself, for its tests stand one level deeper.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["coordinator/src/protocol", "participant/src/protocol"] {
        for entry in fs::read_dir(root().join(folder)).expect("the folder is there") {
            let path = entry.expect("readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                found.push((format!("{folder}/{name}"), fs::read_to_string(&path).expect("it is text")));
            }
        }
    }
    assert!(found.len() > 20, "the protocol modules have moved: {}", found.len());
    found
}

/// What is compiled: without comments, and without a module of tests at the end.
fn code(text: &str) -> String {
    let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    own.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn names(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn the_pure_machines_have_no_runtime_wire_or_disk_below_them() {
    for package in ["handfast-coordinator", "handfast-participant"] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["tree", "-p", package, "--no-default-features", "-e", "normal"])
            .args(["--prefix", "none", "--format", "{lib} {p}", "--locked", "--offline"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let tree = String::from_utf8(output.stdout).expect("text");
        assert!(tree.contains("handfast_common "), "no tree of {package}: {tree}");
        for line in tree.lines() {
            let library = line.split_whitespace().next().unwrap_or_default();
            let impure = IMPURE_CRATES.iter().any(|name| library == *name || library.starts_with(&format!("{name}_")));
            assert!(!impure, "{package} without default features depends on {line}");
        }
    }
}

#[test]
fn the_pure_machines_name_no_clock_randomness_or_task() {
    for (file, text) in sources() {
        let code = code(&text);
        for word in IMPURE_WORDS {
            assert!(!names(&code, word), "{file} names {word}");
        }
        assert!(
            !code.contains("std::time::") || code.contains("std::time::Duration"),
            "{file} uses more than durations"
        );
        for outside in ["std::fs", "std::net", "std::thread", "std::sync", "std::env", "std::process", "std::io"] {
            assert!(!code.contains(outside), "{file} names {outside}");
        }
    }
}

/// A new state or event must not compile until someone has said what it means everywhere. An arm with one half open
/// (`(Phase::Ended, _)`) is fine: the other half is named.
#[test]
fn no_wildcard_arm_hides_a_state() {
    const WILD: [&str; 5] = ["_ =>", "_ if ", "| _ =>", "(_, _) =>", "(_, _) if "];
    for (file, text) in sources() {
        for (number, line) in code(&text).lines().enumerate() {
            let wild = WILD.iter().any(|start| line.trim_start().starts_with(start));
            assert!(!wild, "{file}:{}: {}", number + 1, line.trim());
        }
    }
}
