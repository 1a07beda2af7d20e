//! Timelines about keys and tickets: a key belongs for ever to the ticket that it was first sent with.

use super::Timeline;
use super::script::Act::{
    Ask, Crash, Deliver, Finally, Forget, Hold, Look, LoseAll, Now, Start, Stranger, Submit, SubmitAgain, Swap, Until,
    Wait,
};
use super::script::Fact::{Came, Ended, Epoch, Greeted, Told, Waits};
use super::script::{Act, C, CLIENT, Kind, P0, P1, T1, T2, T3, T4, Word, Work, change, counts, not};
use crate::plan::MS;

pub(super) fn all() -> Vec<Timeline> {
    vec![t07a(), t07b(), t07b_trimmed(), t07c(), t07c_committed(), t07d(), t07e(), t07e_trimmed()]
}

fn both(n: u64) -> Work {
    vec![(P0, change(n)), (P1, change(n))]
}

/// Others come and go until this one is forgotten.
fn trimmed() -> Vec<Act> {
    let one = |txn, n| vec![Submit(txn, both(n)), Until(Told(txn, Word::Committed)), Until(Ended(txn))];
    [one(T2, 1), one(T3, 2), one(T4, 3), vec![Until(not(Ended(T1))), Wait(50 * MS)]].concat()
}

/// T1 was committed and its client has not heard so.
fn unheard() -> Vec<Act> {
    vec![
        LoseAll(Kind::Told.of(T1, CLIENT)),
        Submit(T1, both(0)),
        Until(counts(P0, 0, 1)),
        Until(counts(P1, 0, 1)),
        Until(Ended(T1)),
        Forget(Kind::Told.of(T1, CLIENT)),
    ]
}

/// It asks when its outcome is trimmed: never Aborted, and sent again it does not run.
fn t07a() -> Timeline {
    let asks = vec![
        Ask(T1),
        Until(Told(T1, Word::Forgotten)),
        SubmitAgain(T1),
        Until(Told(T1, Word::Forgotten)),
        Finally(counts(P0, 0, 1)),
    ];
    Timeline::sound("t07a_asked_when_it_is_trimmed", [unheard(), trimmed(), asks].concat()).keeping(1)
}

/// Who has no ticket only looks: it is never told Aborted, and what comes later is not fenced by it.
fn t07b() -> Timeline {
    let acts = vec![
        Hold(Kind::Submit.of(T1, CLIENT)),
        Submit(T1, both(0)),
        Until(Waits(Kind::Submit.of(T1, CLIENT))),
        Look(T1),
        Until(Told(T1, Word::NotFound)),
        Deliver(Kind::Submit.of(T1, CLIENT)),
        Until(Told(T1, Word::Committed)),
        Look(T1),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("t07b_a_question_without_a_ticket", acts)
}

/// The same about one that was trimmed.
fn t07b_trimmed() -> Timeline {
    let acts =
        [unheard(), trimmed(), vec![Look(T1), Until(Told(T1, Word::NotFound)), Finally(counts(P0, 0, 1))]].concat();
    Timeline::sound("t07b_a_question_without_a_ticket_when_it_is_trimmed", acts).keeping(1)
}

/// A stale ticket is no reason to run a key under a new one: it is told Aborted, and the first copy comes after that.
fn t07c() -> Timeline {
    let acts = vec![
        Hold(Kind::Submit.of(T1, CLIENT)),
        Submit(T1, both(0)),
        Until(Waits(Kind::Submit.of(T1, CLIENT))),
        Crash(C),
        Start(C),
        Until(Epoch(C, 2)),
        Until(Greeted),
        SubmitAgain(T1),
        Until(Told(T1, Word::Aborted)),
        Deliver(Kind::Submit.of(T1, CLIENT)),
        Until(Came(Kind::Submit.of(T1, CLIENT), 2)),
        Until(Came(Kind::Told.of(T1, CLIENT), 2)),
        Finally(counts(P0, 0, 0)),
    ];
    Timeline::sound("t07c_a_stale_ticket", acts)
}

/// The same, and an earlier copy has committed.
fn t07c_committed() -> Timeline {
    let acts = vec![
        Crash(C),
        Start(C),
        Until(Greeted),
        Now(Epoch(C, 2)),
        SubmitAgain(T1),
        Until(Told(T1, Word::Committed)),
        Finally(counts(P0, 0, 1)),
    ];
    Timeline::sound("t07c_a_stale_ticket_of_what_is_committed", [unheard(), acts].concat())
}

/// Sent again to another coordinator, whose epoch fits: its log is another one.
fn t07d() -> Timeline {
    let acts = vec![
        Stranger,
        Until(Epoch(C, 1)),
        Until(Greeted),
        SubmitAgain(T1),
        Until(Told(T1, Word::Forgotten)),
        Ask(T1),
        Until(Told(T1, Word::Forgotten)),
        Finally(counts(P0, 0, 1)),
        Swap,
        Ask(T1),
        Until(Told(T1, Word::Committed)),
    ];
    Timeline::sound("t07d_the_ticket_of_another_coordinator", [unheard(), acts].concat())
}

/// A key that was asked about and answered Aborted comes late.
fn fenced() -> Vec<Act> {
    vec![
        Hold(Kind::Submit.of(T1, CLIENT)),
        Submit(T1, both(0)),
        Until(Waits(Kind::Submit.of(T1, CLIENT))),
        Ask(T1),
        Until(Told(T1, Word::Aborted)),
    ]
}

fn late(word: Word) -> Vec<Act> {
    vec![
        Deliver(Kind::Submit.of(T1, CLIENT)),
        Until(Came(Kind::Submit.of(T1, CLIENT), 1)),
        Until(Came(Kind::Told.of(T1, CLIENT), 2)),
        Now(Told(T1, word)),
        Wait(100 * MS),
        Finally(counts(P0, 0, 0)),
    ]
}

fn t07e() -> Timeline {
    Timeline::sound("t07e_a_fenced_key_comes_late", [fenced(), late(Word::Aborted)].concat())
}

/// The same when the fence is trimmed.
fn t07e_trimmed() -> Timeline {
    let acts = [fenced(), trimmed(), late(Word::Forgotten)].concat();
    Timeline::sound("t07e_a_fenced_key_comes_when_it_is_trimmed", acts).keeping(1)
}
