//! Real processes over links that break in every way a network has.

use std::time::{Duration, Instant};

use handfast_tests::ledger::{IN_DOUBT_ENDS, Load, Told};
use handfast_tests::processes::{System, json_lines, spread_transfer};
use handfast_tests::proxied::{Nemesis, Proxied};
use handfast_tests::proxy::Fault;
use handfast_tests::settings::setting;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
/// Least faults that must have touched something.
const FAULTS: u64 = 50;

#[test]
fn links_break_in_every_way_and_what_was_told_is_true() {
    let (seed, seconds) = (setting("HANDFAST_FAULT_SEED", 4), setting("HANDFAST_FAULT_SECONDS", 40));
    println!("again with HANDFAST_FAULT_SEED={seed} HANDFAST_FAULT_SECONDS={seconds}");
    let Proxied { system, links } = Proxied::start(PROGRAM);
    let load = Load::start(links.to_coordinator.address(), 8);
    let mut nemesis = Nemesis::new(seed);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut hits = links.hits();
    // A slow machine gets the time that it needs for its faults.
    while Instant::now() < until || hits.values().sum::<u64>() < FAULTS {
        nemesis.strike(&links);
        hits = links.hits();
    }
    let healed = Instant::now();
    let ledger = load.stop();
    ledger.check(&system, IN_DOUBT_ENDS.saturating_sub(healed.elapsed()));
    let told = [Told::Committed, Told::Nothing, Told::Unknown].map(|told| (told, ledger.count(told)));
    println!("faults {hits:?}; told {told:?}; nothing in doubt {:?} after healing", healed.elapsed());
    for kind in Fault::KINDS {
        assert!(hits.get(kind).is_some_and(|hits| *hits > 0), "no {kind}: {hits:?}");
    }
    assert!(ledger.count(Told::Committed) > 1_000, "{told:?}");
}

#[test]
fn a_link_that_swallows_everything_is_given_up_and_dialled_anew() {
    let Proxied { system, links } = Proxied::start(PROGRAM);
    let began = Instant::now();
    links.to_participant[0].inject(Fault::HalfOpen);
    let mut number = 0;
    loop {
        // Nobody is told that the link is dead: an unanswered call has to show it.
        let lines = [spread_transfer(number, "p0", "p1")];
        let submitting = system.begin_submit(&lines, &["--deadline", "3000"]);
        let output = submitting.wait_with_output().expect("submit ends");
        if json_lines(&output.stdout).iter().any(|line| line["outcome"] == "committed") {
            break;
        }
        number += 1;
        assert!(began.elapsed() < Duration::from_secs(12), "the link is still dead\n{}", system.logs());
    }
    assert_eq!(links.hits().get("half-open"), Some(&1));
    assert_usable(&system);
}

fn assert_usable(system: &System) {
    let lines: Vec<String> = (100..200).map(|number| spread_transfer(number, "p0", "p1")).collect();
    let answers = system.submit(&lines);
    assert!(answers.iter().all(|line| line["outcome"] == "committed"), "{answers:?}\n{}", system.logs());
}
