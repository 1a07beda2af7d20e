//! Timelines about folders: wiped, older, or running twice. Whoever has seen more than a copy knows finds it out.

use super::Timeline;
use super::script::Act::{
    Ask, Crash, Cut, Finally, Forget, HoldAll, Join, LoseAll, LosePower, Now, PutBack, Rewind, Save, Stall, Start,
    Submit, SubmitAgain, Swap, Twin, Unstall, Until, Wait, Wipe,
};
use super::script::Fact::{Branch, Came, Ended, Epoch, Greeted, GreetedBy, Phase, Refused, Stopped, Told};
use super::script::{Act, C, CLIENT, Kind, P0, P1, P2, T1, T2, T3, T4, Word, Work, change, counts, not};
use crate::disk::Loss;
use crate::plan::MS;

pub(super) fn all() -> Vec<Timeline> {
    vec![
        t06_wiped(),
        t06_older(),
        t06_second(),
        t08a(),
        t08a_both(),
        t08b(),
        t09a(),
        t09a_strict(),
        t09b(),
        t09c(),
        t09d(),
        t09e(),
        t19(),
    ]
}

/// What a copy of the coordinator's log is told by whoever has seen more.
const SECOND_COPY: &str = "the log is an old or a second copy";

fn both() -> Work {
    vec![(P0, change(0)), (P1, change(0))]
}

/// T1 is committed, and P1, which has voted, has not heard of it.
fn owed_to_p1() -> Vec<Act> {
    vec![
        HoldAll(Kind::Commit.of(T1, P1)),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
        Until(Branch(P0, T1, "committed")),
        Now(Branch(P1, T1, "in-doubt")),
    ]
}

/// P1's folder is lost and an empty store is in its place: its half is not acknowledged by that.
fn t06_wiped() -> Timeline {
    let acts = vec![
        Crash(C),
        Wipe(P1),
        Forget(Kind::Commit.of(T1, P1)),
        Start(C),
        Start(P1),
        Until(Refused(P1, "has another store than the one registered")),
        Wait(2_000 * MS),
        Now(not(Came(Kind::Acknowledged.of(T1, P1), 1))),
        Now(Phase(T1, "committing")),
    ];
    Timeline::found_out("t06_a_wiped_participant", [owed_to_p1(), acts].concat())
}

/// The same with an older copy; with the newest one all is well.
fn t06_older() -> Timeline {
    let acts = vec![
        Crash(C),
        Save(P1, "newest"),
        PutBack(P1, "older"),
        Forget(Kind::Commit.of(T1, P1)),
        Start(C),
        Start(P1),
        Until(Refused(P1, "newest data folder")),
        Wait(2_000 * MS),
        Now(not(Came(Kind::Acknowledged.of(T1, P1), 1))),
        Now(Phase(T1, "committing")),
        PutBack(P1, "newest"),
        Start(P1),
        Until(Came(Kind::Acknowledged.of(T1, P1), 1)),
        Finally(counts(P1, 0, 1)),
    ];
    Timeline::sound("t06_an_older_copy_of_a_participant", [vec![Save(P1, "older")], owed_to_p1(), acts].concat())
}

