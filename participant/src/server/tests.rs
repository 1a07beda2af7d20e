//! The participant's links over real sockets, and several participants in one process.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::timeout;

use handfast_common::ids::{Age, Epoch, LogId, Nonce, StoreId, TxnId, Xid};
use handfast_common::messages::{
    Addressee, Answer, Identity, Inquiry, Mark, Member, Micros, Order, PeerAnswer, PeerInquiry, PeerTold, Prepare,
    Stamp, Task, ToParticipant, Unsaid,
};
use handfast_common::operation::{Operation, Put, Value};
use handfast_common::outcome::Vote;
use handfast_common::rpc::service::{
    CoordinatorServiceRequest, CoordinatorServiceResponse, ParticipantServiceRequest as Request,
    ParticipantServiceResponse as Response,
};
use handfast_common::rpc::{Connection, Connections, Event as Wire, Hello, Role, Versions};

use super::links::Links;
use super::owner::Event;
use super::peers::Peers;
use super::*;

const LOG: LogId = LogId(Uuid::from_u128(0xC0));
const NONCE: Nonce = Nonce(7);
/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";

fn xid(n: u64) -> Xid {
    Xid { log: LOG, txn: TxnId::new(LOG, Epoch(1), n, NONCE), nonce: NONCE }
}

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn addressee(who: &str) -> Addressee {
    Addressee { name: name(who), store: StoreId(Uuid::from_u128(1)), incarnation: Incarnation(2) }
}

fn identity(who: &str) -> Identity {
    let Addressee { name, store, incarnation } = addressee(who);
    Identity { name, store, incarnation, sequence: 0, clock: Age::default() }
}

fn question(n: u64) -> PeerInquiry {
    PeerInquiry { from: identity("a"), to: addressee("b"), xid: xid(n) }
}

fn hello(role: Role) -> Hello {
    let identity = if role == Role::Coordinator { LOG.0 } else { Uuid::from_u128(1) };
    Hello { versions: Versions::OWN, role, identity, epoch: 1, nonce: NONCE.0, sequence: 0, name: None }
}

/// What comes in at a port that `role` listens on.
async fn listening<Req, Resp>(role: Role) -> (String, UnboundedReceiver<Wire<Req, Resp>>)
where
    Req: serde::de::DeserializeOwned + Send + 'static,
    Resp: serde::Serialize + Send + 'static,
{
    let listener = Listener::bind("127.0.0.1:0", Caps::DEFAULTS).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = unbounded_channel();
    tokio::spawn(listener.serve(move |_, _| Ok(hello(role)), move |event| tell.send(event).is_ok()));
    (address, told)
}

/// Feeds what links tell until a peer has answered.
async fn answered(peers: &mut Peers, inbox: &mut UnboundedReceiver<Event>) -> (Xid, PeerTold) {
    loop {
        if let Some(Event::Peer { address, event }) = inbox.recv().await
            && let Some(answer) = peers.on_event(&address, event)
        {
            return answer;
        }
    }
}

#[tokio::test]
async fn a_peer_is_dialled_when_it_is_asked_and_its_answer_comes_back() {
    let (address, mut wire) = listening::<Request, Response>(Role::Participant).await;
    tokio::spawn(async move {
        let mut connections = Connections::new();
        while let Some(event) = wire.recv().await {
            match event {
                Wire::Opened { connection, responder, .. } => connections.opened(connection, responder),
                Wire::Request { connection, request, body: Request::AskPeer { inquiry }, .. } => {
                    assert_eq!(inquiry.to, addressee("b"));
                    let answer = PeerAnswer::CantSay(Unsaid::InDoubt);
                    let told = PeerTold { from: identity("b"), answer };
                    connections.respond(connection, request, Ok(Response::AskPeer(told)));
                }
                Wire::Request { .. } | Wire::Closed { .. } => {}
            }
        }
    });
    let (deliver, mut inbox) = unbounded_channel();
    let mut peers = Peers::new(hello(Role::Participant), deliver);
    peers.inquire(&address, question(1));
    let (about, told) = answered(&mut peers, &mut inbox).await;
    assert_eq!((about, told.from.name.as_str()), (xid(1), "b"));
    // The second time there is a connection already.
    peers.inquire(&address, question(2));
    assert_eq!(answered(&mut peers, &mut inbox).await.0, xid(2));
    assert_eq!(peers.len(), 1);
}

