//! Everything that a scenario does is made to fail, one thing at a time, and again inside the recovery. All of it by
//! `HANDFAST_STRIDE=1`; without, one operation of several, so that the test takes seconds.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use handfast_simulator::crash::scenarios::all;
use handfast_simulator::crash::{Found, Stride, exhaust};

#[test]
fn every_crash_point_of_every_scenario_is_survived() {
    let stride = std::env::var("HANDFAST_STRIDE").ok().and_then(|stride| stride.parse().ok()).unwrap_or(31);
    let stride = Stride { first: stride, second: stride.min(4) };
    let only = std::env::var("HANDFAST_SCENARIO").ok();
    let mut scenarios = all();
    scenarios.retain(|scenario| only.as_ref().is_none_or(|only| only == scenario.name));
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Found::default()));
    // Each run has one thread; scenarios share the processors.
    let broken: Vec<String> = thread::scope(|scope| {
        let worker = || {
            let mut broken = Vec::new();
            while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
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
    assert!(total.images > 100 && total.nested > 100, "too little was tried");
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
