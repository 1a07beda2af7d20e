//! Prepare, Release, the decision.

use super::*;

#[test]
fn prepare_votes_only_after_the_record_is_forced() {
    let mut p = greeted();
    let x = xid(1);
    assert_eq!(say(&mut p, 1, &stamp(1), prepare(x)), started(x));
    assert_eq!(state(&p, x), Some("working"));
    assert_eq!(
        work_ends(&mut p, x, Vote::Yes(payload("reads"))),
        vec![voted(1, x, Vote::Yes(payload("reads"))), timer(Timer::Inquire(x), Duration::from_secs(1), true)]
    );
    assert_eq!(state(&p, x), Some("in-doubt"));
    assert_eq!(say(&mut p, 2, &stamp(1), commit(x)), vec![Effect::Commit { xid: x }]);
    assert_eq!(say(&mut p, 3, &stamp(1), commit(x)), vec![]);
    let acknowledged = |to| reply(to, Answer::Acknowledged { xid: x });
    assert_eq!(p.step(Input::BranchCommitted { xid: x, found: true }), vec![acknowledged(2), acknowledged(3)]);
    assert_eq!(say(&mut p, 4, &stamp(1), commit(x)), vec![acknowledged(4)]);
    assert_eq!(state(&p, x), Some("committed"));
}

#[test]
fn what_was_heard_goes_with_the_order_and_into_the_record() {
    let mut p = greeted();
    let x = xid(1);
    let from = Stamp { decisions: 5, clock: Age(40), ..stamp(1) };
    let seen = Seen { decisions: 5, ..seen(1) };
    assert_eq!(
        say(&mut p, 1, &from, prepare(x)),
        vec![
            Effect::NoteLine(Line { seen, ..line(1) }),
            Effect::Prepare { age: Age(3), record: Prepared { seen, ..record(x, "") }, work: Some(payload("work")) },
            timer(Timer::LockWait(x), Duration::from_millis(200), false),
        ]
    );
    assert_eq!(p.clock(), Age(40));
    assert_eq!(p.seen(LOG), Some(seen));
}

#[test]
fn a_repeated_prepare_gets_the_same_vote_and_other_content_is_refused() {
    let x = xid(1);
    let votes = [Vote::Yes(payload("reads")), Vote::No(no(ReasonKind::CheckFailed)), Vote::ReadOnly(payload("reads"))];
    for vote in votes {
        let mut p = greeted();
        let _ = say(&mut p, 1, &stamp(1), prepare(x));
        assert_eq!(say(&mut p, 2, &stamp(1), prepare(x)), vec![]);
        assert_eq!(say(&mut p, 3, &stamp(1), prepare_with(x, "other")), vec![refused(3, Refusal::OtherContent)]);
        let out = work_ends(&mut p, x, vote.clone());
        assert_eq!(out[..2], [voted(1, x, vote.clone()), voted(2, x, vote.clone())]);
        assert_eq!(say(&mut p, 4, &stamp(1), prepare(x)), vec![voted(4, x, vote.clone())]);
        assert_eq!(say(&mut p, 5, &stamp(1), prepare_with(x, "other")), vec![refused(5, Refusal::OtherContent)]);
        // Nor does the decision change it.
        let _ = say(&mut p, 6, &stamp(1), abort(x));
        assert_eq!(say(&mut p, 7, &stamp(1), prepare(x)), vec![voted(7, x, vote)]);
    }
}

