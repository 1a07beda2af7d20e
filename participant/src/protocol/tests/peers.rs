//! Cooperative termination: what a branch in doubt asks the others, what it believes, and what it tells them.

use handfast_common::limits::{RETRY_CAP, RETRY_FIRST};
use handfast_common::messages::{Identity, InquiryAnswer, PeerAnswer, PeerInquiry, Unsaid};

use super::interactive::{accepted, enlisted, execute, prepare_ran, worked};
use super::*;

const COMMITTED: PeerAnswer = PeerAnswer::Decided(Decision::Commit);
const ABORTED: PeerAnswer = PeerAnswer::Decided(Decision::Abort);

/// Who the other participant of `members()` is.
pub(super) fn other() -> Identity {
    let who = members().remove(1).who;
    Identity { name: who.name, store: who.store, incarnation: who.incarnation, sequence: 1, clock: Age(0) }
}

fn asked_by(p: &mut Participant, to: u64, meant: Addressee, xid: Xid) -> Effects {
    p.step(Input::PeerInquired { reply: ReplyTo(to), inquiry: PeerInquiry { from: other(), to: meant, xid } })
}

/// This very start is asked.
fn asked(p: &mut Participant, to: u64, xid: Xid) -> Effects {
    asked_by(p, to, super::to(), xid)
}

/// Another start of this participant is meant.
fn asked_of_another_start(p: &mut Participant, to: u64, xid: Xid) -> Effects {
    asked_by(p, to, Addressee { incarnation: Incarnation(6), ..super::to() }, xid)
}

fn told(to: u64, answer: PeerAnswer) -> Vec<Effect> {
    vec![Effect::ReplyPeer { to: ReplyTo(to), answer }]
}

fn cant(to: u64, why: Unsaid) -> Vec<Effect> {
    told(to, PeerAnswer::CantSay(why))
}

fn hears(p: &mut Participant, from: Identity, xid: Xid, answer: PeerAnswer) -> Effects {
    p.step(Input::PeerAnswered { xid, from, answer })
}

/// In doubt, and the coordinator has left an inquiry unanswered.
fn deserted(x: Xid) -> Participant {
    let mut p = in_doubt(x);
    let _ = p.step(Input::CoordinatorLost { log: LOG });
    let _ = fire(&mut p, Timer::Inquire(x));
    p
}

/// A vote that was given and, where there is one, the decision carried out.
fn after(x: Xid, vote: Vote, decision: Option<Decision>) -> Participant {
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let _ = work_ends(&mut p, x, vote);
    match decision {
        Some(Decision::Commit) => {
            let _ = say(&mut p, 2, &stamp(1), commit(x));
            let _ = p.step(Input::BranchCommitted { xid: x, found: true });
        }
        Some(Decision::Abort) => drop(say(&mut p, 2, &stamp(1), abort(x))),
        None => {}
    }
    p
}

fn restarted(found: Recovered) -> Participant {
    Participant::recover(Config { incarnation: Incarnation(8), ..config() }, found).unwrap().0
}

