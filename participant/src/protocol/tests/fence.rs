//! Hello, epochs, addresses.

use handfast_common::limits::{MAX_UNCONFIRMED, MAX_UNCONFIRMED_BYTES};
use handfast_common::messages::{Unconfirmed, Welcome};

use super::*;

pub(super) fn welcome(seen: &[Seen], done: &[(Xid, OnePhaseDone)]) -> Answer {
    let unconfirmed = done
        .iter()
        .cloned()
        .map(|(xid, done)| Unconfirmed { xid, key: done.key, hash: done.hash, reads: done.reads })
        .collect();
    Answer::Welcome(Welcome { seen: seen.to_vec(), unconfirmed, complete: true, remembers: true })
}

fn forced(p: &mut Participant) -> Effects {
    p.step(Input::LineForced { log: LOG })
}

/// The line after the Hello of the epoch behind `before`, with what was seen before earlier ones.
fn after(before: u64, earlier: &[u64]) -> Line {
    let unproven = earlier.iter().copied().chain([before]).map(seen).collect();
    Line { seen: seen(before + 1), unproven, ..line(1) }
}

fn all_orders(x: Xid) -> [Order; 6] {
    [prepare(x), commit(x), abort(x), release(x), one_phase(x, 5), ask(x)]
}

#[test]
fn first_contact_is_by_hello_only_and_answered_after_the_force() {
    let mut p = recovered(Recovered::default());
    for order in all_orders(xid(1)) {
        assert_eq!(say(&mut p, 1, &stamp(1), order), vec![refused(1, Refusal::HelloFirst)]);
    }
    assert_eq!(p.step(Input::StampReceived(stamp(1))), vec![]);
    let wrong = Order::Hello { name: name("bank-b"), coordinator: name("coordinator"), known: None };
    assert_eq!(say(&mut p, 2, &stamp(1), wrong), vec![refused(2, Refusal::WrongAddressee)]);
    assert_eq!(say(&mut p, 3, &stamp(1), hello()), vec![Effect::ForceLine(Line { mark: None, ..line(1) })]);
    assert_eq!(say(&mut p, 4, &stamp(1), prepare(xid(1))), vec![refused(4, Refusal::HelloFirst)]);
    assert_eq!(say(&mut p, 5, &stamp(1), hello()), vec![]);
    assert_eq!(forced(&mut p), vec![reply(3, welcome(&[], &[])), reply(5, welcome(&[], &[]))]);
    assert_eq!(p.seen(LOG), Some(seen(1)));
}

#[test]
fn a_wrong_name_store_or_start_is_refused() {
    let (own, x) = (to(), xid(1));
    let wrong = [
        Addressee { name: name("bank-b"), ..own.clone() },
        Addressee { store: StoreId(Uuid::from_u128(0x99)), ..own.clone() },
        Addressee { incarnation: Incarnation(6), ..own },
    ];
    for to in wrong {
        let start = to.incarnation == INCARNATION;
        let Order::Prepare(prepare) = prepare(x) else { unreachable!() };
        let Order::CommitOnePhase(one_phase) = one_phase(x, 5) else { unreachable!() };
        let orders = [
            Order::Prepare(Prepare { to: to.clone(), ..prepare }),
            Order::CommitOnePhase(OnePhase { to: to.clone(), ..one_phase }),
            Order::Release { to: to.clone(), xid: x },
            Order::AskOnePhase { to: to.clone(), xid: x },
        ];
        let mut p = in_doubt(x);
        let before = p.clone();
        for order in orders {
            assert_eq!(say(&mut p, 1, &stamp(1), order), vec![refused(1, Refusal::WrongAddressee)]);
        }
        let decide = Order::Decide { to, xid: x, decision: Decision::Commit };
        let expected = if start { refused(2, Refusal::WrongAddressee) } else { Effect::Commit { xid: x } };
        assert_eq!(p, before);
        // A decision is for the branch, whichever start voted.
        assert_eq!(say(&mut p, 2, &stamp(1), decide), vec![expected]);
    }
    // Nor does a coordinator decide about another one's transactions.
    let mut p = in_doubt(x);
    let foreign = Xid { log: LogId(Uuid::from_u128(0x11)), ..x };
    assert_eq!(say(&mut p, 3, &stamp(1), commit(foreign)), vec![refused(3, Refusal::WrongAddressee)]);
}

#[test]
fn f21_a_stale_epoch_changes_nothing() {
    let x = xid(1);
    let mut p = in_doubt(x);
    let _ = say(&mut p, 1, &stamp(2), hello());
    let _ = forced(&mut p);
    let before = p.clone();
    let stale = Stamp { decisions: 50, mark: mark(50), clock: Age(50), ..stamp(1) };
    for order in all_orders(x).into_iter().chain(all_orders(xid(2))).chain([hello()]) {
        assert_eq!(say(&mut p, 2, &stale, order), vec![refused(2, Refusal::Fenced(seen(2)))]);
    }
    assert_eq!(p.step(Input::StampReceived(stale)), vec![]);
    assert_eq!(p, before);
}