#[test]
fn t01_released_is_true_only_while_the_locks_are_held() {
    let x = xid(1);
    let hold = config().read_only_hold;
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let vote = Vote::ReadOnly(payload("100"));
    assert_eq!(
        work_ends(&mut p, x, vote.clone()),
        vec![voted(1, x, vote.clone()), timer(Timer::ReadOnlyHold(x), hold, false)]
    );
    let mut gave_up = p.clone();
    let released = |to, held| reply(to, Answer::Released { xid: x, held });

    // A broken connection alone does not let go.
    assert_eq!(p.step(Input::CoordinatorLost { log: LOG }), vec![]);
    assert_eq!(say(&mut p, 2, &stamp(1), release(x)), vec![Effect::Release { xid: x }, released(2, true)]);
    assert_eq!(say(&mut p, 3, &stamp(1), release(x)), vec![released(3, true)]);
    assert_eq!(fire(&mut p, Timer::ReadOnlyHold(x)), vec![]);

    assert_eq!(fire(&mut gave_up, Timer::ReadOnlyHold(x)), vec![Effect::Release { xid: x }]);
    assert_eq!(say(&mut gave_up, 2, &stamp(1), release(x)), vec![released(2, false)]);
    assert_eq!(say(&mut gave_up, 3, &stamp(1), prepare(x)), vec![voted(3, x, vote)]);

    // Another incarnation holds nothing and can't be asked; this one says no for what it never saw.
    let mut fresh = greeted();
    let other = Addressee { incarnation: Incarnation(6), ..to() };
    let order = Order::Release { to: other, xid: x };
    assert_eq!(say(&mut fresh, 2, &stamp(1), order), vec![refused(2, Refusal::WrongAddressee)]);
    assert_eq!(say(&mut fresh, 3, &stamp(1), release(x)), vec![released(3, false)]);
}

#[test]
fn an_abort_lets_go_of_a_branch_that_only_read() {
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let _ = work_ends(&mut p, x, Vote::ReadOnly(payload("100")));
    assert_eq!(say(&mut p, 2, &stamp(1), abort(x)), vec![Effect::Release { xid: x }, reply(2, Answer::Received)]);
    assert_eq!(say(&mut p, 3, &stamp(1), release(x)), vec![reply(3, Answer::Released { xid: x, held: false })]);
}

#[test]
fn t05_a_late_prepare_below_the_mark_does_not_run_again() {
    let x = xid(1);
    let mut p = in_doubt(x);
    let _ = say(&mut p, 2, &stamp(1), commit(x));
    let _ = p.step(Input::BranchCommitted { xid: x, found: true });
    let passed = Stamp { mark: mark(5), ..stamp(1) };
    assert_eq!(
        say(&mut p, 3, &passed, prepare(x)),
        vec![Effect::NoteLine(Line { mark: Some(mark(5)), ..line(1) }), refused(3, Refusal::BelowMark)]
    );
    assert_eq!(state(&p, x), None);
    // The late copy carries the stamp it was sent with.
    assert_eq!(say(&mut p, 4, &stamp(1), prepare(x)), vec![refused(4, Refusal::BelowMark)]);
    assert_eq!(say(&mut p, 5, &stamp(1), commit(x)), vec![reply(5, Answer::Acknowledged { xid: x })]);
}

#[test]
fn t06_a_commit_without_a_trace_stops_and_is_not_acknowledged() {
    let mut p = greeted();
    let out = say(&mut p, 1, &stamp(1), commit(xid(1)));
    let txn = xid(1).txn.to_string();
    assert_stops(&mut p, &out, &["lost branch", "Decide(Commit)", "unknown", &txn]);

    let mut p = in_doubt(xid(1));
    let _ = say(&mut p, 2, &stamp(1), commit(xid(1)));
    let out = p.step(Input::BranchCommitted { xid: xid(1), found: false });
    assert_stops(&mut p, &out, &["lost branch", "not found", "committing"]);
}

#[test]
fn a_decision_that_the_vote_rules_out_stops() {
    let x = xid(1);
    let commit_after = |vote: Option<Vote>| {
        let mut p = greeted();
        let _ = say(&mut p, 1, &stamp(1), prepare(x));
        if let Some(vote) = vote {
            let _ = work_ends(&mut p, x, vote);
        }
        let out = say(&mut p, 2, &stamp(1), commit(x));
        assert_stops(&mut p, &out, &["contradiction", "Decide(Commit)"]);
    };
    commit_after(None);
    commit_after(Some(Vote::No(no(ReasonKind::CheckFailed))));
    commit_after(Some(Vote::ReadOnly(payload(""))));

    let mut p = in_doubt(x);
    let _ = say(&mut p, 2, &stamp(1), abort(x));
    let out = say(&mut p, 3, &stamp(1), commit(x));
    assert_stops(&mut p, &out, &["contradiction", "aborting"]);

    let mut p = in_doubt(x);
    let _ = say(&mut p, 2, &stamp(1), commit(x));
    let mut committed = p.clone();
    let out = say(&mut p, 3, &stamp(1), abort(x));
    assert_stops(&mut p, &out, &["contradiction", "committing"]);
    let _ = committed.step(Input::BranchCommitted { xid: x, found: true });
    let out = say(&mut committed, 3, &stamp(1), abort(x));
    assert_stops(&mut committed, &out, &["contradiction", "committed"]);
}

