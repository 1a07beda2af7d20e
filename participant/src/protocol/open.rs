//! An open branch of an interactive transaction: what was executed in it, what runs, and what waits for its turn.
//!
//! Nothing is promised yet, so it may be dropped at any time. Operations run one after the other, each at most once: its
//! result is kept under the number its caller chose until the branch ends, and repeated for a resend (t10c).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use handfast_common::ids::{Age, ContentHash};
use handfast_common::limits::{MAX_BRANCH_OPERATIONS, MAX_QUEUED_OPERATIONS, MAX_TRANSACTION_BYTES};
use handfast_common::messages::{ExecuteResult, OperationId};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Payload, Reason, ReasonKind};

use super::branch::Barred;
use super::event::ExecuteOrder;
use super::{Execution, ReplyTo};

/// A branch whose first operation waits until the coordinator has put it on its list: before that a commit could miss it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Enlisting {
    /// What waits.
    pub(super) open: Open,
    /// Pause after the next attempt.
    pub(super) pause: Duration,
}

/// A branch on its coordinator's list.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Active {
    /// What ran, runs and waits.
    pub(super) open: Open,
    /// The transaction's age, for wait-die.
    pub(super) age: Age,
    /// Time between two reports.
    pub(super) part: Duration,
    /// Whether anything was asked for since the last report.
    pub(super) worked: bool,
    /// Reports in a row without an answer.
    pub(super) unanswered: u32,
}

/// A branch that was open and is being undone: it never votes Yes, and is remembered as barred when that is through.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Dropping {
    /// What is said about it from now on.
    pub(super) barred: Barred,
    /// Whether the resource manager still owes the end of an operation. It may come after that of the abort: they are
    /// two calls, and nobody orders their answers.
    pub(super) running: bool,
    /// Whether it has still to say that it has undone the branch.
    pub(super) undoing: bool,
}

/// The operations of an open branch.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Open {
    /// Where its coordinator is said to be.
    pub(super) coordinator: String,
    /// Waiting for their turn, in the order they came.
    queue: VecDeque<Operation>,
    /// The one at the resource manager.
    running: Option<Running>,
    /// Those that were executed, with what came of them.
    results: BTreeMap<OperationId, Kept>,
    /// Bytes of the results.
    kept: usize,
}

/// An operation that waits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Operation {
    id: OperationId,
    digest: ContentHash,
    work: Payload,
    wait: Duration,
    waiting: Vec<ReplyTo>,
}

/// An operation at the resource manager.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Running {
    id: OperationId,
    digest: ContentHash,
    waiting: Vec<ReplyTo>,
    /// Whether it has been cancelled: once is enough.
    cancelled: bool,
}

/// An operation that was executed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Kept {
    digest: ContentHash,
    result: ExecuteResult,
}

/// What becomes of a request for an operation.
pub(super) enum Taken {
    /// Its answer comes later.
    Waits,
    /// It was executed before, with this result.
    Known(ExecuteResult),
    /// The branch can't go on.
    Doomed(Reason),
}

impl Open {
    pub(super) fn new(coordinator: String) -> Self {
        Self { coordinator, queue: VecDeque::new(), running: None, results: BTreeMap::new(), kept: 0 }
    }

    /// Takes a request in. The number alone is not the operation: with other work under it somebody counts wrongly, and
    /// would be told another operation's result.
    pub(super) fn take(&mut self, order: ExecuteOrder) -> Taken {
        let ExecuteOrder { reply, id, digest, work, wait, coordinator: _ } = order;
        let other = || Taken::Doomed(Reason::new(ReasonKind::BadWork, "an operation's number came with other work"));
        if let Some(kept) = self.results.get(&id).filter(|_| !mutants::is(Mutant::OperationRunsAgain)) {
            return if kept.digest == digest { Taken::Known(kept.result.clone()) } else { other() };
        }
        let running = self.running.as_mut().map(|running| (running.id, running.digest, &mut running.waiting));
        let queued = self.queue.iter_mut().map(|queued| (queued.id, queued.digest, &mut queued.waiting));
        if let Some((_, before, waiting)) = running.into_iter().chain(queued).find(|(other, ..)| *other == id) {
            if before != digest {
                return other();
            }
            waiting.push(reply);
            return Taken::Waits;
        }
        if let Some(reason) = self.full(work.0.len()) {
            return Taken::Doomed(reason);
        }
        self.queue.push_back(Operation { id, digest, work, wait, waiting: vec![reply] });
        Taken::Waits
    }

