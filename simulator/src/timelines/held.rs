//! Sequences that held when the drafts were broken, to keep holding.

use super::Timeline;
use super::script::Act::{
    Ask, Begin, Break, CommitOpen, Copy, Crash, Cut, Deliver, Execute, Fail, Finally, Forget, Hold, HoldAll, Join,
    Lose, LoseAll, LosePower, Now, Pause, Resume, RollBack, Stall, Start, Submit, Unstall, Until, Wait,
};
use super::script::Fact::{Answered, Branch, Came, Ended, Epoch, Greeted, GreetedBy, Phase, Told, Waits};
use super::script::{
    Act, C, CLIENT, Kind, P0, P1, P2, Reply, T1, T2, T3, Word, Work, change, change_if, counts, locked, look, not,
};
use crate::disk::Loss;
use crate::plan::MS;

pub(super) fn all() -> Vec<Timeline> {
    vec![
        client_gone(),
        crash_before_the_force(),
        ambiguous_group(),
        lost_abort(P0),
        lost_abort(C),
        late_yes(),
        acknowledged_late(),
        dependent_applies(),
        ids_do_not_repeat(),
        lagging_participant(),
        late_commit(),
        abort_behind_prepare(),
        prepare_twice(),
        slow_coordinator(),
        told_by_a_peer(),
        waits_for_the_prepared(),
        strict_in_real_time(),
        fence_over_a_restart(),
        enlisting_late(),
        begun_for_nothing(),
        lost_rollback(),
    ]
}

fn both(n: u64) -> Work {
    vec![(P0, change(n)), (P1, change(n))]
}

/// All have voted Yes, and the decision waits for the coordinator's disk.
fn handed() -> Vec<Act> {
    vec![Stall(C), Submit(T1, both(0)), Until(Came(Kind::Vote.of(T1, P0), 1)), Until(Came(Kind::Vote.of(T1, P1), 1))]
}

/// Nobody waits any more, and all deadlines are over: once handed to the log it commits, and whoever asks is told.
fn client_gone() -> Timeline {
    let acts = vec![
        LoseAll(Kind::Told.of(T1, CLIENT)),
        Wait(4_000 * MS),
        Now(Phase(T1, "preparing")),
        Unstall(C),
        Until(Ended(T1)),
        Forget(Kind::Told.of(T1, CLIENT)),
        Ask(T1),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("held_handed_over_and_the_client_is_gone", [handed(), acts].concat())
}

fn crash_before_the_force() -> Timeline {
    let acts = vec![
        LosePower(C, Loss::Nothing),
        Unstall(C),
        Now(not(Came(Kind::Told.of(T1, CLIENT), 1))),
        Start(C),
        Until(Greeted),
        Ask(T1),
        Until(Told(T1, Word::Aborted)),
    ];
    Timeline::sound("held_a_crash_before_the_force", [handed(), acts].concat())
}

/// Two decisions in one batch, whose sync fails after all of it has come to the disk: each is what the restart finds.
fn ambiguous_group() -> Timeline {
    let acts = vec![
        Submit(T2, vec![(P0, change(1)), (P2, change(1))]),
        Until(Came(Kind::Vote.of(T2, P0), 1)),
        Until(Came(Kind::Vote.of(T2, P2), 1)),
        // The sync that makes the batch the present one.
        Fail(C, 9, Loss::Everything),
        Unstall(C),
        Until(Epoch(C, 2)),
        Now(not(Came(Kind::Told.of(T1, CLIENT), 1))),
        Now(not(Came(Kind::Told.of(T2, CLIENT), 1))),
        Until(Greeted),
        Ask(T1),
        Ask(T2),
        Until(Came(Kind::Told.of(T1, CLIENT), 1)),
        Until(Came(Kind::Told.of(T2, CLIENT), 1)),
        Finally(Told(T1, Word::Committed)),
        Finally(Told(T2, Word::Committed)),
    ];
    Timeline::sound("held_an_ambiguous_group_commit", [handed(), acts].concat())
}

/// An abort is not logged, its message is lost, and one of them is restarted.
fn lost_abort(restarts: crate::plan::Host) -> Timeline {
    let acts = vec![
        LoseAll(Kind::Abort.of(T1, P0)),
        Submit(T1, vec![(P0, change(0)), (P1, change_if(0, 7, 1))]),
        Until(Told(T1, Word::Aborted)),
        Until(Branch(P0, T1, "in-doubt")),
        Crash(restarts),
        Start(restarts),
        Until(Came(Kind::InquiryAnswer.of(T1, P0), 1)),
        Until(not(Branch(P0, T1, "in-doubt"))),
        Finally(counts(P0, 0, 0)),
    ];
    let name =
        if restarts == P0 { "held_a_lost_abort_and_a_participant" } else { "held_a_lost_abort_and_a_coordinator" };
    Timeline::sound(name, acts)
}

/// A Yes comes when the transaction is aborted: it is told Abort.
fn late_yes() -> Timeline {
    let acts = vec![
        Hold(Kind::Vote.of(T1, P0)),
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, vec![(P0, change(0)), (P1, change_if(0, 7, 1))]),
        Until(Waits(Kind::Vote.of(T1, P0))),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Aborted)),
        Deliver(Kind::Vote.of(T1, P0)),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Until(not(Branch(P0, T1, "in-doubt"))),
        Finally(counts(P0, 0, 0)),
    ];
    Timeline::sound("held_a_yes_after_the_abort", acts)
}