#[test]
fn t02a_a_restarted_participant_does_not_take_no_trace_for_not_voted() {
    // It voted ReadOnly and has no record: another start of it, the mark, and itself can't say.
    let x = xid(1);
    let mut p = restarted(Recovered { lines: vec![line(1)], ..Recovered::default() });
    assert_eq!(asked(&mut p, 1, x), cant(1, Unsaid::OtherIncarnation));
    assert_eq!(state(&p, x), None);
    let mut p = after(x, Vote::ReadOnly(payload("")), None);
    assert_eq!(asked(&mut p, 1, x), cant(1, Unsaid::ReadOnly));
    let mut given_up = p.clone();
    let _ = fire(&mut given_up, Timer::ReadOnlyHold(x));
    assert_eq!(asked(&mut given_up, 1, x), cant(1, Unsaid::ReadOnly));
    let _ = say(&mut p, 2, &stamp(1), release(x));
    assert_eq!(asked(&mut p, 3, x), cant(3, Unsaid::ReadOnly));
    let _ = p.step(Input::StampReceived(Stamp { mark: mark(2), ..stamp(1) }));
    assert_eq!(asked(&mut p, 4, x), cant(4, Unsaid::BelowMark));
    // What it has on disk it knows, whichever start is meant.
    let done = vec![super::super::Done { xid: x, one_phase: None }];
    let mut p = restarted(Recovered { lines: vec![line(1)], done, ..Recovered::default() });
    assert_eq!(asked(&mut p, 1, x), told(1, COMMITTED));
    let prepared = vec![record(x, "")];
    let mut p = restarted(Recovered { lines: vec![line(1)], prepared, ..Recovered::default() });
    assert_eq!(asked(&mut p, 1, x), cant(1, Unsaid::InDoubt));
    let _ = say(&mut p, 2, &stamp(1), abort(x));
    assert_eq!(asked(&mut p, 3, x), told(3, ABORTED));
    let _ = p.step(Input::BranchAborted { xid: x });
    assert_eq!(asked(&mut p, 4, x), told(4, ABORTED));
}

#[test]
fn t02b_whoever_took_over_an_address_can_not_say() {
    let x = xid(1);
    let mut p = greeted();
    let meant = members().remove(1).who;
    assert_eq!(asked_by(&mut p, 1, meant, x), cant(1, Unsaid::NotMe));
    assert_eq!(state(&p, x), None);
    // Nor is it believed: not by another name, and not of itself.
    let mut p = deserted(x);
    let before = p.clone();
    for name in ["bank-c", "bank-a"] {
        let from = Identity { name: super::name(name), clock: Age(50), ..other() };
        assert_eq!(hears(&mut p, from, x, COMMITTED), vec![]);
    }
    assert_eq!(p, before);
}

#[test]
fn t02c_another_store_under_the_name_can_not_say() {
    let x = xid(1);
    let mut p = after(x, Vote::Yes(payload("")), Some(Decision::Commit));
    let wiped = Addressee { store: StoreId(Uuid::from_u128(0x99)), ..to() };
    assert_eq!(asked_by(&mut p, 1, wiped, x), cant(1, Unsaid::NotMe));
    let mut p = deserted(x);
    let before = p.clone();
    let from = Identity { store: StoreId(Uuid::from_u128(0x99)), ..other() };
    assert_eq!(hears(&mut p, from, x, ABORTED), vec![]);
    assert_eq!(p, before);
    // Another start of the right one may still know the decision.
    let from = Identity { incarnation: Incarnation(99), ..other() };
    assert_eq!(hears(&mut p, from, x, COMMITTED), vec![Effect::Commit { xid: x }]);
}

#[test]
fn t02d_whoever_was_told_abort_may_rely_on_it() {
    let x = xid(1);
    let mut p = greeted();
    assert_eq!(asked(&mut p, 1, x), told(1, ABORTED));
    assert_eq!(asked(&mut p, 2, x), told(2, ABORTED));
    // The slow Prepare, and an operation.
    for order in [prepare(x), prepare_ran(x, 0, false)] {
        let out = say(&mut p, 3, &stamp(1), order);
        assert!(matches!(&out[..], [Effect::Reply { answer: Answer::Voted { vote: Vote::No(_), .. }, .. }]), "{out:?}");
    }
    assert!(!execute(&mut p, 4, x, 1).iter().any(|effect| matches!(effect, Effect::Enlist { .. })));
    // For another start nothing was promised here, and nothing is said.
    assert_eq!(asked_of_another_start(&mut p, 5, x), cant(5, Unsaid::OtherIncarnation));
    // After a restart the slow Prepare is for the start that is gone.
    let mut p = restarted(Recovered { lines: vec![line(1)], ..Recovered::default() });
    assert_eq!(say(&mut p, 6, &stamp(1), prepare(x)), vec![refused(6, Refusal::WrongAddressee)]);
}

