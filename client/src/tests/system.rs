//! A coordinator and participants on the real wire that keep the rules of interactive transactions in the simplest way,
//! save where a test's script says otherwise.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handfast_common::codec;
use handfast_common::ids::{Age, Incarnation, Key, LogId, Name, StoreId, Xid};
use handfast_common::messages::{
    Begin, Begun, Commit, Execute, ExecuteResult, Executed, Identity, Located, Micros, OperationId, Told,
};
use handfast_common::operation::{Operation, Read, Value};
use handfast_common::outcome::{Outcome as Wire, Payload, Reason, ReasonKind};
use handfast_common::rpc::service::{
    CoordinatorServiceResponse as Response, ParticipantServiceRequest, ParticipantServiceResponse,
};
use handfast_common::rpc::{Caps, Connections, Event, Hello, Listener, Role};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::fake::{Act, Asked, Fake, hello, txn};
use super::{SOON, name};
use crate::{Client, Options, Tx};

/// A coordinator with the participants `a` and `b`.
pub(super) struct System {
    pub(super) coordinator: Fake,
    pub(super) a: FakeParticipant,
    pub(super) b: FakeParticipant,
    state: Arc<Mutex<State>>,
}

/// What the coordinator knows.
#[derive(Default)]
pub(super) struct State {
    log: Option<LogId>,
    begun: u64,
    open: BTreeMap<Xid, Key>,
    ended: BTreeMap<Key, Wire>,
    places: BTreeMap<Name, String>,
}

/// A participant whose results are kept by operation.
pub(super) struct FakeParticipant {
    pub(super) address: String,
    executed: Arc<Mutex<Vec<Execute>>>,
    identity: Arc<Mutex<Identity>>,
    tasks: [JoinHandle<()>; 2],
}

/// What a script makes of an operation.
pub(super) enum Run {
    /// As it should be.
    Rightly,
    Answer(ExecuteResult),
    Nothing,
    /// Carries it out; the answer is lost with the connection.
    LoseAnswer,
    /// Carries it out as another start.
    Restarted,
}

/// What a script makes of a coordinator's request.
pub(super) enum Do {
    /// As it should be.
    Rightly,
    Act(Act),
    /// Takes it in; the answer is lost with the connection.
    LoseAnswer,
}

impl System {
    pub(super) async fn start() -> Self {
        Self::scripted(|_, _| Do::Rightly, |_, _| Run::Rightly).await
    }

    /// The scripts see how many requests came before; the second one is participant `a`'s.
    pub(super) async fn scripted(
        coordinator: impl FnMut(usize, &Asked) -> Do + Send + 'static,
        a: impl FnMut(usize, &Execute) -> Run + Send + 'static,
    ) -> Self {
        Self::with(hello(), coordinator, a).await
    }

    pub(super) async fn with(
        hello: Hello,
        mut coordinator: impl FnMut(usize, &Asked) -> Do + Send + 'static,
        a: impl FnMut(usize, &Execute) -> Run + Send + 'static,
    ) -> Self {
        let a = FakeParticipant::start("a", a).await;
        let b = FakeParticipant::start("b", |_, _| Run::Rightly).await;
        let state = Arc::new(Mutex::new(State { log: Some(LogId(hello.identity)), ..State::default() }));
        let places = [("a", &a), ("b", &b)].map(|(text, participant)| (name(text), participant.address.clone()));
        state.lock().expect("whole").places.extend(places);
        let machine = Arc::clone(&state);
        let script = move |before: usize, asked: &Asked| {
            let todo = coordinator(before, asked);
            if let Do::Act(act) = todo {
                return act;
            }
            let act = machine.lock().expect("whole").take(asked);
            if matches!(todo, Do::LoseAnswer) { Act::HangUp } else { act }
        };
        let coordinator = Fake::with(hello, Caps::DEFAULTS, script).await;
        Self { coordinator, a, b, state }
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(Options::new([self.coordinator.address.clone()])).expect("an address")
    }

    pub(super) async fn begin(&self) -> Tx {
        self.client().begin(SOON).await.expect("open")
    }

