//! Open branches: one operation after another, then the vote over all of them.

use handfast_common::limits::{MAX_OPERATIONS, MAX_TRANSACTION_BYTES};

use super::*;
use crate::resource::{Execution, Work};

/// The order to vote over what ran before.
pub(super) fn ran(n: u64) -> Work {
    Work { xid: xid(n), age: Age(n), payload: None }
}

impl Rig {
    pub(super) fn execute(&mut self, n: u64, operations: &[Operation]) -> Vec<Ended> {
        self.engine.execute(&work(n, operations)).unwrap();
        self.ended()
    }

    fn close(&mut self, n: u64) -> Vec<Ended> {
        self.engine.prepare(&ran(n), record(n)).unwrap();
        self.ended()
    }

    fn close_in_one_phase(&mut self, n: u64) -> Vec<Ended> {
        self.engine.commit_one_phase(&ran(n), key(n), HASH).unwrap();
        self.ended()
    }

    /// Nothing of it is left, and nothing comes of it any more.
    fn assert_over(&mut self, n: u64) {
        assert_eq!(doomed(&self.execute(n, &[put("a", int(99))])), ReasonKind::Lost);
        assert_eq!(no(&self.close(n)), ReasonKind::Lost);
        assert_eq!(no(&self.close_in_one_phase(n)), ReasonKind::Lost);
        assert_eq!(no(&self.prepare(n, &[put("a", int(99))])), ReasonKind::Lost);
        assert_eq!(self.commit(n), [lost(n)]);
    }
}

fn executed(n: u64) -> Ended {
    Ended::Execute(xid(n), Execution::Done(nothing_read()))
}

fn read(n: u64, values: &[(&str, Option<Value>)]) -> Ended {
    let read =
        |(key, value): &(&str, _)| handfast_common::operation::Read { key: (*key).into(), value: Option::clone(value) };
    let reads: Vec<_> = values.iter().map(read).collect();
    Ended::Execute(xid(n), Execution::Done(crate::kv::encode_reads(&reads).unwrap()))
}

fn only_read(n: u64) -> Ended {
    Ended::Prepare(xid(n), Vote::ReadOnly(nothing_read()))
}

fn doomed(ended: &[Ended]) -> ReasonKind {
    match ended {
        [Ended::Execute(_, Execution::Doomed(reason))] => reason.kind,
        other => panic!("not one doomed operation: {other:?}"),
    }
}

fn failed(ended: &[Ended]) -> (ReasonKind, &str) {
    match ended {
        [Ended::Execute(_, Execution::Failed(reason))] => (reason.kind, &reason.detail),
        other => panic!("not one failed operation: {other:?}"),
    }
}

#[test]
fn a06_a_branch_sees_its_own_writes_and_nobody_else_does() {
    let mut rig = Rig::with(&[("a", int(10)), ("b", int(20))]);
    assert_eq!(
        rig.execute(5, &[get("a"), add("a", 5), get("a")]),
        [read(5, &[("a", Some(int(10))), ("a", Some(int(15)))])]
    );
    assert_eq!(rig.execute(5, &[get("a"), delete("b"), get("c")]), [read(5, &[("a", Some(int(15))), ("c", None)])]);
    assert_eq!(rig.execute(5, &[get("b"), add("b", 1), add("a", 1)]), [read(5, &[("b", None)])]);
    assert_eq!(rig.execute(5, &[get("b"), get("a")]), [read(5, &[("b", Some(int(1))), ("a", Some(int(16)))])]);
    let line = |key: &str, value| ValueLine { key: key.into(), value: Some(value), locked_by: None };
    assert_eq!((rig.value("a"), rig.value("b")), (line("a", int(10)), line("b", int(20))), "not in doubt, not visible");
    assert!(rig.queue.is_empty(), "nothing of it is in the log");

    assert_eq!(doomed(&rig.execute(7, &[get("a")])), ReasonKind::Conflict, "a younger one dies");
    assert_eq!(rig.execute(3, &[get("b"), get("c")]), [], "an older one waits");
    assert_eq!(rig.close(5), []);
    assert_eq!(rig.flush(), [yes(5)]);
    assert_eq!(rig.value("a").locked_by, Some(txn(5)));
    assert_eq!(rig.commit(5), [read(3, &[("b", Some(int(1))), ("c", None)])], "locks are held until the decision");
    assert_eq!(rig.flush(), [done(5)]);
    assert_eq!((rig.value("a").value, rig.value("b").value), (Some(int(16)), Some(int(1))));
    assert_eq!(rig.close(3), [only_read(3)]);
    rig.engine.release(xid(3)).unwrap();
    rig.assert_at_rest();
}

