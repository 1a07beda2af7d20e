//! Interactive transactions from begin to their end: commit in its shapes, rollback, time, and questions in between.

use handfast_common::limits::MAX_OPEN;
use handfast_common::messages::{self, AskPage, Begin, Begun, Enlist, Enlisted, OnePhaseResult, Rejection};

use super::open::{accepted, commit_record_of, enlisted, idle, opened, over, prepare_ran, ran};
use super::*;

fn begun(to: u64, told: Told) -> Effect {
    Effect::ReplyBegun { to: ReplyTo(to), begun: Begun::Told(told) }
}

fn asked(told: Told) -> Effect {
    Effect::Reply { to: ReplyTo(9), told }
}

#[test]
fn begin_opens_with_two_timers_and_a_resend_changes_nothing() {
    let mut bench = Bench::with(1);
    let begin = bench.begin_of(1);
    let total = timer(Timer::Total(txn(1)), 30_000, false);
    assert_eq!(bench.begin(1), vec![total, idle(1), opened(1, 1, 1)]);
    assert_eq!(bench.give(Input::BeginRequested { reply: ReplyTo(1), begin }), vec![opened(1, 1, 1)]);
    // It takes no slot of those in flight.
    assert_eq!(bench.machine.load(), (1, 0));
    assert_eq!(bench.machine.open, 1);
}

#[test]
fn the_longest_it_may_last_is_the_coordinators_own_limit() {
    let mut bench = Bench::with(1);
    let begin = Begin { total: Micros(u64::MAX), ..bench.begin_of(1) };
    let effects = bench.give(Input::BeginRequested { reply: ReplyTo(1), begin });
    assert_eq!(effects[0], timer(Timer::Total(txn(1)), 60_000, false));
}

#[test]
fn two_branches_that_wrote_cost_one_forced_record_and_one_lazy_one() {
    let mut bench = Bench::with(2);
    bench.begin(1);
    assert_eq!(bench.enlist(1, 1), vec![idle(1), accepted(1)]);
    assert_eq!(bench.enlist(2, 1), vec![idle(1), accepted(1)]);
    let from = bench.stamp(0, txn(1), 1);
    assert_eq!(
        bench.commit(1, &[(1, 3), (2, 1)], false),
        vec![
            timer(Timer::Prepare(txn(1)), 2_000, false),
            timer(Timer::Silence, 250, false),
            prepare_ran(&bench, 1, 1, &[1, 2], ran(3, true), from.clone()),
            prepare_ran(&bench, 2, 1, &[1, 2], ran(1, true), from),
        ]
    );
    assert_eq!(bench.vote(1, 1, yes()), vec![]);
    let record = commit_record_of(&bench, 1, &[(1, 0), (2, 0)], &[]);
    assert_eq!(bench.vote(2, 1, yes()), vec![append(4, record, true)]);
    let from = bench.stamp(1, txn(1), 1);
    assert_eq!(
        bench.force(),
        vec![
            told(1, 1, 1, committed()),
            decide(&bench, 1, 1, Decision::Commit, from.clone()),
            decide(&bench, 2, 1, Decision::Commit, from),
            timer(Timer::Resend(txn(1)), 100, true),
        ]
    );
    bench.acknowledge(1, xid(1));
    let end = Record::End { txn: txn(1), acknowledged: vec![0, 0] };
    assert_eq!(bench.acknowledge(2, xid(1)), vec![append(5, end, false)]);
    assert_eq!((bench.machine.load(), bench.machine.open), ((0, 0), 0));
}

#[test]
fn one_that_only_read_at_several_participants_leaves_no_record() {
    let mut bench = Bench::with(3);
    bench.open(1, &[1, 2, 3]);
    let writes = bench.writes.len();
    bench.commit(1, &[(1, 1), (2, 1), (3, 1)], false);
    assert_eq!(bench.vote(1, 1, Vote::ReadOnly(Payload::default())), vec![]);
    assert_eq!(bench.vote(2, 1, Vote::ReadOnly(Payload::default())), vec![]);
    assert_eq!(bench.vote(3, 1, Vote::ReadOnly(Payload::default())), vec![told(1, 1, 1, committed())]);
    assert_eq!(bench.writes.len(), writes);
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn a_branch_that_only_read_drops_out_at_its_vote_where_nobody_else_works() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    bench.commit(1, &[(1, 1), (2, 1)], false);
    bench.vote(1, 1, read("a"));
    let record = commit_record_of(&bench, 1, &[(2, 0)], &[(1, "a")]);
    assert_eq!(bench.vote(2, 1, yes()), vec![append(4, record, true)], "no Release: two messages");
    assert_eq!(said(&bench.force(), 1), Vec::<&Order>::new());
}

