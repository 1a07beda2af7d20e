//! Operations of interactive transactions: whether they are listened to.

use handfast_common::ids::{ContentHash, Xid};
use handfast_common::messages::{Enlisted, Execute, ExecuteResult, Seen};
use handfast_common::outcome::{Reason, ReasonKind};

use super::error::Illegal;
use super::event::{Event, ExecuteOrder};
use super::hello::Coordinator;
use super::{Effect, Effects, Participant, ReplyTo};

impl Participant {
    /// Only in a transaction of the very start of its coordinator that was greeted last: what an older one began is aborted
    /// by now, or is committed by what it prepared, and never grows.
    pub(super) fn on_operation_received(
        &mut self,
        reply: ReplyTo,
        execute: Execute,
        out: &mut Effects,
    ) -> Result<(), Illegal> {
        let Execute { to, xid, coordinator, operation, wait, clock, work } = execute;
        if to != self.config.name {
            answer(reply, ExecuteResult::WrongAddressee, out);
            return Ok(());
        }
        self.hear_clock(clock);
        if let Some(result) = self.fenced(xid) {
            answer(reply, result, out);
            return Ok(());
        }
        let digest = ContentHash::of(&[&work.0]);
        let order = ExecuteOrder { reply, coordinator, id: operation, digest, work, wait: wait.into() };
        self.feed(xid, Event::Execute(order), out)
    }

    pub(super) fn on_enlist_answered(&mut self, xid: Xid, answer: Enlisted, out: &mut Effects) -> Result<(), Illegal> {
        if let Enlisted::Accepted { age, .. } = &answer {
            self.hear_clock(*age);
        }
        self.feed(xid, Event::EnlistAnswered(answer), out)
    }

    /// What to say to an operation whose transaction is not of the present start of its coordinator.
    fn fenced(&self, xid: Xid) -> Option<ExecuteResult> {
        let Some(coordinator) = self.coordinators.get(&xid.log) else { return Some(ExecuteResult::NotYet) };
        let doomed = |why: &str| Some(ExecuteResult::Doomed(Reason::new(ReasonKind::Lost, why)));
        let epoch = xid.txn.epoch();
        match coordinator.highest() {
            Some(seen) if epoch < seen.epoch => doomed("its coordinator was restarted"),
            Some(seen) if epoch == seen.epoch && xid.nonce != seen.nonce => {
                doomed("it was begun by another start of its coordinator")
            }
            Some(seen) if epoch == seen.epoch && coordinator.greeted() == Some(seen) => None,
            Some(_) | None => Some(ExecuteResult::NotYet),
        }
    }

    /// Whether the start of the coordinator that began a transaction, or a later one, has been greeted.
    pub(super) fn was_greeted(&self, xid: Xid) -> bool {
        let begun = |seen: Seen| {
            let epoch = xid.txn.epoch();
            epoch < seen.epoch || (epoch == seen.epoch && xid.nonce == seen.nonce)
        };
        self.coordinators.get(&xid.log).and_then(Coordinator::greeted).is_some_and(begun)
    }
}

fn answer(to: ReplyTo, result: ExecuteResult, out: &mut Effects) {
    out.push(Effect::ReplyExecuted { to, result });
}
