//! A participant's driver: the machine, the embedded store on a disk that may fail, and how its effects are carried out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use handfast_common::ids::{Incarnation, Key, LogId, Name, StoreId, Xid};
use handfast_common::messages::{
    Answer, Enlist, Executed, FromParticipant, Identity, Inquiry, OperationId, PeerAnswer, PeerInquiry, PeerTold,
};
use handfast_common::storage::{Kind as Role, Space, SpaceOptions, StorageError, Store};
use handfast_participant::kv::engine::Ended;
use handfast_participant::kv::inline::{InlineStore, Written};
use handfast_participant::protocol as p;
use handfast_participant::resource::{Committed, Work};
use uuid::Uuid;

use super::coordinator::{STORE, new_store};
use super::steps;
use super::timers::Timers;
use super::{Body, Event, LOG, World};
use crate::disk::Disk;
use crate::matrix::{Kind, Step};
use crate::plan::{Host, MS};

/// Free bytes of a disk with room, and without.
const ROOM: u64 = 1 << 30;
const RESERVE: u64 = 1 << 20;

/// Who waits for an answer of a participant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiter {
    /// The coordinator, over this connection.
    Coordinator(u64),
    /// Another participant, this start of it.
    Peer(usize, u64, Xid),
    /// A client.
    Client(Key, OperationId),
    /// Somebody who is none of us.
    Nobody,
}

#[derive(Debug)]
pub(super) struct ParticipantNode {
    number: usize,
    pub(super) disk: Disk,
    free: Arc<AtomicU64>,
    pub(super) machine: Option<p::Participant>,
    pub(super) store: Option<InlineStore>,
    writing: bool,
    written: Option<Written>,
    /// Forces under way, by number.
    forces: BTreeMap<u64, LogId>,
    pub(super) start: u64,
    pub(super) timers: Timers<p::Timer>,
    /// The coordinator's connection to it.
    pub(super) connection: Option<u64>,
    /// Who waits for which answer.
    answers: BTreeMap<p::ReplyTo, Waiter>,
    replies: u64,
    pub(super) dialling: bool,
    pub(super) dialled: bool,
    pub(super) paused_until: u64,
    pub(super) slow_until: u64,
    pub(super) dies_in: Option<(u32, u64)>,
    pub(super) down: u64,
    pub(super) room_back: Option<u64>,
    /// Dies at its first effect of this step: after it, or before.
    pub(super) dies_at: Option<(Step, bool, u64)>,
    pub(super) effects: u64,
}

impl ParticipantNode {
    pub(super) fn new(number: usize) -> Self {
        let disk = new_store(Role::Participant, &format!("p{number}"), Uuid::from_u128(0x50 + number as u128));
        Self {
            number,
            disk,
            free: Arc::new(AtomicU64::new(ROOM)),
            machine: None,
            store: None,
            writing: false,
            written: None,
            forces: BTreeMap::new(),
            start: 0,
            timers: Timers::default(),
            connection: None,
            answers: BTreeMap::new(),
            replies: 0,
            dialling: false,
            dialled: false,
            paused_until: 0,
            slow_until: 0,
            dies_in: None,
            down: 0,
            room_back: None,
            dies_at: None,
            effects: 0,
        }
    }

    pub(super) fn name(&self) -> Name {
        Name::new(format!("p{}", self.number)).expect("a plain name")
    }

    pub(super) fn is_up(&self) -> bool {
        self.machine.is_some()
    }

    pub(super) fn set_room(&self, room: bool) {
        self.free.store(if room { ROOM } else { RESERVE / 2 }, Ordering::Relaxed);
    }

    pub(super) fn has_room(&self) -> bool {
        self.free.load(Ordering::Relaxed) >= RESERVE
    }

    pub(super) fn expect(&mut self, waiter: Waiter) -> p::ReplyTo {
        self.replies += 1;
        self.answers.insert(p::ReplyTo(self.replies), waiter);
        p::ReplyTo(self.replies)
    }

