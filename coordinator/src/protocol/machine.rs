//! The coordinator's state and the one door into it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use handfast_common::ids::{Age, Epoch, Key, LogId, Name, Nonce, RecordNumber, TxnId, Xid};
use handfast_common::limits;
use handfast_common::messages::{Order, Stamp, ToParticipant};
use handfast_common::mutants::{self, Mutant};

use super::history::History;
use super::inquiry::Wait;
use super::operator::Removal;
use super::peers::{Peer, Registering};
use super::record::{Record, Registration};
use super::table::{self, Event, Phase};
use super::transaction::Transaction;
use super::{Effect, Input, ReplyTo, Timer};

/// Bytes of reads that outcomes may keep: a million outcomes of 1 MiB each would fit no memory.
const RETENTION_BYTES: u64 = 256 << 20;

/// What a coordinator can be told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// Its name, as participants know it.
    pub name: Name,
    /// Its own address as participants should dial it; a hint that rides on Prepare.
    pub address: String,
    /// How long votes are waited for.
    pub prepare_timeout: Duration,
    /// An interactive transaction without work for so long is aborted.
    pub idle_limit: Duration,
    /// One that is open for so long is aborted.
    pub total_limit: Duration,
    /// Undecided transactions at a time.
    pub max_in_flight: usize,
    /// Branches of one transaction.
    pub max_branches: usize,
    /// Bytes of work of one transaction, and bytes of what it reads.
    pub max_transaction_bytes: usize,
    /// Outcomes kept until as many newer ones exist.
    pub retention_count: u64,
    /// Bytes of what they read, all together; beyond it the oldest are forgotten.
    pub retention_bytes: u64,
    /// Stretches of running time after which an outcome is forgotten.
    pub retention_ticks: u64,
    /// Length of such a stretch.
    pub retention_tick: Duration,
    /// What an inquiry about an older epoch waits for.
    pub guard: Guard,
}

/// How many participants must have answered Hello before absence of a record is taken for an abort.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Guard {
    /// All of the transaction's that can be reached within [`limits::GUARD_WAIT`].
    Reachable,
    /// Every one of them, however long it takes.
    Strict,
}

impl Default for Config {
    fn default() -> Self {
        const TICK: Duration = Duration::from_secs(300);
        Self {
            name: Name::new("coordinator").expect("a plain name"),
            address: String::new(),
            prepare_timeout: limits::PREPARE_TIMEOUT,
            idle_limit: limits::IDLE_LIMIT,
            total_limit: limits::TOTAL_LIMIT,
            max_in_flight: limits::MAX_IN_FLIGHT,
            max_branches: limits::MAX_BRANCHES,
            max_transaction_bytes: limits::MAX_TRANSACTION_BYTES,
            retention_count: limits::RETENTION_COUNT,
            retention_bytes: RETENTION_BYTES,
            retention_ticks: limits::RETENTION_DAYS * 24 * 3600 / TICK.as_secs(),
            retention_tick: TICK,
            guard: Guard::Reachable,
        }
    }
}

/// A start of the coordinator, as the log's line has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Start {
    pub(super) epoch: Epoch,
    pub(super) nonce: Nonce,
    /// The last decision sequence of this start; of the present one see `Coordinator::decisions_forced`.
    pub(super) decisions: u64,
}

/// What waits for a record to be on disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Awaited {
    Epoch,
    Decision(TxnId, u64),
    Outcome(TxnId),
    Registration(Name),
    Removal(Box<Removal>, ReplyTo),
    Release(Name, ReplyTo),
}

/// The coordinator's machine.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Coordinator {
    pub(super) config: Config,
    pub(super) log: LogId,
    pub(super) epoch: Epoch,
    pub(super) nonce: Nonce,
    /// Every earlier start.
    pub(super) line: Vec<Start>,
    pub(super) ready: bool,
    pub(super) stopped: bool,
    /// Whether the disk has room for new work.
    pub(super) room: bool,
    /// Driver's time, for listings only: nothing is decided by it.
    pub(super) now_ms: u64,

    /// Highest transaction sequence given out in this epoch.
    pub(super) sequence: u64,
    /// Highest transaction age heard of.
    pub(super) clock: Age,
    /// Highest decision sequence given out, and the highest that is on disk: only that one is ever sent.
    pub(super) decisions: u64,
    pub(super) decisions_forced: u64,
    pub(super) last_number: RecordNumber,
    pub(super) awaited: BTreeMap<RecordNumber, Awaited>,

    /// Transactions that have not ended.
    pub(super) live: BTreeMap<TxnId, Transaction>,
    /// How many of them are undecided: slots taken.
    pub(super) undecided: usize,
    /// How many of them are interactive and open.
    pub(super) open: usize,
    /// Live and ended transactions by key.
    pub(super) keys: BTreeMap<Key, TxnId>,
    /// Outcomes of ended ones, and the floor below which they are forgotten.
    pub(super) history: History,
    /// Running time: number and reach of each stretch still counted.
    pub(super) ticks: VecDeque<(u64, TxnId, RecordNumber)>,

    /// Participants that ever registered, with the number of the record that says so.
    pub(super) registry: BTreeMap<Name, (Registration, RecordNumber)>,
    pub(super) peers: BTreeMap<Name, Peer>,
    /// Whom inquiries about earlier starts wait for, in this epoch.
    pub(super) guards: BTreeMap<Name, Wait>,
    pub(super) silence_armed: bool,
    /// Registrations that are not on disk yet.
    pub(super) registering: BTreeMap<Name, Registering>,
    /// Participants that an operator took out of the registry, in that order; kept for ever.
    pub(super) removed: Vec<Removal>,
}

