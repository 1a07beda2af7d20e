//! Operations of interactive transactions, before and after the vote is asked for.

use handfast_common::limits::{IDLE_PARTS, RETRY_FIRST};
use handfast_common::messages::{Enlisted, Execute, ExecuteResult, OperationId};

use super::super::Execution;
use super::*;

const IDLE: Duration = Duration::from_secs(8);
const PART: Duration = Duration::from_secs(2);
pub(super) const LATE: &str = "the transaction has been asked for its votes or has ended: nothing runs in it any more";

pub(super) fn operation(xid: Xid, number: u64, work: &str) -> Execute {
    Execute {
        to: name("bank-a"),
        xid,
        coordinator: "host:7117".into(),
        operation: OperationId { caller: 1, number },
        wait: Micros(200_000),
        clock: Age(0),
        work: payload(work),
    }
}

pub(super) fn ask_for(p: &mut Participant, to: u64, execute: Execute) -> Effects {
    p.step(Input::OperationReceived { reply: ReplyTo(to), execute })
}

pub(super) fn execute(p: &mut Participant, to: u64, xid: Xid, number: u64) -> Effects {
    ask_for(p, to, operation(xid, number, "op"))
}

pub(super) fn ends(p: &mut Participant, xid: Xid, execution: Execution) -> Effects {
    p.step(Input::OperationEnded { xid, execution })
}

pub(super) fn enlisted(p: &mut Participant, xid: Xid, answer: Enlisted) -> Effects {
    p.step(Input::EnlistAnswered { xid, answer })
}

pub(super) fn accepted() -> Enlisted {
    Enlisted::Accepted { age: Age(3), idle: IDLE.into() }
}

pub(super) fn prepare_ran(xid: Xid, operations: u64, exact: bool) -> Order {
    let Order::Prepare(order) = prepare(xid) else { unreachable!() };
    Order::Prepare(Prepare { task: Task::Ran { operations, exact }, ..order })
}

pub(super) fn one_phase_ran(xid: Xid, operations: u64) -> Order {
    let Order::CommitOnePhase(order) = one_phase(xid, xid.txn.0.as_u128()) else { unreachable!() };
    Order::CommitOnePhase(OnePhase { task: Task::Ran { operations, exact: true }, ..order })
}

pub(super) fn executed(to: u64, result: ExecuteResult) -> Effect {
    Effect::ReplyExecuted { to: ReplyTo(to), result }
}

pub(super) fn done(to: u64) -> Effect {
    executed(to, ExecuteResult::Done(payload("read")))
}

pub(super) fn doomed(to: u64, kind: ReasonKind, detail: &str) -> Effect {
    executed(to, ExecuteResult::Doomed(Reason::new(kind, detail)))
}

pub(super) fn enlist(xid: Xid, active: bool) -> Effect {
    Effect::Enlist { xid, coordinator: "host:7117".into(), active }
}

pub(super) fn opened(xid: Xid) -> Effects {
    vec![
        enlist(xid, true),
        timer(Timer::Enlist(xid), RETRY_FIRST, true),
        timer(Timer::LockWait(xid), Duration::from_millis(200), false),
    ]
}

pub(super) fn runs(xid: Xid) -> Effects {
    vec![
        Effect::Execute { xid, age: Age(3), work: payload("op") },
        timer(Timer::LockWait(xid), Duration::from_millis(200), false),
    ]
}

pub(super) fn report(xid: Xid, active: bool) -> Effects {
    vec![enlist(xid, active), timer(Timer::Enlist(xid), PART, false)]
}

pub(super) fn read() -> Execution {
    Execution::Done(payload("read"))
}

pub(super) fn aborts(xid: Xid) -> Effect {
    Effect::Abort { xid }
}

pub(super) fn says_no(to: u64, xid: Xid, detail: &str) -> Effect {
    voted(to, xid, Vote::No(Reason::new(ReasonKind::Lost, detail)))
}

/// One whose operations 1 to `count` of transaction `xid` have run.
pub(super) fn worked(xid: Xid, count: u64) -> Participant {
    let mut p = greeted();
    for number in 1..=count {
        let _ = execute(&mut p, number, xid, number);
        let _ = enlisted(&mut p, xid, accepted());
        let _ = ends(&mut p, xid, read());
    }
    p
}

