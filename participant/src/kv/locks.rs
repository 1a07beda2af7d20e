//! The lock table: strict two-phase locking with wait-die, pure and without a clock.
//!
//! One rule keeps it free of deadlocks: whoever waits is older than everyone it waits for, holders and those queued
//! ahead of it alike. Every edge of the wait-for graph then leads from an older to a younger transaction, here and over
//! all participants, because age travels with the transaction. Checked only once, and only against holders, the rule
//! does not hold (timeline 18): a grant puts somebody else in front of those who still wait.
//!
//! Nobody starves: queues are served in order, and a transaction that died comes back with the age it had, so it is the
//! oldest one day, and the oldest never dies.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use handfast_common::ids::{Age, TxnId, Xid};
use handfast_common::mutants::{self, Mutant};
use serde::{Deserialize, Serialize};

/// Who holds which key, and who waits for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct LockTable {
    /// Only keys that somebody holds.
    keys: BTreeMap<String, Queue>,
    /// Only transactions that hold or wait for something.
    owners: BTreeMap<Xid, Owner>,
}

/// How a key is locked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// To read; many at a time.
    Shared,
    /// To write; one at a time.
    Exclusive,
}

/// The answer to a request for a lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Acquired {
    /// Held now.
    Granted,
    /// Queued; a later [`LockTable::release_all`] of somebody tells how it ended.
    Waiting,
    /// Not queued: somebody older is in the way. The transaction must let go of all it holds.
    Die,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Woken {
    /// Who waited.
    pub xid: Xid,
    /// Whether it has the lock; if not it must let go of all it holds.
    pub granted: bool,
}

impl LockTable {
    /// Asks for a lock. A shared lock that is held already becomes exclusive when `mode` says so. A transaction waits
    /// for one lock at a time, and `age` is the same in all of its requests.
    ///
    /// # Panics
    /// When the transaction waits already: that is a bug of the caller.
    pub fn acquire(&mut self, xid: Xid, age: Age, key: &str, mode: Mode) -> Acquired {
        let rank = Rank { age, txn: xid.txn, xid };
        let Some(queue) = self.keys.get_mut(key) else {
            self.keys.insert(key.to_owned(), Queue::held_by(rank, mode));
            self.owner(xid).held.push(key.to_owned());
            return Acquired::Granted;
        };
        let claim = Claim { rank, mode };
        let upgrade = match queue.holders.iter_mut().find(|holder| holder.rank.xid == xid) {
            Some(own) if own.mode >= mode => return Acquired::Granted,
            Some(_) => true,
            None => false,
        };
        // Whoever upgrades passes all that are queued: they wait for its shared lock already.
        let ahead = if upgrade { 0 } else { queue.waiting.len() };
        let (free, may_wait) = queue.judge(claim, ahead);
        let may_wait = may_wait || (mutants::is(Mutant::WaitsAreJudgedOnce) && queue.judge(claim, 0).1);
        if free {
            queue.grant(claim);
            if !upgrade {
                self.owner(xid).held.push(key.to_owned());
            }
            return Acquired::Granted;
        }
        if !may_wait {
            return Acquired::Die;
        }
        queue.waiting.insert(ahead, claim);
        let owner = self.owner(xid);
        assert!(owner.waits_for.is_none(), "{xid:?} asks for a lock while it waits for another");
        owner.waits_for = Some(key.to_owned());
        Acquired::Waiting
    }

    /// Lets go of all that a transaction holds and of what it waits for; tells whose waiting that ended, in the order
    /// it did. A transaction that is not there is no error.
    pub fn release_all(&mut self, xid: Xid) -> Vec<Woken> {
        let mut woken = Vec::new();
        let Some(owner) = self.owners.remove(&xid) else { return woken };
        for key in owner.held.into_iter().chain(owner.waits_for) {
            let Some(queue) = self.keys.get_mut(&key) else { continue };
            let before = woken.len();
            queue.forget(xid);
            queue.settle(&mut woken);
            if queue.holders.is_empty() {
                self.keys.remove(&key);
            }
            self.end_waits(&key, &woken[before..]);
        }
        woken
    }

    /// Who holds a key exclusively.
    #[must_use]
    pub fn holder_of(&self, key: &str) -> Option<Xid> {
        self.keys.get(key)?.exclusive_holder()
    }

