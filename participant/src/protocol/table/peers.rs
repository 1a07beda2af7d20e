//! Branches in doubt: asking the coordinator and, when it leaves that unanswered, the other participants; and answering
//! theirs.
//!
//! Only a decision is told, or an abort by the very start that is named, which has not voted Yes and now never will.
//! *No trace alone is never "has not voted"* (t02).

use handfast_common::ids::Name;
use handfast_common::messages::{PeerAnswer, Unsaid};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Decision, Reason, ReasonKind, Vote};

use super::super::branch::{Barred, State as S};
use super::super::event::{Context, PeerQuestion};
use super::super::in_doubt::InDoubt;
use super::super::{Effect, ReplyTo, Timer};

/// Inquiries that have to run by the timer between two that a broken connection hurries: a connection that breaks again
/// and again must not turn asking into a storm (f47).
const REST: u8 = 20;
const PROMISED: &str = "another participant was told that it has not been voted for";

/// Every state but that of a branch in doubt.
macro_rules! not_in_doubt {
    () => {
        S::Unknown
            | S::Past
            | open!()
            | S::Working(_)
            | S::Committing(_)
            | S::Aborting(_)
            | S::Held(_)
            | S::GivenUp(_)
            | S::Released(_)
            | S::Committed(_)
            | S::Aborted(_)
            | S::Barred(_)
            | one_phase!()
    };
}

/// Another participant in doubt asks what is known here.
pub(super) fn inquired(state: S, question: PeerQuestion, cx: &mut Context<'_>) -> S {
    let PeerQuestion { reply, exact, greeted } = question;
    match state {
        S::Unknown if !exact && mutants::is(Mutant::NoTraceMeansAbort) => {
            cx.tell_peer(reply, PeerAnswer::Decided(Decision::Abort));
            S::Unknown
        }
        S::Unknown if exact && greeted && mutants::is(Mutant::PeerAbortIsForgotten) => {
            cx.tell_peer(reply, PeerAnswer::Decided(Decision::Abort));
            S::Unknown
        }
        s @ S::Working(_) if mutants::is(Mutant::PeerIsToldWhileItWorks) => {
            cx.tell_peer(reply, PeerAnswer::Decided(Decision::Abort));
            s
        }
        // Remembered before it is said: a Prepare that is still on its way gets a No (t02d).
        S::Unknown if exact && greeted => {
            cx.tell_peer(reply, PeerAnswer::Decided(Decision::Abort));
            S::Barred(Barred::here(Reason::new(ReasonKind::Lost, PROMISED)))
        }
        S::Unknown => {
            let why = if exact { Unsaid::NotMe } else { Unsaid::OtherIncarnation };
            cx.tell_peer(reply, PeerAnswer::CantSay(why));
            S::Unknown
        }
        // Perhaps in the log already: answered when that is known (t02e).
        S::Working(mut work) => {
            work.asked.push((reply, exact));
            S::Working(work)
        }
        s @ (S::Past
        | open!()
        | S::Prepared(_)
        | S::Committing(_)
        | S::Aborting(_)
        | S::Held(_)
        | S::GivenUp(_)
        | S::Released(_)
        | S::Committed(_)
        | S::Aborted(_)
        | S::Barred(_)
        | one_phase!()) => {
            tell_vote(&s, [(reply, exact)], cx);
            s
        }
    }
}

/// Tells participants in doubt what a branch in this state can say.
pub(super) fn tell_vote(state: &S, asked: impl IntoIterator<Item = (ReplyTo, bool)>, cx: &mut Context<'_>) {
    for (reply, exact) in asked {
        cx.tell_peer(reply, answer(state, exact));
    }
}

