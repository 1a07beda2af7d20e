//! L4: when all is quiet nothing is left over: no transaction, no branch, no lock, nothing on its way to a disk.

use handfast_common::ids::Name;

use super::Verdict;

/// What the coordinator still has.
pub(crate) struct CoordinatorLeft {
    /// Transactions that have not ended.
    pub(crate) live: usize,
    /// Of them undecided.
    pub(crate) undecided: usize,
}

/// What a participant still has.
pub(crate) struct ParticipantLeft {
    /// Whose.
    pub(crate) name: Name,
    /// Branches that hold something.
    pub(crate) branches: Vec<String>,
    /// Records on their way to the disk.
    pub(crate) queued: usize,
}

impl CoordinatorLeft {
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.live, self.undecided) {
            (0, 0) => Ok(()),
            (live, undecided) => Err(format!("{live} transactions have not ended, {undecided} are undecided")),
        }
    }
}

impl ParticipantLeft {
    pub(crate) fn verdict(&self) -> Verdict {
        if self.branches.is_empty() && self.queued == 0 {
            return Ok(());
        }
        Err(format!("{} has {} records under way and these branches: {:?}", self.name, self.queued, self.branches))
    }
}