#[tokio::test]
async fn a_peer_that_is_no_participant_or_not_there_gives_no_answer_and_nothing_stays() {
    let (address, _wire) = listening::<CoordinatorServiceRequest, CoordinatorServiceResponse>(Role::Coordinator).await;
    let (deliver, mut inbox) = unbounded_channel();
    let mut peers = Peers::new(hello(Role::Participant), deliver);
    peers.inquire(&address, question(1));
    peers.inquire(NOWHERE, question(1));
    peers.inquire("", question(1));
    for _ in 0..2 {
        let Some(Event::Peer { address, event }) = inbox.recv().await else { panic!("no word of a peer") };
        assert_eq!(peers.on_event(&address, event), None);
    }
    assert_eq!(peers.len(), 1, "the one that may still come up");
}

#[tokio::test(start_paused = true)]
async fn links_to_peers_are_bounded_and_go_when_they_are_not_used() {
    let (deliver, _inbox) = unbounded_channel();
    let mut peers = Peers::new(hello(Role::Participant), deliver);
    for port in 1..=100 {
        peers.inquire(&format!("127.0.0.1:{port}"), question(port));
    }
    assert_eq!(peers.len(), 64);
    tokio::time::advance(Duration::from_secs(2)).await;
    peers.inquire("127.0.0.1:200", question(200));
    assert_eq!(peers.len(), 64, "the one unused for longest made room");
    peers.tidy();
    assert_eq!(peers.len(), 64);
    tokio::time::advance(Duration::from_secs(9)).await;
    peers.tidy();
    assert_eq!(peers.len(), 1);
}

#[tokio::test]
async fn t02_a_coordinator_that_was_never_reached_is_noticed_as_lost_once() {
    let inquiry = || Inquiry { from: identity("a"), xid: xid(1), members: Vec::new() };
    let unreachable = async |inbox: &mut UnboundedReceiver<Event>| match inbox.recv().await {
        Some(Event::Link { event: links::Told::Unreachable { .. }, .. }) => {}
        _ => panic!("something answers at {NOWHERE}"),
    };
    // Asked first, not reached then.
    let (deliver, mut inbox) = unbounded_channel();
    let mut links = Links::new(hello(Role::Participant), deliver);
    assert!(!links.inquire(xid(1), NOWHERE, inquiry()), "it may still come up");
    unreachable(&mut inbox).await;
    assert_eq!(links.unreachable(NOWHERE), [LOG]);
    assert!(!links.inquire(xid(1), NOWHERE, inquiry()), "it was told");
    // Not reached first: a link that was asked for on the command line.
    let (deliver, mut inbox) = unbounded_channel();
    let mut links = Links::new(hello(Role::Participant), deliver);
    links.keep(NOWHERE, true);
    unreachable(&mut inbox).await;
    assert_eq!(links.unreachable(NOWHERE), []);
    assert!(links.inquire(xid(1), NOWHERE, inquiry()));
    assert!(!links.inquire(xid(1), NOWHERE, inquiry()), "it was told");
}

/// Runs a participant over the embedded store beside a test.
async fn beside<T>(options: Options, test: impl AsyncFnOnce(String) -> T) -> T {
    let (tell, told) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = run(options, |ready| tell.send(ready.address.to_string()).unwrap(), async {
        let _ = stopped.await;
    });
    let tested = async {
        let value = test(told.await.unwrap()).await;
        drop(stop);
        value
    };
    let (served, value) = tokio::join!(serving, tested);
    served.unwrap();
    value
}

