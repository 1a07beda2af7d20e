//! The guard against copied and wiped stores, and an operator's way out of it.

use handfast_common::limits::MAX_MARK_EXCEPTIONS;
use handfast_common::messages::{
    KnownStart, Refusal, Registered, RegistryAct, RegistryAnswer, RegistryLine, RegistryOrder,
};

use super::*;
use crate::protocol::{Guard, OperatorAct};

const OUT: &str = "handfast registry remove p1 --reason TEXT";

fn answered(answer: RegistryAnswer) -> Effect {
    Effect::ReplyRegistry { to: ReplyTo(800), answer }
}

fn refused(effects: &[Effect]) -> &str {
    let [Effect::ReplyRegistry { answer: RegistryAnswer::Refused(why), .. }] = effects else { panic!("{effects:?}") };
    why
}

fn removed(registration: Registration) -> Record {
    Record::Operator { act: OperatorAct::Removed(registration), reason: "burnt".into() }
}

fn welcome(remembers: bool) -> Answer {
    Answer::Welcome(Welcome { unconfirmed: Vec::new(), complete: true, remembers })
}

fn undecided() -> Effect {
    Effect::ReplyInquiry { to: ReplyTo(8), answer: InquiryAnswer::Undecided }
}

fn abort() -> Effect {
    Effect::ReplyInquiry { to: ReplyTo(8), answer: InquiryAnswer::Decided(Decision::Abort) }
}

fn line(bench: &Bench, n: u64) -> RegistryLine {
    bench.machine.registry().lines.into_iter().find(|line| line.name == name(n)).expect("a line")
}

/// A strict coordinator in its second epoch, of which only p1 and p2 are back; its first epoch began a transaction with
/// all three.
fn strict() -> Bench {
    let mut bench = Bench::with_config(3, Config { guard: Guard::Strict, ..Config::default() });
    bench.submit(1, &[1, 2, 3]);
    bench.restart(false);
    for n in [1, 2] {
        bench.connect(n);
        bench.welcome(n);
    }
    bench
}

#[test]
fn a_new_start_is_in_the_registry_on_disk_before_it_is_asked_for_anything() {
    let mut bench = Bench::with(1);
    bench.disconnect(1);
    bench.submit(1, &[1]);
    bench.players.insert(name(1), Player { store: store(1), incarnation: 2, sequence: 4 });
    let hello = |known| Order::Hello { name: name(1), coordinator: own_name(), known: Some(known), after: None };
    let known = KnownStart { incarnation: Incarnation(1), sequence: 0 };
    assert_eq!(said(&bench.connect(1), 1), vec![&hello(known)]);
    let write = Effect::Append {
        number: RecordNumber(3),
        record: Record::Participant(registered(1, 2, 4, "host:1")),
        erase: vec![RecordNumber(2)],
        force: true,
    };
    assert_eq!(bench.welcome(1), vec![write]);
    // It breaks and stands again before the disk is done; a registration comes between.
    bench.disconnect(1);
    let known = KnownStart { incarnation: Incarnation(2), sequence: 4 };
    assert_eq!(said(&bench.connect(1), 1), vec![&hello(known)]);
    assert_eq!(bench.welcome(1), vec![]);
    assert_eq!(register(&mut bench, 1, "host:1"), vec![]);
    let effects = bench.force();
    assert!(matches!(effects[0], Effect::ReplyRegistered { answer: Registered::Welcome(_), .. }));
    assert!(matches!(said(&effects, 1)[..], [Order::CommitOnePhase(_)]));
    // The same start needs no record, in the next epoch either.
    bench.restart(true);
    bench.connect(1);
    assert_eq!(bench.welcome(1), vec![]);
}

#[test]
fn a_registration_overtaken_by_a_newer_one_does_not_open_the_door() {
    let mut bench = Bench::alone(Config::default());
    bench.players.insert(name(1), Player { store: store(1), incarnation: 1, sequence: 0 });
    register(&mut bench, 1, "a:1");
    bench.submit(1, &[1]);
    bench.players.get_mut(&name(1)).expect("joined").incarnation = 2;
    bench.connect(1);
    bench.welcome(1);
    // The first record is on disk, the one that names the start that welcomed us is not.
    bench.forced = RecordNumber(2);
    assert_eq!(bench.give(Input::RecordsForced { upto: RecordNumber(2) }), vec![]);
    let effects = bench.force();
    assert!(matches!(effects[0], Effect::ReplyRegistered { answer: Registered::Welcome(_), .. }));
    assert_eq!(said(&effects, 1).len(), 1);
}

