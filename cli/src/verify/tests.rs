//! Each rule finds the one thing that is wrong with otherwise sound files, and nothing in sound ones.

use std::collections::BTreeMap;

use handfast_common::ids::{Epoch, Key, LogId, Name, Nonce, StoreId, TxnId, Xid};
use handfast_common::messages::{Mark, Seen};
use handfast_coordinator::protocol::Registration;
use uuid::Uuid;

use super::evidence::{CoordinatorLog, Decided, DecidedBranch, Heard, How, ParticipantStore, Trace};
use super::expect::expect;
use super::prove::{Evidence, prove};

const LOG: LogId = LogId(Uuid::from_u128(1));
const NONCE: Nonce = Nonce(9);

fn xid(number: u64) -> Xid {
    Xid { log: LOG, txn: TxnId::new(LOG, Epoch(1), number, NONCE), nonce: NONCE }
}

fn name(number: u128) -> Name {
    Name::new(format!("p{number}")).unwrap()
}

fn store(number: u128) -> StoreId {
    StoreId(Uuid::from_u128(100 + number))
}

fn decided(ended: bool) -> Decided {
    let branch = |number| DecidedBranch { participant: name(number), store: store(number), sequence: 5 };
    Decided { key: Key(Uuid::nil()), how: How::TwoPhase { branches: vec![branch(1), branch(2)], ended } }
}

fn participant(number: u128, branches: &[(Xid, Trace)]) -> ParticipantStore {
    let seen = Seen { epoch: Epoch(1), nonce: NONCE, decisions: 2 };
    ParticipantStore {
        label: format!("participant 'p{number}'"),
        name: name(number),
        store: store(number),
        sequence: 7,
        heard: BTreeMap::from([(LOG, Heard { seen, mark: None })]),
        branches: branches.iter().cloned().collect(),
    }
}

fn members() -> Vec<Name> {
    vec![name(1), name(2)]
}

/// T1 is committed everywhere and acknowledged, T2 decided and heard of by p1 only, T3 in doubt without a decision.
fn sound() -> Evidence {
    let registration = |number| Registration {
        name: name(number),
        store: store(number),
        incarnation: None,
        sequence: 6,
        address: String::new(),
    };
    let log = CoordinatorLog {
        label: "coordinator 'c'".to_owned(),
        log: LOG,
        starts: vec![Seen { epoch: Epoch(1), nonce: NONCE, decisions: 2 }],
        registry: BTreeMap::from([(name(1), registration(1)), (name(2), registration(2))]),
        removed: Vec::new(),
        floor: None,
        decided: BTreeMap::from([(xid(1), decided(true)), (xid(2), decided(false))]),
    };
    let first = [(xid(1), Trace::Done), (xid(2), Trace::Done), (xid(3), Trace::Prepared(members()))];
    let second = [(xid(1), Trace::Done), (xid(2), Trace::Prepared(members()))];
    Evidence { coordinators: vec![log], participants: vec![participant(1, &first), participant(2, &second)] }
}

/// The promises that are broken after a change.
fn broken(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = sound();
    change(&mut evidence);
    prove(&evidence).into_iter().map(|finding| finding.promise).collect()
}

#[test]
fn sound_files_have_no_counterexample_and_every_fate_is_told() {
    assert_eq!(broken(|_| {}), Vec::<&str>::new());
    let expected = expect(&sound());
    let rows: Vec<_> = expected.iter().map(|row| (row.state, row.next.split(' ').next().unwrap_or(""))).collect();
    assert_eq!(rows, [("committed", ""), ("in-doubt", "commit"), ("in-doubt", "abort,")]);
}

#[test]
fn a01_an_effect_without_a_decision_is_found() {
    assert_eq!(broken(|it| drop(it.coordinators[0].decided.remove(&xid(2)))), ["A1"]);
    // Trimmed, it would be no counterexample.
    assert_eq!(
        broken(|it| {
            it.coordinators[0].decided.remove(&xid(1));
            it.coordinators[0].floor = Some(xid(1).txn);
        }),
        Vec::<&str>::new()
    );
    assert_eq!(
        broken(|it| {
            let log = &mut it.coordinators[0];
            log.decided.insert(xid(3), Decided { key: Key(Uuid::nil()), how: How::OnePhase(name(1)) });
        }),
        ["A1"]
    );
}

#[test]
fn a04_a_branch_that_is_missing_or_still_in_doubt_after_its_acknowledgement_is_found() {
    assert_eq!(broken(|it| drop(it.participants[1].branches.remove(&xid(2)))), ["A4"]);
    assert_eq!(broken(|it| drop(it.participants[1].branches.insert(xid(1), Trace::Prepared(members())))), ["A4"]);
    // Below the mark its marker may be gone.
    assert_eq!(
        broken(|it| {
            it.participants[1].branches.remove(&xid(1));
            let heard = it.participants[1].heard.get_mut(&LOG).unwrap();
            heard.mark = Some(Mark { low: xid(2).txn, except: Vec::new() });
        }),
        Vec::<&str>::new()
    );
}

#[test]
fn a09_a_log_or_a_store_that_is_older_than_what_others_heard_is_found() {
    assert_eq!(broken(|it| it.coordinators[0].starts[0].decisions = 1), ["A9", "A9"]);
    assert_eq!(broken(|it| it.participants[1].sequence = 5), ["A9"]);
    assert_eq!(broken(|it| it.participants[1].sequence = 4), ["A9"]);
    // Wiped: another store, and the branches of the old one are not to be found.
    assert_eq!(
        broken(|it| {
            it.participants[1].store = store(9);
            it.participants[1].branches.clear();
        }),
        ["A9"]
    );
}

#[test]
fn a10_copies_and_foreign_starts_are_found() {
    assert_eq!(broken(|it| it.participants.push(it.participants[0].clone())), ["A10"]);
    assert_eq!(broken(|it| it.coordinators.push(it.coordinators[0].clone())), ["A10"]);
    let foreign = Xid { nonce: Nonce(1), ..xid(4) };
    assert_eq!(broken(|it| drop(it.participants[0].branches.insert(foreign, Trace::Prepared(members())))), ["A10"]);
}