#[test]
fn a_reader_that_has_dropped_out_hears_nothing_of_an_abort_nor_can_its_restart_abort() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    bench.commit(1, &[(1, 1), (2, 1)], false);
    bench.vote(1, 1, read("a"));
    assert_eq!(bench.come_back(1), vec![], "its locks are not needed any more");
    let outcome = aborted(ReasonKind::Conflict, "'p2' voted No: why");
    assert_eq!(bench.vote(2, 1, no(ReasonKind::Conflict)), vec![told(1, 1, 1, outcome)]);
}

#[test]
fn t10f_t01_with_a_context_that_was_shared_a_reader_holds_its_locks_until_all_have_voted() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    let effects = bench.commit(1, &[(1, 1)], true);
    let from = bench.stamp(0, txn(1), 1);
    // Another service worked at p2: more than the client counts is no error.
    assert_eq!(effects[3], prepare_ran(&bench, 2, 1, &[1, 2], ran(0, false), from.clone()));
    bench.vote(1, 1, read("a"));
    let release = send(1, from, Order::Release { to: bench.who(1), xid: xid(1) });
    assert_eq!(bench.vote(2, 1, yes()), vec![release]);
    let record = commit_record_of(&bench, 1, &[(2, 0)], &[(1, "a")]);
    assert_eq!(bench.answer(1, Answer::Released { xid: xid(1), held: true }), vec![append(4, record, true)]);
}

#[test]
fn without_a_branch_it_is_committed_at_once() {
    let mut bench = Bench::with(1);
    bench.begin(1);
    assert_eq!(bench.commit(1, &[(1, 0)], false), vec![told(1, 1, 1, committed())]);
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn one_branch_decides_alone() {
    let mut bench = Bench::with(1);
    bench.open(1, &[1]);
    let effects = bench.commit(1, &[(1, 2)], false);
    let Order::CommitOnePhase(order) = said(&effects, 1)[0] else { panic!("{effects:?}") };
    assert_eq!((&order.to, &order.task, order.key), (&bench.who(1), &ran(2, true), key(1)));
    let ended = OnePhaseResult::Committed(Payload::default());
    let effects = bench.answer(1, Answer::OnePhaseEnded { xid: xid(1), result: ended });
    assert_eq!(effects[0], told(1, 1, 1, committed()));
    assert!(matches!(effects[1..], [Effect::Append { record: Record::OnePhase(_), force: false, .. }]));
}

#[test]
fn t10a_work_that_was_counted_at_a_participant_without_a_branch_is_lost() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1]);
    let from = bench.stamp(0, beyond(2), 1);
    let why = "operations were answered by 'p2', which has no branch of it";
    assert_eq!(
        bench.commit(1, &[(1, 1), (2, 1)], false),
        vec![told(1, 1, 1, aborted(ReasonKind::Lost, why)), decide(&bench, 1, 1, Decision::Abort, from)]
    );
}

#[test]
fn a_commit_that_counts_somebody_twice_aborts() {
    let mut bench = Bench::with(1);
    bench.open(1, &[1]);
    let effects = bench.commit(1, &[(1, 1), (1, 2)], false);
    assert_eq!(effects[0], told(1, 1, 1, aborted(ReasonKind::BadWork, "'p1' is counted twice")));
}

#[test]
fn a_commit_finds_a_disk_that_is_full_before_anything_is_prepared() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    bench.give(Input::SpaceChanged { room: false });
    let effects = bench.commit(1, &[(1, 1), (2, 1)], false);
    assert_eq!(effects[0], told(1, 1, 1, aborted(ReasonKind::DiskFull, "the coordinator's disk is nearly full")));
    assert_eq!(bench.begin(2), vec![begun(2, Told::Rejected(Rejection::DiskFull))]);
}

