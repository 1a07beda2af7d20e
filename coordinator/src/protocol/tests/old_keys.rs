//! Keys whose ticket is of an earlier epoch: definite, but never a guess.

use handfast_common::messages::Begun;

use super::hello::{listed, report};
use super::*;

fn question(k: u64, participants: &[u64]) -> AskOutcome {
    let participants = participants.iter().map(|n| name(*n)).collect();
    AskOutcome { key: key(k), ticket: Some(ticket(1, 0)), participants }
}

fn answer(told: Told) -> Effect {
    Effect::Reply { to: ReplyTo(9), told }
}

fn pending() -> Effect {
    answer(Told::Pending { txn: None })
}

fn presumed() -> Effect {
    let outcome = aborted(ReasonKind::Presumed, "an earlier start of the coordinator did not commit it");
    answer(Told::Outcome { txn: None, age: Age(0), outcome })
}

fn greet(bench: &mut Bench, n: u64) {
    bench.connect(n);
    bench.welcome(n);
}

#[test]
fn t09d_several_branches_are_presumed_aborted_after_hello_with_all_who_can_be_reached() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.restart(false);
    greet(&mut bench, 1);
    let guard = timer(Timer::Guard(name(2)), 2_000, false);
    assert_eq!(bench.ask(question(1, &[1, 2])), vec![guard, pending()]);
    bench.timer(Timer::Guard(name(2)));
    assert_eq!(bench.ask(question(1, &[1, 2])), vec![presumed()]);
}

#[test]
fn t04d_one_branch_is_presumed_aborted_only_when_its_own_participant_has_answered() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1]);
    bench.restart(false);
    greet(&mut bench, 2);
    assert_eq!(bench.ask(question(1, &[1])), vec![guard(1), pending()]);
    for _ in 0..3 {
        // However long it takes: no timer excuses it.
        assert_eq!(bench.ask(question(1, &[1])), vec![pending()]);
        bench.timer(Timer::Guard(name(1)));
    }
    bench.connect(1);
    listed(&mut bench, 1, vec![report(xid(1), 1)], true);
    let reads = vec![BranchReads { participant: name(1), reads: payload("r") }];
    let told = Told::Outcome { txn: Some(txn(1)), age: Age(0), outcome: Outcome::Committed(reads) };
    assert_eq!(bench.ask(question(1, &[1])), vec![answer(told)]);
    assert_eq!(bench.ask(question(2, &[1])), vec![presumed()]);
}

#[test]
fn t04d_a_question_that_names_nobody_waits_for_the_whole_registry() {
    let mut bench = Bench::with(3);
    bench.submit(1, &[1]);
    bench.restart(false);
    assert_eq!(bench.ask(question(1, &[])), vec![guard(1), guard(2), guard(3), pending()]);
    for n in [1, 2, 3] {
        assert_eq!(bench.ask(question(1, &[])), vec![pending()]);
        greet(&mut bench, n);
    }
    assert_eq!(bench.ask(question(1, &[])), vec![presumed()]);
}

#[test]
fn t07c_a_begin_of_an_older_epoch_is_never_opened() {
    let mut bench = Bench::with(1);
    let begin = bench.begin_of(1);
    bench.restart(false);
    let begun = |told| Effect::ReplyBegun { to: ReplyTo(9), begun: Begun::Told(told) };
    let resend = Input::BeginRequested { reply: ReplyTo(9), begin };
    // Its answer may have been lost, and its work committed by one participant alone.
    assert_eq!(bench.give(resend.clone()), vec![guard(1), begun(Told::Pending { txn: None })]);
    greet(&mut bench, 1);
    let reason = Reason::new(ReasonKind::Presumed, "an earlier start of the coordinator did not commit it");
    let told = Told::Outcome { txn: None, age: Age(0), outcome: Outcome::Aborted(reason) };
    assert_eq!(bench.give(resend), vec![begun(told)]);
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn t07c_a_resend_of_an_older_epoch_is_never_begun() {
    let mut bench = Bench::with(2);
    let old = bench.request(1, &[1, 2]);
    bench.restart(false);
    for n in [1, 2] {
        greet(&mut bench, n);
    }
    let resend = Input::TransactionSubmitted { reply: ReplyTo(9), request: old, hash: hash(1) };
    assert_eq!(bench.give(resend), vec![presumed()]);
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn t07a_a_ticket_below_the_floor_is_forgotten_also_after_a_restart() {
    let config = Config { retention_count: 2, ..Config::default() };
    let mut bench = Bench::with_config(2, config);
    let old = bench.request(1, &[1, 2]);
    for k in 1..=6 {
        bench.run(k, &[1, 2]);
    }
    for age in [6, 0] {
        let forgotten = Told::Outcome { txn: None, age: Age(age), outcome: Outcome::Forgotten };
        let resend = Input::TransactionSubmitted { reply: ReplyTo(9), request: old.clone(), hash: hash(1) };
        assert_eq!(bench.give(resend), vec![answer(forgotten.clone())]);
        let told = bench.ask(AskOutcome { key: key(1), ticket: Some(old.ticket), participants: Vec::new() });
        assert_eq!(told, vec![answer(forgotten)]);
        bench.restart(true);
    }
    // What is above the floor is still definite.
    let told = bench.ask(AskOutcome { key: key(6), ticket: None, participants: Vec::new() });
    assert!(matches!(told[..], [Effect::Reply { told: Told::Outcome { outcome: Outcome::Committed(_), .. }, .. }]));
}

#[test]
fn a_key_that_a_lost_start_committed_and_that_came_again_under_a_new_ticket_bricks_no_log() {
    let mut bench = Bench::with(1);
    bench.submit(1, &[1]);
    bench.restart(false);
    // A fresh ticket for an old key is the client's mistake; it must not cost the log.
    bench.submit(1, &[1]);
    bench.connect(1);
    listed(&mut bench, 1, vec![report(xid(1), 1)], true);
    let done = handfast_common::messages::OnePhaseResult::Committed(payload("r"));
    bench.answer(1, Answer::OnePhaseEnded { xid: xid_of(2, 1), result: done });
    bench.force();
    bench.restart(true);
    assert!(matches!(bench.machine.outcome_of(key(1)), Some(Outcome::Committed(_))));
}
