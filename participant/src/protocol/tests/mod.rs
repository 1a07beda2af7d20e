//! Whole effect lists for what a participant does; each test is named after the timeline (`t`) or the failure of another
//! system (`f`) that it keeps from happening here.

#![allow(clippy::wildcard_enum_match_arm, clippy::unwrap_used)]

mod any_order;
mod dropping;
mod fence;
mod guard;
mod in_doubt;
mod interactive;
mod lost_welcome;
mod model;
mod one_phase;
mod pair;
mod peers;
mod races;
mod recovery;
mod two_phase;

use std::time::Duration;

use handfast_common::ids::{Age, ContentHash, Epoch, Incarnation, Key, LogId, Name, Nonce, StoreId, TxnId, Xid};
use handfast_common::limits::LOCK_WAIT;
use handfast_common::messages::{
    Addressee, Answer, Mark, Member, Micros, OnePhase, OnePhaseResult, Order, Prepare, Refusal, Seen, Stamp, Task,
    ToParticipant,
};
use handfast_common::outcome::{Decision, Payload, Reason, ReasonKind, Vote};
use uuid::Uuid;

use super::{Config, Effect, Effects, Input, Line, OnePhaseDone, Participant, Prepared, Recovered, ReplyTo, Timer};

const LOG: LogId = LogId(Uuid::from_u128(0x10));
const STORE: StoreId = StoreId(Uuid::from_u128(0x20));
const INCARNATION: Incarnation = Incarnation(7);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn config() -> Config {
    Config::new(name("bank-a"), STORE, INCARNATION)
}

fn nonce(epoch: u64) -> Nonce {
    Nonce(epoch + 100)
}

fn xid_of(epoch: u64, n: u64) -> Xid {
    Xid { log: LOG, txn: TxnId::new(LOG, Epoch(epoch), n, nonce(epoch)), nonce: nonce(epoch) }
}

/// Transaction `n` of epoch 1.
fn xid(n: u64) -> Xid {
    xid_of(1, n)
}

fn mark(n: u64) -> Mark {
    Mark { low: xid(n).txn, except: vec![] }
}

fn stamp(epoch: u64) -> Stamp {
    Stamp { log: LOG, epoch: Epoch(epoch), nonce: nonce(epoch), decisions: 0, mark: mark(0), clock: Age(0) }
}

fn seen(epoch: u64) -> Seen {
    Seen { epoch: Epoch(epoch), nonce: nonce(epoch), decisions: 0 }
}

fn line(epoch: u64) -> Line {
    Line { log: LOG, name: Some(name("coordinator")), seen: seen(epoch), mark: Some(mark(0)), unproven: vec![] }
}

fn payload(text: &str) -> Payload {
    Payload(text.as_bytes().to_vec())
}

fn to() -> Addressee {
    Addressee { name: name("bank-a"), store: STORE, incarnation: INCARNATION }
}

fn members() -> Vec<Member> {
    let other = Addressee { name: name("bank-b"), store: StoreId(Uuid::from_u128(0x21)), incarnation: Incarnation(8) };
    [to(), other].map(|who| Member { who, address: "host:1".into() }).to_vec()
}

fn digest(work: &str) -> ContentHash {
    ContentHash::of(&[work.as_bytes()])
}

fn record(xid: Xid, reads: &str) -> Prepared {
    Prepared {
        xid,
        coordinator: "host:7117".into(),
        seen: seen(1),
        members: members(),
        work: digest("work"),
        reads: payload(reads),
    }
}

fn prepare_with(xid: Xid, work: &str) -> Order {
    Order::Prepare(Prepare {
        to: to(),
        xid,
        age: Age(3),
        wait: Micros(200_000),
        coordinator: "host:7117".into(),
        members: members(),
        task: Task::Carried(payload(work)),
    })
}

fn prepare(xid: Xid) -> Order {
    prepare_with(xid, "work")
}

fn decide(xid: Xid, decision: Decision) -> Order {
    Order::Decide { to: to(), xid, decision }
}

fn commit(xid: Xid) -> Order {
    decide(xid, Decision::Commit)
}

fn abort(xid: Xid) -> Order {
    decide(xid, Decision::Abort)
}

fn release(xid: Xid) -> Order {
    Order::Release { to: to(), xid }
}

fn key(n: u128) -> Key {
    Key(Uuid::from_u128(n))
}

fn one_phase(xid: Xid, k: u128) -> Order {
    Order::CommitOnePhase(OnePhase {
        to: to(),
        xid,
        age: Age(3),
        wait: Micros(60_000_000),
        key: key(k),
        hash: digest("request"),
        task: Task::Carried(payload("work")),
    })
}

