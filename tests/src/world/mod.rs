//! A small world over the pure machines of both roles: one coordinator, three participants, clients, a network that
//! loses, delays, repeats and reorders, nodes that die and come back, and virtual time. No disk, no socket, no thread.
//!
//! The same seed gives the same world. Its oracles look at every step (nothing is said before it is on disk, no client
//! hears two verdicts) and at the end, when all faults are healed (`oracle.rs`).

mod calls;
pub mod client;
mod copy;
pub mod dice;
mod faults;
mod gone;
pub mod interactive;
pub mod log;
mod nodes;
mod obey;
mod oracle;
pub mod store;
pub mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use handfast_common::ids::{Key, LogId, Name, RecordNumber, Xid};
use handfast_common::messages::{
    Begun, Enlist, Enlisted, ExecuteResult, FromParticipant, Inquiry, InquiryAnswer, PeerInquiry, PeerTold, Register,
    Stamp, ToParticipant, Told,
};
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;
use uuid::Uuid;

use client::Clients;
use dice::Dice;
use nodes::{Asker, CoordinatorNode, ParticipantNode};

/// The log of the only coordinator.
const LOG: LogId = LogId(Uuid::from_u128(0xC0));
/// Participants.
const PARTICIPANTS: usize = 3;
/// Virtual microseconds of a millisecond.
const MS: u64 = 1_000;

/// Something that happens at its time.
#[derive(Clone, Debug)]
enum Event {
    /// The connection to a participant stands.
    Connect(usize),
    /// It breaks, if it is still this one.
    Break(usize, u64),
    ToParticipant(usize, u64, ToParticipant),
    FromParticipant(usize, u64, FromParticipant),
    CoordinatorTimer(u64, c::Timer, u64),
    ParticipantTimer(usize, u64, p::Timer, u64),
    Forced(u64, RecordNumber),
    WorkDone(usize, u64, Xid),
    Written(usize, u64),
    Inquiry(usize, u64, Inquiry),
    InquiryAnswered(usize, u64, Xid, InquiryAnswer),
    RegisterDue(usize, u64),
    Register(usize, u64, Register),
    Registered(usize, u64, Stamp),
    /// From a participant, this start of it, to the coordinator, and back.
    Enlist(usize, u64, Enlist),
    EnlistAnswered(usize, u64, Xid, Enlisted),
    /// To a participant, from another one and its start; and back.
    PeerInquiry(usize, usize, u64, PeerInquiry),
    PeerTold(usize, u64, Xid, PeerTold),
    /// Of interactive transactions: what is due, and what arrives. A step is named by caller and number.
    NewInteractive,
    BeginDue(Key),
    Begin(Key),
    Begun(Key, Begun),
    StepDue(Key, usize, usize),
    Execute(usize, Key, usize, usize),
    Executed(Key, usize, usize, ExecuteResult),
    EndDue(Key),
    Commit(Key),
    Rollback(Key),
    NewTransaction,
    Submit(Key),
    Ask(Key),
    Told(Key, Told),
    Fault,
    StartCoordinator,
    StartParticipant(usize),
}

/// What a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Digest of everything that happened, in order.
    pub trace: u64,
    /// Keys told Committed.
    pub committed: usize,
    /// Keys told Aborted.
    pub aborted: usize,
    /// Crashes of the coordinator and of participants.
    pub crashes: (u32, u32),
    /// Connections that broke.
    pub breaks: u32,
    /// Effects that took place at participants.
    pub effects: usize,
    /// Times that somebody in doubt was told a decision.
    pub inquiries_decided: u32,
    /// Operations of interactive transactions that were answered, and answers that came again.
    pub operations: u32,
    /// The same.
    pub repeated: u32,
    /// Interactive transactions told Committed, and those told Aborted.
    pub interactive: (usize, usize),
    /// Times that a participant was not let into a transaction, or told that it is over.
    pub enlists_refused: u32,
    /// Questions of participants in doubt to others, and those that were answered with a decision.
    pub peers_asked: u32,
    /// The same.
    pub peers_decided: u32,
    /// Branches that waited for a coordinator that was gone for good, and those that another participant freed.
    pub left_waiting: u32,
    /// The same.
    pub freed: u32,
    /// Times that the coordinator stopped because a copy of it had been heard of.
    pub stops: u32,
}

