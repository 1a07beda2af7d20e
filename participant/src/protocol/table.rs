//! The transition table: every state of a branch against every event, for running and for recovery.
//!
//! What a state excludes is a named error, and the process stops on it. What only comes late, or twice, is answered
//! with what was said before. There is no wildcard arm: a new state or event does not compile until someone has said
//! here what it means everywhere.

use handfast_common::messages::{OnePhaseResult, Refusal};
use handfast_common::outcome::{Reason, ReasonKind, Vote};

use super::branch::{Applying, Fate, InDoubt, State, Undoing, Voted};
use super::error::{Illegal, Kind};
use super::event::{Context, Event};
use super::{Effect, ReplyTo, Timer};

use Event as E;
use State as S;

/// Branches of transactions over several participants.
macro_rules! two_phase {
    () => {
        S::Working(_)
            | S::Prepared(_)
            | S::Committing(_)
            | S::Aborting(_)
            | S::Held(_)
            | S::GivenUp(_)
            | S::Released(_)
            | S::Committed(_)
            | S::Aborted(_)
    };
}

/// Branches that are a whole transaction.
macro_rules! one_phase {
    () => {
        S::OnePhase(_) | S::Following(_) | S::OnePhaseDone(_) | S::OnePhaseAborted(_)
    };
}