/// The effects of a Prepare whose work has run.
pub(super) fn votes(xid: Xid, operations: u64, exact: bool) -> Effects {
    let work = Task::Ran { operations, exact }.digest();
    vec![Effect::Prepare { age: Age(3), record: Prepared { work, ..record(xid, "") }, work: None }]
}

#[test]
fn an_operation_runs_only_once_the_coordinator_has_the_branch_on_its_list() {
    let x = xid(1);
    let mut p = greeted();
    assert_eq!(execute(&mut p, 1, x, 1), opened(x));
    assert_eq!(state(&p, x), Some("enlisting"));
    assert_eq!(execute(&mut p, 2, x, 2), vec![]);
    // Lost, or too early there: asked again, with backoff.
    assert_eq!(enlisted(&mut p, x, Enlisted::NotYet), vec![]);
    let again = |after| vec![enlist(x, true), timer(Timer::Enlist(x), after, true)];
    assert_eq!(fire(&mut p, Timer::Enlist(x)), again(RETRY_FIRST * 2));
    assert_eq!(fire(&mut p, Timer::Enlist(x)), again(RETRY_FIRST * 4));
    let mut started = vec![timer(Timer::Enlist(x), PART, false)];
    started.extend(runs(x));
    assert_eq!(enlisted(&mut p, x, accepted()), started);
    assert_eq!(state(&p, x), Some("active"));
    // One after the other.
    let mut next = vec![done(1)];
    next.extend(runs(x));
    assert_eq!(ends(&mut p, x, read()), next);
    assert_eq!(ends(&mut p, x, read()), vec![done(2)]);
    assert_eq!(say(&mut p, 3, &stamp(1), prepare_ran(x, 2, true)), votes(x, 2, true));
    assert_eq!(state(&p, x), Some("working"));
    // The timer was an operation's.
    assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![]);
    let yes = Vote::Yes(payload(""));
    let asks = timer(Timer::Inquire(x), Duration::from_secs(1), true);
    assert_eq!(work_ends(&mut p, x, yes.clone()), vec![voted(3, x, yes), asks]);
}

#[test]
fn t10a_work_of_an_earlier_start_is_never_half_committed() {
    let x = xid(1);
    let config = Config { incarnation: Incarnation(8), ..config() };
    let (p, _) = Participant::recover(config, Recovered { lines: vec![line(1)], ..Recovered::default() }).unwrap();
    let to = Addressee { incarnation: Incarnation(8), ..to() };
    let Order::Prepare(order) = prepare_ran(x, 1, true) else { unreachable!() };
    let order = Order::Prepare(Prepare { to: to.clone(), ..order });
    // Operation 1 was lost with the other start. Whether or not it enlists again for operation 2, it never says Yes.
    let mut fresh = p.clone();
    let no = |to| vec![says_no(to, x, "no work of it is here")];
    assert_eq!(say(&mut fresh, 1, &stamp(1), order.clone()), no(1));
    assert_eq!(say(&mut fresh, 2, &stamp(1), order), no(2));
    assert_eq!(execute(&mut fresh, 3, x, 2), vec![doomed(3, ReasonKind::Lost, "no work of it is here")]);
    let Order::CommitOnePhase(order) = one_phase_ran(x, 1) else { unreachable!() };
    let order = Order::CommitOnePhase(OnePhase { to, ..order });
    let lost = OnePhaseResult::Aborted(Reason::new(ReasonKind::Lost, "no work of it is here"));
    assert_eq!(say(&mut p.clone(), 1, &stamp(1), order), vec![ended(1, x, lost)]);

    let mut again = p;
    assert_eq!(execute(&mut again, 1, x, 2), opened(x));
    let over = Reason::new(ReasonKind::Lost, "bank-a was restarted");
    let refused = doomed(1, ReasonKind::Lost, "bank-a was restarted");
    assert_eq!(enlisted(&mut again, x, Enlisted::Over(over)), vec![refused]);
    assert_eq!(state(&again, x), None);
}

#[test]
fn t10b_a_branch_without_a_trace_is_not_taken_for_read_only() {
    let x = xid(1);
    let mut p = greeted();
    let no = says_no(1, x, "no work of it is here");
    assert_eq!(say(&mut p, 1, &stamp(1), prepare_ran(x, 0, false)), vec![no]);
}

