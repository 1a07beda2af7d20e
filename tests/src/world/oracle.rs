//! What must hold when all faults are healed.

use std::collections::BTreeMap;

use handfast_common::ids::{Key, Name, Xid};

use super::World;
use super::client::Known;
use super::nodes::ParticipantNode;
use super::store::Wish;

impl World {
    /// L1: in doubt no longer than five seconds.
    pub(super) fn check_in_doubt(&self) {
        for node in &self.participants {
            let in_doubt: Vec<&Xid> = node.store.disk.prepared.keys().collect();
            assert!(in_doubt.is_empty(), "{} is in doubt five seconds after all faults: {in_doubt:?}", node.name());
        }
    }

    pub(super) fn check_end(&mut self) {
        let load = self.coordinator.machine.as_ref().map(handfast_coordinator::protocol::Coordinator::load);
        assert_eq!(load, Some((0, 0)), "transactions are left at the coordinator");
        let mut effects: BTreeMap<Key, BTreeMap<Name, u32>> = BTreeMap::new();
        let by_payload: BTreeMap<_, Key> = self
            .clients
            .wanted
            .iter()
            .flat_map(|(key, wanted)| wanted.wishes.values().map(|wish| (wish.payload(*key), *key)))
            .collect();
        for node in &self.participants {
            for (payload, times) in node.store.disk.effects.values() {
                *effects.entry(by_payload[payload]).or_default().entry(node.name()).or_default() += times;
            }
        }
        self.check_one_verdict_per_transaction();
        for (key, wanted) in &self.clients.wanted {
            let took = effects.get(key).cloned().unwrap_or_default();
            assert!(took.values().all(|times| *times == 1), "A5: {key} took effect more than once: {took:?}");
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
            self.summary.committed += usize::from(wanted.known == Known::Committed);
            self.summary.aborted += usize::from(wanted.known == Known::Aborted);
            self.summary.effects += took.len();
        }
    }

    /// A1 by transaction: no branch took effect where another was undone.
    fn check_one_verdict_per_transaction(&self) {
        let committed = |node: &ParticipantNode, xid: &Xid| node.store.disk.effects.contains_key(xid);
        for node in &self.participants {
            for xid in &node.store.disk.undone {
                let elsewhere = self.participants.iter().find(|other| committed(other, xid));
                let name = elsewhere.map(ParticipantNode::name);
                assert_eq!(name, None, "A1: {} was undone at {} and committed there", xid.txn, node.name());
            }
        }
    }
}
