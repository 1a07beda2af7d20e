//! Prepare, Release, the decision, and what the resource manager makes of them.

use handfast_common::messages::{Refusal, Task};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Payload, ReasonKind, Vote};

use super::super::branch::{Applying, Barred, Fate, State as S, Undoing, Voted, Work, WorkKind};
use super::super::error::{Illegal, Kind};
use super::super::event::{Context, PrepareOrder};
use super::super::in_doubt::InDoubt;
use super::super::open::Open;
use super::super::{Effect, ReplyTo, Timer};
use super::interactive::drop_open;
use super::peers::tell_vote;
use super::{ABORTED, aborted, no_work};

/// A late copy never runs again: it is answered from memory, or refused (t05, f22, f26).
pub(super) fn prepare(state: S, order: PrepareOrder, cx: &mut Context<'_>) -> S {
    match state {
        S::Unknown => match order.task {
            Task::Carried(_) => start(order, WorkKind::Carried, cx),
            // What ran here is gone, or ran in another start: never a vote for the rest of it (t10a, t10b).
            Task::Ran { .. } if mutants::is(Mutant::NoTraceVotesReadOnly) => {
                cx.vote(vec![order.reply], &Vote::ReadOnly(Payload::default()));
                S::Unknown
            }
            Task::Ran { .. } => {
                cx.vote(vec![order.reply], &Vote::No(no_work()));
                S::Barred(Barred::here(no_work()))
            }
        },
        S::Past if mutants::is(Mutant::LatePrepareRuns) => start(order, WorkKind::Carried, cx),
        S::Committed(_) if mutants::is(Mutant::WorkRunsAgain) => start(order, WorkKind::Carried, cx),
        s @ S::Prepared(_) if mutants::is(Mutant::VotesAnew) => {
            cx.vote(vec![order.reply], &Vote::No(no_work()));
            s
        }
        S::Past => {
            cx.refuse(order.reply, Refusal::BelowMark);
            S::Past
        }
        S::Enlisting(enlisting) => match order.task {
            Task::Carried(_) => {
                cx.refuse(order.reply, Refusal::OtherContent);
                S::Enlisting(enlisting)
            }
            Task::Ran { operations, exact } => prepare_open(enlisting.open, order, operations, exact, cx),
        },
        S::Active(active) => match order.task {
            Task::Carried(_) => {
                cx.refuse(order.reply, Refusal::OtherContent);
                S::Active(active)
            }
            Task::Ran { operations, exact } => prepare_open(active.open, order, operations, exact, cx),
        },
        S::Working(mut work) => {
            work.waiting.push(order.reply);
            S::Working(work)
        }
        s @ (S::Dropping(_)
        | S::Prepared(_)
        | S::Committing(_)
        | S::Aborting(_)
        | S::Held(_)
        | S::GivenUp(_)
        | S::Released(_)
        | S::Committed(_)
        | S::Aborted(_)
        | S::Barred(_)) => {
            match s.vote() {
                Some(vote) => cx.vote(vec![order.reply], &vote),
                // An earlier incarnation voted, and it took effect: it has ended.
                None => cx.refuse(order.reply, Refusal::BelowMark),
            }
            s
        }
        s @ (one_phase!()) => {
            cx.refuse(order.reply, Refusal::OtherContent);
            s
        }
    }
}

/// An open branch is asked for its vote: nothing more is executed in it from now on.
fn prepare_open(open: Open, order: PrepareOrder, operations: u64, exact: bool, cx: &mut Context<'_>) -> S {
    match open.complete(operations, exact) {
        Ok(()) => start(order, WorkKind::Ran { exact }, cx),
        Err(reason) => {
            let state = drop_open(open, Barred::here(reason.clone()), cx);
            cx.vote(vec![order.reply], &Vote::No(reason));
            state
        }
    }
}

/// Starts the work of a branch. The timer bounds the wait for locks and nothing after the record is handed over; work that
/// was executed before has its locks.
fn start(order: PrepareOrder, kind: WorkKind, cx: &mut Context<'_>) -> S {
    let PrepareOrder { reply, age, wait, record, task } = order;
    let work = carried(task);
    let waits = work.is_some();
    cx.out.push(Effect::Prepare { age, record: record.clone(), work });
    if waits {
        cx.timer(Timer::LockWait(cx.xid), wait.min(cx.config.lock_wait), false);
    }
    S::Working(Work { record, waiting: vec![reply], cancelled: false, fate: Fate::Open, kind, asked: Vec::new() })
}

/// The work that rides on an order.
pub(super) fn carried(task: Task) -> Option<Payload> {
    match task {
        Task::Carried(work) => Some(work),
        Task::Ran { .. } => None,
    }
}