#[test]
fn t02e_work_that_may_be_in_the_log_is_answered_after_the_force() {
    let x = xid(1);
    let yes = Vote::Yes(payload(""));
    let votes = [
        (yes.clone(), PeerAnswer::CantSay(Unsaid::InDoubt), PeerAnswer::CantSay(Unsaid::InDoubt)),
        (Vote::No(no(ReasonKind::Conflict)), ABORTED, PeerAnswer::CantSay(Unsaid::OtherIncarnation)),
        (Vote::ReadOnly(payload("")), PeerAnswer::CantSay(Unsaid::ReadOnly), PeerAnswer::CantSay(Unsaid::ReadOnly)),
    ];
    for (vote, ours, others) in votes {
        let mut p = greeted();
        let _ = say(&mut p, 1, &stamp(1), prepare(x));
        assert_eq!(asked(&mut p, 2, x), vec![]);
        assert_eq!(asked_of_another_start(&mut p, 3, x), vec![]);
        let out = work_ends(&mut p, x, vote.clone());
        let answers: Effects = out.into_iter().filter(|effect| matches!(effect, Effect::ReplyPeer { .. })).collect();
        assert_eq!(answers, [told(2, ours), told(3, others)].concat());
    }
    // Its abort came meanwhile: even a Yes is undone.
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let _ = asked_of_another_start(&mut p, 2, x);
    let _ = say(&mut p, 3, &stamp(1), abort(x));
    assert!(work_ends(&mut p, x, yes).contains(&told(2, ABORTED)[0]));
}

#[test]
fn what_the_other_states_tell() {
    let x = xid(1);
    let mut enlisting = greeted();
    let _ = execute(&mut enlisting, 1, x, 1);
    for mut p in [enlisting, worked(x, 1)] {
        assert_eq!(asked(&mut p, 2, x), cant(2, Unsaid::Open));
        // Once its idle limit has ended it, it says so.
        let _ = enlisted(&mut p, x, accepted());
        while state(&p, x) == Some("active") {
            let _ = fire(&mut p, Timer::Enlist(x));
        }
        assert_eq!(asked(&mut p, 3, x), told(3, ABORTED));
        assert_eq!(asked_of_another_start(&mut p, 4, x), cant(4, Unsaid::OtherIncarnation));
        let _ = say(&mut p, 5, &stamp(1), abort(x));
        assert_eq!(asked_of_another_start(&mut p, 6, x), told(6, ABORTED));
    }
    // A decision is told to whoever asks, durable or not.
    let mut p = in_doubt(x);
    let _ = say(&mut p, 2, &stamp(1), commit(x));
    assert_eq!(asked_of_another_start(&mut p, 3, x), told(3, COMMITTED));
    let mut p = after(x, Vote::ReadOnly(payload("")), Some(Decision::Abort));
    assert_eq!(asked_of_another_start(&mut p, 3, x), told(3, ABORTED));
    let mut p = after(x, Vote::No(no(ReasonKind::Conflict)), None);
    assert_eq!(asked(&mut p, 3, x), told(3, ABORTED));
    assert_eq!(asked_of_another_start(&mut p, 4, x), cant(4, Unsaid::OtherIncarnation));
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), one_phase(x, 5));
    assert_eq!(asked(&mut p, 2, x), cant(2, Unsaid::NotMe));
}

#[test]
fn f11_a_question_about_a_start_that_was_never_greeted_leaves_nothing_behind() {
    let mut p = greeted();
    let strangers = [Xid { log: LogId(Uuid::nil()), ..xid(1) }, xid_of(2, 1), Xid { nonce: Nonce(999), ..xid(1) }];
    for x in strangers {
        assert_eq!(asked(&mut p, 1, x), cant(1, Unsaid::NotMe));
    }
    // Nor while a newer epoch is on its way in.
    let _ = say(&mut p, 2, &stamp(2), hello());
    assert_eq!(asked(&mut p, 3, xid(1)), cant(3, Unsaid::NotMe));
    assert_eq!(p.branches().count(), 0);
}