/// The world.
#[derive(Debug)]
pub struct World {
    dice: Dice,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    coordinator: CoordinatorNode,
    participants: Vec<ParticipantNode>,
    clients: Clients,
    healed: bool,
    copy: copy::Copied,
    /// Whether the coordinator never comes back.
    gone: bool,
    /// Transactions that one participant has told another to be aborted.
    told_abort: BTreeSet<Xid>,
    /// Little goes wrong, so that most transactions commit.
    mild: bool,
    trace: DefaultHasher,
    summary: Summary,
    narrate: bool,
}

impl World {
    /// A world in which everybody is about to start.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let retention = if dice.one_in(4) { 16 } else { 100_000 };
        // Short enough for a world of a few seconds.
        let idle_limit = Duration::from_millis(dice.between(4, 20) * 100);
        let total_limit = Duration::from_millis(dice.between(15, 50) * 100);
        let config = c::Config { retention_count: retention, idle_limit, total_limit, ..c::Config::default() };
        let mut world = Self {
            dice,
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            coordinator: CoordinatorNode::new(config),
            participants: (0..PARTICIPANTS).map(ParticipantNode::new).collect(),
            clients: Clients::default(),
            healed: false,
            copy: copy::Copied::No,
            gone: false,
            told_abort: BTreeSet::new(),
            mild: seed.is_multiple_of(2),
            trace: DefaultHasher::new(),
            summary: Summary::default(),
            narrate: false,
        };
        world.at(0, Event::StartCoordinator);
        for n in 0..PARTICIPANTS {
            world.at(0, Event::StartParticipant(n));
        }
        world
    }

    /// Prints everything that happens: for a seed that fails.
    #[must_use]
    pub fn narrated(mut self) -> Self {
        self.narrate = true;
        self
    }

    /// Lets it run through faults, heals it, and looks at what it came to.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn run(mut self) -> Summary {
        let chaos = self.dice.between(1_500, 4_000) * MS;
        let transactions = self.dice.between(20, 60);
        for _ in 0..transactions {
            let when = self.dice.below(chaos);
            self.at(when, Event::NewTransaction);
        }
        for _ in 0..self.dice.between(10, 40) {
            let when = self.dice.below(chaos);
            self.at(when, Event::NewInteractive);
        }
        let faults = if self.mild { self.dice.below(8) } else { self.dice.between(2, 25) };
        for _ in 0..faults {
            let when = self.dice.below(chaos);
            self.at(when, Event::Fault);
        }
        self.until(chaos);
        self.heal();
        let healed = self.now;
        self.until_watching(healed, healed + 5_000 * MS);
        self.check_in_doubt();
        self.until_watching(healed, healed + 6_500 * MS);
        self.ask_about_all();
        self.until(healed + 12_000 * MS);
        self.check_end();
        self.summary.trace = self.trace.finish();
        self.summary
    }

    fn at(&mut self, after: u64, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + after, self.events), event);
    }

    fn until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((now, number), event) = entry.remove_entry();
            self.now = now;
            (now, number, std::mem::discriminant(&event)).hash(&mut self.trace);
            if self.narrate {
                println!("{:>9.3} {event:?}", now as f64 / 1_000.0);
            }
            self.happen(event);
        }
        self.now = end;
    }

    /// Looks again and again whether anything is open that should not be.
    fn until_watching(&mut self, healed: u64, end: u64) {
        while self.now < end {
            self.until((self.now + 100 * MS).min(end));
            self.check_open(healed);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connect(n) => self.on_connect(n),
            Event::Break(n, connection) => self.on_break(n, connection),
            Event::ToParticipant(n, connection, message) => self.on_order(n, connection, message),
            Event::FromParticipant(n, connection, message) => {
                let name = self.participants[n].name();
                if self.participants[n].connection == Some(connection) {
                    self.coordinate(c::Input::AnswerReceived { name, message });
                }
            }
            Event::CoordinatorTimer(start, timer, number) => {
                let coordinator = &mut self.coordinator;
                if coordinator.start == start && coordinator.timers.remove_if(&timer, number) {
                    self.coordinate(c::Input::TimerFired(timer));
                }
            }
            Event::ParticipantTimer(n, start, timer, number) => {
                let participant = &mut self.participants[n];
                if participant.start == start && participant.timers.remove_if(&timer, number) {
                    self.participate(n, p::Input::TimerFired(timer));
                }
            }
            Event::Forced(start, upto) => {
                if self.coordinator.start == start {
                    self.coordinator.log.force(upto);
                    self.coordinate(c::Input::RecordsForced { upto });
                }
            }
            Event::WorkDone(n, start, xid) => self.on_work_done(n, start, xid),
            Event::Written(n, start) => self.on_written(n, start),
            Event::Inquiry(n, start, inquiry) => {
                let asker = Asker::InDoubt(n, start, inquiry.xid);
                self.ask_coordinator(asker, |reply| c::Input::DecisionInquired { reply, inquiry });
            }
            Event::InquiryAnswered(n, start, xid, answer) => {
                self.summary.inquiries_decided += u32::from(matches!(answer, InquiryAnswer::Decided(_)));
                self.participate_if(n, start, p::Input::InquiryAnswered { xid, answer });
            }
            Event::RegisterDue(n, start) => self.on_register_due(n, start),
            Event::Register(n, start, register) => {
                let asker = Asker::Newcomer(n, start);
                self.ask_coordinator(asker, |reply| c::Input::ParticipantRegistered { reply, register });
            }
            Event::Registered(n, start, stamp) => self.participate_if(n, start, p::Input::StampReceived(stamp)),
            Event::Enlist(n, start, enlist) => {
                let asker = Asker::Enlisting(n, start, enlist.xid);
                self.ask_coordinator(asker, |reply| c::Input::BranchEnlisted { reply, enlist });
            }
            Event::EnlistAnswered(n, start, xid, answer) => {
                self.participate_if(n, start, p::Input::EnlistAnswered { xid, answer });
            }
            Event::PeerInquiry(n, asker, start, inquiry) => self.on_peer_inquiry(n, asker, start, inquiry),
            Event::PeerTold(n, start, xid, told) => self.on_peer_told(n, start, xid, told),
            Event::NewInteractive => self.on_new_interactive(),
            Event::BeginDue(key) => self.on_begin_due(key),
            Event::Begin(key) => self.on_begin(key),
            Event::Begun(key, begun) => self.on_begun(key, &begun),
            Event::StepDue(key, caller, step) => self.on_step_due(key, caller, step),
            Event::Execute(n, key, caller, step) => self.on_execute(n, key, caller, step),
            Event::Executed(key, caller, step, result) => self.on_executed(key, caller, step, &result),
            Event::EndDue(key) => self.on_end_due(key),
            Event::Commit(key) => self.on_commit(key),
            Event::Rollback(key) => self.on_rollback(key),
            Event::NewTransaction => self.on_new_transaction(),
            Event::Submit(key) => self.on_submit(key),
            Event::Ask(key) => self.on_ask(key),
            Event::Told(key, told) => self.clients.hear(key, &told),
            Event::Fault => self.on_fault(),
            Event::StartCoordinator => self.start_coordinator(),
            Event::StartParticipant(n) => self.start_participant(n),
        }
    }

    fn number_of(&self, name: &Name) -> usize {
        self.participants.iter().position(|node| node.name() == *name).expect("a participant")
    }

    fn names(&self) -> Vec<Name> {
        self.participants.iter().map(ParticipantNode::name).collect()
    }
}
