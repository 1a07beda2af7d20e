//! What no store survives is noticed, and what a store must notice is refused: so the oracles and the disk are not blind.

use handfast_simulator::disk::{Loss, Trouble};
use handfast_simulator::matrix::Cells;
use handfast_simulator::plan::{Fault, Host, Planned};
use handfast_simulator::rot::rot;
use handfast_simulator::run::{Choice, options};
use handfast_simulator::workload::Workload;
use handfast_simulator::world::{Options, World};

fn bank(seed: u64) -> Options {
    let choice = Choice { workload: Some(Workload::Bank), nemeses: Vec::new() };
    Options { plan: Vec::new(), ..options(seed, &choice) }
}

#[test]
fn t03_a_damaged_file_is_refused_or_gives_exactly_what_was_there() {
    let (mut refused, mut harmless, mut cells) = (0, 0, Cells::default());
    for seed in 0..8 {
        let rotted = rot(World::new(bank(seed)), seed, 60).unwrap_or_else(|why| panic!("{why}"));
        refused += rotted.refused;
        harmless += rotted.harmless;
        cells.add(&rotted.cells);
    }
    println!("{refused} damages refused, {harmless} harmless\n{cells}");
    assert!(refused > 200 && harmless > 100, "{refused} refused, {harmless} harmless");
}

#[test]
fn f01_a_disk_that_says_synced_and_is_not_breaks_a_promise_that_somebody_notices() {
    let mut noticed = 0;
    for seed in 0..20 {
        let mut lied = bank(seed);
        let host = if seed % 2 == 0 { Host::Coordinator } else { Host::Participant(0) };
        let at = lied.chaos / 2;
        let lie = Fault::Disk { host, operation: 1, trouble: Trouble::Lie, down: 0 };
        let loss = Fault::Disk { host, operation: 12, trouble: Trouble::PowerLoss(Loss::Nothing), down: 20_000 };
        lied.plan = vec![Planned { at, fault: lie }, Planned { at, fault: loss }];
        noticed += u64::from(World::new(lied).run().is_err());
    }
    assert!(noticed >= 10, "only {noticed} of 20 lies were noticed");
}
