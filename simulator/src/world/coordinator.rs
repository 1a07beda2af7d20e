//! The coordinator's driver: the machine, its log on a disk that may fail, and how its effects are carried out.

use std::cell::RefCell;
use std::collections::BTreeMap;

use handfast_common::ids::{Name, Nonce, RecordNumber, Xid};
use handfast_common::messages::{Enlist, FromParticipant, Inquiry, Order, Register, Registered};
use handfast_common::storage::{Kind as Role, Options as StoreOptions, StorageError, Store};
use handfast_coordinator::log::{DecisionLog, Entry, RedbLog};
use handfast_coordinator::protocol as c;
use uuid::Uuid;

use super::steps;
use super::timers::Timers;
use super::{Body, Event, Key, LOG, World};
use crate::disk::{Content, Disk};
use crate::matrix::{Kind, Step};
use crate::plan::{Host, MS};

/// Bytes of redb's page cache. What it forgets it reads again; what a crashed process had in it is lost memory.
pub(super) const CACHE: usize = 64 << 10;

/// How its store and every other of the world is opened.
pub(crate) const STORE: StoreOptions = StoreOptions {
    cache_bytes: CACHE,
    slow_check: std::time::Duration::MAX,
    outlives_errors: true,
    ..StoreOptions::DEFAULTS
};

const NAME: &str = "coordinator";

/// What the operator reads when a participant is refused because its folder is an older copy.
const OLDER_COPY: &str = "newest data folder";

thread_local! {
    /// Stores that were made before: the same world needs the same ones thousands of times.
    static MADE: RefCell<BTreeMap<(String, Uuid), Content>> = const { RefCell::new(BTreeMap::new()) };
}

/// A disk with a new store. It gets its name only when all of it, head hint included, is synced.
pub(super) fn new_store(role: Role, name: &str, identity: Uuid) -> Disk {
    let content = MADE.with_borrow_mut(|made| match made.get(&(name.to_owned(), identity)) {
        Some(content) => content.clone(),
        None => {
            let disk = Disk::default();
            let created = Store::create_over(disk.clone(), Some(&mut *disk.hint()), name, (role, name), identity);
            created.expect("a store can be made on an empty disk");
            made.insert((name.to_owned(), identity), disk.content());
            disk.content()
        }
    });
    Disk::with(content)
}

/// Who waits for an answer of the coordinator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    /// A client; whether it had submitted.
    Client(Key, bool),
    Newcomer(usize, u64),
    InDoubt(usize, u64, Xid),
    Enlisting(usize, u64, Xid),
    Beginner(Key),
    /// Somebody who has only the key, and is told at once.
    Onlooker(Key),
    /// A client that does not wait for the answer.
    Nobody,
}

#[derive(Debug)]
pub(super) struct CoordinatorNode {
    pub(super) name: &'static str,
    pub(super) disk: Disk,
    pub(super) machine: Option<c::Coordinator>,
    log: Option<RedbLog>,
    queued: Vec<Entry>,
    forced: bool,
    writing: bool,
    /// Counts starts: what belongs to an earlier one is lost.
    pub(super) start: u64,
    pub(super) timers: Timers<c::Timer>,
    askers: BTreeMap<c::ReplyTo, Asker>,
    replies: u64,
    pub(super) paused_until: u64,
    pub(super) slow_until: u64,
    /// Dies before the effect with this number from now on.
    pub(super) dies_in: Option<(u32, u64)>,
    /// How long it stays away when its disk strikes.
    pub(super) down: u64,
    /// When its disk has room again.
    pub(super) room_back: Option<u64>,
    /// Dies at its first effect of this step: after it, or before.
    pub(super) dies_at: Option<(Step, bool, u64)>,
    pub(super) effects: u64,
    /// How far what it tells of the time is off.
    pub(super) skew_ms: i64,
}

impl CoordinatorNode {
    pub(super) fn new() -> Self {
        Self::over(new_store(Role::Coordinator, NAME, LOG.0), NAME)
    }