#[test]
fn an_own_completion_that_can_not_be_stops() {
    let x = xid(1);
    let illegal = [
        Input::WorkPrepared { xid: x, vote: Vote::Yes(payload("")) },
        Input::BranchCommitted { xid: x, found: true },
        Input::BranchAborted { xid: x },
        Input::OnePhaseEnded { xid: x, result: OnePhaseResult::Committed(payload("")) },
    ];
    for input in illegal {
        for mut p in [greeted(), in_doubt(x)] {
            let out = p.step(input.clone());
            assert_stops(&mut p, &out, &["unexpected"]);
        }
    }
    let mut p = greeted();
    let out = p.step(Input::LineForced { log: LOG });
    assert_stops(&mut p, &out, &["unexpected LineForced"]);
}

#[test]
fn f22_late_prepare_after_abort() {
    let x = xid(1);
    let mut p = greeted();
    assert_eq!(say(&mut p, 1, &stamp(1), abort(x)), vec![reply(1, Answer::Received)]);
    let vote = Vote::No(Reason::new(ReasonKind::Lost, "aborted by its coordinator"));
    for to in 2..4 {
        assert_eq!(say(&mut p, to, &stamp(1), prepare(x)), vec![voted(to, x, vote.clone())]);
    }
    assert_eq!(state(&p, x), Some("aborted"));
}

#[test]
fn f22_an_abort_while_the_prepare_record_is_in_the_log_undoes_it() {
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let why = "aborted by its coordinator";
    assert_eq!(say(&mut p, 2, &stamp(1), abort(x)), vec![cancel(x, ReasonKind::Lost, why), reply(2, Answer::Received)]);
    assert_eq!(say(&mut p, 3, &stamp(1), abort(x)), vec![reply(3, Answer::Received)]);
    let vote = Vote::No(Reason::new(ReasonKind::Lost, why));
    assert_eq!(
        work_ends(&mut p, x, Vote::Yes(payload("reads"))),
        vec![Effect::Abort { xid: x }, voted(1, x, vote.clone())]
    );
    assert_eq!(p.step(Input::BranchAborted { xid: x }), vec![]);
    assert_eq!(say(&mut p, 4, &stamp(1), prepare(x)), vec![voted(4, x, vote)]);
}

#[test]
fn f24_a_remembered_abort_outlives_retries_and_goes_only_with_the_mark_which_refuses_in_its_place() {
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), abort(x));
    // Other transactions come and go, and the late Prepare comes twice.
    let _ = say(&mut p, 2, &stamp(1), abort(xid(2)));
    for to in 3..5 {
        let out = say(&mut p, to, &stamp(1), prepare(x));
        assert!(matches!(&out[..], [Effect::Reply { answer: Answer::Voted { vote: Vote::No(_), .. }, .. }]), "{out:?}");
    }
    // Collected: the mark refuses.
    let _ = say(&mut p, 5, &Stamp { mark: mark(2), ..stamp(1) }, abort(xid(2)));
    assert_eq!(p.branches().map(|branch| branch.xid).collect::<Vec<_>>(), [xid(2)]);
    assert_eq!(say(&mut p, 6, &stamp(1), prepare(x)), vec![refused(6, Refusal::BelowMark)]);

    // Restarted: the new incarnation refuses.
    let line = Line { mark: Some(mark(0)), ..line(1) };
    let config = Config { incarnation: Incarnation(8), ..config() };
    let (mut p, _) = Participant::recover(config, Recovered { lines: vec![line], ..Recovered::default() }).unwrap();
    assert_eq!(say(&mut p, 7, &stamp(1), prepare(x)), vec![refused(7, Refusal::WrongAddressee)]);
}

