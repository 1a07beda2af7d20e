//! The nodes: machines, what survives their crashes, and how their effects are carried out.

use std::collections::BTreeMap;

use handfast_common::ids::{Incarnation, Name, Nonce, RecordNumber, StoreId, Xid};
use handfast_common::messages::{Enlisted, Identity, InquiryAnswer, KnownStart, Order, Registered, Told};
use handfast_common::outcome::{Decision, Outcome};
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;
use uuid::Uuid;

use super::log::Log;
use super::store::Store;
use super::{Event, Key, LOG, MS, World};

/// Timers by name: a new one takes the place of the old.
#[derive(Clone, Debug)]
pub(super) struct Timers<T>(pub(super) BTreeMap<T, u64>);

impl<T: Ord + Clone> Timers<T> {
    pub(super) fn remove_if(&mut self, timer: &T, number: u64) -> bool {
        let is_it = self.0.get(timer) == Some(&number);
        if is_it {
            self.0.remove(timer);
        }
        is_it
    }
}

/// Who waits for an answer of the coordinator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    Client(Key),
    Beginner(Key),
    Newcomer(usize, u64),
    InDoubt(usize, u64, Xid),
    Enlisting(usize, u64, Xid),
}

/// Who waits for an answer of a participant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiter {
    /// The coordinator, over this connection.
    Coordinator(u64),
    /// Another participant, this start of it, about this transaction.
    Peer(usize, u64, Xid),
    /// One who works in an interactive transaction, about this step.
    Caller(Key, usize, usize),
}

#[derive(Debug)]
pub(super) struct CoordinatorNode {
    pub(super) config: c::Config,
    pub(super) machine: Option<c::Coordinator>,
    pub(super) log: Log,
    /// Counts starts: what belongs to an earlier one is lost.
    pub(super) start: u64,
    pub(super) timers: Timers<c::Timer>,
    pub(super) askers: BTreeMap<c::ReplyTo, Asker>,
    replies: u64,
}

impl CoordinatorNode {
    pub(super) fn new(config: c::Config) -> Self {
        let timers = Timers(BTreeMap::new());
        Self { config, machine: None, log: Log::default(), start: 0, timers, askers: BTreeMap::new(), replies: 0 }
    }

    fn expect(&mut self, asker: Asker) -> c::ReplyTo {
        self.replies += 1;
        self.askers.insert(c::ReplyTo(self.replies), asker);
        c::ReplyTo(self.replies)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.machine.as_ref().is_some_and(c::Coordinator::is_ready)
    }
}

#[derive(Debug)]
pub(super) struct ParticipantNode {
    number: usize,
    pub(super) machine: Option<p::Participant>,
    pub(super) store: Store,
    pub(super) start: u64,
    /// The start of it that runs, or ran last.
    running: u64,
    pub(super) timers: Timers<p::Timer>,
    /// The coordinator's connection to it.
    pub(super) connection: Option<u64>,
    /// To whom each answer goes.
    pub(super) answers: BTreeMap<p::ReplyTo, Waiter>,
    /// Until then the coordinator does not hear it.
    pub(super) unheard_until: u64,
    /// What it has told the operator about.
    pub(super) said: u32,
    pub(super) dialling: bool,
    pub(super) dialled: bool,
}

impl ParticipantNode {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            machine: None,
            store: Store::default(),
            start: 0,
            running: 0,
            timers: Timers(BTreeMap::new()),
            connection: None,
            answers: BTreeMap::new(),
            unheard_until: 0,
            said: 0,
            dialling: false,
            dialled: false,
        }
    }

    pub(super) fn name(&self) -> Name {
        Name::new(format!("p{}", self.number)).expect("a plain name")
    }

    pub(super) fn identity(&self) -> Identity {
        let store = StoreId(Uuid::from_u128(0x50 + self.number as u128));
        let clock = self.machine.as_ref().map(p::Participant::clock).unwrap_or_default();
        let sequence = self.store.disk.sequence;
        Identity { name: self.name(), store, incarnation: Incarnation(self.start), sequence, clock }
    }
}

impl World {
    pub(super) fn start_coordinator(&mut self) {
        if self.coordinator.machine.is_some() || self.is_held_back() || self.gone {
            return;
        }
        let node = &mut self.coordinator;
        node.start += 1;
        let (records, last) = (node.log.records(), node.log.last());
        let nonce = Nonce(self.dice.number());
        let recovered = c::Coordinator::recover(node.config.clone(), LOG, nonce, records, last);
        let (machine, effects) = recovered.unwrap_or_else(|error| panic!("the coordinator does not start: {error}"));
        node.machine = Some(machine);
        self.carry_out(effects);
    }

    pub(super) fn start_participant(&mut self, n: usize) {
        if self.participants[n].machine.is_some() {
            return;
        }
        let node = &mut self.participants[n];
        // The store remembers the starts before this one, and what each came to.
        let before = KnownStart { incarnation: Incarnation(node.running), sequence: node.store.disk.sequence };
        if node.running > 0 {
            node.store.disk.starts.push(before);
        }
        node.start += 1;
        node.running = node.start;
        // The incarnation is forced before the first word.
        node.store.disk.sequence += 1;
        let Identity { name, store, incarnation, .. } = node.identity();
        let recovered = p::Participant::recover(p::Config::new(name, store, incarnation), node.store.recovered());
        let (machine, effects) = recovered.unwrap_or_else(|error| panic!("p{n} does not start: {error}"));
        node.machine = Some(machine);
        let start = node.start;
        self.at(0, Event::RegisterDue(n, start));
        self.obey(n, effects);
    }

