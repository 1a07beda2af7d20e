//! Hello: the line, the store, and what was committed in one phase.

use handfast_common::limits::MAX_MARK_EXCEPTIONS;
use handfast_common::messages::{KnownStart, Refusal, Seen, Unconfirmed};

use super::*;

fn welcomed(bench: &mut Bench, n: u64, seen: Option<Seen>) -> Vec<Effect> {
    bench.answer(
        n,
        Answer::Welcome(Welcome {
            seen: seen.into_iter().collect(),
            unconfirmed: Vec::new(),
            complete: true,
            remembers: true,
        }),
    )
}

pub(super) fn report(xid: Xid, k: u64) -> Unconfirmed {
    Unconfirmed { xid, key: key(k), hash: hash(k), reads: payload("r") }
}

pub(super) fn listed(bench: &mut Bench, n: u64, unconfirmed: Vec<Unconfirmed>, complete: bool) -> Vec<Effect> {
    bench.answer(n, Answer::Welcome(Welcome { seen: Vec::new(), unconfirmed, complete, remembers: true }))
}

fn hello(n: u64, from: Stamp) -> Effect {
    let known = Some(KnownStart { incarnation: Incarnation(1), sequence: 0 });
    send(n, from, Order::Hello { name: name(n), coordinator: own_name(), known })
}

fn seen(epoch: u64, decisions: u64) -> Seen {
    Seen { epoch: Epoch(epoch), nonce: Nonce(100 + epoch), decisions }
}

#[test]
fn hello_comes_before_everything_and_its_first_mark_covers_nothing() {
    let mut bench = Bench::with(1);
    bench.run(1, &[1]);
    bench.restart(true);
    bench.submit(2, &[1]);
    let from = bench.stamp(0, nothing(), 1);
    assert_eq!(bench.connect(1), vec![hello(1, from)]);
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
        assert_eq!(bench.connect(1), vec![hello(1, from)]);
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
    assert_eq!(effects, vec![hello(1, bench.stamp(0, above, 1))]);
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
    assert_eq!(welcomed(&mut bench, 1, None), vec![]);
}

#[test]
fn f10_t08b_whoever_has_seen_a_start_that_is_not_in_the_line_stops_this_one() {
    for foreign in [
        Seen { epoch: Epoch(3), nonce: Nonce(1), decisions: 0 },
        Seen { epoch: Epoch(2), nonce: Nonce(1), decisions: 0 },
        Seen { epoch: Epoch(1), nonce: Nonce(1), decisions: 0 },
    ] {
        let mut bench = Bench::with(1);
        bench.restart(true);
        bench.connect(1);
        assert!(is_stop(&welcomed(&mut bench, 1, Some(foreign))), "{foreign:?}");
    }
}

#[test]
fn t08b_a_lost_welcome_does_not_hide_a_foreign_epoch() {
    // The participant has seen a copy's epoch 2 and then our 3, whose Welcome was lost: it tells of both, in any order.
    let foreign = Seen { epoch: Epoch(2), nonce: Nonce(1), decisions: 0 };
    let sound = [seen(1, 0), seen(2, 0), seen(3, 0)];
    let told = [vec![foreign, seen(3, 0)], vec![seen(3, 0), foreign], vec![seen(1, 0), foreign, seen(3, 0)]];
    let more_decisions = vec![seen(1, 0), seen(2, 1), seen(3, 0)];
    for (told, stops) in
        told.into_iter().map(|told| (told, true)).chain([(more_decisions, true), (sound.into(), false)])
    {
        let mut bench = Bench::with(1);
        bench.restart(true);
        bench.restart(true);
        bench.submit(1, &[1]);
        for _ in 0..2 {
            bench.connect(1);
            bench.disconnect(1);
        }
        bench.connect(1);
        let welcome = Welcome { seen: told.clone(), unconfirmed: Vec::new(), complete: true, remembers: true };
        let effects = bench.answer(1, Answer::Welcome(welcome));
        assert_eq!(is_stop(&effects), stops, "{told:?}: {effects:?}");
        // No order goes out before the whole list is accepted.
        assert_eq!(said(&effects, 1).is_empty(), stops, "{told:?}: {effects:?}");
    }
}

#[test]
fn t09a_whoever_has_seen_more_decisions_than_the_log_has_stops_it() {
    for (known, stops) in [(seen(1, 2), false), (seen(1, 3), true), (seen(2, 2), false), (seen(2, 3), true)] {
        let mut bench = Bench::with(2);
        for k in 1..=2 {
            bench.run(k, &[1, 2]);
        }
        bench.restart(true);
        bench.connect(1);
        assert_eq!(is_stop(&welcomed(&mut bench, 1, Some(known))), stops, "{known:?}");
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
    // Power fails before the force: whoever has heard of it has heard of none.
    bench.restart(false);
    bench.connect(1);
    assert!(!is_stop(&welcomed(&mut bench, 1, Some(seen(1, 0)))));
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
    bench.connect(1);
    assert!(!is_stop(&welcomed(&mut bench, 1, Some(seen(1, 9)))));
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
