//! The owner task: the only one that touches the machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

use handfast_common::failpoints;
use handfast_common::ids::{ContentHash, Epoch, Name, RecordNumber};
use handfast_common::messages::{Begun, BranchWork, Located, Rejection, Submit, Told};
use handfast_common::rpc::service::{
    CoordinatorServiceRequest as Request, CoordinatorServiceResponse as Response, ParticipantServiceResponse,
};
use handfast_common::rpc::{Caps, ConnectionId, Connections, Event as Wire, Listener, RequestId, Timers};
use handfast_common::storage::{Space, StorageError};
use handfast_common::watchdog::{self, Beat};

use super::peers::{HANG_UP_PAUSE, Meaning, Own, Peers};
use super::{DRAIN, Options, ServeError, fail_points};
use crate::log::{DecisionLog, Entry, LogWorker};
use crate::protocol::{Coordinator, Effect, Input, ReplyTo, Timer};

/// Everything that can happen, in one queue.
pub(super) enum Event {
    Wire(Wire<Request, Response>),
    Peer {
        name: Name,
        generation: u64,
        event: super::peers::Told,
    },
    Forced(RecordNumber),
    Fatal(StorageError),
    Space {
        room: bool,
    },
    /// Whether somebody takes from the queue: taken, it has had its effect.
    Beat(#[expect(dead_code, reason = "its drop is the answer")] Beat),
}

/// Events taken in one turn: their effects reach the log as one batch.
const TURN: usize = 512;
/// How often free space is looked at.
const SPACE_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// A timer: the machine's, or the driver's own.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Alarm {
    Machine(Timer),
    Redial(Name, String),
    DrainOver,
}

/// Which of the calls that are answered with `Told` a request was.
#[derive(Clone, Copy)]
enum Asked {
    ToSubmit,
    ToCommit,
    ToRollBack,
    Otherwise,
}

/// The open port.
pub(super) struct Listening {
    listener: Listener,
    pub(super) address: SocketAddr,
    pub(super) advertised: String,
}

impl Listening {
    pub(super) async fn bind(options: &Options) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { address: options.listen.clone(), source };
        let listener = Listener::bind(options.listen.as_str(), Caps::DEFAULTS).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let advertised = options.advertise.clone().unwrap_or_else(|| address.to_string());
        Ok(Self { listener, address, advertised })
    }
}

/// The machine and all that carries out its effects.
pub(super) struct Owner {
    machine: Coordinator,
    log: LogWorker,
    peers: Peers,
    own: Own,
    timers: Timers<Alarm>,
    inbox: UnboundedReceiver<Event>,
    /// For the listener's events.
    deliver: UnboundedSender<Event>,
    connections: Connections<Response>,
    /// Who waits for which answer.
    requests: BTreeMap<ReplyTo, (ConnectionId, RequestId, Asked)>,
    last_reply: u64,
    /// The highest sequence given out: what hellos tell clients, who make tickets of it.
    sequence: Arc<AtomicU64>,
    began: Instant,
    draining: bool,
    stopped: Option<ServeError>,
}

impl Owner {
    pub(super) fn new(
        machine: Coordinator,
        log: impl DecisionLog,
        space: Space,
        name: Name,
    ) -> Result<Self, StorageError> {
        let (deliver, inbox) = unbounded_channel();
        let (forced, fatal) = (deliver.clone(), deliver.clone());
        let log = LogWorker::spawn(
            log,
            move |number| drop(forced.send(Event::Forced(number))),
            move |error| drop(fatal.send(Event::Fatal(error))),
        )?;
        let (identity, epoch, nonce, _) = machine.standing();
        let own = Own { log: identity, epoch, nonce, name };
        watch_space(space, deliver.clone());
        let beat = deliver.clone();
        watchdog::watch("the coordinator's owner task", watchdog::beats(move |b| beat.send(Event::Beat(b)).is_ok()));
        Ok(Self {
            machine,
            log,
            peers: Peers::new(own.clone(), deliver.clone()),
            own,
            timers: Timers::new(),
            inbox,
            deliver,
            connections: Connections::new(),
            requests: BTreeMap::new(),
            last_reply: 0,
            sequence: Arc::new(AtomicU64::new(0)),
            began: Instant::now(),
            draining: false,
            stopped: None,
        })
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.own.epoch
    }

    /// Waits until the epoch is on disk. Nobody is heard before that.
    pub(super) async fn until_ready(&mut self) -> Result<(), ServeError> {
        while !self.machine.is_ready() {
            let event = self.inbox.recv().await;
            self.on_events(&mut event.into_iter().collect());
            self.check_stopped()?;
        }
        Ok(())
    }

