//! What is looked at when all faults are over.

use std::collections::BTreeMap;

use handfast_common::messages::{AskValues, Select};
use handfast_common::operation::Value;

use super::World;
use crate::oracles::{CoordinatorLeft, End, ParticipantLeft, Violation, begun_is_live_and_ended};

impl World {
    /// Whoever was in doubt when the last fault ended is so no more.
    pub(super) fn check_doubts_ended(&mut self) -> Result<(), Violation> {
        if let (Some((n, xid)), None) = (self.doubts.first(), &self.summary.found_out) {
            let what = format!("p{n} was in doubt of {} at the healing, and still is after twice the cap", xid.txn);
            self.judge("liveness", Err(what));
        }
        self.violation.take().map_or(Ok(()), Err)
    }

    /// L1: nobody is in doubt any more.
    pub(super) fn check_no_doubt(&mut self) -> Result<(), Violation> {
        if self.summary.found_out.is_some() {
            return Ok(());
        }
        for n in 0..self.participants.len() {
            let machine = self.participants[n].machine.as_ref();
            let in_doubt =
                machine.map(|machine| machine.branches().filter(|branch| branch.state == "in-doubt").count());
            match in_doubt {
                Some(0) => {}
                Some(count) => self.judge("liveness", Err(format!("p{n} has {count} branches in doubt"))),
                None => self.judge("liveness", Err(format!("p{n} is not up"))),
            }
        }
        self.violation.take().map_or(Ok(()), Err)
    }

    /// Everything that the end must show.
    pub(super) fn check_end(&mut self) -> Result<(), Violation> {
        let Some(machine) = &self.coordinator.machine else {
            self.judge("liveness", Err("the coordinator is not up".to_owned()));
            return self.violation.take().map_or(Ok(()), Err);
        };
        let (live, undecided) = machine.load();
        // What was trimmed can't be counted.
        let trims = self.options.retention < self.ledger.iter().count() as u64;
        let counted = if trims { Ok(()) } else { begun_is_live_and_ended(machine) };
        self.judge("resource baseline", CoordinatorLeft { live, undecided }.verdict());
        self.judge("conservation", counted);
        let mut values = BTreeMap::new();
        for n in 0..self.participants.len() {
            let node = &self.participants[n];
            let (Some(machine), Some(store)) = (&node.machine, &node.store) else { continue };
            let open = machine.branches().filter(|branch| !branch.ended);
            let branches = open.map(|branch| format!("{} {}", branch.xid.txn, branch.state)).collect();
            let left = ParticipantLeft { name: node.name(), branches, queued: store.queued().0 };
            let found = self.values_of(n);
            self.judge("resource baseline", left.verdict());
            match found {
                Ok(found) => drop(values.insert(self.participants[n].name(), found)),
                Err(why) => self.judge("integrity", Err(why)),
            }
        }
        let end = End { ledger: &self.ledger, workload: self.options.workload, names: self.names(), values };
        for (oracle, verdict) in end.verdicts() {
            self.judge(oracle, verdict);
        }
        self.violation.take().map_or(Ok(()), Err)
    }

    /// Last committed values; a key that a branch in doubt still holds is a finding here.
    fn values_of(&self, n: usize) -> Result<BTreeMap<String, Value>, String> {
        let mut values = BTreeMap::new();
        let mut after = None;
        let Some(store) = &self.participants[n].store else { return Ok(values) };
        loop {
            let question = AskValues { select: Select::Prefix(String::new()), after };
            let page = store.values(&question).map_err(|error| format!("p{n}: {error}"))?;
            after = page.lines.last().map(|line| line.key.clone());
            for line in page.lines {
                if let Some(txn) = line.locked_by {
                    return Err(format!("p{n}: '{}' is held by {txn}, and all is over", line.key));
                }
                values.extend(line.value.map(|value| (line.key, value)));
            }
            if !page.more {
                return Ok(values);
            }
        }
    }
}
