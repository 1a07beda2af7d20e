//! One branch: the participant decides, and the coordinator asks until it knows.

use handfast_common::messages::{OnePhase, OnePhaseResult};

use super::*;
use crate::protocol::OnePhaseOutcome;

fn ended(bench: &mut Bench, result: OnePhaseResult) -> Vec<Effect> {
    bench.answer(1, Answer::OnePhaseEnded { xid: xid(1), result })
}

fn done() -> OnePhaseResult {
    OnePhaseResult::Committed(payload("r"))
}

fn refused() -> OnePhaseResult {
    OnePhaseResult::Aborted(Reason::new(ReasonKind::CheckFailed, "low"))
}

fn record() -> Record {
    let reads = BranchReads { participant: name(1), reads: payload("r") };
    Record::OnePhase(OnePhaseOutcome { xid: xid(1), key: key(1), hash: hash(1), reads })
}

fn success(to: u64) -> Effect {
    told(to, 1, 1, Outcome::Committed(vec![BranchReads { participant: name(1), reads: payload("r") }]))
}

fn ask(bench: &Bench, from: Stamp) -> Effect {
    send(1, from, Order::AskOnePhase { to: bench.who(1), xid: xid(1) })
}

#[test]
fn one_branch_takes_two_messages_one_lazy_record_and_no_forced_one() {
    let mut bench = Bench::with(1);
    let order = Order::CommitOnePhase(OnePhase {
        to: bench.who(1),
        xid: xid(1),
        age: Age(1),
        wait: Micros(2_000_000),
        key: key(1),
        hash: hash(1),
        task: Task::Carried(payload("work")),
    });
    let from = bench.stamp(0, txn(1), 1);
    assert_eq!(
        bench.submit(1, &[1]),
        vec![timer(Timer::Prepare(txn(1)), 2_000, false), timer(Timer::Silence, 250, false), send(1, from, order)]
    );
    assert_eq!(ended(&mut bench, done()), vec![success(1), append(3, record(), false)]);
    // The marker answers until the record is on disk.
    assert_eq!(bench.machine.mark().low, txn(1));
    assert_eq!(bench.submit(1, &[1]), vec![success(1)]);
    assert_eq!(bench.force(), vec![]);
    assert_eq!(bench.machine.mark().low, beyond(2));
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn a_no_is_told_and_nothing_is_written() {
    let mut bench = Bench::with(1);
    bench.submit(1, &[1]);
    let outcome = aborted(ReasonKind::CheckFailed, "'p1' refused it: low");
    assert_eq!(ended(&mut bench, refused()), vec![told(1, 1, 1, outcome)]);
    assert_eq!(ended(&mut bench, done()), vec![], "what was told stays");
}

#[test]
fn t04a_f15_a_lost_connection_is_no_abort_and_the_participant_is_asked_until_it_tells() {
    let mut bench = Bench::with(1);
    bench.submit(1, &[1]);
    assert_eq!(bench.disconnect(1), vec![timer(Timer::Resend(txn(1)), 100, true)]);
    assert_eq!(bench.timer(Timer::Prepare(txn(1))), vec![]);
    assert_eq!(bench.timer(Timer::Resend(txn(1))), vec![timer(Timer::Resend(txn(1)), 200, true)]);
    let pending = Effect::Reply { to: ReplyTo(9), told: Told::Pending { txn: Some(txn(1)) } };
    assert_eq!(bench.ask(AskOutcome { key: key(1), ticket: None, participants: Vec::new() }), vec![pending]);
    bench.connect(1);
    let from = bench.stamp(0, txn(1), 1);
    assert_eq!(bench.welcome(1), vec![ask(&bench, from)]);
    assert_eq!(ended(&mut bench, done()), vec![success(1), append(3, record(), false)]);
    assert_eq!(bench.timer(Timer::Resend(txn(1))), vec![]);
}

#[test]
fn t04a_a_timeout_asks_which_fences() {
    let mut bench = Bench::with(1);
    bench.submit(1, &[1]);
    let from = bench.stamp(0, txn(1), 1);
    assert_eq!(
        bench.timer(Timer::Prepare(txn(1))),
        vec![ask(&bench, from.clone()), timer(Timer::Resend(txn(1)), 100, true)]
    );
    assert_eq!(bench.timer(Timer::Resend(txn(1))), vec![ask(&bench, from), timer(Timer::Resend(txn(1)), 200, true)]);
    let outcome = aborted(ReasonKind::CheckFailed, "'p1' refused it: low");
    assert_eq!(ended(&mut bench, refused()), vec![told(1, 1, 1, outcome)]);
}

#[test]
fn a_welcome_that_reports_it_is_as_good_as_its_answer() {
    let mut bench = Bench::with(1);
    bench.submit(1, &[1]);
    bench.disconnect(1);
    bench.players.get_mut(&name(1)).expect("joined").incarnation = 2;
    bench.connect(1);
    let report = hello::report(xid(1), 1);
    let mut enrolled = append(3, Record::Participant(registered(1, 2, 0, "host:1")), true);
    if let Effect::Append { erase, .. } = &mut enrolled {
        erase.push(RecordNumber(2));
    }
    let effects = hello::listed(&mut bench, 1, vec![report], true);
    assert_eq!(effects, vec![enrolled, success(1), append(4, record(), false)]);
}

#[test]
fn a_participant_that_is_not_there_yet_is_waited_for_and_then_it_is_a_plain_abort() {
    let mut bench = Bench::with(1);
    bench.disconnect(1);
    bench.submit(1, &[1]);
    assert_eq!(
        bench.timer(Timer::Prepare(txn(1))),
        vec![told(1, 1, 1, aborted(ReasonKind::Unreachable, "not reachable: p1"))]
    );
}

#[test]
fn t04c_told_committed_stays_committed_when_the_lazy_record_is_lost() {
    let mut bench = Bench::with(1);
    let request = bench.request(1, &[1]);
    bench.submit(1, &[1]);
    ended(&mut bench, done());
    bench.restart(false);
    let resend = Input::TransactionSubmitted { reply: ReplyTo(1), request, hash: hash(1) };
    let pending = Effect::Reply { to: ReplyTo(1), told: Told::Pending { txn: None } };
    assert_eq!(bench.give(resend.clone()), vec![guard(1), pending]);
    bench.connect(1);
    hello::listed(&mut bench, 1, vec![hello::report(xid(1), 1)], true);
    let reads = vec![BranchReads { participant: name(1), reads: payload("r") }];
    assert_eq!(bench.give(resend), vec![told(1, 1, 0, Outcome::Committed(reads))]);
}

#[test]
fn a_participant_that_committed_what_was_told_aborted_stops_everything() {
    let mut bench = Bench::with(1);
    bench.submit(1, &[1]);
    ended(&mut bench, refused());
    bench.disconnect(1);
    bench.connect(1);
    let effects = hello::listed(&mut bench, 1, vec![hello::report(xid(1), 1)], true);
    assert!(is_stop(&effects));
    assert_eq!(effects.len(), 1);
}