    /// One that has not been started, on a disk that holds a log.
    pub(super) fn over(disk: Disk, name: &'static str) -> Self {
        Self {
            name,
            disk,
            machine: None,
            log: None,
            queued: Vec::new(),
            forced: false,
            writing: false,
            start: 0,
            timers: Timers::default(),
            askers: BTreeMap::new(),
            replies: 0,
            paused_until: 0,
            slow_until: 0,
            dies_in: None,
            down: 0,
            room_back: None,
            dies_at: None,
            effects: 0,
            skew_ms: 0,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.machine.as_ref().is_some_and(c::Coordinator::is_ready)
    }

    pub(super) fn expect(&mut self, asker: Asker) -> c::ReplyTo {
        self.replies += 1;
        self.askers.insert(c::ReplyTo(self.replies), asker);
        c::ReplyTo(self.replies)
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.askers.values().any(|asker| !matches!(asker, Asker::Nobody))
    }

    /// Nobody waits for an answer any more.
    pub(super) fn cancel(&mut self) {
        self.askers.clear();
    }

    /// Its log is closed in order.
    pub(super) fn close(&mut self) {
        self.log = None;
    }

    /// The process is gone; what it had in memory too.
    pub(super) fn forget(&mut self) {
        self.disk.power_off();
        self.machine = None;
        self.log = None;
        self.queued.clear();
        self.forced = false;
        self.writing = false;
        self.start += 1;
        self.timers.clear();
        self.askers.clear();
        self.dies_in = None;
        self.dies_at = None;
    }

    fn open(&self) -> Result<(RedbLog, handfast_coordinator::log::Recovered), StorageError> {
        let owner = (Role::Coordinator, self.name);
        let store = Store::open_over(self.disk.clone(), Some(self.disk.hint()), self.name, owner, STORE)?;
        let mut log = RedbLog::over(store);
        let found = log.read_all()?;
        Ok((log, found))
    }
}

impl World {
    pub(super) fn start_coordinator(&mut self) {
        if self.coordinator.machine.is_some() {
            return;
        }
        self.summary.restarts += u64::from(self.coordinator.start > 0);
        let node = &mut self.coordinator;
        node.start += 1;
        node.disk.power_on();
        let (log, found) = match node.open() {
            Ok(opened) => opened,
            Err(error) => return self.storage_failed(Host::Coordinator, &error),
        };
        node.log = Some(log);
        let nonce = Nonce(self.dice.number());
        let verdict = self.oracles.durability.coordinator_found(&found.records);
        self.judge("durability", verdict);
        let name = Name::new(self.coordinator.name).expect("a plain name");
        let (retention_count, guard) = (self.options.retention, self.guard);
        let config = c::Config { name, retention_count, guard, ..c::Config::default() };
        match c::Coordinator::recover(config, found.log, nonce, found.records, found.last_number) {
            Ok((machine, effects)) => {
                self.coordinator.machine = Some(machine);
                self.carry_out(effects);
            }
            Err(error) => self.judge("recovery", Err(format!("the coordinator does not start: {error}"))),
        }
    }

    /// One step of the coordinator.
    pub(super) fn coordinate(&mut self, input: c::Input) {
        let ready = self.coordinator.is_ready();
        let now = (self.now / MS).saturating_add_signed(self.coordinator.skew_ms);
        let Some(machine) = &mut self.coordinator.machine else { return };
        if !ready && !matches!(input, c::Input::RecordsForced { .. }) {
            return;
        }
        machine.set_now(now);
        let effects = machine.step(input);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<c::Effect>) {
        let start = self.coordinator.start;
        for effect in effects {
            if let Some((left, down)) = self.coordinator.dies_in {
                if left == 0 {
                    self.hit(steps::of_coordinator(&effect), Kind::Kill);
                    self.summary.injected += 1;
                    self.say(|| format!("the coordinator dies before {effect:?}"));
                    return self.crash(Host::Coordinator, None, down);
                }
                self.coordinator.dies_in = Some((left - 1, down));
            }
            self.coordinator.effects += 1;
            let step = steps::of_coordinator(&effect);
            if self.comes_to(Host::Coordinator, step) {
                return;
            }
            let dies = self.coordinator.dies_at.filter(|(at, ..)| *at == step);
            match dies {
                Some((_, false, down)) => {
                    self.hit(step, Kind::Kill);
                    self.summary.injected += 1;
                    return self.crash(Host::Coordinator, None, down);
                }
                Some((_, true, down)) => {
                    self.obey_coordinator(effect);
                    self.hit(step, Kind::Kill);
                    self.summary.injected += 1;
                    return self.crash(Host::Coordinator, None, down);
                }
                None => self.obey_coordinator(effect),
            }
            if self.coordinator.start != start {
                return;
            }
        }
    }

