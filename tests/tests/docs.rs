//! The book and the code say the same: tests that it names exist, links lead somewhere, commands are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rows of docs/failures.md, and timelines behind them.
const ROWS: std::ops::RangeInclusive<usize> = 1..=52;
const TIMELINES: std::ops::RangeInclusive<usize> = 1..=20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// README.md and the pages of docs/, relative to the root.
fn pages() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("docs"))
        .expect("docs/ is there")
        .map(|entry| format!("docs/{}", entry.expect("readable").file_name().to_string_lossy()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.push("README.md".to_owned());
    names
}

/// Every function of the project's sources, by name.
fn functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect_functions(&root(), &mut found);
    assert!(found.contains("collect_functions"), "these are not the project's sources");
    found
}

fn collect_functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && name != ".git" {
            collect_functions(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            for after in text.split("fn ").skip(1) {
                found.insert(after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
            }
        }
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether it looks like the name of a test: for a row (`f22_...`), for a timeline (`t04b_...`), or a sentence of at
/// least five words.
fn is_test_name(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let numbered = word.starts_with(['f', 't']) && word.get(1..3).is_some_and(|number| number.parse::<u8>().is_ok());
    plain && (word.split('_').count() >= 5 || numbered && word.contains('_'))
}

/// The numbers of a table's rows: `| 12 | ...`.
fn row_numbers(text: &str) -> Vec<usize> {
    text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.trim().parse().ok()).collect()
}

#[test]
fn the_failure_catalogue_is_complete() {
    let text = read("docs/failures.md");
    let (failures, timelines) = text.split_once("## Timelines").expect("two parts");
    assert_eq!(row_numbers(failures), ROWS.collect::<Vec<_>>());
    assert_eq!(row_numbers(timelines), TIMELINES.collect::<Vec<_>>());
    let covered = |row: &&str| !row.split('|').nth(3).unwrap_or_default().trim().is_empty();
    let open: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).filter(|row| !covered(row)).collect();
    assert!(open.is_empty(), "rows without a test, a capability or a reason:\n  {}", open.join("\n  "));
}

#[test]
fn every_test_that_the_book_names_exists() {
    let functions = functions();
    let mut missing = Vec::new();
    for page in pages() {
        let text = read(&page);
        let names = quoted(&text).filter(|word| is_test_name(word));
        missing.extend(names.filter(|name| !functions.contains(*name)).map(|name| format!("{page}: {name}")));
    }
    assert!(missing.is_empty(), "named in the book, not in the code:\n  {}", missing.join("\n  "));
}

#[test]
fn relative_links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        let here = root().join(&page);
        for link in text.split("](").skip(1).filter_map(|after| after.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.contains("://") {
                continue;
            }
            let target = if file.is_empty() { here.clone() } else { here.with_file_name("").join(file) };
            if !target.exists() || !(anchor.is_empty() || has_heading(&target, anchor)) {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "links to nowhere:\n  {}", broken.join("\n  "));
}

fn has_heading(page: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(page).unwrap_or_default();
    let slug = |title: &str| -> String {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    };
    text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line.trim_start_matches('#').trim()) == anchor)
}

/// Commands in code blocks of the README: each is asked for its help.
#[test]
fn the_commands_of_the_readme_are_there() {
    let text = read("README.md");
    let blocks = text.split("```").skip(1).step_by(2);
    let mut asked = BTreeSet::new();
    for line in blocks.flat_map(str::lines) {
        let line = line.trim_start_matches("$ ");
        let rest = line.strip_prefix("handfast ").or_else(|| line.strip_prefix("cargo run --release -- "));
        asked.extend(rest.and_then(|rest| rest.split_whitespace().next()).filter(|word| !word.starts_with('-')));
    }
    assert!(asked.contains("demo"), "the README shows no demo");
    for command in asked {
        let output = Command::new(env!("CARGO_BIN_EXE_handfast-under-test")).args([command, "--help"]).output();
        assert!(output.is_ok_and(|output| output.status.success()), "`handfast {command}` is no command");
    }
}

#[test]
fn every_error_code_is_in_the_book_and_the_other_way_round() {
    let codes = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        words.filter(|word| word.len() == 6 && word.starts_with("HF0")).map(str::to_owned).collect()
    };
    let catalogue = codes(&read("cli/src/errors.rs"));
    let book = codes(&read("docs/operating.md"));
    assert_eq!(catalogue, book, "the catalogue of `handfast explain`, and the table in docs/operating.md");
}
