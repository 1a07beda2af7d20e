//! The owner task: the only one that touches the machine.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tarpc::ServerError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::Instant;

use handfast_common::failpoints;
use handfast_common::ids::LogId;
use handfast_common::limits::REGISTER_EVERY;
use handfast_common::messages::{
    Enlist, Executed, FromParticipant, Identity, Inquiry, PeerInquiry, PeerTold, Register, Registered,
};
use handfast_common::outcome::Vote;
use handfast_common::rpc::service::{
    CoordinatorServiceResponse, ParticipantServiceRequest as Request, ParticipantServiceResponse as Response,
};
use handfast_common::rpc::{
    ConnectionId, Connections, Event as Wire, Hello, Listener, RequestId, Role, Timers, Versions,
};
use handfast_common::storage::StorageError;
use handfast_common::watchdog::{self, Beat};

use super::links::{Call, Links, Told};
use super::listing::{self, Doubts};
use super::peers::{self, Peers};
use super::{ServeError, fail_points};
use crate::protocol::{Config, Effect, Input, Participant, ReplyTo, Timer};
use crate::resource::{Committed, ParticipantLog, ResourceManager, Work};

/// Everything that can happen, in one queue.
pub(super) enum Event {
    Wire(Wire<Request, Response>),
    Link {
        address: String,
        event: Told,
    },
    Peer {
        address: String,
        event: peers::Told,
    },
    Fatal(StorageError),
    /// Whether somebody takes from the queue: taken, it has had its effect.
    Beat(#[expect(dead_code, reason = "its drop is the answer")] Beat),
}

/// Both ends of it.
pub(super) type Queue = (UnboundedSender<Event>, UnboundedReceiver<Event>);

/// Events taken in one turn: their records reach the log as one batch.
const TURN: usize = 512;

/// A timer: the machine's, or the driver's own.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Alarm {
    Machine(Timer),
    Register,
}

/// A resource manager's work on its way; it ends as the fact that it is done.
type Doing = Pin<Box<dyn Future<Output = Input>>>;

/// The machine and all that carries out its effects.
pub(super) struct Owner<R> {
    machine: Participant,
    store: R,
    config: Config,
    advertised: String,
    links: Links,
    peers: Peers,
    /// The wire's names of coordinators, by connection: when it closes, branches in doubt may ask.
    coordinators: BTreeMap<ConnectionId, LogId>,
    timers: Timers<Alarm>,
    inbox: UnboundedReceiver<Event>,
    deliver: UnboundedSender<Event>,
    connections: Connections<Response>,
    requests: BTreeMap<ReplyTo, (ConnectionId, RequestId)>,
    last_reply: u64,
    doing: FuturesUnordered<Doing>,
    /// Facts that came about while effects were being carried out.
    facts: VecDeque<Input>,
    /// For listings.
    doubts: Doubts,
    /// What a coordinator last refused us for, so that it is said once.
    refused: BTreeMap<String, String>,
    stopped: Option<ServeError>,
}

impl<R: ResourceManager + ParticipantLog> Owner<R> {
    pub(super) fn new(
        machine: Participant,
        store: R,
        config: Config,
        advertised: String,
        (deliver, inbox): Queue,
    ) -> Self {
        let mut doubts = Doubts::default();
        for branch in machine.branches().filter(|branch| branch.state == "in-doubt") {
            doubts.begins(branch.xid);
        }
        let beat = deliver.clone();
        let watched = format!("the owner task of participant {}", config.name);
        watchdog::watch(&watched, watchdog::beats(move |b| beat.send(Event::Beat(b)).is_ok()));
        let mut timers = Timers::new();
        timers.set(Alarm::Register, REGISTER_EVERY, true);
        Self {
            machine,
            store,
            links: Links::new(hello(&config), deliver.clone()),
            peers: Peers::new(hello(&config), deliver.clone()),
            config,
            advertised,
            coordinators: BTreeMap::new(),
            timers,
            inbox,
            deliver,
            connections: Connections::new(),
            requests: BTreeMap::new(),
            last_reply: 0,
            doing: FuturesUnordered::new(),
            facts: VecDeque::new(),
            doubts,
            refused: BTreeMap::new(),
            stopped: None,
        }
    }