#[test]
fn t08_the_same_epoch_twice_is_found() {
    let mut p = in_doubt(xid(1));
    let before = p.clone();
    let copy = Stamp { nonce: Nonce(999), decisions: 9, mark: mark(9), clock: Age(9), ..stamp(1) };
    for order in all_orders(xid(1)).into_iter().chain([hello()]) {
        assert_eq!(say(&mut p, 2, &copy, order), vec![refused(2, Refusal::ForeignNonce(seen(1)))]);
    }
    assert_eq!(p.step(Input::StampReceived(copy.clone())), vec![]);
    assert_eq!(p, before);

    // Also while the epoch is only on its way to disk.
    let mut p = recovered(Recovered::default());
    let _ = say(&mut p, 1, &stamp(1), hello());
    assert_eq!(say(&mut p, 2, &copy, hello()), vec![refused(2, Refusal::ForeignNonce(seen(1)))]);
}

#[test]
fn t09b_decisions_count_as_seen_when_a_message_says_so_and_welcome_tells_what_was_seen_before() {
    let mut p = greeted();
    let heard = Stamp { decisions: 7, ..stamp(1) };
    let seen_7 = Seen { decisions: 7, ..seen(1) };
    assert_eq!(
        say(&mut p, 1, &heard, abort(xid(1))),
        vec![Effect::NoteLine(Line { seen: seen_7, ..line(1) }), reply(1, Answer::Received)]
    );
    // A smaller number that comes late changes nothing.
    assert_eq!(say(&mut p, 2, &stamp(1), abort(xid(1))), vec![reply(2, Answer::Received)]);
    assert_eq!(say(&mut p, 3, &stamp(1), hello()), vec![reply(3, welcome(&[seen_7], &[]))]);
    let newer = Stamp { decisions: 4, ..stamp(2) };
    let seen_2 = Seen { decisions: 4, ..seen(2) };
    let forced_line = Line { seen: seen_2, unproven: vec![seen_7], ..line(1) };
    assert_eq!(say(&mut p, 4, &newer, hello()), vec![Effect::ForceLine(forced_line)]);
    assert_eq!(p.seen(LOG), Some(seen_7));
    assert_eq!(forced(&mut p), vec![reply(4, welcome(&[seen_7], &[]))]);
    assert_eq!(p.seen(LOG), Some(seen_2));
}

#[test]
fn t12a_a_commit_of_an_older_epochs_transaction_is_carried_out() {
    let x = xid(1);
    let mut p = in_doubt(x);
    let _ = say(&mut p, 2, &stamp(2), hello());
    let _ = forced(&mut p);
    let proven = Effect::NoteLine(Line { seen: seen(2), ..line(1) });
    assert_eq!(say(&mut p, 3, &stamp(2), commit(x)), vec![proven, Effect::Commit { xid: x }]);
    assert_eq!(p.step(Input::BranchCommitted { xid: x, found: true }), vec![reply(3, Answer::Acknowledged { xid: x })]);
}

#[test]
fn t12b_the_epoch_is_durable_and_older_work_has_ended_before_welcome() {
    let (waiting, one, only_read, x) = (xid(1), xid(2), xid(3), xid(4));
    let mut p = in_doubt(x);
    for (n, order) in [(1, prepare(waiting)), (2, one_phase(one, 5)), (3, prepare(only_read))] {
        let _ = say(&mut p, n, &stamp(1), order);
    }
    let _ = work_ends(&mut p, only_read, Vote::ReadOnly(payload("")));
    let why = "its coordinator was restarted";
    let fenced = |to| refused(to, Refusal::Fenced(seen(2)));
    assert_eq!(
        say(&mut p, 10, &stamp(2), hello()),
        vec![
            cancel(waiting, ReasonKind::Lost, why),
            fenced(1),
            cancel(one, ReasonKind::Lost, why),
            fenced(2),
            Effect::Release { xid: only_read },
        ]
    );
    // The older epoch is out, the newer one not in yet.
    assert_eq!(say(&mut p, 11, &stamp(1), prepare(xid(5))), vec![fenced(11)]);
    assert_eq!(say(&mut p, 12, &stamp(2), commit(x)), vec![refused(12, Refusal::HelloFirst)]);
    assert_eq!(p.step(Input::StampReceived(Stamp { mark: mark(9), ..stamp(1) })), vec![]);
    // One was in the log already and stays.
    assert_eq!(
        work_ends(&mut p, waiting, Vote::Yes(payload(""))),
        vec![timer(Timer::Inquire(waiting), Duration::from_secs(1), true)]
    );
    let committed = OnePhaseResult::Committed(payload("reads"));
    assert_eq!(one_phase_ends(&mut p, one, committed), vec![Effect::ForceLine(after(1, &[]))]);
    assert_eq!(p.seen(LOG), Some(seen(1)));
    assert_eq!(forced(&mut p), vec![reply(10, welcome(&[seen(1)], &[(one, done(5, "reads"))]))]);
    assert_eq!(state(&p, waiting), Some("in-doubt"));
    let held = Answer::Released { xid: only_read, held: false };
    let proven = Effect::NoteLine(Line { seen: seen(2), ..line(1) });
    assert_eq!(say(&mut p, 13, &stamp(2), release(only_read)), vec![proven, reply(13, held)]);
}