#[test]
fn t11_only_a_branch_in_doubt_believes_and_only_decisions() {
    let x = xid(1);
    let mut p = deserted(x);
    let before = p.clone();
    let commits = hears(&mut p, other(), x, COMMITTED);
    assert_eq!(commits, vec![Effect::Commit { xid: x }]);
    assert_eq!(hears(&mut p, other(), x, ABORTED), vec![]);
    assert_eq!(p.step(Input::BranchCommitted { xid: x, found: true }), vec![]);
    assert_eq!(hears(&mut p, other(), x, ABORTED), vec![]);
    let mut p = before;
    assert_eq!(hears(&mut p, other(), x, ABORTED), vec![Effect::Abort { xid: x }]);
    // Not while it works, not without a trace.
    let mut p = greeted();
    assert_eq!(hears(&mut p, other(), x, ABORTED), vec![]);
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let before = p.clone();
    assert_eq!(hears(&mut p, other(), x, ABORTED), vec![]);
    assert_eq!(p, before);
}

#[test]
fn t15_whatever_is_no_decision_ends_nothing() {
    let x = xid(1);
    let all = [
        Unsaid::InDoubt,
        Unsaid::Open,
        Unsaid::ReadOnly,
        Unsaid::OtherIncarnation,
        Unsaid::BelowMark,
        Unsaid::NotMe,
        Unsaid::Heuristic,
    ];
    for unsaid in all {
        let mut p = deserted(x);
        let out = hears(&mut p, other(), x, PeerAnswer::CantSay(unsaid));
        assert!(matches!(&out[..], [Effect::Say { .. }]), "{out:?}");
        assert_eq!(state(&p, x), Some("in-doubt"));
        // Still its own decision ends it, whichever that is.
        assert_eq!(say(&mut p, 2, &stamp(1), commit(x)), vec![Effect::Commit { xid: x }]);
    }
}

