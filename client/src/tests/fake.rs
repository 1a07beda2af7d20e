//! A coordinator on the real wire whose owner task follows a script.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use handfast_common::ids::{Epoch, LogId, Name, Nonce, Ticket, TxnId, Xid};
use handfast_common::messages::{AskOutcome, Begin, Begun, Commit, RegistryOrder, Submit, Told};
use handfast_common::rpc::service::{CoordinatorServiceRequest as Request, CoordinatorServiceResponse as Response};
use handfast_common::rpc::{Caps, Connections, Event, Hello, Listener, Role};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub(super) const LOG: LogId = LogId(Uuid::from_u128(77));
const NONCE: Nonce = Nonce(4);

/// What was asked.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Asked {
    Submit(Submit),
    Outcome(AskOutcome),
    Begin(Begin),
    Commit(Commit),
    Rollback(Xid),
    Locate(Name),
    Registry,
    Order(RegistryOrder),
}

/// What the script does about it.
pub(super) enum Act {
    Tell(Told),
    Respond(Response),
    Nothing,
    HangUp,
    /// Hangs up and comes back in another epoch.
    Restart(u64),
}

pub(super) struct Fake {
    pub(super) address: String,
    hello: Arc<Mutex<Hello>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(super) fn hello() -> Hello {
    let mut hello = Hello::client();
    (hello.role, hello.identity) = (Role::Coordinator, LOG.0);
    (hello.epoch, hello.nonce, hello.sequence) = (3, NONCE.0, 100);
    hello
}

pub(super) fn txn(sequence: u64) -> TxnId {
    TxnId::new(LOG, Epoch(3), sequence, NONCE)
}

pub(super) fn ticket(epoch: u64, sequence: u64) -> Ticket {
    Ticket { log: LOG, epoch: Epoch(epoch), nonce: NONCE, sequence }
}

impl Fake {
    /// Follows `script`, which sees how many requests came before.
    pub(super) async fn start(script: impl FnMut(usize, &Asked) -> Act + Send + 'static) -> Self {
        Self::with(hello(), Caps::DEFAULTS, script).await
    }

    pub(super) async fn with(
        hello: Hello,
        caps: Caps,
        script: impl FnMut(usize, &Asked) -> Act + Send + 'static,
    ) -> Self {
        let listener = Listener::bind("127.0.0.1:0", caps).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (events, inbox) = mpsc::unbounded_channel();
        let hello = Arc::new(Mutex::new(hello));
        let greeting = Arc::clone(&hello);
        let welcome = move |_: &Hello, _: SocketAddr| Ok(greeting.lock().expect("whole").clone());
        let serving = listener.serve(welcome, move |event| events.send(event).is_ok());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let owner = own(inbox, Arc::clone(&asked), Arc::clone(&hello), script);
        Self { address, hello, asked, tasks: [tokio::spawn(serving), tokio::spawn(owner)] }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("whole").clone()
    }

    pub(super) fn submits(&self) -> Vec<Submit> {
        let submit = |asked| match asked {
            Asked::Submit(submit) => Some(submit),
            _ => None,
        };
        self.asked().into_iter().filter_map(submit).collect()
    }

    pub(super) fn questions(&self) -> Vec<AskOutcome> {
        let question = |asked| match asked {
            Asked::Outcome(question) => Some(question),
            _ => None,
        };
        self.asked().into_iter().filter_map(question).collect()
    }

    pub(super) fn change_hello(&self, change: impl FnOnce(&mut Hello)) {
        change(&mut self.hello.lock().expect("whole"));
    }
}

async fn own(
    mut inbox: mpsc::UnboundedReceiver<Event<Request, Response>>,
    seen: Arc<Mutex<Vec<Asked>>>,
    hello: Arc<Mutex<Hello>>,
    mut script: impl FnMut(usize, &Asked) -> Act,
) {
    let mut connections = Connections::new();
    while let Some(event) = inbox.recv().await {
        let (connection, number, body) = match event {
            Event::Opened { connection, responder, .. } => {
                connections.opened(connection, responder);
                continue;
            }
            Event::Closed { connection } => {
                connections.closed(connection);
                continue;
            }
            Event::Request { connection, request, body, .. } => (connection, request, body),
        };
        let asked = match body {
            Request::Submit { request } => Asked::Submit(request),
            Request::AskOutcome { question } => Asked::Outcome(question),
            Request::Begin { begin } => Asked::Begin(begin),
            Request::Commit { commit } => Asked::Commit(commit),
            Request::Rollback { xid } => Asked::Rollback(xid),
            Request::Locate { name } => Asked::Locate(name),
            Request::Registry {} => Asked::Registry,
            Request::OrderRegistry { order } => Asked::Order(order),
            other => panic!("no script for {other:?}"),
        };
        let before = seen.lock().expect("whole").len();
        let act = script(before, &asked);
        let tell: fn(Told) -> Response = match asked {
            Asked::Submit(_) => Response::Submit,
            Asked::Commit(_) => Response::Commit,
            Asked::Rollback(_) => Response::Rollback,
            Asked::Outcome(_) => Response::AskOutcome,
            Asked::Begin(_) => |told| Response::Begin(Begun::Told(told)),
            Asked::Locate(_) | Asked::Registry | Asked::Order(_) => |told| panic!("no answer: {told:?}"),
        };
        seen.lock().expect("whole").push(asked);
        match act {
            Act::Tell(told) => connections.respond(connection, number, Ok(tell(told))),
            Act::Respond(response) => connections.respond(connection, number, Ok(response)),
            Act::Nothing => {}
            Act::HangUp => connections.closed(connection),
            Act::Restart(epoch) => {
                hello.lock().expect("whole").epoch = epoch;
                connections.closed(connection);
            }
        }
    }
}