/// The resource manager votes. Only now does a Yes exist, and it stays, whatever was cancelled meanwhile (A3), save that
/// an abort which came first undoes it.
pub(super) fn work_prepared(state: S, vote: Vote, cx: &mut Context<'_>) -> Result<S, Illegal> {
    match state {
        S::Working(work) => Ok(voted(work, vote, cx)),
        S::Unknown | S::Past | S::Barred(_) | open!() | one_phase!() => Err(cx.illegal(Kind::Unexpected)),
        S::Prepared(_)
        | S::Committing(_)
        | S::Aborting(_)
        | S::Held(_)
        | S::GivenUp(_)
        | S::Released(_)
        | S::Committed(_)
        | S::Aborted(_) => Err(cx.illegal(Kind::Unexpected)),
    }
}

fn voted(work: Work, vote: Vote, cx: &mut Context<'_>) -> S {
    let Work { mut record, waiting, cancelled: _, fate, kind, asked } = work;
    let digest = record.work;
    let early = kind == (WorkKind::Ran { exact: true })
        || (kind == WorkKind::Carried && mutants::is(Mutant::ReaderLetsGoEarly))
        || (kind == (WorkKind::Ran { exact: false }) && mutants::is(Mutant::SharedReaderLetsGo));
    let state = match (vote, fate) {
        (Vote::Yes(_), Fate::Aborted) => {
            let vote = Vote::No(aborted());
            cx.out.push(Effect::Abort { xid: cx.xid });
            cx.vote(waiting, &vote);
            S::Aborting(Undoing { record, vote })
        }
        (Vote::Yes(reads), Fate::Open | Fate::Replaced) => {
            record.reads = reads;
            cx.vote(waiting, &Vote::Yes(record.reads.clone()));
            // Most transactions end long before this; the rest ask.
            cx.timer(Timer::Inquire(cx.xid), cx.config.retry_cap, true);
            S::Prepared(InDoubt::new(record, cx.config))
        }
        (vote @ Vote::No(_), Fate::Open | Fate::Replaced | Fate::Aborted) => {
            cx.vote(waiting, &vote);
            S::Aborted(Voted { work: digest, vote })
        }
        (vote @ Vote::ReadOnly(_), Fate::Open) if early => {
            // All locks of the transaction existed before the first Prepare went out: its own may go.
            cx.release();
            cx.vote(waiting, &vote);
            S::Released(Voted { work: digest, vote })
        }
        (vote @ Vote::ReadOnly(_), Fate::Open) => {
            cx.vote(waiting, &vote);
            cx.timer(Timer::ReadOnlyHold(cx.xid), cx.config.read_only_hold, false);
            S::Held(Voted { work: digest, vote })
        }
        // The coordinator that could say Release is fenced.
        (vote @ Vote::ReadOnly(_), Fate::Replaced) => {
            cx.release();
            cx.vote(waiting, &vote);
            S::GivenUp(Voted { work: digest, vote })
        }
        (Vote::ReadOnly(_), Fate::Aborted) => {
            let vote = Vote::No(aborted());
            cx.release();
            cx.vote(waiting, &vote);
            S::Aborted(Voted { work: digest, vote })
        }
    };
    tell_vote(&state, asked, cx);
    state
}

/// True only while the incarnation that voted holds the locks (t01), or where they were not needed after its vote.
pub(super) fn release(state: S, reply: ReplyTo, cx: &mut Context<'_>) -> S {
    match state {
        S::Held(voted) => {
            cx.release();
            cx.released(reply, true);
            S::Released(voted)
        }
        s @ S::Released(_) => {
            cx.released(reply, true);
            s
        }
        S::Past => {
            cx.refuse(reply, Refusal::BelowMark);
            S::Past
        }
        s @ (S::Unknown
        | open!()
        | S::Working(_)
        | S::Prepared(_)
        | S::Committing(_)
        | S::Aborting(_)
        | S::GivenUp(_)
        | S::Committed(_)
        | S::Aborted(_)
        | S::Barred(_)
        | one_phase!()) => {
            cx.released(reply, false);
            s
        }
    }
}

