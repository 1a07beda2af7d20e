//! Hundreds of kills, and stops that look like them, under one load.

use std::time::{Duration, Instant};

use handfast::nodes::Node;
use handfast_tests::ledger::{IN_DOUBT_ENDS, Load, Told};
use handfast_tests::processes::{System, pause, resume};
use handfast_tests::settings::setting;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
/// Kills of a run. Each kind of process gets at least a quarter of them: of three processes one is the coordinator.
const KILLS: usize = 210;

/// What was done to the processes.
#[derive(Default, Debug)]
struct Done {
    coordinator_kills: usize,
    participant_kills: usize,
    stops: usize,
    /// The longest time from a start to its ready line.
    slowest_start: Duration,
}

#[test]
fn two_hundred_kills_of_either_role_lose_nothing_and_leave_nothing_in_doubt() {
    let (seed, kills) = (setting("HANDFAST_FAULT_SEED", 6), setting("HANDFAST_KILLS", KILLS as u64) as usize);
    println!("again with HANDFAST_FAULT_SEED={seed} HANDFAST_KILLS={kills}");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut system = System::start(PROGRAM, 2);
    let load = Load::start(system.coordinator.address(), 8);
    let (began, mut done) = (Instant::now(), Done::default());
    while done.coordinator_kills + done.participant_kills < kills {
        std::thread::sleep(Duration::from_millis(dice.random_range(20..250)));
        // One, two, or all three at once.
        let count = [1, 1, 2, 2, 3][dice.random_range(0..5)];
        let mut victims = vec![&mut system.coordinator];
        victims.extend(&mut system.participants);
        victims.shuffle(&mut dice);
        victims.truncate(count);
        if dice.random_bool(0.15) {
            stop_for_a_moment(&victims, Duration::from_millis(dice.random_range(50..400)));
            done.stops += victims.len();
            continue;
        }
        // Stopped first now and then: then what it has not read is lost with it, as when a host dies.
        if dice.random_bool(0.2) {
            stop_for_a_moment(&victims, Duration::from_millis(20));
            done.stops += victims.len();
        }
        kill_and_start(victims, Duration::from_millis(dice.random_range(0..60)), &mut done);
    }
    let last_ready = Instant::now();
    let ledger = load.stop();
    ledger.check(&system, IN_DOUBT_ENDS.saturating_sub(last_ready.elapsed()));
    let told = [Told::Committed, Told::Nothing, Told::Unknown].map(|told| (told, ledger.count(told)));
    println!("{done:?} in {:?}; told {told:?}", last_ready - began);
    let least = kills / 5;
    assert!(done.coordinator_kills >= least && done.participant_kills >= least, "{done:?}");
    assert!(done.stops > 0, "{done:?}");
    assert!(ledger.count(Told::Committed) > kills, "{told:?}");
}

fn stop_for_a_moment(nodes: &[&mut Node], time: Duration) {
    nodes.iter().for_each(|node| pause(node));
    std::thread::sleep(time);
    nodes.iter().for_each(|node| resume(node));
}

/// All of them end before the first one starts again.
fn kill_and_start(mut victims: Vec<&mut Node>, down: Duration, done: &mut Done) {
    for node in &mut victims {
        if node.role() == "coordinator" {
            done.coordinator_kills += 1;
        } else {
            done.participant_kills += 1;
        }
        node.kill().expect("killed");
    }
    std::thread::sleep(down);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for node in victims {
            scope.spawn(|| node.start().expect("it starts again"));
        }
    });
    done.slowest_start = done.slowest_start.max(began.elapsed());
}