#[test]
fn t06_t10a_a_copied_store_that_does_not_remember_its_last_start_is_refused_at_both_doors() {
    let mut bench = Bench::with(2);
    bench.players.get_mut(&name(1)).expect("joined").sequence = 9;
    bench.answer(1, Answer::Received);
    bench.disconnect(1);
    // The copy has run a start of its own, and counted as far.
    bench.players.insert(name(1), Player { store: store(1), incarnation: 5, sequence: 9 });
    bench.connect(1);
    let effects = bench.answer(1, welcome(false));
    let [Effect::HangUp { why, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert!(why.contains("does not remember its start 0000000000000001 up to sequence 9"), "{why}");
    assert!(why.contains("start it on its newest data folder") && why.contains(OUT), "{why}");
    bench.disconnect(1);
    let effects = register(&mut bench, 1, "copy:1");
    assert!(matches!(&effects[..], [Effect::ReplyRegistered { answer: Registered::Refused(at), .. }] if at == why));
    assert_eq!((line(&bench, 1).state.as_str(), line(&bench, 1).why.as_ref()), ("refused", Some(why)));
    // Nothing waits meanwhile, and the original is welcome.
    bench.run(1, &[2]);
    bench.players.insert(name(1), Player { store: store(1), incarnation: 6, sequence: 9 });
    bench.come_back(1);
    assert_eq!((line(&bench, 1).state.as_str(), line(&bench, 1).why), ("ready", None));
}

#[test]
fn t06_every_refusal_names_the_way_out() {
    for player in [
        Player { store: store(99), incarnation: 2, sequence: 9 },
        Player { store: store(1), incarnation: 2, sequence: 8 },
    ] {
        let mut bench = Bench::with(1);
        bench.players.get_mut(&name(1)).expect("joined").sequence = 9;
        bench.answer(1, Answer::Received);
        bench.disconnect(1);
        bench.players.insert(name(1), player);
        let effects = register(&mut bench, 1, "b:1");
        let [Effect::ReplyRegistered { answer: Registered::Refused(why), .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert!(why.contains(OUT), "{why}");
        bench.connect(1);
        let effects = bench.welcome(1);
        let [Effect::HangUp { why, .. }] = &effects[..] else { panic!("{effects:?}") };
        assert!(why.contains(OUT), "{why}");
        // And it works: whoever comes next under the name is new.
        bench.disconnect(1);
        bench.order(RegistryAct::Remove, 1, false);
        assert_eq!(bench.force(), vec![answered(RegistryAnswer::Done)]);
        assert!(matches!(
            register(&mut bench, 1, "b:1")[..],
            [Effect::Dial { .. }, Effect::Append { force: true, .. }]
        ));
        bench.connect(1);
        bench.welcome(1);
        bench.submit(1, &[1]);
        assert_eq!(said(&bench.force(), 1).len(), 1);
    }
}

#[test]
fn t09_a_participant_that_knows_this_name_by_another_log_stops_the_coordinator() {
    let known = LogId(Uuid::from_u128(7));
    let mut bench = Bench::with(1);
    let effects = bench.answer(1, Answer::Refused(Refusal::OtherLog(known)));
    let [Effect::Stop { why }] = &effects[..] else { panic!("{effects:?}") };
    assert!(why.contains("'p1'") && why.contains(&known.0.to_string()) && why.contains(&LOG.0.to_string()), "{why}");
    assert!(why.contains("--name"), "{why}");
    // Somebody else's participant at a wrong address is no reason.
    let mut bench = Bench::with(1);
    bench.players.get_mut(&name(1)).expect("joined").store = store(99);
    let effects = bench.answer(1, Answer::Refused(Refusal::OtherLog(known)));
    assert!(matches!(effects[..], [Effect::HangUp { .. }]), "{effects:?}");
}

#[test]
fn a_removal_is_recorded_before_it_is_answered_and_outlives_restarts() {
    let mut bench = Bench::with(2);
    bench.disconnect(1);
    let record = Effect::Append {
        number: RecordNumber(4),
        record: removed(registered(1, 1, 0, "host:1")),
        erase: vec![RecordNumber(2)],
        force: true,
    };
    assert_eq!(bench.order(RegistryAct::Remove, 1, false), vec![record, Effect::Forget { name: name(1) }]);
    assert_eq!(bench.force(), vec![answered(RegistryAnswer::Done)]);
    for _ in 0..2 {
        let gone = line(&bench, 1);
        assert_eq!((gone.state.as_str(), gone.why.as_deref()), ("removed", Some("burnt")));
        assert_eq!(bench.order(RegistryAct::Remove, 1, true), vec![answered(RegistryAnswer::NotFound)]);
        assert_eq!(bench.machine.address_of(&name(1)), None);
        // It is not dialled any more.
        let dialled = bench.restart(true);
        assert!(matches!(&dialled[..], [Effect::Dial { name: only, .. }, Effect::SetTimer { .. }] if *only == name(2)));
    }
}

#[test]
fn an_order_that_would_lose_something_is_refused_unless_forced() {
    let mut bench = Bench::with(2);
    assert_eq!(bench.order(RegistryAct::Remove, 9, true), vec![answered(RegistryAnswer::NotFound)]);
    assert_eq!(bench.order(RegistryAct::Release, 9, true), vec![answered(RegistryAnswer::NotFound)]);
    assert!(refused(&bench.order(RegistryAct::Remove, 1, false)).contains("--force"));
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    bench.force();
    bench.disconnect(1);
    let effects = bench.order(RegistryAct::Remove, 1, false);
    assert!(refused(&effects).contains("has not answered for 1 transactions"), "{effects:?}");
    assert!(refused(&effects).contains("--force"));
    for reason in [String::new(), " ".into(), "x".repeat(513)] {
        let order = RegistryOrder { act: RegistryAct::Remove, name: name(1), reason, force: true };
        refused(&bench.give(Input::RegistryOrdered { reply: ReplyTo(800), order }));
    }
    assert!(bench.order(RegistryAct::Remove, 1, true).len() > 1);
}

#[test]
fn t06_what_a_removed_participant_owes_stays_listed_and_is_never_told_to_another_store() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    bench.force();
    bench.acknowledge(2, xid(1));
    bench.disconnect(1);
    bench.order(RegistryAct::Remove, 1, true);
    bench.force();
    let ask = handfast_common::messages::AskPage { after: None, within: None, ended: false };
    // The name comes back with another store, then even with the same one, gone back in time.
    for (round, store) in [store(99), store(1)].into_iter().enumerate() {
        bench.players.insert(name(1), Player { store, incarnation: 10 + round as u64, sequence: 0 });
        register(&mut bench, 1, "b:1");
        bench.force();
        bench.connect(1);
        let mut effects = bench.welcome(1);
        effects.extend(bench.force());
        effects.extend(bench.timer(Timer::Resend(txn(1))));
        assert_eq!(said(&effects, 1), Vec::<&Order>::new());
        assert_eq!(bench.acknowledge(1, xid(1)), vec![]);
        let listed = &bench.machine.page(&ask).lines[0];
        assert_eq!((listed.txn, listed.state.as_str()), (txn(1), "committing"));
        assert_eq!(listed.branches[0].state, "removed");
        assert_eq!(bench.machine.registry().lines.iter().map(|line| line.unacknowledged).sum::<u64>(), 1);
        // It pins nobody's markers.
        assert!(bench.machine.mark().low > txn(1));
        bench.restart(true);
        for n in [1, 2] {
            bench.connect(n);
            assert_eq!(said(&bench.welcome(n), 1), Vec::<&Order>::new());
        }
        bench.acknowledge(2, xid(1));
        bench.order(RegistryAct::Remove, 1, true);
        bench.force();
    }
    assert_eq!(bench.machine.live.len(), 1);
}

#[test]
fn t04_a_one_phase_commit_at_a_removed_participant_is_never_asked_of_another_store() {
    let mut bench = Bench::with(1);
    bench.submit(1, &[1]);
    bench.order(RegistryAct::Remove, 1, true);
    bench.force();
    bench.players.insert(name(1), Player { store: store(99), incarnation: 9, sequence: 0 });
    register(&mut bench, 1, "b:1");
    bench.force();
    bench.connect(1);
    assert_eq!(said(&bench.welcome(1), 1), Vec::<&Order>::new());
    assert_eq!(said(&bench.timer(Timer::Resend(txn(1))), 1), Vec::<&Order>::new());
    let result = handfast_common::messages::OnePhaseResult::Aborted(Reason::new(ReasonKind::Fenced, ""));
    assert_eq!(bench.answer(1, Answer::OnePhaseEnded { xid: xid(1), result }), vec![], "nobody knows");
}

#[test]
fn what_is_undecided_at_a_removed_participant_is_aborted() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.open(2, &[1, 2]);
    let effects = bench.order(RegistryAct::Remove, 1, true);
    let why = "'p1' was removed from the registry";
    assert_eq!(effects[1], told(1, 1, 1, aborted(ReasonKind::Lost, why)));
    assert_eq!(said(&effects, 2).len(), 2);
    assert_eq!(bench.machine.load(), (0, 0));
    let known = vec![name(2)];
    let rejection = handfast_common::messages::Rejection::UnknownParticipant { name: name(1), known };
    assert_eq!(bench.submit(3, &[1, 2]), vec![Effect::Reply { to: ReplyTo(3), told: Told::Rejected(rejection) }]);
}

#[test]
fn an_inquiry_that_waits_says_so_once_and_nothing_else_waits() {
    let mut bench = strict();
    assert_eq!(bench.inquire(1, xid(1), &[1, 2, 3]), vec![guard(3), undecided()]);
    assert!(line(&bench, 3).waited_for);
    let say = Effect::Say {
        line: format!(
            "the outcome of transaction {} waits for participant 'p3': it has not answered since this coordinator was \
             started. Nothing else waits. If it is gone for good: handfast registry release p3 --reason TEXT",
            txn(1)
        ),
    };
    assert_eq!(bench.timer(Timer::Guard(name(3))), vec![say]);
    assert_eq!(bench.timer(Timer::Guard(name(3))), vec![]);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2, 3]), vec![undecided()]);
    // Others, old and new.
    assert_eq!(bench.inquire(1, xid(2), &[1, 2]), vec![abort()]);
    let before = bench.machine.standing().3;
    bench.run(10, &[1, 2]);
    bench.open(before + 2, &[1, 2]);
    bench.roll_back(before + 2);
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn a_release_ends_the_wait_in_this_epoch_once_it_is_on_disk() {
    let mut bench = strict();
    bench.inquire(1, xid(1), &[1, 2, 3]);
    let number = bench.writes.last().map_or(0, |(number, ..)| number.0) + 1;
    let act = OperatorAct::Released { name: name(3), epoch: Epoch(2) };
    let record = Record::Operator { act, reason: "burnt".into() };
    assert_eq!(bench.order(RegistryAct::Release, 3, false), vec![append(number, record, true)]);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2, 3]), vec![undecided()], "not on disk");
    assert_eq!(bench.force(), vec![answered(RegistryAnswer::Done)]);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2, 3]), vec![abort()]);
    assert!(!line(&bench, 3).waited_for);
    // The next start knows nothing of it, and waits again.
    bench.restart(true);
    assert_eq!(bench.inquire(1, xid(1), &[3]), vec![guard(3), undecided()]);
}

