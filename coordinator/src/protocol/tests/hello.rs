//! Hello: the line, the store, and what was committed in one phase.

use handfast_common::limits::MAX_MARK_EXCEPTIONS;
use handfast_common::messages::{KnownStart, Refusal, Seen, Unconfirmed};

use super::*;

pub(super) fn report(xid: Xid, k: u64) -> Unconfirmed {
    Unconfirmed { xid, key: key(k), hash: hash(k), reads: payload("r") }
}

pub(super) fn listed(bench: &mut Bench, n: u64, unconfirmed: Vec<Unconfirmed>, complete: bool) -> Vec<Effect> {
    bench.answer(n, Answer::Welcome(Welcome { unconfirmed, complete, remembers: true }))
}

/// Hello to participant `n`, which is taken to have seen `after` last.
pub(super) fn hello(n: u64, from: Stamp, after: Option<Seen>) -> Effect {
    let known = Some(KnownStart { incarnation: Incarnation(1), sequence: 0 });
    send(n, from, Order::Hello { name: name(n), coordinator: own_name(), known, after })
}

pub(super) fn seen(epoch: u64, decisions: u64) -> Seen {
    Seen { epoch: Epoch(epoch), nonce: Nonce(100 + epoch), decisions }
}

#[test]
fn hello_comes_before_everything_and_its_first_mark_covers_nothing() {
    let mut bench = Bench::with(1);
    bench.run(1, &[1]);
    bench.restart(true);
    bench.submit(2, &[1]);
    let from = bench.stamp(0, nothing(), 1);
    assert_eq!(bench.connect(1), vec![hello(1, from, Some(seen(1, 0)))]);
    assert_eq!(said(&bench.welcome(1), 1).len(), 1);
}

#[test]
fn t04c_a_welcome_that_was_lost_does_not_let_the_mark_pass_what_it_reported() {
    let mut bench = Bench::with(2);
    bench.run(1, &[1, 2]);
    bench.restart(true);
    // The participant forces the epoch and answers, but the connection breaks: the second Hello must not trim.
    for _ in 0..2 {
        let from = bench.stamp(1, nothing(), 0);
        assert_eq!(bench.connect(1), vec![hello(1, from, Some(seen(1, 1)))]);
        bench.disconnect(1);
    }
    // Nor may the answer to a registration, which comes over another connection.
    let register = Register { from: bench.identity(1), address: "host:1".into(), seen: None };
    let from = bench.stamp(1, nothing(), 0);
    let answer = handfast_common::messages::Registered::Welcome(from);
    assert_eq!(
        bench.give(Input::ParticipantRegistered { reply: ReplyTo(3), register: register.clone() }),
        vec![Effect::ReplyRegistered { to: ReplyTo(3), answer }]
    );
    bench.connect(1);
    bench.welcome(1);
    let from = bench.stamp(1, TxnId::new(LOG, Epoch(2), 1, Nonce(0)), 0);
    let answer = handfast_common::messages::Registered::Welcome(from);
    assert_eq!(
        bench.give(Input::ParticipantRegistered { reply: ReplyTo(3), register }),
        vec![Effect::ReplyRegistered { to: ReplyTo(3), answer }]
    );
}

#[test]
fn t04c_a_one_phase_commit_without_a_record_is_made_up_for_before_the_mark_passes_it() {
    let mut bench = Bench::with(1);
    bench.submit(1, &[1]);
    bench.restart(false);
    bench.connect(1);
    let outcome = super::super::OnePhaseOutcome {
        xid: xid(1),
        key: key(1),
        hash: hash(1),
        reads: BranchReads { participant: name(1), reads: payload("r") },
    };
    let record = append(4, Record::OnePhase(outcome), false);
    assert_eq!(listed(&mut bench, 1, vec![report(xid(1), 1)], true), vec![record]);
    assert_eq!(bench.machine.mark_for(&name(1)).low, txn(1));
    // Twice is as good as once.
    bench.disconnect(1);
    bench.connect(1);
    assert_eq!(listed(&mut bench, 1, vec![report(xid(1), 1)], true), vec![]);
    bench.force();
    assert_eq!(bench.machine.mark_for(&name(1)).low.epoch(), Epoch(2));
    let reads = vec![BranchReads { participant: name(1), reads: payload("r") }];
    assert_eq!(bench.submit(1, &[1]), vec![told(1, 1, 0, Outcome::Committed(reads))]);
}

