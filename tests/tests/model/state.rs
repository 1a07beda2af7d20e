//! What the model checker takes for one state: the machines, what is on disk, what is on its way, and what was said.
//!
//! Two states that differ in nothing that can matter must be one, or there are too many. So explanations are not hashed,
//! requests get the smallest token that is free, no counter grows without a bound, and what is down is up again at once:
//! a node that is down does nothing that a node to which nobody speaks could not do.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use handfast_common::ids::{Epoch, Incarnation, LogId, Name, Nonce, RecordNumber, StoreId, Ticket, Xid};
use handfast_common::messages::{FromParticipant, Identity, KnownStart, ToParticipant};
use handfast_common::outcome::Payload;
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;
use uuid::Uuid;

use super::fingerprint::fingerprint;
use super::ledger::Ledger;

/// The coordinator's log.
pub(crate) const LOG: LogId = LogId(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef));
/// How many participants there are.
pub(crate) const PARTICIPANTS: usize = 3;

/// A state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    /// The coordinator.
    pub(crate) coordinator: Part<CoordinatorNode>,
    /// The participants.
    pub(crate) participants: [Part<ParticipantNode>; PARTICIPANTS],
    /// The connections between them.
    pub(crate) links: [Link; PARTICIPANTS],
    /// Copies of orders, sorted by fingerprint: a set, for what is identical is one. They belong to no connection, so they
    /// arrive at any time or never, and whatever is answered goes nowhere.
    pub(crate) late: Vec<Part<Late>>,
    /// What was said and what took effect.
    pub(crate) ledger: Ledger,
    /// What may still go wrong.
    pub(crate) left: Budget,
}

/// How much goes wrong, at most.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Budget {
    /// Crashes of whatever node.
    pub(crate) crashes: u8,
    /// Connections that break: what is on them is lost.
    pub(crate) breaks: u8,
    /// Messages of which a copy is made, and may come much later.
    pub(crate) copies: u8,
    /// Repetitions by a timer.
    pub(crate) repeats: u8,
}

/// A part of a state with its fingerprint: a step changes one or two of them, the others are shared.
#[derive(Clone, Debug)]
pub(crate) struct Part<T> {
    value: Arc<T>,
    fingerprint: u64,
}

impl<T: Clone + Hash> Part<T> {
    /// Takes a part.
    pub(crate) fn new(value: T) -> Self {
        let fingerprint = fingerprint(&value);
        Self { value: Arc::new(value), fingerprint }
    }

    /// Changes it.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let value = Arc::make_mut(&mut self.value);
        let result = change(value);
        self.fingerprint = fingerprint(value);
        result
    }

    /// Its fingerprint.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl<T> std::ops::Deref for Part<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Hash for Part<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint);
    }
}

