//! Timelines about what comes late, or is asked early: copies below the mark, questions while the vote is on, orders of
//! older epochs.

use super::Timeline;
use super::script::Act::{
    Ask, Break, Copy, Crash, Deliver, Finally, Forget, Hold, HoldAll, LosePower, Now, Stall, Start, Submit,
    SubmitAgain, Unstall, Until, Wait,
};
use super::script::Fact::{Branch, Came, Covered, Epoch, GreetedBy, Queued, Told, Waits};
use super::script::{Act, C, CLIENT, Kind, P0, P1, P2, T1, T2, Word, Work, change, counts, not};
use crate::disk::Loss;
use crate::plan::MS;

pub(super) fn all() -> Vec<Timeline> {
    vec![t05(), t05_restarted(), t11_votes(), t11_force(), t12a(), t12b_line(), t12b_work(), t14(), t14_away()]
}

fn both() -> Work {
    vec![(P0, change(0)), (P1, change(0))]
}

/// T1 has ended, its marker is trimmed, and a copy of its Prepare waits in an old connection.
fn copied_and_covered() -> Vec<Act> {
    vec![
        Copy(Kind::Prepare.of(T1, P0)),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
        Until(Covered(P0, T1)),
        Now(Waits(Kind::Prepare.of(T1, P0))),
        Finally(counts(P0, 0, 1)),
    ]
}

/// Prepared once more it would ask, and be told Commit: the outcome is kept for days.
fn late_prepare() -> Vec<Act> {
    vec![
        Deliver(Kind::Prepare.of(T1, P0)),
        Until(Came(Kind::Prepare.of(T1, P0), 2)),
        Wait(1_500 * MS),
        Finally(not(Came(Kind::Inquiry.of(T1, P0), 1))),
        Finally(counts(P0, 0, 1)),
    ]
}

fn t05() -> Timeline {
    Timeline::sound("t05_a_late_prepare_below_the_mark", [copied_and_covered(), late_prepare()].concat())
}

/// The same, and the participant restarts in between, with what the power left of its last writes.
fn t05_restarted() -> Timeline {
    let restarts = vec![LosePower(P0, Loss::Nothing), Start(P0), Until(Came(Kind::Welcome.with(P0), 2))];
    let acts = [copied_and_covered(), restarts, late_prepare()].concat();
    Timeline::sound("t05_a_late_prepare_below_the_mark_after_a_restart", acts)
}

/// P0 has voted, its connection breaks, and it asks while P1's vote is not in. The client asks too.
fn t11_votes() -> Timeline {
    let acts = vec![
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, both()),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Break(P0),
        Until(Came(Kind::InquiryAnswer.of(T1, P0), 1)),
        Now(Branch(P0, T1, "in-doubt")),
        Ask(T1),
        Until(Told(T1, Word::Pending)),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("t11_asked_while_the_vote_is_on", acts)
}

