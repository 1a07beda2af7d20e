//! No, a timeout, a lost connection: abort, nothing logged, nothing acknowledged.

use super::*;

#[test]
fn a_no_aborts_tells_the_client_and_whoever_may_hold_something() {
    let mut bench = Bench::with(3);
    bench.submit(1, &[1, 2, 3]);
    bench.vote(1, 1, yes());
    let from = bench.stamp(0, beyond(2), 1);
    assert_eq!(
        bench.vote(2, 1, no(ReasonKind::CheckFailed)),
        vec![
            told(1, 1, 1, aborted(ReasonKind::CheckFailed, "'p2' voted No: why")),
            decide(&bench, 1, 1, Decision::Abort, from.clone()),
            decide(&bench, 3, 1, Decision::Abort, from),
        ]
    );
    assert_eq!(bench.machine.load(), (0, 0));
    assert_eq!(bench.answer(1, Answer::Received), vec![]);
}

#[test]
fn votes_that_do_not_come_in_time_abort() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(2, 1, yes());
    let from = bench.stamp(0, beyond(2), 1);
    assert_eq!(
        bench.timer(Timer::Prepare(txn(1))),
        vec![
            told(1, 1, 1, aborted(ReasonKind::PrepareTimeout, "no vote in time from: p1")),
            decide(&bench, 1, 1, Decision::Abort, from.clone()),
            decide(&bench, 2, 1, Decision::Abort, from),
        ]
    );
    assert_eq!(bench.timer(Timer::Prepare(txn(1))), vec![]);
}

#[test]
fn a_connection_lost_before_the_vote_aborts_and_one_lost_after_it_does_not() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    assert_eq!(bench.disconnect(1), vec![]);
    let from = bench.stamp(0, beyond(2), 1);
    // Nobody is sent to whose connection is down: p1 asks.
    assert_eq!(
        bench.disconnect(2),
        vec![told(1, 1, 1, aborted(ReasonKind::Unreachable, "the connection to 'p2' broke before its vote"))]
    );
    bench.connect(1);
    bench.welcome(1);
    assert_eq!(bench.vote(1, 1, yes()), vec![decide(&bench, 1, 1, Decision::Abort, from)]);
}

#[test]
fn a_late_yes_is_answered_with_abort_and_a_late_no_with_nothing() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.timer(Timer::Prepare(txn(1)));
    let from = bench.stamp(0, beyond(2), 1);
    assert_eq!(bench.vote(1, 1, yes()), vec![decide(&bench, 1, 1, Decision::Abort, from.clone())]);
    assert_eq!(bench.vote(1, 1, read("x")), vec![decide(&bench, 1, 1, Decision::Abort, from)]);
    assert_eq!(bench.vote(2, 1, no(ReasonKind::LockTimeout)), vec![]);
}

#[test]
fn f26_a_late_yes_for_a_committed_transaction_is_never_answered_with_abort() {
    let config = Config { retention_count: 2, ..Config::default() };
    let mut bench = Bench::with_config(2, config);
    bench.run(1, &[1, 2]);
    assert_eq!(bench.vote(1, 1, yes()), vec![]);
    // Not even when its outcome has been trimmed.
    for k in 2..=4 {
        bench.run(k, &[1, 2]);
    }
    assert_eq!(bench.machine.outcome_of(key(1)), None);
    assert_eq!(bench.vote(1, 1, yes()), vec![]);
}

#[test]
fn a_vote_of_another_start_does_not_count() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    let player = bench.players.get_mut(&name(2)).expect("joined");
    player.incarnation = 2;
    let why = "an answer from another start of it".to_owned();
    assert_eq!(bench.vote(2, 1, yes()), vec![Effect::HangUp { name: name(2), why }]);
    // After its own Hello the branch is not asked again: the connection broke before its vote.
    assert_eq!(bench.disconnect(2).len(), 2);
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn a_transaction_whose_participant_is_not_there_waits_and_then_aborts() {
    let mut bench = Bench::with(2);
    bench.disconnect(2);
    let effects = bench.submit(1, &[1, 2]);
    assert_eq!(effects, vec![timer(Timer::Prepare(txn(1)), 2_000, false), timer(Timer::Silence, 250, false)]);
    let mut other = bench.clone();
    assert_eq!(
        bench.timer(Timer::Prepare(txn(1))),
        vec![told(1, 1, 1, aborted(ReasonKind::Unreachable, "not reachable: p2"))]
    );
    other.connect(2);
    let effects = other.welcome(2);
    let from = other.stamp(0, txn(1), 1);
    assert_eq!(effects, vec![prepare(&other, 1, 1, 1, &[1, 2], from.clone()), prepare(&other, 2, 1, 1, &[1, 2], from)]);
}

#[test]
fn a_reason_that_is_kept_has_a_limit() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, Vote::No(Reason::new(ReasonKind::BadWork, "ä".repeat(100_000))));
    let Some(Outcome::Aborted(reason)) = bench.machine.outcome_of(key(1)) else { panic!("it was aborted") };
    assert!(reason.detail.len() <= 512);
}

#[test]
fn t16_without_room_begins_are_refused_and_phase_two_goes_on() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    assert_eq!(bench.give(Input::SpaceChanged { room: false }), vec![]);
    let refused = Told::Rejected(handfast_common::messages::Rejection::DiskFull);
    assert_eq!(bench.submit(2, &[1, 2]), vec![Effect::Reply { to: ReplyTo(2), told: refused }]);
    assert_eq!(bench.vote(2, 1, yes()).len(), 1);
    assert_eq!(bench.force()[0], told(1, 1, 1, committed()));
    bench.acknowledge(1, xid(1));
    assert_eq!(bench.acknowledge(2, xid(1)).len(), 1);
    bench.give(Input::SpaceChanged { room: true });
    // Nothing was begun, so the same key may come again.
    assert_eq!(said(&bench.submit(2, &[1, 2]), 1).len(), 1);
}
