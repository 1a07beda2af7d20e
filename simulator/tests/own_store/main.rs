//! A store of one's own under the world: a right one keeps every promise, and a wrong one is found out. docs/simulate.md
//! leads through it.

mod notebook;
mod pages;

use handfast_simulator::run::{Choice, Report, narrate_over, run, run_over};
use handfast_simulator::stores::{Embedded, Stores, polled};
use handfast_simulator::world::Summary;
use notebook::{Defect, Notebook};

/// Seeds that are tried.
const SEEDS: u64 = 50;

/// Runs one seed, and shortens it if it breaks a promise.
fn world(seed: u64, defect: Option<Defect>) -> Result<Summary, Box<Report>> {
    run_over(seed, &Choice::default(), &|| stores(defect))
}

/// The stores of one world.
fn stores(defect: Option<Defect>) -> Box<dyn Stores> {
    Box::new(polled(async move |ground| Notebook::open(ground, defect)))
}

#[test]
fn a_small_store_that_is_right_keeps_every_promise_over_fifty_seeds() {
    let (mut committed, mut in_doubt, mut restarts) = (0, 0, 0);
    for seed in 0..SEEDS {
        let summary = world(seed, None).unwrap_or_else(|report| panic!("{report}"));
        committed += summary.committed;
        in_doubt += summary.in_doubt;
        restarts += summary.restarts;
    }
    assert!(committed > 500 && in_doubt > 5 && restarts > 50, "{committed} committed, {in_doubt}, {restarts}");
}

#[test]
fn a_store_with_a_defect_is_found_out_and_what_it_takes_is_told() {
    for defect in [Defect::ForgetsPrepared, Defect::YesBeforeDisk] {
        let report = (0..SEEDS).find_map(|seed| world(seed, Some(defect)).err());
        let report = report.unwrap_or_else(|| panic!("no seed finds {defect:?}"));
        println!("{defect:?}: {report}");
        assert_eq!(report.violation.oracle, "binding votes", "{defect:?}: {report}");
        assert!(!report.plan.is_empty() && report.plan.len() < report.planned, "{defect:?}: {report}");
        let printed = report.to_string();
        for part in ["said Yes to", "a restart does not find it", "narrate_over", "faults it takes these", "BROKEN"] {
            assert!(printed.contains(part), "{defect:?}: '{part}' is not in {printed}");
        }
        // The whole story of the seed ends with a broken promise as well, before anything was left out.
        let told = narrate_over(report.seed, &report.choice, &|| stores(Some(defect)));
        assert!(told.ended.is_err() && told.story.len() > report.story.len(), "{} lines", told.story.len());
    }
}

#[test]
fn a_panic_of_a_store_breaks_a_promise_like_any_other_and_its_story_is_told() {
    let report = (0..SEEDS).find_map(|seed| world(seed, Some(Defect::Panics)).err()).expect("somebody commits");
    assert_eq!((report.violation.oracle, report.violation.what.as_str()), ("panic", "a page is missing"));
    assert!(report.story.iter().any(|line| line.contains("Commit")), "{report}");
}

#[test]
fn the_same_seed_gives_the_same_world_over_any_store() {
    for seed in [1, 7, 42] {
        let once = world(seed, None).unwrap_or_else(|report| panic!("{report}"));
        let twice = world(seed, None).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(once, twice, "seed {seed}");
        let embedded = run_over(seed, &Choice::default(), &|| Box::new(Embedded)).unwrap_or_else(|it| panic!("{it}"));
        assert_ne!(once.trace, embedded.trace, "seed {seed} does not run over the store that it was given");
        assert_eq!(run(seed, &Choice::default()).ok(), Some(embedded), "seed {seed}");
    }
}