    /// Serves until asked to end, or forced to.
    pub(super) async fn serve(
        mut self,
        listening: Listening,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let (own, sequence, deliver) = (self.own.clone(), self.sequence.clone(), self.deliver.clone());
        // A task of its own: under load this loop always has something better to do than to accept.
        let mut accepting = JoinSet::new();
        accepting.spawn(listening.listener.serve(
            move |_: &_, _| Ok(own.hello(sequence.load(Ordering::Relaxed))),
            move |event| deliver.send(Event::Wire(event)).is_ok(),
        ));
        let mut shutdown = pin!(shutdown);
        let mut drained_at = None;
        let mut events = Vec::with_capacity(TURN);
        loop {
            tokio::select! {
                biased;
                _ = self.inbox.recv_many(&mut events, TURN) => self.on_events(&mut events),
                () = self.timers.wait() => {}
                () = &mut shutdown, if !self.draining => {
                    failpoints::reach("srv3.before_drain");
                    self.draining = true;
                    drained_at = Some(Instant::now() + DRAIN);
                    self.timers.set(Alarm::DrainOver, DRAIN, false);
                }
            }
            self.on_timers();
            self.check_stopped()?;
            if let Some(latest) = drained_at
                && (self.machine.load().1 == 0 || Instant::now() >= latest)
            {
                let written = self.log.counters();
                tracing::info!(
                    transactions = self.machine.standing().3,
                    commits = written.batches(),
                    forces = written.forces(),
                    records = written.items(),
                    "drained"
                );
                return Ok(());
            }
        }
    }

    fn check_stopped(&mut self) -> Result<(), ServeError> {
        self.stopped.take().map_or(Ok(()), Err)
    }

