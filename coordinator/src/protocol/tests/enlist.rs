//! Who may take part in an interactive transaction, until when, and what a restart does to it.

use handfast_common::messages::{Enlisted, Refusal, Seen};

use super::open::{accepted, enlisted, idle, over, ran};
use super::*;

const LATE: &str = "its commit has begun without this branch";
const RESTARTED: &str = "'p1' was restarted and lost its locks";

fn not_yet() -> Effect {
    enlisted(Enlisted::NotYet)
}

#[test]
fn f25_enlisting_after_commit_abort_or_timeout_is_refused_and_leaves_nothing() {
    type End = fn(&mut Bench) -> Vec<Effect>;
    let ends: [(End, ReasonKind, &str); 5] = [
        (|bench| bench.commit(1, &[(1, 1)], false), ReasonKind::Lost, LATE),
        (|bench| bench.roll_back(1), ReasonKind::RolledBack, "its client rolled it back"),
        (
            |bench| bench.timer(Timer::Idle(txn(1))),
            ReasonKind::Expired,
            "no work in it within the idle limit of 10000 ms",
        ),
        (|bench| bench.ask_with_ticket(1), ReasonKind::Fenced, "asked about before its commit arrived"),
        (|bench| bench.come_back(1), ReasonKind::Lost, RESTARTED),
    ];
    for (end, kind, why) in ends {
        let mut bench = Bench::with(2);
        bench.open(1, &[1]);
        end(&mut bench);
        for _ in 0..2 {
            assert_eq!(bench.enlist(2, 1), vec![over(kind, why)]);
        }
        assert!(!bench.machine.live.get(&txn(1)).is_some_and(|live| live.branches.contains_key(&name(2))));
    }
    // Nor in one that nobody began.
    let mut bench = Bench::with(1);
    assert_eq!(bench.enlist(1, 9), vec![over(ReasonKind::Lost, "it is not open at its coordinator")]);
}

#[test]
fn f25_after_it_was_committed_and_after_its_outcome_is_forgotten_too() {
    let mut bench = Bench::with_config(2, Config { retention_count: 1, ..Config::default() });
    bench.begin(1);
    bench.commit(1, &[], false);
    assert_eq!(bench.enlist(1, 1), vec![over(ReasonKind::Lost, "it has been committed")]);
    for k in 2..=9 {
        bench.run(k, &[1, 2]);
    }
    assert_eq!(bench.enlist(1, 1), vec![over(ReasonKind::Lost, "it is not open at its coordinator")]);
}

#[test]
fn only_the_start_that_is_greeted_now_can_enlist() {
    let mut bench = Bench::with(2);
    bench.begin(1);
    bench.disconnect(1);
    assert_eq!(bench.enlist(1, 1), vec![not_yet()]);
    bench.connect(1);
    assert_eq!(bench.enlist(1, 1), vec![not_yet()], "Hello is out");
    bench.players.get_mut(&name(1)).expect("joined").incarnation = 2;
    bench.welcome(1);
    assert_eq!(bench.enlist(1, 1), vec![not_yet()], "its registration is not on disk");
    bench.force();
    assert_eq!(bench.enlist(1, 1), vec![idle(1), accepted(1)]);
    bench.players.get_mut(&name(2)).expect("joined").store = store(99);
    assert_eq!(bench.enlist(2, 1), vec![not_yet()], "another store");
}

#[test]
fn a_lost_connection_alone_dooms_nothing() {
    let mut bench = Bench::with(1);
    bench.open(1, &[1]);
    assert_eq!(bench.disconnect(1), vec![]);
    assert_eq!(bench.enlist(1, 1), vec![idle(1), accepted(1)], "it reports all the same");
    assert_eq!(bench.commit(1, &[(1, 1)], false).len(), 2, "gathering");
    bench.connect(1);
    let effects = bench.welcome(1);
    let Order::CommitOnePhase(order) = said(&effects, 1)[0] else { panic!("{effects:?}") };
    assert_eq!(order.task, ran(1, true));
}

