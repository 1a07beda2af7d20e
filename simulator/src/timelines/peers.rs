//! Timelines about participants that ask each other: no trace alone is never "has not voted".

use super::Timeline;
use super::script::Act::{
    Break, Crash, Cut, Deliver, DeliverTo, Finally, Forget, Hold, HoldAll, Join, Now, Stall, Start, Submit, Unstall,
    Until, Wait, Wipe,
};
use super::script::Fact::{Branch, Came, Refused, Told, Waits};
use super::script::{Act, C, CLIENT, Kind, P0, P1, P2, T1, Word, Work, change, counts, look};
use crate::plan::MS;

pub(super) fn all() -> Vec<Timeline> {
    vec![t02a(), t02b(), t02c(), t02d(), t02d_restarted(), t02e(), t15()]
}

fn both() -> Work {
    vec![(P0, change(0)), (P1, change(0))]
}

/// T1 is committed and its client told; P1 has heard of it and P0 has not; then the coordinator is gone.
fn in_doubt_at_p0(work: Work) -> Vec<Act> {
    vec![
        HoldAll(Kind::Commit.of(T1, P0)),
        Submit(T1, work),
        Until(Told(T1, Word::Committed)),
        Until(Branch(P1, T1, "committed")),
        Now(Branch(P0, T1, "in-doubt")),
        Crash(C),
        Forget(Kind::Commit.of(T1, P0)),
    ]
}

/// P2 only read, so no record names it, and it has been restarted: it knows nothing.
fn t02a() -> Timeline {
    let asks = vec![
        HoldAll(Kind::PeerInquiry.of(T1, P1)),
        Crash(P2),
        Start(P2),
        Until(Came(Kind::PeerTold.of(T1, P2), 1)),
        Wait(50 * MS),
        Now(Branch(P0, T1, "in-doubt")),
        Forget(Kind::PeerInquiry.of(T1, P1)),
        Until(Branch(P0, T1, "committed")),
    ];
    let work = vec![(P0, change(0)), (P1, change(0)), (P2, look(0))];
    Timeline::sound("t02a_asked_of_a_restarted_reader", [in_doubt_at_p0(work), asks].concat())
}

/// P2 has P1's old address, and gets the question that is meant for P1.
fn t02b() -> Timeline {
    let asks = vec![
        HoldAll(Kind::PeerInquiry.of(T1, P1)),
        Until(Waits(Kind::PeerInquiry.of(T1, P1))),
        DeliverTo(Kind::PeerInquiry.of(T1, P1), P2),
        Until(Came(Kind::PeerTold.of(T1, P2), 1)),
        Wait(50 * MS),
        Now(Branch(P0, T1, "in-doubt")),
        Forget(Kind::PeerInquiry.of(T1, P1)),
        Until(Branch(P0, T1, "committed")),
    ];
    Timeline::sound("t02b_asked_at_an_old_address", [in_doubt_at_p0(both()), asks].concat())
}

/// P1 has committed and was wiped: its new store knows nothing, and is found out when the coordinator is back.
fn t02c() -> Timeline {
    let asks = vec![
        Wipe(P1),
        Start(P1),
        Until(Came(Kind::PeerTold.of(T1, P1), 1)),
        Wait(50 * MS),
        Now(Branch(P0, T1, "in-doubt")),
        Start(C),
        Until(Branch(P0, T1, "committed")),
        Finally(counts(P0, 0, 1)),
        Until(Refused(P1, "has another store than the one registered")),
    ];
    Timeline::found_out("t02c_asked_of_a_wiped_store", [in_doubt_at_p0(both()), asks].concat())
}

/// P0 asks P1, to which Prepare is still on its way, and is told abort. P1 may not say Yes after that.
fn promised() -> Vec<Act> {
    vec![
        Hold(Kind::Prepare.of(T1, P1)),
        Submit(T1, both()),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Cut(C, P0),
        Break(P0),
        Until(Came(Kind::PeerTold.of(T1, P1), 1)),
        Until(Branch(P0, T1, "aborted")),
    ]
}

/// The Prepare was merely slow.
fn t02d() -> Timeline {
    let late = vec![
        Now(Waits(Kind::Prepare.of(T1, P1))),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Came(Kind::Vote.of(T1, P1), 1)),
        Until(Told(T1, Word::Aborted)),
        Join,
    ];
    Timeline::sound("t02d_a_prepare_slower_than_a_promise", [promised(), late].concat())
}

/// The same over a restart of P1: it was not forced that abort was said.
fn t02d_restarted() -> Timeline {
    let late = vec![
        Crash(P1),
        Start(P1),
        Until(Came(Kind::Welcome.with(P1), 2)),
        Deliver(Kind::Prepare.of(T1, P1)),
        Until(Came(Kind::Prepare.of(T1, P1), 1)),
        Until(Told(T1, Word::Aborted)),
        Join,
        Wait(1_500 * MS),
        Finally(counts(P1, 0, 0)),
    ];
    Timeline::sound("t02d_a_promise_that_a_restart_forgot", [promised(), late].concat())
}

/// P1's prepare record waits for its disk when P0 asks.
fn t02e() -> Timeline {
    let acts = vec![
        Stall(P1),
        Submit(T1, both()),
        Until(Came(Kind::Vote.of(T1, P0), 1)),
        Until(Branch(P1, T1, "working")),
        Cut(C, P0),
        Break(P0),
        Until(Came(Kind::PeerInquiry.of(T1, P1), 1)),
        Now(Branch(P1, T1, "working")),
        Unstall(P1),
        Until(Came(Kind::PeerTold.of(T1, P1), 1)),
        Until(Told(T1, Word::Committed)),
        // Asked again it knows; the coordinator can't be reached still.
        Until(Branch(P0, T1, "committed")),
        Join,
    ];
    Timeline::sound("t02e_asked_while_the_record_is_queued", acts)
}

/// Whatever is no decision ends nothing: all are in doubt, ask each other, and wait. (A heuristic is answered likewise; an
/// operator can't decide a branch yet.)
fn t15() -> Timeline {
    let commit = |host| Kind::Commit.of(T1, host);
    let acts = vec![
        HoldAll(commit(P0)),
        HoldAll(commit(P1)),
        HoldAll(commit(P2)),
        Submit(T1, vec![(P0, change(0)), (P1, change(0)), (P2, change(0))]),
        Until(Told(T1, Word::Committed)),
        Crash(C),
        Until(Came(Kind::PeerTold.of(T1, P0), 2)),
        Until(Came(Kind::PeerTold.of(T1, P1), 2)),
        Until(Came(Kind::PeerTold.of(T1, P2), 2)),
        Now(Branch(P0, T1, "in-doubt")),
        Now(Branch(P1, T1, "in-doubt")),
        Now(Branch(P2, T1, "in-doubt")),
        Forget(commit(P0)),
        Forget(commit(P1)),
        Forget(commit(P2)),
        Start(C),
        Until(Branch(P0, T1, "committed")),
        Until(Came(Kind::Told.of(T1, CLIENT), 1)),
    ];
    Timeline::sound("t15_what_is_no_decision_ends_nothing", acts)
}
