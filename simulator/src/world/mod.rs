//! The world: one coordinator, participants, clients, a network, disks, and virtual time, on one thread.
//!
//! Machines, log and store are the ones of production; drivers, network, disk and time are the world's. Every message and
//! every wait is an event in one queue, and everything that is drawn comes from one generator: the same options give the
//! same world, event by event.

mod arrivals;
mod clients;
mod coordinator;
mod ending;
mod faults;
mod happening;
mod hostile;
mod identities;
mod interactive;
mod looks;
mod network;
mod participant;
mod stage;
mod steps;
mod strikes;
mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use handfast_common::ids::{Incarnation, Key, LogId, Name, RecordNumber, Xid};
use handfast_common::limits::RETRY_CAP;
use handfast_common::messages::{
    Begun, Commit, Enlist, Enlisted, Execute, Executed, FromParticipant, Inquiry, InquiryAnswer, OperationId,
    PeerInquiry, PeerTold, Register, Stamp, ToParticipant, Told,
};
use handfast_common::operation::Operation;
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;
use uuid::Uuid;

use crate::clients::Ledger;
use crate::dice::Dice;
use crate::disk::{Content, Loss};
use crate::matrix::{Cells, Step};
use crate::oracles::{Oracles, Violation};
use crate::plan::{Host, MS, Planned, Strike};
use crate::timelines::script::Act;
use crate::workload::Workload;
use coordinator::CoordinatorNode;
pub(crate) use coordinator::STORE;
use network::Network;
use participant::ParticipantNode;
use stage::Stage;

/// The log of the only coordinator.
pub(crate) const LOG: LogId = LogId(Uuid::from_u128(0xC0));

/// What a run is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Everything that is drawn comes from it.
    pub seed: u64,
    /// What clients want.
    pub workload: Workload,
    /// How many transactions, not counting further attempts.
    pub transactions: u64,
    /// How many participants.
    pub participants: usize,
    /// Of a hundred transactions so many are interactive.
    pub interactive: u64,
    /// Of a hundred clients so many give up waiting.
    pub cancels: u64,
    /// For how long things go wrong, in virtual microseconds; then all heals.
    pub chaos: u64,
    /// What goes wrong.
    pub plan: Vec<Planned>,
    /// What clients want, one by one, where it is not drawn.
    pub script: Vec<Scripted>,
    /// Outcomes that the coordinator keeps.
    pub retention: u64,
    /// When a disk first loses power, what each of these losses would leave is told.
    pub foresee: Vec<Loss>,
}

/// A transaction that is not drawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scripted {
    /// When its client begins, in virtual microseconds.
    pub at: u64,
    /// The operations of each participant.
    pub branches: BTreeMap<Name, Vec<Operation>>,
    /// When it is sent again.
    pub again: Option<u64>,
    /// When its outcome is asked for; in the end it is anyway.
    pub asks: Option<u64>,
}

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Digest of every event and every operation of every disk, in order.
    pub trace: u64,
    /// Transactions entered, further attempts included.
    pub transactions: u64,
    /// Of them told Committed.
    pub committed: u64,
    /// Of them told Aborted.
    pub aborted: u64,
    /// Starts of processes after the first ones.
    pub restarts: u64,
    /// Crashes that hit a process while it was still recovering.
    pub nested: u64,
    /// Faults that were injected, messages lost and doubled included.
    pub faults: u64,
    /// Entries of the plan, and how many of them came to something: a disk may fail at an operation that never comes.
    pub planned: u64,
    /// See there.
    pub injected: u64,
    /// Steps at which somebody or something was to be struck, and to which nobody came before all healed.
    pub idle: Vec<Step>,
    /// Branches that were in doubt when something happened to them, at the least.
    pub in_doubt: u64,
    /// Inquiries that were answered with a decision.
    pub inquiries: u64,
    /// Inquiries that another participant answered with a decision.
    pub peers_told: u64,
    /// Interactive transactions told Committed.
    pub interactive: u64,
    /// From the healing to the end of the last doubt, in virtual microseconds.
    pub doubt_ended: u64,
    /// Operations of each disk, the coordinator's first.
    pub operations: Vec<u64>,
    /// Messages sent.
    pub sent: u64,
    /// Effects carried out, the coordinator's first.
    pub effects: Vec<u64>,
    /// Of each loss to be foreseen, the first one that would have left the same, where power was lost.
    pub foreseen: Vec<usize>,
    /// Operations of that disk when its process had recovered.
    pub recovered: Option<u64>,
    /// What was hit of the matrix.
    pub cells: Cells,
    /// How often the moments of [`SOMETIMES`] came.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// How it was found out that a folder was replaced by an older copy: the run ends there.
    pub found_out: Option<String>,
}

