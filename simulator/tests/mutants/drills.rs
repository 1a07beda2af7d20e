//! One participant's machine, told by hand what happens: for rules that the world can't show to be needed, because its
//! store keeps them a second time, or because it has one coordinator only.

use std::time::Duration;

use handfast_common::ids::{Age, Epoch, Incarnation, LogId, Name, Nonce, StoreId, TxnId, Xid};
use handfast_common::messages::{
    Addressee, Answer, Enlisted, Execute, Mark, Micros, OperationId, Order, Prepare, Seen, Stamp, Task, ToParticipant,
};
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};
use handfast_participant::protocol::{Config, Effect, Execution, Input, Participant, Recovered, ReplyTo};
use uuid::Uuid;

/// A drill by its name; what it says is broken.
pub(crate) fn drill(name: &str) -> Result<(), String> {
    match name {
        "a shared reader votes" => shared_reader_votes(),
        "Prepare finds no trace" => prepare_finds_no_trace(),
        "Hello finds work under way" => hello_finds_work(),
        "a vote for a start that was replaced" => vote_for_a_zombie(),
        "an operation after a conflict" => operation_after_a_conflict(),
        other => panic!("no drill is called '{other}'"),
    }
}

fn shared_reader_votes() -> Result<(), String> {
    let mut p = Drilled::greeted();
    p.opens();
    p.ends(Execution::Done(Payload::default()));
    p.prepares(Task::Ran { operations: 1, exact: false });
    let effects = p.step(Input::WorkPrepared { xid: xid(), vote: Vote::ReadOnly(Payload::default()) });
    none(&effects, "a reader of a shared context lets go at its vote", |effect| {
        matches!(effect, Effect::Release { .. })
    })
}

fn prepare_finds_no_trace() -> Result<(), String> {
    let mut p = Drilled::greeted();
    let effects = p.prepares(Task::Ran { operations: 1, exact: true });
    let no = |effect: &Effect| matches!(effect, Effect::Reply { answer: Answer::Voted { vote: Vote::No(_), .. }, .. });
    let other = |effect: &Effect| matches!(effect, Effect::Reply { .. }) && !no(effect);
    none(&effects, "a branch without a trace gets another vote than No", other)
}

fn hello_finds_work() -> Result<(), String> {
    let mut p = Drilled::greeted();
    p.prepares(Task::Carried(Payload::default()));
    let effects = p.hello(2);
    none(&effects, "Hello is taken in while older work is under way", |effect| matches!(effect, Effect::ForceLine(_)))
}

fn vote_for_a_zombie() -> Result<(), String> {
    let mut p = Drilled::greeted();
    p.prepares(Task::Carried(Payload::default()));
    p.hello(2);
    let effects = p.step(Input::WorkPrepared { xid: xid(), vote: Vote::Yes(Payload::default()) });
    let voted = |effect: &Effect| matches!(effect, Effect::Reply { answer: Answer::Voted { .. }, .. });
    none(&effects, "a start that was replaced hears a Yes", voted)
}

fn operation_after_a_conflict() -> Result<(), String> {
    let mut p = Drilled::greeted();
    p.opens();
    p.ends(Execution::Doomed(Reason::new(ReasonKind::Conflict, "an older one has the key")));
    let effects = p.executes(2);
    none(&effects, "a branch that lost its work begins afresh", |effect| matches!(effect, Effect::Enlist { .. }))
}

fn none(effects: &[Effect], what: &str, is_it: impl Fn(&Effect) -> bool) -> Result<(), String> {
    match effects.iter().find(|effect| is_it(effect)) {
        Some(effect) => Err(format!("{what}: {effect:?}")),
        None => Ok(()),
    }
}

const LOG: LogId = LogId(Uuid::from_u128(0xC0));

/// One transaction of the first epoch.
fn xid() -> Xid {
    Xid { log: LOG, txn: TxnId::new(LOG, Epoch(1), 1, nonce(1)), nonce: nonce(1) }
}

fn nonce(epoch: u64) -> Nonce {
    Nonce(epoch * 7)
}

fn name(name: &str) -> Name {
    Name::new(name).expect("a plain name")
}

struct Drilled {
    machine: Participant,
    replies: u64,
}

impl Drilled {
    /// A participant that has welcomed the first epoch.
    fn greeted() -> Self {
        let config = Config::new(name("p"), StoreId(Uuid::from_u128(0x50)), Incarnation(1));
        let (machine, _) = Participant::recover(config, Recovered::default()).expect("nothing was found");
        let mut drilled = Self { machine, replies: 0 };
        drilled.hello(1);
        drilled.step(Input::LineForced { log: LOG });
        drilled
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        self.machine.step(input)
    }

    fn reply(&mut self) -> ReplyTo {
        self.replies += 1;
        ReplyTo(self.replies)
    }

    fn order(&mut self, epoch: u64, order: Order) -> Vec<Effect> {
        let mark = Mark { low: TxnId::new(LOG, Epoch(0), 0, Nonce(0)), except: Vec::new() };
        let (epoch, nonce) = (Epoch(epoch), nonce(epoch));
        let from = Stamp { log: LOG, epoch, nonce, decisions: 0, mark, clock: Age(1) };
        let reply = self.reply();
        self.step(Input::OrderReceived { reply, message: ToParticipant { from, order } })
    }

    fn hello(&mut self, epoch: u64) -> Vec<Effect> {
        let before = (epoch > 1).then(|| Seen { epoch: Epoch(epoch - 1), nonce: nonce(epoch - 1), decisions: 0 });
        self.order(epoch, Order::Hello { name: name("p"), coordinator: name("c"), known: None, after: before })
    }

    fn prepares(&mut self, task: Task) -> Vec<Effect> {
        let to = Addressee { name: name("p"), store: StoreId(Uuid::from_u128(0x50)), incarnation: Incarnation(1) };
        let (wait, coordinator) = (Micros(1_000_000), String::new());
        let order = Prepare { to, xid: xid(), age: Age(1), wait, coordinator, members: Vec::new(), task };
        self.order(1, Order::Prepare(order))
    }

    /// The first operation of a branch goes to the store.
    fn opens(&mut self) {
        self.executes(1);
        let idle = Micros::from(Duration::from_secs(10));
        self.step(Input::EnlistAnswered { xid: xid(), answer: Enlisted::Accepted { age: Age(1), idle } });
    }

    fn executes(&mut self, number: u64) -> Vec<Effect> {
        let execute = Execute {
            to: name("p"),
            xid: xid(),
            coordinator: String::new(),
            operation: OperationId { caller: 1, number },
            wait: Micros(1_000_000),
            clock: Age(1),
            work: Payload::default(),
        };
        let reply = self.reply();
        self.step(Input::OperationReceived { reply, execute })
    }

    fn ends(&mut self, execution: Execution) {
        self.step(Input::OperationEnded { xid: xid(), execution });
    }
}