#[test]
fn a_list_that_was_cut_short_goes_on_when_its_beginning_is_written_and_work_goes_on_meanwhile() {
    let mut bench = Bench::with(1);
    for k in 1..=4 {
        bench.submit(k, &[1]);
    }
    bench.restart(false);
    bench.connect(1);
    bench.submit(5, &[1]);
    let effects = listed(&mut bench, 1, vec![report(xid(1), 1), report(xid(2), 2)], false);
    // Two records, and the transaction that waited for the participant.
    assert_eq!(effects.len(), 3);
    assert_eq!(said(&effects, 1).len(), 1);
    let effects = bench.force();
    let above = TxnId(Uuid::from_u128(txn(2).0.as_u128() + 1));
    assert_eq!(effects, vec![hello(1, bench.stamp(0, above, 1), Some(seen(1, 0)))]);
    assert_eq!(listed(&mut bench, 1, vec![report(xid(3), 3), report(xid(4), 4)], true).len(), 2);
    assert_eq!(bench.force(), vec![], "no third Hello");
    assert_eq!(bench.machine.mark_for(&name(1)).low, txn_of(2, 1));
}

#[test]
fn a_list_that_can_not_go_on_is_not_asked_for_again_and_again() {
    // More commits than a mark may step over wait for a participant that is away.
    let stuck = MAX_MARK_EXCEPTIONS as u64 + 1;
    let mut bench = Bench::with(3);
    for k in 1..=stuck {
        bench.submit(k, &[2, 3]);
        bench.vote(2, k, yes());
        bench.vote(3, k, yes());
    }
    bench.submit(stuck + 1, &[1]);
    bench.force();
    bench.restart(false);
    for _ in 0..5 {
        for t in 1..=stuck {
            bench.timer(Timer::Resend(txn(t)));
        }
    }
    bench.connect(1);
    bench.submit(1_000, &[1]);
    let effects = listed(&mut bench, 1, vec![report(xid(stuck + 1), stuck + 1)], false);
    assert!(matches!(said(&effects, 1)[..], [Order::CommitOnePhase(_)]), "{effects:?}");
    assert_eq!(bench.force(), vec![]);
    // A key that it may hold is not presumed upon.
    let question = AskOutcome { key: key(9_999), ticket: Some(ticket(1, 0)), participants: vec![name(1)] };
    let pending = Effect::Reply { to: ReplyTo(9), told: Told::Pending { txn: None } };
    assert_eq!(bench.ask(question), vec![guard(1), pending]);
}

#[test]
fn a_second_welcome_is_not_listened_to() {
    let mut bench = Bench::with(1);
    assert_eq!(listed(&mut bench, 1, vec![report(xid(7), 7)], true), vec![]);
    bench.disconnect(1);
    assert_eq!(bench.welcome(1), vec![]);
}

#[test]
fn t08_a_one_phase_commit_of_an_unknown_start_stops_and_never_reaches_the_log() {
    let mut bench = Bench::with(1);
    bench.restart(true);
    bench.connect(1);
    let foreign = Xid { nonce: Nonce(1), ..xid(1) };
    let effects = listed(&mut bench, 1, vec![report(foreign, 1)], true);
    assert!(is_stop(&effects));
    assert_eq!(effects.len(), 1);
}

#[test]
fn refusals_that_show_no_other_start_only_hang_up() {
    let own = seen(1, 0);
    for refusal in
        [Refusal::HelloFirst, Refusal::WrongAddressee, Refusal::OtherContent, Refusal::BelowMark, Refusal::Fenced(own)]
    {
        let mut bench = Bench::with(1);
        let effects = bench.answer(1, Answer::Refused(refusal.clone()));
        assert!(matches!(effects[..], [Effect::HangUp { .. }]), "{refusal:?}: {effects:?}");
    }
}