/// Applied, and dead before the acknowledgement, which comes late, and more than once.
fn acknowledged_late() -> Timeline {
    let acts = vec![
        Hold(Kind::Acknowledged.of(T1, P0)),
        Submit(T1, both(0)),
        Until(Waits(Kind::Acknowledged.of(T1, P0))),
        Crash(P0),
        Start(P0),
        Until(Came(Kind::Acknowledged.of(T1, P0), 1)),
        Finally(counts(P0, 0, 1)),
        Deliver(Kind::Acknowledged.of(T1, P0)),
        // The end record is lazy, and lost: Commit is said again.
        LosePower(C, Loss::Nothing),
        Start(C),
        Until(GreetedBy(P0)),
        Until(GreetedBy(P1)),
        Until(Ended(T1)),
        Finally(counts(P0, 0, 1)),
        Finally(counts(P1, 0, 1)),
    ];
    Timeline::sound("held_a_crash_before_the_acknowledgement", acts)
}

/// T1 takes effect in memory, T2 builds on it, and the power leaves some of both.
fn dependent_applies() -> Timeline {
    let acts = vec![
        Hold(Kind::Commit.of(T1, P0)),
        Submit(T1, both(0)),
        Until(Branch(P0, T1, "in-doubt")),
        Until(Told(T1, Word::Committed)),
        Stall(P0),
        Deliver(Kind::Commit.of(T1, P0)),
        Until(Branch(P0, T1, "committing")),
        Submit(T2, vec![(P0, change(0)), (P2, change(0))]),
        Until(Came(Kind::Vote.of(T2, P2), 1)),
        LosePower(P0, Loss::FirstHalf),
        Unstall(P0),
        Start(P0),
        Until(Came(Kind::Acknowledged.of(T1, P0), 1)),
        Until(Came(Kind::Told.of(T2, CLIENT), 1)),
    ];
    Timeline::sound("held_applies_ride_with_the_next_batch", acts)
}

fn ids_do_not_repeat() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, both(0)),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        LosePower(C, Loss::Nothing),
        Start(C),
        Until(Greeted),
        // The first one of this epoch, as T1 was of the last.
        Submit(T2, both(1)),
        Until(Told(T2, Word::Committed)),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Came(Kind::Prepare.of(T1, P1), 1)),
        Ask(T1),
        Until(Told(T1, Word::Aborted)),
        Finally(counts(P1, 1, 1)),
    ];
    Timeline::sound("held_ids_do_not_repeat", acts)
}

/// P1 has not heard of the second epoch when a Prepare of the first one arrives: it ends in doubt, asks, and is told Abort.
fn lagging_participant() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, both(0)),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Crash(C),
        Cut(C, P1),
        Start(C),
        Until(GreetedBy(P0)),
        Now(Epoch(P1, 1)),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Branch(P1, T1, "in-doubt")),
        Now(Epoch(P1, 1)),
        Join,
        Until(GreetedBy(P1)),
        Until(not(Branch(P1, T1, "in-doubt"))),
        Until(not(Branch(P0, T1, "in-doubt"))),
        Finally(counts(P1, 0, 0)),
    ];
    Timeline::sound("held_a_late_prepare_at_one_that_lags", acts)
}

