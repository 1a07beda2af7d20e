//! What scripts do to the world.

use std::collections::BTreeMap;

use handfast_common::ids::{Key, Name, Ticket};
use handfast_common::messages::{AskOutcome, Commit, Count, ExecuteResult, Micros};
use handfast_common::operation::Operation;
use handfast_common::storage::Kind as Role;
use handfast_coordinator::protocol as c;
use handfast_participant::kv::decode_reads;
use uuid::Uuid;

use super::super::coordinator::{Asker, new_store};
use super::super::{Body, Event, World};
use super::{Fate, Stage};
use crate::disk::Trouble;
use crate::plan::{Host, MS};
use crate::timelines::script::{Act, Message, Txn, Work};
use crate::workload::{mark_writers, own_count};

/// Longer than any script lasts.
pub(super) const FOR_EVER: u64 = 1 << 50;
/// Who numbers the operations of a script.
const CALLER: u64 = 1;

impl World {
    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Submit(txn, work) => {
                self.enter(txn, work, false);
                self.tell_coordinator(txn, Body::Submit);
            }
            Act::SubmitAgain(txn) => self.tell_coordinator(txn, Body::Submit),
            Act::Ask(txn) => self.tell_coordinator(txn, Body::Ask),
            Act::Look(txn) => self.look(txn),
            Act::Begin(txn, work) => {
                self.enter(txn, work, true);
                self.tell_coordinator(txn, Body::Begin);
            }
            Act::Execute(txn, number) => self.execute_on_stage(txn, number),
            Act::CommitOpen(txn, counts, shared) => self.commit_on_stage(txn, &counts, shared),
            Act::RollBack(txn) => {
                let xid = self.stage_key(txn).and_then(|key| self.ledger.session(key)?.xid);
                if let Some(xid) = xid {
                    self.send(Host::Clients, Host::Coordinator, Body::Rollback(xid));
                }
            }

            Act::Hold(message) => self.rule(message, Fate::Held),
            Act::HoldAll(message) => self.rule(message, Fate::AllHeld),
            Act::Copy(message) => self.rule(message, Fate::Copied),
            Act::Lose(message) => self.rule(message, Fate::Lost),
            Act::LoseAll(message) => self.rule(message, Fate::AllLost),
            Act::Deliver(message) => self.deliver(message, None),
            Act::DeliverTo(message, host) => self.deliver(message, Some(host)),
            Act::Forget(message) => self.on_stage(|stage| {
                stage.rules.retain(|(rule, _)| *rule != message);
                stage.waiting.retain(|(rule, ..)| *rule != message);
            }),
            Act::Cut(one, other) => self.network.cuts.extend([(one, other, u64::MAX), (other, one, u64::MAX)]),
            Act::Join => self.network.cuts.clear(),
            Act::Break(host) => {
                if let Host::Participant(n) = host
                    && let Some(connection) = self.participants[n].connection
                {
                    self.on_break(n, connection);
                }
            }

            Act::Crash(host) => self.crash(host, None, FOR_EVER),
            Act::LosePower(host, loss) => self.crash(host, Some(loss), FOR_EVER),
            Act::Start(host) => {
                self.on_stage(|stage| stage.stopped.retain(|(who, _)| *who != host));
                self.at(0, Event::Start(host));
            }
            Act::Pause(host) => self.on_stage(|stage| stage.paused.insert(host)),
            Act::Resume(host) => self.on_stage(|stage| stage.paused.remove(&host)),
            Act::Stall(host) => self.on_stage(|stage| stage.stalled.insert(host)),
            Act::Unstall(host) => self.on_stage(|stage| stage.stalled.remove(&host)),
            Act::Fail(host, operation, loss) => {
                if let Some(disk) = self.disk(host) {
                    disk.plan(disk.operations() + operation, Trouble::Error(loss));
                }
            }
            Act::Fill(host) => self.no_room(host, FOR_EVER),
            Act::Save(host, name) => {
                if let Some(content) = self.disk(host).map(|disk| disk.content()) {
                    self.on_stage(|stage| stage.saved.insert((host, name), content));
                }
            }
            Act::PutBack(host, name) => self.put(host, name, true),
            Act::Rewind(host, name) => self.put(host, name, false),
            Act::Wipe(host) => self.wipe(host),
            Act::Twin => self.twin(),
            Act::Stranger => self.stranger(),
            Act::Swap => self.swap(),

