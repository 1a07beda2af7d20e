//! The decision is repeated until all have acknowledged it, and the end record follows lazily.

use super::*;

/// Decided and told to both, acknowledged by none.
fn committing() -> Bench {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    bench.force();
    bench
}

#[test]
fn f47_commits_are_repeated_with_a_backoff_that_ends_at_one_second() {
    let mut bench = committing();
    bench.acknowledge(1, xid(1));
    let mut gaps = Vec::new();
    for round in 0..20 {
        let effects = bench.timer(Timer::Resend(txn(1)));
        assert_eq!(said(&effects, 1), Vec::<&Order>::new(), "who has acknowledged is left alone");
        assert_eq!(said(&effects, 2).len(), 1, "round {round}");
        let Some(Effect::SetTimer { timer: Timer::Resend(_), after, jitter: true }) = effects.last() else {
            panic!("the next repetition is not set: {effects:?}")
        };
        gaps.push(after.as_millis());
        assert_eq!(effects.len(), 2);
    }
    assert_eq!(gaps[..4], [200, 400, 800, 1_000]);
    assert!(gaps[4..].iter().all(|gap| *gap == 1_000));
}

#[test]
fn f47_a_participant_that_is_away_is_sent_nothing_until_it_is_back() {
    let mut bench = committing();
    bench.disconnect(2);
    bench.acknowledge(1, xid(1));
    let effects = bench.timer(Timer::Resend(txn(1)));
    assert_eq!(effects, vec![timer(Timer::Resend(txn(1)), 200, true)]);
    bench.connect(2);
    let from = bench.stamp(1, txn(1), 1);
    assert_eq!(bench.welcome(2), vec![decide(&bench, 2, 1, Decision::Commit, from)]);
}

#[test]
fn a_decision_outlives_the_start_that_voted() {
    let mut bench = committing();
    let effects = bench.come_back(1);
    assert_eq!(said(&effects, 1), vec![&Order::Decide { to: bench.who(1), xid: xid(1), decision: Decision::Commit }]);
    bench.acknowledge(1, xid(1));
    assert_eq!(bench.acknowledge(2, xid(1)).len(), 1);
}

#[test]
fn acknowledgements_that_come_twice_or_late_end_it_once() {
    let mut bench = committing();
    assert_eq!(bench.acknowledge(1, xid(1)), vec![]);
    assert_eq!(bench.acknowledge(1, xid(1)), vec![]);
    assert_eq!(bench.acknowledge(2, xid(1)).len(), 1);
    assert_eq!(bench.acknowledge(2, xid(1)), vec![]);
    assert_eq!(bench.timer(Timer::Resend(txn(1))), vec![]);
}

#[test]
fn t06_an_acknowledgement_from_another_store_is_none() {
    let mut bench = committing();
    bench.acknowledge(1, xid(1));
    bench.players.get_mut(&name(2)).expect("joined").store = store(99);
    let why = "an answer from another start of it".to_owned();
    assert_eq!(bench.acknowledge(2, xid(1)), vec![Effect::HangUp { name: name(2), why }]);
    assert_eq!(bench.machine.load(), (1, 0));
}

#[test]
fn f06_a_commit_waits_for_its_participant_longer_than_any_retention() {
    let config = Config { retention_count: 2, retention_ticks: 1, ..Config::default() };
    let mut bench = Bench::with_config(3, config);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    bench.force();
    bench.acknowledge(1, xid(1));
    bench.disconnect(2);
    for k in 2..200 {
        bench.run(k, &[1, 3]);
        bench.timer(Timer::Retention);
    }
    bench.restart(true);
    for n in [1, 2] {
        bench.connect(n);
        bench.welcome(n);
    }
    // Both again: which of them has acknowledged is not written down.
    let effects = bench.timer(Timer::Resend(txn(1)));
    let commit = Order::Decide { to: bench.who(2), xid: xid(1), decision: Decision::Commit };
    assert_eq!(said(&effects, 2), vec![&commit]);
    bench.acknowledge(1, xid(1));
    assert_eq!(bench.acknowledge(2, xid(1)).len(), 1);
}

#[test]
fn f17_a_branch_that_fails_for_ever_holds_up_no_other_transaction() {
    let mut bench = committing();
    bench.acknowledge(1, xid(1));
    for k in 2..50 {
        bench.run(k, &[1, 2]);
    }
    assert_eq!(bench.machine.load(), (1, 0));
}

#[test]
fn t12a_a_commit_of_an_earlier_epoch_is_said_with_the_stamp_of_the_present_one() {
    let mut bench = committing();
    bench.restart(false);
    bench.connect(1);
    let effects = bench.welcome(1);
    let Effect::Send { message, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(message.from.epoch, Epoch(2));
    assert_eq!(message.order, Order::Decide { to: bench.who(1), xid: xid(1), decision: Decision::Commit });
}

#[test]
fn a_lost_end_record_means_one_more_commit_and_one_more_acknowledgement() {
    let mut bench = committing();
    bench.acknowledge(1, xid(1));
    bench.acknowledge(2, xid(1));
    bench.restart(false);
    assert_eq!(bench.machine.load(), (1, 0));
    for n in [1, 2] {
        bench.connect(n);
        assert_eq!(said(&bench.welcome(n), n).len(), 1);
        bench.acknowledge(n, xid(1));
    }
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn f27_a_reply_that_was_lost_is_given_again_for_the_same_key() {
    let mut bench = committing();
    assert_eq!(bench.submit(1, &[1, 2]), vec![told(1, 1, 1, committed())]);
    bench.acknowledge(1, xid(1));
    bench.acknowledge(2, xid(1));
    assert_eq!(bench.submit(1, &[1, 2]), vec![told(1, 1, 1, committed())]);
}
