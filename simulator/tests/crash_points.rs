//! Everything that a scenario does is made to fail, one thing at a time, and again inside the recovery; in three orders of
//! events. By `HANDFAST_STRIDE=61` one operation of so many, so that the test takes seconds while one works on something;
//! by `HANDFAST_SCENARIO=name` only one scenario.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use handfast_simulator::crash::scenarios::{Scenario, all};
use handfast_simulator::crash::{Found, Stride, exhaust};
use handfast_simulator::world::{Options, World};

/// Images that are opened by a recovery, at the least, and crashes inside of one.
const IMAGES: u64 = 50_000;
/// See there.
const NESTED: u64 = 10_000;

#[test]
fn every_crash_point_of_every_scenario_is_survived() {
    let stride = std::env::var("HANDFAST_STRIDE").ok().and_then(|stride| stride.parse().ok()).unwrap_or(1);
    let schedules = if stride == 1 { 3 } else { 1 };
    let second = if stride == 1 { 20 } else { 4 };
    let only = std::env::var("HANDFAST_SCENARIO").ok();
    let mut scenarios = all();
    scenarios.retain(|scenario| only.as_ref().is_none_or(|only| only == scenario.name));
    // Another seed is another order of events. What takes longest comes first.
    let scenarios: Vec<Scenario> = scenarios
        .into_iter()
        .rev()
        .flat_map(|one| {
            (0..schedules)
                .map(move |seed| Scenario { options: Options { seed: 5 + seed, ..one.options.clone() }, ..one })
        })
        .collect();
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Found::default()));
    // Each run has one thread; scenarios share the processors.
    let broken: Vec<String> = thread::scope(|scope| {
        let worker = || {
            let mut broken = Vec::new();
            while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                let stride = Stride { first: stride, second, all: scenario.options.seed == 5 };
                match exhaust(scenario, stride) {
                    Ok(found) => add(&mut total.lock().expect("no worker panics"), scenario.name, &found),
                    Err(error) => broken.push(error.to_string()),
                }
            }
            broken
        };
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it does not panic")).collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let total = total.into_inner().expect("no worker panics");
    println!("all: {} runs, {} images, {} crashes inside a recovery", total.runs, total.images, total.nested);
    println!("{}", total.cells);
    assert!(total.images > 10 && total.nested > 10, "nothing was tried");
    if stride == 1 && only.is_none() {
        assert!(total.images >= IMAGES, "only {} images", total.images);
        assert!(total.nested >= NESTED, "only {} crashes inside a recovery", total.nested);
    }
}

fn add(total: &mut Found, name: &str, found: &Found) {
    println!(
        "{name}: {} disk operations, {} messages, {} effects: {} runs, {} images, {} crashes inside a recovery",
        found.operations, found.messages, found.effects, found.runs, found.images, found.nested
    );
    total.runs += found.runs;
    total.images += found.images;
    total.nested += found.nested;
    total.cells.add(&found.cells);
}

#[test]
fn scenarios_are_what_their_names_say() {
    for scenario in all() {
        let summary = World::new(scenario.options.clone()).run().unwrap_or_else(|failed| panic!("{failed:?}"));
        let found = (summary.committed, summary.aborted, summary.restarts);
        let expected = match scenario.name {
            "commit_of_one_branch" | "commit_of_two_branches" | "commit_of_three_branches" => (1, 0, 0),
            "client_timeout_then_query" => (1, 0, 0),
            "one_no_vote" | "prepare_timeout" => (0, 1, 0),
            "participant_crash_after_yes" | "coordinator_crash_after_decision" => (1, 0, 1),
            "coordinator_crash_before_decision" => (0, 1, 1),
            "duplicates_and_reorder" => (found.0, 2 - found.0, 0),
            "read_only_and_one_phase" => (found.0, 3 - found.0, 0),
            "twenty_in_doubt" => (found.0, 20 - found.0, 3),
            "collection_while_one_branch_is_down" => (found.0, found.1, 1),
            other => panic!("{other}"),
        };
        assert_eq!(found, expected, "{}", scenario.name);
        if scenario.name == "twenty_in_doubt" {
            assert_eq!(summary.in_doubt, 40, "branches found in doubt");
        }
        if scenario.name == "collection_while_one_branch_is_down" {
            assert_eq!(summary.in_doubt, 1, "branches found in doubt");
        }
    }
}
