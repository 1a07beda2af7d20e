//! What the machine promises, one file per theme. Tests compare whole lists of effects.
//!
//! Every test runs through [`Bench`], which keeps the log and checks at every step that nothing was said before the
//! record it depends on was on disk (f02).

mod abort;
mod any_order;
mod commit;
mod hello;
mod inquiry;
mod keys;
mod mark;
mod old_keys;
mod one_phase;
mod phase_two;
mod prefixes;
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
    Order, Prepare, Register, Stamp, Submit, ToParticipant, Told, Welcome,
};
use handfast_common::outcome::{BranchReads, Decision, Outcome, Payload, Reason, ReasonKind, Vote};
use uuid::Uuid;

use super::{Commit, Config, Coordinator, Effect, Input, Numbered, Record, ReplyTo, Timer, Updating};

const LOG: LogId = LogId(Uuid::from_u128(0x1060_0001));

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

/// A participant as the tests play it.
#[derive(Clone, Debug)]
struct Player {
    store: StoreId,
    incarnation: u64,
    sequence: u64,
}

/// A coordinator with its log and the participants it knows.
#[derive(Clone, Debug)]
struct Bench {
    machine: Coordinator,
    config: Config,
    epoch: u64,
    /// All writes of the log in order: record, and what it erases.
    writes: Vec<(RecordNumber, Record, Vec<RecordNumber>)>,
    forced: RecordNumber,
    players: BTreeMap<Name, Player>,
}

impl Bench {
    /// A ready coordinator in its first epoch, without participants.
    fn alone(config: Config) -> Self {
        let (machine, effects) =
            Coordinator::recover(config.clone(), LOG, Nonce(101), Vec::new(), RecordNumber(0)).expect("an empty log");
        let mut bench =
            Self { machine, config, epoch: 1, writes: Vec::new(), forced: RecordNumber(0), players: BTreeMap::new() };
        bench.check(&effects);
        bench.force();
        bench
    }

    /// The same with participants `p1` to `pn`, registered and welcomed.
    fn with(n: u64) -> Self {
        Self::with_config(n, Config::default())
    }

    fn with_config(n: u64, config: Config) -> Self {
        let mut bench = Self::alone(config);
        for i in 1..=n {
            bench.join(i);
        }
        bench
    }

    fn join(&mut self, n: u64) {
        self.players.insert(name(n), Player { store: store(n), incarnation: 1, sequence: 0 });
        let register = Register { from: self.identity(n), address: format!("host:{n}") };
        self.give(Input::ParticipantRegistered { reply: ReplyTo(0), register });
        self.force();
        self.connect(n);
        self.welcome(n);
    }

    fn identity(&self, n: u64) -> Identity {
        let player = &self.players[&name(n)];
        let incarnation = Incarnation(player.incarnation);
        Identity { name: name(n), store: player.store, incarnation, sequence: player.sequence, clock: Age(0) }
    }

    fn who(&self, n: u64) -> Addressee {
        let Identity { name, store, incarnation, .. } = self.identity(n);
        Addressee { name, store, incarnation }
    }

    /// One step, with the log kept and the order of force and speech checked.
    fn give(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.machine.step(input);
        self.check(&effects);
        effects
    }

