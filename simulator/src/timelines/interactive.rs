//! Timelines of interactive transactions: lost work, repeated operations, late operations.

use super::Timeline;
use super::script::Act::{
    Begin, CommitOpen, Crash, Deliver, Execute, Finally, Forget, Hold, Lose, LoseAll, Now, Start, Submit, Until, Wait,
};
use super::script::Fact::{Answered, Branch, Came, GreetedBy, Told, Waits};
use super::script::{Act, CLIENT, Kind, P0, P1, P2, Reply, T1, T2, Word, Work, change, counts, look, not};
use crate::plan::MS;

pub(super) fn all() -> Vec<Timeline> {
    vec![
        t10a(),
        t10b(),
        t10b_no_trace(),
        t10c(),
        t10d_idle(),
        t10d_conflict(),
        t10e_waiting(),
        t10e_running(),
        t10e_late(),
        t10f(),
    ]
}

/// Begins it and waits for the word.
fn open(txn: super::script::Txn, work: Work) -> Vec<Act> {
    vec![Begin(txn, work), Until(Came(Kind::Begun.of(txn, CLIENT), 1))]
}

/// Executes one operation and waits for its result.
fn done(txn: super::script::Txn, number: usize) -> Vec<Act> {
    vec![Execute(txn, number), Until(Answered(txn, number, Reply::Done))]
}

/// P0 restarts between two operations: it must not say Yes for the second one alone.
fn t10a() -> Timeline {
    let work = vec![(P0, change(0)), (P1, change(0)), (P0, change(1))];
    let acts = vec![
        Crash(P0),
        Start(P0),
        Until(GreetedBy(P0)),
        Execute(T1, 3),
        Until(Came(Kind::Executed.of(T1, P0), 2)),
        CommitOpen(T1, vec![(P0, 2), (P1, 1)], false),
        Until(Came(Kind::Told.of(T1, CLIENT), 1)),
        Finally(Told(T1, Word::Aborted)),
        Finally(Answered(T1, 3, Reply::Doomed)),
        Finally(counts(P0, 1, 0)),
        Finally(counts(P1, 0, 0)),
    ];
    Timeline::sound("t10a_work_on_both_sides_of_a_restart", [open(T1, work), done(T1, 1), done(T1, 2), acts].concat())
}

/// P0 had only read for T1 and restarts: its locks were lost, and T2 changes what T1 has read and is going to read.
fn t10b() -> Timeline {
    let work = vec![(P0, look(0)), (P1, [look(0), change(1)].concat())];
    let acts = vec![
        Crash(P0),
        Start(P0),
        Until(GreetedBy(P0)),
        Submit(T2, vec![(P0, change(0)), (P1, change(0))]),
        Until(Told(T2, Word::Committed)),
        Execute(T1, 2),
        Until(Came(Kind::Executed.of(T1, P1), 1)),
        CommitOpen(T1, vec![(P0, 1), (P1, 1)], false),
        Until(Came(Kind::Told.of(T1, CLIENT), 1)),
        Finally(Told(T1, Word::Aborted)),
    ];
    Timeline::sound("t10b_a_restart_after_reading", [open(T1, work), done(T1, 1), acts].concat())
}

/// P0 is on the list of the commit, and has no trace of the branch: its operation waited in vain for the answer to its
/// Enlist. That is a No, never a vote of one that only read.
fn t10b_no_trace() -> Timeline {
    let acts = vec![
        LoseAll(Kind::Enlisted.of(T1, P0)),
        Execute(T1, 2),
        Until(Answered(T1, 2, Reply::NotYet)),
        Now(not(Branch(P0, T1, "enlisting"))),
        CommitOpen(T1, vec![(P1, 1)], false),
        Until(Came(Kind::Prepare.of(T1, P0), 1)),
        Until(Came(Kind::Told.of(T1, CLIENT), 1)),
        Finally(Told(T1, Word::Aborted)),
        Finally(counts(P1, 0, 0)),
    ];
    let work = vec![(P1, change(0)), (P0, look(0))];
    Timeline::sound("t10b_a_branch_without_a_trace", [open(T1, work), done(T1, 1), acts].concat())
}

/// The answer to an operation is lost, and it is sent again.
fn t10c() -> Timeline {
    let acts = vec![
        Lose(Kind::Executed.of(T1, P0)),
        Execute(T1, 1),
        Until(Came(Kind::Enlisted.of(T1, P0), 1)),
        Wait(100 * MS),
        Now(not(Came(Kind::Executed.of(T1, P0), 1))),
        Execute(T1, 1),
        Until(Answered(T1, 1, Reply::Done)),
        CommitOpen(T1, vec![(P0, 1)], false),
        Until(Told(T1, Word::Committed)),
        Finally(counts(P0, 0, 1)),
    ];
    Timeline::sound("t10c_an_operation_sent_again", [open(T1, vec![(P0, change(0))]), acts].concat())
}