#[test]
fn t10c_an_operation_runs_once_however_often_it_comes() {
    let x = xid(1);
    let mut p = greeted();
    let _ = execute(&mut p, 1, x, 1);
    assert_eq!(execute(&mut p, 2, x, 1), vec![]);
    let _ = enlisted(&mut p, x, accepted());
    assert_eq!(execute(&mut p, 3, x, 1), vec![]);
    assert_eq!(ends(&mut p, x, read()), vec![done(1), done(2), done(3)]);
    assert_eq!(execute(&mut p, 4, x, 1), vec![done(4)]);
    // One that failed counts, and is not tried again either.
    let failed = Reason::new(ReasonKind::CheckFailed, "balance");
    assert_eq!(execute(&mut p, 5, x, 2), runs(x));
    let result = |to| vec![executed(to, ExecuteResult::Failed(failed.clone()))];
    assert_eq!(ends(&mut p, x, Execution::Failed(failed.clone())), result(5));
    assert_eq!(execute(&mut p, 6, x, 2), result(6));
    // Two services may number alike.
    let other = Execute { operation: OperationId { caller: 2, number: 1 }, ..operation(x, 1, "op") };
    assert_eq!(ask_for(&mut p, 7, other), runs(x));
    let _ = ends(&mut p, x, read());
    assert_eq!(say(&mut p.clone(), 8, &stamp(1), prepare_ran(x, 3, true)), votes(x, 3, true));
    // Another work under a known number would be told the result of the first.
    let wrong = "an operation's number came with other work";
    assert_eq!(ask_for(&mut p, 8, operation(x, 1, "other")), vec![aborts(x), doomed(8, ReasonKind::BadWork, wrong)]);
}

#[test]
fn t10d_what_was_dropped_does_not_begin_afresh() {
    let x = xid(1);
    let silent = "its coordinator does not answer";
    let mut p = worked(x, 1);
    // Reports are answered: it stays for days.
    for _ in 0..10_000 {
        let _ = execute(&mut p, 2, x, 1);
        assert_eq!(fire(&mut p, Timer::Enlist(x)), report(x, true));
        assert_eq!(enlisted(&mut p, x, accepted()), vec![]);
    }
    // Then not any more: within the idle limit, counted from the last answer, nothing of it is left.
    for _ in 1..IDLE_PARTS {
        assert_eq!(fire(&mut p, Timer::Enlist(x)), report(x, false));
        assert_eq!(enlisted(&mut p, x, Enlisted::NotYet), vec![]);
    }
    assert_eq!(fire(&mut p, Timer::Enlist(x)), vec![aborts(x)]);
    assert_eq!(execute(&mut p, 3, x, 2), vec![doomed(3, ReasonKind::Lost, silent)]);
    assert_eq!(say(&mut p, 4, &stamp(1), prepare_ran(x, 1, true)), vec![says_no(4, x, silent)]);
    assert_eq!(p.step(Input::BranchAborted { xid: x }), vec![]);
    assert_eq!(execute(&mut p, 5, x, 1), vec![doomed(5, ReasonKind::Lost, silent)]);
    assert_eq!(enlisted(&mut p, x, accepted()), vec![]);
    assert_eq!(fire(&mut p, Timer::Enlist(x)), vec![]);
    assert_eq!(say(&mut p, 6, &stamp(1), prepare_ran(x, 1, true)), vec![says_no(6, x, silent)]);
}