#[test]
fn a_commit_sent_again_waits_with_the_first_and_later_hears_the_outcome() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    bench.commit(1, &[(1, 1), (2, 1)], false);
    let resend = bench.commit_of(1, &[(1, 1), (2, 1)], false);
    let again = Input::CommitRequested { reply: ReplyTo(50), commit: resend.clone() };
    assert_eq!(bench.give(again), vec![]);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    let effects = bench.force();
    assert_eq!(effects[..2], [told(1, 1, 1, committed()), told(50, 1, 1, committed())]);
    let again = Input::CommitRequested { reply: ReplyTo(51), commit: resend };
    assert_eq!(bench.give(again.clone()), vec![told(51, 1, 1, committed())]);
    bench.acknowledge(1, xid(1));
    bench.acknowledge(2, xid(1));
    assert_eq!(bench.give(again), vec![told(51, 1, 1, committed())]);
    // Resends without end take no memory.
    bench.open(2, &[1, 2]);
    for _ in 0..16 {
        assert_eq!(
            bench.commit(2, &[(1, 1), (2, 1)], false).iter().filter(|e| matches!(e, Effect::Reply { .. })).count(),
            0
        );
    }
    let pending = Effect::Reply { to: ReplyTo(2), told: Told::Pending { txn: Some(txn(2)) } };
    assert_eq!(bench.commit(2, &[], false), vec![pending]);
}

#[test]
fn rollback_aborts_an_open_one_and_only_looks_at_one_whose_commit_has_come() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    let from = bench.stamp(0, beyond(2), 1);
    let rolled_back = aborted(ReasonKind::RolledBack, "its client rolled it back");
    assert_eq!(
        bench.roll_back(1),
        vec![
            decide(&bench, 1, 1, Decision::Abort, from.clone()),
            decide(&bench, 2, 1, Decision::Abort, from),
            told(600, 1, 1, rolled_back.clone()),
        ]
    );
    assert_eq!(bench.roll_back(1), vec![told(600, 1, 1, rolled_back)]);
    bench.open(2, &[1, 2]);
    bench.commit(2, &[(1, 1), (2, 1)], false);
    let pending = Effect::Reply { to: ReplyTo(600), told: Told::Pending { txn: Some(txn(2)) } };
    assert_eq!(bench.roll_back(2), vec![pending]);
    bench.vote(1, 2, yes());
    bench.vote(2, 2, yes());
    bench.force();
    assert_eq!(bench.roll_back(2), vec![told(600, 2, 2, committed())]);
    let unknown = Told::Outcome { txn: None, age: Age(2), outcome: Outcome::NotFound };
    assert_eq!(bench.roll_back(77), vec![Effect::Reply { to: ReplyTo(600), told: unknown }]);
}

#[test]
fn time_ends_an_open_one_and_nothing_else() {
    for (which, why) in [
        (Timer::Idle(txn(1)), "no work in it within the idle limit of 10000 ms"),
        (Timer::Total(txn(1)), "open for longer than the 30000 ms it was given"),
    ] {
        let mut bench = Bench::with(2);
        bench.open(1, &[1]);
        let from = bench.stamp(0, beyond(2), 1);
        assert_eq!(bench.timer(which.clone()), vec![decide(&bench, 1, 1, Decision::Abort, from)]);
        // Whoever comes later hears why.
        assert_eq!(bench.commit(1, &[(1, 1)], false), vec![told(1, 1, 1, aborted(ReasonKind::Expired, why))]);
        assert_eq!(bench.enlist(2, 1), vec![over(ReasonKind::Expired, why)]);
        bench.open(2, &[1, 2]);
        bench.commit(2, &[(1, 1), (2, 1)], false);
        let which = if which == Timer::Idle(txn(1)) { Timer::Idle(txn(2)) } else { Timer::Total(txn(2)) };
        assert_eq!(bench.timer(which), vec![], "its commit has come");
    }
}

