//! Interactive branches before their vote: operations, the coordinator's list, reports.
//!
//! A branch goes to the coordinator's list before anything runs in it, so that no commit can miss it, and reports there as
//! long as it is open. It may be dropped at any time: only a Yes binds it.

use std::time::Duration;

use handfast_common::limits::IDLE_PARTS;
use handfast_common::messages::{Enlisted, ExecuteResult};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Reason, ReasonKind, Vote};

use super::super::branch::{Barred, State as S};
use super::super::error::{Illegal, Kind};
use super::super::event::{Context, ExecuteOrder};
use super::super::open::{Active, Dropping, Ended, Enlisting, Open, Taken};
use super::super::{Effect, Execution, Timer};
use super::aborted;

/// Shortest time between two reports, whatever idle limit a coordinator tells.
const SHORTEST_PART: Duration = Duration::from_millis(10);
/// No retryable reason: the transaction may well have committed, and its work must not be run again for this.
const TOO_LATE: &str = "the transaction has been asked for its votes or has ended: nothing runs in it any more";

/// Runs at most once: an operation that is known gets its result again while the branch is open, and after that nothing is
/// executed (t10c, t10e, f25).
pub(super) fn execute(state: S, order: ExecuteOrder, cx: &mut Context<'_>) -> S {
    let reply = order.reply;
    match state {
        S::Unknown => open_branch(order, cx),
        S::Enlisting(mut enlisting) => match enlisting.open.take(order) {
            Taken::Waits => S::Enlisting(enlisting),
            Taken::Known(result) => {
                cx.executed([reply], &result);
                S::Enlisting(enlisting)
            }
            Taken::Doomed(reason) => {
                let state = drop_open(enlisting.open, Barred::here(reason.clone()), cx);
                cx.executed([reply], &ExecuteResult::Doomed(reason));
                state
            }
        },
        S::Active(mut active) => match active.open.take(order) {
            Taken::Waits => {
                active.worked = true;
                run_next(&mut active, cx);
                S::Active(active)
            }
            Taken::Known(result) => {
                active.worked = true;
                cx.executed([reply], &result);
                S::Active(active)
            }
            Taken::Doomed(reason) => {
                let state = drop_open(active.open, Barred::here(reason.clone()), cx);
                cx.executed([reply], &ExecuteResult::Doomed(reason));
                state
            }
        },
        s @ (S::Past | S::Dropping(_) | S::Barred(_) | two_phase!() | one_phase!()) => {
            cx.executed([reply], &ExecuteResult::Doomed(why_not(&s)));
            s
        }
    }
}

/// The first operation: nothing runs before the coordinator has the branch on its list.
fn open_branch(order: ExecuteOrder, cx: &mut Context<'_>) -> S {
    let (reply, wait) = (order.reply, order.wait);
    let mut open = Open::new(order.coordinator.clone());
    match open.take(order) {
        Taken::Waits => {}
        Taken::Known(result) => {
            cx.executed([reply], &result);
            return S::Unknown;
        }
        Taken::Doomed(reason) => {
            cx.executed([reply], &ExecuteResult::Doomed(reason));
            return S::Unknown;
        }
    }
    enlist(&open, true, cx);
    cx.timer(Timer::Enlist(cx.xid), cx.config.retry_first, true);
    cx.timer(Timer::LockWait(cx.xid), wait.min(cx.config.lock_wait), false);
    S::Enlisting(Enlisting { open, pause: next_pause(cx.config.retry_first, cx) })
}

/// Why an operation can't run in a branch that is not open.
fn why_not(state: &S) -> Reason {
    match state {
        S::Dropping(Dropping { barred, .. }) | S::Barred(barred) => barred.reason.clone(),
        S::Aborting(_) => aborted(),
        S::Aborted(voted) => match &voted.vote {
            Vote::No(reason) => reason.clone(),
            Vote::Yes(_) | Vote::ReadOnly(_) => aborted(),
        },
        S::OnePhaseAborted(aborted) => aborted.reason.clone(),
        S::Unknown
        | S::Past
        | S::Enlisting(_)
        | S::Active(_)
        | S::Working(_)
        | S::Prepared(_)
        | S::Committing(_)
        | S::Held(_)
        | S::GivenUp(_)
        | S::Released(_)
        | S::Committed(_)
        | S::OnePhase(_)
        | S::Following(_)
        | S::OnePhaseDone(_) => Reason::new(ReasonKind::BadWork, TOO_LATE),
    }
}

/// The resource manager has ended the operation that ran.
pub(super) fn operation_ended(state: S, execution: Execution, cx: &mut Context<'_>) -> Result<S, Illegal> {
    match state {
        S::Active(mut active) => match active.open.end(execution) {
            Some(Ended::Goes { waiting, result }) => {
                cx.executed(waiting, &result);
                run_next(&mut active, cx);
                Ok(S::Active(active))
            }
            // It has let go by itself.
            Some(Ended::Doomed { waiting, reason }) => {
                let result = ExecuteResult::Doomed(reason.clone());
                cx.executed(waiting.into_iter().chain(active.open.into_waiting()), &result);
                Ok(Dropping { barred: Barred::here(reason), running: false, undoing: false }.go_on())
            }
            Some(Ended::TooLarge { waiting, reason }) => {
                cx.out.push(Effect::Abort { xid: cx.xid });
                let result = ExecuteResult::Doomed(reason.clone());
                cx.executed(waiting.into_iter().chain(active.open.into_waiting()), &result);
                Ok(S::Dropping(Dropping { barred: Barred::here(reason), running: false, undoing: true }))
            }
            None => Err(cx.illegal(Kind::Unexpected)),
        },
        // Whatever came of it is undone, or is not there any more; who asked has been answered.
        S::Dropping(mut dropping) if dropping.running => {
            dropping.running = false;
            Ok(dropping.go_on())
        }
        S::Dropping(_) | S::Unknown | S::Past | S::Enlisting(_) | S::Barred(_) | two_phase!() | one_phase!() => {
            Err(cx.illegal(Kind::Unexpected))
        }
    }
}