    fn on_events(&mut self, events: &mut Vec<Event>) {
        self.machine.set_now(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
        for event in events.drain(..) {
            match event {
                Event::Wire(wire) => self.on_wire(wire),
                Event::Forced(upto) => self.take_in(Input::RecordsForced { upto }),
                Event::Space { room } => self.take_in(Input::SpaceChanged { room }),
                Event::Beat(_) => {}
                Event::Fatal(error) => self.stopped = Some(ServeError::Storage(error)),
                Event::Peer { name, generation, event } => match self.peers.understand(&name, generation, event) {
                    Meaning::Connected => self.take_in(Input::PeerConnected { name }),
                    Meaning::Disconnected => self.take_in(Input::PeerDisconnected { name }),
                    Meaning::Answered(ParticipantServiceResponse::Deliver(message)) => {
                        fail_points::heard(&message);
                        self.take_in(Input::AnswerReceived { name, message });
                    }
                    Meaning::Answered(_) | Meaning::Nothing => {}
                },
            }
        }
    }

    fn on_wire(&mut self, event: Wire<Request, Response>) {
        match event {
            Wire::Opened { connection, responder, .. } => self.connections.opened(connection, responder),
            Wire::Closed { connection } => self.connections.closed(connection),
            Wire::Request { connection, request, body, .. } => self.on_request((connection, request), body),
        }
    }

    fn on_request(&mut self, from: (ConnectionId, RequestId), body: Request) {
        let input = match body {
            Request::List { page } => {
                return self.connections.respond(from.0, from.1, Ok(Response::List(self.machine.page(&page))));
            }
            Request::Submit { .. } if self.draining => {
                let told = Told::Rejected(Rejection::Overloaded("this coordinator is shutting down".to_owned()));
                return self.connections.respond(from.0, from.1, Ok(Response::Submit(told)));
            }
            Request::Submit { request } => {
                let hash = content_hash(&request);
                Input::TransactionSubmitted { reply: self.expect_reply(from, Asked::ToSubmit), request, hash }
            }
            Request::AskOutcome { question } => {
                Input::OutcomeAsked { reply: self.expect_reply(from, Asked::Otherwise), question }
            }
            Request::Register { participant } => {
                Input::ParticipantRegistered { reply: self.expect_reply(from, Asked::Otherwise), register: participant }
            }
            Request::Inquire { inquiry } => {
                Input::DecisionInquired { reply: self.expect_reply(from, Asked::Otherwise), inquiry }
            }
            Request::Begin { .. } if self.draining => {
                let told = Told::Rejected(Rejection::Overloaded("this coordinator is shutting down".to_owned()));
                return self.connections.respond(from.0, from.1, Ok(Response::Begin(Begun::Told(told))));
            }
            Request::Begin { begin } => {
                Input::BeginRequested { reply: self.expect_reply(from, Asked::Otherwise), begin }
            }
            Request::Commit { commit } => {
                Input::CommitRequested { reply: self.expect_reply(from, Asked::ToCommit), commit }
            }
            Request::Rollback { xid } => {
                Input::RollbackRequested { reply: self.expect_reply(from, Asked::ToRollBack), xid }
            }
            Request::Enlist { enlist } => {
                Input::BranchEnlisted { reply: self.expect_reply(from, Asked::Otherwise), enlist }
            }
            Request::Locate { name } => {
                let located = Located { address: self.machine.address_of(&name), known: self.machine.some_names() };
                return self.connections.respond(from.0, from.1, Ok(Response::Locate(located)));
            }
            Request::Registry {} => {
                return self.connections.respond(from.0, from.1, Ok(Response::Registry(self.machine.registry())));
            }
            Request::OrderRegistry { order } => {
                Input::RegistryOrdered { reply: self.expect_reply(from, Asked::Otherwise), order }
            }
        };
        self.take_in(input);
    }

    fn expect_reply(&mut self, (connection, request): (ConnectionId, RequestId), asked: Asked) -> ReplyTo {
        self.last_reply += 1;
        let reply = ReplyTo(self.last_reply);
        self.requests.insert(reply, (connection, request, asked));
        reply
    }

    fn respond(&mut self, to: ReplyTo, response: impl FnOnce(Asked) -> Response) {
        if let Some((connection, request, asked)) = self.requests.remove(&to) {
            self.connections.respond(connection, request, Ok(response(asked)));
        }
    }

    pub(super) fn take_in(&mut self, input: Input) {
        let effects = self.machine.step(input);
        self.carry_out(effects);
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut disconnected = Vec::new();
        for effect in effects {
            let behind = fail_points::before(&effect);
            match effect {
                Effect::Reply { to, told } => self.respond(to, |asked| match asked {
                    Asked::ToSubmit => Response::Submit(told),
                    Asked::ToCommit => Response::Commit(told),
                    Asked::ToRollBack => Response::Rollback(told),
                    Asked::Otherwise => Response::AskOutcome(told),
                }),
                Effect::ReplyBegun { to, begun } => self.respond(to, |_| Response::Begin(begun)),
                Effect::ReplyEnlisted { to, answer } => self.respond(to, |_| Response::Enlist(answer)),
                Effect::ReplyRegistry { to, answer } => self.respond(to, |_| Response::OrderRegistry(answer)),
                Effect::Say { line } => tracing::warn!("{line}"),
                Effect::ReplyRegistered { to, answer } => self.respond(to, |_| Response::Register(answer)),
                Effect::ReplyInquiry { to, answer } => self.respond(to, |_| Response::Inquire(answer)),
                Effect::Send { to, message } => self.peers.send(&to, message),
                Effect::Append { number, record, erase, force } => {
                    self.log.append(Entry { number, record, erase }, force);
                }
                Effect::SetTimer { timer, after, jitter } => self.timers.set(Alarm::Machine(timer), after, jitter),
                Effect::Dial { name, address } => {
                    if self.peers.dial(name.clone(), address) {
                        disconnected.push(name);
                    }
                }
                Effect::HangUp { name, why } => {
                    tracing::warn!(%name, why, "hung up");
                    if let Some(address) = self.peers.hang_up(&name) {
                        self.timers.set(Alarm::Redial(name.clone(), address), HANG_UP_PAUSE, true);
                        disconnected.push(name);
                    }
                }
                Effect::Forget { name } => drop(self.peers.hang_up(&name)),
                Effect::Stop { why } => self.stopped = Some(ServeError::Integrity(why)),
            }
            fail_points::after(behind);
        }
        self.sequence.store(self.machine.standing().3, Ordering::Relaxed);
        for name in disconnected {
            self.take_in(Input::PeerDisconnected { name });
        }
    }

    fn on_timers(&mut self) {
        let now = Instant::now();
        while let Some(alarm) = self.timers.due(now) {
            match alarm {
                Alarm::Machine(timer) => self.take_in(Input::TimerFired(timer)),
                Alarm::Redial(name, address) => {
                    // Unless it has registered from elsewhere meanwhile, or an operator has removed it.
                    if !self.peers.is_dialled(&name) && self.machine.address_of(&name).is_some() {
                        self.peers.dial(name, address);
                    }
                }
                Alarm::DrainOver => {}
            }
        }
    }
}

/// Looks at the free space from a thread of its own (taking the ballast back means waiting for the disk), and tells.
fn watch_space(space: Space, deliver: UnboundedSender<Event>) {
    let watch = move || {
        while deliver.send(Event::Space { room: space.refresh() }).is_ok() {
            std::thread::sleep(SPACE_EVERY);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("disk-space".to_owned()).spawn(watch) {
        tracing::error!(%error, "free disk space is not being watched");
    }
}

/// What a key stands for: its branches, whatever else a resend may carry.
fn content_hash(request: &Submit) -> ContentHash {
    let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * request.branches.len());
    for BranchWork { participant, work } in &request.branches {
        parts.push(participant.as_str().as_bytes());
        parts.push(&work.0);
    }
    ContentHash::of(&parts)
}