#[test]
fn t13_a08_every_lock_of_an_interactive_branch_is_in_its_record_and_held_after_a_restart() {
    let mut rig = Rig::with(&[("x", int(1)), ("u", int(2))]);
    rig.execute(5, &[put("w", int(7)), get("u")]);
    rig.execute(
        5,
        &[
            check("x", Check { exists: true, ..Check::default() }),
            check("y", Check { absent: true, ..Check::default() }),
        ],
    );
    // Shared before, exclusive now.
    rig.execute(5, &[add("u", 1)]);
    // It did nothing, but it was told what it saw.
    assert_eq!(failed(&rig.execute(5, &[put("v", int(1)), add_within("x", -9, 0, 9)])).0, ReasonKind::CheckFailed);
    rig.close(5);
    assert_eq!(rig.flush(), [yes(5)]);
    let stored = rig.disk.borrow().prepared[&xid(5)].clone();
    let held = |key: &str, mode, write| Held { key: key.into(), mode, write };
    let wanted = [
        held("u", Mode::Exclusive, Some(Write::Put(int(3)))),
        held("v", Mode::Exclusive, None),
        held("w", Mode::Exclusive, Some(Write::Put(int(7)))),
        held("x", Mode::Exclusive, None),
        held("y", Mode::Shared, None),
    ];
    assert_eq!(stored, PrepareRecord { prepared: record(5), age: Age(5), held: Arc::from(wanted) });

    let mut rig = rig.crash();
    for (n, operation) in [(6, get("u")), (7, get("v")), (8, get("w")), (9, get("x")), (10, put("y", int(1)))] {
        assert_eq!(doomed(&rig.execute(n, &[operation])), ReasonKind::Conflict);
    }
    assert_eq!(rig.execute(11, &[get("y")]), [read(11, &[("y", None)])], "shared with a reader");
    assert_eq!(rig.close(5), [yes(5)]);
    assert_eq!(rig.execute(3, &[put("y", int(4))]), [], "waits for both");
    rig.engine.abort(xid(11)).unwrap();
    assert_eq!(rig.commit(5), [Ended::Abort(xid(11)), executed(3)]);
    assert_eq!(rig.flush(), [done(5)]);
    assert_eq!((rig.value("u").value, rig.value("w").value, rig.value("v").value), (Some(int(3)), Some(int(7)), None));
}

#[test]
fn an_operation_that_fails_does_nothing_and_the_branch_goes_on() {
    let mut rig = Rig::with(&[("a", int(10)), ("t", text("text"))]);
    assert_eq!(failed(&rig.execute(5, &[put("b", int(1)), add_within("a", -11, 0, 99)])).0, ReasonKind::CheckFailed);
    assert_eq!(rig.execute(5, &[get("b"), add("a", 1)]), [read(5, &[("b", None)])]);
    assert_eq!(failed(&rig.execute(5, &[add("a", 1), add("t", 1)])).0, ReasonKind::BadWork);
    assert_eq!(failed(&rig.execute(5, &[add("a", 1), get("")])).0, ReasonKind::BadWork);
    assert_eq!(rig.execute(5, &[get("a")]), [read(5, &[("a", Some(int(11)))])]);
    // The first one opens the branch, even if it fails.
    let broken = Work { payload: Some(Payload(vec![1, 2, 3])), ..ran(6) };
    rig.engine.execute(&broken).unwrap();
    assert_eq!(failed(&rig.ended()).0, ReasonKind::BadWork);
    assert_eq!(rig.close(6), [only_read(6)]);
    rig.close(5);
    assert_eq!(rig.flush(), [yes(5)]);
    rig.commit(5);
    rig.flush();
    assert_eq!((rig.value("a").value, rig.value("b").value), (Some(int(11)), None));
}

#[test]
fn t18_two_readers_that_both_want_to_write_end_one_of_them_whoever_asks_first() {
    for first in [5, 6] {
        let mut rig = Rig::with(&[("a", int(10))]);
        rig.execute(5, &[get("a")]);
        rig.execute(6, &[get("a")]);
        if first == 5 {
            assert_eq!(rig.execute(5, &[add("a", 1)]), [], "the older one waits for the younger");
            let ended = rig.execute(6, &[add("a", 1)]);
            assert_eq!((doomed(&ended[..1]), &ended[1..]), (ReasonKind::Conflict, &[executed(5)][..]));
        } else {
            assert_eq!(doomed(&rig.execute(6, &[add("a", 1)])), ReasonKind::Conflict);
            assert_eq!(rig.execute(5, &[add("a", 1)]), [executed(5)]);
        }
        rig.assert_over(6);
        rig.close(5);
        rig.flush();
        rig.commit(5);
        rig.flush();
        assert_eq!(rig.value("a").value, Some(int(11)));
    }
}

