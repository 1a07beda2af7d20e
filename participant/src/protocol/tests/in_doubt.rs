//! After Yes: asking, for ever.

use handfast_common::limits::{RETRY_CAP, RETRY_FIRST};
use handfast_common::messages::InquiryAnswer;

use super::*;

fn asks(x: Xid, after: Duration) -> Effects {
    vec![inquire(x), timer(Timer::Inquire(x), after, true)]
}

/// The same, once the coordinator has left one unanswered.
fn asks_all(x: Xid, after: Duration) -> Effects {
    vec![inquire(x), inquire_peer(x), timer(Timer::Inquire(x), after, true)]
}

fn answered(p: &mut Participant, xid: Xid, answer: InquiryAnswer) -> Effects {
    p.step(Input::InquiryAnswered { xid, answer })
}

#[test]
fn f45_a_silent_coordinator_for_simulated_days_leaves_the_branch_prepared() {
    let x = xid(1);
    let mut p = in_doubt(x);
    for _ in 0..3 * 24 * 3600 {
        assert_eq!(fire(&mut p, Timer::Inquire(x))[0], inquire(x));
        assert_eq!(fire(&mut p, Timer::LockWait(x)), vec![]);
        assert_eq!(fire(&mut p, Timer::ReadOnlyHold(x)), vec![]);
    }
    assert_eq!(state(&p, x), Some("in-doubt"));
    assert_eq!(say(&mut p, 2, &stamp(1), commit(x)), vec![Effect::Commit { xid: x }]);
}

#[test]
fn f46_time_is_durations_and_backoff_doubles_up_to_its_cap() {
    let x = xid(1);
    let mut p = in_doubt(x);
    let mut pause = RETRY_FIRST;
    for round in 0..10 {
        let mut expected = if round == 0 { asks(x, pause) } else { asks_all(x, pause) };
        if round == 2 {
            // The other one has not answered either: said once.
            expected.insert(2, waits(x, "bank-b does not answer either"));
        }
        assert_eq!(fire(&mut p, Timer::Inquire(x)), expected);
        pause = (pause * 2).min(RETRY_CAP);
    }
    assert_eq!(pause, RETRY_CAP);
}

/// f47: a connection that breaks every 50 ms, watched for ten minutes with a driver that replaces timers by name.
#[test]
fn f47_a_flapping_connection_makes_no_storm_and_no_gap() {
    let x = xid(1);
    let mut p = in_doubt(x);
    let (mut asked, mut due, mut last) = (0_u64, RETRY_CAP, Duration::ZERO);
    let end = Duration::from_secs(600);
    let (mut peers, mut said) = (0_u64, 0_u64);
    let mut take = |effects: Effects, now: Duration, due: &mut Duration, asked: &mut u64| {
        for effect in effects {
            match effect {
                Effect::Inquire { .. } => {
                    assert!(now - last <= RETRY_CAP, "gap of {:?}", now - last);
                    last = now;
                    *asked += 1;
                }
                Effect::SetTimer { timer: Timer::Inquire(_), after, .. } => *due = now + after,
                Effect::InquirePeer { .. } => peers += 1,
                Effect::Say { .. } => said += 1,
                other => panic!("{other:?}"),
            }
        }
    };
    let mut now = Duration::ZERO;
    while now < end {
        now += Duration::from_millis(50);
        while due <= now {
            let at = due;
            take(fire(&mut p, Timer::Inquire(x)), at, &mut due, &mut asked);
        }
        take(p.step(Input::CoordinatorLost { log: LOG }), now, &mut due, &mut asked);
    }
    // One a second, one in ten more for the connection's sake, and the first steps of the backoff.
    assert!(asked <= 600 + 60 + 10, "asked {asked} times");
    assert!(peers < asked && said == 1, "asked the other one {peers} times, said so {said} times");
}

#[test]
fn a_broken_connection_asks_at_once_for_that_logs_branches_in_doubt() {
    let (first, second) = (xid(1), xid(2));
    let mut p = in_doubt(first);
    let _ = say(&mut p, 2, &stamp(1), prepare(second));
    assert_eq!(p.step(Input::CoordinatorLost { log: LogId(Uuid::nil()) }), vec![]);
    assert_eq!(p.step(Input::CoordinatorLost { log: LOG }), asks(first, RETRY_FIRST));
    assert_eq!(p.step(Input::CoordinatorLost { log: LOG }), vec![]);
    assert_eq!(fire(&mut p, Timer::Inquire(first)), asks_all(first, RETRY_FIRST * 2));
}