#[test]
fn t10e_prepare_waits_for_no_operation_and_after_it_none_runs() {
    let x = xid(1);
    let busy = "an operation still waits or runs";
    // It still waits for the coordinator's list.
    let mut p = greeted();
    let _ = execute(&mut p, 1, x, 1);
    let no = vec![doomed(1, ReasonKind::Lost, busy), says_no(2, x, busy)];
    assert_eq!(say(&mut p, 2, &stamp(1), prepare_ran(x, 0, false)), no);
    assert_eq!(enlisted(&mut p, x, accepted()), vec![]);
    assert_eq!(state(&p, x), Some("aborted"));
    // It runs; another one waits.
    let mut p = worked(x, 1);
    let _ = execute(&mut p, 2, x, 2);
    let _ = execute(&mut p, 3, x, 3);
    let no = vec![aborts(x), doomed(2, ReasonKind::Lost, busy), doomed(3, ReasonKind::Lost, busy), says_no(4, x, busy)];
    assert_eq!(say(&mut p, 4, &stamp(1), prepare_ran(x, 1, false)), no);
    // The two ends may come in any order.
    let mut other = p.clone();
    assert_eq!(ends(&mut p, x, Execution::Doomed(no_reason())), vec![]);
    assert_eq!(state(&p, x), Some("aborting"));
    assert_eq!(p.step(Input::BranchAborted { xid: x }), vec![]);
    assert_eq!(other.step(Input::BranchAborted { xid: x }), vec![]);
    assert_eq!(ends(&mut other, x, read()), vec![]);
    assert_eq!(p, other);
    assert_eq!(state(&p, x), Some("aborted"));
    // Fewer than the client counts, or more where nobody else worked in it.
    for (operations, exact) in [(2, false), (2, true), (0, true)] {
        let mut p = worked(x, 1);
        let why = format!("1 operations ran, and its client counts {operations}");
        let no = vec![aborts(x), says_no(2, x, &why)];
        assert_eq!(say(&mut p, 2, &stamp(1), prepare_ran(x, operations, exact)), no);
    }
    // More, where others did: a Yes. After that even a known operation is not answered with its result.
    let mut p = worked(x, 2);
    assert_eq!(say(&mut p, 3, &stamp(1), prepare_ran(x, 1, false)), votes(x, 1, false));
    let late = |to| vec![doomed(to, ReasonKind::BadWork, LATE)];
    assert_eq!(execute(&mut p, 4, x, 3), late(4));
    assert_eq!(execute(&mut p, 5, x, 1), late(5));
    let _ = work_ends(&mut p, x, Vote::Yes(payload("")));
    assert_eq!(execute(&mut p, 6, x, 3), late(6));
    let _ = say(&mut p, 7, &stamp(1), commit(x));
    let _ = p.step(Input::BranchCommitted { xid: x, found: true });
    assert_eq!(execute(&mut p, 8, x, 3), late(8));
}

pub(super) fn no_reason() -> Reason {
    no(ReasonKind::Conflict)
}

#[test]
fn t10f_a_branch_that_only_read_lets_go_at_its_vote_only_if_nobody_else_can_take_a_lock() {
    let x = xid(1);
    let vote = Vote::ReadOnly(payload(""));
    let released = |to| reply(to, Answer::Released { xid: x, held: true });
    let mut p = worked(x, 1);
    let _ = say(&mut p, 2, &stamp(1), prepare_ran(x, 1, true));
    assert_eq!(work_ends(&mut p, x, vote.clone()), vec![Effect::Release { xid: x }, voted(2, x, vote.clone())]);
    assert_eq!(say(&mut p, 3, &stamp(1), prepare_ran(x, 1, true)), vec![voted(3, x, vote.clone())]);
    assert_eq!(say(&mut p, 4, &stamp(1), release(x)), vec![released(4)]);

    let mut p = worked(x, 1);
    let _ = say(&mut p, 2, &stamp(1), prepare_ran(x, 1, false));
    let hold = timer(Timer::ReadOnlyHold(x), config().read_only_hold, false);
    assert_eq!(work_ends(&mut p, x, vote.clone()), vec![voted(2, x, vote), hold]);
    assert_eq!(say(&mut p, 3, &stamp(1), release(x)), vec![Effect::Release { xid: x }, released(3)]);
}