/// Moments that many seeds have to come to, or their faults are too tame.
pub const SOMETIMES: [&str; 5] = [
    "a branch in doubt",
    "an abort that is presumed",
    "a late yes",
    "a commit that comes again",
    "a commit of an older epoch",
];

/// Something that happens at its time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Event {
    Message {
        from: Host,
        to: Host,
        body: Box<Body>,
    },
    Connect(usize),
    Break(usize, u64),
    CoordinatorTimer(u64, c::Timer, u64),
    ParticipantTimer(usize, u64, p::Timer, u64),
    /// The disk takes up what is queued.
    Write(Host, u64),
    Forced(u64, RecordNumber),
    BatchDone(usize, u64),
    RegisterDue(usize, u64),
    NewTransaction(Option<Key>),
    Scripted(usize),
    /// A client has waited for an answer for long enough, if it still waits for this one.
    StepDue(Key, u64),
    Resubmit(Key),
    AskDue(Key),
    Fault(usize),
    RoomBack(Host),
    Start(Host),
}

/// What travels.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Body {
    Order(u64, ToParticipant),
    Answer(u64, FromParticipant),
    Inquiry(u64, Inquiry),
    InquiryAnswer(u64, Xid, InquiryAnswer),
    Register(u64, Register),
    Registered(u64, Stamp),
    Submit(Key),
    Ask(Key),
    Enlist(u64, Enlist),
    EnlistAnswer(u64, Xid, Enlisted),
    PeerInquiry(u64, PeerInquiry),
    PeerTold(u64, Xid, PeerTold),
    Begin(Key),
    Begun(Key, Begun),
    Execute(Key, Execute),
    Executed(Key, OperationId, Executed),
    Commit(Key, Commit),
    Rollback(Xid),
    /// `true`: the answer to a submission.
    Told(Key, bool, Told),
}

/// The world.
#[derive(Debug)]
pub struct World {
    options: Options,
    dice: Dice,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    happened: u64,
    coordinator: CoordinatorNode,
    participants: Vec<ParticipantNode>,
    network: Network,
    ledger: Ledger,
    healed: Option<u64>,
    /// Branches that were in doubt when all healed, and still are.
    doubts: BTreeSet<(usize, Xid)>,
    oracles: Oracles,
    /// Copies of folders.
    copies: BTreeMap<Host, Content>,
    /// Whether one of them has taken the place of its original.
    restored: bool,
    /// Faults that wait for somebody to come to a step.
    strikes: Vec<(Host, Step, Strike)>,
    /// In which start participants were greeted last.
    greeted: BTreeMap<Name, Incarnation>,
    /// A script that is played, act by act.
    stage: Option<Box<Stage>>,
    ends_there: bool,
    guard: c::Guard,
    violation: Option<Violation>,
    trace: DefaultHasher,
    narrated: Option<Vec<String>>,
    summary: Summary,
}