#[tokio::test]
async fn t02_a_coordinator_that_dies_is_noticed_at_once_by_a_branch_in_doubt() {
    let place = tempfile::tempdir().unwrap();
    let options = Options::new(place.path(), name("a"), "127.0.0.1:0");
    // Where its successor would be asked: that it is dialled shows that the loss was noticed.
    let (hint, mut wire) = listening::<CoordinatorServiceRequest, CoordinatorServiceResponse>(Role::Coordinator).await;
    beside(options, async |address| {
        let within = Duration::from_secs(5);
        let (coordinator, _) =
            Connection::<Request, Response>::connect(&address, &hello(Role::Coordinator), within).await.unwrap();
        let mark = Mark { low: TxnId::new(LOG, Epoch(1), 0, NONCE), except: Vec::new() };
        let from = Stamp { log: LOG, epoch: Epoch(1), nonce: NONCE, decisions: 0, mark, clock: Age(1) };
        let order = async |order| {
            let message = ToParticipant { from: from.clone(), order };
            match coordinator.call(Request::Deliver { message }, within).await.unwrap() {
                Response::Deliver(answer) => answer,
                other => panic!("{other:?}"),
            }
        };
        let greeting = Order::Hello { name: name("a"), coordinator: name("coordinator"), known: None };
        let who = order(greeting).await.from;
        let to = Addressee { name: who.name, store: who.store, incarnation: who.incarnation };
        let put = Operation::Put(Put { key: "x".into(), value: Value::Integer(1) });
        let work = kv::encode_operations(&[put]).unwrap();
        let members = vec![Member { who: to.clone(), address: address.clone() }];
        let (wait, coordinator_at) = (Micros(1_000_000), hint.clone());
        let task = Task::Carried(work);
        let prepare = Prepare { to, xid: xid(1), age: Age(1), wait, coordinator: coordinator_at, members, task };
        let voted = order(Order::Prepare(prepare)).await.answer;
        assert!(matches!(voted, Answer::Voted { vote: Vote::Yes(_), .. }), "{voted:?}");
        drop(coordinator);
        // By its timer it would ask after 750 ms at the earliest.
        let dialled = timeout(Duration::from_millis(500), wire.recv()).await;
        assert!(matches!(dialled, Ok(Some(Wire::Opened { .. }))), "not noticed: {dialled:?}");
        let asked = timeout(Duration::from_secs(2), wire.recv()).await;
        let about = |event: &Wire<CoordinatorServiceRequest, CoordinatorServiceResponse>| match event {
            Wire::Request { body: CoordinatorServiceRequest::Inquire { inquiry }, .. } => Some(inquiry.xid),
            _ => None,
        };
        assert_eq!(asked.ok().flatten().as_ref().and_then(about), Some(xid(1)));
    })
    .await;
}

#[test]
fn several_participants_of_one_process_have_each_a_name_a_folder_and_a_port() {
    let place = tempfile::tempdir().unwrap();
    let open = async |Start { folder, space, incarnation, on_fatal, .. }: Start| {
        KvStore::open(&folder, kv::Options::DEFAULTS, space, incarnation, Uuid::new_v4, on_fatal)
    };
    let options = |who: &str| Options::new(place.path().join(who), name(who), "127.0.0.1:0");
    let participants = Participants::new().with(options("stock"), open).with(options("payment"), open);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (told, (stop, stopped)) = (Rc::clone(&seen), oneshot::channel::<()>());
    let ready = move |ready: Ready| told.borrow_mut().push((ready.name.as_str().to_owned(), ready.address));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let test = async {
            while seen.borrow().len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let found = seen.borrow().clone();
            for (who, address) in found {
                let (client, dialled) = (hello(Role::Client), address.to_string());
                let connected = Connection::<Request, Response>::connect(&dialled, &client, Duration::from_secs(5));
                assert_eq!(connected.await.unwrap().1.name, Some(name(&who)));
            }
            drop(stop);
        };
        let serving = participants.run(ready, async {
            let _ = stopped.await;
        });
        let (served, ()) = tokio::join!(serving, test);
        served.unwrap();
    });
    let mut names: Vec<String> = seen.borrow().iter().map(|(who, _)| who.clone()).collect();
    names.sort();
    assert_eq!(names, ["payment", "stock"]);
}

#[test]
fn one_participant_that_cannot_go_on_ends_the_process_of_all() {
    let place = tempfile::tempdir().unwrap();
    let open = async |Start { folder, space, incarnation, on_fatal, .. }: Start| {
        KvStore::open(&folder, kv::Options::DEFAULTS, space, incarnation, Uuid::new_v4, on_fatal)
    };
    let options = |who: &str, listen: &str| Options::new(place.path().join(who), name(who), listen);
    let participants =
        Participants::new().with(options("a", "127.0.0.1:0"), open).with(options("b", "no.such.place.invalid:1"), open);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = LocalSet::new().block_on(&runtime, participants.run(|_| {}, std::future::pending()));
    assert!(matches!(ended, Err(ServeError::Listen { .. })), "{ended:?}");
}
