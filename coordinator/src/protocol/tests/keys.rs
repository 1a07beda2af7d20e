//! Keys and tickets within one epoch.

use handfast_common::messages::Rejection;

use super::*;

fn question(k: u64, ticket: Option<Ticket>, participants: &[u64]) -> AskOutcome {
    AskOutcome { key: key(k), ticket, participants: participants.iter().map(|n| name(*n)).collect() }
}

fn answer(told: Told) -> Vec<Effect> {
    vec![Effect::Reply { to: ReplyTo(9), told }]
}

#[test]
fn f28_a_key_that_is_being_worked_on_is_joined_by_a_resend_and_pending_to_a_question() {
    let mut bench = Bench::with(2);
    let request = bench.request(1, &[1, 2]);
    bench.submit(1, &[1, 2]);
    let again = Input::TransactionSubmitted { reply: ReplyTo(2), request: request.clone(), hash: hash(1) };
    assert_eq!(bench.give(again), vec![]);
    let pending = Told::Pending { txn: Some(txn(1)) };
    assert_eq!(bench.ask(question(1, Some(request.ticket), &[])), answer(pending.clone()));
    assert_eq!(bench.ask(question(1, None, &[])), answer(pending));
    // The first asker is gone; that is no reason to abort. Both are answered.
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    assert_eq!(bench.force()[..2], [told(1, 1, 1, committed()), told(2, 1, 1, committed())]);
}

#[test]
fn only_so_many_may_wait_for_one_transaction() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    let answered = (0..40).filter(|_| !bench.submit(1, &[1, 2]).is_empty()).count();
    assert_eq!(answered, 25);
}

#[test]
fn a_known_key_gets_the_same_answer_and_with_other_content_none() {
    let mut bench = Bench::with(2);
    let first = bench.request(1, &[1, 2]);
    let resend = |hash| Input::TransactionSubmitted { reply: ReplyTo(9), request: first.clone(), hash };
    let reused = answer(Told::Rejected(Rejection::KeyReused));
    bench.submit(1, &[1, 2]);
    assert_eq!(bench.give(resend(hash(2))), reused, "live");
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    bench.force();
    assert_eq!(bench.give(resend(hash(2))), reused, "committing");
    bench.acknowledge(1, xid(1));
    bench.acknowledge(2, xid(1));
    assert_eq!(bench.give(resend(hash(2))), reused, "ended");
    let outcome = Told::Outcome { txn: Some(txn(1)), age: Age(1), outcome: committed() };
    assert_eq!(bench.give(resend(hash(1))), answer(outcome.clone()));
    assert_eq!(bench.ask(question(1, None, &[])), answer(outcome));
}

#[test]
fn an_aborted_key_stays_aborted_and_a_retry_keeps_its_age() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    for k in 2..=5 {
        bench.submit(k, &[1, 2]);
    }
    bench.vote(1, 1, no(ReasonKind::Conflict));
    let outcome = aborted(ReasonKind::Conflict, "'p1' voted No: why");
    assert_eq!(bench.submit(1, &[1, 2]), vec![told(1, 1, 1, outcome)]);
    let retry = Submit { age: Some(Age(1)), ..bench.request(6, &[1, 2]) };
    let effects = bench.give(Input::TransactionSubmitted { reply: ReplyTo(6), request: retry, hash: hash(6) });
    assert!(matches!(said(&effects, 1)[..], [Order::Prepare(Prepare { age: Age(1), .. })]));
    // The next one is younger than all before it.
    let effects = bench.submit(7, &[1, 2]);
    assert!(matches!(said(&effects, 1)[..], [Order::Prepare(Prepare { age: Age(7), .. })]));
}

#[test]
fn an_age_without_measure_overflows_nothing() {
    let mut bench = Bench::with(2);
    for k in 1..=3 {
        let request = Submit { age: Some(Age(u64::MAX)), ..bench.request(k, &[1, 2]) };
        bench.give(Input::TransactionSubmitted { reply: ReplyTo(k), request, hash: hash(k) });
    }
    assert_eq!(bench.submit(4, &[1, 2]).len(), 3);
}

#[test]
fn t07e_a_question_with_a_present_ticket_fences_the_key() {
    let mut bench = Bench::with(2);
    let late = bench.request(1, &[1, 2]);
    let outcome = aborted(ReasonKind::Fenced, "asked about before it arrived");
    let told = Told::Outcome { txn: Some(txn(1)), age: Age(0), outcome };
    assert_eq!(bench.ask(question(1, Some(late.ticket), &[1, 2])), answer(told.clone()));
    // The late copy does not run.
    let copy = Input::TransactionSubmitted { reply: ReplyTo(9), request: late, hash: hash(1) };
    assert_eq!(bench.give(copy), answer(told));
}

#[test]
fn t07b_a_question_without_a_ticket_only_looks() {
    let mut bench = Bench::with(2);
    let told = Told::Outcome { txn: None, age: Age(0), outcome: Outcome::NotFound };
    assert_eq!(bench.ask(question(1, None, &[])), answer(told));
    assert_eq!(said(&bench.submit(1, &[1, 2]), 1).len(), 1);
}

#[test]
fn t07d_f20_a_ticket_of_another_log_or_another_start_of_it_is_never_guessed_about() {
    let mut bench = Bench::with(2);
    let good = bench.request(1, &[1, 2]);
    let forgotten = Told::Outcome { txn: None, age: Age(0), outcome: Outcome::Forgotten };
    for bad in [
        Ticket { log: LogId(Uuid::from_u128(LOG.0.as_u128() | 1 << 120)), ..good.ticket },
        Ticket { nonce: Nonce(7), ..good.ticket },
        Ticket { epoch: Epoch(2), ..good.ticket },
    ] {
        let request = Submit { ticket: bad, ..good.clone() };
        let submit = Input::TransactionSubmitted { reply: ReplyTo(9), request, hash: hash(1) };
        assert_eq!(bench.give(submit), answer(forgotten.clone()), "{bad}");
        assert_eq!(bench.ask(question(1, Some(bad), &[1, 2])), answer(forgotten.clone()), "{bad}");
    }
}