#[test]
fn only_work_keeps_it_from_being_idle() {
    let mut bench = Bench::with(1);
    bench.open(1, &[1]);
    assert_eq!(bench.report(1, 1, false), vec![accepted(1)]);
    assert_eq!(bench.report(1, 1, true), vec![idle(1), accepted(1)]);
}

#[test]
fn a_question_with_a_ticket_fences_an_open_one_and_without_only_looks() {
    let mut bench = Bench::with(1);
    bench.open(1, &[1]);
    let looks = AskOutcome { key: key(1), ticket: None, participants: Vec::new() };
    assert_eq!(bench.ask(looks), vec![asked(Told::Pending { txn: Some(txn(1)) })]);
    let from = bench.stamp(0, beyond(2), 1);
    let fenced = aborted(ReasonKind::Fenced, "asked about before its commit arrived");
    assert_eq!(
        bench.ask_with_ticket(1),
        vec![decide(&bench, 1, 1, Decision::Abort, from), told(9, 1, 1, fenced.clone())]
    );
    // The commit was merely slow.
    assert_eq!(bench.commit(1, &[(1, 1)], false), vec![told(1, 1, 1, fenced)]);
}

#[test]
fn a_question_about_one_whose_commit_has_come_does_not_touch_it() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    bench.commit(1, &[(1, 1), (2, 1)], false);
    assert_eq!(bench.ask_with_ticket(1), vec![asked(Told::Pending { txn: Some(txn(1)) })]);
    assert_eq!(bench.machine.load(), (1, 1));
}

#[test]
fn a_key_stands_for_one_kind_of_transaction() {
    let mut bench = Bench::with(2);
    bench.begin(1);
    let reused = || Told::Rejected(Rejection::KeyReused);
    assert_eq!(bench.submit(1, &[1]), vec![Effect::Reply { to: ReplyTo(1), told: reused() }]);
    bench.submit(2, &[1, 2]);
    assert_eq!(bench.begin(2), vec![begun(2, reused())]);
    // A key that was fenced before it arrived stays aborted.
    bench.ask_with_ticket(3);
    let fenced = aborted(ReasonKind::Fenced, "asked about before it arrived");
    let told = Told::Outcome { txn: Some(txn(3)), age: Age(2), outcome: fenced };
    assert_eq!(bench.begin(3), vec![begun(3, told)]);
}

#[test]
fn t10_ages_are_kept_over_retries_and_grow_with_every_clock_heard_of() {
    let mut bench = Bench::with(1);
    let begin = Begin { age: Some(Age(7)), clock: Age(40), ..bench.begin_of(1) };
    let effects = bench.give(Input::BeginRequested { reply: ReplyTo(1), begin });
    assert_eq!(effects[2], opened(1, 1, 7));
    let request = Submit { clock: Age(60), ..bench.request(2, &[1]) };
    let effects = bench.give(Input::TransactionSubmitted { reply: ReplyTo(2), request, hash: hash(2) });
    let Order::CommitOnePhase(order) = said(&effects, 1)[0] else { panic!("{effects:?}") };
    assert_eq!(order.age, Age(61));
    let mut from = bench.identity(1);
    from.clock = Age(80);
    let enlist = Enlist { from, xid: xid(1), active: true };
    bench.give(Input::BranchEnlisted { reply: ReplyTo(700), enlist });
    let effects = bench.begin(3);
    assert_eq!(effects[2], opened(3, 3, 81));
    // Made up to stop the counter: nothing overflows.
    let begin = Begin { age: Some(Age(u64::MAX)), clock: Age(u64::MAX), ..bench.begin_of(4) };
    bench.give(Input::BeginRequested { reply: ReplyTo(4), begin });
    assert_eq!(bench.begin(5)[2], opened(5, 5, u64::MAX));
}

#[test]
fn f11_no_more_may_be_open_than_memory_is_meant_for() {
    let mut bench = Bench::with(1);
    let most = MAX_OPEN as u64;
    for k in 1..=most {
        bench.begin(k);
    }
    let rejection = Rejection::Overloaded(format!("{most} interactive transactions are open"));
    assert_eq!(bench.begin(most + 1), vec![begun(most + 1, Told::Rejected(rejection))]);
    bench.roll_back(1);
    assert!(matches!(bench.begin(most + 1).last(), Some(Effect::ReplyBegun { begun: Begun::Open { .. }, .. })));
}

