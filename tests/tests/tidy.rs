//! Style rules that a compiler does not check: file sizes, module docs, and words that must not be there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most lines of a source file: beyond it a reader no longer sees the house.
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All text files of the project, with their contents: what git would track, or, without git, what is there.
fn files() -> Vec<(String, String)> {
    let mut names = listed_by_git().unwrap_or_default();
    if names.is_empty() {
        walk(&root(), "", &mut names);
    }
    names.sort();
    let read = |name: String| fs::read_to_string(root().join(&name)).ok().map(|text| (name, text));
    let found: Vec<_> = names.into_iter().filter_map(read).collect();
    assert!(found.iter().any(|(name, _)| name == "tests/tests/tidy.rs"), "these are not the project's files");
    found
}

fn sources() -> Vec<(String, String)> {
    files().into_iter().filter(|(name, _)| name.ends_with(".rs")).collect()
}

fn listed_by_git() -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match is_folder {
            true if name != "target" && name != ".git" => walk(&entry.path(), &format!("{prefix}{name}/"), names),
            true => {}
            false => names.push(format!("{prefix}{name}")),
        }
    }
}

/// Fails with all places at once: one run should tell everything.
fn none(what: &str, places: &[String]) {
    assert!(places.is_empty(), "{what}:\n  {}", places.join("\n  "));
}

fn lines_with<'a>(files: &'a [(String, String)], words: &'a [String]) -> impl Iterator<Item = String> + 'a {
    files.iter().flat_map(move |(name, text)| {
        text.lines().enumerate().filter_map(move |(number, line)| {
            let word = words.iter().find(|word| line.contains(word.as_str()))?;
            Some(format!("{name}:{}: {word}", number + 1))
        })
    })
}

#[test]
fn no_source_file_is_longer_than_a_reader_can_hold() {
    let long = |(name, text): &(String, String)| {
        let lines = text.lines().count();
        (lines > MAX_LINES).then(|| format!("{name}: {lines} lines"))
    };
    none("over 500 lines", &sources().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let silent = |(name, text): &(String, String)| (!text.starts_with("//!")).then(|| name.clone());
    none("no module docs in the first line", &sources().iter().filter_map(silent).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_for_later_and_no_test_is_switched_off() {
    // Put together here, or this file would find itself.
    let words: Vec<String> = ["TO DO", "FIX ME", "XX X", "to do!", "unimple mented!", "#[ig nore"]
        .iter()
        .map(|word| word.replace(' ', ""))
        .collect();
    none("unfinished", &lines_with(&sources(), &words).collect::<Vec<_>>());
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let words: Vec<String> =
        ["/work /", "/ro ot/", "/ho me/", "sha red/", "index.cra tes.io", "static.cra tes.io", ".car go/registry"]
            .iter()
            .map(|word| word.replace(' ', ""))
            .collect();
    none("a place that users do not have", &lines_with(&files(), &words).collect::<Vec<_>>());
}

#[test]
fn every_package_comes_from_the_default_registry() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("it is tracked");
    let sources = lock.lines().filter(|line| line.starts_with("source = "));
    let foreign = sources.filter(|line| *line != r#"source = "registry+https://github.com/rust-lang/crates.io-index""#);
    none("not from the default registry", &foreign.map(str::to_owned).collect::<Vec<_>>());
}

/// What is stored or received may be anything; in the machines it must become a named error, never a panic.
#[test]
fn the_machines_do_not_unwrap() {
    let own = |name: &str| name.contains("/src/protocol/") && !name.contains("/tests");
    let machines: Vec<_> = sources()
        .into_iter()
        .filter(|(name, _)| own(name))
        .map(|(name, text)| (name, text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()))
        .collect();
    assert!(machines.len() > 20, "the protocol modules have moved");
    none("unwrap in a pure machine", &lines_with(&machines, &[".unwrap()".to_owned()]).collect::<Vec<_>>());
}