            // They are looked at where the script is played.
            Act::Until(_) | Act::Now(_) | Act::Finally(_) | Act::Wait(_) => {}
        }
    }

    /// A new store, as empty as on its first day, takes the place of a folder.
    fn wipe(&mut self, host: Host) {
        self.crash(host, None, FOR_EVER);
        self.forget_promises(host);
        match host {
            Host::Coordinator => {
                let name = self.coordinator.name;
                self.coordinator.disk = new_store(Role::Coordinator, name, Uuid::from_u128(0xE0));
            }
            Host::Participant(n) => {
                let identity = Uuid::from_u128(0xE50 + n as u128);
                self.participants[n].disk = new_store(Role::Participant, &format!("p{n}"), identity);
            }
            Host::Clients => {}
        }
    }

    /// A copy takes the place of a folder, or of the data file alone.
    fn put(&mut self, host: Host, name: &'static str, hint_too: bool) {
        let saved = self.stage.as_ref().and_then(|stage| stage.saved.get(&(host, name)).cloned());
        let Some(mut content) = saved else {
            return self.judge("timeline", Err(format!("{host:?} has no copy called '{name}'")));
        };
        self.crash(host, None, FOR_EVER);
        let Some(disk) = self.disk(host) else { return };
        if hint_too {
            self.forget_promises(host);
        } else {
            content.hint = disk.content().hint;
        }
        disk.put(content);
    }

    fn on_stage<T>(&mut self, change: impl FnOnce(&mut Stage) -> T) {
        if let Some(stage) = &mut self.stage {
            drop(change(stage));
        }
    }

    fn rule(&mut self, message: Message, fate: Fate) {
        self.on_stage(|stage| stage.rules.push((message, fate)));
    }

    fn deliver(&mut self, message: Message, instead: Option<Host>) {
        let Some(stage) = &mut self.stage else { return };
        let Some(at) = stage.waiting.iter().position(|(rule, ..)| *rule == message) else {
            return self.judge("timeline", Err(format!("no {message:?} waits to be delivered")));
        };
        let (_, from, to, body) = stage.waiting.remove(at);
        self.at(0, Event::Message { from, to: instead.unwrap_or(to), body: Box::new(body) });
    }

    fn stage_key(&self, txn: Txn) -> Option<Key> {
        self.stage.as_ref()?.keys.get(&txn).copied()
    }

    /// A client's word about its transaction; what it is told from now on is news.
    fn tell_coordinator(&mut self, txn: Txn, body: impl FnOnce(Key) -> Body) {
        let Some(key) = self.stage_key(txn) else { return };
        self.on_stage(|stage| stage.told.remove(&txn));
        self.send(Host::Clients, Host::Coordinator, body(key));
    }

    /// Enters a transaction into the ledger, with a ticket of the present coordinator.
    fn enter(&mut self, txn: Txn, work: Work, open: bool) {
        let Some(machine) = self.coordinator.machine.as_ref().filter(|machine| machine.is_ready()) else {
            return self.judge("timeline", Err(format!("nobody has a ticket for {txn:?}")));
        };
        let (log, epoch, nonce, sequence) = machine.standing();
        let ticket = Ticket { log, epoch, nonce, sequence };
        let key = self.ledger.next_key();
        let mut branches: BTreeMap<Name, Vec<Operation>> = BTreeMap::new();
        let mut steps: Vec<(Name, Vec<Operation>)> = Vec::new();
        for (host, operations) in work {
            let Some(name) = self.name_of(host) else { continue };
            // Once at each participant where it writes, with the first operation that does.
            let writes = |operations: &[Operation]| operations.iter().any(Operation::is_write);
            let mut operations = operations;
            if open && writes(&operations) && !branches.get(&name).is_some_and(|earlier| writes(earlier)) {
                operations.push(own_count(key));
            }
            branches.entry(name.clone()).or_default().extend(operations.clone());
            steps.push((name, operations));
        }
        if !open {
            mark_writers(&mut branches, key);
        }
        let entered = self.ledger.enter(branches, ticket, None, self.now);
        self.on_stage(|stage| stage.keys.insert(txn, entered));
        if open {
            self.ledger.open_session(entered, false);
            self.on_stage(|stage| stage.steps.insert(txn, steps));
        }
    }

    /// Somebody who has no ticket, and whose question is not a client's of the ledger.
    fn look(&mut self, txn: Txn) {
        let Some(key) = self.stage_key(txn) else { return };
        self.on_stage(|stage| stage.told.remove(&txn));
        if self.coordinator.is_ready() {
            let reply = self.coordinator.expect(Asker::Onlooker(key));
            let question = AskOutcome { key, ticket: None, participants: Vec::new() };
            self.coordinate(c::Input::OutcomeAsked { reply, question });
        }
    }

    fn execute_on_stage(&mut self, txn: Txn, number: usize) {
        let Some(key) = self.stage_key(txn) else { return };
        let step = self.stage.as_ref().and_then(|stage| stage.steps.get(&txn)?.get(number - 1).cloned());
        let (Some((name, operations)), Some(xid)) = (step, self.ledger.session(key).and_then(|session| session.xid))
        else {
            return self.judge("timeline", Err(format!("{txn:?} is not open, or has no operation {number}")));
        };
        self.on_stage(|stage| stage.answers.remove(&(txn, number)));
        self.send_operation(key, xid, (name, operations), (CALLER, number as u64));
    }

    fn commit_on_stage(&mut self, txn: Txn, counts: &[(Host, u64)], shared: bool) {
        let Some(key) = self.stage_key(txn) else { return };
        let Some(xid) = self.ledger.session(key).and_then(|session| session.xid) else { return };
        let count = |(host, operations): &(Host, u64)| {
            Some(Count { participant: self.name_of(*host)?, operations: *operations })
        };
        let counts = counts.iter().filter_map(count).collect();
        let commit = Commit { xid, counts, shared, wait: Micros(5_000 * MS) };
        self.tell_coordinator(txn, |key| Body::Commit(key, commit));
    }

    /// An operation of the script was answered. False if there is no script.
    pub(in crate::world) fn answered_on_stage(&mut self, key: Key, number: u64, result: &ExecuteResult) -> bool {
        let Some(stage) = &mut self.stage else { return false };
        let Some(txn) = stage.txn_under(key) else { return true };
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let before = stage.answers.insert((txn, number), result.clone());
        let name = stage.steps.get(&txn).and_then(|steps| Some(steps.get(number.checked_sub(1)?)?.0.clone()));
        let first = stage.heard.insert((txn, number)) || !matches!(before, None | Some(ExecuteResult::Done(_)));
        if let (ExecuteResult::Done(payload), Some(name), true) = (result, name, first)
            && let (Ok(reads), Some(session)) = (decode_reads(payload), self.ledger.session(key))
            && !reads.is_empty()
        {
            session.reads.entry(name).or_default().extend(reads);
        }
        true
    }
}