#[test]
fn a_branch_that_a_conflict_a_timeout_or_a_full_disk_ended_holds_nothing_and_does_not_begin_again() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.execute(5, &[put("a", int(1))]);
    rig.execute(6, &[put("b", int(1))]);
    assert_eq!(doomed(&rig.execute(6, &[get("a")])), ReasonKind::Conflict);
    rig.execute(3, &[put("c", int(1))]);
    assert_eq!(rig.execute(3, &[get("a")]), []);
    rig.engine.cancel(xid(3), Reason::new(ReasonKind::LockTimeout, "waited")).unwrap();
    assert_eq!(doomed(&rig.ended()), ReasonKind::LockTimeout);
    rig.engine.cancel(xid(5), Reason::new(ReasonKind::LockTimeout, "waited")).unwrap();
    assert_eq!(rig.ended(), [], "nothing of it waits");
    rig.room.set(false);
    assert_eq!(rig.execute(5, &[get("a")]), [read(5, &[("a", Some(int(1)))])], "reading takes no room");
    assert_eq!(doomed(&rig.execute(5, &[put("d", int(1))])), ReasonKind::DiskFull);
    rig.room.set(true);
    for n in [3, 5, 6] {
        rig.assert_over(n);
    }
    rig.assert_at_rest();
    // The disk fills up between the last operation and the vote.
    rig.execute(7, &[put("a", int(1))]);
    rig.room.set(false);
    assert_eq!(no(&rig.close(7)), ReasonKind::DiskFull);
    rig.room.set(true);
    rig.assert_over(7);
    rig.assert_at_rest();
}

#[test]
fn t10e_after_its_vote_a_branch_executes_nothing() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.execute(1, &[put("a", int(1))]);
    rig.execute(2, &[get("b")]);
    rig.execute(3, &[put("c", int(1))]);
    rig.close(1);
    assert_eq!(doomed(&rig.execute(1, &[put("a", int(2))])), ReasonKind::Lost, "on its way to the log");
    assert_eq!(rig.close(2), [only_read(2)]);
    assert_eq!(doomed(&rig.execute(2, &[put("b", int(2))])), ReasonKind::Lost, "it only read");
    rig.close_in_one_phase(3);
    assert_eq!(doomed(&rig.execute(3, &[put("c", int(2))])), ReasonKind::Lost, "it commits in one phase");
    assert_eq!(rig.flush(), [yes(1), committed(3)]);
    for n in [1, 3] {
        assert_eq!(doomed(&rig.execute(n, &[put("a", int(2))])), ReasonKind::Lost);
    }
    assert_eq!(rig.close(1), [yes(1)], "its branch was not touched");
    assert_eq!(rig.close(2), [only_read(2)]);
    rig.engine.release(xid(2)).unwrap();
    rig.assert_over(2);
    rig.commit(1);
    rig.flush();
    assert_eq!(doomed(&rig.execute(1, &[put("a", int(2))])), ReasonKind::Lost);
    assert_eq!((rig.value("a").value, rig.value("c").value), (Some(int(1)), Some(int(1))));
    rig.assert_at_rest();
}

#[test]
fn t10e_a_vote_while_an_operation_waits_is_no_and_the_operation_ends() {
    for one_phase in [false, true] {
        let mut rig = Rig::with(&[("a", int(10))]);
        rig.prepare(9, &[put("a", int(1))]);
        rig.execute(5, &[put("b", int(2))]);
        assert_eq!(rig.execute(5, &[get("a")]), []);
        let ended = if one_phase { rig.close_in_one_phase(5) } else { rig.close(5) };
        assert_eq!((doomed(&ended[..1]), no(&ended[1..])), (ReasonKind::Lost, ReasonKind::Lost));
        rig.assert_over(5);
        rig.flush();
        rig.commit(9);
        assert_eq!(rig.flush(), [done(9)]);
        rig.assert_at_rest();
    }
}

#[test]
fn t10ab_what_a_restart_lost_is_lost_for_the_vote_also_where_it_had_only_read() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.execute(1, &[put("a", int(1))]);
    rig.execute(2, &[get("a2")]);
    let mut rig = rig.crash();
    assert_eq!(no(&rig.close(1)), ReasonKind::Lost);
    assert_eq!(no(&rig.close_in_one_phase(2)), ReasonKind::Lost);
    for n in [1, 2] {
        rig.assert_over(n);
    }
    assert_eq!(rig.value("a").value, Some(int(10)));
    rig.assert_at_rest();
}

