//! What a participant in doubt is told, in every phase of the transaction and in every epoch.

use super::*;
use crate::protocol::Guard;

fn answered(answer: InquiryAnswer) -> Effect {
    Effect::ReplyInquiry { to: ReplyTo(8), answer }
}

fn commit() -> Effect {
    answered(InquiryAnswer::Decided(Decision::Commit))
}

fn abort() -> Effect {
    answered(InquiryAnswer::Decided(Decision::Abort))
}

fn undecided() -> Effect {
    answered(InquiryAnswer::Undecided)
}

#[test]
fn t11_f12_f14_while_the_vote_is_on_the_answer_is_undecided_and_after_it_the_decision() {
    let mut bench = Bench::with(2);
    bench.disconnect(2);
    bench.submit(1, &[1, 2]);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![undecided()], "gathering");
    bench.connect(2);
    bench.welcome(2);
    bench.vote(1, 1, yes());
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![undecided()], "preparing");
    bench.vote(2, 1, read("b"));
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![undecided()], "releasing");
    bench.answer(2, Answer::Released { xid: xid(1), held: true });
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![undecided()], "handed to the log, not on disk");
    bench.force();
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![commit()], "committing");
    bench.acknowledge(1, xid(1));
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![commit()], "ended");
}

#[test]
fn an_aborted_or_unknown_transaction_of_this_epoch_is_an_abort() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.timer(Timer::Prepare(txn(1)));
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![abort()]);
    assert_eq!(bench.inquire(1, xid(77), &[1, 2]), vec![abort()]);
}

#[test]
fn f20_another_log_another_nonce_and_another_store_are_not_answered() {
    let mut bench = Bench::with(2);
    bench.run(1, &[1, 2]);
    // Both ids begin alike: only the whole log identity decides. `c1` never speaks for `c10`.
    let other = LogId(Uuid::from_u128(LOG.0.as_u128() | 1 << 120));
    let not_mine = vec![answered(InquiryAnswer::NotMine)];
    assert_eq!(TxnId::new(other, Epoch(1), 1, Nonce(101)), txn(1));
    assert_eq!(bench.inquire(1, Xid { log: other, ..xid(1) }, &[1, 2]), not_mine);
    assert_eq!(bench.inquire(1, Xid { nonce: Nonce(7), ..xid(1) }, &[1, 2]), not_mine);
    assert_eq!(bench.inquire(1, xid_of(2, 1), &[1, 2]), not_mine, "an epoch that has not been");
    bench.players.get_mut(&name(1)).expect("joined").store = store(99);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), not_mine);
}

#[test]
fn t09a_an_older_epoch_is_presumed_upon_only_after_hello_with_all_who_can_be_reached() {
    let mut bench = Bench::with(3);
    bench.submit(1, &[1, 2, 3]);
    bench.restart(false);
    bench.connect(1);
    bench.welcome(1);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2, 3]), vec![guard(2), guard(3), undecided()]);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2, 3]), vec![undecided()], "one timer each");
    bench.connect(2);
    bench.welcome(2);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2, 3]), vec![undecided()]);
    assert_eq!(bench.timer(Timer::Guard(name(3))), vec![]);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2, 3]), vec![abort()]);
}

#[test]
fn t09a_strict_waits_for_every_one() {
    let mut bench = Bench::with_config(2, Config { guard: Guard::Strict, ..Config::default() });
    bench.submit(1, &[1, 2]);
    bench.restart(false);
    bench.connect(1);
    bench.welcome(1);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![guard(2), undecided()]);
    bench.timer(Timer::Guard(name(2)));
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![undecided()]);
    bench.connect(2);
    bench.welcome(2);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![abort()]);
}

#[test]
fn an_inquiry_that_names_nobody_waits_for_the_whole_registry() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.restart(false);
    assert_eq!(bench.inquire(1, xid(1), &[]).last(), Some(&undecided()));
}

#[test]
fn made_up_names_do_not_fill_the_memory() {
    let mut bench = Bench::with(1);
    bench.restart(false);
    for n in 0..10_000 {
        bench.inquire(1, xid(1), &[1, 1_000 + n]);
    }
    assert!(bench.machine.guards.len() <= 4_097);
    bench.connect(1);
    bench.welcome(1);
    assert_eq!(bench.inquire(1, xid(1), &[1]), vec![abort()]);
}

#[test]
fn f21_a_paused_coordinator_that_was_replaced_stops_when_it_wakes() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    let seen = handfast_common::messages::Seen { epoch: Epoch(2), nonce: Nonce(5), decisions: 0 };
    let refusal = handfast_common::messages::Refusal::Fenced(seen);
    assert!(is_stop(&bench.answer(1, Answer::Refused(refusal))));
    // And says nothing more, whatever comes.
    assert_eq!(bench.vote(2, 1, yes()), vec![]);
    assert_eq!(bench.timer(Timer::Prepare(txn(1))), vec![]);
}
