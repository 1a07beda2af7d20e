//! Transactions of one branch.
//!
//! What once got an answer gets the same one; what was asked about first never runs (t04).

use std::collections::BTreeSet;

use handfast_common::ids::{ContentHash, Key};
use handfast_common::messages::{OnePhaseResult, Refusal, Task};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Reason, ReasonKind};

use super::super::branch::{Barred, Following, OnePhaseAborted, OnePhaseWork, State as S};
use super::super::error::{Illegal, Kind};
use super::super::event::{Context, Elsewhere, OnePhaseOrder};
use super::super::open::Open;
use super::super::record::OnePhaseDone;
use super::super::{Effect, ReplyTo, Timer};
use super::interactive::drop_open;
use super::two_phase::carried;
use super::{ASKED, no_work};

const OTHER_WORK: &str = "this key was used for other work";

pub(super) fn commit(state: S, order: OnePhaseOrder, cx: &mut Context<'_>) -> S {
    match state {
        S::Unknown => match order.task {
            Task::Carried(_) => start(order, cx),
            // What ran here is gone, or ran in another start (t10a).
            Task::Ran { .. } => {
                cx.one_phase([order.reply], &OnePhaseResult::Aborted(no_work()));
                S::Barred(Barred::here(no_work()))
            }
        },
        S::Past => {
            cx.refuse(order.reply, Refusal::BelowMark);
            S::Past
        }
        S::Enlisting(enlisting) => match order.task {
            Task::Carried(_) => {
                cx.refuse(order.reply, Refusal::OtherContent);
                S::Enlisting(enlisting)
            }
            Task::Ran { operations, exact } => commit_open(enlisting.open, order, operations, exact, cx),
        },
        S::Active(active) => match order.task {
            Task::Carried(_) => {
                cx.refuse(order.reply, Refusal::OtherContent);
                S::Active(active)
            }
            Task::Ran { operations, exact } => commit_open(active.open, order, operations, exact, cx),
        },
        S::OnePhaseDone(_) if mutants::is(Mutant::WorkRunsAgain) => {
            start(OnePhaseOrder { elsewhere: Elsewhere::Nothing, ..order }, cx)
        }
        S::OnePhase(mut work) => {
            work.waiting.push(order.reply);
            S::OnePhase(work)
        }
        S::Following(mut following) => {
            following.waiting.push(order.reply);
            S::Following(following)
        }
        s @ (S::OnePhaseDone(_) | S::OnePhaseAborted(_) | S::Dropping(_) | S::Barred(_)) => again(s, order.reply, cx),
        s @ (two_phase!()) => {
            cx.refuse(order.reply, Refusal::OtherContent);
            s
        }
    }
}

/// Asking fences: whoever is told "nothing happened" may rely on it.
pub(super) fn ask(state: S, reply: ReplyTo, cx: &mut Context<'_>) -> S {
    let fenced = || Reason::new(ReasonKind::Fenced, ASKED);
    match state {
        S::Unknown => {
            cx.one_phase([reply], &OnePhaseResult::Aborted(fenced()));
            if mutants::is(Mutant::AskingDoesNotFence) { S::Unknown } else { S::Barred(Barred::here(fenced())) }
        }
        S::Past => {
            cx.refuse(reply, Refusal::BelowMark);
            S::Past
        }
        S::Enlisting(enlisting) => fence_open(enlisting.open, reply, fenced(), cx),
        S::Active(active) => fence_open(active.open, reply, fenced(), cx),
        s @ S::OnePhase(_) if mutants::is(Mutant::AnswersWhileItWorks) => {
            cx.one_phase([reply], &OnePhaseResult::Aborted(fenced()));
            s
        }
        S::OnePhase(mut work) => {
            cx.cancel(&mut work.cancelled, ReasonKind::Fenced, ASKED);
            work.waiting.push(reply);
            S::OnePhase(work)
        }
        S::Following(mut following) => {
            // Not its own work: it waits for a result that is on its way in any case.
            following.waiting.push(reply);
            S::Following(following)
        }
        s @ (S::OnePhaseDone(_) | S::OnePhaseAborted(_) | S::Dropping(_) | S::Barred(_)) => again(s, reply, cx),
        s @ (two_phase!()) => {
            cx.refuse(reply, Refusal::OtherContent);
            s
        }
    }
}

/// The resource manager has ended it.
pub(super) fn ended(state: S, result: OnePhaseResult, cx: &mut Context<'_>) -> Result<S, Illegal> {
    match state {
        S::OnePhase(work) => Ok(end(work.key, work.hash, work.waiting, result, cx)),
        S::Following(_) | S::OnePhaseDone(_) | S::OnePhaseAborted(_) => Err(cx.illegal(Kind::Unexpected)),
        S::Unknown | S::Past | S::Barred(_) | open!() | two_phase!() => Err(cx.illegal(Kind::Unexpected)),
    }
}

