//! When outcomes are forgotten, and that nothing else is.

use super::*;

#[test]
fn outcomes_are_kept_until_so_many_newer_ones_exist() {
    let mut bench = Bench::with_config(2, Config { retention_count: 3, ..Config::default() });
    for k in 1..=10 {
        bench.run(k, &[1, 2]);
    }
    let kept: Vec<u64> = (1..=10).filter(|k| bench.machine.outcome_of(key(*k)).is_some()).collect();
    assert_eq!(kept, vec![8, 9, 10]);
    assert_eq!(bench.machine.keys.len(), 3);
    // So is the log: the line, the registry, three outcomes of two records, the floor.
    bench.force();
    assert_eq!(bench.prefix(bench.writes.len()).len(), 1 + 2 + 6 + 1);
}

#[test]
fn trimming_is_one_write_and_the_registry_comes_first() {
    let mut bench = Bench::with_config(2, Config { retention_count: 1, ..Config::default() });
    bench.players.get_mut(&name(1)).expect("joined").sequence = 5;
    bench.run(1, &[1, 2]);
    bench.submit(2, &[1, 2]);
    let effects = bench.vote(1, 2, no(ReasonKind::Conflict));
    let registration = |n, sequence| {
        Record::Participant(crate::protocol::Registration {
            name: name(n),
            store: store(n),
            sequence,
            address: format!("host:{n}"),
        })
    };
    let write = |number, record, erase: &[u64]| Effect::Append {
        number: RecordNumber(number),
        record,
        erase: erase.iter().map(|n| RecordNumber(*n)).collect(),
        force: false,
    };
    let from = bench.stamp(1, beyond(3), 2);
    assert_eq!(
        effects,
        vec![
            told(2, 2, 2, aborted(ReasonKind::Conflict, "'p1' voted No: why")),
            write(6, registration(1, 5), &[2]),
            write(7, registration(2, 0), &[3]),
            write(8, Record::Floor { floor: txn(1), decisions: 1 }, &[4, 5]),
            decide(&bench, 2, 2, Decision::Abort, from),
        ]
    );
}

#[test]
fn outcomes_are_forgotten_after_so_much_running_time_over_restarts() {
    let mut bench = Bench::with_config(2, Config { retention_ticks: 4, ..Config::default() });
    bench.run(1, &[1, 2]);
    for tick in 1..=4 {
        bench.timer(Timer::Retention);
        assert!(bench.machine.outcome_of(key(1)).is_some(), "tick {tick}");
        if tick == 2 {
            bench.restart(true);
        }
    }
    bench.timer(Timer::Retention);
    assert!(bench.machine.outcome_of(key(1)).is_none());
    for _ in 0..20 {
        bench.timer(Timer::Retention);
    }
    assert!(bench.machine.ticks.len() <= 5);
    bench.restart(true);
    assert!(bench.machine.ticks.len() <= 5);
}

#[test]
fn a_tick_expires_only_what_began_before_it() {
    let mut bench = Bench::with_config(2, Config { retention_ticks: 1, ..Config::default() });
    bench.run(1, &[1, 2]);
    bench.timer(Timer::Retention);
    bench.run(2, &[1, 2]);
    bench.timer(Timer::Retention);
    assert!(bench.machine.outcome_of(key(1)).is_none());
    assert!(bench.machine.outcome_of(key(2)).is_some());
}

#[test]
fn f48_f06_what_lacks_an_acknowledgement_is_never_trimmed() {
    let mut bench = Bench::with_config(2, Config { retention_count: 1, retention_ticks: 1, ..Config::default() });
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    bench.force();
    for k in 2..=40 {
        bench.run(k, &[1, 2]);
        bench.timer(Timer::Retention);
    }
    assert_eq!(bench.submit(1, &[1, 2]), vec![told(1, 1, 1, committed())]);
    bench.restart(true);
    assert_eq!(bench.machine.load(), (1, 0));
    assert!(matches!(bench.submit(1, &[1, 2])[..], [Effect::Reply { told: Told::Outcome { .. }, .. }]));
}

#[test]
fn f11_nothing_grows_with_the_number_of_transactions() {
    let mut bench = Bench::with_config(2, Config { retention_count: 8, ..Config::default() });
    for k in 1..=500 {
        match k % 4 {
            0 => bench.run(k, &[1, 2]),
            1 => {
                bench.submit(k, &[1, 2]);
                bench.vote(1, k, no(ReasonKind::Conflict));
            }
            2 => {
                let question = AskOutcome { key: key(k), ticket: Some(ticket(1, k - 1)), participants: Vec::new() };
                bench.ask(question);
            }
            _ => {
                bench.submit(k, &[1]);
                let result = handfast_common::messages::OnePhaseResult::Committed(Payload::default());
                bench.answer(1, Answer::OnePhaseEnded { xid: xid(k), result });
                bench.force();
            }
        }
    }
    let machine = &bench.machine;
    assert_eq!((machine.live.len(), machine.undecided, machine.awaited.len()), (0, 0, 0));
    assert!(machine.history.ended.len() <= 9 && machine.keys.len() <= 9);
    bench.force();
    assert!(bench.prefix(bench.writes.len()).len() <= 3 + 2 * 9 + 1);
}