#[test]
fn f22_f24_an_abort_is_remembered_until_the_mark_refuses_in_its_place() {
    let mut rig = Rig::with(&[("a", int(10))]);
    assert_eq!(rig.abort(1), [Ended::Abort(xid(1))], "before anything else of it came");
    rig.execute(2, &[put("a", int(1))]);
    assert_eq!(rig.abort(2), [Ended::Abort(xid(2))]);
    rig.prepare(3, &[put("a", int(1))]);
    rig.flush();
    rig.abort(3);
    assert_eq!(rig.flush(), [Ended::Abort(xid(3))]);
    for _ in 0..2 {
        (1..=3).for_each(|n| rig.assert_over(n));
    }
    assert_eq!(rig.engine.ended.len(), 3);
    rig.engine.note(line(4, &[2]));
    assert_eq!(rig.engine.ended.keys().copied().collect::<Vec<_>>(), [xid(2)], "not covered yet");
    rig.engine.note(line(5, &[]));
    rig.flush();
    for _ in 0..2 {
        (1..=4).for_each(|n| rig.assert_over(n));
        assert!(rig.engine.ended.is_empty(), "not remembered again");
        rig = rig.crash();
    }
    rig.abort(2);
    assert!(rig.engine.ended.is_empty());
    assert_eq!(rig.execute(5, &[put("a", int(1))]), [executed(5)], "above the mark");
    rig.abort(5);
    rig.assert_at_rest();
}

#[test]
fn f25_an_abort_at_every_step_leaves_one_verdict_and_nothing_held() {
    // 5 works, waits for 9, gets the lock, works on, and votes.
    type Step = fn(&mut Rig);
    let steps: [Step; 8] = [
        |rig| drop(rig.execute(5, &[get("a"), put("b", int(2))])),
        |rig| drop(rig.execute(9, &[put("c", int(9))])),
        |rig| drop(rig.execute(5, &[add("c", 1)])),
        |rig| drop(rig.close(9)),
        |rig| drop(rig.flush()),
        |rig| drop(rig.commit(9)),
        |rig| drop(rig.execute(5, &[add("a", 1)])),
        |rig| drop(rig.close(5)),
    ];
    for at in 0..=steps.len() {
        for crash in [false, true] {
            let mut rig = Rig::with(&[("a", int(10))]);
            steps[..at].iter().for_each(|step| step(&mut rig));
            let waits = (3..6).contains(&at);
            let votes = at == steps.len();
            let ended = rig.abort(5);
            let wanted = usize::from(!votes) + usize::from(waits || votes);
            assert_eq!(ended.len(), wanted, "after {at} steps: {ended:?}");
            if waits {
                assert_eq!(doomed(&ended[..1]), ReasonKind::Lost);
            }
            for step in &steps[at..] {
                step(&mut rig);
            }
            rig.assert_over(5);
            rig.flush();
            if crash {
                rig = rig.crash();
                assert_eq!(no(&rig.close(5)), ReasonKind::Lost);
            }
            rig.execute(7, &[get("a"), get("b"), put("d", int(1))]);
            rig.close(7);
            assert_eq!(rig.flush(), [yes(7)], "after {at} steps");
            rig.commit(7);
            rig.flush();
            let values = ["a", "b", "c"].map(|key| rig.value(key).value);
            assert_eq!(values, [Some(int(10)), None, Some(int(9))], "after {at} steps");
            rig.assert_at_rest();
        }
    }
}

#[test]
fn a_commit_in_one_phase_of_what_ran_before_is_seen_when_it_is_on_disk_and_answered_again() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.execute(5, &[add("a", 5)]);
    rig.execute(5, &[put("b", int(1)), get("a")]);
    assert_eq!(rig.close_in_one_phase(5), []);
    assert_eq!(rig.value("a").value, Some(int(10)));
    assert_eq!(rig.execute(3, &[get("a")]), [], "its locks go after the force");
    assert_eq!(rig.close_in_one_phase(5), []);
    assert_eq!(rig.flush(), [committed(5), read(3, &[("a", Some(int(15)))])]);
    assert_eq!(rig.close_in_one_phase(5), [committed(5)]);
    let marker = OnePhaseDone { key: key(5), hash: HASH, reads: nothing_read() };
    assert_eq!(rig.disk.borrow().done[&xid(5)], Done { xid: xid(5), one_phase: Some(marker) });

    assert_eq!(rig.close_in_one_phase(3), [committed(3)], "it only read");
    assert!(rig.queue.is_empty() && !rig.disk.borrow().done.contains_key(&xid(3)));
    assert_eq!(rig.close_in_one_phase(3), [committed(3)]);
    assert_eq!(doomed(&rig.execute(3, &[put("a", int(0))])), ReasonKind::Lost);
    rig.assert_at_rest();
    let mut rig = rig.crash();
    assert_eq!(rig.close_in_one_phase(5), [committed(5)]);
    assert_eq!(no(&rig.close_in_one_phase(3)), ReasonKind::Lost, "nothing happened, and nobody remembers");
}