#[test]
fn one_branch_commits_what_ran_in_one_phase() {
    let x = xid(1);
    let key = Key(x.txn.0);
    let commits = Effect::CommitOnePhase { xid: x, age: Age(3), key, hash: digest("request"), work: None };
    let mut p = worked(x, 1);
    assert_eq!(say(&mut p, 2, &stamp(1), one_phase_ran(x, 1)), vec![commits]);
    assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![]);
    assert_eq!(execute(&mut p, 3, x, 1), vec![doomed(3, ReasonKind::BadWork, LATE)]);
    let result = OnePhaseResult::Committed(payload(""));
    assert_eq!(one_phase_ends(&mut p, x, result.clone()), vec![ended(2, x, result.clone())]);
    assert_eq!(say(&mut p, 4, &stamp(1), one_phase_ran(x, 1)), vec![ended(4, x, result)]);

    // Not all ran; or asked about before its commit came.
    let aborted = |why, kind| OnePhaseResult::Aborted(Reason::new(kind, why));
    let counted = aborted("1 operations ran, and its client counts 2", ReasonKind::Lost);
    let mut p = worked(x, 1);
    assert_eq!(say(&mut p, 2, &stamp(1), one_phase_ran(x, 2)), vec![aborts(x), ended(2, x, counted.clone())]);
    assert_eq!(say(&mut p, 3, &stamp(1), ask(x)), vec![ended(3, x, counted)]);
    let asked = aborted("asked about before it reached the log", ReasonKind::Fenced);
    let mut p = worked(x, 1);
    assert_eq!(say(&mut p, 2, &stamp(1), ask(x)), vec![aborts(x), ended(2, x, asked.clone())]);
    let _ = p.step(Input::BranchAborted { xid: x });
    assert_eq!(say(&mut p, 3, &stamp(1), one_phase_ran(x, 1)), vec![ended(3, x, asked)]);
    // Work that rides on the order is another transaction's.
    let mut p = worked(x, 1);
    for order in [prepare(x), one_phase(x, 5)] {
        assert_eq!(say(&mut p, 2, &stamp(1), order), vec![refused(2, Refusal::OtherContent)]);
    }
    assert_eq!(state(&p, x), Some("active"));
}

#[test]
fn a_doomed_branch_has_no_work_and_votes_no() {
    let x = xid(1);
    let mut p = worked(x, 1);
    let _ = execute(&mut p, 2, x, 2);
    let _ = execute(&mut p, 3, x, 3);
    assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![cancel(x, ReasonKind::LockTimeout, "")]);
    assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![]);
    let doomed_by = |to| doomed(to, ReasonKind::LockTimeout, "");
    // The resource manager has let go of it by itself.
    let dies = Execution::Doomed(no(ReasonKind::LockTimeout));
    assert_eq!(ends(&mut p, x, dies), vec![doomed_by(2), doomed_by(3)]);
    assert_eq!(execute(&mut p, 4, x, 4), vec![doomed_by(4)]);
    assert_eq!(fire(&mut p, Timer::Enlist(x)), vec![]);
    let vote = Vote::No(no(ReasonKind::LockTimeout));
    assert_eq!(say(&mut p, 5, &stamp(1), prepare_ran(x, 1, true)), vec![voted(5, x, vote)]);
}

#[test]
fn who_is_not_meant_or_not_greeted_runs_nothing() {
    let not_yet = |to| vec![executed(to, ExecuteResult::NotYet)];
    let lost = |to, why| vec![doomed(to, ReasonKind::Lost, why)];
    let mut p = greeted();
    let wrong = Execute { to: name("bank-b"), clock: Age(99), ..operation(xid(1), 1, "op") };
    assert_eq!(ask_for(&mut p, 1, wrong), vec![executed(1, ExecuteResult::WrongAddressee)]);
    let foreign = Xid { log: LogId(Uuid::nil()), ..xid(1) };
    assert_eq!(execute(&mut p, 2, foreign, 1), not_yet(2));
    assert_eq!(execute(&mut p, 3, xid_of(2, 1), 1), not_yet(3));
    let copied = Xid { nonce: Nonce(999), ..xid(1) };
    assert_eq!(execute(&mut p, 4, copied, 1), lost(4, "it was begun by another start of its coordinator"));
    assert_eq!((p.branches().count(), p.clock()), (0, Age(0)));
    // A newer epoch on its way in, and in.
    let _ = say(&mut p, 5, &stamp(2), hello());
    assert_eq!(execute(&mut p, 6, xid_of(2, 1), 1), not_yet(6));
    assert_eq!(execute(&mut p, 7, xid(1), 1), lost(7, "its coordinator was restarted"));
    let _ = p.step(Input::LineForced { log: LOG });
    assert_eq!(execute(&mut p, 8, xid(1), 1), lost(8, "its coordinator was restarted"));
    assert_eq!(execute(&mut p, 9, xid_of(2, 1), 1), opened(xid_of(2, 1)));
    // Below the mark.
    let mut p = greeted();
    let _ = p.step(Input::StampReceived(Stamp { mark: mark(5), ..stamp(1) }));
    assert_eq!(execute(&mut p, 1, xid(1), 1), vec![doomed(1, ReasonKind::BadWork, LATE)]);
    assert_eq!(p.branches().count(), 0);
}