/// The coordinator has the branch on its list, or says why not. What comes late has lost its point.
pub(super) fn enlist_answered(state: S, answer: Enlisted, cx: &mut Context<'_>) -> S {
    match (state, answer) {
        (S::Enlisting(enlisting), Enlisted::Accepted { age, idle }) => {
            let part = part_of(idle.into());
            let mut active = Active { open: enlisting.open, age, part, worked: false, unanswered: 0 };
            cx.timer(Timer::Enlist(cx.xid), part, false);
            run_next(&mut active, cx);
            S::Active(active)
        }
        // Nothing ran, so nothing has to be remembered: another operation would hear the same.
        (S::Enlisting(enlisting), Enlisted::Over(reason)) => {
            cx.executed(enlisting.open.into_waiting(), &ExecuteResult::Doomed(reason));
            S::Unknown
        }
        (S::Active(mut active), Enlisted::Accepted { age: _, idle }) => {
            active.part = part_of(idle.into());
            active.unanswered = 0;
            S::Active(active)
        }
        // Perhaps commit has only begun: no decision, but none for Commit can come of it any more.
        (s @ S::Active(_), Enlisted::Over(_)) if mutants::is(Mutant::KeepsAbandonedBranch) => s,
        (S::Active(active), Enlisted::Over(reason)) => drop_open(active.open, Barred::here(reason), cx),
        // The timer asks again.
        (s @ (S::Enlisting(_) | S::Active(_)), Enlisted::NotYet) => s,
        (
            s @ (S::Unknown | S::Past | S::Dropping(_) | S::Barred(_) | two_phase!() | one_phase!()),
            Enlisted::Accepted { .. } | Enlisted::NotYet | Enlisted::Over(_),
        ) => s,
    }
}

/// Enlisting was lost, or a report is due. Without answers to them the branch ends with the idle limit: the coordinator may
/// have ended it, and whoever worked in it may be gone (L4).
pub(super) fn enlist_due(state: S, cx: &mut Context<'_>) -> S {
    match state {
        S::Enlisting(mut enlisting) => {
            enlist(&enlisting.open, true, cx);
            cx.timer(Timer::Enlist(cx.xid), enlisting.pause, true);
            enlisting.pause = next_pause(enlisting.pause, cx);
            S::Enlisting(enlisting)
        }
        S::Active(mut active) => {
            active.unanswered += 1;
            if active.unanswered >= IDLE_PARTS && !mutants::is(Mutant::KeepsAbandonedBranch) {
                let reason = Reason::new(ReasonKind::Lost, "its coordinator does not answer");
                return drop_open(active.open, Barred::here(reason), cx);
            }
            let worked = std::mem::take(&mut active.worked) || active.open.is_busy();
            enlist(&active.open, worked, cx);
            cx.timer(Timer::Enlist(cx.xid), active.part, false);
            S::Active(active)
        }
        s @ (S::Unknown | S::Past | S::Dropping(_) | S::Barred(_) | two_phase!() | one_phase!()) => s,
    }
}

/// Ends an open branch without a vote: whoever waits is told, the resource manager undoes what it has heard of, and
/// whatever still comes is refused.
pub(super) fn drop_open(open: Open, barred: Barred, cx: &mut Context<'_>) -> S {
    let (touched, running) = (open.is_touched(), open.is_running());
    if touched {
        cx.out.push(Effect::Abort { xid: cx.xid });
    }
    cx.executed(open.into_waiting(), &ExecuteResult::Doomed(barred.reason.clone()));
    Dropping { barred, running, undoing: touched }.go_on()
}

impl Dropping {
    /// Only remembered, once nothing is owed any more.
    pub(super) fn go_on(self) -> S {
        if self.running || self.undoing {
            S::Dropping(self)
        } else if mutants::is(Mutant::DroppedBranchBeginsAfresh) {
            S::Unknown
        } else {
            S::Barred(self.barred)
        }
    }
}

/// The next operation's turn, if there is one and none runs. The timer bounds its wait for locks.
fn run_next(active: &mut Active, cx: &mut Context<'_>) {
    if let Some((work, wait)) = active.open.next() {
        cx.out.push(Effect::Execute { xid: cx.xid, age: active.age, work });
        cx.timer(Timer::LockWait(cx.xid), wait.min(cx.config.lock_wait), false);
    }
}

fn enlist(open: &Open, active: bool, cx: &mut Context<'_>) {
    cx.out.push(Effect::Enlist { xid: cx.xid, coordinator: open.coordinator.clone(), active });
}

fn next_pause(pause: Duration, cx: &Context<'_>) -> Duration {
    pause.saturating_mul(2).min(cx.config.retry_cap)
}

fn part_of(idle: Duration) -> Duration {
    (idle / IDLE_PARTS).max(SHORTEST_PART)
}
