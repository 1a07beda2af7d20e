//! The whole way over loopback.

mod handshakes;
mod peers;
mod serving;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tarpc::RequestName;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::ids::Name;

/// What the tests' server does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Ask {
    /// Answers the number.
    Echo(u64),
    /// Answers with so many bytes.
    Bytes(usize),
    /// Takes bytes, answers how many.
    Take(String),
    /// Is never answered.
    Never,
}

impl RequestName for Ask {
    fn name(&self) -> &'static str {
        "ask"
    }
}

/// A listener and an owner task that answers as [`Ask`] says.
struct Node {
    address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
    requests: Arc<AtomicUsize>,
    wakeups: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Node {
    async fn start() -> Self {
        Self::with("127.0.0.1:0", Caps::DEFAULTS).await
    }

    async fn with(address: &str, caps: Caps) -> Self {
        // A port just given up by the test's own server may linger for a moment.
        let mut listener = Listener::bind(address, caps).await;
        for _ in 0..50 {
            if listener.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                listener = Listener::bind(address, caps).await;
            }
        }
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        let (events, inbox) = mpsc::unbounded_channel();
        let welcome = move |peer: &Hello, _: SocketAddr| match peer.epoch {
            13 => Err(Refusal { reason: RefusalReason::Unwelcome, text: "no thirteenth epoch".into() }),
            _ => Ok(Hello { versions: caps.versions, ..coordinator() }),
        };
        let serving = listener.serve(welcome, move |event| events.send(event).is_ok());
        let counters: [Arc<AtomicUsize>; 3] = Default::default();
        let [requests, wakeups, open] = counters.clone();
        let tasks = [tokio::spawn(serving), tokio::spawn(own(inbox, counters))];
        Self { address, tasks, requests, wakeups, open }
    }

    async fn connect(&self) -> Connection<Ask, String> {
        Connection::connect(&self.address.to_string(), &Hello::client(), SOON).await.unwrap().0
    }

    /// A connection that says what it likes, after a proper hello.
    async fn raw(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        handshake::introduce(&mut stream, &Hello::client()).await.unwrap();
        stream
    }
}

const SOON: Duration = Duration::from_secs(5);

fn coordinator() -> Hello {
    let name = Some(Name::new("c-1").unwrap());
    Hello {
        role: Role::Coordinator,
        identity: Uuid::from_u128(77),
        epoch: 3,
        nonce: 4,
        sequence: 5,
        name,
        ..Hello::client()
    }
}

async fn own(mut inbox: mpsc::UnboundedReceiver<Event<Ask, String>>, counters: [Arc<AtomicUsize>; 3]) {
    let [requests, wakeups, open] = counters;
    let mut connections = Connections::new();
    let mut batch = Vec::new();
    while inbox.recv_many(&mut batch, 1_024).await > 0 {
        wakeups.fetch_add(1, Ordering::Relaxed);
        for event in batch.drain(..) {
            match event {
                Event::Opened { connection, responder, .. } => connections.opened(connection, responder),
                Event::Closed { connection } => connections.closed(connection),
                Event::Request { connection, request, body, .. } => {
                    requests.fetch_add(1, Ordering::Relaxed);
                    let answer = match body {
                        Ask::Echo(number) => number.to_string(),
                        Ask::Bytes(count) => "x".repeat(count),
                        Ask::Take(text) => text.len().to_string(),
                        Ask::Never => continue,
                    };
                    connections.respond(connection, request, Ok(answer));
                }
            }
        }
        open.store(connections.len(), Ordering::Relaxed);
    }
}

/// Waits until the other side has closed.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("closed in time");
    rest
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