#[test]
fn f44_the_lock_timeout_at_every_step_leaves_one_verdict() {
    let x = xid(1);
    let mut p = greeted();
    assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![]);
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let mut waiting = p.clone();
    assert_eq!(fire(&mut waiting, Timer::LockWait(x)), vec![cancel(x, ReasonKind::LockTimeout, "")]);
    assert_eq!(fire(&mut waiting, Timer::LockWait(x)), vec![]);
    let mut in_log = waiting.clone();
    let vote = Vote::No(no(ReasonKind::LockTimeout));
    assert_eq!(work_ends(&mut waiting, x, vote.clone()), vec![voted(1, x, vote)]);
    // It was in the log already: the Yes counts.
    let yes = Vote::Yes(payload(""));
    assert_eq!(work_ends(&mut in_log, x, yes.clone())[..1], [voted(1, x, yes.clone())]);
    assert_eq!(fire(&mut in_log, Timer::LockWait(x)), vec![]);
    assert_eq!(say(&mut in_log, 2, &stamp(1), prepare(x)), vec![voted(2, x, yes)]);

    let mut p = in_doubt(x);
    for decision in [commit(x), abort(x)] {
        let mut p = p.clone();
        let _ = say(&mut p, 2, &stamp(1), decision);
        assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![]);
        assert_eq!(fire(&mut p, Timer::Inquire(x)), vec![]);
    }
    assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![]);
    assert_eq!(state(&p, x), Some("in-doubt"));
}

#[test]
fn t14_the_mark_never_ends_a_prepared_branch() {
    let x = xid(1);
    let mut p = in_doubt(x);
    let _ = say(&mut p, 2, &stamp(1), abort(xid(2)));
    let passed = Stamp { mark: mark(9), ..stamp(1) };
    let noted = Effect::NoteLine(Line { mark: Some(mark(9)), ..line(1) });
    assert_eq!(p.step(Input::StampReceived(passed.clone())), vec![noted]);
    assert_eq!(p.branches().map(|branch| (branch.xid, branch.state)).collect::<Vec<_>>(), [(x, "in-doubt")]);
    assert_eq!(fire(&mut p, Timer::Inquire(x))[..1], [inquire(x)]);
    let mut aborted = p.clone();
    // It still ends by its decision, whichever that is, and only then it is forgotten.
    assert_eq!(say(&mut p, 3, &passed, commit(x)), vec![Effect::Commit { xid: x }]);
    let ack = reply(3, Answer::Acknowledged { xid: x });
    assert_eq!(p.step(Input::BranchCommitted { xid: x, found: true }), vec![ack]);
    assert_eq!(p.branches().count(), 0);
    assert_eq!(say(&mut aborted, 3, &passed, abort(x)), vec![Effect::Abort { xid: x }, reply(3, Answer::Received)]);
    assert_eq!(state(&aborted, x), Some("aborting"));
    assert_eq!(aborted.step(Input::BranchAborted { xid: x }), vec![]);
    assert_eq!(aborted.branches().count(), 0);
}

#[test]
fn the_mark_forgets_all_that_is_only_remembered_save_its_exceptions() {
    let mut p = greeted();
    for n in 1..=4 {
        let _ = say(&mut p, n, &stamp(1), prepare(xid(n)));
    }
    let _ = work_ends(&mut p, xid(1), Vote::No(no(ReasonKind::Conflict)));
    let _ = work_ends(&mut p, xid(2), Vote::ReadOnly(payload("")));
    let _ = work_ends(&mut p, xid(3), Vote::No(no(ReasonKind::Conflict)));
    let low = Mark { low: xid(9).txn, except: vec![xid(3).txn] };
    let out = p.step(Input::StampReceived(Stamp { mark: low.clone(), ..stamp(1) }));
    // A branch that only read still held its locks: they go now.
    let noted = Effect::NoteLine(Line { mark: Some(low), ..line(1) });
    assert_eq!(out, vec![noted, Effect::Release { xid: xid(2) }]);
    assert_eq!(
        p.branches().map(|branch| (branch.xid, branch.state)).collect::<Vec<_>>(),
        [(xid(3), "aborted"), (xid(4), "working")]
    );
    // A mark whose exceptions can't be looked up is not taken over.
    let unsorted = Mark { low: xid(20).txn, except: vec![xid(5).txn, xid(3).txn] };
    assert_eq!(p.step(Input::StampReceived(Stamp { mark: unsorted, ..stamp(1) })), vec![]);
}
