//! A newer epoch enters only after the start that was seen last: a copy that one participant has heard is known to
//! whoever comes after it, and a copy that is behind leaves no trace (t08b, t09).

use super::fence::welcome;
use super::*;

/// Another coordinator with this log's identity: a copy of its folder.
fn copy(epoch: u64) -> Stamp {
    Stamp { nonce: Nonce(900 + epoch), decisions: 3, clock: Age(50), mark: mark(50), ..stamp(epoch) }
}

fn seen_of(stamp: &Stamp) -> Seen {
    Seen { epoch: stamp.epoch, nonce: stamp.nonce, decisions: stamp.decisions }
}

/// Says Hello and forces what it asks for: the line.
fn enter(p: &mut Participant, from: &Stamp, after: Seen) -> Line {
    let out = say(p, 1, from, hello_knowing(Some(after)));
    let [Effect::ForceLine(line)] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!(p.step(Input::LineForced { log: LOG }), vec![reply(1, welcome(&[]))]);
    line.clone()
}

/// That it stays as it is whatever start after another one than `seen` says Hello.
fn assert_lets_nobody_in(p: &mut Participant, seen_last: Seen, afters: &[Option<Seen>]) {
    let before = p.clone();
    for (n, after) in (10..).zip(afters) {
        for from in [stamp(n), copy(n)] {
            let out = say(p, n, &from, hello_knowing(*after));
            assert_eq!(out, vec![refused(n, Refusal::SeenBefore(seen_last))], "{after:?}");
        }
    }
    assert_eq!(*p, before);
}

/// A start that finds this line and nothing else.
fn restarted(line: &Line) -> Participant {
    recovered(Recovered { lines: vec![line.clone()], ..Recovered::default() })
}

#[test]
fn t08b_an_older_copy_leaves_no_trace_and_the_newest_enters() {
    // The right log: starts 1 to 3, and in the third seven decisions, of which this participant has heard.
    let mut p = restarted(&Line { seen: Seen { decisions: 7, ..seen(3) }, ..line(1) });
    let _ = say(&mut p, 1, &Stamp { decisions: 7, ..stamp(3) }, prepare(xid_of(3, 1)));
    let last = Seen { decisions: 7, ..seen(3) };
    // From before the third start, from within it, and after the copy's own starts. Its clock, mark and name are not
    // taken over, and the work under way goes on.
    let afters = [
        Some(seen(2)),
        Some(Seen { decisions: 9, ..seen(2) }),
        Some(Seen { decisions: 6, ..seen(3) }),
        Some(seen_of(&copy(3))),
        Some(seen_of(&copy(4))),
        None,
    ];
    assert_lets_nobody_in(&mut p, last, &afters);
    let renamed = Order::Hello { name: name("bank-a"), coordinator: name("x"), known: None, after: Some(seen(2)) };
    assert_eq!(say(&mut p, 2, &copy(9), renamed), vec![refused(2, Refusal::SeenBefore(last))]);
    assert_eq!(state(&p, xid_of(3, 1)), Some("working"));

    // The right one has as many decisions or more, of which this participant has not heard.
    for decisions in [7, 12] {
        let after = Seen { decisions, ..seen(3) };
        let mut p = restarted(&Line { seen: last, ..line(1) });
        let entered = enter(&mut p, &stamp(4), after);
        assert_eq!(entered, Line { seen: seen(4), ..line(1) });
        assert_eq!(say(&mut p, 3, &stamp(4), abort(xid_of(4, 1))), vec![reply(3, Answer::Received)]);
    }
}

#[test]
fn t08b_a_lost_welcome_does_not_hide_a_foreign_epoch() {
    let (foreign, ours) = (copy(6), stamp(7));
    let mut p = greeted();
    // The copy has all that was heard here, and enters. Nobody who does not know of it enters after it.
    let line = enter(&mut p, &foreign, seen(1));
    assert_eq!(line, Line { seen: seen_of(&foreign), ..super::line(1) });
    let strangers = [None, Some(seen(1)), Some(seen(6)), Some(Seen { decisions: 99, ..seen(6) })];
    for mut p in [p, restarted(&line)] {
        // However often its answer is lost, and whatever an earlier Hello of it said.
        for _ in 0..3 {
            assert_lets_nobody_in(&mut p, seen_of(&foreign), &strangers);
        }
        // Nor by another door.
        assert_eq!(p.step(Input::StampReceived(ours.clone())), vec![]);
        assert_eq!(say(&mut p, 4, &ours, abort(xid_of(7, 1))), vec![refused(4, Refusal::HelloFirst)]);
        assert_lets_nobody_in(&mut p, seen_of(&foreign), &strangers);
    }
}

#[test]
fn t08b_a_hello_that_is_on_its_way_in_counts_as_seen() {
    let mut p = greeted();
    let _ = say(&mut p, 1, &stamp(1), prepare(xid(1)));
    // Work is waited for, and the copy's Hello is the one that will be forced.
    let _ = say(&mut p, 2, &copy(6), hello_after(1));
    assert_lets_nobody_in(&mut p, seen_of(&copy(6)), &[Some(seen(1)), Some(seen(6)), None]);
    let out = work_ends(&mut p, xid(1), Vote::No(no(ReasonKind::Lost)));
    assert_eq!(out, vec![Effect::ForceLine(Line { seen: seen_of(&copy(6)), ..line(1) })]);
    // While it is on its way to disk, too. Without it, after a crash, the start before counts again.
    assert_lets_nobody_in(&mut p, seen_of(&copy(6)), &[Some(seen(1)), None]);
    assert_eq!(p.step(Input::LineForced { log: LOG }), vec![reply(2, welcome(&[]))]);
    enter(&mut restarted(&line(1)), &stamp(7), seen(1));
}

#[test]
fn t08b_who_has_seen_nothing_of_a_log_lets_any_start_of_it_in() {
    for after in [None, Some(seen(3)), Some(seen_of(&copy(3)))] {
        let mut p = recovered(Recovered::default());
        let line = Line { mark: None, ..Line { seen: seen(4), ..line(1) } };
        assert_eq!(say(&mut p, 1, &stamp(4), hello_knowing(after)), vec![Effect::ForceLine(line)]);
        // The same start again, whatever it says it comes after.
        assert_eq!(say(&mut p, 2, &stamp(4), hello_after(1)), vec![]);
        assert_eq!(p.step(Input::LineForced { log: LOG }), vec![reply(1, welcome(&[])), reply(2, welcome(&[]))]);
        assert_eq!(say(&mut p, 3, &stamp(4), hello()).last(), Some(&reply(3, welcome(&[]))));
    }
}