#[test]
fn f13_silence_and_half_of_the_answers_are_never_taken_for_no_trace() {
    let x = xid(1);
    let third = Addressee { name: name("bank-c"), store: StoreId(Uuid::from_u128(0x22)), incarnation: Incarnation(9) };
    let mut members = members();
    members.push(Member { who: third, address: "host:3".into() });
    let prepared = vec![Prepared { members, ..record(x, "") }];
    let (mut p, _) =
        Participant::recover(config(), Recovered { lines: vec![line(1)], prepared, ..Recovered::default() }).unwrap();
    let (mut asked, mut said) = (0, Vec::new());
    for _ in 0..100 {
        for effect in fire(&mut p, Timer::Inquire(x)) {
            match effect {
                Effect::InquirePeer { .. } => asked += 1,
                Effect::Say { line, .. } => said.push(line),
                Effect::Inquire { .. } | Effect::SetTimer { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        // One always answers, the other one never does.
        let out = hears(&mut p, other(), x, PeerAnswer::CantSay(Unsaid::OtherIncarnation));
        assert!(out.iter().all(|effect| matches!(effect, Effect::Say { .. })), "{out:?}");
    }
    assert_eq!((asked, state(&p, x)), (2 * 99, Some("in-doubt")));
    let Effect::Say { line, .. } = waits(x, "bank-b was restarted and has forgotten, bank-c does not answer either")
    else {
        unreachable!()
    };
    assert_eq!(said, [line]);
}

#[test]
fn the_others_are_asked_once_the_coordinator_leaves_an_inquiry_unanswered() {
    let x = xid(1);
    let mut p = in_doubt(x);
    let asks = |after| vec![inquire(x), timer(Timer::Inquire(x), after, true)];
    let asks_all = |after| vec![inquire(x), inquire_peer(x), timer(Timer::Inquire(x), after, true)];
    assert_eq!(fire(&mut p, Timer::Inquire(x)), asks(RETRY_FIRST));
    let undecided = Input::InquiryAnswered { xid: x, answer: InquiryAnswer::Undecided };
    assert_eq!(p.step(undecided.clone()), vec![]);
    assert_eq!(fire(&mut p, Timer::Inquire(x)), asks(RETRY_FIRST * 2));
    // Another coordinator at its address is no answer.
    assert_eq!(p.step(Input::InquiryAnswered { xid: x, answer: InquiryAnswer::NotMine }), vec![]);
    assert_eq!(fire(&mut p, Timer::Inquire(x)), asks_all(RETRY_FIRST * 4));
    // It is back.
    assert_eq!(p.step(undecided), vec![]);
    assert_eq!(fire(&mut p, Timer::Inquire(x)), asks(RETRY_FIRST * 8));
    // An answer to the earlier question changes nothing but what is listed, and says nothing.
    let branch = |p: &Participant| p.branches().next().unwrap().said(&name("bank-b"));
    assert_eq!(branch(&p), "unknown");
    let in_doubt_too = PeerAnswer::CantSay(Unsaid::InDoubt);
    let _ = fire(&mut p, Timer::Inquire(x));
    assert_eq!(branch(&p), "unknown");
    assert_eq!(hears(&mut p, other(), x, in_doubt_too), vec![waits(x, "bank-b is in doubt itself")]);
    assert_eq!(branch(&p), "in-doubt");
    // Said once, and again when it changes.
    assert_eq!(hears(&mut p, other(), x, in_doubt_too), vec![]);
    assert_eq!(fire(&mut p, Timer::Inquire(x)), asks_all(RETRY_CAP));
    let restarted = PeerAnswer::CantSay(Unsaid::OtherIncarnation);
    assert_eq!(hears(&mut p, other(), x, restarted), vec![waits(x, "bank-b was restarted and has forgotten")]);
    assert_eq!(branch(&p), "cant-say");
    assert_eq!(fire(&mut p, Timer::Inquire(x)), asks_all(RETRY_CAP));
    let mut silent = asks_all(RETRY_CAP);
    silent.insert(2, waits(x, "bank-b does not answer either"));
    assert_eq!(fire(&mut p, Timer::Inquire(x)), silent);
    assert_eq!(branch(&p), "unreachable");
    assert_eq!(state(&p, x), Some("in-doubt"));
}

/// The coordinator is gone for good and the other one knows the decision: the time from the broken connection to the end,
/// over all the ways a branch can have come to be in doubt, with a driver that replaces timers by name.
#[test]
fn a_branch_whose_coordinator_is_gone_ends_within_two_seconds_if_another_one_knows() {
    let x = xid(1);
    for inquiries in 0..40 {
        let mut p = in_doubt(x);
        for _ in 0..inquiries {
            let _ = fire(&mut p, Timer::Inquire(x));
            let _ = p.step(Input::InquiryAnswered { xid: x, answer: InquiryAnswer::Undecided });
        }
        let (mut now, mut out) = (Duration::ZERO, p.step(Input::CoordinatorLost { log: LOG }));
        while !out.contains(&inquire_peer(x)) {
            let after = out.iter().find_map(|effect| match effect {
                Effect::SetTimer { timer: Timer::Inquire(_), after, .. } => Some(*after),
                _ => None,
            });
            now += after.expect("a chain of inquiries");
            out = fire(&mut p, Timer::Inquire(x));
        }
        assert!(now <= RETRY_FIRST, "{now:?}");
        assert_eq!(hears(&mut p, other(), x, COMMITTED), vec![Effect::Commit { xid: x }]);
        assert_eq!(p.step(Input::BranchCommitted { xid: x, found: true }), vec![]);
        // The coordinator's own word comes late.
        let acknowledged = reply(9, Answer::Acknowledged { xid: x });
        assert_eq!(say(&mut p, 9, &stamp(1), commit(x)), vec![acknowledged]);
    }
    // Its connection had broken shortly before and hurried an inquiry then: the next one by the timer asks the others.
    let mut p = in_doubt(x);
    let _ = p.step(Input::CoordinatorLost { log: LOG });
    for _ in 0..8 {
        let _ = fire(&mut p, Timer::Inquire(x));
        let _ = p.step(Input::InquiryAnswered { xid: x, answer: InquiryAnswer::Undecided });
    }
    assert_eq!(p.step(Input::CoordinatorLost { log: LOG }), vec![]);
    assert!(fire(&mut p, Timer::Inquire(x)).contains(&inquire_peer(x)));
}