#[test]
fn t04d_a_release_or_removal_also_answers_for_a_single_branch_and_without_one_the_operator_is_told() {
    for act in [RegistryAct::Release, RegistryAct::Remove] {
        let mut bench = Bench::with(2);
        bench.submit(1, &[1]);
        bench.restart(false);
        let question = || AskOutcome { key: key(1), ticket: Some(ticket(1, 0)), participants: vec![name(1)] };
        let pending = Effect::Reply { to: ReplyTo(9), told: Told::Pending { txn: None } };
        assert_eq!(bench.ask(question()), vec![guard(1), pending.clone()]);
        let effects = bench.timer(Timer::Guard(name(1)));
        assert!(
            matches!(&effects[..], [Effect::Say { line }] if line.contains("release p1") && line.contains("of key"))
        );
        assert_eq!(bench.ask(question()), vec![pending.clone()]);
        bench.order(act, 1, false);
        assert_eq!(bench.ask(question()), vec![pending], "not on disk");
        bench.force();
        let effects = bench.ask(question());
        let [Effect::Reply { told: Told::Outcome { outcome: Outcome::Aborted(reason), .. }, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(reason.kind, ReasonKind::Presumed);
    }
}

#[test]
fn f13_a_list_that_is_not_complete_is_no_verdict() {
    let mut bench = Bench::with(1);
    bench.submit(1, &[1]);
    bench.restart(false);
    bench.connect(1);
    hello::listed(&mut bench, 1, vec![hello::report(xid_of(1, 5), 5)], false);
    let question = || AskOutcome { key: key(1), ticket: Some(ticket(1, 0)), participants: vec![name(1)] };
    let pending = Effect::Reply { to: ReplyTo(9), told: Told::Pending { txn: None } };
    assert_eq!(bench.ask(question()), vec![guard(1), pending.clone()]);
    bench.force();
    assert_eq!(bench.ask(question()), vec![pending]);
    hello::listed(&mut bench, 1, Vec::new(), true);
    assert!(matches!(bench.ask(question())[..], [Effect::Reply { told: Told::Outcome { .. }, .. }]));
}

#[test]
fn t15_a_heuristic_outcome_never_answers_an_inquiry() {
    let mut bench = Bench::with(2);
    bench.run(1, &[1, 2]);
    bench.machine.history.ended.get_mut(&txn(1)).expect("ended").outcome = Outcome::HeuristicMixed;
    assert_eq!(bench.inquire(2, xid(1), &[1, 2]), vec![undecided()]);
}

/// p1 is removed by force; the record of it is on its way to the disk.
fn remove(bench: &mut Bench) {
    bench.order(RegistryAct::Remove, 1, true);
}

#[test]
fn f02_a_question_to_everybody_includes_who_is_removed_until_that_is_on_disk() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1]);
    bench.restart(false);
    bench.connect(2);
    bench.welcome(2);
    remove(&mut bench);
    let question = || AskOutcome { key: key(1), ticket: Some(ticket(1, 0)), participants: Vec::new() };
    let pending = Effect::Reply { to: ReplyTo(9), told: Told::Pending { txn: None } };
    assert!(bench.ask(question()).contains(&pending), "p1 may have committed it alone");
    bench.force();
    assert!(matches!(bench.ask(question())[..], [Effect::Reply { told: Told::Outcome { .. }, .. }]));
}