#[test]
fn work_that_comes_with_the_vote_does_not_join_what_ran_before() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.execute(5, &[put("a", int(1))]);
    assert_eq!(no(&rig.prepare(5, &[put("b", int(1))])), ReasonKind::BadWork);
    rig.assert_over(5);
    rig.execute(6, &[put("a", int(1))]);
    assert_eq!(no(&rig.one_phase(6, &[put("b", int(1))])), ReasonKind::BadWork);
    rig.assert_over(6);
    rig.prepare(9, &[put("a", int(1))]);
    assert_eq!(rig.prepare(3, &[put("a", int(3))]), []);
    assert_eq!(doomed(&rig.execute(3, &[get("a")])), ReasonKind::Lost);
    rig.flush();
    rig.commit(9);
    assert_eq!(rig.flush(), [done(9), yes(3)], "the one-shot branch went on");
}

#[test]
fn f11_keys_and_bytes_of_an_open_branch_are_bounded_over_all_its_operations() {
    let mut rig = Rig::new();
    let keys =
        |from: usize, count: usize| -> Vec<Operation> { (from..from + count).map(|n| get(&format!("k{n}"))).collect() };
    assert!(matches!(rig.execute(5, &keys(0, 600)).as_slice(), [Ended::Execute(_, Execution::Done(_))]));
    let ended = rig.execute(5, &keys(500, 501));
    let (kind, why) = failed(&ended);
    assert!(kind == ReasonKind::BadWork && why.contains("1001 keys"), "{why}");
    assert_eq!(rig.execute(6, &[put("k600", int(1))]), [executed(6)], "none of its locks was taken");
    assert!(matches!(
        rig.execute(5, &keys(700, MAX_OPERATIONS - 600)).as_slice(),
        [Ended::Execute(_, Execution::Done(_))]
    ));
    assert_eq!(failed(&rig.execute(5, &[get("one more")])).0, ReasonKind::BadWork);
    assert!(matches!(rig.execute(5, &keys(0, 600)).as_slice(), [Ended::Execute(_, Execution::Done(_))]));

    let large = |n: usize| put(&n.to_string(), text(&"x".repeat(64 << 10)));
    for n in 0..15 {
        assert_eq!(rig.execute(7, &[large(n)]), [executed(7)]);
    }
    let ended = rig.execute(7, &[large(15)]);
    let (kind, why) = failed(&ended);
    assert!(kind == ReasonKind::BadWork && why.contains(&MAX_TRANSACTION_BYTES.to_string()), "{why}");
    assert_eq!(rig.execute(7, &[large(3)]), [executed(7)], "in place of its own");
    assert_eq!(rig.execute(7, &[put("3", int(1)), get("15")]), [read(7, &[("15", None)])]);
    assert_eq!(rig.execute(7, &[large(15)]), [executed(7)]);
    rig.close(7);
    assert_eq!(rig.flush(), [yes(7)], "all of it fits its record");
    let long = |n: usize| get(&format!("{n:01024}"));
    let gets: Vec<_> = (0..900).map(long).collect();
    assert!(matches!(rig.execute(8, &gets).as_slice(), [Ended::Execute(_, Execution::Done(_))]));
    let gets: Vec<_> = (900..1_000).map(long).chain([put("short", text(&"x".repeat(32 << 10)))]).collect();
    assert_eq!(failed(&rig.execute(8, &gets)).0, ReasonKind::BadWork);
    rig.close(8);
    rig.abort(5);
    rig.abort(6);
}

#[test]
fn a09_what_an_operation_cant_read_is_an_error_never_absent() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.execute(5, &[put("b", int(1))]);
    rig.broken.set(true);
    assert!(rig.engine.execute(&work(5, &[get("a")])).is_err());
    assert_eq!(rig.ended(), []);
}