    pub(super) fn is_waited_for(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Nobody waits for an answer any more. Who did.
    pub(super) fn cancel(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.answers).into_values().collect()
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        let (machine, store) = (self.machine.as_ref()?, self.store.as_ref()?);
        let config = machine.config();
        Some(Identity {
            name: config.name.clone(),
            store: config.store,
            incarnation: config.incarnation,
            sequence: store.sequence(),
            clock: machine.clock(),
        })
    }

    /// Its store is closed in order.
    pub(super) fn close(&mut self) {
        self.store = None;
    }

    /// The process is gone; what it had in memory too.
    pub(super) fn forget(&mut self) {
        self.disk.power_off();
        self.machine = None;
        self.store = None;
        self.writing = false;
        self.written = None;
        self.forces.clear();
        self.start += 1;
        self.timers.clear();
        self.answers.clear();
        self.dies_in = None;
        self.dies_at = None;
    }

    fn open(&self, incarnation: Incarnation) -> Result<InlineStore, StorageError> {
        let name = format!("p{}", self.number);
        let store =
            Store::open_over(self.disk.clone(), Some(self.disk.hint()), &name, (Role::Participant, &name), STORE)?;
        let free = Arc::clone(&self.free);
        let levels = SpaceOptions { reserve: RESERVE, critical: 0, ballast: 0, every: Duration::ZERO };
        let probe = Box::new(move || Ok(free.load(Ordering::Relaxed)));
        // A folder that is not there: without a ballast nothing is looked for in it.
        let space = Space::with_probe(Path::new("/nowhere/at/all"), levels, probe)?;
        InlineStore::open(store, Arc::new(space), incarnation)
    }
}

impl World {
    pub(super) fn start_participant(&mut self, n: usize) {
        if self.participants[n].is_up() {
            return;
        }
        self.summary.restarts += u64::from(self.participants[n].start > 0);
        let incarnation = Incarnation(self.dice.number());
        let node = &mut self.participants[n];
        node.start += 1;
        node.disk.power_on();
        let store = match node.open(incarnation) {
            Ok(store) => store,
            Err(error) => return self.storage_failed(Host::Participant(n), &error),
        };
        let found = store.recovered().clone();
        self.recovered(Host::Participant(n));
        let node = &self.participants[n];
        let config = p::Config::new(node.name(), StoreId(store.identity().0), incarnation);
        self.participants[n].store = Some(store);
        let verdict = self.oracles.binding_votes.found(n, &found);
        self.judge("binding votes", verdict);
        self.summary.in_doubt += found.prepared.len() as u64;
        if !found.prepared.is_empty() {
            self.sometimes("a branch in doubt");
        }
        match p::Participant::recover(config, found) {
            Ok((machine, effects)) => {
                self.participants[n].machine = Some(machine);
                let start = self.participants[n].start;
                self.at(0, Event::RegisterDue(n, start));
                self.obey(n, effects);
            }
            Err(error) => self.judge("recovery", Err(format!("p{n} does not start: {error}"))),
        }
    }

    /// One step of a participant, if it is still this start of it.
    pub(super) fn participate_if(&mut self, n: usize, start: u64, input: p::Input) {
        if self.participants[n].start == start {
            self.participate(n, input);
        }
    }

    pub(super) fn participate(&mut self, n: usize, input: p::Input) {
        let Some(machine) = &mut self.participants[n].machine else { return };
        let effects = machine.step(input);
        self.obey(n, effects);
    }

    pub(super) fn obey(&mut self, n: usize, effects: Vec<p::Effect>) {
        let start = self.participants[n].start;
        for effect in effects {
            if let Some((left, down)) = self.participants[n].dies_in {
                if left == 0 {
                    self.hit(steps::of_participant(&effect), Kind::Kill);
                    self.summary.injected += 1;
                    self.say(|| format!("p{n} dies before {effect:?}"));
                    return self.crash(Host::Participant(n), None, down);
                }
                self.participants[n].dies_in = Some((left - 1, down));
            }
            self.participants[n].effects += 1;
            let step = steps::of_participant(&effect);
            if self.comes_to(Host::Participant(n), step) {
                return;
            }
            let dies = self.participants[n].dies_at.filter(|(at, ..)| *at == step);
            if let Some((_, after, down)) = dies {
                let done = if after { self.obey_one(n, effect) } else { Ok(()) };
                drop(done);
                self.hit(step, Kind::Kill);
                self.summary.injected += 1;
                return self.crash(Host::Participant(n), None, down);
            }
            if let Err(error) = self.obey_one(n, effect) {
                return self.storage_failed(Host::Participant(n), &error);
            }
            if self.participants[n].start != start {
                return;
            }
        }
        self.take_ended(n);
    }