#[test]
fn t10a_t10b_a_restarted_participant_can_not_take_its_branch_over() {
    // Whether the new start is seen by its Welcome or by its enlisting, and whether it had read or written before.
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    let from = bench.stamp(0, beyond(2), 1);
    let abort = |bench: &Bench, n: u64, incarnation| {
        let to = Addressee { incarnation: Incarnation(incarnation), ..bench.who(n) };
        send(n, from.clone(), Order::Decide { to, xid: xid(1), decision: Decision::Abort })
    };
    let mut seen_by_enlisting = bench.clone();
    let effects = bench.come_back(1);
    assert_eq!(effects, vec![abort(&bench, 1, 1), abort(&bench, 2, 1)]);
    assert_eq!(bench.commit(1, &[(1, 2), (2, 1)], false), vec![told(1, 1, 1, aborted(ReasonKind::Lost, RESTARTED))]);

    let bench = &mut seen_by_enlisting;
    bench.players.get_mut(&name(1)).expect("joined").incarnation = 2;
    let effects = bench.enlist(1, 1);
    assert_eq!(effects, vec![abort(bench, 1, 1), abort(bench, 2, 1), over(ReasonKind::Lost, RESTARTED)]);
}

#[test]
fn t10a_also_while_its_commit_waits_for_somebody() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    bench.disconnect(1);
    bench.disconnect(2);
    bench.commit(1, &[(1, 1), (2, 1)], false);
    // p1 alone does not make it go on; as another start it ends it as soon as all are there.
    bench.come_back(1);
    bench.connect(2);
    let effects = bench.welcome(2);
    assert_eq!(effects[0], told(1, 1, 1, aborted(ReasonKind::Lost, RESTARTED)));
    assert_eq!(said(&effects, 2).len(), 1);
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn t10e_a_report_that_crosses_its_own_prepare_is_no_reason_to_drop_the_branch() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    bench.commit(1, &[(1, 1), (2, 1)], false);
    assert_eq!(bench.enlist(1, 1), vec![accepted(1)]);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    assert_eq!(bench.enlist(1, 1), vec![accepted(1)]);
    // Another start of it is another branch, and too late.
    bench.players.get_mut(&name(1)).expect("joined").incarnation = 2;
    assert_eq!(bench.enlist(1, 1), vec![over(ReasonKind::Lost, LATE)]);
    assert_eq!(bench.machine.load(), (1, 1), "the decision is with the log");
}

#[test]
fn t10e_an_enlisted_branch_whose_operation_still_waits_votes_no_and_nothing_commits() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    // The answer to p2 was lost: the client counts nothing there, but p2 is asked all the same.
    let effects = bench.commit(1, &[(1, 1)], false);
    let Order::Prepare(order) = said(&effects, 2)[0] else { panic!("{effects:?}") };
    assert_eq!(order.task, ran(0, true));
    let effects = bench.vote(2, 1, no(ReasonKind::Lost));
    assert_eq!(effects[0], told(1, 1, 1, aborted(ReasonKind::Lost, "'p2' voted No: why")));
}

#[test]
fn more_branches_than_the_limit_abort_it() {
    let mut bench = Bench::with_config(3, Config { max_branches: 2, ..Config::default() });
    bench.open(1, &[1, 2]);
    let effects = bench.enlist(3, 1);
    assert_eq!(effects.last(), Some(&over(ReasonKind::BadWork, "more than 2 branches")));
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn t19_a_zombie_hears_that_it_was_replaced_before_it_counts_another_vote() {
    // It sleeps with an open transaction; a copy of its folder has run meanwhile and has greeted p1.
    let copy = Seen { epoch: Epoch(2), nonce: Nonce(5), decisions: 0 };
    let open = || {
        let mut bench = Bench::with(2);
        bench.open(1, &[1, 2]);
        bench
    };
    // Over its order, or over a registration.
    let mut bench = open();
    bench.commit(1, &[(1, 1), (2, 1)], false);
    bench.vote(2, 1, yes());
    assert!(is_stop(&bench.answer(1, Answer::Refused(Refusal::Fenced(copy)))));
    assert_eq!(bench.vote(1, 1, yes()), vec![], "it says nothing more");
    let mut bench = open();
    let register = Register { from: bench.identity(1), address: "host:1".into(), seen: Some(copy) };
    assert!(is_stop(&bench.give(Input::ParticipantRegistered { reply: ReplyTo(5), register })));
    assert_eq!(bench.commit(1, &[(1, 1), (2, 1)], false), vec![]);
}
