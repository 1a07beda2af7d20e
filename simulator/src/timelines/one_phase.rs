//! Timelines of transactions with one branch: no timeout and no lost connection is an abort, and asking fences.

use super::Timeline;
use super::script::Act::{
    Break, Copy, Crash, Deliver, Finally, Hold, LosePower, Now, Stall, Start, Submit, SubmitAgain, Unstall, Until, Wait,
};
use super::script::Fact::{Branch, Came, Covered, GreetedBy, Told, Waits};
use super::script::{Act, C, CLIENT, Kind, P0, P1, P2, T1, T2, T3, Word, Work, change, change_if, counts, look, not};
use crate::disk::Loss;
use crate::plan::MS;

pub(super) fn all() -> Vec<Timeline> {
    vec![t04a(), t04b(), t04b_restarted(), t04c(), t04d(), t04e_queued(), t04e_waiting(), t04f(), t04f_writer()]
}

fn alone() -> Work {
    vec![(P0, change(0))]
}

/// The connection breaks, the participant is asked and knows nothing; then the old copy arrives.
fn t04a() -> Timeline {
    let acts = vec![
        Hold(Kind::OnePhase.of(T1, P0)),
        Submit(T1, alone()),
        Until(Waits(Kind::OnePhase.of(T1, P0))),
        Break(P0),
        Until(Came(Kind::AskOnePhase.of(T1, P0), 1)),
        Until(Told(T1, Word::Aborted)),
        Deliver(Kind::OnePhase.of(T1, P0)),
        Until(Came(Kind::OnePhase.of(T1, P0), 1)),
        Wait(100 * MS),
        Finally(counts(P0, 0, 0)),
    ];
    Timeline::sound("t04a_one_phase_asked_before_it_arrives", acts)
}

/// T3, which is older and still undecided, keeps the mark below T1, so that nothing but memory refuses a late copy of it.
/// T1 is refused: what it needs is not there. T2 brings it.
fn refused_then_possible() -> Vec<Act> {
    vec![
        Hold(Kind::Prepare.of(T3, P1)),
        Submit(T3, vec![(P1, change(5)), (P2, change(5))]),
        Until(Waits(Kind::Prepare.of(T3, P1))),
        Copy(Kind::OnePhase.of(T1, P0)),
        Submit(T1, vec![(P0, change_if(0, 1, 1))]),
        Until(Told(T1, Word::Aborted)),
        Submit(T2, vec![(P0, change(1))]),
        Until(Told(T2, Word::Committed)),
        Now(not(Covered(P0, T1))),
    ]
}

/// A copy of the request arrives when the work has become possible.
fn t04b() -> Timeline {
    let late = vec![
        Deliver(Kind::OnePhase.of(T1, P0)),
        Until(Came(Kind::OnePhase.of(T1, P0), 2)),
        Wait(50 * MS),
        Now(not(Covered(P0, T1))),
        Finally(counts(P0, 0, 0)),
        Deliver(Kind::Prepare.of(T3, P1)),
    ];
    Timeline::sound("t04b_one_phase_late_copy", [refused_then_possible(), late].concat())
}

/// The same over a restart: the No was only in memory.
fn t04b_restarted() -> Timeline {
    let late = vec![
        Crash(P0),
        Start(P0),
        Until(Came(Kind::Welcome.with(P0), 2)),
        Deliver(Kind::OnePhase.of(T1, P0)),
        Until(Came(Kind::OnePhase.of(T1, P0), 2)),
        Wait(50 * MS),
        Finally(counts(P0, 0, 0)),
        Deliver(Kind::Prepare.of(T3, P1)),
    ];
    Timeline::sound("t04b_one_phase_late_copy_after_a_restart", [refused_then_possible(), late].concat())
}

/// The client was told, the coordinator's lazy record is lost: then the participant's marker is the only trace, and no mark
/// may have passed it.
fn t04c() -> Timeline {
    let acts = vec![
        Stall(C),
        Submit(T1, alone()),
        Until(Told(T1, Word::Committed)),
        Submit(T2, vec![(P0, change(1))]),
        Until(Told(T2, Word::Committed)),
        Submit(T3, vec![(P0, change(2))]),
        Until(Told(T3, Word::Committed)),
        LosePower(C, Loss::Nothing),
        Unstall(C),
        Start(C),
        Until(GreetedBy(P0)),
        SubmitAgain(T1),
        Until(Came(Kind::Told.of(T1, CLIENT), 2)),
        Now(Told(T1, Word::Committed)),
        Finally(counts(P0, 0, 1)),
    ];
    Timeline::sound("t04c_one_phase_whose_record_is_lost", acts)
}