    fn check(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Append { number, record, erase, .. } => {
                    let last = self.writes.last().map(|(number, _, _)| *number).unwrap_or_default();
                    assert!(*number > last, "record numbers grow");
                    self.writes.push((*number, record.clone(), erase.clone()));
                }
                Effect::Reply {
                    told: Told::Outcome { txn: Some(txn), outcome: Outcome::Committed(_), .. }, ..
                } => {
                    self.check_forced(*txn);
                }
                Effect::Send {
                    message: ToParticipant { order: Order::Decide { xid, decision: Decision::Commit, .. }, .. },
                    ..
                } => assert!(self.check_forced(xid.txn), "a Commit is told that no record says"),
                Effect::Send { message, .. } => {
                    assert!(message.from.decisions <= self.highest_forced(), "an unforced decision number is told");
                }
                Effect::ReplyInquiry { answer: InquiryAnswer::Decided(Decision::Commit), .. }
                | Effect::Reply { .. }
                | Effect::ReplyRegistered { .. }
                | Effect::ReplyInquiry { .. }
                | Effect::SetTimer { .. }
                | Effect::Dial { .. }
                | Effect::HangUp { .. }
                | Effect::Stop { .. } => {}
            }
        }
    }

    /// f02: a transaction with a Commit record is spoken of as committed only when that record is on disk.
    fn check_forced(&self, txn: TxnId) -> bool {
        let record =
            self.writes.iter().find(|(_, record, _)| matches!(record, Record::Commit(_)) && record.txn() == Some(txn));
        if let Some((number, ..)) = record {
            assert!(*number <= self.forced, "{txn} was told committed before its record was forced");
        }
        record.is_some()
    }

    fn highest_forced(&self) -> u64 {
        let forced = self.writes.iter().filter(|(number, ..)| *number <= self.forced);
        let decisions = forced.map(|(_, record, _)| match record {
            Record::Commit(commit) => commit.decision,
            Record::Epoch { decisions, .. } | Record::Floor { decisions, .. } => *decisions,
            Record::Participant(_) | Record::End { .. } | Record::OnePhase(_) | Record::Tick { .. } => 0,
        });
        decisions.max().unwrap_or(0)
    }

    /// Everything handed to the log so far is on disk.
    fn force(&mut self) -> Vec<Effect> {
        self.forced = self.writes.last().map(|(number, _, _)| *number).unwrap_or_default();
        self.give(Input::RecordsForced { upto: self.forced })
    }

    fn connect(&mut self, n: u64) -> Vec<Effect> {
        self.give(Input::PeerConnected { name: name(n) })
    }

    fn disconnect(&mut self, n: u64) -> Vec<Effect> {
        self.give(Input::PeerDisconnected { name: name(n) })
    }

    fn answer(&mut self, n: u64, answer: Answer) -> Vec<Effect> {
        let message = FromParticipant { from: self.identity(n), answer };
        self.give(Input::AnswerReceived { name: name(n), message })
    }

    fn welcome(&mut self, n: u64) -> Vec<Effect> {
        self.answer(n, Answer::Welcome(Welcome { seen: None, unconfirmed: Vec::new(), complete: true }))
    }

    fn vote(&mut self, n: u64, t: u64, vote: Vote) -> Vec<Effect> {
        self.answer(n, Answer::Voted { xid: xid_of(self.epoch, t), vote })
    }

    fn acknowledge(&mut self, n: u64, xid: Xid) -> Vec<Effect> {
        self.answer(n, Answer::Acknowledged { xid })
    }

    fn timer(&mut self, timer: Timer) -> Vec<Effect> {
        self.give(Input::TimerFired(timer))
    }

    fn ask(&mut self, question: AskOutcome) -> Vec<Effect> {
        self.give(Input::OutcomeAsked { reply: ReplyTo(9), question })
    }

    fn inquire(&mut self, n: u64, xid: Xid, members: &[u64]) -> Vec<Effect> {
        let members = members.iter().map(|n| name(*n)).collect();
        let inquiry = Inquiry { from: self.identity(n), xid, members };
        self.give(Input::DecisionInquired { reply: ReplyTo(8), inquiry })
    }

    /// A request with key and hash `k`, for these participants.
    fn request(&self, k: u64, participants: &[u64]) -> Submit {
        let branches =
            participants.iter().map(|n| BranchWork { participant: name(*n), work: payload("work") }).collect();
        let ticket = ticket(self.epoch, self.machine.standing().3);
        Submit { key: key(k), ticket, age: None, wait: Micros(5_000_000), branches }
    }

    /// Submits transaction `k` with key and hash `k`; waits as `ReplyTo(k)`.
    fn submit(&mut self, k: u64, participants: &[u64]) -> Vec<Effect> {
        let request = self.request(k, participants);
        self.give(Input::TransactionSubmitted { reply: ReplyTo(k), request, hash: hash(k) })
    }

    /// Runs a transaction over `participants` to its end: all Yes, forced, acknowledged.
    fn run(&mut self, k: u64, participants: &[u64]) {
        self.submit(k, participants);
        let (_, _, _, t) = self.machine.standing();
        for n in participants {
            self.vote(*n, t, yes());
        }
        self.force();
        for n in participants {
            self.acknowledge(*n, xid_of(self.epoch, t));
        }
    }

    /// The records that a restart would find, if the log ended after `writes` of them.
    fn prefix(&self, writes: usize) -> Vec<Numbered> {
        let mut found = BTreeMap::new();
        for (number, record, erase) in &self.writes[..writes] {
            found.insert(*number, record.clone());
            for erased in erase {
                assert!(found.remove(erased).is_some(), "record {} is erased twice", erased.0);
            }
        }
        found.into_iter().collect()
    }

    /// Dies, losing what was not forced (`keep_all`: nothing is lost), and starts again in the next epoch. Nobody is
    /// connected then.
    fn restart(&mut self, keep_all: bool) -> Vec<Effect> {
        let kept = self.writes.iter().filter(|(number, ..)| keep_all || *number <= self.forced).count();
        let records = self.prefix(kept);
        self.writes.truncate(kept);
        let last = self.writes.last().map(|(number, _, _)| *number).unwrap_or_default();
        self.epoch += 1;
        let nonce = Nonce(100 + self.epoch);
        let (machine, effects) =
            Coordinator::recover(self.config.clone(), LOG, nonce, records, last).expect("the log is sound");
        self.machine = machine;
        self.check(&effects);
        self.force()
    }

    /// What the coordinator says of itself, given its highest forced decision, its mark and its clock.
    fn stamp(&self, decisions: u64, low: TxnId, clock: u64) -> Stamp {
        let mark = Mark { low, except: Vec::new() };
        Stamp { log: LOG, epoch: Epoch(self.epoch), nonce: Nonce(100 + self.epoch), decisions, mark, clock: Age(clock) }
    }
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
        work: payload("work"),
    });
    send(n, from, order)
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
