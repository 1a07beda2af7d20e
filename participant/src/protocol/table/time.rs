//! What passes: patience, the epochs of coordinators, their marks, and this participant's own starts.

use handfast_common::messages::{ExecuteResult, Seen};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Reason, ReasonKind};

use super::super::branch::{Barred, Fate, State as S, WorkKind};
use super::super::error::{Illegal, Kind};
use super::super::event::Context;
use super::super::in_doubt::InDoubt;
use super::super::record::{OnePhaseDone, Prepared};
use super::super::{Effect, Timer};
use super::interactive::drop_open;
use super::two_phase::abort;

const REPLACED: &str = "its coordinator was restarted";
const PASSED: &str = "the transaction has ended";

/// Work has waited long enough for its locks, or a branch for the coordinator's list. It ends nothing after Yes (A3, f45),
/// and one that has lost its point is no error.
pub(super) fn lock_wait_over(state: S, cx: &mut Context<'_>) -> S {
    match state {
        S::Working(mut work) => {
            // What ran before has its locks: the timer was an operation's.
            if work.kind == WorkKind::Carried {
                cx.cancel(&mut work.cancelled, ReasonKind::LockTimeout, "");
            }
            S::Working(work)
        }
        S::OnePhase(mut work) => {
            if work.carried {
                cx.cancel(&mut work.cancelled, ReasonKind::LockTimeout, "");
            }
            S::OnePhase(work)
        }
        s @ S::Prepared(_) if mutants::is(Mutant::YesExpires) => abort(s, None, cx).unwrap_or(S::Unknown),
        s @ S::Prepared(_) if mutants::is(Mutant::YesLetsLocksGo) => {
            cx.cancel(&mut false, ReasonKind::LockTimeout, "");
            s
        }
        // Nothing ran, and nobody is kept waiting for a coordinator that does not answer.
        S::Enlisting(enlisting) => {
            cx.executed(enlisting.open.into_waiting(), &ExecuteResult::NotYet);
            S::Unknown
        }
        S::Active(mut active) => {
            if active.open.cancel() {
                let reason = Reason::new(ReasonKind::LockTimeout, "");
                cx.out.push(Effect::Cancel { xid: cx.xid, reason });
            }
            S::Active(active)
        }
        s @ (S::Unknown
        | S::Past
        | S::Dropping(_)
        | S::Prepared(_)
        | S::Committing(_)
        | S::Aborting(_)
        | S::Held(_)
        | S::GivenUp(_)
        | S::Released(_)
        | S::Committed(_)
        | S::Aborted(_)
        | S::Barred(_)
        | S::Following(_)
        | S::OnePhaseDone(_)
        | S::OnePhaseAborted(_)) => s,
    }
}

/// A branch that only read has held its locks long enough.
pub(super) fn hold_over(state: S, cx: &mut Context<'_>) -> S {
    match state {
        S::Held(voted) => {
            cx.release();
            S::GivenUp(voted)
        }
        s @ (S::Unknown | S::Past | S::Barred(_) | open!() | one_phase!()) => s,
        s @ (S::Working(_)
        | S::Prepared(_)
        | S::Committing(_)
        | S::Aborting(_)
        | S::GivenUp(_)
        | S::Released(_)
        | S::Committed(_)
        | S::Aborted(_)) => s,
    }
}

/// A newer epoch: what is open or still waits is dropped, requests of the older one are told, a Yes stays (t12b).
pub(super) fn replaced(state: S, seen: Seen, cx: &mut Context<'_>) -> S {
    let replaced = || Reason::new(ReasonKind::Lost, REPLACED);
    match state {
        S::Enlisting(enlisting) => drop_open(enlisting.open, Barred::here(replaced()), cx),
        S::Active(active) => drop_open(active.open, Barred::here(replaced()), cx),
        S::Working(mut work) => {
            cx.cancel(&mut work.cancelled, ReasonKind::Lost, REPLACED);
            cx.fence(&mut work.waiting, seen);
            if work.fate == Fate::Open {
                work.fate = Fate::Replaced;
            }
            S::Working(work)
        }
        S::OnePhase(mut work) => {
            cx.cancel(&mut work.cancelled, ReasonKind::Lost, REPLACED);
            cx.fence(&mut work.waiting, seen);
            S::OnePhase(work)
        }
        S::Following(mut following) => {
            cx.fence(&mut following.waiting, seen);
            S::Following(following)
        }
        S::Committing(mut applying) => {
            cx.fence(&mut applying.waiting, seen);
            S::Committing(applying)
        }
        S::Held(voted) => {
            cx.release();
            S::GivenUp(voted)
        }
        s @ (S::Unknown
        | S::Past
        | S::Dropping(_)
        | S::Prepared(_)
        | S::Aborting(_)
        | S::GivenUp(_)
        | S::Released(_)
        | S::Committed(_)
        | S::Aborted(_)
        | S::Barred(_)
        | S::OnePhaseDone(_)
        | S::OnePhaseAborted(_)) => s,
    }
}

/// The mark ends what is only remembered or open, and never a prepared branch (t14).
pub(super) fn mark_passed(state: S, cx: &mut Context<'_>) -> S {
    let passed = || Barred::decided(Reason::new(ReasonKind::BadWork, PASSED));
    match state {
        S::Unknown
        | S::Past
        | S::GivenUp(_)
        | S::Released(_)
        | S::Committed(_)
        | S::Aborted(_)
        | S::Barred(_)
        | S::OnePhaseDone(_)
        | S::OnePhaseAborted(_) => S::Past,
        S::Held(_) => {
            cx.release();
            S::Past
        }
        S::Prepared(_) if mutants::is(Mutant::MarkEndsPrepared) => S::Past,
        s @ S::Active(_) if mutants::is(Mutant::KeepsAbandonedBranch) => s,
        S::Enlisting(enlisting) => forgotten(drop_open(enlisting.open, passed(), cx)),
        S::Active(active) => forgotten(drop_open(active.open, passed(), cx)),
        s @ (S::Dropping(_)
        | S::Working(_)
        | S::Prepared(_)
        | S::Committing(_)
        | S::Aborting(_)
        | S::OnePhase(_)
        | S::Following(_)) => s,
    }
}

/// Below the mark nothing is remembered; what is still owed is waited for.
fn forgotten(state: S) -> S {
    match state {
        S::Barred(_) => S::Past,
        s @ (S::Unknown | S::Past | open!() | two_phase!() | one_phase!()) => s,
    }
}

/// Recovery: one record per transaction.
pub(super) fn found_prepared(state: S, record: Prepared, cx: &mut Context<'_>) -> Result<S, Illegal> {
    match state {
        S::Unknown | S::Past => {
            cx.timer(Timer::Inquire(cx.xid), cx.config.retry_first, true);
            Ok(S::Prepared(InDoubt::new(record, cx.config)))
        }
        S::Barred(_) | open!() | two_phase!() | one_phase!() => Err(cx.illegal(Kind::Record)),
    }
}

/// The same.
pub(super) fn found_done(state: S, done: Option<OnePhaseDone>, cx: &Context<'_>) -> Result<S, Illegal> {
    match (state, done) {
        (S::Unknown | S::Past, None) => Ok(S::Committed(None)),
        (S::Unknown | S::Past, Some(done)) => Ok(S::OnePhaseDone(done)),
        (S::Barred(_) | open!() | two_phase!() | one_phase!(), None | Some(_)) => Err(cx.illegal(Kind::Record)),
    }
}