/// The one that holds the key is away, the others know nothing of it: no time makes an abort of that.
fn t04d() -> Timeline {
    let acts = vec![
        Stall(C),
        Hold(Kind::OnePhaseEnded.of(T1, P0)),
        Submit(T1, alone()),
        Until(Waits(Kind::OnePhaseEnded.of(T1, P0))),
        Now(Branch(P0, T1, "committed")),
        Crash(P0),
        Crash(C),
        Unstall(C),
        Start(C),
        Until(GreetedBy(P1)),
        Until(GreetedBy(P2)),
        SubmitAgain(T1),
        Until(Told(T1, Word::Pending)),
        Wait(3_000 * MS),
        SubmitAgain(T1),
        Until(Came(Kind::Told.of(T1, CLIENT), 2)),
        Now(Told(T1, Word::Pending)),
        Start(P0),
        Until(GreetedBy(P0)),
        SubmitAgain(T1),
        Until(Told(T1, Word::Committed)),
        Finally(counts(P0, 0, 1)),
    ];
    Timeline::sound("t04d_one_phase_at_a_participant_that_is_away", acts)
}

/// It is asked about while the record waits for the disk: that is awaited.
fn t04e_queued() -> Timeline {
    let acts = vec![
        Stall(P0),
        Submit(T1, alone()),
        Until(Branch(P0, T1, "working")),
        Break(P0),
        Until(Came(Kind::AskOnePhase.of(T1, P0), 1)),
        Wait(50 * MS),
        Now(Branch(P0, T1, "working")),
        Now(not(Came(Kind::OnePhaseEnded.of(T1, P0), 1))),
        Unstall(P0),
        Until(Told(T1, Word::Committed)),
        Finally(counts(P0, 0, 1)),
    ];
    Timeline::sound("t04e_one_phase_asked_while_queued", acts)
}

/// It is asked about while it waits for a lock: then it is dropped before it is said that nothing happened.
fn t04e_waiting() -> Timeline {
    let acts = vec![
        Hold(Kind::OnePhase.of(T1, P0)),
        Submit(T1, alone()),
        Until(Waits(Kind::OnePhase.of(T1, P0))),
        Hold(Kind::Prepare.of(T2, P1)),
        Submit(T2, vec![(P0, change(0)), (P1, change(0))]),
        Until(Came(Kind::Vote.of(T2, P0), 1)),
        Deliver(Kind::OnePhase.of(T1, P0)),
        Until(Branch(P0, T1, "working")),
        Break(P0),
        Until(Came(Kind::AskOnePhase.of(T1, P0), 1)),
        Until(Told(T1, Word::Aborted)),
        Now(Branch(P0, T2, "in-doubt")),
        Deliver(Kind::Prepare.of(T2, P1)),
        Until(Told(T2, Word::Committed)),
        Until(counts(P0, 0, 1)),
    ];
    Timeline::sound("t04e_one_phase_asked_while_it_waits_for_a_lock", acts)
}

/// A reader must not see what a loss of power takes back.
fn t04f() -> Timeline {
    let acts = vec![
        Stall(P0),
        Submit(T1, alone()),
        Until(Branch(P0, T1, "working")),
        Submit(T2, vec![(P0, look(0)), (P1, look(0))]),
        Until(Came(Kind::Told.of(T2, CLIENT), 1)),
        Now(Branch(P0, T1, "working")),
        LosePower(P0, Loss::Nothing),
        Unstall(P0),
        Start(P0),
        Until(Told(T1, Word::Aborted)),
        Submit(T3, alone()),
        Until(Told(T3, Word::Committed)),
    ];
    Timeline::sound("t04f_one_phase_seen_before_it_is_on_disk", acts)
}

/// Nor may another writer build on what was there before: one of the two would be lost.
fn t04f_writer() -> Timeline {
    let acts = vec![
        Stall(P0),
        Submit(T1, alone()),
        Until(Branch(P0, T1, "working")),
        Submit(T2, alone()),
        Until(Came(Kind::OnePhase.of(T2, P0), 1)),
        Now(Branch(P0, T1, "working")),
        Wait(50 * MS),
        Unstall(P0),
        Until(Told(T1, Word::Committed)),
        Until(Came(Kind::Told.of(T2, CLIENT), 1)),
        Finally(Told(T2, Word::Aborted)),
    ];
    Timeline::sound("t04f_one_phase_written_over_before_it_is_on_disk", acts)
}
