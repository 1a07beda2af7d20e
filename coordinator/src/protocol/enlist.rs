//! Participants take part in an interactive transaction: each says so before its first operation, so that a commit
//! can't miss a branch, and again while it works.
//!
//! A branch belongs to the start of the participant that enlisted it. Another start has lost the work and the locks of
//! this one, so it can't take the branch over; half a transaction would be committed (t10a).

use handfast_common::ids::TxnId;
use handfast_common::messages::{Addressee, Enlist, Enlisted, Micros};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Outcome, Reason, ReasonKind};

use super::machine::Effects;
use super::peers::Peer;
use super::table::Phase;
use super::transaction::Branch;
use super::voting::restarted;
use super::{Coordinator, Effect, ReplyTo};

impl Coordinator {
    pub(super) fn on_branch_enlisted(&mut self, reply: ReplyTo, enlist: &Enlist, out: &mut Effects) {
        self.hear_clock(enlist.from.clock);
        let answer = self.enlist(enlist, out);
        out.push(Effect::ReplyEnlisted { to: reply, answer });
    }

    fn enlist(&mut self, enlist: &Enlist, out: &mut Effects) -> Enlisted {
        let Enlist { from, xid, active } = enlist;
        let who = Addressee { name: from.name.clone(), store: from.store, incarnation: from.incarnation };
        let idle = Micros::from(self.config.idle_limit);
        let greeted = self.peers.get(&who.name).and_then(Peer::ready) == Some(&who);
        let Some(transaction) = self.live.get_mut(&xid.txn).filter(|transaction| transaction.xid == *xid) else {
            return Enlisted::Over(self.why_over(enlist));
        };
        let (age, branches) = (transaction.age, transaction.branches.len());
        if transaction.phase != Phase::Active {
            // It reports what is on the list: its order is on the way, and dropping the branch now would turn that down.
            return match transaction.branches.get(&who.name) {
                Some(branch) if branch.sent_to.as_ref() == Some(&who) => Enlisted::Accepted { age, idle },
                Some(_) | None => {
                    Enlisted::Over(Reason::new(ReasonKind::Lost, "its commit has begun without this branch"))
                }
            };
        }
        let same = transaction.branches.get(&who.name).map(|branch| branch.sent_to.as_ref() == Some(&who));
        match same {
            Some(true) => {
                if *active {
                    self.arm_idle(xid.txn, out);
                }
                Enlisted::Accepted { age, idle }
            }
            Some(false) if mutants::is(Mutant::RestartTakesOver) => {
                transaction.branches.insert(who.name.clone(), Branch::open(who));
                Enlisted::Accepted { age, idle }
            }
            Some(false) => self.turn_down(xid.txn, restarted(&who.name), out),
            // Whoever has not been greeted could not be told to prepare: by another start of it the branch would be lost.
            None if !greeted => Enlisted::NotYet,
            None if branches >= self.config.max_branches => {
                let why = format!("more than {} branches", self.config.max_branches);
                self.turn_down(xid.txn, Reason::new(ReasonKind::BadWork, why), out)
            }
            None if branches > 0 && mutants::is(Mutant::EnlistmentIsLost) => Enlisted::Accepted { age, idle },
            None => {
                transaction.branches.insert(who.name.clone(), Branch::open(who));
                self.arm_idle(xid.txn, out);
                Enlisted::Accepted { age, idle }
            }
        }
    }

    /// Aborts: the transaction would commit without what this branch did, or was meant to do.
    fn turn_down(&mut self, txn: TxnId, reason: Reason, out: &mut Effects) -> Enlisted {
        self.fail(txn, reason.clone(), out);
        Enlisted::Over(reason)
    }

    /// Why nothing may be done in a transaction that is not live.
    fn why_over(&self, enlist: &Enlist) -> Reason {
        let xid = enlist.xid;
        let ours = xid.log == self.log && self.decisions_of(xid.txn.epoch(), xid.nonce).is_some();
        let ended = self.history.ended.get(&xid.txn).filter(|_| ours).map(|ended| &ended.outcome);
        match ended {
            Some(Outcome::Aborted(reason)) => reason.clone(),
            Some(Outcome::Committed(_)) => Reason::new(ReasonKind::Lost, "it has been committed"),
            Some(Outcome::Forgotten | Outcome::NotFound | Outcome::HeuristicMixed) | None => {
                Reason::new(ReasonKind::Lost, "it is not open at its coordinator")
            }
        }
    }
}
