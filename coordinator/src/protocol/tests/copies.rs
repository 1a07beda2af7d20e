//! Copies of the log, older ones and foreign ones: what participants have seen decides who goes on.

use handfast_common::messages::{Refusal, Seen};

use super::hello::{hello, seen};
use super::*;

fn foreign(epoch: u64) -> Seen {
    Seen { nonce: Nonce(1), ..seen(epoch, 0) }
}

/// Participant `n` has seen this last, and not what Hello said.
fn seen_before(bench: &mut Bench, n: u64, seen: Seen) -> Vec<Effect> {
    bench.answer(n, Answer::Refused(Refusal::SeenBefore(seen)))
}

#[test]
fn f10_t08b_whoever_has_seen_a_start_that_is_not_in_the_line_stops_this_one() {
    for refusal in [
        Refusal::Fenced(foreign(3)),
        Refusal::ForeignNonce(foreign(2)),
        Refusal::SeenBefore(foreign(1)),
        Refusal::SeenBefore(seen(1, 1)),
    ] {
        let mut bench = Bench::with(1);
        bench.restart(true);
        bench.connect(1);
        assert!(is_stop(&bench.answer(1, Answer::Refused(refusal.clone()))), "{refusal:?}");
    }
}

#[test]
fn t08b_an_older_copy_leaves_no_trace_and_the_newest_enters() {
    let mut newest = Bench::with(2);
    newest.run(1, &[1, 2]);
    let mut older = newest.clone();
    // The right one goes on: a start, a decision and another start that this participant never hears of.
    newest.restart(true);
    for n in 1..=2 {
        newest.connect(n);
        newest.welcome(n);
    }
    newest.run(2, &[1, 2]);
    let last = newest.machine.stamp(&name(1));
    let last = Seen { epoch: last.epoch, nonce: last.nonce, decisions: last.decisions };
    assert_eq!(last, seen(2, 2));
    newest.restart(true);
    newest.restart(true);

    // The copy comes to starts of the same numbers, and beyond. It never claims to come after what was seen here.
    for _ in 0..4 {
        let nonce = Nonce(1_000 + older.epoch);
        let records = older.prefix(older.writes.len());
        let at = older.writes.last().map(|(number, ..)| *number).unwrap_or_default();
        let (machine, effects) =
            Coordinator::recover(older.config.clone(), LOG, nonce, records, at).expect("a sound log");
        (older.machine, older.epoch) = (machine, older.epoch + 1);
        older.check(&effects);
        older.force();
        let effects = older.connect(1);
        let [Order::Hello { after: Some(after), .. }] = said(&effects, 1)[..] else { panic!("{effects:?}") };
        assert_ne!((after.epoch, after.nonce), (last.epoch, last.nonce));
        let effects = seen_before(&mut older, 1, last);
        let [Effect::Stop { why }] = &effects[..] else { panic!("{effects:?}") };
        assert!(why.contains("an old or a second copy. Start the newest copy only"), "{why}");
    }

    // The newest takes another start of its own for the last one that was seen, and puts that right at once.
    let from = newest.stamp(2, nothing(), 0);
    assert_eq!(newest.connect(1), vec![hello(1, from.clone(), Some(seen(3, 2)))]);
    assert_eq!(seen_before(&mut newest, 1, last), vec![hello(1, from, Some(last))]);
    newest.submit(3, &[1]);
    assert!(matches!(said(&newest.welcome(1), 1)[..], [Order::CommitOnePhase(_)]));
    // It has been told: the next connection begins with that.
    newest.disconnect(1);
    let effects = newest.connect(1);
    let [Order::Hello { after, .. }] = said(&effects, 1)[..] else { panic!("{effects:?}") };
    assert_eq!(*after, Some(last));
}

#[test]
fn t08b_a_lost_answer_does_not_hide_a_foreign_epoch() {
    // What a participant has seen comes with every refusal: known starts are named, a foreign one stops, always before
    // the first order.
    for told in [vec![foreign(2)], vec![seen(1, 0), foreign(2)], vec![seen(2, 0), seen(1, 0), foreign(1)]] {
        let mut bench = Bench::with(1);
        bench.restart(true);
        bench.restart(true);
        bench.submit(1, &[1]);
        for _ in 0..2 {
            bench.connect(1);
            bench.disconnect(1);
        }
        for (n, seen) in (1..).zip(&told) {
            bench.connect(1);
            let effects = seen_before(&mut bench, 1, *seen);
            assert_eq!(is_stop(&effects), n == told.len(), "{told:?}: {effects:?}");
            let only_hello = said(&effects, 1).iter().all(|order| matches!(order, Order::Hello { .. }));
            assert!(only_hello, "{told:?}: {effects:?}");
            bench.disconnect(1);
        }
    }
}

