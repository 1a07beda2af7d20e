//! Overload, and the share of a participant that has stopped answering.

use handfast_common::messages::Rejection;

use super::*;

fn small() -> Config {
    Config { max_in_flight: 8, ..Config::default() }
}

fn overloaded(effects: &[Effect]) -> bool {
    matches!(effects, [Effect::Reply { told: Told::Rejected(Rejection::Overloaded(_)), .. }])
}

#[test]
fn beyond_the_cap_nothing_is_begun() {
    let mut bench = Bench::with_config(2, small());
    for k in 1..=8 {
        bench.submit(k, &[1, 2]);
    }
    assert!(overloaded(&bench.submit(9, &[1, 2])));
    bench.vote(1, 1, no(ReasonKind::Conflict));
    assert_eq!(said(&bench.submit(9, &[1, 2]), 1).len(), 1);
}

#[test]
fn a_participant_that_is_not_connected_holds_its_share_and_no_more() {
    let mut bench = Bench::with_config(3, small());
    bench.disconnect(3);
    for k in 1..=2 {
        assert!(!overloaded(&bench.submit(k, &[1, 3])));
    }
    assert!(overloaded(&bench.submit(3, &[1, 3])));
    assert_eq!(said(&bench.submit(4, &[1, 2]), 1).len(), 1);
}

#[test]
fn a_participant_that_stopped_answering_gives_back_what_is_beyond_its_share() {
    let mut bench = Bench::with_config(3, small());
    for k in 1..=8 {
        bench.submit(k, &[1, 3]);
    }
    for k in 1..=8 {
        bench.vote(1, k, yes());
    }
    // The first tick only begins to watch.
    assert_eq!(bench.timer(Timer::Silence), vec![timer(Timer::Silence, 250, false)]);
    bench.answer(1, Answer::Received);
    let effects = bench.timer(Timer::Silence);
    let ended: Vec<u64> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Reply { to, told: Told::Outcome { outcome: Outcome::Aborted(reason), .. } } => {
                assert_eq!(reason.kind, ReasonKind::Overloaded);
                Some(to.0)
            }
            _ => None,
        })
        .collect();
    assert_eq!(ended, vec![8, 7, 6, 5, 4, 3], "the newest go");
    assert!(overloaded(&bench.submit(9, &[1, 3])));
    assert_eq!(said(&bench.submit(10, &[1, 2]), 2).len(), 1);
    // One word from it, and it is as good as any.
    bench.vote(3, 1, yes());
    assert!(!overloaded(&bench.submit(11, &[1, 3])));
}

#[test]
fn a_burst_after_a_quiet_time_is_not_taken_for_silence() {
    let mut bench = Bench::with_config(2, small());
    bench.submit(1, &[1, 2]);
    bench.timer(Timer::Silence);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    bench.force();
    bench.acknowledge(1, xid(1));
    bench.acknowledge(2, xid(1));
    bench.timer(Timer::Silence);
    for k in 2..=9 {
        bench.submit(k, &[1, 2]);
    }
    assert_eq!(bench.timer(Timer::Silence), vec![timer(Timer::Silence, 250, false)]);
    assert_eq!(bench.machine.load(), (8, 8));
}

#[test]
fn a_cap_below_four_still_lets_one_wait() {
    let mut bench = Bench::with_config(1, Config { max_in_flight: 1, ..Config::default() });
    bench.disconnect(1);
    assert!(!overloaded(&bench.submit(1, &[1])));
}

#[test]
fn a_prepare_timeout_below_a_millisecond_is_no_panic() {
    let mut bench = Bench::with_config(1, Config { prepare_timeout: Duration::ZERO, ..Config::default() });
    assert_eq!(bench.submit(1, &[1])[0], timer(Timer::Prepare(txn(1)), 1, false));
}
