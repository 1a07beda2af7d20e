//! The guard against lost memory: starts that the store remembers, and the names of coordinators.

use handfast_common::messages::{KnownStart, Welcome};

use super::interactive::worked;
use super::*;

const OTHER: LogId = LogId(Uuid::from_u128(0x11));

fn hello_by(coordinator: &str, known: Option<KnownStart>) -> Order {
    Order::Hello { name: name("bank-a"), coordinator: name(coordinator), known }
}

fn start(incarnation: u64, sequence: u64) -> Option<KnownStart> {
    Some(KnownStart { incarnation: Incarnation(incarnation), sequence })
}

fn other_stamp() -> Stamp {
    Stamp { log: OTHER, mark: Mark { low: TxnId::new(OTHER, Epoch(1), 0, nonce(1)), except: vec![] }, ..stamp(1) }
}

fn other_line() -> Line {
    Line { log: OTHER, mark: None, ..line(1) }
}

fn forgets_name() -> Effects {
    let line = format!(
        "coordinator 'coordinator' comes with another log, {}, than before, {}: it is a new one, or its folder was \
         replaced; nothing here waits for the old one",
        OTHER.0, LOG.0
    );
    vec![Effect::NoteLine(Line { name: None, ..super::line(1) }), Effect::Say { xid: None, line }]
}

#[test]
fn a_store_says_whether_it_remembers_the_start_that_a_coordinator_knows() {
    let starts = vec![
        KnownStart { incarnation: Incarnation(5), sequence: 40 },
        KnownStart { incarnation: Incarnation(6), sequence: 70 },
    ];
    let found = Recovered { lines: vec![line(1)], starts, ..Recovered::default() };
    let cases = [
        (None, true),
        (start(5, 40), true),
        (start(6, 12), true),
        // A copy from before the end of that start, or a store that never had it.
        (start(6, 71), false),
        (start(4, 0), false),
        // Of the present start the coordinator compares the sequence itself.
        (start(7, 1_000), true),
    ];
    for (known, remembers) in cases {
        let said = |p: &mut Participant, from: &Stamp| {
            let mut out = say(p, 1, from, hello_by("coordinator", known));
            if let [Effect::ForceLine(_)] = &out[..] {
                out = p.step(Input::LineForced { log: LOG });
            }
            let [Effect::Reply { answer: Answer::Welcome(Welcome { remembers, .. }), .. }] = &out[..] else {
                panic!("{out:?}")
            };
            *remembers
        };
        // In the epoch that is known, in a new one, and said again.
        let mut p = recovered(found.clone());
        assert_eq!(said(&mut p, &stamp(1)), remembers, "{known:?}");
        assert_eq!(said(&mut p, &stamp(2)), remembers, "{known:?}");
        assert_eq!(said(&mut p, &stamp(2)), remembers, "{known:?}");
    }
}

#[test]
fn the_name_of_a_coordinator_stands_in_its_line() {
    // A line of before names were kept, and one of a coordinator that was renamed.
    for before in [None, Some(name("old"))] {
        let mut p = recovered(Recovered { lines: vec![Line { name: before, ..line(1) }], ..Recovered::default() });
        let welcome = reply(1, fence::welcome(&[seen(1)], &[]));
        assert_eq!(say(&mut p, 1, &stamp(1), hello()), vec![Effect::NoteLine(line(1)), welcome.clone()]);
        assert_eq!(say(&mut p, 1, &stamp(1), hello()), vec![welcome]);
    }
    // A stale copy of a Hello changes no name.
    let mut p = recovered(Recovered { lines: vec![line(2)], ..Recovered::default() });
    let fenced = refused(1, Refusal::Fenced(seen(2)));
    assert_eq!(say(&mut p, 1, &stamp(1), hello_by("old", None)), vec![fenced]);
    assert_eq!(say(&mut p, 2, &stamp(2), hello()), vec![reply(2, fence::welcome(&[seen(2)], &[]))]);
}

#[test]
fn another_log_under_a_known_name_is_refused_while_something_waits_for_the_known_one() {
    let x = xid(1);
    let refuses = |p: &mut Participant| {
        let before = p.clone();
        assert_eq!(say(p, 9, &other_stamp(), hello()), vec![refused(9, Refusal::OtherLog(LOG))]);
        assert_eq!(*p, before);
        // By a name of its own it is welcome.
        let line = Line { name: Some(name("second")), ..other_line() };
        assert_eq!(say(&mut p.clone(), 9, &other_stamp(), hello_by("second", None)), vec![Effect::ForceLine(line)]);
    };
    let mut in_doubt = in_doubt(x);
    refuses(&mut in_doubt);
    let _ = say(&mut in_doubt, 2, &stamp(1), commit(x));
    refuses(&mut in_doubt);
    let mut working = greeted();
    let _ = say(&mut working, 1, &stamp(1), prepare(x));
    refuses(&mut working);
    let mut unconfirmed = greeted();
    let _ = say(&mut unconfirmed, 1, &stamp(1), one_phase(x, 5));
    refuses(&mut unconfirmed);
    let _ = one_phase_ends(&mut unconfirmed, x, OnePhaseResult::Committed(payload("")));
    refuses(&mut unconfirmed);
    // It is just saying Hello itself.
    let mut entering = greeted();
    let _ = say(&mut entering, 1, &stamp(2), hello());
    assert_eq!(say(&mut entering, 9, &other_stamp(), hello()), vec![refused(9, Refusal::OtherLog(LOG))]);

    // Ended and, for one phase, confirmed: nothing waits any more.
    let _ = in_doubt.step(Input::BranchCommitted { xid: x, found: true });
    let _ = unconfirmed.step(Input::StampReceived(Stamp { mark: mark(2), ..stamp(1) }));
    for mut p in [in_doubt, unconfirmed] {
        let out = say(&mut p, 9, &other_stamp(), hello());
        assert_eq!(out.last(), Some(&Effect::ForceLine(other_line())), "{out:?}");
    }
}

#[test]
fn a_name_that_nothing_waits_for_goes_over_to_the_new_log_and_back() {
    // An open branch promises nothing, and what only read is as good as ended.
    for mut p in [greeted(), worked(xid(1), 1)] {
        let mut expected = forgets_name();
        expected.push(Effect::ForceLine(other_line()));
        assert_eq!(say(&mut p, 1, &other_stamp(), hello()), expected);
        // The same rule the other way round: while it says Hello it is alive.
        assert_eq!(say(&mut p, 2, &stamp(1), hello()), vec![refused(2, Refusal::OtherLog(OTHER))]);
        assert_eq!(p.step(Input::LineForced { log: OTHER })[..1], [reply(1, fence::welcome(&[], &[]))]);
        let out = say(&mut p, 3, &stamp(1), hello());
        assert_eq!(out[0], Effect::NoteLine(Line { name: None, ..other_line() }));
        assert!(matches!(&out[1], Effect::Say { xid: None, .. }));
        assert_eq!(out[2], Effect::NoteLine(line(1)));
        assert!(matches!(&out[3..], [Effect::Reply { answer: Answer::Welcome(_), .. }]), "{out:?}");
    }
}