fn answer(state: &S, exact: bool) -> PeerAnswer {
    // What this start has refused by itself binds no other start of this participant: that one may have said Yes.
    let refused =
        if exact { PeerAnswer::Decided(Decision::Abort) } else { PeerAnswer::CantSay(Unsaid::OtherIncarnation) };
    match state {
        S::Committing(_) | S::Committed(_) => PeerAnswer::Decided(Decision::Commit),
        // Only its decision ends a branch after Yes.
        S::Aborting(_) => PeerAnswer::Decided(Decision::Abort),
        S::Aborted(voted) => match voted.vote {
            Vote::No(_) => refused,
            Vote::Yes(_) | Vote::ReadOnly(_) => PeerAnswer::Decided(Decision::Abort),
        },
        S::Barred(barred) if barred.decided => PeerAnswer::Decided(Decision::Abort),
        S::Dropping(dropping) if dropping.barred.decided => PeerAnswer::Decided(Decision::Abort),
        S::Barred(_) | S::Dropping(_) => refused,
        // It is not known here whether its Prepare is on its way. Its idle limit ends it, and then it says abort.
        S::Enlisting(_) | S::Active(_) => PeerAnswer::CantSay(Unsaid::Open),
        S::Working(_) | S::Prepared(_) => PeerAnswer::CantSay(Unsaid::InDoubt),
        S::Held(_) | S::GivenUp(_) | S::Released(_) => PeerAnswer::CantSay(Unsaid::ReadOnly),
        S::Past => PeerAnswer::CantSay(Unsaid::BelowMark),
        S::Unknown => PeerAnswer::CantSay(Unsaid::OtherIncarnation),
        // A whole transaction by itself: no other branch can be in doubt about it.
        S::OnePhase(_) | S::Following(_) | S::OnePhaseDone(_) | S::OnePhaseAborted(_) => {
            PeerAnswer::CantSay(Unsaid::NotMe)
        }
    }
}

/// Another participant can't say: kept for the operator. Asking goes on by the timer.
pub(super) fn cant_say(state: S, name: Name, unsaid: Unsaid, cx: &mut Context<'_>) -> S {
    match state {
        S::Prepared(mut branch) => {
            if branch.unanswered {
                branch.heard(name, unsaid);
                say_news(&mut branch, cx);
            }
            S::Prepared(branch)
        }
        s @ (not_in_doubt!()) => s,
    }
}

/// The coordinator is there, and can't say yet: the others need not be asked.
pub(super) fn undecided(state: S) -> S {
    match state {
        S::Prepared(mut branch) => {
            branch.coordinator_answers();
            S::Prepared(branch)
        }
        s @ (not_in_doubt!()) => s,
    }
}

pub(super) fn inquiry_due(state: S, cx: &mut Context<'_>) -> S {
    match state {
        S::Prepared(branch) => inquire(branch, false, cx),
        s @ (not_in_doubt!()) => s,
    }
}

/// Asks at once, but not every time: an open branch and one that works have nothing to ask, and are ended by limits.
pub(super) fn coordinator_lost(state: S, cx: &mut Context<'_>) -> S {
    match state {
        S::Prepared(branch) if branch.rest == 0 => inquire(branch, true, cx),
        // The next inquiry asks the others too.
        S::Prepared(mut branch) => {
            branch.unanswered = true;
            S::Prepared(branch)
        }
        s @ (not_in_doubt!()) => s,
    }
}

/// Asks about a branch in doubt, and sets the timer for the next time. The timer has the branch's name, and a new one takes
/// the place of the old: there is never a second chain of them. A hurried inquiry is followed by a quick one, whose
/// questions to the others must not wait for a backoff that has grown long.
fn inquire(mut branch: InDoubt, hurried: bool, cx: &mut Context<'_>) -> S {
    let members = branch.record.members.iter().map(|member| member.who.name.clone()).collect();
    let coordinator = branch.record.coordinator.clone();
    cx.out.push(Effect::Inquire { xid: cx.xid, coordinator, members });
    if branch.unanswered {
        let others = branch.ask_peers(&cx.config.name);
        cx.out.extend(others.into_iter().map(|member| Effect::InquirePeer { xid: cx.xid, member }));
        say_news(&mut branch, cx);
    }
    branch.unanswered = true;
    let after = if hurried { cx.config.retry_first } else { branch.pause };
    if !mutants::is(Mutant::InquiresOnce) {
        cx.timer(Timer::Inquire(cx.xid), after, true);
    }
    branch.pause = branch.pause.saturating_mul(2).min(cx.config.retry_cap);
    branch.rest = if hurried { REST } else { branch.rest.saturating_sub(1) };
    S::Prepared(branch)
}

fn say_news(branch: &mut InDoubt, cx: &mut Context<'_>) {
    if let Some(line) = branch.news() {
        cx.out.push(Effect::Say { xid: Some(cx.xid), line });
    }
}