#[test]
fn an_open_one_pins_the_mark_and_is_listed_as_active() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1]);
    bench.run(2, &[1, 2]);
    assert_eq!(bench.machine.mark().low, txn(1));
    let ask = AskPage { after: None, within: None, ended: false };
    let line = &bench.machine.page(&ask).lines[0];
    assert_eq!((line.state.as_str(), line.branches[0].state.as_str()), ("active", "active"));
    assert_eq!(line.branches[0].vote, None);
    bench.timer(Timer::Idle(txn(1)));
    assert_eq!(bench.machine.mark().low, beyond(3));
}

#[test]
fn f12_an_inquiry_is_undecided_at_every_point_before_the_decision() {
    let undecided = || Effect::ReplyInquiry { to: ReplyTo(8), answer: InquiryAnswer::Undecided };
    let mut bench = Bench::with(2);
    bench.begin(1);
    for n in [1, 2] {
        assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![undecided()]);
        bench.enlist(n, 1);
    }
    bench.disconnect(2);
    bench.commit(1, &[(1, 1), (2, 1)], false);
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![undecided()], "gathering");
    bench.connect(2);
    assert_eq!(said(&bench.welcome(2), 1).len(), 1, "the same start: it goes on");
    bench.vote(1, 1, yes());
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![undecided()], "preparing");
    bench.vote(2, 1, yes());
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![undecided()], "handed to the log");
}

#[test]
fn in_a_later_epoch_a_commit_is_answered_like_a_key_of_the_epoch_it_began_in() {
    let mut bench = Bench::with(2);
    bench.open(1, &[1, 2]);
    let both = bench.commit_of(1, &[(1, 1), (2, 1)], false);
    let alone = bench.commit_of(1, &[(1, 1), (2, 0)], false);
    let shared = bench.commit_of(1, &[(1, 1), (2, 1)], true);
    bench.restart(false);
    let pending = Effect::Reply { to: ReplyTo(4), told: Told::Pending { txn: None } };
    let presumed = aborted(ReasonKind::Presumed, "an earlier start of the coordinator did not commit it");
    let presumed = Told::Outcome { txn: None, age: Age(0), outcome: presumed };
    let presumed = Effect::Reply { to: ReplyTo(4), told: presumed };
    let again = |commit: &messages::Commit| Input::CommitRequested { reply: ReplyTo(4), commit: commit.clone() };
    assert_eq!(bench.give(again(&alone)), vec![guard(1), pending.clone()]);
    bench.connect(2);
    bench.welcome(2);
    assert_eq!(bench.give(again(&both)), vec![pending.clone()]);
    // Two branches would have left a record; one may have committed alone, and whoever else was there as well.
    bench.timer(Timer::Guard(name(1)));
    assert_eq!(bench.give(again(&both)), vec![presumed.clone()]);
    assert_eq!(bench.give(again(&alone)), vec![pending.clone()]);
    assert_eq!(bench.give(again(&shared)), vec![pending]);
    bench.connect(1);
    bench.welcome(1);
    assert_eq!(bench.give(again(&alone)), vec![presumed.clone()]);
    assert_eq!(bench.give(again(&shared)), vec![presumed]);
    let foreign = messages::Commit { xid: Xid { log: LogId(Uuid::nil()), ..xid(1) }, ..both };
    let forgotten = Told::Outcome { txn: None, age: Age(0), outcome: Outcome::Forgotten };
    assert_eq!(bench.give(again(&foreign)), vec![Effect::Reply { to: ReplyTo(4), told: forgotten }]);
    // And a participant that still reports it drops it.
    let over = enlisted(Enlisted::Over(Reason::new(ReasonKind::Lost, "it is not open at its coordinator")));
    let enlist = Enlist { from: bench.identity(1), xid: xid(1), active: true };
    assert_eq!(bench.give(Input::BranchEnlisted { reply: ReplyTo(700), enlist }), vec![over]);
}
