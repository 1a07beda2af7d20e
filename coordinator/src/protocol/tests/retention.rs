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
fn f11_what_outcomes_have_read_keeps_to_its_budget_over_restarts() {
    let kib = Payload(vec![7; 1 << 10]);
    let mut bench = Bench::with_config(2, Config { retention_bytes: 10 << 10, ..Config::default() });
    for k in 1..=40 {
        bench.submit(k, &[1, 2]);
        let (_, _, _, t) = bench.machine.standing();
        bench.vote(1, t, Vote::Yes(kib.clone()));
        bench.vote(2, t, Vote::Yes(kib.clone()));
        bench.force();
        bench.acknowledge(1, xid_of(bench.epoch, t));
        bench.acknowledge(2, xid_of(bench.epoch, t));
        let history = &bench.machine.history;
        assert!(history.bytes <= 10 << 10, "{} bytes after {k}", history.bytes);
        assert_eq!(history.bytes, history.ended.len() as u64 * 2048);
        // The newest are kept, not fewer than fit with a little room to spare.
        let kept = (1..=k).filter(|k| bench.machine.outcome_of(key(*k)).is_some()).collect::<Vec<_>>();
        assert!(kept.len() as u64 >= k.min(4), "{kept:?} after {k}");
        assert_eq!(kept, (k + 1 - kept.len() as u64..=k).collect::<Vec<_>>());
        if k == 20 {
            bench.restart(true);
            assert_eq!(bench.machine.history.bytes, bench.machine.history.ended.len() as u64 * 2048);
            bench.connect(1);
            bench.connect(2);
            bench.welcome(1);
            bench.welcome(2);
        }
    }
    // A ticket of the time of the first is below the floor: it is never guessed at.
    let question = AskOutcome { key: key(1), ticket: Some(ticket(1, 0)), participants: Vec::new() };
    let forgotten = |effects: &[Effect]| {
        matches!(effects, [Effect::Reply { told: Told::Outcome { outcome: Outcome::Forgotten, .. }, .. }])
    };
    let effects = bench.ask(question);
    assert!(forgotten(&effects), "{effects:?}");
    // So is the log: two starts, the registry, at most five outcomes of two records, the floor.
    bench.force();
    assert!(bench.prefix(bench.writes.len()).len() <= 2 + 2 + 2 * 5 + 1);
}

#[test]
fn the_newest_outcome_is_kept_however_much_it_read() {
    let mut bench = Bench::with_config(1, Config { retention_bytes: 0, ..Config::default() });
    for k in 1..=3 {
        bench.submit(k, &[1]);
        let result = handfast_common::messages::OnePhaseResult::Committed(Payload(vec![1; 9]));
        bench.answer(1, Answer::OnePhaseEnded { xid: xid(k), result });
        bench.force();
        assert!(bench.machine.outcome_of(key(k)).is_some());
        assert_eq!((bench.machine.history.ended.len(), bench.machine.history.bytes), (1, 9));
    }
}

#[test]
fn trimming_is_one_write_and_the_registry_comes_first() {
    let mut bench = Bench::with_config(2, Config { retention_count: 1, ..Config::default() });
    bench.players.get_mut(&name(1)).expect("joined").sequence = 5;
    bench.run(1, &[1, 2]);
    bench.submit(2, &[1, 2]);
    let effects = bench.vote(1, 2, no(ReasonKind::Conflict));
    let host = |n: u64, sequence| registration(n, sequence, &format!("host:{n}"));
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
            write(6, host(1, 5), &[2]),
            write(7, host(2, 0), &[3]),
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
