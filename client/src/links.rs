//! Connections to the addresses given: dialled when needed, redialled with backoff, shared by all calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use handfast_common::ids::{Epoch, LogId, Nonce, Ticket, TxnId};
use handfast_common::rpc::{Connection, DialError, HandshakeError, Hello, Role};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::RequestName;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{NoCoordinator, Obstacle, Unreached};
use crate::retry::jittered;

/// Several ways to the same service, tried in order.
#[derive(Debug)]
pub(crate) struct Links<Req, Resp> {
    links: Vec<Link<Req, Resp>>,
}

/// One address.
#[derive(Debug)]
struct Link<Req, Resp> {
    address: String,
    role: Role,
    live: Mutex<Option<Arc<Live<Req, Resp>>>>,
    /// Held while dialling: one dials, the others wait for what comes of it.
    dialling: tokio::sync::Mutex<Pace>,
    attempts: AtomicU64,
    failure: Mutex<Option<Unreached>>,
}

/// When to dial next.
#[derive(Debug)]
struct Pace {
    not_before: Option<Instant>,
    pause: Duration,
}

/// A connection and who answers on it.
#[derive(Debug)]
pub(crate) struct Live<Req, Resp> {
    pub(crate) connection: Connection<Req, Resp>,
    address: String,
    hello: Hello,
    standing: Mutex<Standing>,
}

/// The highest transaction sequence the coordinator is known to have given out, and when that was learned.
#[derive(Debug)]
struct Standing {
    sequence: u64,
    learned: Instant,
}

/// Longest wait for one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// First pause between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest one: a coordinator that comes back is found within a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A standing older than this makes no new tickets: a key first sent with a ticket that the coordinator has trimmed
/// past meanwhile would be answered "forgotten". A new connection brings a new one.
const STANDING_KEEPS: Duration = Duration::from_secs(60);

impl<Req, Resp> Links<Req, Resp>
where
    Req: RequestName + Serialize + Send + 'static,
    Resp: DeserializeOwned + Send + 'static,
{
    pub(crate) fn new(addresses: Vec<String>, role: Role) -> Self {
        Self { links: addresses.into_iter().map(|address| Link::new(address, role)).collect() }
    }

    /// A connection, to the coordinator with this log if one is named. Dials until `latest`, unless every address
    /// answers and none rightly.
    ///
    /// # Errors
    /// Why each address was of no use.
    pub(crate) async fn pick(
        &self,
        log: Option<LogId>,
        latest: Instant,
    ) -> Result<Arc<Live<Req, Resp>>, NoCoordinator> {
        let fits = |live: &Live<Req, Resp>| log.is_none_or(|log| live.log() == log);
        loop {
            if let Some(live) = self.links.iter().filter_map(Link::live).find(|live| fits(live)) {
                return Ok(live);
            }
            let mut unreached = Vec::with_capacity(self.links.len());
            for link in &self.links {
                match timeout_at(latest, link.get()).await {
                    Ok(Ok(live)) if fits(&live) => return Ok(live),
                    Ok(Ok(live)) => unreached.push(link.other_log(&live, log)),
                    Ok(Err(why)) => unreached.push(why),
                    Err(_) => unreached.push(link.no_time()),
                }
            }
            let why = NoCoordinator(unreached);
            if why.is_hopeless() || Instant::now() >= latest {
                return Err(why);
            }
        }
    }

    /// The same for a key that has no ticket yet.
    pub(crate) async fn pick_for_new_key(
        &self,
        log: Option<LogId>,
        latest: Instant,
    ) -> Result<Arc<Live<Req, Resp>>, NoCoordinator> {
        loop {
            let live = self.pick(log, latest).await?;
            if live.standing().learned.elapsed() < STANDING_KEEPS {
                return Ok(live);
            }
            self.forget(&live);
        }
    }

    /// Dials anew for the next call. Calls under way keep their connection.
    pub(crate) fn forget(&self, live: &Arc<Live<Req, Resp>>) {
        for link in &self.links {
            lock(&link.live).take_if(|current| Arc::ptr_eq(current, live));
        }
    }
}

