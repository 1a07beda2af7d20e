//! Each timeline's rule is undone, and a scenario of that timeline notices; without it nothing is wrong.
#![cfg(feature = "mutants")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use handfast_common::mutants::{Mutant, with};
use handfast_simulator::timelines::{Timeline, all};

/// As many as the scenarios themselves are played with.
const SEEDS: u64 = 4;

const HEAD: &str = "| mutant | timeline | scenario that it breaks | seed | caught by |\n|---|---|---|---|---|\n";

#[test]
fn every_mutant_of_a_timeline_breaks_a_scenario_of_it() {
    let (mut table, mut escaped) = (HEAD.to_owned(), Vec::new());
    for mutant in Mutant::ALL {
        let Some(number) = mutant.timeline() else { continue };
        let scenarios: Vec<Timeline> = all().into_iter().filter(|timeline| timeline.name.starts_with(number)).collect();
        let broken: Vec<_> = scenarios.iter().filter_map(|timeline| broken_by(*mutant, timeline)).collect();
        if broken.is_empty() {
            escaped.push(format!("{} ({number}) breaks none of {} scenarios", mutant.name(), scenarios.len()));
        }
        for (scenario, seed, oracle, what) in broken {
            println!("{} breaks {scenario}, seed {seed}: {what}", mutant.name());
            writeln!(table, "| {} | {number} | {scenario} | {seed} | {oracle} |", mutant.name()).expect("a string");
        }
    }
    assert!(escaped.is_empty(), "{}", escaped.join("\n"));
    compare(&table);
}

/// The first seed with which it breaks, and who noticed. Without the mutant that seed is sound.
fn broken_by(mutant: Mutant, timeline: &Timeline) -> Option<(&'static str, u64, String, String)> {
    for seed in 0..SEEDS {
        let Err(failed) = with(mutant, || timeline.play(seed)) else { continue };
        if let Err(alone) = timeline.play(seed) {
            panic!("{}, seed {seed}, is broken without any mutant: {}", timeline.name, alone.violation);
        }
        let what = failed.violation.to_string().chars().take(300).collect();
        return Some((timeline.name, seed, failed.violation.oracle.to_owned(), what));
    }
    None
}

/// `docs/timelines.md` says what was found, or is written anew by `HANDFAST_WRITE_DOCS=1`.
fn compare(table: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/timelines.md");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("docs/timelines.md: {error}"));
    let begins = text.find(HEAD).expect("docs/timelines.md has the head of the table");
    let ends = text[begins..].find("\n\n").map_or(text.len(), |at| begins + at + 1);
    if std::env::var_os("HANDFAST_WRITE_DOCS").is_some() {
        let anew = [&text[..begins], table, &text[ends..]].concat();
        fs::write(file, anew).expect("docs/timelines.md can be written");
    } else {
        assert!(
            &text[begins..ends] == table,
            "docs/timelines.md is not what was found: HANDFAST_WRITE_DOCS=1 writes it"
        );
    }
}
