//! The coordinator never comes back (cooperative termination, DESIGN 3.6): who is in doubt learns the decision from
//! whoever knows it, in two seconds; where nobody knows, all wait.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::ids::Xid;
use handfast_common::messages::Member;
use handfast_participant::protocol::Prepared;

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
        let before = self.in_doubt();
        let knew = self.who_knows(&before);
        self.until(lost + 2_000 * MS);
        let both: BTreeSet<_> = self.who_knows(&self.in_doubt()).intersection(&knew).copied().collect();
        assert!(both.is_empty(), "two seconds later: in doubt, about what, and who knew all along: {both:?}");
        // Those that a late Prepare has left in doubt, and those about whom somebody had to drop an open branch first,
        // have had their time as well. They wait for ever, and say so.
        self.until(lost + 10_000 * MS);
        let waiting = self.in_doubt();
        let knows = self.who_knows(&waiting);
        assert!(knows.is_empty(), "in doubt, about what, and who knows: {knows:?}");
        self.until(lost + 20_000 * MS);
        assert_eq!(self.in_doubt(), waiting, "branches in doubt have ended by themselves");
        let freed = before.keys().filter(|branch| !waiting.contains_key(branch)).count();
        self.summary.freed = u32::try_from(freed).unwrap_or(0);
        self.summary.left_waiting = u32::try_from(waiting.len()).unwrap_or(0);
        for node in &self.participants {
            let in_doubt = node.store.disk.prepared.len();
            assert!(in_doubt == 0 || node.said > 0, "{} waits and does not say so", node.name());
            assert!(node.store.open.is_empty(), "{} holds branches of a coordinator that is gone", node.name());
        }
        self.summary
    }

    /// Every branch in doubt, with the members of its transaction.
    fn in_doubt(&self) -> BTreeMap<(usize, Xid), Vec<Member>> {
        let disks = self.participants.iter().map(|node| &node.store.disk).enumerate();
        let branch = |n: usize, xid: &Xid, record: &Prepared| ((n, *xid), record.members.clone());
        disks.flat_map(|(n, disk)| disk.prepared.iter().map(move |(xid, (record, _))| branch(n, xid, record))).collect()
    }

    /// Each of these branches with everybody who could tell its participant.
    fn who_knows(&self, branches: &BTreeMap<(usize, Xid), Vec<Member>>) -> BTreeSet<(usize, Xid, usize)> {
        let mut found = BTreeSet::new();
        for ((n, xid), members) in branches {
            let others = members.iter().map(|member| (self.number_of(&member.who.name), member));
            found.extend(others.filter(|(m, member)| self.knows(*m, *xid, member)).map(|(m, _)| (*n, *xid, m)));
        }
        found
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
            // Below the mark no trace says nothing: it may have been trimmed.
            None => exact && !node.store.has_passed(xid),
        }
    }
}