    fn obey_coordinator(&mut self, effect: c::Effect) {
        let start = self.coordinator.start;
        match effect {
            c::Effect::Reply { to, told } => {
                let verdict = self.oracles.durability.coordinator_tells(&told);
                self.judge("durability", verdict);
                match self.coordinator.askers.remove(&to) {
                    Some(Asker::Client(key, submitted)) => {
                        self.send(Host::Coordinator, Host::Clients, Body::Told(key, submitted, told));
                    }
                    Some(Asker::Onlooker(key)) => self.told_on_stage(key, &told),
                    _ => {}
                }
            }
            c::Effect::ReplyRegistered { to, answer } => {
                // A registration that was overtaken by a restart may be refused: the next one will not be.
                if let (Some(Asker::Newcomer(n, start)), Registered::Welcome(stamp)) =
                    (self.coordinator.askers.remove(&to), answer)
                {
                    self.send(Host::Coordinator, Host::Participant(n), Body::Registered(start, stamp));
                }
            }
            c::Effect::ReplyInquiry { to, answer } => {
                if let Some(Asker::InDoubt(n, start, xid)) = self.coordinator.askers.remove(&to) {
                    let verdict = self.oracles.stable_decision.answered(xid, &answer);
                    self.judge("stable decision", verdict);
                    self.send(Host::Coordinator, Host::Participant(n), Body::InquiryAnswer(start, xid, answer));
                }
            }
            c::Effect::Send { to, message } => {
                if let Order::Decide { xid, decision, .. } = &message.order {
                    let verdict = self.oracles.stable_decision.said(*xid, *decision);
                    self.judge("stable decision", verdict);
                    let verdict = self.oracles.durability.coordinator_orders(*xid, *decision);
                    self.judge("durability", verdict);
                }
                let Some(n) = self.number_of(&to) else { return };
                // Without a connection it is lost, like any other message.
                if let Some(connection) = self.participants[n].connection {
                    self.send(Host::Coordinator, Host::Participant(n), Body::Order(connection, message));
                }
            }
            c::Effect::Append { number, record, erase, force } => {
                self.oracles.durability.coordinator_hands(&record);
                match &record {
                    c::Record::Commit(_) => self.note_decision(),
                    c::Record::End { txn, .. } => self.note_end(txn.epoch()),
                    _ => {}
                }
                self.coordinator.queued.push(Entry { number, record, erase });
                self.coordinator.forced |= force;
                self.arm_log();
            }
            c::Effect::SetTimer { timer, after, jitter } => {
                let after = self.jittered(after, jitter);
                let number = self.events + 1;
                self.coordinator.timers.set(timer.clone(), number);
                self.at(after, Event::CoordinatorTimer(start, timer, number));
            }
            c::Effect::Dial { name, .. } => {
                let Some(n) = self.number_of(&name) else { return };
                self.participants[n].dialled = true;
                self.dial(n, MS);
            }
            c::Effect::HangUp { name, why } => {
                let Some(n) = self.number_of(&name) else { return };
                self.hung_up_on_stage(Host::Participant(n), &why);
                if self.restored && why.contains(OLDER_COPY) {
                    return self.stopped(Host::Participant(n), why);
                }
                if let Some(connection) = self.participants[n].connection {
                    self.at(0, Event::Break(n, connection));
                }
            }
            c::Effect::ReplyBegun { to, begun } => {
                if let Some(Asker::Beginner(key)) = self.coordinator.askers.remove(&to) {
                    self.send(Host::Coordinator, Host::Clients, Body::Begun(key, begun));
                }
            }
            c::Effect::ReplyEnlisted { to, answer } => {
                if let Some(Asker::Enlisting(n, start, xid)) = self.coordinator.askers.remove(&to) {
                    self.send(Host::Coordinator, Host::Participant(n), Body::EnlistAnswer(start, xid, answer));
                }
            }
            c::Effect::ReplyRegistry { .. } | c::Effect::Forget { .. } | c::Effect::Say { .. } => {}
            c::Effect::Stop { why } => self.stopped(Host::Coordinator, why),
        }
    }