    /// A request over a connection of its own; without a coordinator it is lost.
    pub(super) fn ask_coordinator(&mut self, asker: Asker, input: impl FnOnce(c::ReplyTo) -> c::Input) {
        if self.coordinator.is_ready() {
            let reply = self.coordinator.expect(asker);
            self.coordinate(input(reply));
        }
    }

    /// One step of the coordinator.
    pub(super) fn coordinate(&mut self, input: c::Input) {
        let ready = self.coordinator.is_ready();
        let Some(machine) = &mut self.coordinator.machine else { return };
        if !ready && !matches!(input, c::Input::RecordsForced { .. }) {
            return;
        }
        let effects = machine.step(input);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<c::Effect>) {
        let start = self.coordinator.start;
        for effect in effects {
            match effect {
                c::Effect::Reply { to, told } => {
                    self.check_told(&told);
                    if let Some(Asker::Client(key)) = self.coordinator.askers.remove(&to) {
                        self.deliver(Event::Told(key, told));
                    }
                }
                c::Effect::ReplyBegun { to, begun } => {
                    if let Some(Asker::Beginner(key)) = self.coordinator.askers.remove(&to) {
                        self.deliver(Event::Begun(key, begun));
                    }
                }
                c::Effect::ReplyEnlisted { to, answer } => {
                    if let Some(Asker::Enlisting(n, start, xid)) = self.coordinator.askers.remove(&to) {
                        self.summary.enlists_refused += u32::from(matches!(answer, Enlisted::Over(_)));
                        self.deliver(Event::EnlistAnswered(n, start, xid, answer));
                    }
                }
                c::Effect::ReplyRegistered { to, answer } => {
                    let asker = self.coordinator.askers.remove(&to);
                    // A registration that was overtaken by a restart may be refused: the next one will not be.
                    if let (Some(Asker::Newcomer(n, start)), Registered::Welcome(stamp)) = (asker, answer) {
                        self.deliver(Event::Registered(n, start, stamp));
                    }
                }
                c::Effect::ReplyInquiry { to, answer } => {
                    if let Some(Asker::InDoubt(n, start, xid)) = self.coordinator.askers.remove(&to) {
                        if answer == InquiryAnswer::Decided(Decision::Commit) {
                            self.check_commit_is_forced(xid, "an inquiry is answered Commit");
                        }
                        self.deliver(Event::InquiryAnswered(n, start, xid, answer));
                    }
                }
                c::Effect::Send { to, message } => {
                    if let Order::Decide { xid, decision: Decision::Commit, .. } = &message.order {
                        self.check_commit_is_forced(*xid, "Commit is sent");
                    }
                    let n = self.number_of(&to);
                    self.check_copy(n, &message.order);
                    self.send(n, message);
                }
                c::Effect::Append { number, record, erase, force } => {
                    self.check_record(&record);
                    self.coordinator.log.append(number, record, erase);
                    if force || self.dice.one_in(3) {
                        let after = self.disk_delay();
                        self.at(after, Event::Forced(start, number));
                    }
                }
                c::Effect::SetTimer { timer, after, jitter } => {
                    let after = self.jittered(after, jitter);
                    let number = self.events + 1;
                    self.coordinator.timers.0.insert(timer.clone(), number);
                    self.at(after, Event::CoordinatorTimer(start, timer, number));
                }
                c::Effect::Dial { name, .. } => {
                    let n = self.number_of(&name);
                    self.participants[n].dialled = true;
                    self.dial(n, 1);
                }
                c::Effect::HangUp { name, .. } => {
                    let n = self.number_of(&name);
                    if let Some(connection) = self.participants[n].connection {
                        self.at(0, Event::Break(n, connection));
                    }
                }
                c::Effect::ReplyRegistry { .. } | c::Effect::Forget { .. } | c::Effect::Say { .. } => {}
                c::Effect::Stop { why } => return self.on_stop(&why),
            }
        }
        self.coordinator_idle_force();
    }

    /// Lazy records ride with a later batch; sooner or later there is one.
    fn coordinator_idle_force(&mut self) {
        if self.healed {
            let (start, last) = (self.coordinator.start, self.coordinator.log.last());
            if last > RecordNumber(0) && self.dice.one_in(4) {
                self.at(10 * MS, Event::Forced(start, last));
            }
        }
    }

    pub(super) fn check_commit_is_forced(&self, xid: Xid, what: &str) {
        let forced = self.coordinator.log.commit_of(xid.txn);
        assert_eq!(forced, Some(true), "{what} before the decision of {} is on disk", xid.txn);
    }

    /// What one participant has told another for good can't be decided otherwise later.
    fn check_record(&self, record: &c::Record) {
        if let c::Record::Commit(commit) = record {
            let told = self.told_abort.contains(&commit.xid);
            assert!(!told, "A1: {} commits, and a participant has told another that it aborted", commit.xid.txn);
        }
    }

    fn check_told(&self, told: &Told) {
        if let Told::Outcome { txn: Some(txn), outcome: Outcome::Committed(_), .. } = told {
            assert_ne!(self.coordinator.log.commit_of(*txn), Some(false), "{txn} is told before it is on disk");
        }
    }

    pub(super) fn forget_coordinator(&mut self) {
        let node = &mut self.coordinator;
        node.machine = None;
        node.timers.0.clear();
        node.askers.clear();
        node.start += 1;
        node.log.crash(&mut self.dice);
    }
}
