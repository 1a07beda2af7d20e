//! What is so in the world, for scripts that wait for it.

use handfast_common::ids::TxnId;
use handfast_common::messages::{AskPage, AskValues, ExecuteResult, Select, ValueLine};
use handfast_common::operation::Value;

use super::super::{LOG, World};
use super::{catching, word};
use crate::plan::Host;
use crate::timelines::script::{Fact, Reply, Txn};

impl World {
    pub(super) fn holds(&mut self, fact: &Fact) -> bool {
        match fact {
            Fact::Not(other) => !self.holds(other),
            Fact::Branch(host, txn, state) => self.branch_states(*host, *txn).contains(state),
            Fact::Phase(txn, state) => self.phase(*txn).as_deref() == Some(state),
            Fact::Ended(txn) => matches!(self.phase(*txn).as_deref(), Some("committed" | "aborted")),
            Fact::Greeted => (0..self.participants.len()).all(|n| self.is_greeted(Host::Participant(n))),
            Fact::GreetedBy(host) => self.is_greeted(*host),
            Fact::Covered(host, txn) => self.is_covered(*host, *txn),
            Fact::Epoch(host, epoch) => self.epoch_of(*host) == Some(*epoch),
            Fact::Value(host, key, value) => {
                let is = self.line_of(*host, key).and_then(|line| line.value);
                is.unwrap_or(Value::Integer(0)) == Value::Integer(*value)
            }
            Fact::Queued(Host::Participant(n), records) => {
                self.participants[*n].store.as_ref().is_some_and(|store| store.queued().0 == *records)
            }
            Fact::Queued(..) => false,
            Fact::Locked(host, key) => self.line_of(*host, key).is_some_and(|line| line.locked_by.is_some()),
            Fact::Came(..)
            | Fact::Waits(_)
            | Fact::Told(..)
            | Fact::Answered(..)
            | Fact::Stopped(..)
            | Fact::Refused(..) => self.is_remembered(fact),
        }
    }

    /// What the stage itself has seen.
    fn is_remembered(&self, fact: &Fact) -> bool {
        let Some(stage) = &self.stage else { return false };
        let has = |list: &[(Host, String)], host: Host, words: &str| {
            list.iter().any(|(who, why)| *who == host && why.contains(words))
        };
        match fact {
            Fact::Came(message, least) => {
                let count = |(came, times): (&_, &usize)| if catching::fits(message, came) { *times } else { 0 };
                stage.came.iter().map(count).sum::<usize>() >= *least
            }
            Fact::Waits(message) => stage.waiting.iter().any(|(rule, ..)| rule == message),
            Fact::Told(txn, expected) => stage.told.get(txn).is_some_and(|told| word(told) == *expected),
            Fact::Answered(txn, number, expected) => {
                let reply = |result: &ExecuteResult| match result {
                    ExecuteResult::Done(_) => Some(Reply::Done),
                    ExecuteResult::Failed(_) => Some(Reply::Failed),
                    ExecuteResult::Doomed(_) => Some(Reply::Doomed),
                    ExecuteResult::NotYet => Some(Reply::NotYet),
                    ExecuteResult::WrongAddressee => None,
                };
                stage.answers.get(&(*txn, *number)).and_then(reply) == Some(*expected)
            }
            Fact::Stopped(host, words) => has(&stage.stopped, *host, words),
            Fact::Refused(host, words) => has(&stage.refused, *host, words),
            Fact::Greeted
            | Fact::GreetedBy(_)
            | Fact::Branch(..)
            | Fact::Phase(..)
            | Fact::Ended(_)
            | Fact::Covered(..)
            | Fact::Epoch(..)
            | Fact::Value(..)
            | Fact::Queued(..)
            | Fact::Locked(..)
            | Fact::Not(_) => false,
        }
    }

    /// What its listing says of all branches of a transaction; mostly there is one at the most.
    fn branch_states(&mut self, host: Host, txn: Txn) -> Vec<&'static str> {
        let Host::Participant(n) = host else { return Vec::new() };
        let Some(machine) = &self.participants[n].machine else { return Vec::new() };
        let branches: Vec<_> = machine.branches().map(|branch| (branch.xid.txn, branch.state)).collect();
        branches.into_iter().filter(|(id, _)| self.txn_of(*id) == Some(txn)).map(|(_, state)| state).collect()
    }

    fn phase(&self, txn: Txn) -> Option<String> {
        let key = *self.stage.as_ref()?.keys.get(&txn)?;
        let page = self.coordinator.machine.as_ref()?.page(&AskPage { after: None, within: None, ended: true });
        page.lines.into_iter().find(|line| line.key == Some(key)).map(|line| line.state)
    }

    fn is_greeted(&self, host: Host) -> bool {
        let Host::Participant(n) = host else { return false };
        let (Some(machine), Some(there)) = (&self.coordinator.machine, &self.participants[n].machine) else {
            return false;
        };
        let (name, incarnation) = (&there.config().name, Some(there.config().incarnation));
        let ready = machine.participants().any(|(other, state)| other == name && state == "ready");
        // This very start of it, not the one before, whose end has not been noticed.
        ready && machine.registry().lines.iter().any(|line| line.name == *name && line.incarnation == incarnation)
    }

    fn is_covered(&self, host: Host, txn: Txn) -> bool {
        let (Host::Participant(n), Some(stage)) = (host, &self.stage) else { return false };
        let Some(machine) = &self.participants[n].machine else { return false };
        let Some(mark) = machine.mark_of(LOG) else { return false };
        let ids: Vec<TxnId> = stage.txns.iter().filter(|(_, of)| **of == txn).map(|(id, _)| *id).collect();
        !ids.is_empty() && ids.into_iter().all(|id| mark.covers(id))
    }

    fn epoch_of(&self, host: Host) -> Option<u64> {
        match host {
            Host::Coordinator => {
                let machine = self.coordinator.machine.as_ref().filter(|machine| machine.is_ready())?;
                Some(machine.standing().1.0)
            }
            Host::Participant(n) => Some(self.participants[n].machine.as_ref()?.seen(LOG)?.epoch.0),
            Host::Clients => None,
        }
    }

    fn line_of(&self, host: Host, key: &str) -> Option<ValueLine> {
        let Host::Participant(n) = host else { return None };
        let question = AskValues { select: Select::Key(key.to_owned()), after: None };
        let page = self.participants[n].store.as_ref()?.values(&question).ok()?;
        page.lines.into_iter().next()
    }
}
