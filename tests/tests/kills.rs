//! Hundreds of kills, and stops that look like them, under one load.

use std::time::Instant;

use handfast_tests::killer::Killer;
use handfast_tests::ledger::{IN_DOUBT_ENDS, Load, Told};
use handfast_tests::processes::System;
use handfast_tests::settings::setting;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
/// Kills of a run. Each kind of process gets at least a quarter of them: of three processes one is the coordinator.
const KILLS: usize = 210;

#[test]
fn two_hundred_kills_of_either_role_lose_nothing_and_leave_nothing_in_doubt() {
    let (seed, kills) = (setting("HANDFAST_FAULT_SEED", 6), setting("HANDFAST_KILLS", KILLS as u64) as usize);
    println!("again with HANDFAST_FAULT_SEED={seed} HANDFAST_KILLS={kills}");
    let mut killer = Killer::new(seed);
    let mut system = System::start(PROGRAM, 2);
    let load = Load::start(system.coordinator.address(), 8);
    let began = Instant::now();
    while killer.done.kills() < kills {
        killer.strike(&mut system);
    }
    let last_ready = Instant::now();
    let ledger = load.stop();
    ledger.check(&system, IN_DOUBT_ENDS.saturating_sub(last_ready.elapsed()));
    let told = [Told::Committed, Told::Nothing, Told::Unknown].map(|told| (told, ledger.count(told)));
    let done = killer.done;
    println!("{done:?} in {:?}; told {told:?}", last_ready - began);
    let least = kills / 5;
    assert!(done.coordinator_kills >= least && done.participant_kills >= least, "{done:?}");
    assert!(done.stops > 0, "{done:?}");
    assert!(ledger.count(Told::Committed) > kills, "{told:?}");
}