/// What `event` makes of a branch in `state`. Effects go to the context; on an error none of them may be carried out.
#[expect(clippy::too_many_lines, reason = "all legality in one place, read from top to bottom")]
pub(super) fn next(state: State, event: Event, cx: &mut Context<'_>) -> Result<State, Illegal> {
    let (txn, name, was) = (cx.xid.txn, event.name(), state.name());
    let illegal = |kind| Err(Illegal { kind, txn, event: name, state: was });

    if let Some(reply) = other_content(&state, &event) {
        cx.refuse(reply, Refusal::OtherContent);
        return Ok(state);
    }
    Ok(match (state, event) {
        // Prepare. A late copy never runs again: it is answered from memory, or refused (t05, f22, f26).
        (S::Unknown, E::Prepare(order)) => cx.start(order),
        (S::Past, E::Prepare(order)) => {
            cx.refuse(order.reply, Refusal::BelowMark);
            S::Past
        }
        (S::Working(mut work), E::Prepare(order)) => {
            work.waiting.push(order.reply);
            S::Working(work)
        }
        (
            s @ (S::Prepared(_)
            | S::Committing(_)
            | S::Aborting(_)
            | S::Held(_)
            | S::GivenUp(_)
            | S::Released(_)
            | S::Committed(_)
            | S::Aborted(_)
            | S::Barred(_)),
            E::Prepare(order),
        ) => {
            match s.vote() {
                Some(vote) => cx.vote(vec![order.reply], &vote),
                // An earlier incarnation voted, and it took effect: it has ended.
                None => cx.refuse(order.reply, Refusal::BelowMark),
            }
            s
        }
        (s @ (one_phase!()), E::Prepare(order)) => {
            cx.refuse(order.reply, Refusal::OtherContent);
            s
        }

        // The resource manager votes. Only now does a Yes exist, and it stays, whatever was cancelled meanwhile (A3),
        // save that an abort which came first undoes it.
        (S::Working(work), E::WorkPrepared(Vote::Yes(reads))) => {
            let mut record = work.record;
            if work.fate == Fate::Aborted {
                let vote = Vote::No(aborted());
                cx.out.push(Effect::Abort { xid: cx.xid });
                cx.vote(work.waiting, &vote);
                return Ok(S::Aborting(Undoing { record, vote }));
            }
            record.reads = reads;
            cx.vote(work.waiting, &Vote::Yes(record.reads.clone()));
            // Most transactions end long before this; the rest ask.
            cx.timer(Timer::Inquire(cx.xid), cx.config.retry_cap, true);
            S::Prepared(InDoubt::new(record, cx.config))
        }
        (S::Working(work), E::WorkPrepared(vote @ Vote::No(_))) => {
            cx.vote(work.waiting, &vote);
            S::Aborted(Voted { work: work.record.work, vote })
        }
        (S::Working(work), E::WorkPrepared(vote @ Vote::ReadOnly(_))) => match work.fate {
            Fate::Open => {
                cx.vote(work.waiting, &vote);
                cx.timer(Timer::ReadOnlyHold(cx.xid), cx.config.read_only_hold, false);
                S::Held(Voted { work: work.record.work, vote })
            }
            // The coordinator that could say Release is fenced.
            Fate::Replaced => {
                cx.release();
                cx.vote(work.waiting, &vote);
                S::GivenUp(Voted { work: work.record.work, vote })
            }
            Fate::Aborted => {
                let vote = Vote::No(aborted());
                cx.release();
                cx.vote(work.waiting, &vote);
                S::Aborted(Voted { work: work.record.work, vote })
            }
        },
        (
            S::Unknown
            | S::Past
            | S::Prepared(_)
            | S::Committing(_)
            | S::Aborting(_)
            | S::Held(_)
            | S::GivenUp(_)
            | S::Released(_)
            | S::Committed(_)
            | S::Aborted(_)
            | S::Barred(_)
            | one_phase!(),
            E::WorkPrepared(_),
        ) => return illegal(Kind::Unexpected),

        // Release: true only while the incarnation that voted holds the locks (t01).
        (S::Held(voted), E::Release(reply)) => {
            cx.release();
            cx.released(reply, true);
            S::Released(voted)
        }
        (s @ S::Released(_), E::Release(reply)) => {
            cx.released(reply, true);
            s
        }
        (S::Past, E::Release(reply)) => {
            cx.refuse(reply, Refusal::BelowMark);
            S::Past
        }
        (
            s @ (S::Unknown
            | S::Working(_)
            | S::Prepared(_)
            | S::Committing(_)
            | S::Aborting(_)
            | S::GivenUp(_)
            | S::Committed(_)
            | S::Aborted(_)
            | S::Barred(_)
            | one_phase!()),
            E::Release(reply),
        ) => {
            cx.released(reply, false);
            s
        }

        // Commit. Acknowledged only when durable, or when it was before. A branch that never said Yes in this way can't
        // have been decided Commit, and above the mark no trace means that half a transaction is gone (t06).
        (S::Prepared(branch), E::Commit(reply)) => {
            cx.out.push(Effect::Commit { xid: cx.xid });
            S::Committing(Applying { record: branch.record, waiting: reply.into_iter().collect() })
        }
        (S::Committing(mut applying), E::Commit(reply)) => {
            applying.waiting.extend(reply);
            S::Committing(applying)
        }
        (s @ (S::Committed(_) | S::Past), E::Commit(reply)) => {
            cx.acknowledge(reply);
            s
        }
        (S::Unknown, E::Commit(_)) => return illegal(Kind::LostBranch),
        (
            S::Working(_) | S::Aborting(_) | S::Held(_) | S::GivenUp(_) | S::Released(_) | S::Aborted(_) | S::Barred(_),
            E::Commit(_),
        ) => return illegal(Kind::Contradiction),

        // Abort. Nobody waits for it, so it is answered at once; what is on disk by then is undone.
        (S::Prepared(branch), E::Abort(reply)) => {
            let vote = Vote::Yes(branch.record.reads.clone());
            cx.out.push(Effect::Abort { xid: cx.xid });
            cx.received(reply);
            S::Aborting(Undoing { record: branch.record, vote })
        }
        (S::Working(mut work), E::Abort(reply)) => {
            cx.cancel(&mut work.cancelled, ReasonKind::Lost, ABORTED);
            cx.received(reply);
            work.fate = Fate::Aborted;
            S::Working(work)
        }
        (S::Held(voted), E::Abort(reply)) => {
            cx.release();
            cx.received(reply);
            S::Aborted(voted)
        }
        // Remembered: its Prepare may be slower than its Abort (f22).
        (S::Unknown, E::Abort(reply)) => {
            cx.received(reply);
            S::Barred(aborted())
        }
        (
            s @ (S::Past | S::Aborting(_) | S::GivenUp(_) | S::Released(_) | S::Aborted(_) | S::Barred(_)),
            E::Abort(reply),
        ) => {
            cx.received(reply);
            s
        }
        (S::Committing(_) | S::Committed(_), E::Abort(_)) => return illegal(Kind::Contradiction),
        (s @ (one_phase!()), E::Commit(reply) | E::Abort(reply)) => {
            if let Some(reply) = reply {
                cx.refuse(reply, Refusal::OtherContent);
            }
            s
        }

        // The resource manager has carried a decision out.
        (S::Committing(applying), E::BranchCommitted { found: true }) => {
            cx.acknowledge(applying.waiting);
            S::Committed(Some(Voted::yes(applying.record)))
        }
        (S::Committing(_), E::BranchCommitted { found: false }) => return illegal(Kind::LostBranch),
        (S::Aborting(undoing), E::BranchAborted) => S::Aborted(Voted { work: undoing.record.work, vote: undoing.vote }),
        (S::Committing(_), E::BranchAborted) | (S::Aborting(_), E::BranchCommitted { .. }) => {
            return illegal(Kind::Unexpected);
        }
        (
            S::Unknown
            | S::Past
            | S::Working(_)
            | S::Prepared(_)
            | S::Held(_)
            | S::GivenUp(_)
            | S::Released(_)
            | S::Committed(_)
            | S::Aborted(_)
            | S::Barred(_)
            | one_phase!(),
            E::BranchCommitted { .. } | E::BranchAborted,
        ) => return illegal(Kind::Unexpected),

        // One phase. What once got an answer gets the same one; what was asked about first never runs (t04).
        (S::Unknown, E::OnePhase(order)) => cx.start_one_phase(order),
        (S::Past, E::OnePhase(order)) => {
            cx.refuse(order.reply, Refusal::BelowMark);
            S::Past
        }
        (S::OnePhase(mut work), E::OnePhase(order)) => {
            work.waiting.push(order.reply);
            S::OnePhase(work)
        }
        (S::Following(mut following), E::OnePhase(order)) => {
            following.waiting.push(order.reply);
            S::Following(following)
        }
        (S::OnePhaseDone(done), E::OnePhase(order)) => {
            cx.one_phase([order.reply], &OnePhaseResult::Committed(done.reads.clone()));
            S::OnePhaseDone(done)
        }
        (S::OnePhaseAborted(aborted), E::OnePhase(order)) => {
            cx.one_phase([order.reply], &OnePhaseResult::Aborted(aborted.reason.clone()));
            S::OnePhaseAborted(aborted)
        }
        (S::Barred(reason), E::OnePhase(order)) => {
            cx.one_phase([order.reply], &OnePhaseResult::Aborted(reason.clone()));
            S::Barred(reason)
        }
        (s @ (two_phase!()), E::OnePhase(order)) => {
            cx.refuse(order.reply, Refusal::OtherContent);
            s
        }

        // Asking fences: whoever is told "nothing happened" may rely on it.
        (S::Unknown, E::AskOnePhase(reply)) => {
            let reason = Reason::new(ReasonKind::Fenced, ASKED);
            cx.one_phase([reply], &OnePhaseResult::Aborted(reason.clone()));
            S::Barred(reason)
        }
        (S::Past, E::AskOnePhase(reply)) => {
            cx.refuse(reply, Refusal::BelowMark);
            S::Past
        }
        (S::OnePhase(mut work), E::AskOnePhase(reply)) => {
            cx.cancel(&mut work.cancelled, ReasonKind::Fenced, ASKED);
            work.waiting.push(reply);
            S::OnePhase(work)
        }
        (S::Following(mut following), E::AskOnePhase(reply)) => {
            // Not its own work: it waits for a result that is on its way in any case.
            following.waiting.push(reply);
            S::Following(following)
        }
        (S::OnePhaseDone(done), E::AskOnePhase(reply)) => {
            cx.one_phase([reply], &OnePhaseResult::Committed(done.reads.clone()));
            S::OnePhaseDone(done)
        }
        (S::OnePhaseAborted(aborted), E::AskOnePhase(reply)) => {
            cx.one_phase([reply], &OnePhaseResult::Aborted(aborted.reason.clone()));
            S::OnePhaseAborted(aborted)
        }
        (S::Barred(reason), E::AskOnePhase(reply)) => {
            cx.one_phase([reply], &OnePhaseResult::Aborted(reason.clone()));
            S::Barred(reason)
        }
        (s @ (two_phase!()), E::AskOnePhase(reply)) => {
            cx.refuse(reply, Refusal::OtherContent);
            s
        }
        (S::OnePhase(work), E::OnePhaseEnded(result)) => cx.end_one_phase(work.key, work.hash, work.waiting, result),
        (S::Following(following), E::LeaderEnded(result)) => {
            cx.end_one_phase(following.key, following.hash, following.waiting, result)
        }
        (S::OnePhase(_), E::LeaderEnded(_)) | (S::Following(_), E::OnePhaseEnded(_)) => {
            return illegal(Kind::Unexpected);
        }
        (
            S::Unknown | S::Past | S::Barred(_) | S::OnePhaseDone(_) | S::OnePhaseAborted(_) | two_phase!(),
            E::OnePhaseEnded(_) | E::LeaderEnded(_),
        ) => return illegal(Kind::Unexpected),

        // Timers. None of them ends a branch after Yes (A3, f45), and one that has lost its point is no error.
        (S::Working(mut work), E::LockWaitOver) => {
            cx.cancel(&mut work.cancelled, ReasonKind::LockTimeout, "");
            S::Working(work)
        }
        (S::OnePhase(mut work), E::LockWaitOver) => {
            cx.cancel(&mut work.cancelled, ReasonKind::LockTimeout, "");
            S::OnePhase(work)
        }
        (S::Held(voted), E::HoldOver) => {
            cx.release();
            S::GivenUp(voted)
        }
        (S::Prepared(branch), E::InquiryDue) => cx.inquire(branch, false),
        (S::Prepared(branch), E::CoordinatorLost) if branch.rest == 0 => cx.inquire(branch, true),
        (
            s @ (S::Unknown | S::Past | S::Barred(_) | two_phase!() | one_phase!()),
            E::LockWaitOver | E::HoldOver | E::InquiryDue | E::CoordinatorLost,
        ) => s,

        // A newer epoch: work that still waits is dropped, requests of the older one are told, a Yes stays (t12b).
        (S::Working(mut work), E::Replaced(seen)) => {
            cx.cancel(&mut work.cancelled, ReasonKind::Lost, REPLACED);
            cx.fence(&mut work.waiting, seen);
            if work.fate == Fate::Open {
                work.fate = Fate::Replaced;
            }
            S::Working(work)
        }
        (S::OnePhase(mut work), E::Replaced(seen)) => {
            cx.cancel(&mut work.cancelled, ReasonKind::Lost, REPLACED);
            cx.fence(&mut work.waiting, seen);
            S::OnePhase(work)
        }
        (S::Following(mut following), E::Replaced(seen)) => {
            cx.fence(&mut following.waiting, seen);
            S::Following(following)
        }
        (S::Committing(mut applying), E::Replaced(seen)) => {
            cx.fence(&mut applying.waiting, seen);
            S::Committing(applying)
        }
        (S::Held(voted), E::Replaced(_)) => {
            cx.release();
            S::GivenUp(voted)
        }
        (
            s @ (S::Unknown
            | S::Past
            | S::Prepared(_)
            | S::Aborting(_)
            | S::GivenUp(_)
            | S::Released(_)
            | S::Committed(_)
            | S::Aborted(_)
            | S::Barred(_)
            | S::OnePhaseDone(_)
            | S::OnePhaseAborted(_)),
            E::Replaced(_),
        ) => s,

        // The mark ends what is only remembered, and never a prepared branch (t14).
        (
            S::Unknown
            | S::Past
            | S::GivenUp(_)
            | S::Released(_)
            | S::Committed(_)
            | S::Aborted(_)
            | S::Barred(_)
            | S::OnePhaseDone(_)
            | S::OnePhaseAborted(_),
            E::MarkPassed,
        ) => S::Past,
        (S::Held(_), E::MarkPassed) => {
            cx.release();
            S::Past
        }
        (
            s @ (S::Working(_) | S::Prepared(_) | S::Committing(_) | S::Aborting(_) | S::OnePhase(_) | S::Following(_)),
            E::MarkPassed,
        ) => s,

        // Recovery: one record per transaction.
        (S::Unknown | S::Past, E::FoundPrepared(record)) => {
            cx.timer(Timer::Inquire(cx.xid), cx.config.retry_first, true);
            S::Prepared(InDoubt::new(record, cx.config))
        }
        (S::Unknown | S::Past, E::FoundDone(None)) => S::Committed(None),
        (S::Unknown | S::Past, E::FoundDone(Some(done))) => S::OnePhaseDone(done),
        (S::Barred(_) | two_phase!() | one_phase!(), E::FoundPrepared(_) | E::FoundDone(_)) => {
            return illegal(Kind::Record);
        }
    })
}

/// Whether the same transaction comes with other work than before: the request that asks for it.
fn other_content(state: &State, event: &Event) -> Option<ReplyTo> {
    match event {
        E::Prepare(order) => state.work().is_some_and(|work| work != order.record.work).then_some(order.reply),
        E::OnePhase(order) => {
            state.request().is_some_and(|request| request != (order.key, order.hash)).then_some(order.reply)
        }
        E::WorkPrepared(_)
        | E::Release(_)
        | E::Commit(_)
        | E::Abort(_)
        | E::BranchCommitted { .. }
        | E::BranchAborted
        | E::AskOnePhase(_)
        | E::OnePhaseEnded(_)
        | E::LeaderEnded(_)
        | E::LockWaitOver
        | E::HoldOver
        | E::InquiryDue
        | E::CoordinatorLost
        | E::Replaced(_)
        | E::MarkPassed
        | E::FoundPrepared(_)
        | E::FoundDone(_) => None,
    }
}

const ABORTED: &str = "aborted by its coordinator";
const ASKED: &str = "asked about before it reached the log";
const REPLACED: &str = "its coordinator was restarted";

fn aborted() -> Reason {
    Reason::new(ReasonKind::Lost, ABORTED)
}