impl World {
    /// A world in which everybody is about to start for the first time.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let participants = (0..options.participants).map(ParticipantNode::new).collect();
        let mut world = Self {
            dice: Dice::new(options.seed),
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            happened: 0,
            coordinator: CoordinatorNode::new(),
            participants,
            network: Network::default(),
            ledger: Ledger::default(),
            healed: None,
            doubts: BTreeSet::new(),
            oracles: Oracles::default(),
            copies: BTreeMap::new(),
            restored: false,
            strikes: Vec::new(),
            greeted: BTreeMap::new(),
            stage: None,
            ends_there: false,
            guard: c::Guard::Reachable,
            violation: None,
            trace: DefaultHasher::new(),
            narrated: None,
            summary: Summary::default(),
            options,
        };
        for (number, planned) in world.options.plan.clone().into_iter().enumerate() {
            world.at(planned.at, Event::Fault(number));
        }
        for host in world.hosts() {
            world.disk(host).into_iter().for_each(|disk| disk.foresee(&world.options.foresee));
            world.at(0, Event::Start(host));
        }
        for (number, at) in world.options.script.iter().map(|scripted| scripted.at).enumerate().collect::<Vec<_>>() {
            world.at(at, Event::Scripted(number));
        }
        for _ in 0..world.options.transactions {
            let when = world.dice.below(world.options.chaos);
            world.at(when, Event::NewTransaction(None));
        }
        world
    }

    /// A world in which a script is played; then all heals. If it is to end with the script, what went wrong in it was found
    /// out, and is for an operator to mend.
    #[must_use]
    pub fn staged(options: Options, acts: Vec<Act>, ends_there: bool, guard: c::Guard) -> Self {
        let mut world = Self::new(options);
        world.stage = Some(Box::new(Stage::new(acts)));
        world.ends_there = ends_there;
        world.guard = guard;
        world
    }

    /// Keeps a line of everything that happens.
    #[must_use]
    pub fn narrated(mut self) -> Self {
        self.narrated = Some(Vec::new());
        self
    }

    /// Lets it run through faults, heals it, and looks at what it came to.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(mut self) -> Result<Summary, Box<Failed>> {
        match self.run_through() {
            Ok(()) => {
                self.finish();
                Ok(self.summary)
            }
            Err(violation) => Err(Box::new(Failed { violation, story: self.narrated.unwrap_or_default() })),
        }
    }

    /// Lets it run to the end of all faults and stops everybody there: what is on the disks half way and at the end, the
    /// coordinator's first; once as a kill leaves it, and once more after it was closed in order, for redb itself looks at
    /// nothing then.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run_to_disks(mut self) -> Result<Vec<(Host, Content, Content)>, Violation> {
        self.until(self.options.chaos / 2)?;
        let half: Vec<_> =
            self.hosts().into_iter().filter_map(|host| Some((host, self.disk(host)?.content()))).collect();
        self.until(self.options.chaos)?;
        let end = |host: Host| self.disk(host).map(|disk| disk.content());
        let killed: Vec<_> = half.iter().filter_map(|(host, _)| end(*host)).collect();
        self.coordinator.close();
        self.participants.iter_mut().for_each(ParticipantNode::close);
        let end = |host: Host| self.disk(host).map(|disk| disk.content());
        let closed: Vec<_> = half.iter().filter_map(|(host, _)| end(*host)).collect();
        self.coordinator.forget();
        self.participants.iter_mut().for_each(ParticipantNode::forget);
        let halves = half.iter().chain(&half).cloned();
        Ok(halves.zip(killed.into_iter().chain(closed)).map(|((host, half), end)| (host, half, end)).collect())
    }

    fn run_through(&mut self) -> Result<(), Violation> {
        if self.stage.is_some() {
            self.play_out()?;
        } else {
            self.until(self.options.chaos)?;
        }
        if self.ends_there {
            return self.check_script();
        }
        self.heal();
        let healed = self.now;
        self.until(healed + DOUBTS_END)?;
        self.check_doubts_ended()?;
        self.until(healed + L1)?;
        self.check_no_doubt()?;
        self.until(healed + QUIET)?;
        if self.summary.found_out.is_none() {
            self.check_end()?;
        }
        self.check_script()
    }

    fn finish(&mut self) {
        let disks = self.hosts().into_iter().filter_map(|host| self.disk(host)).collect::<Vec<_>>();
        for disk in &disks {
            disk.digest().hash(&mut self.trace);
        }
        self.summary.planned = self.options.plan.len() as u64;
        self.summary.injected += disks.iter().map(crate::disk::Disk::strikes).sum::<u64>();
        self.summary.operations = disks.iter().map(crate::disk::Disk::operations).collect();
        self.summary.foreseen = disks.iter().flat_map(crate::disk::Disk::foreseen).collect();
        let effects = self.participants.iter().map(|node| node.effects);
        self.summary.effects = std::iter::once(self.coordinator.effects).chain(effects).collect();
        self.summary.trace = self.trace.finish();
        for (_, wanted) in self.ledger.iter() {
            self.summary.transactions += 1;
            match wanted.known {
                crate::clients::Known::Committed(_) => {
                    self.summary.committed += 1;
                    self.summary.interactive += u64::from(wanted.session.is_some());
                }
                crate::clients::Known::Aborted(..) => self.summary.aborted += 1,
                _ => {}
            }
        }
    }

    /// The coordinator, then the participants.
    fn hosts(&self) -> Vec<Host> {
        std::iter::once(Host::Coordinator).chain((0..self.participants.len()).map(Host::Participant)).collect()
    }

    fn names(&self) -> Vec<Name> {
        self.participants.iter().map(ParticipantNode::name).collect()
    }

    fn number_of(&self, name: &Name) -> Option<usize> {
        name.as_str().strip_prefix('p')?.parse().ok().filter(|n| *n < self.participants.len())
    }

    fn at(&mut self, after: u64, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + after, self.events), event);
    }

    fn until(&mut self, end: u64) -> Result<(), Violation> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end || self.summary.found_out.is_some() {
                break;
            }
            let ((now, number), event) = entry.remove_entry();
            self.now = now;
            if let Some(until) = self.paused(&event) {
                self.queue.insert((until, number), event);
                continue;
            }
            (now, &event).hash(&mut self.trace);
            self.say(|| format!("{event:?}"));
            self.happen(event);
            self.play();
            self.happened += 1;
            if self.happened > MOST_EVENTS {
                self.judge("liveness", Err("it goes round and round".to_owned()));
            }
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.now = end;
        Ok(())
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.narrated {
            story.push(format!("{:>10.3} ms  {}", self.now as f64 / MS as f64, line()));
        }
    }

    /// The end of a doubt that was there when all healed.
    fn doubt_ends(&mut self, n: usize, xid: Xid) {
        if let (true, Some(healed)) = (self.doubts.remove(&(n, xid)), self.healed) {
            self.summary.doubt_ended = self.now - healed;
        }
    }

    /// Takes a promise's word for it: the first one that is broken ends the run.
    fn judge(&mut self, oracle: &'static str, verdict: Result<(), String>) {
        if let Err(what) = verdict {
            let at = self.now;
            self.say(|| format!("BROKEN: {oracle}: {what}"));
            self.violation.get_or_insert(Violation { oracle, what, at });
        }
    }
}

/// More than any run has that comes to its end.
const MOST_EVENTS: u64 = 400_000;
/// How long a branch may be in doubt after the last fault (L1). Messages that were late before come meanwhile.
const L1: u64 = 5_000 * MS;
/// How long one may be that was in doubt when the last fault ended: it asks again after the cap at the latest.
const DOUBTS_END: u64 = 2 * RETRY_CAP.as_micros() as u64;
/// How long after the last fault all must be quiet.
const QUIET: u64 = 12_000 * MS;

/// A run in which a promise was broken.
#[derive(Debug)]
pub struct Failed {
    /// Which.
    pub violation: Violation,
    /// All that happened, if it was narrated.
    pub story: Vec<String>,
}
