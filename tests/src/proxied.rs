//! A system with a proxy on every link, and faults drawn for them.

use std::collections::BTreeMap;
use std::time::Duration;

use handfast::nodes::Node;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::processes::System;
use crate::proxy::{Fault, Proxy, Way};

/// A running system of two participants whose parties reach each other through proxies only.
#[derive(Debug)]
pub struct Proxied {
    /// The system itself: its own calls go to the servers directly.
    pub system: System,
    /// The links.
    pub links: Links,
}

/// The proxies, by what goes through them.
#[derive(Debug)]
pub struct Links {
    /// Clients to the coordinator, and participants that dial the address it advertises.
    pub to_coordinator: Proxy,
    /// Each participant to the coordinator: registering, enlisting, inquiring.
    pub from_participant: [Proxy; 2],
    /// To each participant: the coordinator's orders, clients' operations, the other's inquiries.
    pub to_participant: [Proxy; 2],
}

impl Proxied {
    /// Starts it and waits until it is usable.
    ///
    /// # Panics
    /// When any of it does not come up.
    #[must_use]
    pub fn start(program: &str) -> Self {
        let proxy = || Proxy::start().expect("a proxy");
        let links =
            Links { to_coordinator: proxy(), from_participant: [proxy(), proxy()], to_participant: [proxy(), proxy()] };
        let folder = tempfile::tempdir().expect("a folder");
        let advertised = ["--advertise".to_owned(), links.to_coordinator.address().to_owned()];
        let of_participant = |_: &Node, number: usize| {
            let (coordinator, own) = (links.from_participant[number].address(), links.to_participant[number].address());
            ["--coordinator", coordinator, "--advertise", own].map(str::to_owned).to_vec()
        };
        let ready = |node: &Node| match node.name() {
            "p0" => links.to_participant[0].lead_to(node.address()),
            "p1" => links.to_participant[1].lead_to(node.address()),
            _ => {
                let proxies = links.from_participant.iter().chain([&links.to_coordinator]);
                proxies.for_each(|proxy| proxy.lead_to(node.address()));
            }
        };
        let system = System::start_each(folder, program, 2, &advertised, of_participant, ready);
        Self { system, links }
    }
}

impl Links {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> [&Proxy; 5] {
        let [first, second] = &self.from_participant;
        let [third, fourth] = &self.to_participant;
        [&self.to_coordinator, first, second, third, fourth]
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.all().into_iter().for_each(Proxy::heal);
    }

    /// How many faults have touched something, by kind.
    #[must_use]
    pub fn hits(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (kind, hits) in self.all().into_iter().flat_map(Proxy::hits) {
            *all.entry(kind).or_default() += hits;
        }
        all
    }
}

/// Draws faults: each kind as often as every other, links and numbers at random. The same seed draws the same ones;
/// what they meet differs from run to run.
#[derive(Debug)]
pub struct Nemesis {
    dice: StdRng,
    /// Kinds still to come in this round.
    round: Vec<&'static str>,
}

impl Nemesis {
    /// A nemesis of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { dice: StdRng::seed_from_u64(seed), round: Vec::new() }
    }

    /// Breaks one link, two now and then, for a moment; then heals all.
    pub fn strike(&mut self, links: &Links) {
        let proxies = links.all();
        for _ in 0..self.dice.random_range(1..=2) {
            proxies[self.dice.random_range(0..proxies.len())].inject(self.fault());
        }
        std::thread::sleep(Duration::from_millis(self.dice.random_range(150..700)));
        links.heal();
        std::thread::sleep(Duration::from_millis(self.dice.random_range(0..100)));
    }

    fn fault(&mut self) -> Fault {
        if self.round.is_empty() {
            self.round = Fault::KINDS.to_vec();
            self.round.shuffle(&mut self.dice);
        }
        let way = if self.dice.random_bool(0.5) { Way::Forth } else { Way::Back };
        // Up to a few frames: most ends are in the middle of one.
        let after = self.dice.random_range(0..2_000);
        match self.round.pop() {
            Some("cut") => Fault::Cut { way, after },
            Some("reset") => Fault::Reset { way, after },
            Some("corrupt") => Fault::Corrupt { way, after, bit: self.dice.random_range(0..8) },
            Some("black-hole") => Fault::BlackHole,
            Some("one-way") => Fault::OneWay { way },
            Some("half-open") => Fault::HalfOpen,
            Some("delay") => Fault::Delay(Duration::from_millis(self.dice.random_range(5..200))),
            _ => Fault::Rate(self.dice.random_range(2_000..50_000)),
        }
    }
}
