//! How open branches end without a vote, and that nothing of them comes back.

use handfast_common::limits::{MAX_QUEUED_OPERATIONS, MAX_TRANSACTION_BYTES};
use handfast_common::messages::{Enlisted, ExecuteResult};

use super::super::Execution;
use super::interactive::*;
use super::*;

#[test]
fn nobody_is_kept_waiting_for_a_coordinator_that_does_not_answer() {
    let x = xid(1);
    let mut p = greeted();
    let _ = execute(&mut p, 1, x, 1);
    let _ = execute(&mut p, 2, x, 2);
    let not_yet = |to| executed(to, ExecuteResult::NotYet);
    assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![not_yet(1), not_yet(2)]);
    assert_eq!(p.branches().count(), 0);
    // Its answer comes late: nothing is open.
    assert_eq!(enlisted(&mut p, x, accepted()), vec![]);
    assert_eq!(fire(&mut p, Timer::Enlist(x)), vec![]);
    assert_eq!(p.branches().count(), 0);
}

#[test]
fn f11_what_an_open_branch_keeps_is_bounded_and_ends_with_it() {
    let x = xid(1);
    let capped = |p: &mut Participant, number, work: &str, kind| {
        let out = ask_for(p, 1_000_000, operation(x, number, work));
        let Some(Effect::ReplyExecuted { to: ReplyTo(1_000_000), result: ExecuteResult::Doomed(reason) }) = out.last()
        else {
            panic!("{out:?}")
        };
        assert_eq!((out[0].clone(), reason.kind), (aborts(x), kind));
    };
    // Too many wait.
    let mut p = worked(x, 1);
    for number in 2..=MAX_QUEUED_OPERATIONS as u64 + 2 {
        let _ = execute(&mut p, number, x, number);
    }
    capped(&mut p, 1_000, "op", ReasonKind::Overloaded);
    // Too many in all.
    capped(&mut worked(x, 1_000), 1_001, "op", ReasonKind::BadWork);
    // Too much work that waits.
    let large = "w".repeat(MAX_TRANSACTION_BYTES / 2);
    let mut p = worked(x, 1);
    for number in 2..=3 {
        let _ = ask_for(&mut p, number, operation(x, number, &large));
    }
    capped(&mut p, 4, &large, ReasonKind::BadWork);
    // Too much read.
    let mut p = worked(x, 1);
    let _ = execute(&mut p, 2, x, 2);
    let _ = execute(&mut p, 3, x, 3);
    let out = ends(&mut p, x, Execution::Done(Payload(vec![0; MAX_TRANSACTION_BYTES])));
    let why = "work and results of one branch take more than 1048576 bytes";
    assert_eq!(out, vec![aborts(x), doomed(2, ReasonKind::BadWork, why), doomed(3, ReasonKind::BadWork, why)]);
    // What is left of all of them goes with the mark.
    let _ = p.step(Input::BranchAborted { xid: x });
    let _ = p.step(Input::StampReceived(Stamp { mark: mark(9), ..stamp(1) }));
    assert_eq!(p.branches().count(), 0);
}

#[test]
fn f23_an_abort_without_work_undoes_nothing() {
    let x = xid(1);
    let received = reply(9, Answer::Received);
    assert_eq!(say(&mut greeted(), 9, &stamp(1), abort(x)), vec![received.clone()]);
    let mut p = greeted();
    let _ = execute(&mut p, 1, x, 1);
    let told = doomed(1, ReasonKind::Lost, "aborted by its coordinator");
    assert_eq!(say(&mut p, 9, &stamp(1), abort(x)), vec![told, received]);
    assert_eq!(state(&p, x), Some("aborted"));
}

/// Also f22: whatever of it comes after that is refused.
#[test]
fn f25_every_end_of_an_open_branch_lets_go_of_it_and_refuses_what_comes_later() {
    let x = xid(1);
    let over = Reason::new(ReasonKind::Expired, "idle");
    let stamp_passed = Stamp { mark: mark(9), ..stamp(1) };
    type End<'a> = Box<dyn Fn(&mut Participant) -> Effects + 'a>;
    let ends_of: [(End<'_>, ReasonKind); 4] = [
        (Box::new(|p| say(p, 9, &stamp(1), abort(x))), ReasonKind::Lost),
        (Box::new(|p| say(p, 9, &stamp(2), hello())), ReasonKind::Lost),
        (Box::new(|p| enlisted(p, x, Enlisted::Over(over.clone()))), ReasonKind::Expired),
        (Box::new(|p| p.step(Input::StampReceived(stamp_passed.clone()))), ReasonKind::BadWork),
    ];
    for (end, kind) in &ends_of {
        for running in [false, true] {
            let mut p = worked(x, 1);
            if running {
                let _ = execute(&mut p, 2, x, 2);
            }
            let out = end(&mut p);
            assert_eq!(out.iter().filter(|effect| **effect == aborts(x)).count(), 1, "{out:?}");
            let told = out.iter().find_map(|effect| match effect {
                Effect::ReplyExecuted { to: ReplyTo(2), result: ExecuteResult::Doomed(reason) } => Some(reason.kind),
                _ => None,
            });
            assert_eq!(told, running.then_some(*kind), "{out:?}");
            // Late copies, before and after it is undone.
            for undone in [false, true] {
                if undone {
                    let _ = running.then(|| ends(&mut p, x, Execution::Doomed(no_reason())));
                    assert_eq!(p.step(Input::BranchAborted { xid: x }), vec![]);
                }
                let out = execute(&mut p, 3, x, 3);
                assert!(
                    matches!(&out[..], [Effect::ReplyExecuted { result: ExecuteResult::Doomed(_), .. }]),
                    "{out:?}"
                );
                let out = say(&mut p, 4, &stamp(1), prepare_ran(x, 1, true));
                assert!(!out.iter().any(|effect| matches!(effect, Effect::Prepare { .. })), "{out:?}");
                assert_eq!(enlisted(&mut p, x, accepted()), vec![]);
                assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![]);
            }
        }
    }
}