#[test]
fn hello_is_said_once_after_each_start_over_one_connection_and_only_before_a_welcome() {
    let mut bench = Bench::with(1);
    bench.restart(true);
    bench.restart(true);
    bench.connect(1);
    let again = seen_before(&mut bench, 1, seen(1, 0));
    assert_eq!(again, vec![hello(1, bench.stamp(0, nothing(), 0), Some(seen(1, 0)))]);
    let effects = seen_before(&mut bench, 1, seen(1, 0));
    assert!(matches!(&effects[..], [Effect::HangUp { .. }]), "{effects:?}");
    bench.disconnect(1);
    assert_eq!(seen_before(&mut bench, 1, seen(2, 0)), vec![]);
    bench.connect(1);
    bench.welcome(1);
    assert_eq!(seen_before(&mut bench, 1, seen(2, 0)), vec![]);
}

#[test]
fn t09a_whoever_has_seen_more_decisions_than_the_log_has_stops_it() {
    let before = [(Refusal::SeenBefore(seen(1, 2)), false), (Refusal::SeenBefore(seen(1, 3)), true)];
    let present = [(Refusal::Fenced(seen(2, 2)), false), (Refusal::Fenced(seen(2, 3)), true)];
    for (refusal, stops) in before.into_iter().chain(present) {
        let mut bench = Bench::with(2);
        for k in 1..=2 {
            bench.run(k, &[1, 2]);
        }
        bench.restart(true);
        bench.connect(1);
        assert_eq!(is_stop(&bench.answer(1, Answer::Refused(refusal.clone()))), stops, "{refusal:?}");
    }
}

#[test]
fn t09b_a_decision_that_is_not_on_disk_is_never_counted_on_a_message() {
    let mut bench = Bench::with(2);
    for k in 1..=2 {
        bench.submit(k, &[1, 2]);
    }
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    let effects = bench.submit(3, &[1, 2]);
    let Some(Effect::Send { message, .. }) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(message.from.decisions, 0);
    // Power fails before the force: whoever has heard of it has heard of none, and lets the next start in.
    bench.restart(false);
    let from = bench.stamp(0, nothing(), 0);
    assert_eq!(bench.connect(1), vec![hello(1, from, Some(seen(1, 0)))]);
    assert!(!is_stop(&seen_before(&mut bench, 1, seen(1, 0))));
}

#[test]
fn t09c_trimming_does_not_lower_the_number_of_decisions() {
    let config = Config { retention_count: 1, ..Config::default() };
    let mut bench = Bench::with_config(2, config);
    for k in 1..=9 {
        bench.run(k, &[1, 2]);
    }
    bench.run(10, &[1]);
    bench.run(11, &[1]);
    for _ in 0..3 {
        bench.restart(true);
        assert_eq!(bench.machine.stamp(&name(1)).decisions, 9);
    }
    // Nor that of any start: a participant that has heard of all of them lets it in.
    let effects = bench.connect(1);
    let [Order::Hello { after, .. }] = said(&effects, 1)[..] else { panic!("{effects:?}") };
    assert_eq!(*after, Some(seen(3, 9)));
    let effects = seen_before(&mut bench, 1, seen(1, 4));
    let [Order::Hello { after, .. }] = said(&effects, 1)[..] else { panic!("{effects:?}") };
    assert_eq!(*after, Some(seen(1, 9)));
}

#[test]
fn t08a_f40_two_copies_of_one_folder_are_told_apart_by_their_nonce() {
    let bench = Bench::with(1);
    let records = bench.prefix(bench.writes.len());
    let last = RecordNumber(2);
    let copy =
        |nonce| Coordinator::recover(Config::default(), LOG, Nonce(nonce), records.clone(), last).expect("sound").0;
    let (_, epoch, nonce, _) = copy(1).standing();
    let (_, other_epoch, other_nonce, _) = copy(2).standing();
    assert_eq!(epoch, other_epoch);
    assert_ne!(nonce, other_nonce);
    // The participant has seen the other copy: refused, and the refusal stops whoever gets it.
    let mut bench = Bench::with(1);
    let refusal = Refusal::ForeignNonce(Seen { epoch: Epoch(1), nonce: Nonce(2), decisions: 0 });
    assert!(is_stop(&bench.answer(1, Answer::Refused(refusal))));
}
