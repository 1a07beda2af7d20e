//! What the machine promises, one file per theme. Tests compare whole lists of effects.
//!
//! Every test runs through [`Bench`], which keeps the log and checks at every step that nothing was said before the
//! record it depends on was on disk (f02).

mod abort;
mod any_order;
mod bench;
mod commit;
mod enlist;
mod hello;
mod inquiry;
mod interactive;
mod keys;
mod mark;
mod old_keys;
mod one_phase;
mod open;
mod operator;
mod phase_two;
mod prefixes;
mod race;
mod read_only;
mod recovery;
mod registry;
mod retention;
mod share;

use std::collections::BTreeMap;
use std::time::Duration;

use handfast_common::ids::{
    Age, ContentHash, Epoch, Incarnation, Key, LogId, Name, Nonce, RecordNumber, StoreId, Ticket, TxnId, Xid,
};
use handfast_common::messages::{
    Addressee, Answer, AskOutcome, BranchWork, FromParticipant, Identity, Inquiry, InquiryAnswer, Mark, Member, Micros,
    Order, Prepare, Register, Stamp, Submit, Task, ToParticipant, Told, Welcome,
};
use handfast_common::outcome::{BranchReads, Decision, Outcome, Payload, Reason, ReasonKind, Vote};
use uuid::Uuid;

use self::bench::{Bench, Player};
use super::{Commit, Config, Coordinator, Effect, Input, Numbered, Record, Registration, ReplyTo, Timer, Updating};

const LOG: LogId = LogId(Uuid::from_u128(0x1060_0001));

/// The coordinator's own name.
fn own_name() -> Name {
    Name::new("coordinator").expect("a plain name")
}

fn name(n: u64) -> Name {
    Name::new(format!("p{n}")).expect("a plain name")
}

fn store(n: u64) -> StoreId {
    StoreId(Uuid::from_u128(u128::from(n)))
}

fn key(n: u64) -> Key {
    Key(Uuid::from_u128(u128::from(n)))
}

fn hash(n: u64) -> ContentHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    ContentHash(bytes)
}

fn payload(text: &str) -> Payload {
    Payload(text.as_bytes().to_vec())
}

fn yes() -> Vote {
    Vote::Yes(Payload::default())
}

fn no(kind: ReasonKind) -> Vote {
    Vote::No(Reason::new(kind, "why"))
}

fn read(text: &str) -> Vote {
    Vote::ReadOnly(payload(text))
}

fn aborted(kind: ReasonKind, detail: &str) -> Outcome {
    Outcome::Aborted(Reason::new(kind, detail))
}

fn committed() -> Outcome {
    Outcome::Committed(Vec::new())
}

/// A start of the coordinator under test: epoch and nonce go together.
fn txn_of(epoch: u64, n: u64) -> TxnId {
    TxnId::new(LOG, Epoch(epoch), n, Nonce(100 + epoch))
}

fn xid_of(epoch: u64, n: u64) -> Xid {
    Xid { log: LOG, txn: txn_of(epoch, n), nonce: Nonce(100 + epoch) }
}

fn txn(n: u64) -> TxnId {
    txn_of(1, n)
}

fn xid(n: u64) -> Xid {
    xid_of(1, n)
}

fn ticket(epoch: u64, sequence: u64) -> Ticket {
    Ticket { log: LOG, epoch: Epoch(epoch), nonce: Nonce(100 + epoch), sequence }
}

/// The id that a mark names when transactions up to `n - 1` have been drawn in the first epoch and none is live.
fn beyond(n: u64) -> TxnId {
    TxnId::new(LOG, Epoch(1), n, Nonce(0))
}

/// The mark that covers nothing.
fn nothing() -> TxnId {
    TxnId::new(LOG, Epoch(0), 0, Nonce(0))
}

fn send(n: u64, from: Stamp, order: Order) -> Effect {
    Effect::Send { to: name(n), message: ToParticipant { from, order } }
}

fn told(to: u64, t: u64, age: u64, outcome: Outcome) -> Effect {
    Effect::Reply { to: ReplyTo(to), told: Told::Outcome { txn: Some(txn(t)), age: Age(age), outcome } }
}

fn timer(timer: Timer, millis: u64, jitter: bool) -> Effect {
    Effect::SetTimer { timer, after: Duration::from_millis(millis), jitter }
}

fn decide(bench: &Bench, n: u64, t: u64, decision: Decision, from: Stamp) -> Effect {
    send(n, from, Order::Decide { to: bench.who(n), xid: xid(t), decision })
}

fn commit_record(t: u64, decision: u64, branches: &[(u64, u64)], reads: &[(u64, &str)]) -> Record {
    Record::Commit(Commit {
        xid: xid(t),
        decision,
        key: key(t),
        hash: hash(t),
        branches: branches
            .iter()
            .map(|(n, sequence)| Updating { participant: name(*n), store: store(*n), sequence: *sequence })
            .collect(),
        reads: reads.iter().map(|(n, text)| BranchReads { participant: name(*n), reads: payload(text) }).collect(),
    })
}

fn append(number: u64, record: Record, force: bool) -> Effect {
    Effect::Append { number: RecordNumber(number), record, erase: Vec::new(), force }
}

fn prepare(bench: &Bench, n: u64, t: u64, age: u64, members: &[u64], from: Stamp) -> Effect {
    let members = members.iter().map(|n| Member { who: bench.who(*n), address: format!("host:{n}") }).collect();
    let order = Order::Prepare(Prepare {
        to: bench.who(n),
        xid: xid(t),
        age: Age(age),
        wait: Micros(2_000_000),
        coordinator: String::new(),
        members,
        task: Task::Carried(payload("work")),
    });
    send(n, from, order)
}

fn register(bench: &mut Bench, n: u64, address: &str) -> Vec<Effect> {
    let register = Register { from: bench.identity(n), address: address.into(), seen: None };
    bench.give(Input::ParticipantRegistered { reply: ReplyTo(5), register })
}

/// The registry's record of the first start of a participant.
fn registration(n: u64, sequence: u64, address: &str) -> Record {
    Record::Participant(registered(n, 1, sequence, address))
}

fn registered(n: u64, incarnation: u64, sequence: u64, address: &str) -> Registration {
    let incarnation = Some(Incarnation(incarnation));
    Registration { name: name(n), store: store(n), incarnation, sequence, address: address.into() }
}

/// The timer of somebody whom an inquiry waits for.
fn guard(n: u64) -> Effect {
    timer(Timer::Guard(name(n)), 2_000, false)
}

fn said(effects: &[Effect], n: u64) -> Vec<&Order> {
    let to = name(n);
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { to: other, message } if *other == to => Some(&message.order),
            _ => None,
        })
        .collect()
}

fn is_stop(effects: &[Effect]) -> bool {
    matches!(effects.last(), Some(Effect::Stop { .. }))
}
