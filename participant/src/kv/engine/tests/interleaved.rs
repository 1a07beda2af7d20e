//! Interactive branches in random interleavings, with crashes: what committed could have happened one after the other, in
//! the order of the commits, and all who wait get on.
//!
//! Two-phase locking that is held to the end promises exactly that order, so the check is simple: each commit's operations
//! are carried out again over one map, and what the branch was told must come out the same.

use super::open::ran;
use super::*;
use crate::kv::decode_reads;
use crate::kv::work::execute;
use crate::resource::{Execution, Work};

const KEYS: u64 = 10;
const AT_ONCE: usize = 6;
const SEEDS: u64 = 150;
const STEPS: usize = 250;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % n
    }
}

#[derive(Clone, Debug)]
struct Txn {
    /// Its own, or that of the attempt before.
    age: u64,
    /// Operations that were done, with what they read.
    past: Vec<(Vec<Operation>, Payload)>,
    /// Those that wait for a lock.
    waits: Option<Vec<Operation>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// Handed over: as a prepare, or in one phase.
    Voting,
    Prepared,
    OnlyRead,
}

struct World {
    seed: u64,
    dice: Dice,
    rig: Rig,
    /// What the commits so far come to.
    model: BTreeMap<String, Value>,
    txns: BTreeMap<u64, Txn>,
    next: u64,
    commits: usize,
    deaths: usize,
    waits: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let model: BTreeMap<String, Value> = (0..KEYS).map(|n| (format!("k{n}"), int(100))).collect();
        let rig = Rig::over(Disk { values: model.clone(), ..Disk::default() });
        let (txns, dice) = (BTreeMap::new(), Dice(seed));
        Self { seed, dice, rig, model, txns, next: 1, commits: 0, deaths: 0, waits: 0 }
    }

    fn begin(&mut self, age: Option<u64>) {
        let n = self.next;
        self.next += 1;
        let age = age.unwrap_or(n);
        self.txns.insert(n, Txn { age, past: Vec::new(), waits: None, state: State::Open });
    }

    fn operation(&mut self) -> Operation {
        let key = format!("k{}", self.dice.below(KEYS));
        match self.dice.below(8) {
            0..=3 => get(&key),
            4 => put(&key, int(i64::try_from(self.next * 1_000 + self.dice.below(1_000)).unwrap())),
            5 => delete(&key),
            6 => add(&key, 1),
            // Fails now and then.
            _ => check(&key, Check { exists: true, ..Check::default() }),
        }
    }

    fn step(&mut self) {
        if self.txns.len() < AT_ONCE {
            self.begin(None);
        }
        let at = usize::try_from(self.dice.below(self.txns.len() as u64)).unwrap();
        let n = *self.txns.keys().nth(at).unwrap();
        let (state, waits) = (self.txns[&n].state, self.txns[&n].waits.is_some());
        match (state, self.dice.below(40)) {
            (_, 0) if self.seed.is_multiple_of(2) => self.crash(),
            (_, 1..=8) => self.write(),
            (State::Open, 9) => self.abort(n),
            (State::Open, 10..=14) if !waits => self.vote(n, false),
            (State::Open, 15..=17) if !waits => self.vote(n, true),
            (State::Open, _) if !waits => {
                let operations: Vec<_> = (0..=self.dice.below(2)).map(|_| self.operation()).collect();
                self.execute(n, operations);
            }
            (State::Prepared, 9..=14) => self.abort(n),
            (State::Prepared, _) => self.commit(n),
            (State::OnlyRead, 9..) => {
                self.txns.remove(&n);
                self.rig.engine.release(xid(n)).unwrap();
            }
            (State::Open | State::Voting | State::OnlyRead, _) => {}
        }
        self.hear();
        self.check_visible();
    }

    fn execute(&mut self, n: u64, operations: Vec<Operation>) {
        let txn = self.txns.get_mut(&n).unwrap();
        let work = Work { age: Age(txn.age), ..work(n, &operations) };
        txn.waits = Some(operations);
        self.rig.engine.execute(&work).unwrap();
        self.hear();
        self.waits += usize::from(self.txns.get(&n).is_some_and(|txn| txn.waits.is_some()));
    }

    fn vote(&mut self, n: u64, one_phase: bool) {
        let txn = self.txns.get_mut(&n).unwrap();
        let opened = !txn.past.is_empty();
        if !opened {
            return;
        }
        txn.state = State::Voting;
        let work = Work { age: Age(txn.age), ..ran(n) };
        match one_phase {
            true => self.rig.engine.commit_one_phase(&work, key(n), HASH).unwrap(),
            false => self.rig.engine.prepare(&work, record(n)).unwrap(),
        }
    }

    fn commit(&mut self, n: u64) {
        self.committed(n);
        self.rig.engine.commit(xid(n)).unwrap();
    }

    fn abort(&mut self, n: u64) {
        self.rig.engine.abort(xid(n)).unwrap();
        self.hear();
        self.txns.remove(&n);
    }

    fn write(&mut self) {
        if let Some((last, _)) = self.write_unreported().last() {
            self.rig.engine.durable(*last).unwrap();
        }
    }

    /// Some of what is queued reaches the disk.
    fn write_unreported(&mut self) -> Vec<(u64, Item)> {
        self.hear();
        let count = usize::try_from(self.dice.below(4)).unwrap().min(self.rig.queue.len());
        let written: Vec<_> = self.rig.queue.drain(..count).map(|(number, item, _)| (number, item)).collect();
        for (_, item) in &written {
            self.rig.disk.borrow_mut().write(item);
        }
        written
    }

    /// Open branches are gone. What was on its way is on disk or not; what was decided is decided again.
    fn crash(&mut self) {
        for (_, item) in self.write_unreported() {
            if let Item::Apply { xid, prepared: false, .. } = item {
                self.committed(xid.txn.sequence());
            }
        }
        let decided: Vec<Xid> = self.rig.queue.iter().filter_map(|(_, item, _)| applies(item)).collect();
        let rig = std::mem::replace(&mut self.rig, Rig::new());
        self.rig = rig.crash();
        let in_doubt: Vec<Xid> = self.rig.disk.borrow().prepared.keys().copied().collect();
        for xid in in_doubt {
            match self.txns.get_mut(&xid.txn.sequence()) {
                Some(txn) => txn.state = State::Prepared,
                None if decided.contains(&xid) => self.rig.engine.commit(xid).unwrap(),
                None => self.rig.engine.abort(xid).unwrap(),
            }
        }
        self.txns.retain(|n, txn| {
            let held = self.rig.disk.borrow().prepared.contains_key(&xid(*n));
            assert!(held || txn.state != State::Prepared, "seed {}: {n} was told Yes and is gone", self.seed);
            held
        });
    }

    fn hear(&mut self) {
        for ended in self.rig.ended() {
            match ended {
                Ended::Execute(xid, execution) => self.executed(xid.txn.sequence(), execution),
                Ended::Prepare(xid, vote) => {
                    let n = xid.txn.sequence();
                    // While all that it read is still locked.
                    match vote {
                        Vote::Yes(_) => self.txns.get_mut(&n).unwrap().state = State::Prepared,
                        Vote::ReadOnly(_) => {
                            self.replay(n);
                            self.txns.get_mut(&n).unwrap().state = State::OnlyRead;
                        }
                        Vote::No(reason) => panic!("seed {}: {n} votes No: {reason}", self.seed),
                    }
                }
                Ended::OnePhase(xid, OnePhaseResult::Committed(_)) => self.committed(xid.txn.sequence()),
                Ended::Commit(_, Committed::Done) | Ended::Abort(_) => {}
                Ended::OnePhase(_, OnePhaseResult::Aborted(_)) | Ended::Commit(..) | Ended::Force(_) => {
                    panic!("seed {}: {ended:?}", self.seed)
                }
            }
        }
    }

    fn executed(&mut self, n: u64, execution: Execution) {
        let txn = self.txns.get_mut(&n).unwrap();
        let operations = txn.waits.take().unwrap();
        match execution {
            Execution::Done(reads) => txn.past.push((operations, reads)),
            Execution::Failed(reason) => assert_eq!(reason.kind, ReasonKind::CheckFailed),
            Execution::Doomed(reason) if reason.kind == ReasonKind::Conflict => {
                let age = txn.age;
                self.deaths += 1;
                self.txns.remove(&n);
                self.begin(Some(age));
            }
            Execution::Doomed(reason) => assert_eq!(reason.kind, ReasonKind::Lost, "its abort"),
        }
    }

    fn committed(&mut self, n: u64) {
        self.model = self.replay(n);
        self.txns.remove(&n);
        self.commits += 1;
    }

    /// What the commits before and this transaction come to; it must have been told just that.
    fn replay(&self, n: u64) -> BTreeMap<String, Value> {
        let mut model = self.model.clone();
        for (operations, told) in &self.txns[&n].past {
            let again = execute(operations, |key| Ok::<_, std::convert::Infallible>(model.get(key).cloned())).unwrap();
            let (again_reads, told) = (decode_reads(&again.reads).unwrap(), decode_reads(told).unwrap());
            assert_eq!(again_reads, told, "seed {}: {n} read what no order explains", self.seed);
            for (key, value) in again.writes {
                match value {
                    Some(value) => drop(model.insert(key, value)),
                    None => drop(model.remove(&key)),
                }
            }
        }
        model
    }

    /// A6: what is decided shows, and nothing else; a key is locked for those in doubt only.
    fn check_visible(&self) {
        let question = AskValues { select: Select::Prefix("k".into()), after: None };
        let lines = self.rig.engine.values(&question).unwrap().lines;
        for line in &lines {
            let locked = line.locked_by.map(|txn| txn.sequence());
            assert!(locked.is_none_or(|n| self.txns[&n].state == State::Prepared), "seed {}: {line:?}", self.seed);
        }
        let shown = lines.into_iter().filter_map(|line| Some((line.key, line.value?))).collect();
        assert_eq!(self.model, shown, "seed {}", self.seed);
    }

    /// No more begins, and everything that can commit does.
    fn end(&mut self) {
        while let Some((&n, txn)) = self.txns.iter().find(|(_, txn)| txn.waits.is_none() && txn.state != State::Voting)
        {
            match txn.state {
                State::Prepared => self.commit(n),
                State::OnlyRead => {
                    self.txns.remove(&n);
                    self.rig.engine.release(xid(n)).unwrap();
                }
                State::Open if txn.past.is_empty() => self.abort(n),
                State::Open | State::Voting => self.vote(n, false),
            }
            self.ended_all_written();
        }
        self.ended_all_written();
        assert!(self.txns.is_empty(), "seed {}: these wait for each other: {:?}", self.seed, self.txns);
        assert_eq!(self.rig.disk.borrow().values, self.model, "seed {}", self.seed);
    }

    fn ended_all_written(&mut self) {
        self.hear();
        while !self.rig.queue.is_empty() {
            self.write();
            self.hear();
        }
    }
}

fn applies(item: &Item) -> Option<Xid> {
    match item {
        Item::Apply { xid, prepared: true, .. } => Some(*xid),
        Item::Apply { .. } | Item::Prepare { .. } | Item::Forget { .. } | Item::Line(_) => None,
    }
}

#[test]
fn a07_what_committed_could_have_happened_one_after_the_other_in_any_interleaving() {
    let (mut commits, mut deaths, mut waits) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.end();
        world.rig.assert_at_rest();
        (commits, deaths, waits) = (commits + world.commits, deaths + world.deaths, waits + world.waits);
    }
    assert!(commits > 1_500 && deaths > 1_000 && waits > 1_000, "{commits} commits, {deaths} deaths, {waits} waits");
}
