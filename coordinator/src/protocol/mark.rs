//! The low-water mark: what participants may forget.
//!
//! Without it done-markers would grow for ever; with a mark that waits for every participant, one that is gone for
//! days would pin the markers of all. So it steps over a few transactions that are overdue, and names them.

use handfast_common::ids::TxnId;
use handfast_common::limits::MAX_MARK_EXCEPTIONS;
use handfast_common::messages::Mark;

use super::Coordinator;
use super::table::Phase;

/// Repetitions after which a transaction is stepped over: about half a second without an acknowledgement.
const OVERDUE: u32 = 3;

impl Coordinator {
    /// The mark as it stands. Everything below the first live transaction has ended: committed and acknowledged by
    /// all, or aborted. Of older epochs only what the log says Commit to can still commit, and that is live.
    pub(super) fn mark(&self) -> Mark {
        let mut except = Vec::new();
        for (txn, transaction) in &self.live {
            let overdue = transaction.attempts >= OVERDUE;
            let may_be_stepped_over = match transaction.phase {
                Phase::Committing | Phase::Asking => overdue,
                Phase::Gathering
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
        let next = TxnId::new(self.log, self.epoch, self.sequence + 1, handfast_common::ids::Nonce(0));
        Mark { low: next, except }
    }
}