/// P0 hears nothing of its reports and drops the branch on its own; the next operation must not start afresh.
fn t10d_idle() -> Timeline {
    let work = vec![(P0, change(0)), (P1, change(0)), (P0, change(1))];
    let acts = vec![
        LoseAll(Kind::Enlist.of(T1, P0)),
        // Nor of the end of the transaction.
        LoseAll(Kind::Abort.of(T1, P0)),
        LoseAll(Kind::Registered.with(P0)),
        Until(Branch(P0, T1, "aborted")),
        Forget(Kind::Enlist.of(T1, P0)),
        Execute(T1, 3),
        Until(Came(Kind::Executed.of(T1, P0), 2)),
        Finally(Answered(T1, 3, Reply::Doomed)),
        CommitOpen(T1, vec![(P0, 2), (P1, 1)], false),
        Until(Told(T1, Word::Aborted)),
        Finally(counts(P1, 0, 0)),
    ];
    Timeline::sound("t10d_an_operation_after_the_idle_limit", [open(T1, work), done(T1, 1), done(T1, 2), acts].concat())
}

/// The second operation loses a conflict, and with it the branch; the third must not start afresh.
fn t10d_conflict() -> Timeline {
    let acts = vec![
        Execute(T2, 2),
        Until(Answered(T2, 2, Reply::Doomed)),
        Execute(T2, 3),
        Until(Came(Kind::Executed.of(T2, P0), 3)),
        Finally(Answered(T2, 3, Reply::Doomed)),
        CommitOpen(T2, vec![(P0, 3)], false),
        Until(Told(T2, Word::Aborted)),
        CommitOpen(T1, vec![(P0, 1)], false),
        Until(Told(T1, Word::Committed)),
        Finally(counts(P0, 1, 0)),
        Finally(counts(P0, 2, 0)),
    ];
    let begun = [open(T1, vec![(P0, change(0))]), open(T2, vec![(P0, change(1)), (P0, change(0)), (P0, change(2))])];
    let acts = [begun.concat(), done(T1, 1), done(T2, 1), acts].concat();
    Timeline::sound("t10d_an_operation_after_a_conflict", acts)
}

/// Enlist has reached the coordinator and its answer has not come back, so the operation waits; then Prepare arrives.
fn t10e_waiting() -> Timeline {
    let acts = vec![
        Hold(Kind::Enlisted.of(T1, P0)),
        Execute(T1, 2),
        Until(Waits(Kind::Enlisted.of(T1, P0))),
        CommitOpen(T1, vec![(P1, 1)], true),
        Until(Came(Kind::Prepare.of(T1, P0), 1)),
        Until(Came(Kind::Told.of(T1, CLIENT), 1)),
        Finally(Told(T1, Word::Aborted)),
        Deliver(Kind::Enlisted.of(T1, P0)),
        Wait(100 * MS),
        Finally(counts(P0, 0, 0)),
    ];
    let work = vec![(P1, change(0)), (P0, change(0))];
    Timeline::sound("t10e_prepare_while_an_operation_waits", [open(T1, work), done(T1, 1), acts].concat())
}

/// An operation runs and waits for a lock, of which the client that commits does not know.
fn t10e_running() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T2, P1)),
        Submit(T2, vec![(P0, change(0)), (P1, change(0))]),
        Until(Branch(P0, T2, "in-doubt")),
        Execute(T1, 3),
        Until(Came(Kind::Execute.of(T1, P0), 2)),
        CommitOpen(T1, vec![(P0, 1), (P2, 1)], true),
        Until(Came(Kind::Prepare.of(T1, P0), 1)),
        Until(Came(Kind::Told.of(T1, CLIENT), 1)),
        Now(Branch(P0, T2, "in-doubt")),
        Deliver(Kind::Prepare.of(T2, P1)),
        Until(Told(T2, Word::Committed)),
        Finally(Told(T1, Word::Aborted)),
        Finally(Answered(T1, 3, Reply::Doomed)),
        Finally(counts(P0, 1, 0)),
    ];
    let work = vec![(P0, change(1)), (P2, change(1)), (P0, change(0))];
    Timeline::sound("t10e_prepare_while_an_operation_runs", [open(T1, work), done(T1, 1), done(T1, 2), acts].concat())
}

/// An operation arrives after the vote.
fn t10e_late() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T1, P1)),
        CommitOpen(T1, vec![(P0, 1), (P1, 1)], true),
        Until(Branch(P0, T1, "in-doubt")),
        Execute(T1, 3),
        Until(Came(Kind::Executed.of(T1, P0), 2)),
        Finally(Answered(T1, 3, Reply::Doomed)),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Committed)),
        Finally(counts(P0, 1, 0)),
    ];
    let work = vec![(P0, change(0)), (P1, change(0)), (P0, change(1))];
    Timeline::sound("t10e_an_operation_after_the_vote", [open(T1, work), done(T1, 1), done(T1, 2), acts].concat())
}

/// P0 only read and has voted; P1, whose Prepare is slow, still runs an operation of a service that had the context.
fn t10f() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T1, P1)),
        CommitOpen(T1, vec![(P0, 1), (P1, 1)], true),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Submit(T2, vec![(P0, change(0)), (P1, change(0))]),
        Until(Came(Kind::Told.of(T2, CLIENT), 1)),
        Now(Waits(Kind::Prepare.of(T1, P1))),
        Execute(T1, 3),
        Until(Answered(T1, 3, Reply::Done)),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Committed)),
        Finally(Told(T2, Word::Aborted)),
    ];
    let work = vec![(P0, look(0)), (P1, look(5)), (P1, look(0))];
    Timeline::sound(
        "t10f_an_operation_after_another_branch_has_voted",
        [open(T1, work), done(T1, 1), done(T1, 2), acts].concat(),
    )
}