#[test]
fn f02_so_does_an_inquiry_that_names_nobody() {
    let mut bench = Bench::with_config(2, Config { guard: Guard::Strict, ..Config::default() });
    bench.submit(1, &[1, 2]);
    bench.restart(false);
    bench.connect(2);
    bench.welcome(2);
    remove(&mut bench);
    assert!(bench.inquire(2, xid(1), &[]).contains(&undecided()));
    bench.force();
    assert_eq!(bench.inquire(2, xid(1), &[]), vec![abort()]);
}

/// p1 works on a one-phase commit, is removed by force, and registers again before that work has ended.
fn removed_at_work() -> Bench {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1]);
    remove(&mut bench);
    bench.force();
    register(&mut bench, 1, "host:1");
    bench.force();
    bench.connect(1);
    // Its list is complete, and without that work: it is on its way to its log.
    bench.welcome(1);
    bench
}

#[test]
fn t04c_no_mark_passes_what_a_removed_participant_may_still_commit_alone() {
    let bench = removed_at_work();
    let mark = bench.machine.stamp(&name(1)).mark;
    assert_eq!(mark, Mark { low: beyond(2), except: vec![txn(1)] });
    // Nobody else has any part in it.
    assert_eq!(bench.machine.stamp(&name(2)).mark, Mark { low: beyond(2), except: vec![] });
}

#[test]
fn t04c_more_of_it_than_a_mark_has_room_for_hold_the_mark() {
    let mut bench = Bench::with(2);
    let stuck = MAX_MARK_EXCEPTIONS as u64 + 1;
    for k in 1..=stuck {
        bench.submit(k, &[1]);
    }
    remove(&mut bench);
    bench.force();
    register(&mut bench, 1, "host:1");
    bench.force();
    bench.connect(1);
    bench.welcome(1);
    let mark = bench.machine.stamp(&name(1)).mark;
    assert_eq!(mark.low, txn(stuck));
    assert_eq!(mark.except, (1..stuck).map(txn).collect::<Vec<_>>());
}
