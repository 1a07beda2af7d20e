//! Tests.

use proptest::prelude::*;

use super::*;
use crate::kv::testing::{txn, xid};

use Acquired::{Die, Granted, Waiting};
use Mode::{Exclusive, Shared};

/// Transaction `n` has age `n`: smaller is older.
fn ask(table: &mut LockTable, n: u64, key: &str, mode: Mode) -> Acquired {
    table.acquire(xid(n), Age(n), key, mode)
}

fn granted(n: u64) -> Woken {
    Woken { xid: xid(n), granted: true }
}

#[test]
fn many_may_read_and_one_may_write() {
    let mut table = LockTable::default();
    assert_eq!(ask(&mut table, 5, "x", Shared), Granted);
    assert_eq!(ask(&mut table, 6, "x", Shared), Granted);
    assert_eq!(ask(&mut table, 4, "x", Exclusive), Waiting);
    assert_eq!(table.holder_of("x"), None);
    assert_eq!(table.release_all(xid(5)), []);
    assert_eq!(table.release_all(xid(6)), [granted(4)]);
    assert_eq!(table.holder_of("x"), Some(xid(4)));
    assert_eq!(ask(&mut table, 7, "x", Shared), Die);
    assert_eq!(table.exclusive_from("a").collect::<Vec<_>>(), [("x", xid(4))]);
    assert_eq!(table.exclusive_from("y").count(), 0);
    assert_eq!(table.release_all(xid(4)), []);
    assert!(table.is_empty());
}

#[test]
fn an_upgrade_goes_before_the_queue_and_only_one_of_two_may_wait_for_it() {
    let mut table = LockTable::default();
    ask(&mut table, 5, "x", Shared);
    assert_eq!(ask(&mut table, 5, "x", Exclusive), Granted, "alone");
    assert_eq!(ask(&mut table, 5, "x", Shared), Granted, "the stronger one stays");
    assert_eq!(table.holder_of("x"), Some(xid(5)));

    let mut table = LockTable::default();
    ask(&mut table, 5, "x", Shared);
    ask(&mut table, 6, "x", Shared);
    assert_eq!(ask(&mut table, 2, "x", Exclusive), Waiting);
    assert_eq!(ask(&mut table, 5, "x", Exclusive), Waiting);
    assert_eq!(ask(&mut table, 6, "x", Exclusive), Die, "each would wait for the other");
    assert_eq!(table.release_all(xid(6)), [granted(5)]);
    assert_eq!(table.release_all(xid(5)), [granted(2)]);
    table.release_all(xid(2));
    assert!(table.is_empty());
}

#[test]
fn t18_one_waits_only_if_older_than_holders_and_those_queued_ahead() {
    let mut table = LockTable::default();
    ask(&mut table, 9, "x", Exclusive);
    assert_eq!(ask(&mut table, 1, "x", Exclusive), Waiting);
    // Older than the holder, but it would wait for 1 as soon as 9 has gone.
    assert_eq!(ask(&mut table, 5, "x", Exclusive), Die);
    assert_eq!(ask(&mut table, 5, "x", Shared), Die);
    assert_eq!(table.release_all(xid(9)), [granted(1)]);
}

#[test]
fn t18_readers_queued_side_by_side_do_not_wait_for_each_other() {
    let mut table = LockTable::default();
    ask(&mut table, 9, "x", Exclusive);
    assert_eq!(ask(&mut table, 3, "x", Shared), Waiting);
    assert_eq!(ask(&mut table, 5, "x", Shared), Waiting);
    assert_eq!(ask(&mut table, 4, "x", Exclusive), Die, "the reader 3 is older");
    assert_eq!(ask(&mut table, 2, "x", Exclusive), Waiting);
    assert_eq!(table.release_all(xid(9)), [granted(3), granted(5)]);
    assert_eq!(ask(&mut table, 4, "x", Shared), Die, "nobody overtakes the writer in the queue");
}

#[test]
fn t18_all_that_still_wait_are_judged_again_at_each_grant() {
    // A queue that no order of requests leaves behind: the second look must not depend on the first.
    let claim = |n| Claim { rank: Rank { age: Age(n), txn: txn(n), xid: xid(n) }, mode: Exclusive };
    let mut queue = Queue { holders: vec![], waiting: [1, 5, 0].map(claim).into() };
    let mut woken = Vec::new();
    queue.settle(&mut woken);
    assert_eq!(woken, [granted(1), Woken { xid: xid(5), granted: false }]);
    assert_eq!(queue.waiting, [claim(0)]);
}

#[test]
fn t18_between_equal_ages_the_id_decides() {
    let mut table = LockTable::default();
    for (holder, asks, answer) in [(2, 1, Waiting), (1, 2, Die)] {
        assert_eq!(table.acquire(xid(holder), Age(7), "x", Exclusive), Granted);
        assert_eq!(table.acquire(xid(asks), Age(7), "x", Exclusive), answer);
        table.release_all(xid(asks));
        table.release_all(xid(holder));
    }
    assert!(table.is_empty());
}