    fn obey_one(&mut self, n: usize, effect: p::Effect) -> Result<(), StorageError> {
        let start = self.participants[n].start;
        let node = &mut self.participants[n];
        let Some(store) = &mut node.store else { return Ok(()) };
        match effect {
            p::Effect::Prepare { age, record, work } => {
                let work = Work { xid: record.xid, age, payload: work };
                store.prepare(&work, record)
            }
            p::Effect::Execute { xid, age, work } => store.execute(&Work { xid, age, payload: Some(work) }),
            p::Effect::CommitOnePhase { xid, age, key, hash, work } => {
                store.commit_one_phase(&Work { xid, age, payload: work }, key, hash)
            }
            p::Effect::Cancel { xid, reason } => store.cancel(xid, reason),
            p::Effect::Commit { xid } => store.commit(xid),
            p::Effect::Abort { xid } => {
                let aborted = store.abort(xid);
                let decided = self.oracles.stable_decision.of(xid);
                let verdict = self.oracles.binding_votes.undoes(n, xid, decided);
                self.judge("binding votes", verdict);
                self.doubt_ends(n, xid);
                aborted
            }
            p::Effect::Release { xid } => store.release(xid),
            p::Effect::ForceLine(line) => {
                let log = line.log;
                node.forces.insert(store.force(line), log);
                Ok(())
            }
            p::Effect::NoteLine(line) => {
                store.note(line);
                Ok(())
            }
            p::Effect::Reply { to, answer } => {
                let (Some(from), Some(Waiter::Coordinator(connection))) = (node.identity(), node.answers.remove(&to))
                else {
                    return Ok(());
                };
                let verdict = self.oracles.binding_votes.said(n, &answer);
                self.judge("binding votes", verdict);
                if let Answer::Acknowledged { xid } = &answer {
                    self.doubt_ends(n, *xid);
                }
                let seen = self.participants[n].machine.as_ref().and_then(|machine| machine.seen(LOG));
                if let (Answer::Welcome(_), Some(seen)) = (&answer, seen) {
                    self.oracles.fencing.welcomed(n, seen.epoch);
                }
                let body = Body::Answer(connection, FromParticipant { from, answer });
                self.send(Host::Participant(n), Host::Coordinator, body);
                Ok(())
            }
            p::Effect::Inquire { xid, members, .. } => {
                let Some(from) = node.identity() else { return Ok(()) };
                let body = Body::Inquiry(start, Inquiry { from, xid, members });
                self.send(Host::Participant(n), Host::Coordinator, body);
                Ok(())
            }
            p::Effect::SetTimer { timer, after, jitter } => {
                let after = self.jittered(after, jitter);
                let number = self.events + 1;
                self.participants[n].timers.set(timer, number);
                self.at(after, Event::ParticipantTimer(n, start, timer, number));
                Ok(())
            }
            p::Effect::Stop { why } => {
                self.stopped(Host::Participant(n), why);
                Ok(())
            }
            p::Effect::ReplyExecuted { to, result } => {
                let (Some(from), Some(Waiter::Client(key, operation))) = (node.identity(), node.answers.remove(&to))
                else {
                    return Ok(());
                };
                let body = Body::Executed(key, operation, Executed { from, result });
                self.send(Host::Participant(n), Host::Clients, body);
                Ok(())
            }
            p::Effect::ReplyPeer { to, answer } => {
                let (Some(from), Some(Waiter::Peer(asker, start, xid))) = (node.identity(), node.answers.remove(&to))
                else {
                    return Ok(());
                };
                if let PeerAnswer::Decided(decision) = answer {
                    let verdict = self.oracles.stable_decision.said(xid, decision);
                    self.judge("stable decision", verdict);
                }
                let body = Body::PeerTold(start, xid, PeerTold { from, answer });
                self.send(Host::Participant(n), Host::Participant(asker), body);
                Ok(())
            }
            p::Effect::Enlist { xid, active, .. } => {
                let Some(from) = node.identity() else { return Ok(()) };
                let body = Body::Enlist(start, Enlist { from, xid, active });
                self.send(Host::Participant(n), Host::Coordinator, body);
                Ok(())
            }
            p::Effect::InquirePeer { xid, member } => {
                let Some(from) = node.identity() else { return Ok(()) };
                let Some(other) = self.number_of(&member.who.name) else { return Ok(()) };
                let body = Body::PeerInquiry(start, PeerInquiry { from, to: member.who, xid });
                self.send(Host::Participant(n), Host::Participant(other), body);
                Ok(())
            }
            p::Effect::Say { .. } => Ok(()),
        }
    }

