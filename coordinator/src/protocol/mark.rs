//! The low-water mark: what participants may forget.
//!
//! Without it done-markers would grow for ever; with a mark that waits for every participant, one that is gone for
//! days would pin the markers of all. So it steps over a few transactions that are overdue, and names them.

use handfast_common::ids::{Epoch, Name, Nonce, TxnId};
use handfast_common::limits::MAX_MARK_EXCEPTIONS;
use handfast_common::messages::Mark;
use handfast_common::mutants::{self, Mutant};

use super::Coordinator;
use super::table::Phase;
use super::transaction::{BranchState, Transaction};

/// Repetitions after which a transaction is stepped over: about half a second without an acknowledgement.
const OVERDUE: u32 = 3;

impl Coordinator {
    /// The mark as it stands. Everything below the first live transaction has ended: committed and acknowledged by
    /// all, or aborted. Of older epochs only what the log says Commit to can still commit, and that is live.
    pub(super) fn mark(&self) -> Mark {
        let mut except = Vec::new();
        // One that only waits for a participant that was removed has ended everywhere else.
        let pending = self.live.iter().filter(|(_, transaction)| !transaction.is_at_rest());
        let forgets = mutants::is(Mutant::MarkPassesTheUnreported);
        let pending = pending.filter(|(_, transaction)| !(forgets && transaction.phase == Phase::Recording));
        for (txn, transaction) in pending {
            let overdue = transaction.attempts >= OVERDUE;
            let may_be_stepped_over = match transaction.phase {
                Phase::Committing | Phase::Asking => overdue,
                Phase::Active
                | Phase::Gathering
                | Phase::Preparing
                | Phase::Releasing
                | Phase::Deciding
                | Phase::OnePhase
                | Phase::Recording
                | Phase::Ended => false,
            };
            if !may_be_stepped_over || except.len() == MAX_MARK_EXCEPTIONS {
                return Mark { low: *txn, except };
            }
            except.push(*txn);
        }
        let next = TxnId::new(self.log, self.epoch, self.sequence + 1, Nonce(0));
        Mark { low: next, except }
    }

    /// The mark as `name` may hear it. A participant may have committed in one phase what an earlier start of ours has
    /// no record of; a mark that covered it before it was reported would trim the only trace of it (t04c). That holds
    /// for every Hello until the whole list has arrived: the answer to the one before may have been lost.
    pub(super) fn mark_for(&self, name: &Name) -> Mark {
        let Mark { mut low, mut except } = self.mark();
        except.extend(self.still_owed_by(name).filter(|txn| *txn < low));
        except.sort_unstable();
        if except.len() > MAX_MARK_EXCEPTIONS {
            low = except[MAX_MARK_EXCEPTIONS];
            except.truncate(MAX_MARK_EXCEPTIONS);
        }
        let reported = match self.peers.get(name) {
            Some(peer) if peer.listed || mutants::is(Mutant::MarkPassesTheUnreported) => return Mark { low, except },
            Some(peer) => peer.reported,
            None => None,
        };
        let nothing = TxnId::new(self.log, Epoch(0), 0, Nonce(0));
        let low = low.min(reported.map_or(nothing, just_above));
        except.retain(|txn| *txn < low);
        Mark { low, except }
    }

    /// What a participant that was removed, and may have registered again since, may yet commit alone: nobody asks it for
    /// that any more, so its own trace is all there will be (t04c).
    fn still_owed_by(&self, name: &Name) -> impl Iterator<Item = TxnId> {
        let removed = self.removed.iter().any(|removal| removal.registration.name == *name);
        let live = removed.then_some(&self.live).into_iter().flatten();
        let owed = |transaction: &Transaction| {
            transaction.phase == Phase::Asking
                && transaction.branches.get(name).is_some_and(|branch| branch.state == BranchState::Removed)
        };
        live.filter(move |(_, transaction)| owed(transaction)).map(|(txn, _)| *txn)
    }
}

/// The lowest id above this one, drawn or not.
fn just_above(txn: TxnId) -> TxnId {
    TxnId(uuid::Uuid::from_u128(txn.0.as_u128().saturating_add(1)))
}
