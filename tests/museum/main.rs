//! The museum: every bug that was ever found in Handfast, or in what is meant to find bugs, with two lines on what it was
//! and the test that keeps it from coming back.
//!
//! A new one: write the test that fails, mend what it shows, add the exhibit. An exhibit is never taken down; when its test
//! moves or gets another name, its entry follows.

mod exhibits;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use exhibits::{EXHIBITS, Exhibit};
use handfast_simulator::run::{Choice, run};
use handfast_simulator::timelines;

fn source(exhibit: &Exhibit) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(exhibit.file)).unwrap_or_else(|error| panic!("{}: {error}", exhibit.file))
}

#[test]
fn every_exhibit_has_its_test() {
    for exhibit in EXHIBITS {
        let text = source(exhibit);
        let head = format!("fn {}(", exhibit.test);
        // The timelines have one line each in a list that a macro makes tests of.
        let listed = format!("    {},\n", exhibit.test);
        let Some(at) = text.find(&head) else {
            assert!(text.contains("timelines! {") && text.contains(&listed), "no test for {exhibit:?}");
            continue;
        };
        let mut above = text[..at].trim_end().lines().rev().take_while(|line| !line.trim().is_empty());
        assert!(above.any(|line| line.contains("test]")), "it is no test: {exhibit:?}");
    }
}

#[test]
fn every_exhibit_says_what_it_was() {
    let names: BTreeSet<&str> = EXHIBITS.iter().map(|exhibit| exhibit.name).collect();
    assert_eq!(names.len(), EXHIBITS.len(), "a name comes twice");
    for exhibit in EXHIBITS {
        assert!(exhibit.what.iter().all(|line| line.len() > 20 && line.ends_with('.')), "{exhibit:?}");
    }
}

/// An old copy of the coordinator's folder, started several times, must not keep the newest one out.
#[test]
fn an_old_copy_under_a_supervisor() {
    let timeline = timelines::named("t08b_a_fenced_copy_under_a_supervisor").expect("it is played");
    for seed in 0..20 {
        timeline.play(seed).unwrap_or_else(|failed| panic!("seed {seed}: {failed:?}"));
    }
}

/// One-phase commits whose lazy record was lost must be reported before a mark covers them.
#[test]
fn a_mark_over_what_was_not_reported() {
    let timeline = timelines::named("t04c_one_phase_whose_record_is_lost").expect("it is played");
    for seed in 0..20 {
        timeline.play(seed).unwrap_or_else(|failed| panic!("seed {seed}: {failed:?}"));
    }
}

/// A Yes that is repeated after its abort was carried out is no new promise: an oracle that took it for one cried wolf.
#[test]
fn a_repeated_yes_after_the_abort() {
    run(1348, &Choice::default()).unwrap_or_else(|report| panic!("{report}"));
}
