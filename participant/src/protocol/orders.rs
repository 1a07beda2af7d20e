//! A coordinator's orders: whether they are for this participant, and what they mean for their branch.

use handfast_common::ids::{ContentHash, Key, Xid};
use handfast_common::messages::{Addressee, OnePhase, Order, Prepare, Refusal, Stamp, Task, ToParticipant};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Decision, Payload};

use super::branch::State;
use super::error::Illegal;
use super::event::{Elsewhere, Event, OnePhaseOrder, PrepareOrder};
use super::hello::{Greeting, refuse};
use super::record::Prepared;
use super::{Effects, Participant, ReplyTo};

impl Participant {
    pub(super) fn on_order(
        &mut self,
        reply: ReplyTo,
        message: ToParticipant,
        out: &mut Effects,
    ) -> Result<(), Illegal> {
        let ToParticipant { from, order } = message;
        if let Some(address) = Address::of(&order) {
            if let Err(refusal) = self.admit(&from, &address) {
                refuse(reply, refusal, out);
                return Ok(());
            }
            self.take_stamp(&from, out)?;
        }
        match order {
            Order::Hello { name, coordinator, known, after } => {
                self.on_hello(Greeting { reply, name, coordinator, known, after }, &from, out)
            }
            Order::Prepare(order) => self.on_prepare(reply, order, &from, out),
            Order::CommitOnePhase(order) => self.on_commit_one_phase(reply, order, out),
            Order::Release { xid, .. } => self.feed(xid, Event::Release(reply), out),
            Order::AskOnePhase { xid, .. } => self.feed(xid, Event::AskOnePhase(reply), out),
            Order::Decide { xid, decision: Decision::Commit, .. } => self.feed(xid, Event::Commit(Some(reply)), out),
            Order::Decide { xid, decision: Decision::Abort, .. } => self.feed(xid, Event::Abort(Some(reply)), out),
        }
    }

    /// The fence first, then the address. A message that is refused changes nothing (f21).
    fn admit(&self, from: &Stamp, address: &Address<'_>) -> Result<(), Refusal> {
        match self.coordinators.get(&from.log) {
            Some(coordinator) => coordinator.admit(from)?,
            None => return Err(Refusal::HelloFirst),
        }
        if mutants::is(Mutant::FencesByTransaction) && address.xid.txn.epoch() < from.epoch {
            return Err(Refusal::HelloFirst);
        }
        let Addressee { name, store, incarnation } = address.to;
        let start = !address.exact || *incarnation == self.config.incarnation;
        let ours = *name == self.config.name && *store == self.config.store && start;
        // A coordinator orders only for transactions of its own log; the mark of one says nothing about another's.
        if ours && address.xid.log == from.log { Ok(()) } else { Err(Refusal::WrongAddressee) }
    }

    fn on_prepare(&mut self, reply: ReplyTo, order: Prepare, from: &Stamp, out: &mut Effects) -> Result<(), Illegal> {
        let Prepare { to: _, xid, age, wait, coordinator, members, task } = order;
        self.hear_clock(age);
        // Whatever became of it, nothing below the mark runs again (t05).
        let covered = self.covers(xid) && !mutants::is(Mutant::LatePrepareRuns);
        let Some(seen) = self.seen(from.log).filter(|_| !covered) else {
            refuse(reply, Refusal::BelowMark, out);
            return Ok(());
        };
        let record = Prepared { xid, coordinator, seen, members, work: task.digest(), reads: Payload::default() };
        self.feed(xid, Event::Prepare(PrepareOrder { reply, age, wait: wait.into(), record, task }), out)
    }

    fn on_commit_one_phase(&mut self, reply: ReplyTo, order: OnePhase, out: &mut Effects) -> Result<(), Illegal> {
        let OnePhase { to: _, xid, age, wait, key, hash, task } = order;
        self.hear_clock(age);
        if self.covers(xid) {
            refuse(reply, Refusal::BelowMark, out);
            return Ok(());
        }
        let elsewhere = self.elsewhere(key, hash);
        if let (false, Elsewhere::Working(leader)) = (self.branches.contains_key(&xid), &elsewhere)
            && let (Task::Carried(_), Some(State::OnePhase(leader))) = (&task, self.branches.get_mut(leader))
        {
            leader.followers.insert(xid);
        }
        let order = OnePhaseOrder { reply, age, wait: wait.into(), key, hash, task, elsewhere };
        self.feed(xid, Event::OnePhase(order), out)
    }

    /// What has become of a key under any transaction. Looking at done ones only would let two transactions with one
    /// key run side by side.
    fn elsewhere(&self, key: Key, hash: ContentHash) -> Elsewhere {
        let Some(xid) = self.claimants(key).next() else { return Elsewhere::Nothing };
        match self.branches.get(&xid) {
            Some(state) if state.request() != Some((key, hash)) => Elsewhere::OtherContent,
            Some(State::OnePhaseDone(done)) => Elsewhere::Done(done.reads.clone()),
            Some(_) => Elsewhere::Working(xid),
            None => Elsewhere::Nothing,
        }
    }
}

/// Whom an order is for.
struct Address<'a> {
    to: &'a Addressee,
    /// Whether it is for one start only. A decision is not: a prepared branch outlives the start that voted.
    exact: bool,
    xid: Xid,
}

impl<'a> Address<'a> {
    /// Of every order but Hello, which comes before anything is known.
    fn of(order: &'a Order) -> Option<Self> {
        let exact = |to: &'a Addressee, xid| Some(Self { to, exact: true, xid });
        match order {
            Order::Hello { .. } => None,
            Order::Prepare(order) => exact(&order.to, order.xid),
            Order::CommitOnePhase(order) => exact(&order.to, order.xid),
            Order::Release { to, xid } | Order::AskOnePhase { to, xid } => exact(to, *xid),
            Order::Decide { to, xid, .. } => Some(Self { to, exact: false, xid: *xid }),
        }
    }
}
