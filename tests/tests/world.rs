//! The pure machines of both roles against each other, under seeded faults. A failing seed is printed; run it alone and
//! with all that happens by `HANDFAST_WORLD_SEED=n cargo test -p handfast-tests --test world one_seed -- --nocapture`. More of them:
//! `HANDFAST_WORLD_SEEDS=20000`. `HANDFAST_WORLD_GONE=1` runs the one seed without its coordinator.

use std::panic::catch_unwind;

use handfast_tests::world::{Summary, World};

#[test]
fn many_worlds_keep_their_promises() {
    let mut total = Summary::default();
    let seeds = std::env::var("HANDFAST_WORLD_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    for seed in 0..seeds {
        let Ok(summary) = catch_unwind(|| World::new(seed).run()) else {
            panic!("seed {seed} breaks a promise");
        };
        total.committed += summary.committed;
        total.aborted += summary.aborted;
        total.breaks += summary.breaks;
        total.effects += summary.effects;
        total.inquiries_decided += summary.inquiries_decided;
        total.operations += summary.operations;
        total.repeated += summary.repeated;
        total.interactive.0 += summary.interactive.0;
        total.interactive.1 += summary.interactive.1;
        total.enlists_refused += summary.enlists_refused;
        total.peers_asked += summary.peers_asked;
        total.peers_decided += summary.peers_decided;
        total.crashes.0 += summary.crashes.0;
        total.crashes.1 += summary.crashes.1;
    }
    println!("{total:?}");
    // A world in which nothing happens keeps every promise.
    assert!(total.committed > 1_000 && total.aborted > 1_000 && total.effects > 1_000, "{total:?}");
    assert!(total.crashes.0 > 300 && total.crashes.1 > 300 && total.breaks > 300, "{total:?}");
    assert!(total.inquiries_decided > 100, "{total:?}");
    assert!(total.interactive.0 > 1_000 && total.interactive.1 > 1_000 && total.operations > 5_000, "{total:?}");
    assert!(total.repeated > 500 && total.enlists_refused > 300, "{total:?}");
    assert!(total.peers_asked > 300 && total.peers_decided > 100, "{total:?}");
}

#[test]
fn t02_without_the_coordinator_whoever_knows_ends_it_in_two_seconds_and_the_others_wait() {
    let (mut freed, mut left) = (0, 0);
    for seed in 0..150 {
        let Ok(summary) = catch_unwind(|| World::new(seed).run_without_coordinator()) else {
            panic!("seed {seed}: without the coordinator");
        };
        freed += summary.freed;
        left += summary.left_waiting;
    }
    assert!(freed > 100 && left > 100, "{freed} freed, {left} left waiting");
}

#[test]
fn t08b_a_copy_that_one_participant_has_heard_is_found_whatever_is_lost() {
    let mut stops = 0;
    for seed in 0..200 {
        let Ok(summary) = catch_unwind(|| World::new(seed).run_with_a_copy()) else {
            panic!("seed {seed}: the original does not find out");
        };
        stops += summary.stops;
    }
    assert!(stops > 1_000, "{stops} stops");
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in [1, 7, 42] {
        assert_eq!(World::new(seed).run(), World::new(seed).run());
    }
}

#[test]
fn one_seed() {
    let chosen = std::env::var("HANDFAST_WORLD_SEED").ok().and_then(|seed| seed.parse().ok());
    match chosen {
        Some(seed) if std::env::var_os("HANDFAST_WORLD_GONE").is_some() => {
            println!("{:?}", World::new(seed).narrated().run_without_coordinator());
        }
        Some(seed) => println!("{:?}", World::new(seed).narrated().run()),
        None => drop(World::new(0).run()),
    }
}