/// The same with a Commit of the first epoch, which was forced in the same log.
fn late_commit() -> Timeline {
    let acts = vec![
        Hold(Kind::Commit.of(T1, P1)),
        Submit(T1, both(0)),
        Until(Told(T1, Word::Committed)),
        Crash(C),
        Cut(C, P1),
        HoldAll(Kind::PeerTold.of(T1, P0)),
        Start(C),
        Until(GreetedBy(P0)),
        Now(Epoch(P1, 1)),
        Now(Branch(P1, T1, "in-doubt")),
        Deliver(Kind::Commit.of(T1, P1)),
        Until(Branch(P1, T1, "committed")),
        Now(Epoch(P1, 1)),
        Join,
    ];
    Timeline::sound("held_a_late_commit_at_one_that_lags", acts)
}

/// Abort comes while the prepare record waits for the disk: one queue, one order.
fn abort_behind_prepare() -> Timeline {
    let acts = vec![
        Stall(P0),
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, vec![(P0, change(0)), (P1, change_if(0, 7, 1))]),
        Until(Branch(P0, T1, "working")),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Aborted)),
        Until(Came(Kind::Abort.of(T1, P0), 1)),
        Now(Branch(P0, T1, "working")),
        Unstall(P0),
        Until(not(Branch(P0, T1, "working"))),
        Submit(T2, both(0)),
        Until(Told(T2, Word::Committed)),
        Until(counts(P0, 0, 1)),
    ];
    Timeline::sound("held_an_abort_behind_its_prepare", acts)
}

fn prepare_twice() -> Timeline {
    let acts = vec![
        Copy(Kind::Prepare.of(T1, P0)),
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, both(0)),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Deliver(Kind::Prepare.of(T1, P0)),
        Until(Came(Kind::Vote.of(T1, P0), 2)),
        Now(Branch(P0, T1, "in-doubt")),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("held_a_prepare_twice", acts)
}

/// The coordinator is only slow while P0 and P1 agree on abort: P1 can never give it the Yes that it would need.
fn slow_coordinator() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, both(0)),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Pause(C),
        Until(Came(Kind::PeerTold.of(T1, P1), 1)),
        Until(Branch(P0, T1, "aborted")),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Came(Kind::Prepare.of(T1, P1), 1)),
        Resume(C),
        Until(Told(T1, Word::Aborted)),
    ];
    Timeline::sound("held_a_cooperative_abort_beside_a_slow_coordinator", acts)
}

/// P0 learns the decision from P1 while the coordinator says it again.
fn told_by_a_peer() -> Timeline {
    let acts = vec![
        HoldAll(Kind::Commit.of(T1, P0)),
        Submit(T1, both(0)),
        Until(Told(T1, Word::Committed)),
        Cut(C, P0),
        Break(P0),
        Until(Came(Kind::PeerTold.of(T1, P1), 1)),
        Until(Branch(P0, T1, "committed")),
        Now(Phase(T1, "committing")),
        Forget(Kind::Commit.of(T1, P0)),
        Join,
        Until(Came(Kind::Commit.of(T1, P0), 1)),
        Until(Came(Kind::Acknowledged.of(T1, P0), 1)),
        Until(Ended(T1)),
        Finally(counts(P0, 0, 1)),
    ];
    Timeline::sound("held_a_decision_learned_from_a_peer", acts)
}

/// An older one waits for a branch in doubt, which waits for nobody.
fn waits_for_the_prepared() -> Timeline {
    let acts = vec![
        Begin(T2, vec![(P0, change(0))]),
        Until(Came(Kind::Begun.of(T2, CLIENT), 1)),
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, both(0)),
        Until(Branch(P0, T1, "in-doubt")),
        Now(locked(P0, 0)),
        Execute(T2, 1),
        Until(Came(Kind::Enlisted.of(T2, P0), 1)),
        Wait(200 * MS),
        Now(not(Came(Kind::Executed.of(T2, P0), 1))),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Committed)),
        Until(Answered(T2, 1, Reply::Done)),
        CommitOpen(T2, vec![(P0, 1)], false),
        Until(Told(T2, Word::Committed)),
        Finally(counts(P0, 0, 2)),
    ];
    Timeline::sound("held_waiting_for_a_branch_in_doubt", acts)
}