#[test]
fn t12b_a_branch_that_only_read_for_an_older_epoch_lets_go_when_its_work_ends() {
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let _ = say(&mut p, 2, &stamp(2), hello());
    assert_eq!(
        work_ends(&mut p, x, Vote::ReadOnly(payload(""))),
        vec![Effect::Release { xid: x }, Effect::ForceLine(after(1, &[]))]
    );
}

#[test]
fn t19_an_older_epochs_vote_is_not_told_once_a_newer_one_has_spoken() {
    // The older coordinator may be a stopped process that wakes up: it must not count this Yes.
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    assert!(say(&mut p, 2, &stamp(2), hello()).contains(&refused(1, Refusal::Fenced(seen(2)))));
    let out = work_ends(&mut p, x, Vote::Yes(payload("")));
    assert!(!out.iter().any(|effect| matches!(effect, Effect::Reply { .. })), "{out:?}");
}

#[test]
fn a_still_newer_hello_takes_the_place_of_one_that_waits() {
    let x = xid(1);
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(x));
    let _ = say(&mut p, 2, &stamp(2), hello());
    let _ = say(&mut p, 3, &stamp(2), hello());
    // While work is waited for.
    let fenced = |to, epoch| refused(to, Refusal::Fenced(seen(epoch)));
    assert_eq!(say(&mut p, 4, &stamp(3), hello()), vec![fenced(2, 3), fenced(3, 3)]);
    assert_eq!(say(&mut p, 5, &stamp(2), hello()), vec![fenced(5, 3)]);
    let vote = Vote::No(no(ReasonKind::Lost));
    assert_eq!(work_ends(&mut p, x, vote), vec![Effect::ForceLine(after(2, &[1]))]);
    // While a force is on its way: one at a time.
    assert_eq!(say(&mut p, 6, &stamp(4), hello()), vec![fenced(4, 4)]);
    assert_eq!(forced(&mut p), vec![Effect::ForceLine(after(3, &[1, 2]))]);
    assert_eq!(say(&mut p, 7, &stamp(3), commit(x)), vec![fenced(7, 4)]);
    assert_eq!(say(&mut p, 8, &stamp(4), commit(x)), vec![refused(8, Refusal::HelloFirst)]);
    // What was seen before is all that was heard of: each may be a copy's.
    assert_eq!(forced(&mut p), vec![reply(6, welcome(&[seen(1), seen(2), seen(3)], &[]))]);
}

#[test]
fn unconfirmed_commits_are_cut_in_order_and_the_next_hello_brings_the_rest() {
    let count = MAX_UNCONFIRMED as u64 + 2;
    let marker = |n: u64| super::super::Done { xid: xid(n), one_phase: Some(done(u128::from(n), "r")) };
    let found = Recovered { lines: vec![line(1)], done: (1..=count).map(marker).collect(), ..Recovered::default() };
    let mut p = recovered(found);
    let page = |out: Effects| match out.last() {
        Some(Effect::Reply { answer: Answer::Welcome(welcome), .. }) => {
            (welcome.unconfirmed.iter().map(|one| one.xid).collect::<Vec<_>>(), welcome.complete)
        }
        _ => panic!("{out:?}"),
    };
    let (first, complete) = page(say(&mut p, 1, &stamp(1), hello()));
    assert_eq!((first, complete), ((1..count - 1).map(xid).collect(), false));
    // Written there, and the mark says so.
    let passed = Stamp { mark: mark(count - 1), ..stamp(1) };
    let (rest, complete) = page(say(&mut p, 2, &passed, hello()));
    assert_eq!((rest, complete), (vec![xid(count - 1), xid(count)], true));

    // By bytes, but never less than one.
    let large = |n: u64| {
        let reads = Payload(vec![0; MAX_UNCONFIRMED_BYTES]);
        super::super::Done { xid: xid(n), one_phase: Some(OnePhaseDone { reads, ..done(u128::from(n), "") }) }
    };
    let found = Recovered { lines: vec![line(1)], done: (1..=2).map(large).collect(), ..Recovered::default() };
    assert_eq!(page(say(&mut recovered(found), 1, &stamp(1), hello())), (vec![xid(1)], false));
}
