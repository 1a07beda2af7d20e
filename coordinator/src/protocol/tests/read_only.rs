//! Branches that only read keep their locks until all votes are in, and say so (t01).

use super::*;

fn release(bench: &Bench, n: u64, t: u64, from: Stamp) -> Effect {
    send(n, from, Order::Release { to: bench.who(n), xid: xid(t) })
}

fn released(bench: &mut Bench, n: u64, held: bool) -> Vec<Effect> {
    bench.answer(n, Answer::Released { xid: xid(1), held })
}

#[test]
fn t01_commit_is_decided_only_after_each_reader_has_released() {
    let mut bench = Bench::with(3);
    bench.submit(1, &[1, 2, 3]);
    bench.vote(1, 1, read("a"));
    assert_eq!(bench.vote(2, 1, yes()), vec![]);
    let from = bench.stamp(0, txn(1), 1);
    assert_eq!(bench.vote(3, 1, read("c")), vec![release(&bench, 1, 1, from.clone()), release(&bench, 3, 1, from)]);
    assert_eq!(released(&mut bench, 3, true), vec![]);
    let record = commit_record(1, 1, &[(2, 0)], &[(1, "a"), (3, "c")]);
    assert_eq!(released(&mut bench, 1, true), vec![append(5, record, true)]);
    let effects = bench.force();
    assert_eq!(said(&effects, 1), Vec::<&Order>::new());
    assert_eq!(said(&effects, 2).len(), 1);
    assert_eq!(bench.acknowledge(2, xid(1)).len(), 1);
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn where_nobody_wrote_nothing_is_logged() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, read("a"));
    bench.vote(2, 1, read("b"));
    released(&mut bench, 1, true);
    let reads = vec![
        BranchReads { participant: name(1), reads: payload("a") },
        BranchReads { participant: name(2), reads: payload("b") },
    ];
    assert_eq!(released(&mut bench, 2, true), vec![told(1, 1, 1, Outcome::Committed(reads))]);
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn t01_a_reader_that_gave_up_is_a_no() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, read("a"));
    bench.vote(2, 1, yes());
    let from = bench.stamp(0, beyond(2), 1);
    assert_eq!(
        released(&mut bench, 1, false),
        vec![
            told(1, 1, 1, aborted(ReasonKind::Lost, "'p1' gave up what it had read before all votes were in")),
            decide(&bench, 2, 1, Decision::Abort, from),
        ]
    );
}

#[test]
fn t01_a_reader_that_was_restarted_has_lost_its_locks() {
    // While votes are still out, and while releasing.
    for releasing in [false, true] {
        let mut bench = Bench::with(2);
        bench.submit(1, &[1, 2]);
        bench.vote(1, 1, read("a"));
        if releasing {
            bench.vote(2, 1, yes());
        }
        let from = bench.stamp(0, beyond(2), 1);
        assert_eq!(
            bench.come_back(1),
            vec![
                told(1, 1, 1, aborted(ReasonKind::Lost, "'p1' was restarted and lost its locks")),
                // Its memory is gone, but an abort never hurts.
                send(
                    1,
                    from.clone(),
                    Order::Decide {
                        to: Addressee { incarnation: Incarnation(1), ..bench.who(1) },
                        xid: xid(1),
                        decision: Decision::Abort
                    }
                ),
                decide(&bench, 2, 1, Decision::Abort, from),
            ]
        );
    }
}

#[test]
fn release_is_said_again_on_a_new_connection_to_the_same_start() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, read("a"));
    bench.vote(2, 1, yes());
    bench.disconnect(1);
    bench.connect(1);
    let from = bench.stamp(0, txn(1), 1);
    assert_eq!(bench.welcome(1), vec![release(&bench, 1, 1, from)]);
    assert_eq!(released(&mut bench, 1, true).len(), 1);
}

#[test]
fn a_release_that_is_not_answered_in_time_aborts() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, read("a"));
    bench.vote(2, 1, yes());
    let effects = bench.timer(Timer::Prepare(txn(1)));
    assert_eq!(effects[0], told(1, 1, 1, aborted(ReasonKind::PrepareTimeout, "no vote in time from: p1")));
    assert_eq!((said(&effects, 1).len(), said(&effects, 2).len()), (1, 1));
    // The answer that comes too late changes nothing.
    assert_eq!(released(&mut bench, 1, true), vec![]);
}

#[test]
fn t20_what_only_read_may_be_answered_aborted_in_a_later_epoch() {
    let mut bench = Bench::with(2);
    let request = bench.request(1, &[1, 2]);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, read("a"));
    bench.vote(2, 1, read("b"));
    released(&mut bench, 1, true);
    released(&mut bench, 2, true);
    bench.restart(true);
    for n in [1, 2] {
        bench.connect(n);
        bench.welcome(n);
    }
    let question = AskOutcome { key: key(1), ticket: Some(request.ticket), participants: vec![name(1), name(2)] };
    let outcome = aborted(ReasonKind::Presumed, "an earlier start of the coordinator did not commit it");
    let told = Told::Outcome { txn: None, age: Age(0), outcome };
    assert_eq!(bench.ask(question), vec![Effect::Reply { to: ReplyTo(9), told }]);
}