    /// What the store has ended goes to the machine, until no more comes of it; what it queued goes to the disk.
    fn take_ended(&mut self, n: usize) {
        let start = self.participants[n].start;
        self.look_at_store(n);
        while let Some(store) = &mut self.participants[n].store {
            let ended = store.take_ended();
            if ended.is_empty() {
                break;
            }
            for fact in ended {
                let node = &mut self.participants[n];
                if node.start != start {
                    return;
                }
                let input = match fact {
                    Ended::Execute(xid, execution) => p::Input::OperationEnded { xid, execution },
                    Ended::Prepare(xid, vote) => p::Input::WorkPrepared { xid, vote },
                    Ended::OnePhase(xid, result) => p::Input::OnePhaseEnded { xid, result },
                    Ended::Commit(xid, committed) => {
                        p::Input::BranchCommitted { xid, found: committed == Committed::Done }
                    }
                    Ended::Abort(xid) => p::Input::BranchAborted { xid },
                    Ended::Force(number) => match node.forces.remove(&number) {
                        Some(log) => p::Input::LineForced { log },
                        None => continue,
                    },
                };
                self.participate(n, input);
            }
        }
        self.arm_store(n);
    }

    fn arm_store(&mut self, n: usize) {
        let node = &mut self.participants[n];
        let Some(store) = &node.store else { return };
        let (count, forced) = store.queued();
        if node.writing || count == 0 {
            return;
        }
        node.writing = true;
        let (start, slow, steps) = (node.start, node.slow_until > self.now, steps::of_batch(store));
        let after = self.disk_delay(Host::Participant(n), forced, slow, &steps);
        self.at(after, Event::Write(Host::Participant(n), start));
    }

    pub(super) fn write_batch(&mut self, n: usize, start: u64) {
        let node = &mut self.participants[n];
        if node.start != start {
            return;
        }
        let Some(store) = &node.store else { return };
        let steps = steps::of_batch(store);
        self.comes_to_write(Host::Participant(n), &steps);
        if steps.iter().any(|step| self.comes_to(Host::Participant(n), *step)) {
            return;
        }
        let Some(store) = &mut self.participants[n].store else { return };
        match store.write_batch() {
            Ok(written) => {
                self.participants[n].written = written;
                let after = self.dice.between(100, 2 * MS);
                self.at(after, Event::BatchDone(n, start));
            }
            Err(error) => self.write_failed(Host::Participant(n), &steps, &error),
        }
    }

    pub(super) fn on_batch_done(&mut self, n: usize, start: u64) {
        let node = &mut self.participants[n];
        if node.start != start {
            return;
        }
        node.writing = false;
        let (Some(store), Some(written)) = (&mut node.store, node.written.take()) else { return };
        if let Err(error) = store.report(written) {
            return self.storage_failed(Host::Participant(n), &error);
        }
        self.take_ended(n);
    }

    pub(super) fn on_participant_timer(&mut self, n: usize, start: u64, timer: p::Timer, number: u64) {
        if self.participants[n].start == start && self.participants[n].timers.fires(&timer, number) {
            self.participate(n, p::Input::TimerFired(timer));
        }
    }
}
