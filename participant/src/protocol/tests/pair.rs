//! Two participants whose coordinator may be gone for good ask each other, in a world of lost, late and repeated messages
//! and of restarts. There are never two verdicts, and whoever can be helped is helped.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::messages::{Identity, PeerAnswer, PeerInquiry};

use super::interactive::{accepted, operation, prepare_ran};
use super::model::Model;
use super::races::Dice;
use super::*;

const RUNS: u64 = 3_000;
const TRANSACTIONS: u64 = 3;

/// One of the two.
struct Side {
    p: Participant,
    store: Model,
    timers: BTreeSet<Timer>,
}

/// A message between the two.
enum Peer {
    Asks { to: usize, inquiry: PeerInquiry },
    Tells { to: usize, xid: Xid, from: Identity, answer: PeerAnswer },
}

/// What the coordinator knows of a transaction.
#[derive(Clone, Default)]
struct Txn {
    interactive: bool,
    votes: [Option<Vote>; 2],
    decision: Option<Decision>,
}

struct Pair {
    seed: u64,
    dice: Dice,
    sides: [Side; 2],
    coordinator: bool,
    txns: BTreeMap<Xid, Txn>,
    orders: Vec<(usize, Order)>,
    peers: Vec<Peer>,
    /// Who waits for which answer.
    asked: BTreeMap<ReplyTo, (usize, Xid)>,
    replies: u64,
    /// Decisions that one heard from the other.
    helped: BTreeSet<Decision>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let side = |who: Addressee| {
            let Addressee { name, store, incarnation } = who;
            let config = Config { read_only_hold: Duration::from_secs(4), ..Config::new(name, store, incarnation) };
            let found = Recovered { lines: vec![line(1)], ..Recovered::default() };
            let (p, _) = Participant::recover(config, found).unwrap();
            let mut store = Model::default();
            store.disk.line = Some(line(1));
            Side { p, store, timers: BTreeSet::new() }
        };
        let [first, second] = [0, 1].map(|n| side(members().remove(n).who));
        Self {
            seed,
            dice: Dice(seed),
            sides: [first, second],
            coordinator: true,
            txns: BTreeMap::new(),
            orders: Vec::new(),
            peers: Vec::new(),
            asked: BTreeMap::new(),
            replies: 0,
            helped: BTreeSet::new(),
        }
    }

    fn step(&mut self, at: usize, input: Input) {
        for effect in self.sides[at].p.step(input) {
            if self.sides[at].store.take(&effect) {
                continue;
            }
            match effect {
                Effect::Reply { answer: Answer::Voted { xid, vote }, .. } if self.coordinator => {
                    self.txns.get_mut(&xid).unwrap().votes[at] = Some(vote);
                }
                Effect::Enlist { xid, .. } if self.coordinator => {
                    self.step(at, Input::EnlistAnswered { xid, answer: accepted() });
                }
                Effect::InquirePeer { xid, member } => {
                    let to = usize::from(member.who.name != name("bank-a"));
                    assert_ne!(to, at, "asks itself");
                    let inquiry = PeerInquiry { from: self.identity(at), to: member.who, xid };
                    self.peers.push(Peer::Asks { to, inquiry });
                }
                Effect::ReplyPeer { to, answer } => {
                    let (asker, xid) = self.asked.remove(&to).expect("one answer to each question");
                    let from = self.identity(at);
                    self.peers.push(Peer::Tells { to: asker, xid, from, answer });
                }
                Effect::SetTimer { timer, .. } => drop(self.sides[at].timers.insert(timer)),
                Effect::Stop { why } => panic!("seed {}: {why}", self.seed),
                _ => {}
            }
        }
        self.check();
    }

    fn identity(&self, at: usize) -> Identity {
        let config = self.sides[at].p.config();
        Identity {
            name: config.name.clone(),
            store: config.store,
            incarnation: config.incarnation,
            sequence: 1,
            clock: Age(0),
        }
    }

    /// Never committed here and aborted there; never committed without both, and never undone what is decided.
    fn check(&self) {
        for (xid, txn) in &self.txns {
            if txn.decision == Some(Decision::Commit) {
                let undone = self.sides.iter().any(|side| side.store.disk.aborted.contains(xid));
                assert!(!undone, "seed {}: {xid:?} was decided Commit and is aborted", self.seed);
            }
            for (one, other) in [(0, 1), (1, 0)] {
                let read = matches!(txn.votes[other], Some(Vote::ReadOnly(_)));
                let [one, other] = [one, other].map(|side: usize| &self.sides[side].store.disk);
                if one.committed.contains(xid) {
                    assert_eq!(txn.decision, Some(Decision::Commit), "seed {}: {xid:?}", self.seed);
                    let there = read || other.committed.contains(xid) || other.prepared.contains_key(xid);
                    assert!(there && !other.aborted.contains(xid), "seed {}: two verdicts on {xid:?}", self.seed);
                }
            }
        }
    }

    fn act(&mut self) {
        let at = self.dice.roll(2);
        match self.dice.roll(20) {
            0 | 1 if self.coordinator && (self.txns.len() as u64) < TRANSACTIONS => self.begin(),
            2..=6 => self.deliver_order(),
            7..=10 => {
                let (which, how) = (self.dice.roll(8), self.dice.roll(256));
                if let Some(input) = self.sides[at].store.end_one(which, u8::try_from(how).unwrap()) {
                    self.step(at, input);
                }
            }
            11..=13 => {
                let timers: Vec<Timer> = self.sides[at].timers.iter().copied().collect();
                if !timers.is_empty() {
                    let timer = timers[self.dice.roll(timers.len())];
                    self.sides[at].timers.remove(&timer);
                    self.step(at, Input::TimerFired(timer));
                }
            }
            14 | 15 if self.coordinator => self.decide(),
            16 if self.dice.roll(8) == 0 => self.crash(at),
            17 if self.dice.roll(8) == 0 => self.lose_coordinator(),
            _ => self.deliver_peer(),
        }
    }

    fn begin(&mut self) {
        let xid = xid(self.txns.len() as u64);
        let interactive = self.dice.roll(2) == 0;
        self.txns.insert(xid, Txn { interactive, ..Txn::default() });
        for at in 0..2 {
            if interactive {
                let execute = operation(xid, 1, "op");
                let execute = handfast_common::messages::Execute { to: members().remove(at).who.name, ..execute };
                self.replies += 1;
                self.step(at, Input::OperationReceived { reply: ReplyTo(self.replies), execute });
                while !self.sides[at].store.is_idle() {
                    let input = self.sides[at].store.end_one(0, 0).unwrap();
                    self.step(at, input);
                }
            }
            let Order::Prepare(order) = (if interactive { prepare_ran(xid, 1, true) } else { prepare(xid) }) else {
                unreachable!()
            };
            self.orders.push((at, Order::Prepare(Prepare { to: members().remove(at).who, ..order })));
        }
    }

    /// One of the messages on their way arrives, is lost, or arrives and stays around as a copy.
    fn deliver_order(&mut self) {
        if self.orders.is_empty() {
            return;
        }
        let which = self.dice.roll(self.orders.len());
        let fate = self.dice.roll(6);
        let (at, order) = if fate == 0 { self.orders[which].clone() } else { self.orders.swap_remove(which) };
        if fate != 1 {
            self.replies += 1;
            let message = ToParticipant { from: stamp(1), order };
            self.step(at, Input::OrderReceived { reply: ReplyTo(self.replies), message });
        }
    }

    fn decide(&mut self) {
        let Some(xid) = self.txns.keys().copied().nth(self.dice.roll(TRANSACTIONS as usize)) else { return };
        let abort = self.dice.roll(6) == 0;
        let txn = self.txns.get_mut(&xid).unwrap();
        let yes = |vote: &Option<Vote>| matches!(vote, Some(Vote::Yes(_)));
        // Where all of it ran before, a branch that only read has dropped out.
        let out = |vote: &Option<Vote>| matches!(vote, Some(Vote::ReadOnly(_)));
        let all = txn.votes.iter().all(|vote| yes(vote) || (txn.interactive && out(vote)));
        let refused = txn.votes.iter().any(|vote| matches!(vote, Some(Vote::No(_))) || out(vote));
        if txn.decision.is_none() && (all || refused || abort) {
            txn.decision = Some(if all { Decision::Commit } else { Decision::Abort });
        }
        if let Some(decision) = txn.decision {
            let told: Vec<usize> = (0..2).filter(|at| decision == Decision::Abort || yes(&txn.votes[*at])).collect();
            let to = |at| members().remove(at).who;
            self.orders.extend(told.into_iter().map(|at| (at, Order::Decide { to: to(at), xid, decision })));
        }
    }

    fn crash(&mut self, at: usize) {
        let luck = u32::try_from(self.dice.roll(1 << 16)).unwrap();
        let found = self.sides[at].store.crash(luck);
        let config = self.sides[at].p.config().clone();
        let config = Config { incarnation: Incarnation(config.incarnation.0 + 2), ..config };
        let (p, effects) = Participant::recover(config, found).unwrap();
        self.sides[at].p = p;
        self.sides[at].timers.clear();
        for effect in effects {
            if let Effect::SetTimer { timer, .. } = effect {
                self.sides[at].timers.insert(timer);
            }
        }
        // What it had been asked is not answered any more.
        self.asked.retain(|_, (asker, _)| *asker == at);
    }

    /// For good. What it has sent may still arrive.
    fn lose_coordinator(&mut self) {
        self.coordinator = false;
        for at in 0..2 {
            self.step(at, Input::CoordinatorLost { log: LOG });
        }
    }

    fn deliver_peer(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let which = self.dice.roll(self.peers.len());
        let peer = self.peers.swap_remove(which);
        match peer {
            _ if self.dice.roll(8) == 0 => {}
            Peer::Asks { to, inquiry } => self.ask(to, inquiry),
            Peer::Tells { to, xid, from, answer } => self.tell(to, xid, from, answer),
        }
    }

    fn ask(&mut self, to: usize, inquiry: PeerInquiry) {
        self.replies += 1;
        let reply = ReplyTo(self.replies);
        self.asked.insert(reply, (1 - to, inquiry.xid));
        self.step(to, Input::PeerInquired { reply, inquiry });
    }

    fn tell(&mut self, to: usize, xid: Xid, from: Identity, answer: PeerAnswer) {
        if let (PeerAnswer::Decided(decision), Some("in-doubt")) = (answer, state(&self.sides[to].p, xid)) {
            self.helped.insert(decision);
        }
        self.step(to, Input::PeerAnswered { xid, from, answer });
    }

    /// The coordinator stays away, all else works: whoever waits on has nobody who knows.
    fn settle(&mut self) -> u64 {
        self.lose_coordinator();
        self.orders.clear();
        for _ in 0..6 {
            for at in 0..2 {
                for timer in std::mem::take(&mut self.sides[at].timers) {
                    self.step(at, Input::TimerFired(timer));
                }
            }
            while !self.peers.is_empty() || self.sides.iter().any(|side| !side.store.is_idle()) {
                match self.peers.pop() {
                    Some(Peer::Asks { to, inquiry }) => self.ask(to, inquiry),
                    Some(Peer::Tells { to, xid, from, answer }) => self.tell(to, xid, from, answer),
                    None => {}
                }
                for at in 0..2 {
                    if let Some(input) = self.sides[at].store.end_one(0, 0) {
                        self.step(at, input);
                    }
                }
            }
        }
        let waiting: Vec<(Xid, usize)> =
            (0..2).flat_map(|at| self.sides[at].store.disk.prepared.keys().map(move |xid| (*xid, at))).collect();
        for (xid, at) in &waiting {
            let other = &self.sides[1 - at];
            let there = other.p.branches().find(|branch| branch.xid == *xid).map(|branch| (branch.state, branch.vote));
            let restarted = other.p.config().incarnation != members().remove(1 - at).who.incarnation;
            let helpless = match there {
                Some(("in-doubt" | "active" | "enlisting", _) | (_, Some("read-only"))) => true,
                // What it knows of its own is not the named start's.
                Some(("aborted", _)) | None => restarted,
                Some(_) => false,
            };
            assert!(helpless, "seed {}: {xid:?} waits though the other one knows: {there:?}", self.seed);
        }
        waiting.len() as u64
    }
}

#[test]
fn two_participants_asking_each_other_never_come_to_two_verdicts() {
    let (mut commits, mut aborts, mut waits, mut interactive) = (0, 0, 0, 0);
    for seed in 0..RUNS {
        let mut pair = Pair::new(seed);
        for _ in 0..120 {
            pair.act();
        }
        waits += pair.settle();
        commits += u64::from(pair.helped.contains(&Decision::Commit));
        aborts += u64::from(pair.helped.contains(&Decision::Abort));
        interactive += pair.txns.values().filter(|txn| txn.interactive && txn.decision.is_some()).count();
    }
    assert!(commits > 50 && aborts > 50 && waits > 50 && interactive > 50, "{commits} {aborts} {waits} {interactive}");
}