    pub(super) fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("whole"))
    }

    pub(super) fn open(&self) -> usize {
        self.state(|state| state.open.len())
    }

    /// How many have ended so.
    pub(super) fn ended(&self, how: impl Fn(&Wire) -> bool) -> usize {
        self.state(|state| state.ended.values().filter(|outcome| how(outcome)).count())
    }

    pub(super) fn committed(&self) -> usize {
        self.ended(|outcome| matches!(outcome, Wire::Committed(_)))
    }

    pub(super) fn rolled_back(&self) -> usize {
        self.ended(|outcome| matches!(outcome, Wire::Aborted(reason) if reason.kind == ReasonKind::RolledBack))
    }

    /// Waits until nothing is open any more.
    pub(super) async fn until_nothing_is_open(&self) {
        let waiting = async {
            while self.open() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, waiting).await.expect("nothing stays open");
    }

    pub(super) fn begins(&self) -> Vec<Begin> {
        let begin = |asked| if let Asked::Begin(begin) = asked { Some(begin) } else { None };
        self.coordinator.asked().into_iter().filter_map(begin).collect()
    }

    pub(super) fn commits(&self) -> Vec<Commit> {
        let commit = |asked| if let Asked::Commit(commit) = asked { Some(commit) } else { None };
        self.coordinator.asked().into_iter().filter_map(commit).collect()
    }

    pub(super) fn asked(&self, what: impl Fn(&Asked) -> bool) -> usize {
        self.coordinator.asked().iter().filter(|asked| what(asked)).count()
    }
}

impl State {
    pub(super) fn move_participant(&mut self, name: Name, address: String) {
        self.places.insert(name, address);
    }

    /// What a coordinator would answer.
    fn take(&mut self, asked: &Asked) -> Act {
        match asked {
            Asked::Begin(begin) => self.begin(begin),
            Asked::Commit(commit) => self.end(commit.xid, Wire::Committed(Vec::new())),
            Asked::Rollback(xid) => self.end(*xid, aborted(ReasonKind::RolledBack)),
            Asked::Outcome(question) => {
                let open = self.open.iter().find(|(_, key)| **key == question.key).map(|(xid, _)| *xid);
                match open {
                    Some(xid) if question.ticket.is_some() => self.end(xid, aborted(ReasonKind::Fenced)),
                    Some(xid) => Act::Tell(Told::Pending { txn: Some(xid.txn) }),
                    None => {
                        let fenced = || aborted(ReasonKind::Fenced);
                        let outcome = self.ended.entry(question.key).or_insert_with(fenced).clone();
                        Act::Tell(Told::Outcome { txn: None, age: Age(7), outcome })
                    }
                }
            }
            Asked::Locate(name) => {
                let (address, known) = (self.places.get(name).cloned(), self.places.keys().cloned().collect());
                Act::Respond(Response::Locate(Located { address, known }))
            }
            other => panic!("no script for {other:?}"),
        }
    }

    fn begin(&mut self, begin: &Begin) -> Act {
        if let Some(outcome) = self.ended.get(&begin.key) {
            return Act::Tell(Told::Outcome { txn: None, age: Age(7), outcome: outcome.clone() });
        }
        let known = self.open.iter().find(|(_, key)| **key == begin.key).map(|(xid, _)| *xid);
        let xid = known.unwrap_or_else(|| {
            self.begun += 1;
            let (txn, log) = (txn(100 + self.begun), self.log.expect("set"));
            let xid = Xid { log, txn, nonce: begin.ticket.nonce };
            self.open.insert(xid, begin.key);
            xid
        });
        let age = begin.age.unwrap_or(Age(50 + self.begun));
        Act::Respond(Response::Begin(Begun::Open { xid, age, total: Micros::from(Duration::from_secs(60)) }))
    }

    fn end(&mut self, xid: Xid, outcome: Wire) -> Act {
        let Some(key) = self.open.remove(&xid) else {
            let outcome = aborted(ReasonKind::RolledBack);
            return Act::Tell(Told::Outcome { txn: Some(xid.txn), age: Age(7), outcome });
        };
        self.ended.insert(key, outcome.clone());
        Act::Tell(Told::Outcome { txn: Some(xid.txn), age: Age(7), outcome })
    }
}

