//! The table of `docs/mutants.md`: who was caught by whom, and with which seed. The file is its own list of pins.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use handfast_common::mutants::Mutant;

/// How a mutant was caught.
pub(crate) struct Row {
    pub(crate) seed: u64,
    pub(crate) oracle: String,
    pub(crate) how: String,
}

const HEAD: &str = "| mutant | the rule that it undoes | stands for | where it is looked for | seed | caught by |\n\
                    |---|---|---|---|---|---|\n";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mutants.md")
}

/// The seeds that the file has, by name of the mutant.
pub(crate) fn read() -> BTreeMap<String, u64> {
    let text = fs::read_to_string(file()).unwrap_or_default();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Some(((*cells.get(1)?).to_owned(), cells.get(5)?.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

/// The table of what was found.
pub(crate) fn render(rows: &BTreeMap<Mutant, Row>) -> String {
    let mut table = HEAD.to_owned();
    for (mutant, Row { seed, oracle, how }) in rows {
        let (name, rule, stands_for) = (mutant.name(), mutant.rule(), mutant.stands_for());
        writeln!(table, "| {name} | {rule} | {stands_for} | {how} | {seed} | {oracle} |").expect("a string takes all");
    }
    table
}

/// The file says what was found, or is written anew by `HANDFAST_WRITE_DOCS=1`.
///
/// # Panics
/// When it says something else.
pub(crate) fn compare(rows: &BTreeMap<Mutant, Row>) {
    let text = fs::read_to_string(file()).unwrap_or_else(|error| panic!("docs/mutants.md: {error}"));
    let begins = text.find(HEAD).expect("docs/mutants.md has the head of the table");
    let ends = text[begins..].find("\n\n").map_or(text.len(), |at| begins + at + 1);
    let table = render(rows);
    if std::env::var_os("HANDFAST_WRITE_DOCS").is_some() {
        let anew = [&text[..begins], &table, &text[ends..]].concat();
        fs::write(file(), anew).expect("docs/mutants.md can be written");
    } else {
        assert!(text[begins..ends] == table, "docs/mutants.md is not what was found: HANDFAST_WRITE_DOCS=1 writes it");
    }
}
