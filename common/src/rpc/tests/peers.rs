//! Peers that come and go.

use super::*;

struct Watched {
    peer: Peer<u64, Ask>,
    events: mpsc::UnboundedReceiver<PeerEvent<u64, String>>,
}

impl Watched {
    fn start(address: impl ToString) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let peer = Peer::spawn(address.to_string(), Hello::client, move |event| {
            let _ = sender.send(event);
        });
        Self { peer, events }
    }

    async fn next(&mut self) -> PeerEvent<u64, String> {
        timeout(SOON, self.events.recv()).await.expect("an event in time").expect("a living peer")
    }

    /// The next event but failed attempts to connect.
    async fn next_of_calls(&mut self) -> PeerEvent<u64, String> {
        loop {
            match self.next().await {
                PeerEvent::Unreachable { .. } => {}
                event => return event,
            }
        }
    }

    async fn connected(&mut self) {
        match self.next_of_calls().await {
            PeerEvent::Connected { hello } => assert_eq!(hello, coordinator()),
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&mut self, tag: u64) {
        match self.next().await {
            PeerEvent::Answered { tag: told, response } => assert_eq!((told, response), (tag, tag.to_string())),
            other => panic!("{other:?}"),
        }
    }

    fn echo(&self, tag: u64) {
        self.peer.send(tag, Ask::Echo(tag), SOON);
    }
}

#[tokio::test]
async fn calls_fail_as_not_sent_until_the_peer_is_there_and_redialling_finds_it_again() {
    let node = Node::start().await;
    let address = node.address;
    drop(node);
    let mut watched = Watched::start(address);
    assert!(matches!(watched.next().await, PeerEvent::Unreachable { .. }));
    watched.echo(1);
    assert!(matches!(watched.next().await, PeerEvent::Failed { tag: 1, why: CallError::NotSent(_) }));
    for _ in 0..2 {
        let node = Node::with(&address.to_string(), Caps::DEFAULTS).await;
        watched.connected().await;
        watched.echo(2);
        watched.answer(2).await;
        drop(node);
        assert!(matches!(watched.next_of_calls().await, PeerEvent::Disconnected { .. }));
    }
}

#[tokio::test]
async fn a_call_without_an_answer_takes_its_connection_with_it() {
    let node = Node::start().await;
    let mut watched = Watched::start(node.address);
    watched.connected().await;
    watched.peer.send(1, Ask::Never, SOON);
    watched.peer.send(2, Ask::Never, Duration::from_millis(50));
    watched.echo(3);
    watched.answer(3).await;
    for expected in [1, 2] {
        match watched.next().await {
            PeerEvent::Failed { tag, why: CallError::MayHaveArrived(_) } => assert_eq!(tag, expected),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(watched.next().await, PeerEvent::Disconnected { .. }));
    watched.connected().await;
    watched.echo(4);
    watched.answer(4).await;
}

#[tokio::test]
async fn a_server_that_dies_leaves_its_calls_in_doubt() {
    let node = Node::start().await;
    let mut watched = Watched::start(node.address);
    watched.connected().await;
    watched.peer.send(1, Ask::Never, SOON);
    eventually("it arrived", || node.requests.load(Ordering::Relaxed) == 1).await;
    drop(node);
    let failed = watched.next().await;
    assert!(matches!(failed, PeerEvent::Failed { tag: 1, why: CallError::MayHaveArrived(_) }), "{failed:?}");
}

#[tokio::test]
async fn thousands_of_calls_each_have_one_event_and_those_above_the_cap_are_not_sent() {
    let node = Node::start().await;
    let mut watched = Watched::start(node.address);
    watched.connected().await;
    let sent = 2 * MAX_OPEN_CALLS as u64;
    (0..sent).for_each(|tag| watched.echo(tag));
    let mut ended = BTreeMap::new();
    for _ in 0..sent {
        let (tag, answered) = match watched.next().await {
            PeerEvent::Answered { tag, .. } => (tag, true),
            PeerEvent::Failed { tag, why } if why.not_carried_out() => (tag, false),
            other => panic!("{other:?}"),
        };
        assert_eq!(ended.insert(tag, answered), None);
    }
    assert!(ended.values().filter(|answered| **answered).count() >= MAX_OPEN_CALLS);
    assert_eq!(node.requests.load(Ordering::Relaxed), ended.values().filter(|answered| **answered).count());
}

#[tokio::test]
async fn errors_of_the_other_side_and_oversize_requests_fail_alone() {
    let node = Node::start().await;
    let mut watched = Watched::start(node.address);
    watched.connected().await;
    watched.peer.send(1, Ask::Bytes(crate::codec::MAX_ENCODED_BYTES), SOON);
    assert!(matches!(watched.next().await, PeerEvent::Failed { tag: 1, why: CallError::Refused(_) }));
    watched.peer.send(2, Ask::Take("x".repeat(crate::codec::MAX_ENCODED_BYTES)), SOON);
    assert!(matches!(watched.next().await, PeerEvent::Failed { tag: 2, why: CallError::NotSent(_) }));
    watched.echo(3);
    watched.answer(3).await;
}

#[tokio::test]
async fn retarget_moves_and_dropping_the_handle_closes() {
    let (old, new) = (Node::start().await, Node::start().await);
    let mut watched = Watched::start(old.address);
    watched.connected().await;
    watched.peer.retarget(old.address.to_string());
    watched.echo(1);
    watched.answer(1).await;
    watched.peer.retarget(new.address.to_string());
    assert!(matches!(watched.next().await, PeerEvent::Disconnected { .. }));
    watched.connected().await;
    watched.echo(2);
    watched.answer(2).await;
    assert_eq!((old.requests.load(Ordering::Relaxed), new.requests.load(Ordering::Relaxed)), (1, 1));
    let Watched { peer, mut events } = watched;
    drop(peer);
    assert!(timeout(SOON, events.recv()).await.expect("the task ends").is_none());
    eventually("closed", || new.open.load(Ordering::Relaxed) == 0).await;
}