    /// Why another operation of so many bytes of work is one too many.
    fn full(&self, bytes: usize) -> Option<Reason> {
        let known = self.results.len() + self.queue.len() + usize::from(self.running.is_some());
        let queued: usize = self.queue.iter().map(|operation| operation.work.0.len()).sum();
        if known >= MAX_BRANCH_OPERATIONS {
            let detail = format!("more than {MAX_BRANCH_OPERATIONS} operations in one branch");
            Some(Reason::new(ReasonKind::BadWork, detail))
        } else if self.queue.len() >= MAX_QUEUED_OPERATIONS {
            let detail = format!("more than {MAX_QUEUED_OPERATIONS} operations of one branch wait for their turn");
            Some(Reason::new(ReasonKind::Overloaded, detail))
        } else if self.kept + queued + bytes > MAX_TRANSACTION_BYTES {
            Some(too_large())
        } else {
            None
        }
    }

    /// The next operation's turn, if none runs: what it does, and how long it may wait for locks.
    pub(super) fn next(&mut self) -> Option<(Payload, Duration)> {
        if self.is_running() {
            return None;
        }
        let Operation { id, digest, work, wait, waiting } = self.queue.pop_front()?;
        self.running = Some(Running { id, digest, waiting, cancelled: false });
        Some((work, wait))
    }

    /// The one that runs has ended, and the branch goes on or not; `None` if none ran.
    pub(super) fn end(&mut self, execution: Execution) -> Option<Ended> {
        let Running { id, digest, waiting, cancelled: _ } = self.running.take()?;
        let (result, bytes) = match execution {
            Execution::Done(reads) => {
                let bytes = reads.0.len();
                (ExecuteResult::Done(reads), bytes)
            }
            Execution::Failed(reason) => {
                let bytes = reason.detail.len();
                (ExecuteResult::Failed(reason), bytes)
            }
            Execution::Doomed(reason) => return Some(Ended::Doomed { waiting, reason }),
        };
        self.kept += bytes;
        if self.kept > MAX_TRANSACTION_BYTES {
            return Some(Ended::TooLarge { waiting, reason: too_large() });
        }
        self.results.insert(id, Kept { digest, result: result.clone() });
        Some(Ended::Goes { waiting, result })
    }

    /// The one that runs is to be cancelled; whether it has to be said.
    pub(super) fn cancel(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| !std::mem::replace(&mut running.cancelled, true))
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether an operation runs or waits.
    pub(super) fn is_busy(&self) -> bool {
        self.is_running() || !self.queue.is_empty()
    }

    /// Whether the resource manager has heard of the branch.
    pub(super) fn is_touched(&self) -> bool {
        self.is_running() || !self.results.is_empty()
    }

    /// Whether the branch can be voted for: all of it has run that its client counts, and where nobody else worked in it,
    /// nothing else (t10e).
    pub(super) fn complete(&self, operations: u64, exact: bool) -> Result<(), Reason> {
        let executed = self.results.len() as u64;
        let lost = |detail| Err(Reason::new(ReasonKind::Lost, detail));
        let counts = !mutants::is(Mutant::RestartTakesOver) && !mutants::is(Mutant::DroppedBranchBeginsAfresh);
        if self.is_busy() && !mutants::is(Mutant::CommitsPastRunningWork) {
            lost("an operation still waits or runs".to_owned())
        } else if counts && (executed < operations || (exact && executed != operations)) {
            lost(format!("{executed} operations ran, and its client counts {operations}"))
        } else {
            Ok(())
        }
    }

    /// Whoever waits for an operation.
    pub(super) fn into_waiting(self) -> Vec<ReplyTo> {
        let queued = self.queue.into_iter().flat_map(|operation| operation.waiting);
        self.running.into_iter().flat_map(|running| running.waiting).chain(queued).collect()
    }
}

/// How an operation has ended.
pub(super) enum Ended {
    /// The branch goes on; its result is kept.
    Goes { waiting: Vec<ReplyTo>, result: ExecuteResult },
    /// The resource manager has let go of the branch.
    Doomed { waiting: Vec<ReplyTo>, reason: Reason },
    /// Its result is too large to be kept, so the branch has to be dropped.
    TooLarge { waiting: Vec<ReplyTo>, reason: Reason },
}

fn too_large() -> Reason {
    let detail = format!("work and results of one branch take more than {MAX_TRANSACTION_BYTES} bytes");
    Reason::new(ReasonKind::BadWork, detail)
}
