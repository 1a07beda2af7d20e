//! Transactions of one branch.

use super::*;

const ASKED: &str = "asked about before it reached the log";

fn aborted(kind: ReasonKind) -> OnePhaseResult {
    OnePhaseResult::Aborted(no(kind))
}

fn committed(reads: &str) -> OnePhaseResult {
    OnePhaseResult::Committed(payload(reads))
}

#[test]
fn a_one_phase_commit_and_its_copies_get_one_answer() {
    for result in [committed("reads"), aborted(ReasonKind::CheckFailed)] {
        let x = xid(1);
        let mut p = greeted();
        assert_eq!(say(&mut p, 1, &stamp(1), one_phase(x, 5)), started_one_phase(x, 5));
        assert_eq!(say(&mut p, 2, &stamp(1), one_phase(x, 5)), vec![]);
        assert_eq!(say(&mut p, 3, &stamp(1), one_phase(x, 6)), vec![refused(3, Refusal::OtherContent)]);
        assert_eq!(
            one_phase_ends(&mut p, x, result.clone()),
            vec![ended(1, x, result.clone()), ended(2, x, result.clone())]
        );
        assert_eq!(say(&mut p, 4, &stamp(1), one_phase(x, 5)), vec![ended(4, x, result.clone())]);
        assert_eq!(say(&mut p, 5, &stamp(1), ask(x)), vec![ended(5, x, result)]);
    }
}

#[test]
fn t04a_one_phase_late_copy_after_a_question() {
    let x = xid(1);
    let mut p = greeted();
    let fenced = OnePhaseResult::Aborted(Reason::new(ReasonKind::Fenced, ASKED));
    assert_eq!(say(&mut p, 1, &stamp(1), ask(x)), vec![ended(1, x, fenced.clone())]);
    assert_eq!(say(&mut p, 2, &stamp(1), one_phase(x, 5)), vec![ended(2, x, fenced.clone())]);
    assert_eq!(say(&mut p, 3, &stamp(1), ask(x)), vec![ended(3, x, fenced)]);
    // Below the mark it is the mark that refuses.
    let passed = Stamp { mark: mark(2), ..stamp(1) };
    let _ = say(&mut p, 4, &passed, abort(xid(2)));
    assert_eq!(say(&mut p, 5, &stamp(1), one_phase(x, 5)), vec![refused(5, Refusal::BelowMark)]);
    assert_eq!(say(&mut p, 6, &stamp(1), ask(x)), vec![refused(6, Refusal::BelowMark)]);
}

#[test]
fn t04b_one_phase_late_copy_after_a_no() {
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), one_phase(x, 5));
    let result = aborted(ReasonKind::CheckFailed);
    let _ = one_phase_ends(&mut p, x, result.clone());
    assert_eq!(say(&mut p, 2, &stamp(1), one_phase(x, 5)), vec![ended(2, x, result)]);
    // After a restart the new incarnation refuses the copy in its place.
    let config = Config { incarnation: Incarnation(8), ..config() };
    let (mut p, _) = Participant::recover(config, Recovered { lines: vec![line(1)], ..Recovered::default() }).unwrap();
    assert_eq!(say(&mut p, 3, &stamp(1), one_phase(x, 5)), vec![refused(3, Refusal::WrongAddressee)]);
}

#[test]
fn t04c_a_done_marker_is_reported_before_a_new_epoch_can_trim_it() {
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), one_phase(x, 5));
    let _ = one_phase_ends(&mut p, x, committed("reads"));
    // The new epoch has never heard of it, and its mark passes it: neither Hello takes that mark over.
    let passed = Stamp { mark: Mark { low: xid_of(2, 0).txn, except: vec![] }, ..stamp(2) };
    let next = Line { seen: seen(2), ..line(1) };
    let forced = Effect::ForceLine(next.clone());
    assert_eq!(say(&mut p, 2, &passed, hello_after(1)), vec![forced]);
    assert_eq!(say(&mut p, 3, &passed, hello_after(1)), vec![]);
    let unconfirmed = |to| reply(to, fence::welcome(&[(x, done(5, "reads"))]));
    assert_eq!(p.step(Input::LineForced { log: LOG }), vec![unconfirmed(2), unconfirmed(3)]);
    // From then on it may be confirmed.
    let noted = Effect::NoteLine(Line { mark: Some(passed.mark.clone()), ..next });
    let again = reply(4, fence::welcome(&[]));
    assert_eq!(say(&mut p, 4, &passed, hello_after(1)), vec![noted, again]);
    assert_eq!(p.branches().count(), 0);
}