    /// Registers with a coordinator from now on.
    pub(super) fn keep_link(&mut self, address: &str) {
        self.links.keep(address, true);
    }

    /// Serves until asked to end, or forced to. Nothing has to be finished for that: a kill is as safe.
    pub(super) async fn serve(
        mut self,
        listener: Listener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let (hello, deliver) = (hello(&self.config), self.deliver.clone());
        // A task of its own: under load this loop always has something better to do than to accept.
        let mut accepting = JoinSet::new();
        accepting.spawn(
            listener.serve(move |_: &_, _| Ok(hello.clone()), move |event| deliver.send(Event::Wire(event)).is_ok()),
        );
        let store = self.store.clone();
        let mut background = pin!(store.run());
        let mut shutdown = pin!(shutdown);
        let mut events = Vec::with_capacity(TURN);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                // First what is durable, for somebody waits for it; then what is new.
                () = &mut background => {}
                Some(fact) = self.doing.next(), if !self.doing.is_empty() => self.on_done(fact),
                _ = self.inbox.recv_many(&mut events, TURN) => self.on_events(&mut events),
                () = self.timers.wait() => {}
            }
            self.on_timers();
            self.on_facts();
            if let Some(error) = self.stopped.take() {
                return Err(error);
            }
        }
    }

    /// A batch on disk ends many branches at once: all of them are taken in one turn.
    fn on_done(&mut self, fact: Input) {
        self.facts.push_back(fact);
        while let Some(Some(fact)) = self.doing.next().now_or_never() {
            self.facts.push_back(fact);
        }
    }

    /// Who speaks, as of now.
    fn identity(&self) -> Identity {
        Identity {
            name: self.config.name.clone(),
            store: self.config.store,
            incarnation: self.config.incarnation,
            sequence: self.store.sequence(),
            clock: self.machine.clock(),
        }
    }

    fn on_events(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Wire(wire) => self.on_wire(wire),
                Event::Link { address, event } => self.on_link(&address, event),
                Event::Peer { address, event } => {
                    if let Some((xid, PeerTold { from, answer })) = self.peers.on_event(&address, event) {
                        self.facts.push_back(Input::PeerAnswered { xid, from, answer });
                    }
                }
                Event::Beat(_) => {}
                Event::Fatal(error) => self.stopped = Some(ServeError::Storage(error)),
            }
        }
    }

    fn on_wire(&mut self, event: Wire<Request, Response>) {
        match event {
            Wire::Opened { connection, responder, peer, .. } => {
                self.connections.opened(connection, responder);
                if peer.role == Role::Coordinator {
                    self.coordinators.insert(connection, LogId(peer.identity));
                }
            }
            Wire::Closed { connection } => {
                self.connections.closed(connection);
                if let Some(log) = self.coordinators.remove(&connection) {
                    self.facts.push_back(Input::CoordinatorLost { log });
                }
            }
            Wire::Request { connection, request, body, .. } => match body {
                Request::Deliver { message } => {
                    let reply = self.expect_reply(connection, request);
                    self.facts.push_back(Input::OrderReceived { reply, message });
                }
                Request::Execute { execute } => {
                    let reply = self.expect_reply(connection, request);
                    self.facts.push_back(Input::OperationReceived { reply, execute });
                }
                Request::AskPeer { inquiry } => {
                    let reply = self.expect_reply(connection, request);
                    self.facts.push_back(Input::PeerInquired { reply, inquiry });
                }
                Request::List { page } => {
                    let answer = Response::List(listing::page(&self.machine, &self.config.name, &self.doubts, &page));
                    self.connections.respond(connection, request, Ok(answer));
                }
                Request::Values { question } => {
                    let answer = self.store.values(&question).map(Response::Values);
                    let answer = answer.map_err(|why| ServerError::new(std::io::ErrorKind::Unsupported, why));
                    self.connections.respond(connection, request, answer);
                }
            },
        }
    }

    fn expect_reply(&mut self, connection: ConnectionId, request: RequestId) -> ReplyTo {
        self.last_reply += 1;
        let reply = ReplyTo(self.last_reply);
        self.requests.insert(reply, (connection, request));
        reply
    }

    fn respond(&mut self, to: ReplyTo, response: impl FnOnce(Identity) -> Response) {
        if let Some((connection, request)) = self.requests.remove(&to) {
            self.connections.respond(connection, request, Ok(response(self.identity())));
        }
    }

    fn on_link(&mut self, address: &str, event: Told) {
        match event {
            Told::Connected { hello } if hello.role == Role::Coordinator => {
                let log = LogId(hello.identity);
                if self.links.connected(address, log) {
                    self.register(address);
                }
                self.facts.push_back(Input::CoordinatorLost { log });
            }
            Told::Connected { hello } => tracing::warn!(address, role = ?hello.role, "no coordinator answers there"),
            Told::Disconnected { why } => {
                tracing::info!(address, why, "connection to the coordinator lost");
                if let Some(log) = self.links.disconnected(address) {
                    self.facts.push_back(Input::CoordinatorLost { log });
                }
            }
            Told::Unreachable { why } => {
                tracing::info!(address, %why, "coordinator not reachable");
                self.facts
                    .extend(self.links.unreachable(address).into_iter().map(|log| Input::CoordinatorLost { log }));
            }
            Told::Answered { response, tag } => self.on_answer(address, tag, response),
            Told::Failed { why, .. } => tracing::debug!(address, %why, "a call to the coordinator failed"),
        }
    }

    fn on_answer(&mut self, address: &str, call: Call, response: CoordinatorServiceResponse) {
        match (call, response) {
            (Call::Register, CoordinatorServiceResponse::Register(Registered::Welcome(stamp))) => {
                if self.refused.remove(address).is_some() {
                    tracing::info!(address, "registered after all");
                }
                self.facts.push_back(Input::StampReceived(stamp));
            }
            (Call::Register, CoordinatorServiceResponse::Register(Registered::Refused(why))) => {
                if self.refused.get(address) != Some(&why) {
                    tracing::error!(address, why, "the coordinator refuses this participant");
                    self.refused.insert(address.to_owned(), why);
                }
            }
            (Call::Inquire(xid), CoordinatorServiceResponse::Inquire(answer)) => {
                failpoints::reach("kv8.after_answer");
                self.facts.push_back(Input::InquiryAnswered { xid, answer });
            }
            (Call::Enlist(xid), CoordinatorServiceResponse::Enlist(answer)) => {
                self.facts.push_back(Input::EnlistAnswered { xid, answer });
            }
            (call, _) => tracing::warn!(address, ?call, "an answer to another question"),
        }
    }

    fn register(&self, address: &str) {
        let seen = self.links.log_at(address).and_then(|log| self.machine.seen(log));
        self.links.register(address, Register { from: self.identity(), address: self.advertised.clone(), seen });
    }

    fn on_timers(&mut self) {
        let now = Instant::now();
        while let Some(alarm) = self.timers.due(now) {
            match alarm {
                Alarm::Machine(timer) => self.facts.push_back(Input::TimerFired(timer)),
                Alarm::Register => {
                    for address in self.links.registering() {
                        self.register(&address);
                    }
                    self.peers.tidy();
                    self.timers.set(Alarm::Register, REGISTER_EVERY, true);
                }
            }
        }
    }

    /// Takes in facts until no more come of them.
    fn on_facts(&mut self) {
        while let Some(fact) = self.facts.pop_front() {
            match &fact {
                Input::WorkPrepared { xid, vote: Vote::Yes(_) } => self.doubts.begins(*xid),
                Input::BranchCommitted { xid, .. } | Input::BranchAborted { xid } => self.doubts.ends(*xid),
                _ => {}
            }
            let effects = self.machine.step(fact);
            self.carry_out(effects);
        }
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            fail_points::before(&effect);
            match effect {
                Effect::Reply { to, answer } => {
                    self.respond(to, |from| Response::Deliver(FromParticipant { from, answer }));
                }
                Effect::ReplyExecuted { to, result } => {
                    self.respond(to, |from| Response::Execute(Executed { from, result }));
                }
                Effect::ReplyPeer { to, answer } => {
                    self.respond(to, |from| Response::AskPeer(PeerTold { from, answer }));
                }
                Effect::Execute { xid, age, work } => {
                    let work = Work { xid, age, payload: Some(work) };
                    self.start(
                        |store| async move { Input::OperationEnded { xid, execution: store.execute(work).await } },
                    );
                }
                Effect::Enlist { xid, coordinator, active } => {
                    let enlist = Enlist { from: self.identity(), xid, active };
                    self.links.enlist(xid, &coordinator, enlist);
                }
                Effect::InquirePeer { xid, member } => {
                    let inquiry = PeerInquiry { from: self.identity(), to: member.who, xid };
                    self.peers.inquire(&member.address, inquiry);
                }
                Effect::Say { xid: Some(xid), line } => tracing::warn!(txn = %xid.txn, "{line}"),
                Effect::Say { xid: None, line } => tracing::warn!("{line}"),
                Effect::Prepare { age, record, work } => {
                    let xid = record.xid;
                    let work = Work { xid, age, payload: work };
                    self.start(
                        |store| async move { Input::WorkPrepared { xid, vote: store.prepare(work, record).await } },
                    );
                }
                Effect::CommitOnePhase { xid, age, key, hash, work } => {
                    let work = Work { xid, age, payload: work };
                    self.start(|store| async move {
                        Input::OnePhaseEnded { xid, result: store.commit_one_phase(work, key, hash).await }
                    });
                }
                Effect::Cancel { xid, reason } => self.store.cancel(xid, reason),
                Effect::Commit { xid } => self.start(|store| async move {
                    Input::BranchCommitted { xid, found: store.commit(xid).await == Committed::Done }
                }),
                Effect::Abort { xid } => self.start(|store| async move {
                    store.abort(xid).await;
                    Input::BranchAborted { xid }
                }),
                Effect::Release { xid } => self.store.release(xid),
                Effect::ForceLine(line) => self.start(|store| async move {
                    let log = line.log;
                    store.force(line).await;
                    Input::LineForced { log }
                }),
                Effect::NoteLine(line) => self.store.note(line),
                Effect::Inquire { xid, coordinator, members } => {
                    let inquiry = Inquiry { from: self.identity(), xid, members };
                    if self.links.inquire(xid, &coordinator, inquiry) {
                        self.facts.push_back(Input::CoordinatorLost { log: xid.log });
                    }
                }
                Effect::SetTimer { timer, after, jitter } => self.timers.set(Alarm::Machine(timer), after, jitter),
                Effect::Stop { why } => self.stopped = Some(ServeError::Integrity(why)),
            }
        }
    }

    /// Begins something at the resource manager, now: the order of effects is the order in which it hears of them.
    fn start<F: Future<Output = Input> + 'static>(&mut self, begin: impl FnOnce(R) -> F) {
        let mut doing: Doing = Box::pin(begin(self.store.clone()));
        match doing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(fact) => self.facts.push_back(fact),
            // Polled again by the loop, which leaves its own waker.
            Poll::Pending => self.doing.push(doing),
        }
    }
}

/// How this participant begins every connection.
fn hello(config: &Config) -> Hello {
    Hello {
        versions: Versions::OWN,
        role: Role::Participant,
        identity: config.store.0,
        epoch: 0,
        nonce: config.incarnation.0,
        sequence: 0,
        name: Some(config.name.clone()),
    }
}