/// A copy that has the same sequence, but not the last start: what that one promised is missing in it.
fn t06_second() -> Timeline {
    let acts = vec![
        Save(P1, "copy"),
        Crash(P1),
        Start(P1),
        Until(Came(Kind::Welcome.with(P1), 2)),
        Until(GreetedBy(P1)),
        Save(P1, "newest"),
        PutBack(P1, "copy"),
        Start(P1),
        Until(Refused(P1, "newest data folder")),
        PutBack(P1, "newest"),
        Start(P1),
        Until(GreetedBy(P1)),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("t06_a_second_copy_of_a_participant", acts)
}

/// A copy of the folder runs as epoch 2 and is known to P0 alone; the original is started anew, as epoch 2 as well.
fn t08a() -> Timeline {
    let acts = vec![
        Twin,
        Cut(C, P1),
        Cut(C, P2),
        Until(GreetedBy(P0)),
        Now(Epoch(C, 2)),
        Swap,
        Now(Epoch(C, 1)),
        Crash(C),
        Start(C),
        Until(Stopped(C, SECOND_COPY)),
        Join,
        Swap,
        Until(Greeted),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("t08a_one_epoch_twice", acts)
}

/// The same, and each of the two has been let in by somebody: both stop.
fn t08a_both() -> Timeline {
    let acts = vec![
        Twin,
        Cut(C, P1),
        Cut(C, P2),
        Until(GreetedBy(P0)),
        Swap,
        Join,
        Cut(C, P0),
        Crash(C),
        Start(C),
        Until(GreetedBy(P1)),
        Now(Epoch(P1, 2)),
        Now(Epoch(P0, 2)),
        Join,
        Until(Stopped(C, SECOND_COPY)),
        Swap,
        Until(Stopped(C, "is at epoch 2")),
    ];
    Timeline::found_out("t08a_one_epoch_twice_and_both_are_let_in", acts)
}

/// An older copy under a supervisor: every start bumps its epoch, and none gets past what has been seen.
fn t08b() -> Timeline {
    let again = || vec![Start(C), Until(Stopped(C, SECOND_COPY))];
    let before = vec![
        Save(C, "old"),
        Crash(C),
        Start(C),
        Until(Epoch(P0, 2)),
        Until(Greeted),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
        Until(Ended(T1)),
        Save(C, "newest"),
        PutBack(C, "old"),
    ];
    let after = vec![
        Now(Epoch(P0, 2)),
        PutBack(C, "newest"),
        Start(C),
        Until(Greeted),
        Now(Epoch(P0, 3)),
        Ask(T1),
        Until(Told(T1, Word::Committed)),
    ];
    let acts = [before, again(), again(), again(), again(), after].concat();
    Timeline::sound("t08b_a_fenced_copy_under_a_supervisor", acts)
}

/// The log has lost its tail, with a Commit that P0 has applied. P0 is down, and P1, which has seen less, asks.
fn lost_tail() -> Vec<Act> {
    let loses = vec![
        Crash(P0),
        Save(C, "newest"),
        PutBack(C, "old"),
        Forget(Kind::Commit.of(T1, P1)),
        Start(C),
        Until(GreetedBy(P1)),
        Until(Came(Kind::InquiryAnswer.of(T1, P1), 1)),
        Now(Branch(P1, T1, "in-doubt")),
    ];
    [vec![Save(C, "old")], owed_to_p1(), loses].concat()
}

/// P1 has let in the one that is behind, and P0 knows better: neither that one nor the newest goes on without an operator.
fn found_when_p0_is_back() -> Vec<Act> {
    vec![
        Now(Branch(P1, T1, "in-doubt")),
        Start(P0),
        Until(Stopped(C, SECOND_COPY)),
        Now(Branch(P1, T1, "in-doubt")),
        PutBack(C, "newest"),
        Start(C),
        Until(Stopped(C, SECOND_COPY)),
        Wait(3_000 * MS),
        Now(not(Branch(P1, T1, "aborted"))),
        Finally(counts(P0, 0, 1)),
    ]
}

fn t09a() -> Timeline {
    let acts = [lost_tail(), found_when_p0_is_back()].concat();
    Timeline::found_out("t09a_asked_of_whoever_is_up", acts)
}

/// The same, and P0 is away for longer than a coordinator waits that is not strict.
fn t09a_strict() -> Timeline {
    let acts = [lost_tail(), vec![Wait(6_000 * MS)], found_when_p0_is_back()].concat();
    Timeline::found_out("t09a_asked_of_everybody", acts).strictly()
}

/// A decision is handed to the log, another message goes out, and the power fails before the force.
fn t09b() -> Timeline {
    let acts = vec![
        Stall(C),
        Submit(T1, both()),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Until(Came(Kind::Vote.of(T1, P1), 1)),
        Submit(T2, vec![(P0, change(1)), (P2, change(1))]),
        Until(Came(Kind::Prepare.of(T2, P0), 1)),
        Until(Came(Kind::Prepare.of(T2, P2), 1)),
        LosePower(C, Loss::Nothing),
        Unstall(C),
        Start(C),
        Until(Greeted),
        Submit(T3, vec![(P0, change(2)), (P2, change(2))]),
        Until(Told(T3, Word::Committed)),
    ];
    Timeline::sound("t09b_a_decision_that_was_never_forced", acts)
}

/// All decisions are trimmed: the highest number stays, and a restart is let in.
fn t09c() -> Timeline {
    let work = |n| vec![(P0, change(n)), (P1, change(n))];
    let one = |txn, n| vec![Submit(txn, work(n)), Until(Told(txn, Word::Committed)), Until(Ended(txn))];
    let restart = vec![
        Until(not(Ended(T1))),
        Crash(C),
        Start(C),
        Until(Greeted),
        Now(Epoch(P0, 2)),
        Crash(C),
        Start(C),
        Until(Epoch(P1, 3)),
    ];
    let acts = [one(T1, 0), one(T2, 1), one(T3, 2), one(T4, 3), restart].concat();
    Timeline::sound("t09c_all_decisions_are_trimmed", acts).keeping(1)
}

/// The client of a transaction that a lost tail has forgotten asks: that too is answered only after Hello with its members.
fn t09d() -> Timeline {
    let acts = vec![
        Save(C, "old"),
        LoseAll(Kind::Told.of(T1, CLIENT)),
        Submit(T1, both()),
        Until(Branch(P0, T1, "committed")),
        Until(Branch(P1, T1, "committed")),
        Until(Ended(T1)),
        Crash(P0),
        Crash(P1),
        Save(C, "newest"),
        PutBack(C, "old"),
        Forget(Kind::Told.of(T1, CLIENT)),
        Start(C),
        Until(GreetedBy(P2)),
        SubmitAgain(T1),
        Until(Told(T1, Word::Pending)),
        Start(P0),
        Until(Stopped(C, SECOND_COPY)),
        Now(Told(T1, Word::Pending)),
        Finally(counts(P0, 0, 1)),
    ];
    Timeline::found_out("t09d_a_client_asks_a_log_without_its_tail", acts)
}

/// Only the client has heard, so no participant can know: the head hint beside the log does.
fn t09e() -> Timeline {
    let acts = vec![
        Save(C, "before"),
        HoldAll(Kind::Commit.of(T1, P0)),
        HoldAll(Kind::Commit.of(T1, P1)),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
        Now(Branch(P0, T1, "in-doubt")),
        Now(Branch(P1, T1, "in-doubt")),
        Rewind(C, "before"),
        Start(C),
        Until(Stopped(C, "was reported, but the store ends at")),
        Wait(3_000 * MS),
        Now(Branch(P0, T1, "in-doubt")),
        Now(Branch(P1, T1, "in-doubt")),
    ];
    Timeline::found_out("t09e_a_decision_that_only_the_client_has_heard", acts)
}

/// The coordinator stands still while P1 still works; a copy of its folder takes over, and T1 is aborted. P1's Yes is not
/// told to the one that was replaced, which hears of that and stops without a word to its client.
fn t19() -> Timeline {
    let acts = vec![
        Stall(P1),
        Submit(T1, both()),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Until(Branch(P1, T1, "working")),
        Twin,
        Until(Epoch(C, 2)),
        Until(Came(Kind::Hello.with(P1), 2)),
        Unstall(P1),
        Until(Greeted),
        Until(Came(Kind::InquiryAnswer.of(T1, P0), 1)),
        Until(not(Branch(P0, T1, "in-doubt"))),
        Until(not(Branch(P1, T1, "in-doubt"))),
        Swap,
        Now(Epoch(C, 1)),
        Until(Stopped(C, SECOND_COPY)),
        Now(not(Came(Kind::Told.of(T1, CLIENT), 1))),
        Swap,
        Now(Epoch(C, 2)),
        Ask(T1),
        Until(Told(T1, Word::Aborted)),
        Finally(counts(P0, 0, 0)),
    ];
    Timeline::sound("t19_a_zombie_and_its_client", acts)
}
