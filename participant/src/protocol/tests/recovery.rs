//! From records to a machine.

use super::super::{Done, RecoveryError};
use super::*;

fn two_phase(n: u64) -> Done {
    Done { xid: xid(n), one_phase: None }
}

fn recover(found: Recovered) -> Result<(Participant, Effects), RecoveryError> {
    Participant::recover(config(), found)
}

#[test]
fn what_was_prepared_is_in_doubt_again_and_asks_soon() {
    let found = Recovered {
        lines: vec![line(1)],
        prepared: vec![record(xid(1), "reads")],
        done: vec![two_phase(2), Done { xid: xid(3), one_phase: Some(done(5, "r")) }],
        starts: vec![],
    };
    let (mut p, out) = recover(found).unwrap();
    assert_eq!(out, vec![timer(Timer::Inquire(xid(1)), Duration::from_millis(100), true)]);
    let states: Vec<_> = p.branches().map(|branch| (branch.xid, branch.state, branch.key)).collect();
    assert_eq!(states, [(xid(1), "in-doubt", None), (xid(2), "committed", None), (xid(3), "committed", Some(key(5)))]);
    let asked = vec![inquire(xid(1)), timer(Timer::Inquire(xid(1)), Duration::from_millis(100), true)];
    assert_eq!(fire(&mut p, Timer::Inquire(xid(1))), asked);
    assert_eq!(say(&mut p, 1, &stamp(1), commit(xid(2))), vec![reply(1, Answer::Acknowledged { xid: xid(2) })]);
    // Done by an earlier incarnation, whose vote is not known here: it never runs again.
    assert_eq!(say(&mut p, 2, &stamp(1), prepare(xid(2))), vec![refused(2, Refusal::BelowMark)]);
    let committed = OnePhaseResult::Committed(payload("r"));
    assert_eq!(say(&mut p, 3, &stamp(1), ask(xid(3))), vec![ended(3, xid(3), committed)]);
    assert_eq!(say(&mut p, 4, &stamp(1), prepare(xid(1))), vec![voted(4, xid(1), Vote::Yes(payload("reads")))]);
}

#[test]
fn t14_a_prepared_branch_below_the_stored_mark_is_still_in_doubt() {
    let found = Recovered {
        lines: vec![Line { mark: Some(mark(9)), ..line(1) }],
        prepared: vec![record(xid(1), "")],
        done: vec![two_phase(2)],
        starts: vec![],
    };
    let (p, _) = recover(found).unwrap();
    assert_eq!(p.branches().map(|branch| (branch.xid, branch.state)).collect::<Vec<_>>(), [(xid(1), "in-doubt")]);
}

#[test]
fn a_prepare_record_counts_as_seen() {
    let later = Prepared { seen: Seen { decisions: 9, ..seen(1) }, ..record(xid(1), "") };
    let found = Recovered { lines: vec![line(1)], prepared: vec![later.clone()], ..Recovered::default() };
    assert_eq!(recover(found).unwrap().0.seen(LOG), Some(later.seen));
    let found = Recovered { lines: vec![line(2)], prepared: vec![later.clone()], ..Recovered::default() };
    assert_eq!(recover(found).unwrap().0.seen(LOG), Some(seen(2)));
    let found = Recovered { prepared: vec![later.clone()], ..Recovered::default() };
    assert_eq!(recover(found).unwrap().0.seen(LOG), Some(later.seen));
}

#[test]
fn records_that_exclude_each_other_are_refused_below_the_mark_too() {
    let excluded = |n: u64, record, state| RecoveryError::Excluded { txn: xid(n).txn, record, state };
    let prepared = |n| record(xid(n), "");
    let one = |n: u64, k| Done { xid: xid(n), one_phase: Some(done(k, "")) };
    let cases = [
        (vec![prepared(1), prepared(1)], vec![], excluded(1, "a prepare record", "prepared")),
        (vec![prepared(1)], vec![two_phase(1)], excluded(1, "a done-marker", "prepared")),
        (vec![prepared(1)], vec![one(1, 5)], excluded(1, "a one-phase done-marker", "prepared")),
        (vec![], vec![two_phase(1), two_phase(1)], excluded(1, "a done-marker", "committed")),
        (vec![], vec![two_phase(1), one(1, 5)], excluded(1, "a one-phase done-marker", "committed")),
        (vec![], vec![one(1, 5), two_phase(1)], excluded(1, "a done-marker", "one-phase committed")),
        (
            vec![],
            vec![one(1, 5), one(2, 5)],
            RecoveryError::KeyTwice { key: key(5), one: xid(1).txn, other: xid(2).txn },
        ),
    ];
    for (prepared, done, error) in cases {
        for mark in [mark(0), mark(9)] {
            let lines = vec![Line { mark: Some(mark), ..line(1) }];
            let found = Recovered { lines, prepared: prepared.clone(), done: done.clone(), starts: vec![] };
            assert_eq!(recover(found), Err(error.clone()));
        }
    }
    let found = Recovered { lines: vec![line(1), line(2)], ..Recovered::default() };
    assert_eq!(recover(found), Err(RecoveryError::TwoLines { log: LOG }));
    let foreign = Prepared { seen: Seen { nonce: Nonce(999), ..seen(1) }, ..prepared(1) };
    let found = Recovered { lines: vec![line(1)], prepared: vec![foreign], ..Recovered::default() };
    assert_eq!(recover(found), Err(RecoveryError::TwoNonces { txn: xid(1).txn, log: LOG, epoch: 1 }));
}

#[test]
fn f12_recovery_at_every_point_of_prepare_ends_nothing_by_itself() {
    let x = xid(1);
    // While it works nothing that recovery does touches it.
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let before = p.clone();
    assert_eq!(p.step(Input::CoordinatorLost { log: LOG }), vec![]);
    assert_eq!(fire(&mut p, Timer::Inquire(x)), vec![]);
    assert_eq!(p, before);

    // Killed before its record was on disk: no trace, and the Prepare on its way is for another start.
    let config = Config { incarnation: Incarnation(8), ..config() };
    let found = Recovered { lines: vec![line(1)], ..Recovered::default() };
    let (mut p, out) = Participant::recover(config.clone(), found).unwrap();
    assert_eq!(out, vec![]);
    assert_eq!(say(&mut p, 2, &stamp(1), prepare(x)), vec![refused(2, Refusal::WrongAddressee)]);

    // Killed after: in doubt, again and again, until somebody says how it ends.
    for _ in 0..3 {
        let found = Recovered { lines: vec![line(1)], prepared: vec![record(x, "")], done: vec![], starts: vec![] };
        let (mut p, out) = Participant::recover(config.clone(), found).unwrap();
        assert_eq!(out, vec![timer(Timer::Inquire(x), Duration::from_millis(100), true)]);
        assert_eq!(state(&p, x), Some("in-doubt"));
        assert_eq!(say(&mut p, 3, &stamp(1), commit(x)), vec![Effect::Commit { xid: x }]);
    }
}
