//! A4, A9: nothing is said before it is on disk, and what was said is found again, whatever a crash left.

use std::collections::BTreeSet;

use handfast_common::ids::{TxnId, Xid};
use handfast_common::messages::Told;
use handfast_common::outcome::{Decision, Outcome};
use handfast_coordinator::log::Entry;
use handfast_coordinator::protocol::{Numbered, Record};

use super::{End, Verdict};
use crate::clients::Known;

/// What the coordinator's log holds, and what was said on the strength of it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Durability {
    /// Commit records handed to the log and not known to be on disk.
    handed: BTreeSet<TxnId>,
    durable: BTreeSet<TxnId>,
    told: BTreeSet<TxnId>,
}

impl Durability {
    /// A record is handed to the log.
    pub(crate) fn coordinator_hands(&mut self, record: &Record) {
        if let Record::Commit(commit) = record {
            self.handed.insert(commit.xid.txn);
        }
    }

    /// A batch is on disk.
    pub(crate) fn coordinator_wrote(&mut self, batch: &[Entry]) {
        for entry in batch {
            if let Record::Commit(commit) = &entry.record {
                self.handed.remove(&commit.xid.txn);
                self.durable.insert(commit.xid.txn);
            }
        }
    }

    /// A client is answered. Not every outcome has a record; one whose record is under way must wait for it.
    pub(crate) fn coordinator_tells(&mut self, told: &Told) -> Verdict {
        let Told::Outcome { txn: Some(txn), outcome, .. } = told else { return Ok(()) };
        match outcome {
            Outcome::Committed(_) if self.handed.contains(txn) => {
                Err(format!("{txn} is told committed before it is on disk"))
            }
            Outcome::Committed(_) if self.durable.contains(txn) => {
                self.told.insert(*txn);
                Ok(())
            }
            Outcome::Aborted(_) if self.handed.contains(txn) || self.durable.contains(txn) => {
                Err(format!("{txn} is told aborted, and a record of its commit is on its way or on disk"))
            }
            Outcome::Committed(_)
            | Outcome::Aborted(_)
            | Outcome::Forgotten
            | Outcome::NotFound
            | Outcome::HeuristicMixed => Ok(()),
        }
    }

    /// A participant is told the decision.
    pub(crate) fn coordinator_orders(&mut self, xid: Xid, decision: Decision) -> Verdict {
        match decision {
            Decision::Commit if !self.durable.contains(&xid.txn) => {
                Err(format!("the Commit of {} is sent before it is on disk", xid.txn))
            }
            Decision::Commit => {
                self.told.insert(xid.txn);
                Ok(())
            }
            Decision::Abort => Ok(()),
        }
    }

    /// Its folder is replaced by an older copy: what was told since is for others to remember.
    pub(crate) fn put_back(&mut self) {
        self.told.clear();
    }

    /// The coordinator starts, and this is its log.
    pub(crate) fn coordinator_found(&mut self, records: &[Numbered]) -> Verdict {
        self.handed.clear();
        let commits = records.iter().filter_map(|(_, record)| match record {
            Record::Commit(commit) => Some(commit.xid.txn),
            _ => None,
        });
        self.durable = commits.collect();
        // What was trimmed is told no more, and is not looked for.
        let floor = records.iter().rev().find_map(|(_, record)| match record {
            Record::Floor { floor, .. } => Some(*floor),
            _ => None,
        });
        self.told.retain(|txn| floor.is_none_or(|floor| *txn > floor));
        match self.told.difference(&self.durable).next() {
            Some(txn) => Err(format!("{txn} was told committed and a restart does not find it")),
            None => Ok(()),
        }
    }
}

/// What was told committed is there, everywhere.
pub(super) fn told_is_there(end: &End<'_>) -> Verdict {
    for (key, wanted) in end.ledger.iter() {
        if !matches!(wanted.known, Known::Committed(_)) {
            continue;
        }
        if let Some(name) = wanted.writers().find(|name| end.effects(*key, name) == 0) {
            return Err(format!("{key} was told committed and did not take effect at {name}"));
        }
    }
    Ok(())
}