impl<Req, Resp> Link<Req, Resp>
where
    Req: RequestName + Serialize + Send + 'static,
    Resp: DeserializeOwned + Send + 'static,
{
    fn new(address: String, role: Role) -> Self {
        Self {
            address,
            role,
            live: Mutex::new(None),
            dialling: tokio::sync::Mutex::new(Pace { not_before: None, pause: FIRST_PAUSE }),
            attempts: AtomicU64::new(0),
            failure: Mutex::new(None),
        }
    }

    fn live(&self) -> Option<Arc<Live<Req, Resp>>> {
        lock(&self.live).as_ref().filter(|live| !live.connection.is_closed()).map(Arc::clone)
    }

    /// The connection, dialled if there is none. Callers that come while one dials share what comes of it.
    async fn get(&self) -> Result<Arc<Live<Req, Resp>>, Unreached> {
        let before = self.attempts.load(Ordering::Relaxed);
        let mut pace = self.dialling.lock().await;
        if let Some(live) = self.live() {
            return Ok(live);
        }
        if self.attempts.load(Ordering::Relaxed) != before
            && let Some(failure) = lock(&self.failure).clone()
        {
            return Err(failure);
        }
        if let Some(not_before) = pace.not_before {
            sleep_until(not_before).await;
        }
        let dialled = self.dial().await;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        // Also after a success: one that takes connections and drops them must not be dialled without a pause.
        pace.not_before = Some(Instant::now() + jittered(pace.pause));
        match dialled {
            Ok(live) => {
                pace.pause = FIRST_PAUSE;
                *lock(&self.failure) = None;
                *lock(&self.live) = Some(Arc::clone(&live));
                Ok(live)
            }
            Err(failure) => {
                pace.pause = (pace.pause * 2).min(LONGEST_PAUSE);
                *lock(&self.failure) = Some(failure.clone());
                Err(failure)
            }
        }
    }

    async fn dial(&self) -> Result<Arc<Live<Req, Resp>>, Unreached> {
        let (connection, hello) = Connection::connect(&self.address, &Hello::client(), CONNECT_TIMEOUT)
            .await
            .map_err(|error| self.unreached(obstacle_of(&error), error.to_string()))?;
        if hello.role != self.role {
            let why = format!("{}: a {} answers there, not a {}", self.address, hello.role, self.role);
            return Err(self.unreached(Obstacle::OtherRole, why));
        }
        tracing::debug!(address = self.address, peer = %hello, epoch = hello.epoch, "connected");
        let standing = Standing { sequence: hello.sequence, learned: Instant::now() };
        let address = self.address.clone();
        Ok(Arc::new(Live { connection, address, hello, standing: Mutex::new(standing) }))
    }

    fn other_log(&self, live: &Live<Req, Resp>, wanted: Option<LogId>) -> Unreached {
        let wanted = wanted.map_or_else(String::new, |log| log.0.to_string());
        let found = live.log().0;
        let why = format!("{}: the coordinator there has the log {found}, the ticket names {wanted}", self.address);
        self.unreached(Obstacle::OtherLog, why)
    }

    /// The deadline came first: the last failure says more than that.
    fn no_time(&self) -> Unreached {
        let known = lock(&self.failure).clone();
        known.unwrap_or_else(|| self.unreached(Obstacle::Down, format!("{}: no connection in time", self.address)))
    }

    fn unreached(&self, obstacle: Obstacle, why: String) -> Unreached {
        Unreached { address: self.address.clone(), obstacle, why }
    }
}

impl<Req, Resp> Live<Req, Resp> {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) const fn log(&self) -> LogId {
        LogId(self.hello.identity)
    }

    /// A ticket for a key that is sent now for the first time. Its sequence may lag behind the coordinator's: then it
    /// only counts as forgotten a little earlier.
    pub(crate) fn ticket(&self) -> Ticket {
        let (epoch, nonce) = (Epoch(self.hello.epoch), Nonce(self.hello.nonce));
        Ticket { log: self.log(), epoch, nonce, sequence: self.standing().sequence }
    }

    /// Learns from the answer to a submit how far the coordinator has counted. Without it a connection that carried a
    /// million transactions would make tickets that are trimmed already.
    pub(crate) fn learn(&self, txn: TxnId) {
        let mut standing = self.standing();
        if txn.epoch().0 == self.hello.epoch && txn.sequence() > standing.sequence {
            *standing = Standing { sequence: txn.sequence(), learned: Instant::now() };
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        lock(&self.standing)
    }
}

fn obstacle_of(error: &DialError) -> Obstacle {
    match error {
        DialError::Unreachable { .. } | DialError::Timeout { .. } => Obstacle::Down,
        DialError::Handshake { source, .. } => match source {
            HandshakeError::VersionMismatch { .. } => Obstacle::Version,
            HandshakeError::NotHandfast { .. } | HandshakeError::Malformed(_) => Obstacle::NotHandfast,
            HandshakeError::Refused(_) | HandshakeError::Closed | HandshakeError::Timeout => Obstacle::Down,
        },
    }
}

/// What is guarded is a value that is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