/// The transaction that does the same key has ended.
pub(super) fn leader_ended(state: S, result: OnePhaseResult, cx: &mut Context<'_>) -> Result<S, Illegal> {
    match state {
        S::Following(following) => Ok(end(following.key, following.hash, following.waiting, result, cx)),
        S::OnePhase(_) | S::OnePhaseDone(_) | S::OnePhaseAborted(_) => Err(cx.illegal(Kind::Unexpected)),
        S::Unknown | S::Past | S::Barred(_) | open!() | two_phase!() => Err(cx.illegal(Kind::Unexpected)),
    }
}

/// Starts a one-phase commit, unless its key is taken.
fn start(order: OnePhaseOrder, cx: &mut Context<'_>) -> S {
    let OnePhaseOrder { reply, age, wait, key, hash, task, elsewhere } = order;
    match elsewhere {
        Elsewhere::Nothing => {
            let work = carried(task);
            let carried = work.is_some();
            cx.out.push(Effect::CommitOnePhase { xid: cx.xid, age, key, hash, work });
            if carried {
                cx.timer(Timer::LockWait(cx.xid), wait.min(cx.config.lock_wait), false);
            }
            let (waiting, followers) = (vec![reply], BTreeSet::new());
            S::OnePhase(OnePhaseWork { key, hash, waiting, cancelled: false, carried, followers })
        }
        Elsewhere::Working(leader) => S::Following(Following { leader, key, hash, waiting: vec![reply] }),
        Elsewhere::Done(reads) => end(key, hash, vec![reply], OnePhaseResult::Committed(reads), cx),
        Elsewhere::OtherContent => {
            let reason = Reason::new(ReasonKind::BadWork, OTHER_WORK);
            end(key, hash, vec![reply], OnePhaseResult::Aborted(reason), cx)
        }
    }
}

/// An open branch is asked to commit at once. Its key belongs to this transaction alone; what ran under another one with
/// the same key is not this work, whatever became of it.
fn commit_open(open: Open, order: OnePhaseOrder, operations: u64, exact: bool, cx: &mut Context<'_>) -> S {
    let complete = match order.elsewhere {
        Elsewhere::Nothing => open.complete(operations, exact),
        Elsewhere::Working(_) | Elsewhere::Done(_) | Elsewhere::OtherContent => {
            Err(Reason::new(ReasonKind::BadWork, OTHER_WORK))
        }
    };
    match complete {
        Ok(()) => start(order, cx),
        Err(reason) => fence_open(open, order.reply, reason, cx),
    }
}

/// Drops an open branch and says that it never commits.
fn fence_open(open: Open, reply: ReplyTo, reason: Reason, cx: &mut Context<'_>) -> S {
    let state = drop_open(open, Barred::here(reason.clone()), cx);
    cx.one_phase([reply], &OnePhaseResult::Aborted(reason));
    state
}

/// Answers with what was answered before.
fn again(state: S, reply: ReplyTo, cx: &mut Context<'_>) -> S {
    let result = match &state {
        S::OnePhaseDone(done) => Some(OnePhaseResult::Committed(done.reads.clone())),
        S::OnePhaseAborted(aborted) => Some(OnePhaseResult::Aborted(aborted.reason.clone())),
        S::Dropping(dropping) => Some(OnePhaseResult::Aborted(dropping.barred.reason.clone())),
        S::Barred(barred) => Some(OnePhaseResult::Aborted(barred.reason.clone())),
        S::Unknown | S::Past | S::Enlisting(_) | S::Active(_) | S::OnePhase(_) | S::Following(_) | two_phase!() => None,
    };
    if let Some(result) = result {
        cx.one_phase([reply], &result);
    }
    state
}

/// Answers all who wait, and keeps the result for those who ask later.
fn end(key: Key, hash: ContentHash, waiting: Vec<ReplyTo>, result: OnePhaseResult, cx: &mut Context<'_>) -> S {
    cx.one_phase(waiting, &result);
    match result {
        OnePhaseResult::Committed(reads) => S::OnePhaseDone(OnePhaseDone { key, hash, reads }),
        OnePhaseResult::Aborted(_) if mutants::is(Mutant::NoIsForgotten) => S::Unknown,
        OnePhaseResult::Aborted(reason) => S::OnePhaseAborted(OnePhaseAborted { key, hash, reason }),
    }
}