#[test]
fn t04e_asked_while_it_waits_for_a_lock() {
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), one_phase(x, 5));
    assert_eq!(say(&mut p, 2, &stamp(1), ask(x)), vec![cancel(x, ReasonKind::Fenced, ASKED)]);
    assert_eq!(say(&mut p, 3, &stamp(1), ask(x)), vec![]);
    let mut in_log = p.clone();
    // It was still waiting.
    let result = aborted(ReasonKind::Fenced);
    assert_eq!(
        one_phase_ends(&mut p, x, result.clone()),
        vec![ended(1, x, result.clone()), ended(2, x, result.clone()), ended(3, x, result.clone())]
    );
    assert_eq!(say(&mut p, 4, &stamp(1), one_phase(x, 5)), vec![ended(4, x, result)]);
    // It was in the log: nobody was told no.
    let result = committed("reads");
    assert_eq!(
        one_phase_ends(&mut in_log, x, result.clone()),
        vec![ended(1, x, result.clone()), ended(2, x, result.clone()), ended(3, x, result)]
    );
}

#[test]
fn a_lock_timeout_cancels_once() {
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), one_phase(x, 5));
    assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![cancel(x, ReasonKind::LockTimeout, "")]);
    assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![]);
    assert_eq!(say(&mut p, 2, &stamp(1), ask(x)), vec![]);
    let result = aborted(ReasonKind::LockTimeout);
    assert_eq!(one_phase_ends(&mut p, x, result.clone()), vec![ended(1, x, result.clone()), ended(2, x, result)]);
}

#[test]
fn a_key_already_done_is_answered_with_what_was_done() {
    let (first, second, third) = (xid(1), xid(2), xid(3));
    let marker = super::super::Done { xid: first, one_phase: Some(done(5, "reads")) };
    let mut p = recovered(Recovered { lines: vec![line(1)], done: vec![marker], ..Recovered::default() });
    assert_eq!(say(&mut p, 1, &stamp(1), one_phase(second, 5)), vec![ended(1, second, committed("reads"))]);
    // The first marker is trimmed; the second transaction's late copy still does not run.
    let passed = Stamp { mark: mark(2), ..stamp(1) };
    let _ = p.step(Input::StampReceived(passed));
    assert_eq!(say(&mut p, 2, &stamp(1), one_phase(second, 5)), vec![ended(2, second, committed("reads"))]);
    assert_eq!(say(&mut p, 3, &stamp(1), ask(second)), vec![ended(3, second, committed("reads"))]);
    // Nor does the key run for something else.
    let Order::CommitOnePhase(order) = one_phase(third, 5) else { unreachable!() };
    let other = Order::CommitOnePhase(OnePhase { hash: digest("other"), ..order });
    let reason = Reason::new(ReasonKind::BadWork, "this key was used for other work");
    let refusal = OnePhaseResult::Aborted(reason);
    assert_eq!(say(&mut p, 4, &stamp(1), other.clone()), vec![ended(4, third, refusal.clone())]);
    assert_eq!(say(&mut p, 5, &stamp(1), other), vec![ended(5, third, refusal)]);
}

#[test]
fn a_key_on_its_way_is_not_done_by_another_transaction_beside_it() {
    for result in [committed("reads"), aborted(ReasonKind::Conflict)] {
        let (first, second) = (xid(1), xid(2));
        let mut p = greeted();
        let _ = say(&mut p, 1, &stamp(1), one_phase(first, 5));
        assert_eq!(say(&mut p, 2, &stamp(1), one_phase(second, 5)), vec![]);
        assert_eq!(say(&mut p, 3, &stamp(1), ask(second)), vec![]);
        assert_eq!(
            one_phase_ends(&mut p, first, result.clone()),
            vec![ended(1, first, result.clone()), ended(2, second, result.clone()), ended(3, second, result.clone())]
        );
        assert_eq!(say(&mut p, 4, &stamp(1), one_phase(second, 5)), vec![ended(4, second, result)]);
    }
}

#[test]
fn the_two_kinds_of_transactions_do_not_mix() {
    let x = xid(1);
    let other = |to| vec![refused(to, Refusal::OtherContent)];
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), one_phase(x, 5));
    for (to, order) in [(2, prepare(x)), (3, commit(x)), (4, abort(x))] {
        assert_eq!(say(&mut p, to, &stamp(1), order), other(to));
    }
    let mut p = in_doubt(x);
    for (to, order) in [(2, one_phase(x, 5)), (3, ask(x))] {
        assert_eq!(say(&mut p, to, &stamp(1), order), other(to));
    }
    assert_eq!(state(&p, x), Some("in-doubt"));
}

#[test]
fn f28_a_request_whose_asker_is_gone_goes_on_and_the_next_asker_gets_its_result() {
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), one_phase(x, 5));
    assert_eq!(p.step(Input::CoordinatorLost { log: LOG }), vec![]);
    assert_eq!(one_phase_ends(&mut p, x, committed("")), vec![ended(1, x, committed(""))]);
    assert_eq!(say(&mut p, 2, &stamp(1), one_phase(x, 5)), vec![ended(2, x, committed(""))]);

    let y = xid(2);
    let _ = say(&mut p, 3, &stamp(1), prepare(y));
    assert_eq!(p.step(Input::CoordinatorLost { log: LOG }), vec![]);
    let yes = Vote::Yes(payload(""));
    assert_eq!(work_ends(&mut p, y, yes.clone())[0], voted(3, y, yes.clone()));
    assert_eq!(say(&mut p, 4, &stamp(1), prepare(y)), vec![voted(4, y, yes)]);
}
