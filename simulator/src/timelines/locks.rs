//! Timelines about locks: what a reader must keep, what a restart must find again, and who may wait for whom.

use super::Timeline;
use super::script::Act::{
    Ask, Begin, CommitOpen, Crash, Deliver, Execute, Finally, Hold, Now, RollBack, Start, Submit, Until,
};
use super::script::Fact::{Answered, Came, GreetedBy, Told};
use super::script::{C, CLIENT, Kind, P0, P1, Reply, T1, T2, T3, Word, Work, change, counts, look, not};

pub(super) fn all() -> Vec<Timeline> {
    vec![
        Timeline::sound("t01a_reader_behind_a_slow_prepare", behind(vec![(P0, look(0)), (P1, look(0))])),
        Timeline::sound(
            "t01b_writer_behind_a_slow_prepare",
            behind(vec![(P0, look(0)), (P1, [look(0), change(1)].concat())]),
        ),
        t01c(),
        t13(),
        t18(),
        t20(),
    ]
}

fn both() -> Work {
    vec![(P0, change(0)), (P1, change(0))]
}

/// T1 reads at P0 and votes; its Prepare to P1 is merely slow. T2 changes at both what T1 reads. If it could, T1 would see
/// half of it.
fn behind(work: Work) -> Vec<super::script::Act> {
    vec![
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, work),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Submit(T2, both()),
        Until(Came(Kind::Told.of(T2, CLIENT), 1)),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Committed)),
        Finally(Told(T2, Word::Aborted)),
    ]
}

/// The same, and P0 restarts between its vote and P1's lock: a Release alone would not notice.
fn t01c() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, vec![(P0, look(0)), (P1, [look(0), change(1)].concat())]),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Crash(P0),
        Start(P0),
        Until(GreetedBy(P0)),
        Submit(T2, both()),
        Until(Told(T2, Word::Committed)),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Came(Kind::Told.of(T1, CLIENT), 1)),
        Finally(Told(T1, Word::Aborted)),
        Finally(counts(P1, 1, 0)),
    ];
    Timeline::sound("t01c_reader_restarts_behind_a_slow_prepare", acts)
}

/// T1 reads one key and changes another at P0, says Yes, and P0 restarts. T2 must not change what T1 has read.
fn t13() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, vec![(P0, [look(0), change(1)].concat()), (P1, look(0))]),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Crash(P0),
        Start(P0),
        Until(GreetedBy(P0)),
        Submit(T2, both()),
        Until(Came(Kind::Told.of(T2, CLIENT), 1)),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Committed)),
        Finally(Told(T2, Word::Aborted)),
    ];
    Timeline::sound("t13_shared_locks_of_a_branch_in_doubt", acts)
}

/// T3, the youngest, has the key. T1, the oldest, waits for it; T2, in between, has a key that T1 is going to want. If T2
/// waited too it would wait for T1, and T1 for it.
fn t18() -> Timeline {
    let acts = vec![
        Begin(T1, vec![(P0, change(0)), (P1, change(0))]),
        Until(Came(Kind::Begun.of(T1, CLIENT), 1)),
        Begin(T2, vec![(P1, change(0)), (P0, change(0))]),
        Until(Came(Kind::Begun.of(T2, CLIENT), 1)),
        Begin(T3, vec![(P0, change(0))]),
        Until(Came(Kind::Begun.of(T3, CLIENT), 1)),
        Execute(T3, 1),
        Until(Answered(T3, 1, Reply::Done)),
        Execute(T2, 1),
        Until(Answered(T2, 1, Reply::Done)),
        Execute(T1, 1),
        Until(Came(Kind::Enlisted.of(T1, P0), 1)),
        Now(not(Answered(T1, 1, Reply::Done))),
        Execute(T2, 2),
        Until(Answered(T2, 2, Reply::Doomed)),
        Now(not(Answered(T1, 1, Reply::Done))),
        CommitOpen(T3, vec![(P0, 1)], false),
        Until(Told(T3, Word::Committed)),
        Until(Answered(T1, 1, Reply::Done)),
        Execute(T1, 2),
        RollBack(T2),
        Until(Answered(T1, 2, Reply::Done)),
        CommitOpen(T1, vec![(P0, 1), (P1, 1)], false),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("t18_waiting_behind_one_who_waits", acts)
}

/// Nothing was written, so nothing is recorded; a later epoch says Aborted, and may: there was no effect.
fn t20() -> Timeline {
    let acts = vec![
        Submit(T1, vec![(P0, look(0)), (P1, look(0))]),
        Until(Told(T1, Word::Committed)),
        Crash(C),
        Start(C),
        Until(GreetedBy(P0)),
        Until(GreetedBy(P1)),
        Ask(T1),
        Until(Told(T1, Word::Aborted)),
        Submit(T2, both()),
        Until(Told(T2, Word::Committed)),
    ];
    Timeline::sound("t20_a_read_only_outcome_does_not_survive", acts)
}
