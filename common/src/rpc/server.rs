//! Listening: accepts connections, bounds them, and runs one task for each.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::{Id, JoinSet};
use tokio::time::{sleep, timeout};

use super::connection::{Deliver, End, Serving, Totals};
use super::handshake::{HANDSHAKE_TIMEOUT, HandshakeError, receive_and_answer};
use super::hello::{Answer, Hello, Refusal, RefusalReason, Versions};
use super::inbox::{ConnectionId, Event};
use crate::failpoints;

/// Caps of a listener: whatever a peer can make us hold has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Connections in all: each holds a file handle and some buffers.
    pub connections: usize,
    /// Connections from one address, so that one host can't take them all.
    pub connections_per_address: usize,
    /// Unanswered requests of one connection; above it a request is answered "retry, not executed".
    pub requests_per_connection: usize,
    /// Bytes of unanswered requests of one connection.
    pub bytes_per_connection: usize,
    /// Unanswered requests in all.
    pub requests: usize,
    /// Bytes of unanswered requests in all.
    pub bytes: usize,
    /// A frame begun and not completed, or answers not taken, for so long (twice so long at most) end the connection.
    pub stall: Duration,
    /// A connection with nothing asked and nothing open for so long is closed: a peer whose host died says no goodbye,
    /// and would hold its place for ever.
    pub idle: Duration,
    /// Versions spoken.
    pub versions: Versions,
}

impl Caps {
    /// What a node starts with.
    pub const DEFAULTS: Self = Self {
        connections: 4_096,
        connections_per_address: 256,
        requests_per_connection: 4_096,
        bytes_per_connection: 64 << 20,
        requests: 16_384,
        bytes: 256 << 20,
        stall: Duration::from_secs(10),
        idle: Duration::from_secs(900),
        versions: Versions::OWN,
    };
}

/// Pause after a failed accept: without file handles it fails at once, again and again, and the loop would spin.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    caps: Caps,
}

type Welcome = Arc<dyn Fn(&Hello, SocketAddr) -> Result<Hello, Refusal> + Send + Sync>;

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// The system's.
    pub async fn bind(address: impl ToSocketAddrs, caps: Caps) -> io::Result<Self> {
        Ok(Self { tcp: TcpListener::bind(address).await?, caps })
    }

    /// Where it listens: tells the port when 0 was asked for.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Accepts and serves until this future is dropped, which ends all its connections, or until the owner is gone.
    ///
    /// `welcome` gives this side's hello of the moment for a peer, or refuses it. `deliver` hands an event to the
    /// owner task and says false when there is none any more; it must not block. Usually:
    /// `move |event| inputs.send(Input::Wire(event)).is_ok()`.
    pub async fn serve<Req, Resp>(
        self,
        welcome: impl Fn(&Hello, SocketAddr) -> Result<Hello, Refusal> + Send + Sync + 'static,
        deliver: impl Fn(Event<Req, Resp>) -> bool + Send + Sync + 'static,
    ) where
        Req: DeserializeOwned + Send + 'static,
        Resp: Serialize + Send + 'static,
    {
        let welcome: Welcome = Arc::new(welcome);
        let deliver: Deliver<Req, Resp> = Arc::new(deliver);
        let totals = Arc::new(Totals::default());
        let mut guests = Guests::default();
        let mut tasks = JoinSet::new();
        let mut last = 0;
        loop {
            let (stream, address) = tokio::select! {
                biased;
                Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                    let (id, owner_gone) = match ended {
                        Ok((id, owner_gone)) => (id, owner_gone),
                        Err(error) => {
                            tracing::error!(%error, "the task of a connection broke down");
                            (error.id(), false)
                        }
                    };
                    guests.left(id);
                    if owner_gone {
                        return;
                    }
                    continue;
                }
                accepted = self.tcp.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        after_failed_accept(&error).await;
                        continue;
                    }
                },
            };
            failpoints::reach("srv1.after_accept");
            if let Err(refusal) = guests.room_for(address.ip(), &self.caps) {
                tracing::warn!(%address, %refusal, "connection refused");
                turn_away(stream, self.caps.versions, refusal);
                continue;
            }
            last += 1;
            let door = Door { id: ConnectionId(last), address, caps: self.caps, totals: Arc::clone(&totals) };
            let task = tasks.spawn(door.run(stream, Arc::clone(&welcome), Arc::clone(&deliver)));
            guests.came(task.id(), address.ip());
        }
    }
}

/// An accepted connection before its hello.
struct Door {
    id: ConnectionId,
    address: SocketAddr,
    caps: Caps,
    totals: Arc<Totals>,
}

impl Door {
    /// The whole life of a connection; true when it ended because the owner is gone.
    async fn run<Req, Resp>(self, mut stream: TcpStream, welcome: Welcome, deliver: Deliver<Req, Resp>) -> bool
    where
        Req: DeserializeOwned + Send + 'static,
        Resp: Serialize + Send + 'static,
    {
        let Self { id, address, caps, totals } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "closed at once");
            return false;
        }
        let greeting = receive_and_answer(&mut stream, caps.versions, |peer| welcome(peer, address));
        let peer = match timeout(HANDSHAKE_TIMEOUT, greeting).await.unwrap_or(Err(HandshakeError::Timeout)) {
            Ok(peer) => Arc::new(peer),
            // Something that only looks whether the port is open.
            Err(HandshakeError::Closed) => return false,
            Err(error) => {
                tracing::warn!(%address, %error, "no connection came of it");
                return false;
            }
        };
        let end = match Serving::open((id, Arc::clone(&peer)), (stream, address), (caps, totals), deliver) {
            Ok(serving) => serving.run().await,
            Err(end) => end,
        };
        match &end {
            End::Closed | End::Idle | End::Dismissed | End::OwnerGone => {
                tracing::debug!(%address, %peer, %end, "connection ended")
            }
            end => tracing::warn!(%address, %peer, %end, "connection ended"),
        }
        matches!(end, End::OwnerGone)
    }
}

/// Who is connected, by address.
#[derive(Default)]
struct Guests {
    by_task: HashMap<Id, IpAddr>,
    by_address: BTreeMap<IpAddr, usize>,
}

impl Guests {
    fn room_for(&self, address: IpAddr, caps: &Caps) -> Result<(), Refusal> {
        let busy = |text: &str| Err(Refusal { reason: RefusalReason::Busy, text: text.into() });
        if self.by_task.len() >= caps.connections {
            return busy("too many connections");
        }
        match self.by_address.get(&address.to_canonical()) {
            Some(count) if *count >= caps.connections_per_address => busy("too many connections from this address"),
            _ => Ok(()),
        }
    }

    fn came(&mut self, task: Id, address: IpAddr) {
        let address = address.to_canonical();
        self.by_task.insert(task, address);
        *self.by_address.entry(address).or_default() += 1;
    }

    fn left(&mut self, task: Id) {
        let Some(address) = self.by_task.remove(&task) else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// Tells why, if that goes through at once: a connection above the cap gets no task and no time.
fn turn_away(stream: TcpStream, own: Versions, refusal: Refusal) {
    // Through the plain socket: tokio's has not learned yet that it can be written to. It stays non-blocking.
    let Ok(mut stream) = stream.into_std() else { return };
    let _ = stream.write(&Answer::Refused(refusal).to_bytes(own));
    // Bytes left unread would turn the close into a reset, which may overtake the refusal.
    let _ = stream.read(&mut [0; 1_024]);
}

async fn after_failed_accept(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    // These speak of the connection that did not come about, not of us.
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        tracing::error!(%error, "can't accept connections");
        sleep(ACCEPT_BACKOFF).await;
    }
}