/// Two that write at both, whose Prepares come in opposite orders; then one that must see what is committed.
fn strict_in_real_time() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, both(0)),
        Until(Branch(P0, T1, "in-doubt")),
        Hold(Kind::Prepare.of(T2, P0)),
        Submit(T2, both(0)),
        Until(Branch(P1, T2, "in-doubt")),
        Deliver(Kind::Prepare.of(T1, P1)),
        Deliver(Kind::Prepare.of(T2, P0)),
        Until(Came(Kind::Told.of(T1, CLIENT), 1)),
        Until(Came(Kind::Told.of(T2, CLIENT), 1)),
        Now(Told(T1, Word::Committed)),
        Finally(Told(T2, Word::Aborted)),
        Until(Came(Kind::Acknowledged.of(T1, P0), 1)),
        Until(Came(Kind::Acknowledged.of(T1, P1), 1)),
        Submit(T3, vec![(P0, look(0)), (P1, look(0))]),
        Until(Told(T3, Word::Committed)),
    ];
    Timeline::sound("held_one_shot_locks_are_strict", acts)
}

/// A fence is kept in memory only; a restart changes the epoch, which fences for it.
fn fence_over_a_restart() -> Timeline {
    let acts = vec![
        Hold(Kind::Submit.of(T1, CLIENT)),
        Submit(T1, both(0)),
        Until(Waits(Kind::Submit.of(T1, CLIENT))),
        Ask(T1),
        Until(Told(T1, Word::Aborted)),
        Crash(C),
        Start(C),
        Until(Greeted),
        Deliver(Kind::Submit.of(T1, CLIENT)),
        Until(Came(Kind::Told.of(T1, CLIENT), 2)),
        Finally(Told(T1, Word::Aborted)),
        Wait(100 * MS),
        Finally(counts(P0, 0, 0)),
    ];
    Timeline::sound("held_a_fence_over_a_restart", acts)
}

/// P2 enlists when the commit has been sent: it is over for it.
fn enlisting_late() -> Timeline {
    let acts = vec![
        Begin(T1, vec![(P0, change(0)), (P1, change(0)), (P2, look(0))]),
        Until(Came(Kind::Begun.of(T1, CLIENT), 1)),
        Execute(T1, 1),
        Until(Answered(T1, 1, Reply::Done)),
        Execute(T1, 2),
        Until(Answered(T1, 2, Reply::Done)),
        Hold(Kind::Prepare.of(T1, P1)),
        CommitOpen(T1, vec![(P0, 1), (P1, 1)], true),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Execute(T1, 3),
        Until(Came(Kind::Enlisted.of(T1, P2), 1)),
        Until(Answered(T1, 3, Reply::Doomed)),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("held_enlisting_after_the_commit_was_sent", acts)
}

/// The answer to begin is lost: nobody goes on with it, and the limits end it.
fn begun_for_nothing() -> Timeline {
    let acts = vec![
        Lose(Kind::Begun.of(T1, CLIENT)),
        Begin(T1, both(0)),
        Until(Phase(T1, "active")),
        Until(Ended(T1)),
        Ask(T1),
        Until(Told(T1, Word::Aborted)),
    ];
    Timeline::sound("held_a_lost_answer_to_begin", acts)
}

/// The client gives it up and its word is lost: the idle limit frees what it holds.
fn lost_rollback() -> Timeline {
    let acts = vec![
        Begin(T1, vec![(P0, change(0))]),
        Until(Came(Kind::Begun.of(T1, CLIENT), 1)),
        Execute(T1, 1),
        Until(Answered(T1, 1, Reply::Done)),
        Lose(Kind::Rollback.of(T1, CLIENT)),
        RollBack(T1),
        Now(Branch(P0, T1, "active")),
        Until(not(Branch(P0, T1, "active"))),
        Submit(T2, both(0)),
        Until(Told(T2, Word::Committed)),
        Until(counts(P0, 0, 1)),
    ];
    Timeline::sound("held_a_lost_rollback", acts)
}
