//! The transition table: every state of a branch against every event, for running and for recovery.
//!
//! Each event has a function that says, state by state, what it means; those that belong together stand in one file.
//! What a state excludes is a named error, and the process stops on it. What only comes late, or twice, is answered
//! with what was said before. There is no wildcard arm: a new state or event does not compile until someone has said
//! here what it means everywhere.

/// Interactive branches before their vote.
macro_rules! open {
    () => {
        S::Enlisting(_) | S::Active(_) | S::Dropping(_)
    };
}

/// Branches of transactions over several participants that were asked for their vote.
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

mod interactive;
mod one_phase;
mod peers;
mod time;
mod two_phase;

use handfast_common::messages::Refusal;
use handfast_common::outcome::{Reason, ReasonKind};

use super::ReplyTo;
use super::branch::State;
use super::error::Illegal;
use super::event::{Context, Event};

use Event as E;

/// What `event` makes of a branch in `state`. Effects go to the context; on an error none of them may be carried out.
pub(super) fn next(state: State, event: Event, cx: &mut Context<'_>) -> Result<State, Illegal> {
    (cx.event, cx.was) = (event.name(), state.name());
    if let Some(reply) = other_content(&state, &event) {
        cx.refuse(reply, Refusal::OtherContent);
        return Ok(state);
    }
    match event {
        E::Prepare(order) => Ok(two_phase::prepare(state, order, cx)),
        E::WorkPrepared(vote) => two_phase::work_prepared(state, vote, cx),
        E::Release(reply) => Ok(two_phase::release(state, reply, cx)),
        E::Commit(reply) => two_phase::commit(state, reply, cx),
        E::Abort(reply) => two_phase::abort(state, reply, cx),
        E::BranchCommitted { found } => two_phase::branch_committed(state, found, cx),
        E::BranchAborted => two_phase::branch_aborted(state, cx),

        E::OnePhase(order) => Ok(one_phase::commit(state, order, cx)),
        E::AskOnePhase(reply) => Ok(one_phase::ask(state, reply, cx)),
        E::OnePhaseEnded(result) => one_phase::ended(state, result, cx),
        E::LeaderEnded(result) => one_phase::leader_ended(state, result, cx),

        E::Execute(order) => Ok(interactive::execute(state, order, cx)),
        E::OperationEnded(execution) => interactive::operation_ended(state, execution, cx),
        E::EnlistAnswered(answer) => Ok(interactive::enlist_answered(state, answer, cx)),
        E::EnlistDue => Ok(interactive::enlist_due(state, cx)),

        E::PeerInquired(question) => Ok(peers::inquired(state, question, cx)),
        E::PeerCantSay(name, unsaid) => Ok(peers::cant_say(state, name, unsaid, cx)),
        E::Undecided => Ok(peers::undecided(state)),
        E::InquiryDue => Ok(peers::inquiry_due(state, cx)),
        E::CoordinatorLost => Ok(peers::coordinator_lost(state, cx)),

        E::LockWaitOver => Ok(time::lock_wait_over(state, cx)),
        E::HoldOver => Ok(time::hold_over(state, cx)),
        E::Replaced(seen) => Ok(time::replaced(state, seen, cx)),
        E::MarkPassed => Ok(time::mark_passed(state, cx)),
        E::FoundPrepared(record) => time::found_prepared(state, record, cx),
        E::FoundDone(done) => time::found_done(state, done, cx),
    }
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
        | E::Execute(_)
        | E::OperationEnded(_)
        | E::EnlistAnswered(_)
        | E::EnlistDue
        | E::PeerInquired(_)
        | E::PeerCantSay(..)
        | E::Undecided
        | E::InquiryDue
        | E::CoordinatorLost
        | E::LockWaitOver
        | E::HoldOver
        | E::Replaced(_)
        | E::MarkPassed
        | E::FoundPrepared(_)
        | E::FoundDone(_) => None,
    }
}

const ABORTED: &str = "aborted by its coordinator";
const ASKED: &str = "asked about before it reached the log";
const NO_WORK: &str = "no work of it is here";

fn aborted() -> Reason {
    Reason::new(ReasonKind::Lost, ABORTED)
}

fn no_work() -> Reason {
    Reason::new(ReasonKind::Lost, NO_WORK)
}
