//! Timelines about disks: a last commit that is gone, no room, and an error of a sync.

use super::Timeline;
use super::script::Act::{
    Ask, Deliver, Fail, Fill, Finally, Hold, HoldAll, LosePower, Now, Rewind, Save, Stall, Start, Submit, Unstall,
    Until,
};
use super::script::Fact::{Branch, Came, Epoch, Greeted, Stopped, Told};
use super::script::{Act, C, CLIENT, Kind, P0, P1, P2, T1, T2, Word, Work, change, counts, not};
use crate::disk::Loss;

pub(super) fn all() -> Vec<Timeline> {
    vec![
        t03_coordinator(),
        t03_participant(),
        t16_participant(),
        t16_coordinator(),
        Timeline::sound("t17_a_failed_sync_that_left_nothing", t17(Loss::Nothing, Word::Aborted)),
        Timeline::sound("t17_a_failed_sync_that_left_all", t17(Loss::Everything, Word::Committed)),
    ]
}

fn both() -> Work {
    vec![(P0, change(0)), (P1, change(0))]
}

/// The client was told, and the batch with the decision is gone from the log, as if it had been torn.
fn t03_coordinator() -> Timeline {
    let acts = vec![
        Save(C, "before"),
        HoldAll(Kind::Commit.of(T1, P1)),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
        Until(Branch(P0, T1, "committed")),
        Now(Branch(P1, T1, "in-doubt")),
        Rewind(C, "before"),
        Start(C),
        Until(Stopped(C, "was reported, but the store ends at")),
        Now(Branch(P1, T1, "in-doubt")),
    ];
    Timeline::found_out("t03_the_last_decision_is_gone", acts)
}

/// The same with a branch that was acknowledged.
fn t03_participant() -> Timeline {
    let acts = vec![
        Save(P0, "before"),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
        Until(Came(Kind::Acknowledged.of(T1, P0), 1)),
        Rewind(P0, "before"),
        Start(P0),
        Until(Stopped(P0, "was reported, but the store ends at")),
    ];
    Timeline::found_out("t03_the_last_branch_is_gone", acts)
}

/// Without room new work is refused, and what is prepared goes on.
fn t16_participant() -> Timeline {
    let acts = vec![
        Hold(Kind::Commit.of(T1, P0)),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
        Fill(P0),
        Submit(T2, vec![(P0, change(1)), (P2, change(1))]),
        Until(Told(T2, Word::Aborted)),
        Now(Branch(P0, T1, "in-doubt")),
        Deliver(Kind::Commit.of(T1, P0)),
        Until(Came(Kind::Acknowledged.of(T1, P0), 1)),
        Finally(counts(P0, 0, 1)),
    ];
    Timeline::sound("t16_no_room_at_a_participant", acts)
}

/// The same at the coordinator: nothing begins, and what is prepared is decided.
fn t16_coordinator() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, both()),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Fill(C),
        Submit(T2, vec![(P0, change(1)), (P2, change(1))]),
        Until(Told(T2, Word::Rejected)),
        Now(not(Told(T1, Word::Committed))),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("t16_no_room_at_the_coordinator", acts)
}

/// The last sync of a decision fails: the process ends and nobody is told. What the restart finds is the truth, and stays it
/// when the power goes after that: nothing is read that is not on disk. (Pages that a system keeps and marks clean are not in
/// this world; the store drops them before it reads, and has tests for that.)
fn t17(left: Loss, word: Word) -> Vec<Act> {
    let asks = || vec![Until(Greeted), Ask(T1), Until(Told(T1, word))];
    let fails = vec![
        Stall(C),
        Submit(T1, both()),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Until(Came(Kind::Vote.of(T1, P1), 1)),
        Fail(C, 9, left),
        Unstall(C),
        Until(Epoch(C, 2)),
        Now(not(Came(Kind::Told.of(T1, CLIENT), 1))),
    ];
    [fails, asks(), vec![LosePower(C, Loss::Nothing), Start(C), Until(Epoch(C, 3))], asks()].concat()
}