/// Acknowledged only when durable, or when it was before. A branch that never said Yes in this way can't have been decided
/// Commit, and above the mark no trace means that half a transaction is gone (t06).
pub(super) fn commit(state: S, reply: Option<ReplyTo>, cx: &mut Context<'_>) -> Result<S, Illegal> {
    Ok(match state {
        S::Prepared(branch) => {
            if mutants::is(Mutant::AcknowledgesBeforeApply) {
                cx.acknowledge(reply);
            }
            cx.out.push(Effect::Commit { xid: cx.xid });
            S::Committing(Applying { record: branch.record, waiting: reply.into_iter().collect() })
        }
        S::Committing(mut applying) => {
            applying.waiting.extend(reply);
            S::Committing(applying)
        }
        s @ (S::Committed(_) | S::Past) => {
            cx.acknowledge(reply);
            s
        }
        S::Unknown if mutants::is(Mutant::ForgetfulStoreIsTrusted) => {
            cx.acknowledge(reply);
            S::Unknown
        }
        S::Unknown => return Err(cx.illegal(Kind::LostBranch)),
        open!()
        | S::Working(_)
        | S::Aborting(_)
        | S::Held(_)
        | S::GivenUp(_)
        | S::Released(_)
        | S::Aborted(_)
        | S::Barred(_) => return Err(cx.illegal(Kind::Contradiction)),
        s @ (one_phase!()) => other_kind(s, reply, cx),
    })
}

/// Nobody waits for it, so it is answered at once; what is on disk by then is undone.
pub(super) fn abort(state: S, reply: Option<ReplyTo>, cx: &mut Context<'_>) -> Result<S, Illegal> {
    Ok(match state {
        S::Prepared(branch) => {
            let vote = Vote::Yes(branch.record.reads.clone());
            cx.out.push(Effect::Abort { xid: cx.xid });
            cx.received(reply);
            S::Aborting(Undoing { record: branch.record, vote })
        }
        S::Working(mut work) => {
            cx.cancel(&mut work.cancelled, ReasonKind::Lost, ABORTED);
            cx.received(reply);
            work.fate = Fate::Aborted;
            S::Working(work)
        }
        S::Held(voted) => {
            cx.release();
            cx.received(reply);
            S::Aborted(voted)
        }
        S::Enlisting(enlisting) => {
            let state = drop_open(enlisting.open, Barred::decided(aborted()), cx);
            cx.received(reply);
            state
        }
        S::Active(active) => {
            let state = drop_open(active.open, Barred::decided(aborted()), cx);
            cx.received(reply);
            state
        }
        // Remembered: its Prepare may be slower than its Abort (f22). There is nothing to undo (f23).
        S::Unknown => {
            cx.received(reply);
            S::Barred(Barred::decided(aborted()))
        }
        S::Dropping(mut dropping) => {
            cx.received(reply);
            dropping.barred.decided = true;
            S::Dropping(dropping)
        }
        S::Barred(mut barred) => {
            cx.received(reply);
            barred.decided = true;
            S::Barred(barred)
        }
        s @ (S::Past | S::Aborting(_) | S::GivenUp(_) | S::Released(_) | S::Aborted(_)) => {
            cx.received(reply);
            s
        }
        S::Committing(_) | S::Committed(_) => return Err(cx.illegal(Kind::Contradiction)),
        s @ (one_phase!()) => other_kind(s, reply, cx),
    })
}

/// A decision about a branch that is a whole transaction: it is another one.
fn other_kind(state: S, reply: Option<ReplyTo>, cx: &mut Context<'_>) -> S {
    if let Some(reply) = reply {
        cx.refuse(reply, Refusal::OtherContent);
    }
    state
}

/// The resource manager has made a decision take effect.
pub(super) fn branch_committed(state: S, found: bool, cx: &mut Context<'_>) -> Result<S, Illegal> {
    match state {
        S::Committing(applying) if found => {
            cx.acknowledge(applying.waiting);
            Ok(S::Committed(Some(Voted::yes(applying.record))))
        }
        S::Committing(_) => Err(cx.illegal(Kind::LostBranch)),
        S::Unknown | S::Past | S::Barred(_) | open!() | one_phase!() => Err(cx.illegal(Kind::Unexpected)),
        S::Working(_)
        | S::Prepared(_)
        | S::Aborting(_)
        | S::Held(_)
        | S::GivenUp(_)
        | S::Released(_)
        | S::Committed(_)
        | S::Aborted(_) => Err(cx.illegal(Kind::Unexpected)),
    }
}

/// The resource manager has undone a branch, prepared or open.
pub(super) fn branch_aborted(state: S, cx: &Context<'_>) -> Result<S, Illegal> {
    match state {
        S::Aborting(undoing) => Ok(S::Aborted(Voted { work: undoing.record.work, vote: undoing.vote })),
        S::Dropping(mut dropping) if dropping.undoing => {
            dropping.undoing = false;
            Ok(dropping.go_on())
        }
        S::Unknown | S::Past | S::Barred(_) | open!() | one_phase!() => Err(cx.illegal(Kind::Unexpected)),
        S::Working(_)
        | S::Prepared(_)
        | S::Committing(_)
        | S::Held(_)
        | S::GivenUp(_)
        | S::Released(_)
        | S::Committed(_)
        | S::Aborted(_) => Err(cx.illegal(Kind::Unexpected)),
    }
}