    /// The keys from this one on that somebody holds exclusively, in order, each with its holder.
    pub fn exclusive_from<'a>(&'a self, key: &str) -> impl Iterator<Item = (&'a str, Xid)> + use<'a> {
        let from = (Bound::Included(key), Bound::Unbounded);
        self.keys.range::<str, _>(from).filter_map(|(key, queue)| Some((key.as_str(), queue.exclusive_holder()?)))
    }

    /// Takes back a lock that a prepare record names; `false` when another record names one against it, which no order
    /// of writes can have left behind.
    #[must_use]
    pub fn hold_recovered(&mut self, xid: Xid, age: Age, key: &str, mode: Mode) -> bool {
        self.acquire(xid, age, key, mode) == Acquired::Granted
    }

    /// Somebody who waits for one that is not younger, and the key: there is nobody, or two could wait for each other.
    #[must_use]
    pub fn younger_waiter(&self) -> Option<(Xid, &str)> {
        let wrong = |queue: &Queue| {
            let mut waiting = queue.waiting.iter().enumerate();
            waiting.find(|(ahead, claim)| !queue.judge(**claim, *ahead).1).map(|(_, claim)| claim.rank.xid)
        };
        self.keys.iter().find_map(|(key, queue)| Some((wrong(queue)?, key.as_str())))
    }

    /// Whether nobody holds anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.owners.is_empty()
    }

    fn owner(&mut self, xid: Xid) -> &mut Owner {
        self.owners.entry(xid).or_default()
    }

    /// Tells the owners what a queue has decided.
    fn end_waits(&mut self, key: &str, woken: &[Woken]) {
        for Woken { xid, granted } in woken {
            let owner = self.owners.entry(*xid).or_default();
            owner.waits_for = None;
            if *granted && !owner.held.iter().any(|held| held == key) {
                owner.held.push(key.to_owned());
            }
        }
    }
}

/// What one transaction has of the table: enough to release it without a search.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Owner {
    held: Vec<String>,
    waits_for: Option<String>,
}

/// Smaller is older. The id decides between equal ages, and the rest of the identity between two copies of one
/// coordinator: without a total order two of them could wait for each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Rank {
    age: Age,
    txn: TxnId,
    xid: Xid,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Claim {
    rank: Rank,
    mode: Mode,
}

impl Claim {
    fn conflicts_with(self, other: Self) -> bool {
        self.rank.xid != other.rank.xid && (self.mode == Mode::Exclusive || other.mode == Mode::Exclusive)
    }
}

/// One key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Queue {
    /// One exclusive or any number of shared ones.
    holders: Vec<Claim>,
    /// In the order of service. The first one always conflicts with a holder, else it would be one.
    waiting: VecDeque<Claim>,
}

impl Queue {
    fn held_by(rank: Rank, mode: Mode) -> Self {
        Self { holders: vec![Claim { rank, mode }], waiting: VecDeque::new() }
    }

    /// Whether nothing is in the way of a claim behind the first `ahead` that wait; and whether it is older than all
    /// that is.
    fn judge(&self, claim: Claim, ahead: usize) -> (bool, bool) {
        let in_the_way = || {
            let queued = self.waiting.iter().take(ahead);
            self.holders.iter().chain(queued).filter(|other| claim.conflicts_with(**other))
        };
        (in_the_way().next().is_none(), in_the_way().all(|other| claim.rank < other.rank))
    }

    fn exclusive_holder(&self) -> Option<Xid> {
        self.holders.first().filter(|holder| holder.mode == Mode::Exclusive).map(|holder| holder.rank.xid)
    }

    fn grant(&mut self, claim: Claim) {
        match self.holders.iter_mut().find(|holder| holder.rank.xid == claim.rank.xid) {
            Some(own) => own.mode = claim.mode,
            None => self.holders.push(claim),
        }
    }

    fn forget(&mut self, xid: Xid) {
        self.holders.retain(|claim| claim.rank.xid != xid);
        self.waiting.retain(|claim| claim.rank.xid != xid);
    }

    /// Serves the queue after somebody has left: grants from the front what can be granted, then looks at everyone who
    /// still waits again. A grant or a death may make way for others, so this goes on until nothing changes.
    fn settle(&mut self, woken: &mut Vec<Woken>) {
        loop {
            while let Some(&first) = self.waiting.front() {
                if !self.judge(first, 0).0 {
                    break;
                }
                self.waiting.pop_front();
                self.grant(first);
                woken.push(Woken { xid: first.rank.xid, granted: true });
            }
            let doomed = (0..self.waiting.len()).find(|&at| !self.judge(self.waiting[at], at).1);
            let doomed = doomed.filter(|_| !mutants::is(Mutant::WaitsAreJudgedOnce));
            let Some(doomed) = doomed.and_then(|at| self.waiting.remove(at)) else { return };
            woken.push(Woken { xid: doomed.rank.xid, granted: false });
        }
    }
}

#[cfg(test)]
mod tests;