#[test]
fn t11_undecided_and_not_mine_decide_nothing() {
    let x = xid(1);
    let mut p = in_doubt(x);
    let before = p.clone();
    assert_eq!(answered(&mut p, x, InquiryAnswer::Undecided), vec![]);
    assert_eq!(answered(&mut p, x, InquiryAnswer::NotMine), vec![]);
    assert_eq!(p, before);
    assert_eq!(fire(&mut p, Timer::Inquire(x))[0], inquire(x));
}

#[test]
fn an_answer_is_carried_out_like_an_order_but_answered_to_nobody() {
    let x = xid(1);
    let committed = InquiryAnswer::Decided(Decision::Commit);
    let aborted = InquiryAnswer::Decided(Decision::Abort);
    let mut p = in_doubt(x);
    assert_eq!(answered(&mut p, x, committed.clone()), vec![Effect::Commit { xid: x }]);
    assert_eq!(answered(&mut p, x, committed.clone()), vec![]);
    // The coordinator sends it too.
    assert_eq!(say(&mut p, 2, &stamp(1), commit(x)), vec![]);
    assert_eq!(p.step(Input::BranchCommitted { xid: x, found: true }), vec![reply(2, Answer::Acknowledged { xid: x })]);
    assert_eq!(answered(&mut p, x, committed), vec![]);

    let mut p = in_doubt(x);
    assert_eq!(answered(&mut p, x, aborted.clone()), vec![Effect::Abort { xid: x }]);
    assert_eq!(answered(&mut p, x, aborted), vec![]);
    assert_eq!(p.step(Input::BranchAborted { xid: x }), vec![]);
    assert_eq!(say(&mut p, 2, &stamp(1), abort(x)), vec![reply(2, Answer::Received)]);
}

#[test]
fn t11_a_late_answer_counts_only_for_a_branch_in_doubt() {
    let x = xid(1);
    let told = [InquiryAnswer::Decided(Decision::Commit), InquiryAnswer::Decided(Decision::Abort)];
    let ignored = |p: &mut Participant, x: Xid| {
        let before = p.clone();
        for answer in told.clone() {
            assert_eq!(answered(p, x, answer), vec![], "{:?}", state(&before, x));
        }
        assert_eq!(*p, before);
    };
    // Unknown, working, and every way in which one that was in doubt went on.
    let mut p = greeted();
    ignored(&mut p, x);
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    ignored(&mut p, x);
    for (decision, over) in
        [(commit(x), Input::BranchCommitted { xid: x, found: true }), (abort(x), Input::BranchAborted { xid: x })]
    {
        let mut p = in_doubt(x);
        let _ = say(&mut p, 2, &stamp(1), decision);
        ignored(&mut p, x);
        let _ = p.step(over);
        ignored(&mut p, x);
        let _ = p.step(Input::StampReceived(Stamp { mark: mark(9), ..stamp(1) }));
        ignored(&mut p, x);
    }
    // Nor do orders get any softer by it: a coordinator that contradicts itself is found.
    let mut p = in_doubt(x);
    let _ = answered(&mut p, x, InquiryAnswer::Decided(Decision::Commit));
    let out = say(&mut p, 2, &stamp(1), abort(x));
    assert_stops(&mut p, &out, &["contradiction"]);
    // What only read never asked.
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let _ = work_ends(&mut p, x, Vote::ReadOnly(payload("")));
    ignored(&mut p, x);
}

#[test]
fn f48_whatever_is_not_finished_stays_listed() {
    let x = xid(1);
    let mut p = in_doubt(x);
    for _ in 0..100 {
        let _ = fire(&mut p, Timer::Inquire(x));
        let _ = answered(&mut p, x, InquiryAnswer::NotMine);
        let _ = p.step(Input::CoordinatorLost { log: LOG });
    }
    let branch = p.branches().next().unwrap();
    assert_eq!((branch.xid, branch.state, branch.vote, branch.ended), (x, "in-doubt", Some("yes"), false));
    assert_eq!(branch.members, members());
    // What was given up is listed until the mark says that nobody needs it.
    let y = xid(2);
    let _ = say(&mut p, 2, &stamp(1), prepare(y));
    let _ = work_ends(&mut p, y, Vote::ReadOnly(payload("")));
    let _ = fire(&mut p, Timer::ReadOnlyHold(y));
    assert_eq!(p.branches().map(|branch| (branch.xid, branch.state)).nth(1), Some((y, "aborted")));
}