#[test]
fn recovered_locks_are_held_and_can_not_contradict_each_other() {
    let mut table = LockTable::default();
    assert!(table.hold_recovered(xid(5), Age(5), "x", Shared));
    assert!(table.hold_recovered(xid(6), Age(6), "x", Shared));
    assert!(!table.hold_recovered(xid(7), Age(7), "x", Exclusive));
    assert_eq!(ask(&mut table, 8, "x", Exclusive), Die);
    assert_eq!(ask(&mut table, 4, "x", Exclusive), Waiting);
}

/// A transaction of the random runs: the locks it wants, and how far it is.
#[derive(Clone, Debug)]
struct Script {
    wants: Vec<(u8, Mode)>,
    has: usize,
    waits: bool,
    ended: bool,
}

struct Run {
    table: LockTable,
    scripts: Vec<Script>,
    deaths: usize,
}

impl Run {
    fn new(wants: Vec<Vec<(u8, Mode)>>) -> Self {
        let script = |wants| Script { wants, has: 0, waits: false, ended: false };
        Self { table: LockTable::default(), scripts: wants.into_iter().map(script).collect(), deaths: 0 }
    }

    /// One step of transaction `n`, if it can make one. One that died starts again with the age it had.
    fn step(&mut self, n: usize) {
        let script = &mut self.scripts[n];
        if script.ended || script.waits {
            return;
        }
        let Some((key, mode)) = script.wants.get(script.has).copied() else {
            (script.ended, script.has) = (true, 0);
            return self.release(n);
        };
        match ask(&mut self.table, n as u64, &key.to_string(), mode) {
            Granted => script.has += 1,
            Waiting => script.waits = true,
            Die => self.die(n),
        }
    }

    fn die(&mut self, n: usize) {
        assert_ne!(Some(n), self.oldest(), "the oldest never dies");
        self.deaths += 1;
        self.scripts[n].has = 0;
        self.release(n);
    }

    fn release(&mut self, n: usize) {
        for Woken { xid, granted } in self.table.release_all(xid(n as u64)) {
            let n = usize::try_from(xid.txn.sequence()).unwrap();
            assert!(std::mem::replace(&mut self.scripts[n].waits, false), "{n} did not wait");
            if granted { self.scripts[n].has += 1 } else { self.die(n) }
        }
    }

    fn oldest(&self) -> Option<usize> {
        self.scripts.iter().position(|script| !script.ended)
    }

    fn check(&self) {
        for (key, queue) in &self.table.keys {
            let holders = &queue.holders;
            assert!(!holders.is_empty());
            assert!(holders.len() == 1 || holders.iter().all(|holder| holder.mode == Shared), "{key}: {holders:?}");
            if let Some(first) = queue.waiting.front() {
                assert!(holders.iter().any(|holder| first.conflicts_with(*holder)), "{key}: nobody wakes {first:?}");
            }
            for (at, waiter) in queue.waiting.iter().enumerate() {
                for other in holders.iter().chain(queue.waiting.iter().take(at)) {
                    let edge = waiter.conflicts_with(*other);
                    assert!(!edge || waiter.rank < other.rank, "{key}: {waiter:?} waits for the older {other:?}");
                }
                assert_eq!(self.table.owners[&waiter.rank.xid].waits_for.as_ref(), Some(key));
            }
            for holder in holders {
                assert!(self.table.owners[&holder.rank.xid].held.contains(key));
            }
        }
        for (n, script) in self.scripts.iter().enumerate() {
            let held = self.table.keys.values().flat_map(|queue| &queue.holders);
            let held = held.filter(|holder| holder.rank.xid == xid(n as u64)).count();
            let keys = script.wants[..script.has].iter().map(|(key, _)| key);
            assert_eq!(held, keys.collect::<std::collections::BTreeSet<_>>().len(), "transaction {n}");
        }
    }
}

fn wants() -> impl Strategy<Value = Vec<Vec<(u8, Mode)>>> {
    let mode = prop_oneof![Just(Shared), Just(Exclusive)];
    prop::collection::vec(prop::collection::vec((0..4u8, mode), 1..5), 2..7)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn t18_no_deadlock_no_lost_wake_up_and_everyone_ends(
        wants in wants(),
        schedule in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        let mut run = Run::new(wants);
        let count = run.scripts.len();
        for pick in schedule {
            run.step(pick.index(count));
            run.check();
        }
        // From wherever that led, taking turns ends all of them: the oldest first, and then there is another oldest.
        for _ in 0..count * 8 {
            (0..count).for_each(|n| run.step(n));
            run.check();
        }
        prop_assert_eq!(run.oldest(), None);
        prop_assert!(run.table.is_empty());
    }
}
