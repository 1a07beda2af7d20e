//! What must hold when all faults are healed.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::ids::{Key, Name, Xid};
use handfast_common::outcome::Payload;
use handfast_coordinator::protocol::Coordinator;

use super::client::{Known, Wanted};
use super::faults::LONGEST_DELAY;
use super::interactive::{Heard, Interactive};
use super::nodes::ParticipantNode;
use super::wish::Wish;
use super::{Event, MS, World};

/// How often each payload took effect, by participant.
type Effects = BTreeMap<Name, BTreeMap<Payload, u32>>;

impl World {
    /// L1: in doubt no longer than five seconds.
    pub(super) fn check_in_doubt(&self) {
        for node in &self.participants {
            let in_doubt: Vec<&Xid> = node.store.disk.prepared.keys().collect();
            assert!(in_doubt.is_empty(), "{} is in doubt five seconds after all faults: {in_doubt:?}", node.name());
        }
    }

    /// L4: nothing is open for longer than the idle limit since an operation of it last arrived, wherever, or the last
    /// message that a fault has held back.
    pub(super) fn check_open(&self, healed: u64) {
        // Messages on their way, and a decision just being carried out.
        const SLACK: u64 = 200 * MS;
        let limit = u64::try_from(self.coordinator.config.idle_limit.as_micros()).unwrap_or(u64::MAX);
        let touched: BTreeMap<Xid, u64> = self
            .clients
            .interactive
            .values()
            .filter_map(|interactive| Some((interactive.xid?, interactive.touched.max(healed + LONGEST_DELAY))))
            .collect();
        for node in &self.participants {
            // Once it was asked for its vote, that has a time of its own.
            let branches = || node.machine.iter().flat_map(|machine| machine.branches());
            let open = |xid: &&Xid| branches().any(|branch| branch.xid == **xid && branch.state == "active");
            let late = |xid: &&Xid| touched.get(xid).is_none_or(|at| at + limit + SLACK < self.now);
            let open: Vec<&Xid> = node.store.open.keys().filter(late).filter(open).collect();
            assert!(open.is_empty(), "branches are left open at {}: {open:?}", node.name());
        }
    }

    /// Of clients that are gone somebody looks through their notes.
    pub(super) fn ask_about_all(&mut self) {
        let keys: Vec<Key> = self.clients.interactive.keys().copied().collect();
        for key in keys {
            self.at(0, Event::Ask(key));
        }
    }

    pub(super) fn check_end(&mut self) {
        let load = self.coordinator.machine.as_ref().map(Coordinator::load);
        assert_eq!(load, Some((0, 0)), "transactions are left at the coordinator");
        assert!(self.coordinator.askers.is_empty(), "the coordinator owes answers: {:?}", self.coordinator.askers);
        for node in &self.participants {
            let open: Vec<&Xid> = node.store.open.keys().collect();
            assert!(open.is_empty(), "branches are left open at {}: {open:?}", node.name());
            let branches = node.machine.iter().flat_map(|machine| machine.branches());
            let left: Vec<_> = branches.filter(|branch| !branch.ended).collect();
            assert!(left.is_empty(), "branches are left at {}: {left:?}", node.name());
            assert!(node.answers.is_empty(), "{} owes answers: {:?}", node.name(), node.answers);
        }
        self.check_one_verdict_per_transaction();
        let mut effects: BTreeMap<Key, Effects> = BTreeMap::new();
        for node in &self.participants {
            for payload in node.store.disk.effects.values().flatten() {
                let of_key = effects.entry(key_of(payload)).or_default();
                *of_key.entry(node.name()).or_default().entry(payload.clone()).or_default() += 1;
            }
        }
        let none = Effects::new();
        for (key, wanted) in &self.clients.wanted {
            let took = effects.get(key).unwrap_or(&none);
            check_once(*key, took);
            check_one_shot(*key, wanted, took);
            self.summary.committed += usize::from(wanted.known == Known::Committed);
            self.summary.aborted += usize::from(wanted.known == Known::Aborted);
            self.summary.effects += took.len();
        }
        for (key, interactive) in &self.clients.interactive {
            let took = effects.get(key).unwrap_or(&none);
            check_once(*key, took);
            check_interactive(*key, interactive, took);
            self.check_counts(interactive);
            self.summary.interactive.0 += usize::from(interactive.known == Known::Committed);
            self.summary.interactive.1 += usize::from(interactive.known == Known::Aborted);
            self.summary.effects += took.len();
        }
    }

