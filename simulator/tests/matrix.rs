//! The matrix of faults: every cell of what is built is hit, in seeded worlds, in a drill of its own, by damage to files, in
//! timelines, or by a test over real sockets. The table is printed with `--nocapture`.

use std::path::Path;

use handfast_simulator::matrix::{Cells, ELSEWHERE, Kind, OPEN, Step, drill, drilled};
use handfast_simulator::plan::{Fault, Host, MS, Nemesis, Planned};
use handfast_simulator::rot::rot;
use handfast_simulator::run::{Choice, options, run};
use handfast_simulator::timelines;
use handfast_simulator::workload::Workload;
use handfast_simulator::world::{Options, World};

#[test]
fn every_cell_of_what_is_built_is_hit() {
    let mut cells = Cells::default();
    let (planned, injected) = seeded(&mut cells);
    println!("{planned} faults were planned in seeded worlds, {} of them came to nothing", planned - injected);
    drills(&mut cells);
    damaged(&mut cells);
    played(&mut cells);
    println!("{cells}");
    for (first, last, why) in OPEN {
        println!("open: {first}..{last}, {why}");
    }
    for elsewhere in ELSEWHERE {
        println!("by test: {}, {} in {}", elsewhere.cell, elsewhere.test, elsewhere.file);
    }
    assert_eq!(cells.missed(), [0_u16; 0], "cells that are built and were not hit");
}

#[test]
fn tests_that_hit_cells_elsewhere_exist() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    for elsewhere in ELSEWHERE {
        let source = std::fs::read_to_string(workspace.join(elsewhere.file))
            .unwrap_or_else(|error| panic!("{}: {error}", elsewhere.file));
        let is_there = source.contains(&format!("fn {}(", elsewhere.test));
        assert!(is_there, "no test {} in {}, for cell {}", elsewhere.test, elsewhere.file, elsewhere.cell);
    }
}

#[test]
fn no_cell_is_open_and_hit_elsewhere() {
    for elsewhere in ELSEWHERE {
        let open = OPEN.iter().find(|(first, last, _)| (*first..=*last).contains(&elsewhere.cell));
        assert!(open.is_none(), "{elsewhere:?} is open: {open:?}");
    }
}

/// How many worlds each family of faults gets.
const WORLDS: u64 = 4;

fn seeded(cells: &mut Cells) -> (u64, u64) {
    let (mut planned, mut injected) = (0, 0);
    for (number, nemesis) in Nemesis::ALL.into_iter().enumerate() {
        let choice = Choice { workload: None, nemeses: vec![nemesis] };
        for seed in 0..WORLDS {
            let summary = run(seed + 100 * number as u64, &choice).unwrap_or_else(|report| panic!("{report}"));
            planned += summary.planned;
            injected += summary.injected;
            cells.add(&summary.cells);
        }
    }
    (planned, injected)
}

/// In so many worlds the fault of a drill has to come; others by `HANDFAST_HITS=n`.
const HITS: u64 = 2;
/// Of so many for each of them.
const SEEDS: u64 = 6;

fn drills(cells: &mut Cells) {
    let mut idle = Vec::new();
    let wanted = std::env::var("HANDFAST_HITS").ok().and_then(|hits| hits.parse().ok()).unwrap_or(HITS);
    for (cell, step, kind) in drilled() {
        let (mut hits, mut worlds) = (0, 0);
        while hits < wanted && worlds < SEEDS * wanted {
            hits += u64::from(drilled_once(cells, cell, step, kind, worlds));
            worlds += 1;
        }
        if hits < wanted {
            idle.push(format!("{cell} ({kind:?} at {step:?}): {hits} hits in {worlds} worlds"));
        }
    }
    assert!(idle.is_empty(), "faults that did not strike: {idle:#?}");
}

/// Whether the fault was injected, all of it, at this very step.
fn drilled_once(cells: &mut Cells, cell: u16, step: Step, kind: Kind, seed: u64) -> bool {
    let options = drill(step, kind, seed).expect("there is a drill");
    let summary = World::new(options).run().unwrap_or_else(|failed| {
        panic!("the drill of cell {cell}, {kind:?} at {step:?}, seed {seed}: {}", failed.violation)
    });
    cells.add(&summary.cells);
    summary.cells.times(cell) > 0 && !summary.idle.contains(&step)
}

fn damaged(cells: &mut Cells) {
    for seed in 0..3 {
        let choice = Choice { workload: Some(Workload::Bank), nemeses: Vec::new() };
        let mut bank = Options { plan: Vec::new(), ..options(seed, &choice) };
        // Decisions wait for the disk at the end, so that files with branches in doubt are damaged too.
        let fault = Fault::SlowDisk { host: Host::Coordinator, length: 400 * MS };
        bank.plan.push(Planned { at: bank.chaos - 400 * MS, fault });
        let rotted = rot(World::new(bank), seed, 25).unwrap_or_else(|why| panic!("{why}"));
        cells.add(&rotted.cells);
    }
}

/// Timelines are played for themselves in another test; here what they hit is counted: copies of folders above all.
fn played(cells: &mut Cells) {
    for timeline in timelines::all() {
        let summary = timeline.play(0).unwrap_or_else(|failed| panic!("{}: {}", timeline.name, failed.violation));
        cells.add(&summary.cells);
    }
}