    /// Somebody queued something: the disk takes it up soon, or with what comes within a few milliseconds.
    fn arm_log(&mut self) {
        let node = &mut self.coordinator;
        if node.writing || node.queued.is_empty() {
            return;
        }
        node.writing = true;
        let (start, forced, slow) = (node.start, node.forced, node.slow_until > self.now);
        let steps = steps::of_entries(&node.queued);
        let after = self.disk_delay(Host::Coordinator, forced, slow, &steps);
        self.at(after, Event::Write(Host::Coordinator, start));
    }

    /// How long until the disk takes up a batch.
    pub(super) fn disk_delay(&mut self, host: Host, forced: bool, slow: bool, steps: &[Step]) -> u64 {
        if slow {
            self.hit_all(steps, Kind::Slow);
            self.say(|| format!("the disk of {host:?} is slow"));
            return self.dice.between(100, 400) * MS;
        }
        if forced { self.dice.between(20, 300) } else { 5 * MS }
    }

    pub(super) fn write_log(&mut self, start: u64) {
        let node = &mut self.coordinator;
        if node.start != start {
            return;
        }
        let batch = std::mem::take(&mut node.queued);
        node.forced = false;
        let steps = steps::of_entries(&batch);
        self.comes_to_write(Host::Coordinator, &steps);
        if steps.iter().any(|step| self.comes_to(Host::Coordinator, *step)) {
            return;
        }
        let Some(log) = &mut self.coordinator.log else { return };
        match log.write(&batch) {
            Ok(()) => {
                let upto = batch.last().map(|entry| entry.number).unwrap_or_default();
                self.oracles.durability.coordinator_wrote(&batch);
                // Between a write and the word of it a crash may come.
                let after = self.dice.between(100, 2 * MS);
                self.at(after, Event::Forced(start, upto));
            }
            Err(error) => {
                self.write_failed(Host::Coordinator, &steps, &error);
            }
        }
    }

    pub(super) fn on_forced(&mut self, start: u64, upto: RecordNumber) {
        if self.coordinator.start == start {
            self.coordinator.writing = false;
            let was_ready = self.coordinator.is_ready();
            self.coordinate(c::Input::RecordsForced { upto });
            if !was_ready && self.coordinator.is_ready() {
                self.recovered(Host::Coordinator);
            }
            self.arm_log();
        }
    }

    pub(super) fn on_coordinator_timer(&mut self, start: u64, timer: c::Timer, number: u64) {
        if self.coordinator.start == start && self.coordinator.timers.fires(&timer, number) {
            self.coordinate(c::Input::TimerFired(timer));
        }
    }

    pub(super) fn on_answer(&mut self, n: usize, connection: u64, message: FromParticipant) {
        if self.is_for_aside(n, connection, || Body::Answer(connection, message.clone())) {
            return;
        }
        if self.participants[n].connection == Some(connection) {
            self.note_answer(&message);
            let name: Name = self.participants[n].name();
            self.coordinate(c::Input::AnswerReceived { name, message });
        }
    }

    pub(super) fn on_inquiry(&mut self, n: usize, start: u64, inquiry: Inquiry) {
        if self.coordinator.is_ready() {
            self.note_inquiry(&inquiry);
            let reply = self.coordinator.expect(Asker::InDoubt(n, start, inquiry.xid));
            self.coordinate(c::Input::DecisionInquired { reply, inquiry });
        }
    }

    pub(super) fn on_enlist(&mut self, n: usize, start: u64, enlist: Enlist) {
        if self.coordinator.is_ready() {
            self.note_enlist(n, &enlist);
            let reply = self.coordinator.expect(Asker::Enlisting(n, start, enlist.xid));
            self.coordinate(c::Input::BranchEnlisted { reply, enlist });
        }
    }

    pub(super) fn on_register(&mut self, n: usize, start: u64, register: Register) {
        if self.coordinator.is_ready() {
            let reply = self.coordinator.expect(Asker::Newcomer(n, start));
            self.coordinate(c::Input::ParticipantRegistered { reply, register });
        }
    }
}