/// The same, and all votes are in, but the decision is not on disk.
fn t11_force() -> Timeline {
    let acts = vec![
        Stall(C),
        Submit(T1, both()),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Until(Came(Kind::Vote.of(T1, P1), 1)),
        Break(P0),
        Until(Came(Kind::InquiryAnswer.of(T1, P0), 1)),
        Now(Branch(P0, T1, "in-doubt")),
        Ask(T1),
        Until(Told(T1, Word::Pending)),
        Unstall(C),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("t11_asked_while_the_decision_is_queued", acts)
}

/// A decision of the first epoch is said again in the second one.
fn t12a() -> Timeline {
    let acts = vec![
        HoldAll(Kind::Commit.of(T1, P0)),
        HoldAll(Kind::Commit.of(T1, P1)),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
        Crash(C),
        Forget(Kind::Commit.of(T1, P0)),
        Forget(Kind::Commit.of(T1, P1)),
        // Nobody learns it by asking.
        HoldAll(Kind::Inquiry.of(T1, P0)),
        HoldAll(Kind::Inquiry.of(T1, P1)),
        HoldAll(Kind::PeerInquiry.of(T1, P0)),
        HoldAll(Kind::PeerInquiry.of(T1, P1)),
        Start(C),
        Until(Came(Kind::Commit.of(T1, P0), 1)),
        Until(Epoch(P0, 2)),
        Until(Branch(P0, T1, "committed")),
        Until(Branch(P1, T1, "committed")),
    ];
    Timeline::sound("t12a_a_commit_of_an_older_epoch", acts)
}

/// P0 is greeted by the second epoch, and loses power before that is on disk; then a late order of the first one comes.
fn t12b_line() -> Timeline {
    let acts = vec![
        Hold(Kind::Commit.of(T1, P0)),
        Submit(T1, both()),
        Until(Waits(Kind::Commit.of(T1, P0))),
        Crash(C),
        HoldAll(Kind::InquiryAnswer.of(T1, P0)),
        HoldAll(Kind::PeerTold.of(T1, P1)),
        Stall(P0),
        Start(C),
        Until(Epoch(C, 2)),
        Until(Came(Kind::Hello.with(P0), 2)),
        Wait(200 * MS),
        Now(not(Came(Kind::Welcome.with(P0), 2))),
        LosePower(P0, Loss::Nothing),
        Unstall(P0),
        Start(P0),
        Until(Came(Kind::Welcome.with(P0), 2)),
        Deliver(Kind::Commit.of(T1, P0)),
        Until(Came(Kind::Commit.of(T1, P0), 1)),
        Until(counts(P0, 0, 1)),
    ];
    Timeline::sound("t12b_an_epoch_that_was_only_in_memory", acts)
}

/// The first epoch's one-phase commit waits for the disk when the second one says Hello: it is answered after that.
fn t12b_work() -> Timeline {
    let acts = vec![
        // By then it has written all that it has heard before.
        Wait(2_500 * MS),
        Stall(P0),
        Submit(T1, vec![(P0, change(0))]),
        Until(Branch(P0, T1, "working")),
        Crash(C),
        Start(C),
        Until(Epoch(C, 2)),
        Until(Came(Kind::Hello.with(P0), 2)),
        Wait(200 * MS),
        Now(not(Came(Kind::Welcome.with(P0), 2))),
        // The work, and the mark that came with it: the new epoch is not forced beside them.
        Now(Queued(P0, 2)),
        SubmitAgain(T1),
        Until(Told(T1, Word::Pending)),
        Unstall(P0),
        Until(Came(Kind::Welcome.with(P0), 2)),
        SubmitAgain(T1),
        Until(Told(T1, Word::Committed)),
        Finally(counts(P0, 0, 1)),
    ];
    Timeline::sound("t12b_hello_while_older_work_is_queued", acts)
}

/// The second epoch knows nothing of T1, so its mark passes it; P0 has said Yes and has not heard the outcome.
fn t14() -> Timeline {
    let acts = vec![
        Hold(Kind::Vote.of(T1, P0)),
        Submit(T1, both()),
        Until(Branch(P0, T1, "in-doubt")),
        Crash(C),
        HoldAll(Kind::Inquiry.of(T1, P0)),
        HoldAll(Kind::PeerInquiry.of(T1, P1)),
        Start(C),
        Until(Epoch(P0, 2)),
        Until(Covered(P0, T1)),
        Now(Branch(P0, T1, "in-doubt")),
        Forget(Kind::Inquiry.of(T1, P0)),
        Until(not(Branch(P0, T1, "in-doubt"))),
        Until(Came(Kind::InquiryAnswer.of(T1, P0), 1)),
        Finally(counts(P0, 0, 0)),
    ];
    Timeline::sound("t14_a_mark_over_a_branch_in_doubt", acts)
}

/// P1 is away with a decision to hear: the mark steps over that one, and passes the others.
fn t14_away() -> Timeline {
    let acts = vec![
        HoldAll(Kind::Commit.of(T1, P1)),
        Submit(T1, both()),
        Until(Told(T1, Word::Committed)),
        Crash(P1),
        Submit(T2, vec![(P0, change(1)), (P2, change(1))]),
        Until(Told(T2, Word::Committed)),
        Until(Covered(P0, T2)),
        Now(not(Covered(P0, T1))),
        Forget(Kind::Commit.of(T1, P1)),
        Start(P1),
        Until(GreetedBy(P1)),
        Until(Came(Kind::Acknowledged.of(T1, P1), 1)),
        Until(Covered(P0, T1)),
        Until(Came(Kind::Told.of(T1, CLIENT), 1)),
    ];
    Timeline::sound("t14_a_mark_beside_one_that_is_away", acts)
}