fn ask(xid: Xid) -> Order {
    Order::AskOnePhase { to: to(), xid }
}

fn hello() -> Order {
    Order::Hello { name: name("bank-a"), coordinator: name("coordinator"), known: None }
}

fn no(kind: ReasonKind) -> Reason {
    Reason::new(kind, "")
}

fn reply(to: u64, answer: Answer) -> Effect {
    Effect::Reply { to: ReplyTo(to), answer }
}

fn refused(to: u64, refusal: Refusal) -> Effect {
    reply(to, Answer::Refused(refusal))
}

fn voted(to: u64, xid: Xid, vote: Vote) -> Effect {
    reply(to, Answer::Voted { xid, vote })
}

fn ended(to: u64, xid: Xid, result: OnePhaseResult) -> Effect {
    reply(to, Answer::OnePhaseEnded { xid, result })
}

fn timer(timer: Timer, after: Duration, jitter: bool) -> Effect {
    Effect::SetTimer { timer, after, jitter }
}

fn cancel(xid: Xid, kind: ReasonKind, detail: &str) -> Effect {
    Effect::Cancel { xid, reason: Reason::new(kind, detail) }
}

fn inquire(xid: Xid) -> Effect {
    Effect::Inquire { xid, coordinator: "host:7117".into(), members: vec![name("bank-a"), name("bank-b")] }
}

fn inquire_peer(xid: Xid) -> Effect {
    Effect::InquirePeer { xid, member: members().remove(1) }
}

/// What the operator is told of a branch that waits.
fn waits(xid: Xid, others: &str) -> Effect {
    let line = format!(
        "in doubt: its coordinator at host:7117 does not answer, and of the other participants {others}; it keeps its \
         locks until one of them can tell the decision"
    );
    Effect::Say { xid: Some(xid), line }
}

/// The effects of a fresh Prepare of `work`.
fn started(xid: Xid) -> Effects {
    vec![
        Effect::Prepare { age: Age(3), record: record(xid, ""), work: Some(payload("work")) },
        timer(Timer::LockWait(xid), Duration::from_millis(200), false),
    ]
}

fn started_one_phase(xid: Xid, k: u128) -> Effects {
    vec![
        Effect::CommitOnePhase { xid, age: Age(3), key: key(k), hash: digest("request"), work: Some(payload("work")) },
        timer(Timer::LockWait(xid), LOCK_WAIT, false),
    ]
}

fn say(machine: &mut Participant, to: u64, from: &Stamp, order: Order) -> Effects {
    let message = ToParticipant { from: from.clone(), order };
    machine.step(Input::OrderReceived { reply: ReplyTo(to), message })
}

fn fire(machine: &mut Participant, timer: Timer) -> Effects {
    machine.step(Input::TimerFired(timer))
}

fn work_ends(machine: &mut Participant, xid: Xid, vote: Vote) -> Effects {
    machine.step(Input::WorkPrepared { xid, vote })
}

fn one_phase_ends(machine: &mut Participant, xid: Xid, result: OnePhaseResult) -> Effects {
    machine.step(Input::OnePhaseEnded { xid, result })
}

/// An empty participant that knows epoch 1 and has heard its mark.
fn greeted() -> Participant {
    recovered(Recovered { lines: vec![line(1)], ..Recovered::default() })
}

fn recovered(recovered: Recovered) -> Participant {
    Participant::recover(config(), recovered).unwrap().0
}

/// One with a branch in doubt.
fn in_doubt(xid: Xid) -> Participant {
    let mut machine = greeted();
    let _ = say(&mut machine, 1, &stamp(1), prepare(xid));
    let _ = work_ends(&mut machine, xid, Vote::Yes(payload("reads")));
    machine
}

fn done(k: u128, reads: &str) -> OnePhaseDone {
    OnePhaseDone { key: key(k), hash: digest("request"), reads: payload(reads) }
}

/// What the machine shows of a branch.
fn state(machine: &Participant, xid: Xid) -> Option<&'static str> {
    machine.branches().find(|branch| branch.xid == xid).map(|branch| branch.state)
}

/// That the machine stops, says why, and then says nothing more.
fn assert_stops(machine: &mut Participant, effects: &Effects, parts: &[&str]) {
    let [Effect::Stop { why }] = effects.as_slice() else { panic!("{effects:?}") };
    for part in parts {
        assert!(why.contains(part), "'{part}' is not in '{why}'");
    }
    assert_eq!(say(machine, 99, &stamp(1), prepare(xid(99))), vec![]);
    assert_eq!(machine.step(Input::LineForced { log: LOG }), vec![]);
}
