//! A Welcome that never arrives hides nothing: what had been seen before it is told again (t08b, t09).

use handfast_common::messages::MAX_UNPROVEN;

use super::fence::welcome;
use super::*;

/// Another coordinator with this log's identity: a copy of its folder.
fn copy(epoch: u64) -> Stamp {
    Stamp { nonce: Nonce(900 + epoch), decisions: 3, ..stamp(epoch) }
}

fn seen_of(stamp: &Stamp) -> Seen {
    Seen { epoch: stamp.epoch, nonce: stamp.nonce, decisions: stamp.decisions }
}

/// Says Hello and forces what it asks for; the line, and the answer that is on its way then.
fn enter(p: &mut Participant, from: &Stamp) -> (Line, Effects) {
    let out = say(p, 1, from, hello());
    let [Effect::ForceLine(line)] = out.as_slice() else { panic!("{out:?}") };
    (line.clone(), p.step(Input::LineForced { log: LOG }))
}

/// A start that finds this line and nothing else.
fn restarted(line: &Line) -> Participant {
    recovered(Recovered { lines: vec![line.clone()], ..Recovered::default() })
}

#[test]
fn t08b_a_lost_welcome_does_not_hide_a_foreign_epoch() {
    let (foreign, ours) = (copy(6), stamp(7));
    // The copy has spoken, orders and all. What was before it is the copy's to judge, and it did.
    let mut p = greeted();
    let (_, answer) = enter(&mut p, &foreign);
    assert_eq!(answer, vec![reply(1, welcome(&[seen(1)], &[]))]);
    let proven = Line { seen: seen_of(&foreign), ..line(1) };
    let out = say(&mut p, 2, &foreign, abort(xid(1)));
    assert_eq!(out, vec![Effect::NoteLine(proven), reply(2, Answer::Received)]);

    // The Welcome of epoch 7 is lost, again and again, over restarts of the participant and of the coordinator.
    let (line, answer) = enter(&mut p, &ours);
    assert_eq!(line.unproven, vec![seen_of(&foreign)]);
    assert_eq!(answer, vec![reply(1, welcome(&[seen_of(&foreign)], &[]))]);
    let again = welcome(&[seen_of(&foreign), seen(7)], &[]);
    assert_eq!(say(&mut p, 3, &ours, hello()), vec![reply(3, again.clone())]);
    // The force ended, the process did too: no Welcome was ever sent.
    let mut p = restarted(&line);
    assert_eq!(say(&mut p, 4, &ours, hello()), vec![reply(4, again.clone())]);
    // An answer to a registration proves nothing, nor does an order that is not looked at.
    assert_eq!(p.step(Input::StampReceived(ours.clone())), vec![]);
    let elsewhere = Order::Release { to: Addressee { incarnation: Incarnation(6), ..to() }, xid: xid_of(7, 1) };
    assert_eq!(say(&mut p, 5, &ours, elsewhere), vec![refused(5, Refusal::WrongAddressee)]);
    assert_eq!(say(&mut p, 6, &ours, hello()), vec![reply(6, again)]);
    let (line, answer) = enter(&mut p, &stamp(8));
    assert_eq!(answer, vec![reply(1, welcome(&[seen_of(&foreign), seen(7)], &[]))]);

    // An order of the epoch: its coordinator has accepted a Welcome, and knows all of that.
    let proven = Line { unproven: vec![], ..line };
    let out = say(&mut p, 7, &stamp(8), abort(xid_of(8, 1)));
    assert_eq!(out, vec![Effect::NoteLine(proven.clone()), reply(7, Answer::Received)]);
    for mut p in [p, restarted(&proven)] {
        assert_eq!(say(&mut p, 8, &stamp(8), hello()), vec![reply(8, welcome(&[seen(8)], &[]))]);
    }
}

#[test]
fn t08b_a_hello_that_was_overtaken_before_its_force_is_told_too() {
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(xid(1)));
    // Work is waited for, and the copy's Hello is superseded while it does.
    let _ = say(&mut p, 2, &copy(6), hello());
    let _ = say(&mut p, 3, &stamp(7), hello());
    let out = work_ends(&mut p, xid(1), Vote::No(no(ReasonKind::Lost)));
    let all = vec![seen(1), seen_of(&copy(6))];
    assert_eq!(out, vec![Effect::ForceLine(Line { seen: seen(7), unproven: all.clone(), ..line(1) })]);
    assert_eq!(p.step(Input::LineForced { log: LOG }), vec![reply(3, welcome(&all, &[]))]);
}

#[test]
fn t08b_a_full_list_keeps_its_oldest_and_its_newest() {
    let mut p = greeted();
    for epoch in 2..=40 {
        let (line, _) = enter(&mut p, &stamp(epoch));
        p = restarted(&line);
    }
    let kept: Vec<Seen> = (1..=8).chain(32..=39).map(seen).collect();
    assert_eq!(kept.len(), MAX_UNPROVEN);
    let told: Vec<Seen> = kept.into_iter().chain([seen(40)]).collect();
    assert_eq!(say(&mut p, 1, &stamp(40), hello()), vec![reply(1, welcome(&told, &[]))]);
}
