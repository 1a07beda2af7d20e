//! Seeds on all processors: a world has one thread, and worlds know nothing of each other.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use handfast_simulator::run::Report;
use handfast_simulator::world::Summary;

use super::RunSeed;

/// The name of the threads that worlds run on.
pub(super) const WORLD: &str = "world";

/// Runs so many seeds from the first one on, and tells of each one that has ended, in any order. None is begun after
/// `stop`.
pub(super) fn in_all_threads(
    (first, runs): (u64, u64),
    run: RunSeed<'_>,
    stop: &AtomicBool,
    mut ended: impl FnMut(u64, Result<Summary, Box<Report>>),
) {
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for _ in 0..threads.min(runs) {
            let (tell, next) = (tell.clone(), &next);
            let worker = move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        return;
                    }
                    let seed = first.wrapping_add(number);
                    // Nobody listens any more: then nobody wants to know.
                    if tell.send((seed, run(seed))).is_err() {
                        return;
                    }
                }
            };
            let begun = thread::Builder::new().name(WORLD.to_owned()).spawn_scoped(scope, worker);
            begun.expect("a thread can be started");
        }
        drop(tell);
        for (seed, ran) in told {
            ended(seed, ran);
        }
    });
}