impl<T> PartialEq for Part<T> {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl<T> Eq for Part<T> {}

/// A write to the coordinator's log.
pub(crate) type Write = (RecordNumber, c::Record, Vec<RecordNumber>);

/// The coordinator and its log.
#[derive(Clone, Hash, Debug)]
pub(crate) struct CoordinatorNode {
    /// The machine.
    pub(crate) machine: Part<c::Coordinator>,
    /// What is on disk.
    pub(crate) log: Part<Vec<Write>>,
    /// What was handed to the log.
    pub(crate) queue: Vec<Write>,
    /// Timers that were ever set in this start; one that has lost its point does nothing.
    pub(crate) timers: BTreeSet<c::Timer>,
    /// The starts so far.
    pub(crate) starts: u64,
}

impl CoordinatorNode {
    /// Whether the machine waits for something that was handed to the log.
    pub(crate) fn is_awaited(&self) -> bool {
        self.queue.iter().any(|(_, record, _)| match record {
            c::Record::Epoch { .. } | c::Record::Participant(_) | c::Record::Commit(_) | c::Record::OnePhase(_) => true,
            c::Record::End { .. } | c::Record::Floor { .. } | c::Record::Tick { .. } | c::Record::Operator { .. } => {
                false
            }
        })
    }
}

/// What a start of the coordinator finds.
pub(crate) fn records(log: &[Write]) -> Vec<c::Numbered> {
    let mut found = BTreeMap::new();
    for (number, record, erase) in log {
        found.insert(*number, record.clone());
        for erased in erase {
            found.remove(erased);
        }
    }
    found.into_iter().collect()
}

/// A participant, its store and its resource manager.
#[derive(Clone, Hash, Debug)]
pub(crate) struct ParticipantNode {
    /// The machine.
    pub(crate) machine: Part<p::Participant>,
    /// What is on disk.
    pub(crate) disk: Part<Disk>,
    /// What was handed to the store, in order.
    pub(crate) queue: Vec<Job>,
    /// A line that goes with the next write.
    pub(crate) noted: Option<p::Line>,
    /// Work that waits for its locks.
    pub(crate) waiting: BTreeMap<Xid, Job>,
    /// Open branches, with what was done in them.
    pub(crate) open: BTreeMap<Xid, Payload>,
    /// Branches that only read and hold their locks.
    pub(crate) held: BTreeSet<Xid>,
    /// The starts so far.
    pub(crate) starts: u64,
    /// Requests that have not been answered, and whether the connection they came over still stands.
    pub(crate) requests: BTreeMap<p::ReplyTo, bool>,
}

/// What survives a participant's crash.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Disk {
    /// What is known of the coordinator.
    pub(crate) line: Option<p::Line>,
    /// Branches in doubt, with their work.
    pub(crate) prepared: BTreeMap<Xid, (p::Prepared, Payload)>,
    /// Done-markers.
    pub(crate) done: BTreeMap<Xid, p::Done>,
    /// Writes with a branch in them.
    pub(crate) sequence: u64,
    /// Earlier starts.
    pub(crate) starts: Vec<KnownStart>,
}

/// What a resource manager does.
#[derive(Clone, Hash, Debug)]
pub(crate) enum Job {
    /// Write a prepare record.
    Prepare(p::Prepared, Payload),
    /// Commit in one phase.
    OnePhase(Xid, p::OnePhaseDone, Payload),
    /// Make a prepared branch take effect.
    Commit(Xid),
    /// Undo a prepared branch.
    Abort(Xid),
    /// Write what is known of the coordinator.
    Force(p::Line),
    /// Carry out an operation of an open branch. Nothing of it goes to the disk.
    Operation(Xid, Payload),
}

impl ParticipantNode {
    /// Who speaks.
    pub(crate) fn identity(&self, n: usize) -> Identity {
        Identity {
            name: name(n),
            store: store(n),
            incarnation: Incarnation(self.starts),
            sequence: self.disk.sequence,
            clock: self.machine.clock(),
        }
    }
}

/// A connection: what is on it arrives in its order, or not at all.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Link {
    /// Whether it stands.
    pub(crate) connected: bool,
    /// To the participant.
    pub(crate) orders: Vec<Part<ToParticipant>>,
    /// To the coordinator.
    pub(crate) answers: Vec<Part<FromParticipant>>,
}

/// A copy of an order.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Late {
    /// To whom.
    pub(crate) to: usize,
    /// What.
    pub(crate) message: ToParticipant,
}

/// A participant's name.
pub(crate) fn name(n: usize) -> Name {
    Name::new(format!("p{n}")).expect("a plain name")
}

/// A participant's number.
pub(crate) fn number(name: &Name) -> usize {
    name.as_str()[1..].parse().expect("one of the three")
}

/// A participant's store.
pub(crate) fn store(n: usize) -> StoreId {
    StoreId(Uuid::from_u128(0x50 + n as u128))
}

/// Where the coordinator stood when the clients began.
pub(crate) fn ticket() -> Ticket {
    Ticket { log: LOG, epoch: Epoch(1), nonce: Nonce(1), sequence: 0 }
}