pub(super) type Effects = Vec<Effect>;

impl Coordinator {
    /// Takes in one fact and says what is to be done about it, in this order.
    ///
    /// After an [`Effect::Stop`] nothing more is done about anything.
    #[must_use]
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut out = Effects::new();
        if self.stopped {
            return out;
        }
        match input {
            Input::TransactionSubmitted { reply, request, hash } => {
                self.on_transaction_submitted(reply, request, hash, &mut out);
            }
            Input::OutcomeAsked { reply, question } => self.on_outcome_asked(reply, &question, &mut out),
            Input::ParticipantRegistered { reply, register } => {
                self.on_participant_registered(reply, register, &mut out);
            }
            Input::BeginRequested { reply, begin } => self.on_begin_requested(reply, &begin, &mut out),
            Input::CommitRequested { reply, commit } => self.on_commit_requested(reply, commit, &mut out),
            Input::RollbackRequested { reply, xid } => self.on_rollback_requested(reply, xid, &mut out),
            Input::BranchEnlisted { reply, enlist } => self.on_branch_enlisted(reply, &enlist, &mut out),
            Input::RegistryOrdered { reply, order } => self.on_registry_ordered(reply, order, &mut out),
            Input::AddressGiven { name, address } => self.on_address_given(name, address, &mut out),
            Input::DecisionInquired { reply, inquiry } => self.on_decision_inquired(reply, &inquiry, &mut out),
            Input::PeerConnected { name } => self.on_peer_connected(name, &mut out),
            Input::PeerDisconnected { name } => self.on_peer_disconnected(&name, &mut out),
            Input::AnswerReceived { name, message } => self.on_answer_received(&name, message, &mut out),
            Input::RecordsForced { upto } => self.on_records_forced(upto, &mut out),
            Input::SpaceChanged { room } => self.room = room,
            Input::TimerFired(timer) => self.on_timer_fired(timer, &mut out),
        }
        // Whatever was put together after the reason to stop was found may rest on what is wrong.
        if let Some(at) = out.iter().position(|effect| matches!(effect, Effect::Stop { .. })) {
            out.truncate(at + 1);
        }
        out
    }

    /// Tells the machine the driver's time, in milliseconds since its start. Shown in listings, never decided by.
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Whether the epoch is on disk, so that words may be spoken in it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// All that are registered on disk: one whose removal is still being written is among them.
    pub(super) fn everyone(&self) -> Vec<Name> {
        let leaving = self.awaited.values().filter_map(|awaited| match awaited {
            Awaited::Removal(removal, _) => Some(removal.registration.name.clone()),
            Awaited::Epoch
            | Awaited::Decision(..)
            | Awaited::Outcome(_)
            | Awaited::Registration(_)
            | Awaited::Release(..) => None,
        });
        self.registry.keys().cloned().chain(leaving).collect()
    }

    fn on_records_forced(&mut self, upto: RecordNumber, out: &mut Effects) {
        while let Some(entry) = self.awaited.first_entry() {
            if *entry.key() > upto {
                break;
            }
            let number = *entry.key();
            match entry.remove() {
                Awaited::Epoch => self.on_epoch_forced(out),
                Awaited::Decision(txn, decision) => {
                    self.decisions_forced = self.decisions_forced.max(decision);
                    self.on_decision_forced(txn, out);
                }
                Awaited::Outcome(txn) => self.on_outcome_forced(txn, out),
                Awaited::Registration(name) => self.on_registration_forced(&name, number, out),
                Awaited::Removal(removal, reply) => self.on_removal_forced(*removal, reply, out),
                Awaited::Release(name, reply) => self.on_release_forced(name, reply, out),
            }
            debug_assert!(number <= self.last_number, "the log confirmed a record it was never given");
        }
    }

    pub(super) fn on_epoch_forced(&mut self, out: &mut Effects) {
        self.ready = true;
        let known = self.registry.iter().filter(|(_, (registration, _))| !registration.address.is_empty());
        for (name, (registration, _)) in known {
            out.push(Effect::Dial { name: name.clone(), address: registration.address.clone() });
        }
        out.push(Effect::SetTimer { timer: Timer::Retention, after: self.config.retention_tick, jitter: false });
        let committing: Vec<TxnId> = self.live.keys().copied().collect();
        for txn in committing {
            self.arm_resend(txn, out);
        }
    }

    fn on_timer_fired(&mut self, timer: Timer, out: &mut Effects) {
        match timer {
            Timer::Prepare(txn) => self.on_prepare_timeout(txn, out),
            Timer::Resend(txn) => self.on_resend(txn, out),
            Timer::Guard(name) => self.on_guard_over(&name, out),
            Timer::Idle(txn) => self.on_idle(txn, out),
            Timer::Total(txn) => self.on_total(txn, out),
            Timer::Silence => self.on_silence(out),
            Timer::Retention => self.on_retention(out),
        }
    }

    /// Moves a transaction through the table. `None`: our own bug was found and the process stops.
    pub(super) fn advance(&mut self, txn: TxnId, event: Event, out: &mut Effects) -> Option<Phase> {
        let Some(transaction) = self.live.get_mut(&txn) else {
            self.stop(out, format!("transaction {txn}: {event:?} for a transaction that is not live"));
            return None;
        };
        match table::next(Some(transaction.phase), event) {
            Ok(phase) => {
                self.undecided -= usize::from(transaction.phase.is_undecided());
                self.undecided += usize::from(phase.is_undecided());
                self.open -= usize::from(transaction.phase == Phase::Active);
                transaction.phase = phase;
                transaction.attempts = 0;
                transaction.since_ms = self.now_ms;
                Some(phase)
            }
            Err(illegal) => {
                self.stop(out, format!("transaction {txn}: {illegal}"));
                None
            }
        }
    }

    pub(super) fn stop(&mut self, out: &mut Effects, why: String) {
        self.stopped = true;
        out.push(Effect::Stop { why });
    }

    /// Hands a record to the log and remembers what waits for it.
    pub(super) fn append(
        &mut self,
        record: Record,
        erase: Vec<RecordNumber>,
        awaited: Option<Awaited>,
        force: bool,
        out: &mut Effects,
    ) -> RecordNumber {
        self.last_number = RecordNumber(self.last_number.0 + 1);
        let number = self.last_number;
        if let Some(awaited) = awaited {
            self.awaited.insert(number, awaited);
        }
        out.push(Effect::Append { number, record, erase, force });
        number
    }

    pub(super) fn xid(&self, txn: TxnId) -> Xid {
        Xid { log: self.log, txn, nonce: self.nonce }
    }

    /// Somebody has told of this age: ours go on above it. From whoever counts faster, or its transactions would always
    /// be the older ones.
    pub(super) fn hear_clock(&mut self, clock: Age) {
        self.clock = self.clock.max(clock);
    }

    /// The age of a transaction that begins now; `kept` is that of an earlier attempt.
    pub(super) fn draw_age(&mut self, kept: Option<Age>, clock: Age) -> Age {
        self.hear_clock(clock);
        // A client may have sent any age: it must not stop the counter with an overflow.
        self.clock = Age(self.clock.0.saturating_add(1)).max(kept.unwrap_or_default());
        kept.unwrap_or(self.clock)
    }

    /// The next transaction id of this epoch.
    pub(super) fn draw_txn(&mut self) -> TxnId {
        self.sequence += 1;
        TxnId::new(self.log, self.epoch, self.sequence, self.nonce)
    }

    /// Who speaks, to `to`: only the mark depends on who listens.
    pub(super) fn stamp(&self, to: &Name) -> Stamp {
        let unforced = mutants::is(Mutant::UnforcedDecisionsAreCounted);
        Stamp {
            log: self.log,
            epoch: self.epoch,
            nonce: self.nonce,
            decisions: if unforced { self.decisions } else { self.decisions_forced },
            mark: self.mark_for(to),
            clock: self.clock,
        }
    }

    pub(super) fn send(&self, to: &Name, order: Order, out: &mut Effects) {
        out.push(Effect::Send { to: to.clone(), message: ToParticipant { from: self.stamp(to), order } });
    }

    /// Starts the next repetition timer of a transaction: 100 ms, doubling, at most 1 s.
    pub(super) fn arm_resend(&self, txn: TxnId, out: &mut Effects) {
        if let Some(transaction) = self.live.get(&txn)
            && !transaction.is_at_rest()
        {
            let after = (limits::RETRY_FIRST * 2u32.saturating_pow(transaction.attempts)).min(limits::RETRY_CAP);
            out.push(Effect::SetTimer { timer: Timer::Resend(txn), after, jitter: true });
        }
    }

    /// The last decision of a start that this log's line knows, for those who compare it with what they have seen.
    pub(super) fn decisions_of(&self, epoch: Epoch, nonce: Nonce) -> Option<u64> {
        if epoch == self.epoch {
            return (nonce == self.nonce).then_some(self.decisions_forced);
        }
        self.line.iter().find(|start| start.epoch == epoch && start.nonce == nonce).map(|start| start.decisions)
    }

    /// Where the coordinator stands: what clients make tickets of.
    #[must_use]
    pub fn standing(&self) -> (LogId, Epoch, Nonce, u64) {
        (self.log, self.epoch, self.nonce, self.sequence)
    }
}