#[test]
fn f24_late_operations_and_votes_are_refused_over_retries_restarts_and_collection() {
    let x = xid(1);
    let refuses = |p: &mut Participant| {
        for to in 1..3 {
            let out = execute(p, to, x, 1);
            let doomed = |effect: &Effect| {
                matches!(effect, Effect::ReplyExecuted { result: ExecuteResult::Doomed(_) | ExecuteResult::NotYet, .. })
            };
            assert!(out.len() == 1 && doomed(&out[0]), "{out:?}");
            let out = say(p, to + 2, &stamp(1), prepare_ran(x, 1, true));
            let refused = |effect: &Effect| match effect {
                Effect::Reply { answer, .. } => {
                    matches!(answer, Answer::Voted { vote: Vote::No(_), .. } | Answer::Refused(_))
                }
                _ => false,
            };
            assert!(out.len() == 1 && refused(&out[0]), "{out:?}");
        }
    };
    let mut p = worked(x, 1);
    let _ = say(&mut p, 9, &stamp(1), abort(x));
    refuses(&mut p);
    let _ = p.step(Input::BranchAborted { xid: x });
    refuses(&mut p);
    // Collected.
    let passed = Stamp { mark: mark(2), ..stamp(1) };
    let noted = p.step(Input::StampReceived(passed));
    assert_eq!(p.branches().count(), 0);
    refuses(&mut p);
    // Restarted, with the mark that was written and without: an old Prepare is for the start that is gone.
    let [Effect::NoteLine(collected)] = &noted[..] else { panic!("{noted:?}") };
    for found in [collected.clone(), line(1)] {
        let config = Config { incarnation: Incarnation(8), ..config() };
        let found = Recovered { lines: vec![found], ..Recovered::default() };
        let (mut p, _) = Participant::recover(config, found.clone()).unwrap();
        let out = say(&mut p, 1, &stamp(1), prepare_ran(x, 1, true));
        assert_eq!(out, vec![refused(1, Refusal::WrongAddressee)]);
        if found.lines[0] == *collected {
            assert_eq!(execute(&mut p, 2, x, 1), vec![doomed(2, ReasonKind::BadWork, LATE)]);
        } else {
            // It may ask to be put on the list, and is told that it is over: nothing has run.
            assert_eq!(execute(&mut p, 2, x, 1), opened(x));
            let over = Reason::new(ReasonKind::RolledBack, "");
            let told = doomed(2, ReasonKind::RolledBack, "");
            assert_eq!(enlisted(&mut p, x, Enlisted::Over(over)), vec![told]);
            assert_eq!(p.branches().count(), 0);
        }
    }
}

#[test]
fn f12_a_lost_connection_ends_no_open_branch() {
    let x = xid(1);
    let mut p = worked(x, 1);
    let before = p.clone();
    assert_eq!(p.step(Input::CoordinatorLost { log: LOG }), vec![]);
    assert_eq!(fire(&mut p, Timer::Inquire(x)), vec![]);
    assert_eq!(fire(&mut p, Timer::ReadOnlyHold(x)), vec![]);
    assert_eq!(p, before);
}

#[test]
fn t19_what_an_older_start_opened_can_not_be_committed_once_a_newer_one_has_spoken() {
    // The older coordinator may be a stopped process that wakes up with all it needs but this vote.
    let x = xid(1);
    let mut p = worked(x, 1);
    let out = say(&mut p, 2, &stamp(2), hello());
    let next = Line { seen: seen(2), unproven: vec![seen(1)], ..line(1) };
    // Nothing of it is in a log, so nobody waits for its undoing.
    assert_eq!(out, vec![aborts(x), Effect::ForceLine(next)]);
    let fenced = |to| vec![refused(to, Refusal::Fenced(seen(2)))];
    assert_eq!(say(&mut p, 3, &stamp(1), prepare_ran(x, 1, true)), fenced(3));
    assert_eq!(say(&mut p, 4, &stamp(1), one_phase_ran(x, 1)), fenced(4));
}
