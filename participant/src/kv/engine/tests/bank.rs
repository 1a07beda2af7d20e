//! Random transfers with crashes: whatever part of the log reached the disk, a restart finds whole branches, and money
//! is neither made nor lost.

use proptest::prelude::*;

use super::*;

const ACCOUNTS: u64 = 5;

#[derive(Clone, Debug)]
enum Step {
    /// From, to, how much, and whether in one phase.
    Transfer(u64, u64, i64, bool),
    /// Decides one that has voted Yes.
    Decide(usize, bool),
    /// So many queued items reach the disk, as one batch.
    Write(usize),
    /// So many more reach it, unreported, and the process dies.
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let account = 0..ACCOUNTS;
    prop_oneof![
        6 => (account.clone(), account, 1..50i64, any::<bool>()).prop_map(|(a, b, n, one)| Step::Transfer(a, b, n, one)),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(at, commit)| Step::Decide(at, commit)),
        4 => (1..6usize).prop_map(Step::Write),
        1 => (0..6usize).prop_map(Step::Crash),
    ]
}

struct Bank {
    rig: Rig,
    next: u64,
    /// Told Yes and not decided.
    voted: Vec<u64>,
    /// Decided, with the decision; told again until it is answered.
    decided: BTreeMap<u64, bool>,
}

impl Bank {
    fn new() -> Self {
        let values = (0..ACCOUNTS).map(|n| (n.to_string(), int(100))).collect();
        let rig = Rig::over(Disk { values, ..Disk::default() });
        Self { rig, next: 1, voted: Vec::new(), decided: BTreeMap::new() }
    }

    fn hear(&mut self) {
        for ended in self.rig.ended() {
            match ended {
                Ended::Prepare(xid, Vote::Yes(_)) => self.voted.push(xid.txn.sequence()),
                Ended::Commit(xid, Committed::Done) | Ended::Abort(xid) => {
                    self.decided.remove(&xid.txn.sequence());
                }
                Ended::Commit(xid, Committed::LostBranch) => panic!("{xid:?} is lost"),
                Ended::Prepare(_, Vote::No(_) | Vote::ReadOnly(_)) | Ended::OnePhase(..) | Ended::Force(_) => {}
                Ended::Execute(..) => panic!("nobody executes"),
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Transfer(from, to, amount, one_phase) => {
                let operations = [add_within(&from.to_string(), -amount, 0, 10_000), add(&to.to_string(), *amount)];
                let (n, work) = (self.next, work(self.next, &operations));
                self.next += 1;
                match one_phase {
                    true => self.rig.engine.commit_one_phase(&work, key(n), HASH).unwrap(),
                    false => self.rig.engine.prepare(&work, record(n)).unwrap(),
                }
            }
            Step::Decide(at, commit) if !self.voted.is_empty() => {
                let n = self.voted.swap_remove(at % self.voted.len());
                self.decided.insert(n, *commit);
                self.tell(n, *commit);
            }
            Step::Decide(..) => {}
            Step::Write(count) => {
                if let Some(last) = self.write(*count) {
                    self.rig.engine.durable(last).unwrap();
                }
            }
            Step::Crash(count) => {
                self.write(*count);
                self.restart();
            }
        }
        self.hear();
    }

    fn tell(&mut self, n: u64, commit: bool) {
        if commit { self.rig.engine.commit(xid(n)).unwrap() } else { self.rig.engine.abort(xid(n)).unwrap() }
    }

    fn write(&mut self, count: usize) -> Option<u64> {
        self.hear();
        let count = count.min(self.rig.queue.len());
        let mut last = None;
        for (number, item, _) in self.rig.queue.drain(..count) {
            self.rig.disk.borrow_mut().write(&item);
            last = Some(number);
        }
        last
    }

    fn restart(&mut self) {
        let rig = std::mem::replace(&mut self.rig, Rig::new());
        self.rig = rig.crash();
        let told: Vec<u64> = self.voted.drain(..).chain(self.decided.keys().copied()).collect();
        let in_doubt: Vec<u64> = self.rig.disk.borrow().prepared.keys().map(|xid| xid.txn.sequence()).collect();
        for n in told {
            let ended = self.rig.disk.borrow().done.contains_key(&xid(n)) || self.decided.get(&n) == Some(&false);
            assert!(ended || in_doubt.contains(&n), "{n} was told Yes and is gone");
        }
        self.voted.extend(in_doubt.iter().filter(|n| !self.decided.contains_key(n)));
        for (n, commit) in self.decided.clone() {
            self.tell(n, commit);
        }
        self.check();
    }

    /// With every branch in doubt taken as committed or as aborted alike, the sum is what it was.
    fn check(&self) {
        let disk = self.rig.disk.borrow();
        let sum = |values: &BTreeMap<String, Value>| -> i64 {
            values.values().map(|value| if let Value::Integer(n) = value { *n } else { panic!("no number") }).sum()
        };
        assert_eq!(sum(&disk.values), 100 * i64::try_from(ACCOUNTS).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a05_money_is_conserved_over_crashes_at_any_point_of_the_log(steps in prop::collection::vec(step(), 1..80)) {
        let mut bank = Bank::new();
        for step in &steps {
            bank.step(step);
            bank.check();
        }
        bank.restart();
        while !bank.voted.is_empty() || !bank.decided.is_empty() {
            bank.step(&Step::Decide(0, true));
            bank.step(&Step::Write(usize::MAX));
        }
        bank.check();
        bank.rig.assert_at_rest();
    }
}