    /// Where nobody but the client worked in it, exactly what it counts was carried out.
    fn check_counts(&self, interactive: &Interactive) {
        let (Some(xid), Some(commit)) = (interactive.xid, &interactive.commit) else { return };
        if interactive.known != Known::Committed || commit.shared {
            return;
        }
        for node in &self.participants {
            let ran = node.store.disk.executed.get(&xid).map_or(0, BTreeSet::len) as u64;
            let counted = commit.counts.iter().find(|count| count.participant == node.name());
            let counted = counted.map_or(0, |count| count.operations);
            assert_eq!(ran, counted, "{} committed with what its client does not know at {}", xid.txn, node.name());
        }
    }

    /// A1 by transaction: no branch took effect where another was undone; and what was carried out in a transaction that
    /// took effect anywhere took effect itself, whoever asked for it (t10a).
    fn check_one_verdict_per_transaction(&self) {
        let disks = || self.participants.iter().map(|node| (node.name(), &node.store.disk));
        let committed: BTreeSet<Xid> = disks().flat_map(|(_, disk)| disk.effects.keys().copied()).collect();
        for (name, disk) in disks() {
            for xid in &committed {
                let elsewhere = self.participants.iter().find(|node| node.store.disk.effects.contains_key(xid));
                let elsewhere = elsewhere.map(ParticipantNode::name);
                assert!(
                    !disk.undone.contains(xid),
                    "A1: {} was undone at {name} and committed at {elsewhere:?}",
                    xid.txn
                );
                let took = disk.effects.get(xid).map_or(&[][..], Vec::as_slice);
                let executed = disk.executed.get(xid).into_iter().flatten();
                let missing = executed.filter(|work| Wish::of(work) == Wish::Write).find(|work| !took.contains(work));
                assert_eq!(missing, None, "A1: {} committed at {elsewhere:?} without this at {name}", xid.txn);
            }
        }
    }
}

/// The key that a payload was drawn for.
fn key_of(payload: &Payload) -> Key {
    let bytes: [u8; 16] = payload.0[1..17].try_into().expect("a payload carries its key");
    Key(uuid::Uuid::from_bytes(bytes))
}

fn check_once(key: Key, took: &Effects) {
    let twice = took.values().flatten().find(|(_, times)| **times > 1);
    assert_eq!(twice, None, "A5: {key} took effect more than once: {took:?}");
}

fn check_one_shot(key: Key, wanted: &Wanted, took: &Effects) {
    // One branch alone counts whatever it did; of several only those that write have a record.
    let alone = wanted.wishes.len() == 1;
    let refuses = wanted.wishes.values().any(|wish| *wish == Wish::Refuse);
    let writers = wanted.wishes.iter().filter(|(_, wish)| alone || **wish == Wish::Write).count();
    assert!(took.is_empty() || took.len() == writers, "A1: a part of {key} took effect: {took:?}");
    match wanted.known {
        Known::Committed => {
            assert!(!refuses, "{key} was told committed against a No");
            assert_eq!(took.len(), writers, "{key} was told committed and took effect at {took:?}");
        }
        Known::Aborted => assert!(took.is_empty(), "{key} was told aborted and took effect at {took:?}"),
        Known::Forgotten => {}
        Known::Open | Known::Rejected => panic!("{key} is not known in the end"),
    }
}

/// A4, A5: of one that was told committed every operation that was answered took effect, once; what its client was told to
/// be lost did not commit.
fn check_interactive(key: Key, interactive: &Interactive, took: &Effects) {
    assert!(!interactive.flipped || took.is_empty(), "A2: {key} was told both, and took effect: {took:?}");
    match interactive.known {
        Known::Committed => {
            for (caller, steps) in interactive.callers.iter().map(|caller| &caller.steps).enumerate() {
                for (number, step) in steps.iter().enumerate() {
                    let payload = step.wish.operation(key, caller, number);
                    let times = took.get(&step.to).and_then(|took| took.get(&payload)).copied().unwrap_or(0);
                    let expected = match (step.heard, step.wish) {
                        (Some(Heard::Done), Wish::Write) => 1,
                        (Some(Heard::Done), _) | (Some(Heard::Failed), _) => 0,
                        // Not answered, or a resend came too late: it may have been carried out.
                        (None | Some(Heard::Doomed), _) => times,
                    };
                    assert_eq!(times, expected, "{key} was told committed; step {number} of {caller}: {step:?}");
                }
            }
            // A hasty one may have been told so because it had committed.
            assert!(
                !interactive.is_doomed() || interactive.hasty,
                "{key} was told committed after a branch of it was lost"
            );
        }
        Known::Aborted => assert!(took.is_empty(), "{key} was told aborted and took effect: {took:?}"),
        Known::Forgotten => {}
        Known::Open | Known::Rejected => panic!("{key} is not known in the end"),
    }
}
