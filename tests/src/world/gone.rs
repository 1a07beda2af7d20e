//! The coordinator never comes back (cooperative termination, DESIGN 3.6): who is in doubt learns the decision from
//! whoever knows it, in two seconds; where nobody knows, all wait.

use std::collections::BTreeMap;

use handfast_common::ids::Xid;
use handfast_common::messages::Member;

use super::{Event, MS, Summary, World};

impl World {
    /// Like [`World::run`], but in the midst of it the coordinator is gone for good, and from then on nothing else goes
    /// wrong.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn run_without_coordinator(mut self) -> Summary {
        let until = self.dice.between(300, 2_000) * MS;
        for _ in 0..60 {
            let (one, other) = (self.dice.below(until), self.dice.below(until));
            self.at(one, Event::NewTransaction);
            self.at(other, Event::NewInteractive);
        }
        if !self.mild {
            for _ in 0..self.dice.below(5) {
                let when = self.dice.below(until);
                self.at(when, Event::Fault);
            }
        }
        self.until(until);
        self.gone = true;
        self.crash_coordinator();
        self.heal();
        let lost = self.now;
        let left = self.in_doubt().len();
        self.until(lost + 2_000 * MS);
        let waiting = self.in_doubt();
        for (xid, members) in &waiting {
            for member in members {
                let n = self.number_of(&member.who.name);
                assert!(!self.knows(n, *xid, member), "p{n} knows about {}, and others are in doubt", xid.txn);
            }
        }
        self.summary.freed = u32::try_from(left.saturating_sub(waiting.len())).unwrap_or(0);
        self.summary.left_waiting = u32::try_from(waiting.len()).unwrap_or(0);
        // They wait for ever, and say so.
        self.until(lost + 10_000 * MS);
        assert_eq!(self.in_doubt().len(), waiting.len(), "branches in doubt have ended by themselves");
        for node in &self.participants {
            let in_doubt = node.store.disk.prepared.len();
            assert!(in_doubt == 0 || node.said > 0, "{} waits and does not say so", node.name());
            assert!(node.store.open.is_empty(), "{} holds branches of a coordinator that is gone", node.name());
        }
        self.summary
    }

    /// Every transaction in doubt anywhere, with its members.
    fn in_doubt(&self) -> BTreeMap<Xid, Vec<Member>> {
        let disks = self.participants.iter().map(|node| &node.store.disk);
        disks.flat_map(|disk| &disk.prepared).map(|(xid, (record, _))| (*xid, record.members.clone())).collect()
    }

    /// Whether a participant could tell: it has the decision, or has not voted and is the very start that was asked to.
    fn knows(&self, n: usize, xid: Xid, member: &Member) -> bool {
        let node = &self.participants[n];
        if node.store.disk.effects.contains_key(&xid) {
            return true;
        }
        let Some(machine) = &node.machine else { return false };
        let exact = machine.config().incarnation == member.who.incarnation;
        match machine.branches().find(|branch| branch.xid == xid) {
            Some(branch) => branch.state == "aborted" && branch.vote != Some("read-only") && exact,
            None => exact,
        }
    }
}