impl FakeParticipant {
    pub(super) async fn start(text: &str, script: impl FnMut(usize, &Execute) -> Run + Send + 'static) -> Self {
        let listener = Listener::bind("127.0.0.1:0", Caps::DEFAULTS).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (events, inbox) = mpsc::unbounded_channel();
        let (name, store) = (name(text), StoreId(Uuid::from_u128(9)));
        let identity = Identity { name, store, incarnation: Incarnation(1), sequence: 0, clock: Age(300) };
        let welcome = move |_: &Hello, _: SocketAddr| Ok(Hello { role: Role::Participant, ..hello() });
        let serving = listener.serve(welcome, move |event| events.send(event).is_ok());
        let (executed, identity) = (Arc::default(), Arc::new(Mutex::new(identity)));
        let owner = own(inbox, Arc::clone(&executed), Arc::clone(&identity), script);
        Self { address, executed, identity, tasks: [tokio::spawn(serving), tokio::spawn(owner)] }
    }

    /// All copies that arrived.
    pub(super) fn executed(&self) -> Vec<Execute> {
        self.executed.lock().expect("whole").clone()
    }

    pub(super) fn call_it(&self, name: Name) {
        self.identity.lock().expect("whole").name = name;
    }
}

impl Drop for FakeParticipant {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(super) fn reason(kind: ReasonKind) -> Reason {
    Reason::new(kind, "")
}

pub(super) fn aborted(kind: ReasonKind) -> Wire {
    Wire::Aborted(reason(kind))
}

/// Every `get` reads 7.
fn result_of(work: &Payload) -> ExecuteResult {
    let operations: Vec<Operation> = codec::decode(&work.0).expect("operations");
    let reads: Vec<Read> = operations
        .iter()
        .filter(|operation| matches!(operation, Operation::Get(_)))
        .map(|operation| Read { key: operation.key().into(), value: Some(Value::Integer(7)) })
        .collect();
    let reads = if reads.is_empty() { Vec::new() } else { codec::encode(&reads).expect("small") };
    ExecuteResult::Done(Payload(reads))
}

async fn own(
    mut inbox: mpsc::UnboundedReceiver<Event<ParticipantServiceRequest, ParticipantServiceResponse>>,
    seen: Arc<Mutex<Vec<Execute>>>,
    identity: Arc<Mutex<Identity>>,
    mut script: impl FnMut(usize, &Execute) -> Run,
) {
    let mut connections = Connections::new();
    let mut kept: BTreeMap<(Xid, OperationId), ExecuteResult> = BTreeMap::new();
    while let Some(event) = inbox.recv().await {
        let (connection, number, execute) = match event {
            Event::Opened { connection, responder, .. } => {
                connections.opened(connection, responder);
                continue;
            }
            Event::Closed { connection } => {
                connections.closed(connection);
                continue;
            }
            Event::Request { connection, request, body: ParticipantServiceRequest::Execute { execute }, .. } => {
                (connection, request, execute)
            }
            Event::Request { body, .. } => panic!("no script for {body:?}"),
        };
        let before = seen.lock().expect("whole").len();
        let run = script(before, &execute);
        seen.lock().expect("whole").push(execute.clone());
        let mut from = identity.lock().expect("whole").clone();
        let result = match &run {
            Run::Nothing => continue,
            Run::Answer(result) => result.clone(),
            Run::Rightly | Run::LoseAnswer | Run::Restarted if from.name != execute.to => ExecuteResult::WrongAddressee,
            Run::Rightly | Run::LoseAnswer | Run::Restarted => {
                kept.entry((execute.xid, execute.operation)).or_insert_with(|| result_of(&execute.work)).clone()
            }
        };
        match run {
            Run::LoseAnswer => connections.closed(connection),
            Run::Restarted => from.incarnation.0 += 1,
            _ => {}
        }
        let executed = Executed { from, result };
        connections.respond(connection, number, Ok(ParticipantServiceResponse::Execute(executed)));
    }
}
