//! A soak: round after round of a load on real processes, two nemeses at a time, and every promise looked at after each.

use std::fmt;
use std::panic::{catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use handfast::nodes::Node;
use handfast_client::{Client, Options, Transaction};
use handfast_common::operation::{Operation, Put, Value};

use crate::killer::Killer;
use crate::ledger::{IN_DOUBT_ENDS, Ledger, Load, Told};
use crate::proxied::{Nemesis as Links, Proxied};
use crate::world::World;

/// What goes on beside the load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nemesis {
    /// Processes are killed and start again.
    Kill,
    /// Processes stand still for a moment.
    Stop,
    /// Links break in every way that a network has.
    Links,
    /// The machine is busy with worlds of the pure machines, which look after their own promises.
    Worlds,
}

/// All pairs of two, one a round.
pub const PAIRS: [(Nemesis, Nemesis); 6] = [
    (Nemesis::Kill, Nemesis::Links),
    (Nemesis::Stop, Nemesis::Worlds),
    (Nemesis::Links, Nemesis::Worlds),
    (Nemesis::Kill, Nemesis::Stop),
    (Nemesis::Stop, Nemesis::Links),
    (Nemesis::Kill, Nemesis::Worlds),
];

/// One system and what its clients were told so far.
#[derive(Debug)]
pub struct Soak {
    proxied: Proxied,
    ledger: Ledger,
}

/// What a round came to.
#[derive(Debug)]
pub struct Round {
    pair: (Nemesis, Nemesis),
    told: [usize; 3],
    kills: usize,
    stops: usize,
    link_faults: u64,
    worlds: u64,
    doubt: Duration,
    /// Of the coordinator, `p0` and `p1`: resident memory and the files, in MiB.
    sizes: Vec<(u64, u64)>,
}

impl Soak {
    /// Starts a system with a proxy on every link.
    ///
    /// # Panics
    /// When any of it does not come up.
    #[must_use]
    pub fn start(program: &str) -> Self {
        Self { proxied: Proxied::start(program), ledger: Ledger::default() }
    }

    /// One round. It ends early, and says nothing, once `interrupted` is set.
    ///
    /// # Panics
    /// When a promise is broken, or nothing was done in it.
    pub fn round(
        &mut self,
        pair: (Nemesis, Nemesis),
        seed: u64,
        time: Duration,
        interrupted: &AtomicBool,
    ) -> Option<Round> {
        let Proxied { system, links } = &mut self.proxied;
        let has = |nemesis| pair.0 == nemesis || pair.1 == nemesis;
        let load = Load::after(&self.ledger, links.to_coordinator.address(), 8);
        let until = Instant::now() + time;
        let goes_on = || Instant::now() < until && !interrupted.load(Ordering::Relaxed);
        let hits_before: u64 = links.hits().values().sum();
        let (mut killer, mut nemesis, mut worlds) = (Killer::new(seed), Links::new(seed), 0);
        thread::scope(|scope| {
            let processes = scope.spawn(|| {
                while goes_on() {
                    match (has(Nemesis::Kill), has(Nemesis::Stop)) {
                        (true, true) => killer.strike(system),
                        (true, false) => killer.kill(system),
                        (false, true) => killer.stop(system),
                        (false, false) => thread::sleep(Duration::from_millis(50)),
                    }
                }
            });
            let breaking = scope.spawn(|| {
                while has(Nemesis::Links) && goes_on() {
                    nemesis.strike(links);
                }
            });
            let playing = scope.spawn(|| {
                while has(Nemesis::Worlds) && goes_on() {
                    let seed = seed.wrapping_mul(1_000_003).wrapping_add(worlds);
                    let played = catch_unwind(|| World::new(seed).run());
                    assert!(played.is_ok(), "the world of HANDFAST_WORLD_SEED={seed} breaks a promise");
                    worlds += 1;
                }
            });
            [processes, breaking, playing].into_iter().for_each(joined);
        });
        links.heal();
        let healed = Instant::now();
        let told = load.stop();
        if interrupted.load(Ordering::Relaxed) {
            return None;
        }
        let counts = [Told::Committed, Told::Nothing, Told::Unknown].map(|kind| told.count(kind));
        self.ledger.extend(told);
        self.ledger.check(&self.proxied.system, IN_DOUBT_ENDS.saturating_sub(healed.elapsed()));
        let doubt = healed.elapsed();
        let link_faults = self.proxied.links.hits().values().sum::<u64>() - hits_before;
        let Proxied { system, .. } = &self.proxied;
        let sizes = std::iter::once(&system.coordinator)
            .chain(&system.participants)
            .map(|node| (resident(node), files(&system.folder().join(node.name()))));
        let (kills, stops) = (killer.done.kills(), killer.done.stops);
        let round = Round { pair, told: counts, kills, stops, link_faults, worlds, doubt, sizes: sizes.collect() };
        round.assert_something_was_done(has);
        Some(round)
    }

    /// Puts a row of no load at one of two participants: the next check has to find it.
    ///
    /// # Panics
    /// When it can't be put there.
    pub fn spoil(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let put = Operation::Put(Put { key: "row/999999".to_owned(), value: Value::Integer(1) });
        runtime.block_on(async {
            let client =
                Client::connect(Options::new([self.proxied.system.coordinator.address()])).expect("an address");
            let done = client.submit(Transaction::new().branch("p0", vec![put]), Duration::from_secs(5)).await;
            assert!(done.is_ok_and(|report| report.is_committed()), "nothing is spoilt");
        });
    }
}

/// A panic of a nemesis is one of the round's.
fn joined(thread: ScopedJoinHandle<'_, ()>) {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic));
}

impl Round {
    /// A round in which nothing happens keeps every promise.
    fn assert_something_was_done(&self, has: impl Fn(Nemesis) -> bool) {
        assert!(self.told[0] > 0, "nothing commits: {self}");
        assert!(self.kills > 0 || !has(Nemesis::Kill), "nothing was killed: {self}");
        assert!(self.stops > 0 || !has(Nemesis::Stop), "nothing was stopped: {self}");
        assert!(self.link_faults > 0 || !has(Nemesis::Links), "no link broke: {self}");
        assert!(self.worlds > 0 || !has(Nemesis::Worlds), "no world was played: {self}");
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [committed, nothing, unknown] = self.told;
        let (one, other) = self.pair;
        write!(f, "{one:?}+{other:?}: {committed} committed, {nothing} aborted, {unknown} unknown; ")?;
        write!(f, "{} kills, {} stops, ", self.kills, self.stops)?;
        write!(
            f,
            "{} link faults, {} worlds; checked {:.1?} after healing; MiB of memory/files",
            self.link_faults, self.worlds, self.doubt
        )?;
        self.sizes.iter().try_for_each(|(memory, files)| write!(f, " {memory}/{files}"))
    }
}

/// MiB of a process that are in memory; 0 where that can't be known.
fn resident(node: &Node) -> u64 {
    let status = node.pid().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let line = status.as_deref().and_then(|status| status.lines().find_map(|line| line.strip_prefix("VmRSS:")));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) >> 10
}

/// MiB of the files of a folder.
fn files(folder: &Path) -> u64 {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum::<u64>() >> 20
}
